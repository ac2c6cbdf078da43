//! One TCP segment as the kernel half saw it: addresses, sequence numbers, flags and payload.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use crate::clock::Timestamp;

/// Longest packet that is believed, in bytes: a "BIG TCP" super-packet of Linux 6.3 and newer
/// (`GSO_MAX_SIZE`, 8 × 65,536).
pub const MAX_PACKET: usize = 8 * 65_536;

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

    /// The port.
    #[must_use]
    pub const fn port(self) -> u16 {
        self.port
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

/// The two ends of a connection, in the direction in which a packet went, as one network namespace
/// has them: another may use the same addresses for another connection.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct FlowKey {
    /// Inode of the namespace of the socket at which it was seen, 0 if unknown.
    pub netns: u32,
    /// Who sent the packet.
    pub source: Endpoint,
    /// Who is to receive it.
    pub destination: Endpoint,
}

impl FlowKey {
    /// The key of packets that go the other way.
    #[must_use]
    pub const fn reversed(self) -> Self {
        Self { netns: self.netns, source: self.destination, destination: self.source }
    }

    /// The same key for both directions of one connection.
    #[must_use]
    pub fn undirected(self) -> Self {
        if self.source <= self.destination { self } else { self.reversed() }
    }
}

/// The control bits that matter to a passive reader (RFC 9293 §3.1), and what its place tells.
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
    /// No bit of the header's: the socket that received the segment had received nothing before.
    pub first: bool,
}

impl From<u8> for Flags {
    fn from(bits: u8) -> Self {
        Self {
            fin: bits & 0x01 != 0,
            syn: bits & 0x02 != 0,
            rst: bits & 0x04 != 0,
            ack: bits & 0x10 != 0,
            first: false,
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

#[cfg(test)]
mod tests;
