//! Ciphertext at the socket: payloads of TCP connections that speak TLS, as they pass the sockets of
//! the host; and those of HTTP without TLS on ports that are listed.
//!
//! In: packets, from `cgroup` or `frame`. Out: the pieces of those that matter, to `piece`. It is done
//! for every packet of the host, so the first lines decide: a connection whose first payloads don't
//! begin like TLS is ignored, and costs one table lookup per packet from then on.

use core::mem::MaybeUninit;

use scopewatch_common::{Capture, MAX_UNDECIDED, SegmentRecord, Way};

use crate::{
    maps::{DECISIONS, captures_plain, is_plain_port},
    passage::{forget, pass_over},
    piece::{Payload, Piece, piece, pieces},
};

/// The loopback interface's index, in every network namespace.
pub const LOOPBACK: u32 = 1;

pub const AF_INET: u32 = 2;
const IPPROTO_TCP: u8 = 6;
const IPV6_HOP_BY_HOP: u8 = 0;
const IPV6_ROUTING: u8 = 43;
const IPV6_DESTINATION: u8 = 60;
pub const IPV6_HEADER_LEN: u32 = 40;

/// IPv6 extension headers that are stepped over; real packets have one or none.
const MAX_EXTENSIONS: u32 = 4;

/// State of a listening socket (`enum` of linux/tcp_states.h).
pub const TCP_LISTEN: u32 = 10;

pub const FIN: u8 = 0x01;
const RST: u8 = 0x04;

/// First bytes of a TCP header (RFC 9293 §3.1), in network byte order.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Tcp {
    pub source: u16,
    pub destination: u16,
    pub seq: u32,
    pub ack: u32,
    offset: u8,
    pub flags: u8,
}

/// A packet as a program of one kind sees it, with its socket. Offsets are from the IP header on.
pub trait Packet {
    /// Bytes that it has.
    fn len(&self) -> u32;

    /// Copies `len` bytes; whether it has them.
    ///
    /// # Safety
    /// `to` has room for them.
    unsafe fn copy(&self, at: u32, to: *mut u8, len: u32) -> bool;

    /// Whether its socket is a listening one.
    fn is_listener(&self) -> bool;

    /// Whether the socket has received nothing before this payload.
    fn is_first(&self, tcp: &Tcp) -> bool;

    /// Where its socket lies in the kernel, written to `to`: the verifier may know what it is and
    /// refuse to look where it should not; read back from there it is but a number.
    ///
    /// # Safety
    /// `to` can be written to.
    unsafe fn socket(&self, to: *mut u64);

    /// Lower half of the id of its socket's cgroup, 0 if it is not known.
    fn cgroup(&self) -> u32;

    /// Fills in the ends as its socket has them, which under NAT differ from the packet's.
    ///
    /// # Safety
    /// `record` can be written to.
    unsafe fn ends(&self, way: Way, record: *mut SegmentRecord);

    /// A value of the packet, of plain bytes.
    #[inline(always)]
    fn load<T: Copy>(&self, at: u32) -> Option<T> {
        let mut value = MaybeUninit::<T>::uninit();
        // SAFETY: as long as said; it is read only once it was written.
        unsafe {
            self.copy(at, value.as_mut_ptr().cast(), size_of::<T>() as u32)
                .then(|| value.assume_init())
        }
    }
}

/// A packet's connection.
#[derive(Clone, Copy)]
pub struct Met {
    pub cookie: u64,
    /// A connection's first payload may pass under its listener's cookie (deferred accept): what
    /// was decided for one connection must not hold for all.
    listens: bool,
    decision: u32,
}

impl Met {
    /// The connection that has `cookie`; `None` if it is ignored.
    #[inline(always)]
    pub fn at(packet: &impl Packet, cookie: u64) -> Option<Self> {
        let listens = packet.is_listener();
        let decision = if listens {
            0
        } else {
            // SAFETY: a plain integer, read once.
            unsafe { DECISIONS.get(cookie) }.copied().unwrap_or(0)
        };
        (decision != Capture::Ignored as u32).then_some(Self { cookie, listens, decision })
    }
}

/// Tells of a packet what is worth it. Its TCP header begins at `tcp_at`.
#[inline(always)]
pub fn tell_of(packet: &impl Packet, way: Way, met: Met, tcp_at: u32, tcp: &Tcp) -> Option<()> {
    let Met { cookie, listens, decision } = met;
    let payload_at = tcp_at + ((tcp.offset >> 4) as u32) * 4;
    let len = packet.len().checked_sub(payload_at)?;
    let copied = decision & Capture::COPIED != 0;
    if len == 0 {
        // A connection that is captured is captured to its end.
        let tells = tcp.flags & (FIN | RST) != 0 || decision & Capture::ACKS != 0;
        if copied && tells {
            let none = Piece { at: payload_at, seq: 0, len: 0, lost: 0, last: true, first: false };
            piece::<0>(packet, way, cookie, tcp, none);
        }
        return None;
    }
    let mut tls = decision & Capture::TLS != 0;
    let mut first = false;
    if !copied {
        let next = decide(packet, tcp, payload_at, decision);
        if !listens && next != decision {
            let _ = DECISIONS.insert(cookie, next, 0);
        }
        if next & Capture::COPIED == 0 {
            return None;
        }
        tls = next & Capture::TLS != 0;
        first = !listens && matches!(way, Way::In) && packet.is_first(tcp);
    }
    let mut payload = Payload { at: payload_at, len };
    forget(&mut payload);
    // What passes under a listener's cookie is no stream.
    let passed = if tls && !listens {
        pass_over(packet, way, cookie, tcp, payload, decision & Capture::SKIPS != 0)
    } else {
        0
    };
    if passed < payload.len {
        pieces(packet, way, cookie, tcp, payload, passed, first);
    }
    Some(())
}

/// What becomes of a connection of which `looked` payloads have told nothing, by its next.
#[inline(always)]
fn decide(packet: &impl Packet, tcp: &Tcp, payload_at: u32, looked: u32) -> u32 {
    if begins_like_tls(packet, payload_at) {
        return Capture::Tls as u32;
    }
    if captures_plain()
        && (is_plain_port(u16::from_be(tcp.source)) || is_plain_port(u16::from_be(tcp.destination)))
    {
        // One that was joined in the middle of a body may begin a message at any later payload.
        return if begins_like_http(packet, payload_at) { Capture::Plain as u32 } else { looked };
    }
    if looked >= MAX_UNDECIDED { Capture::Ignored as u32 } else { looked + 1 }
}

/// The TCP header, and where it begins; `None` for another protocol.
#[inline(always)]
pub fn tcp_of(packet: &impl Packet) -> Option<(u32, Tcp)> {
    let mut at = tcp_offset(packet)?;
    forget(&mut at);
    Some((at, packet.load(at)?))
}

#[inline(always)]
fn tcp_offset(packet: &impl Packet) -> Option<u32> {
    let first: u8 = packet.load(0)?;
    if first >> 4 == 4 {
        let protocol: u8 = packet.load(9)?;
        return (protocol == IPPROTO_TCP).then_some(((first & 0xf) as u32) * 4);
    }
    let mut next: u8 = packet.load(6)?;
    let mut at = IPV6_HEADER_LEN;
    for _ in 0..MAX_EXTENSIONS {
        match next {
            IPPROTO_TCP => return Some(at),
            IPV6_HOP_BY_HOP | IPV6_ROUTING | IPV6_DESTINATION => {
                let head: [u8; 2] = packet.load(at)?;
                next = head[0];
                at += (head[1] as u32 + 1) * 8;
            }
            _ => return None,
        }
    }
    (next == IPPROTO_TCP).then_some(at)
}

/// Whether the payload begins with a TLS record's header (RFC 8446 §5.1), or with a proxy's header,
/// behind which TLS may begin in the same segment.
#[inline(always)]
fn begins_like_tls(packet: &impl Packet, at: u32) -> bool {
    let Some(head) = packet.load::<[u8; 3]>(at) else { return false };
    match head {
        [20..=23, 3, 0..=4] => true,
        // Both versions of HAProxy's `proxy-protocol.txt`, §2.
        [b'P', b'R', b'O'] => packet.load::<[u8; 6]>(at).is_some_and(|h| h == *b"PROXY "),
        [b'\r', b'\n', b'\r'] => packet.load::<[u8; 6]>(at).is_some_and(|h| h == *b"\r\n\r\n\0\r"),
        _ => false,
    }
}

/// Whether the payload may begin a message of HTTP/1 (RFC 9112 §2.1: a method, or the version), a
/// side of HTTP/2 (RFC 9113 §3.4: the preface, or SETTINGS), or, where that was joined late, a message
/// of it (§6.2: HEADERS).
#[inline(always)]
fn begins_like_http(packet: &impl Packet, at: u32) -> bool {
    let Some(head) = packet.load::<[u8; 4]>(at) else { return false };
    match head {
        [b'A'..=b'Z', b'A'..=b'Z', b'A'..=b'Z', b'A'..=b'Z' | b' '] => true,
        [0, _, _, 4] => packet.load::<[u8; 5]>(at + 4).is_some_and(|rest| rest == [0; 5]),
        [0, _, _, 1] => packet
            .load::<[u8; 2]>(at + 4)
            .is_some_and(|[flags, stream]| flags & !HEADERS_FLAGS == 0 && stream == 0),
        _ => false,
    }
}

/// Flags of a HEADERS frame (RFC 9113 §6.2). Its stream's first octet is 0 until 2^24 are used up.
const HEADERS_FLAGS: u8 = 0x2d;
