//! One TCP segment as the kernel half saw it, and the checked parser for the packet around it.
//!
//! In: an IP packet, as `cgroup_skb` programs see it (no link layer). Out: addresses, sequence
//! numbers, flags and payload, or a named error. Checksums aren't looked at: on egress and behind
//! offloading network cards they aren't there yet, or no longer checked.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use thiserror::Error;
use zerocopy::{
    FromBytes, Immutable, KnownLayout, Unaligned,
    network_endian::{U16, U32},
};

use crate::clock::Timestamp;

/// Longest packet that is parsed, in bytes: a "BIG TCP" super-packet of Linux 6.3 and newer
/// (`GSO_MAX_SIZE`, 8 × 65,536).
pub const MAX_PACKET: usize = 8 * 65_536;

/// Extension headers that one IPv6 packet may have. RFC 8200 §4.1 lists each at most once, the
/// destination options twice; more is an attempt to make us loop.
pub const MAX_EXTENSIONS: usize = 8;

/// Internet protocol numbers (RFC 8200 §4, IANA).
mod protocol {
    pub(super) const HOP_BY_HOP: u8 = 0;
    pub(super) const TCP: u8 = 6;
    pub(super) const ROUTING: u8 = 43;
    pub(super) const FRAGMENT: u8 = 44;
    pub(super) const DESTINATION: u8 = 60;
}

/// Address and port of one end of a connection. IPv4 addresses are kept in their IPv4-mapped form
/// (RFC 4291 §2.5.5.2), so that both notations of one address are equal, in 18 bytes.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Endpoint {
    address: Ipv6Addr,
    port: u16,
}

impl Endpoint {
    /// The end at `address` and `port`.
    #[must_use]
    pub const fn new(address: IpAddr, port: u16) -> Self {
        let address = match address {
            IpAddr::V4(v4) => v4.to_ipv6_mapped(),
            IpAddr::V6(v6) => v6,
        };
        Self { address, port }
    }

    /// The address as people write it: IPv4 where it is IPv4-mapped.
    #[must_use]
    pub const fn socket_addr(self) -> SocketAddr {
        SocketAddr::new(self.address.to_canonical(), self.port)
    }
}

impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Self {
        Self::new(address.ip(), address.port())
    }
}

/// The two ends of a connection, in the direction in which a packet went.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct FlowKey {
    /// Who sent the packet.
    pub source: Endpoint,
    /// Who is to receive it.
    pub destination: Endpoint,
}

impl FlowKey {
    /// The key of packets that go the other way.
    #[must_use]
    pub const fn reversed(self) -> Self {
        Self { source: self.destination, destination: self.source }
    }

    /// The same key for both directions of one connection.
    #[must_use]
    pub fn undirected(self) -> Self {
        if self.source <= self.destination { self } else { self.reversed() }
    }
}

/// The control bits that matter to a passive reader (RFC 9293 §3.1).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Flags {
    /// Opens a direction; takes one sequence number.
    pub syn: bool,
    /// The acknowledgement number is valid.
    pub ack: bool,
    /// Ends a direction; takes one sequence number, after the payload.
    pub fin: bool,
    /// Ends the connection at once.
    pub rst: bool,
}

impl From<u8> for Flags {
    fn from(bits: u8) -> Self {
        Self {
            fin: bits & 0x01 != 0,
            syn: bits & 0x02 != 0,
            rst: bits & 0x04 != 0,
            ack: bits & 0x10 != 0,
        }
    }
}

/// One captured TCP segment, or a super-packet made of several.
#[derive(Clone, Copy, Debug)]
pub struct Segment<'a> {
    /// When the kernel half saw it.
    pub at: Timestamp,
    /// The kernel's cookie of the socket that it was seen at. One connection may show several.
    pub cookie: u64,
    /// Its ends, in the direction in which it went.
    pub key: FlowKey,
    /// Sequence number of the first octet, or of the SYN.
    pub seq: u32,
    /// Next sequence number that the sender expects from its peer; valid with [`Flags::ack`].
    pub ack: u32,
    /// Control bits.
    pub flags: Flags,
    /// The payload as far as it was captured.
    pub payload: &'a [u8],
    /// Payload bytes on the wire. What `payload` lacks of them was not captured.
    pub wire_len: u32,
}

impl Segment<'_> {
    /// Sequence number of the first payload byte: a SYN takes the one before (RFC 9293 §3.4).
    #[must_use]
    pub const fn data_seq(&self) -> u32 {
        self.seq.wrapping_add(self.flags.syn as u32)
    }
}

/// What [`parse`] reads from a packet: a [`Segment`] but for when and where it was seen.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ParsedPacket<'a> {
    /// The ends, in the direction in which the packet went.
    pub key: FlowKey,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgement number.
    pub ack: u32,
    /// Control bits.
    pub flags: Flags,
    /// The payload as far as it was captured.
    pub payload: &'a [u8],
    /// Payload bytes on the wire, at least as many as in `payload`.
    pub wire_len: u32,
}

impl<'a> ParsedPacket<'a> {
    /// The segment, seen `at` this time on the socket with this `cookie`.
    #[must_use]
    pub const fn seen(self, at: Timestamp, cookie: u64) -> Segment<'a> {
        let Self { key, seq, ack, flags, payload, wire_len } = self;
        Segment { at, cookie, key, seq, ack, flags, payload, wire_len }
    }
}

/// A header that a packet may have.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Layer {
    /// RFC 791 §3.1
    Ipv4,
    /// RFC 8200 §3
    Ipv6,
    /// RFC 8200 §4
    Ipv6Extension,
    /// RFC 9293 §3.1
    Tcp,
}

/// Why a packet yields no segment.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum PacketError {
    /// No bytes at all.
    #[error("empty packet")]
    Empty,
    /// More than [`MAX_PACKET`] bytes.
    #[error("packet of {0} bytes")]
    TooLong(usize),
    /// Neither IPv4 nor IPv6.
    #[error("IP version {0}")]
    Version(u8),
    /// The capture ends within this header.
    #[error("{0:?} header is cut short")]
    Short(Layer),
    /// A length in this header contradicts itself or the header around it.
    #[error("{0:?} header has an impossible length")]
    Length(Layer),
    /// A fragment: the kernel reassembles before the sockets see packets, so these are rare.
    #[error("IP fragment")]
    Fragment,
    /// More than [`MAX_EXTENSIONS`] extension headers.
    #[error("too many IPv6 extension headers")]
    TooManyExtensions,
    /// Another protocol, by its number.
    #[error("IP protocol {0} is not TCP")]
    NotTcp(u8),
}

/// Reads the headers of an IP packet that starts at its IP header. The slice may be shorter than
/// the packet was (the capture is cut) or longer (padding), as long as it has all headers.
///
/// A total length of zero is what Linux writes into super-packets whose length doesn't fit: there
/// the slice's length counts.
///
/// # Errors
/// [`PacketError`] says which header is short, contradictory or not supported.
pub fn parse(ip_packet: &[u8]) -> Result<ParsedPacket<'_>, PacketError> {
    if ip_packet.len() > MAX_PACKET {
        return Err(PacketError::TooLong(ip_packet.len()));
    }
    let version = ip_packet.first().ok_or(PacketError::Empty)? >> 4;
    let datagram = match version {
        4 => parse_ipv4(ip_packet),
        6 => parse_ipv6(ip_packet),
        other => Err(PacketError::Version(other)),
    }?;
    parse_tcp(&datagram)
}

/// An IP packet's ends and what it carries.
struct Datagram<'a> {
    source: IpAddr,
    destination: IpAddr,
    body: Body<'a>,
}

/// The rest of a packet behind some header.
#[derive(Clone, Copy)]
struct Body<'a> {
    /// As far as it was captured; at most `wire_len` bytes.
    captured: &'a [u8],
    wire_len: usize,
}

impl<'a> Body<'a> {
    /// A packet that claims `total` bytes (0 = doesn't say).
    fn of_packet(packet: &'a [u8], total: usize) -> Self {
        if total == 0 {
            return Self { captured: packet, wire_len: packet.len() };
        }
        Self { captured: packet.get(..total).unwrap_or(packet), wire_len: total }
    }

    /// What follows a header of `len` bytes.
    fn behind(self, len: usize, layer: Layer) -> Result<Self, PacketError> {
        let wire_len = self.wire_len.checked_sub(len).ok_or(PacketError::Length(layer))?;
        let captured = self.captured.get(len..).ok_or(PacketError::Short(layer))?;
        Ok(Self { captured, wire_len })
    }
}

/// RFC 791 §3.1
#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Ipv4Header {
    version_length: u8,
    _service: u8,
    total_length: U16,
    _identification: U16,
    fragment: U16,
    _time_to_live: u8,
    protocol: u8,
    _checksum: U16,
    source: [u8; 4],
    destination: [u8; 4],
}

fn parse_ipv4(packet: &[u8]) -> Result<Datagram<'_>, PacketError> {
    /// "More fragments" and the fragment offset.
    const FRAGMENTED: u16 = 0x3fff;

    let (header, _) =
        Ipv4Header::ref_from_prefix(packet).map_err(|_short| PacketError::Short(Layer::Ipv4))?;
    let header_len = words(header.version_length & 0x0f);
    if header_len < size_of::<Ipv4Header>() {
        return Err(PacketError::Length(Layer::Ipv4));
    }
    if header.fragment.get() & FRAGMENTED != 0 {
        return Err(PacketError::Fragment);
    }
    if header.protocol != protocol::TCP {
        return Err(PacketError::NotTcp(header.protocol));
    }
    let packet = Body::of_packet(packet, usize::from(header.total_length.get()));
    Ok(Datagram {
        source: Ipv4Addr::from(header.source).into(),
        destination: Ipv4Addr::from(header.destination).into(),
        body: packet.behind(header_len, Layer::Ipv4)?,
    })
}

/// RFC 8200 §3
#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Ipv6Header {
    _version_class_label: U32,
    payload_length: U16,
    next_header: u8,
    _hop_limit: u8,
    source: [u8; 16],
    destination: [u8; 16],
}

fn parse_ipv6(packet: &[u8]) -> Result<Datagram<'_>, PacketError> {
    let (header, rest) =
        Ipv6Header::ref_from_prefix(packet).map_err(|_short| PacketError::Short(Layer::Ipv6))?;
    let body = Body::of_packet(rest, usize::from(header.payload_length.get()));
    Ok(Datagram {
        source: Ipv6Addr::from(header.source).into(),
        destination: Ipv6Addr::from(header.destination).into(),
        body: skip_extensions(header.next_header, body)?,
    })
}

/// What follows the extension headers (RFC 8200 §4): lengths count 8-octet units beyond the first.
fn skip_extensions(mut next: u8, mut body: Body<'_>) -> Result<Body<'_>, PacketError> {
    for _ in 0..=MAX_EXTENSIONS {
        match next {
            protocol::TCP => return Ok(body),
            protocol::HOP_BY_HOP | protocol::ROUTING | protocol::DESTINATION => {
                let [following, units, ..] = body.captured else {
                    return Err(PacketError::Short(Layer::Ipv6Extension));
                };
                next = *following;
                body = body.behind((usize::from(*units) + 1) * 8, Layer::Ipv6Extension)?;
            }
            protocol::FRAGMENT => return Err(PacketError::Fragment),
            other => return Err(PacketError::NotTcp(other)),
        }
    }
    Err(PacketError::TooManyExtensions)
}

/// RFC 9293 §3.1
#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct TcpHeader {
    source_port: U16,
    destination_port: U16,
    seq: U32,
    ack: U32,
    data_offset: u8,
    flags: u8,
    _window: U16,
    _checksum: U16,
    _urgent: U16,
}

fn parse_tcp<'a>(datagram: &Datagram<'a>) -> Result<ParsedPacket<'a>, PacketError> {
    let (header, _) = TcpHeader::ref_from_prefix(datagram.body.captured)
        .map_err(|_short| PacketError::Short(Layer::Tcp))?;
    let header_len = words(header.data_offset >> 4);
    if header_len < size_of::<TcpHeader>() {
        return Err(PacketError::Length(Layer::Tcp));
    }
    let body = datagram.body.behind(header_len, Layer::Tcp)?;
    Ok(ParsedPacket {
        key: FlowKey {
            source: Endpoint::new(datagram.source, header.source_port.get()),
            destination: Endpoint::new(datagram.destination, header.destination_port.get()),
        },
        seq: header.seq.get(),
        ack: header.ack.get(),
        flags: Flags::from(header.flags),
        payload: body.captured,
        wire_len: u32::try_from(body.wire_len)
            .map_err(|_huge| PacketError::TooLong(body.wire_len))?,
    })
}

/// Bytes in `count` 32-bit words, the unit of IPv4's and TCP's header lengths.
fn words(count: u8) -> usize {
    usize::from(count) * 4
}

#[cfg(test)]
mod tests;
