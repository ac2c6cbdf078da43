//! Ciphertext at the socket: payloads of TCP connections that speak TLS, as they pass the IP layer
//! of any socket of the host.
//!
//! The programs run for every packet of the host, so the first lines decide: a connection whose
//! first payloads don't begin like TLS is ignored, and costs one table lookup per packet from then
//! on. A packet is always let through.

use aya_ebpf::{
    EbpfContext,
    bindings::BPF_RB_NO_WAKEUP,
    helpers::{
        bpf_ktime_get_boot_ns,
        generated::{bpf_get_socket_cookie, bpf_skb_load_bytes},
    },
    macros::cgroup_skb,
    programs::SkBuffContext,
};
use scopewatch_common::{
    Capture, Counter, MAX_PAYLOAD, MAX_UNDECIDED, RecordKind, SIZE_CLASSES, SegmentRecord, Way,
};

use crate::{
    emit::{bounded, header, wakeup_on_backlog},
    maps::{DECISIONS, EVENTS, count, count_two},
};

/// Verdict of a `cgroup_skb` program that lets the packet through.
const PASS: i32 = 1;

/// The loopback interface's index, in every network namespace.
const LOOPBACK: u32 = 1;

const IPPROTO_TCP: u8 = 6;
const IPV6_HOP_BY_HOP: u8 = 0;
const IPV6_ROUTING: u8 = 43;
const IPV6_DESTINATION: u8 = 60;
const IPV6_HEADER_LEN: u32 = 40;

/// IPv6 extension headers that are stepped over; real packets have one or none.
const MAX_EXTENSIONS: u32 = 4;

/// Records that one segment may fill: 64 KiB in the largest class.
const MAX_PIECES: u32 = 4;

/// State of a listening socket (`enum` of linux/tcp_states.h).
const TCP_LISTEN: u32 = 10;

const FIN: u8 = 0x01;
const RST: u8 = 0x04;

/// First bytes of a TCP header (RFC 9293 §3.1), in network byte order.
#[repr(C)]
#[derive(Clone, Copy)]
struct Tcp {
    source: u16,
    destination: u16,
    seq: u32,
    ack: u32,
    offset: u8,
    flags: u8,
}

/// A packet to a socket of this host.
#[cgroup_skb(ingress)]
pub fn packet_in(ctx: SkBuffContext) -> i32 {
    look_at(&ctx, Way::In);
    PASS
}

/// A packet from a socket of this host. Those that stay on the host are seen at their receiver.
#[cgroup_skb(egress)]
pub fn packet_out(ctx: SkBuffContext) -> i32 {
    // SAFETY: the context is the program's own.
    if unsafe { (*ctx.skb.skb).ifindex } != LOOPBACK {
        look_at(&ctx, Way::Out);
    }
    PASS
}

#[inline(always)]
fn look_at(ctx: &SkBuffContext, way: Way) -> Option<()> {
    // SAFETY: the context is the program's own.
    let cookie = unsafe { bpf_get_socket_cookie(ctx.as_ptr()) };
    if cookie == 0 {
        return None;
    }
    // A connection's first payload may pass under its listener's cookie (deferred accept): what
    // was decided for one connection must not hold for all.
    let listens = is_listener(ctx);
    let decision = if listens {
        0
    } else {
        // SAFETY: a plain integer, read once.
        unsafe { DECISIONS.get(cookie) }.copied().unwrap_or(0)
    };
    if decision == Capture::Ignored as u32 {
        return None;
    }
    let tcp_at = tcp_offset(ctx)?;
    let tcp: Tcp = ctx.load(tcp_at as usize).ok()?;
    let payload_at = tcp_at + ((tcp.offset >> 4) as u32) * 4;
    let len = ctx.len().checked_sub(payload_at)?;
    if len == 0 {
        // A connection that is captured is captured to its end.
        if decision == Capture::Tls as u32 && tcp.flags & (FIN | RST) != 0 {
            piece::<0>(ctx, way, cookie, &tcp, Piece { at: payload_at, seq: 0, len: 0, lost: 0 });
        }
        return None;
    }
    if decision != Capture::Tls as u32 {
        let next = if begins_like_tls(ctx, payload_at) {
            Capture::Tls as u32
        } else if decision >= MAX_UNDECIDED {
            Capture::Ignored as u32
        } else {
            decision + 1
        };
        if !listens {
            let _ = DECISIONS.insert(cookie, next, 0);
        }
        if next != Capture::Tls as u32 {
            return None;
        }
    }
    pieces(ctx, way, cookie, &tcp, payload_at, len);
    Some(())
}

/// Whether the packet's socket is a listening one.
#[inline(always)]
fn is_listener(ctx: &SkBuffContext) -> bool {
    // SAFETY: the context is the program's own; the kernel checks that the socket is there.
    unsafe {
        let socket = (*ctx.skb.skb).__bindgen_anon_2.sk;
        !socket.is_null() && (*socket).state == TCP_LISTEN
    }
}

/// Where the TCP header begins; `None` for another protocol.
#[inline(always)]
fn tcp_offset(ctx: &SkBuffContext) -> Option<u32> {
    let first: u8 = ctx.load(0).ok()?;
    if first >> 4 == 4 {
        let protocol: u8 = ctx.load(9).ok()?;
        return (protocol == IPPROTO_TCP).then_some(((first & 0xf) as u32) * 4);
    }
    let mut next: u8 = ctx.load(6).ok()?;
    let mut at = IPV6_HEADER_LEN;
    for _ in 0..MAX_EXTENSIONS {
        match next {
            IPPROTO_TCP => return Some(at),
            IPV6_HOP_BY_HOP | IPV6_ROUTING | IPV6_DESTINATION => {
                let head: [u8; 2] = ctx.load(at as usize).ok()?;
                next = head[0];
                at += (head[1] as u32 + 1) * 8;
            }
            _ => return None,
        }
    }
    (next == IPPROTO_TCP).then_some(at)
}

/// Whether the payload begins with a TLS record's header (RFC 8446 §5.1).
#[inline(always)]
fn begins_like_tls(ctx: &SkBuffContext, at: u32) -> bool {
    let Ok(head) = ctx.load::<[u8; 3]>(at as usize) else { return false };
    matches!(head, [20..=23, 3, 0..=4])
}

/// A part of a segment that makes a record.
#[derive(Clone, Copy)]
struct Piece {
    /// Offset in the packet.
    at: u32,
    /// Offset in the segment's payload.
    seq: u32,
    len: u32,
    lost: u32,
}

/// Emits a segment's payload. See `emit::bytes` for why the size class is chosen last.
#[inline(always)]
fn pieces(ctx: &SkBuffContext, way: Way, cookie: u64, tcp: &Tcp, payload_at: u32, len: u32) {
    let mut done = 0;
    for _ in 1..MAX_PIECES {
        if len - done <= MAX_PAYLOAD {
            break;
        }
        let full = Piece { at: payload_at + done, seq: done, len: MAX_PAYLOAD, lost: 0 };
        piece::<MAX_PAYLOAD>(ctx, way, cookie, tcp, full);
        done += MAX_PAYLOAD;
    }
    let rest = len - done;
    let last = if rest > MAX_PAYLOAD { MAX_PAYLOAD } else { rest };
    let tail = Piece { at: payload_at + done, seq: done, len: last, lost: rest - last };
    if last <= SIZE_CLASSES[0] {
        piece::<{ SIZE_CLASSES[0] }>(ctx, way, cookie, tcp, tail);
    } else if last <= SIZE_CLASSES[1] {
        piece::<{ SIZE_CLASSES[1] }>(ctx, way, cookie, tcp, tail);
    } else if last <= SIZE_CLASSES[2] {
        piece::<{ SIZE_CLASSES[2] }>(ctx, way, cookie, tcp, tail);
    } else {
        piece::<{ SIZE_CLASSES[3] }>(ctx, way, cookie, tcp, tail);
    }
}

/// Emits one record of the size class `CLASS`.
#[inline(always)]
fn piece<const CLASS: u32>(
    ctx: &SkBuffContext,
    way: Way,
    cookie: u64,
    tcp: &Tcp,
    piece: Piece,
) -> Option<()> {
    let size = size_of::<SegmentRecord>() + CLASS as usize;
    let Some(mut slot) = EVENTS.reserve_bytes(size, 0) else {
        count_two(Counter::RingFull, 1, Counter::RingFullBytes, piece.len as u64);
        return None;
    };
    let start = slot.as_mut_ptr();
    // SAFETY: ring memory is 8-byte aligned and as long as the record's head and its class.
    let copied = unsafe {
        describe(ctx, way, cookie, tcp, start.cast());
        copy_payload::<CLASS>(ctx, start.add(size_of::<SegmentRecord>()), piece)
    };
    let record = start.cast::<SegmentRecord>();
    // SAFETY: as above.
    unsafe {
        (*record).seq = u32::from_be(tcp.seq).wrapping_add(piece.seq);
        (*record).len = copied;
        (*record).lost = piece.len - copied + piece.lost;
    }
    if CLASS == 0 {
        slot.submit(BPF_RB_NO_WAKEUP as u64);
    } else {
        slot.submit(wakeup_on_backlog());
    }
    count(Counter::SegmentRecords, 1);
    Some(())
}

/// Fills in all of a record but what differs between the pieces of a segment.
#[inline(always)]
unsafe fn describe(
    ctx: &SkBuffContext,
    way: Way,
    cookie: u64,
    tcp: &Tcp,
    record: *mut SegmentRecord,
) {
    let first: u8 = ctx.load(0).unwrap_or(0);
    // SAFETY: the caller's ring memory.
    unsafe {
        if first >> 4 == 4 {
            (*record).source = mapped(ctx.load(12).unwrap_or([0; 4]));
            (*record).destination = mapped(ctx.load(16).unwrap_or([0; 4]));
        } else {
            (*record).source = ctx.load(8).unwrap_or([0; 16]);
            (*record).destination = ctx.load(24).unwrap_or([0; 16]);
        }
        (*record).header = header(RecordKind::Segment, way as u8, 0, bpf_ktime_get_boot_ns());
        (*record).cookie = cookie;
        (*record).source_port = u16::from_be(tcp.source);
        (*record).destination_port = u16::from_be(tcp.destination);
        (*record).ack = u32::from_be(tcp.ack);
        (*record).flags = tcp.flags as u32;
    }
}

#[inline(always)]
fn mapped(v4: [u8; 4]) -> [u8; 16] {
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, v4[0], v4[1], v4[2], v4[3]]
}

/// Copies a piece, at most `CLASS` bytes, from the packet; all, or none on failure.
///
/// # Safety
/// `to` has room for `CLASS` bytes.
#[inline(always)]
unsafe fn copy_payload<const CLASS: u32>(ctx: &SkBuffContext, to: *mut u8, piece: Piece) -> u32 {
    if piece.len == 0 || piece.len > CLASS {
        return 0;
    }
    let len = bounded::<CLASS>(piece.len as u64);
    // SAFETY: the destination is long enough; the helper checks the source.
    match unsafe { bpf_skb_load_bytes(ctx.as_ptr(), piece.at, to.cast(), len as u32) } {
        0 => len as u32,
        _ => 0,
    }
}
