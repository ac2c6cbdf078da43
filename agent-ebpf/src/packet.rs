//! Ciphertext at the socket: payloads of TCP connections that speak TLS, as they pass the IP layer
//! of any socket of the host; and those of HTTP without TLS on ports that are listed.
//!
//! The programs run for every packet of the host, so the first lines decide: a connection whose
//! first payloads don't begin like TLS is ignored, and costs one table lookup per packet from then
//! on. A packet is always let through.

use core::{arch::asm, mem::offset_of, ptr};

use aya_ebpf::{
    EbpfContext,
    bindings::{__sk_buff, BPF_RB_NO_WAKEUP},
    helpers::{
        bpf_ktime_get_boot_ns, bpf_probe_read_kernel,
        generated::{bpf_get_socket_cookie, bpf_sk_fullsock, bpf_skb_load_bytes, bpf_tcp_sock},
    },
    macros::cgroup_skb,
    programs::SkBuffContext,
};
use scopewatch_common::{
    Capture, Counter, MAX_PAYLOAD, MAX_UNDECIDED, RecordKind, SIZE_CLASSES, SegmentRecord, Way,
};

use crate::{
    emit::{bounded, header, wakeup_on_backlog},
    maps::{DECISIONS, EVENTS, captures_plain, count, count_two, is_plain_port},
    passage::{forget, pass_over},
    socket::{NET_INUM, SOCK_NET},
};

/// Verdict of a `cgroup_skb` program that lets the packet through.
const PASS: i32 = 1;

/// The loopback interface's index, in every network namespace.
const LOOPBACK: u32 = 1;

const AF_INET: u32 = 2;
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
pub struct Tcp {
    source: u16,
    destination: u16,
    pub seq: u32,
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
    let copied = decision & Capture::COPIED != 0;
    if len == 0 {
        // A connection that is captured is captured to its end.
        let tells = tcp.flags & (FIN | RST) != 0 || decision & Capture::ACKS != 0;
        if copied && tells {
            let none = Piece { at: payload_at, seq: 0, len: 0, lost: 0, last: true, first: false };
            piece::<0>(ctx, way, cookie, &tcp, none);
        }
        return None;
    }
    let mut tls = decision & Capture::TLS != 0;
    let mut first = false;
    if !copied {
        let next = decide(ctx, &tcp, payload_at, decision);
        if !listens && next != decision {
            let _ = DECISIONS.insert(cookie, next, 0);
        }
        if next & Capture::COPIED == 0 {
            return None;
        }
        tls = next & Capture::TLS != 0;
        first = !listens && matches!(way, Way::In) && is_first(ctx, &tcp);
    }
    let mut payload = Payload { at: payload_at, len };
    forget(&mut payload);
    // What passes under a listener's cookie is no stream.
    let passed = if tls && !listens {
        pass_over(ctx, way, cookie, &tcp, payload, decision & Capture::SKIPS != 0)
    } else {
        0
    };
    if passed < payload.len {
        pieces(ctx, way, cookie, &tcp, payload, passed, first);
    }
    Some(())
}

/// What becomes of a connection of which `looked` payloads have told nothing, by its next.
#[inline(always)]
fn decide(ctx: &SkBuffContext, tcp: &Tcp, payload_at: u32, looked: u32) -> u32 {
    if begins_like_tls(ctx, payload_at) {
        return Capture::Tls as u32;
    }
    if captures_plain()
        && (is_plain_port(u16::from_be(tcp.source)) || is_plain_port(u16::from_be(tcp.destination)))
    {
        // One that was joined in the middle of a body may begin a message at any later payload.
        return if begins_like_http(ctx, payload_at) { Capture::Plain as u32 } else { looked };
    }
    if looked >= MAX_UNDECIDED { Capture::Ignored as u32 } else { looked + 1 }
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

/// Whether the socket has received nothing before this payload.
#[inline(always)]
fn is_first(ctx: &SkBuffContext, tcp: &Tcp) -> bool {
    // SAFETY: the context is the program's own, and the kernel checks what its helpers return.
    unsafe {
        let socket = (*ctx.skb.skb).__bindgen_anon_2.sk;
        if socket.is_null() {
            return false;
        }
        let socket = bpf_sk_fullsock(socket);
        if socket.is_null() {
            return false;
        }
        let stream = bpf_tcp_sock(socket);
        !stream.is_null()
            && (*stream).bytes_received == 0
            && (*stream).rcv_nxt == u32::from_be(tcp.seq)
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

/// Whether the payload begins with a TLS record's header (RFC 8446 §5.1), or with a proxy's header,
/// behind which TLS may begin in the same segment.
#[inline(always)]
fn begins_like_tls(ctx: &SkBuffContext, at: u32) -> bool {
    let Ok(head) = ctx.load::<[u8; 3]>(at as usize) else { return false };
    match head {
        [20..=23, 3, 0..=4] => true,
        // Both versions of HAProxy's `proxy-protocol.txt`, §2.
        [b'P', b'R', b'O'] => ctx.load::<[u8; 6]>(at as usize).is_ok_and(|h| h == *b"PROXY "),
        [b'\r', b'\n', b'\r'] => {
            ctx.load::<[u8; 6]>(at as usize).is_ok_and(|h| h == *b"\r\n\r\n\0\r")
        }
        _ => false,
    }
}

/// Whether the payload may begin a message of HTTP/1 (RFC 9112 §2.1: a method, or the version), a
/// side of HTTP/2 (RFC 9113 §3.4: the preface, or SETTINGS), or, where that was joined late, a message
/// of it (§6.2: HEADERS).
#[inline(always)]
fn begins_like_http(ctx: &SkBuffContext, at: u32) -> bool {
    let Ok(head) = ctx.load::<[u8; 4]>(at as usize) else { return false };
    match head {
        [b'A'..=b'Z', b'A'..=b'Z', b'A'..=b'Z', b'A'..=b'Z' | b' '] => true,
        [0, _, _, 4] => ctx.load::<[u8; 5]>(at as usize + 4).is_ok_and(|rest| rest == [0; 5]),
        [0, _, _, 1] => ctx
            .load::<[u8; 2]>(at as usize + 4)
            .is_ok_and(|[flags, stream]| flags & !HEADERS_FLAGS == 0 && stream == 0),
        _ => false,
    }
}

/// Flags of a HEADERS frame (RFC 9113 §6.2). Its stream's first octet is 0 until 2^24 are used up.
const HEADERS_FLAGS: u8 = 0x2d;

/// Where a segment's payload lies in its packet.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Payload {
    pub at: u32,
    pub len: u32,
}

/// A part of a segment that makes a record.
#[derive(Clone, Copy)]
pub struct Piece {
    /// Offset in the packet.
    pub at: u32,
    /// Offset in the segment's payload.
    pub seq: u32,
    pub len: u32,
    pub lost: u32,
    /// Whether it ends where the segment does.
    pub last: bool,
    /// Whether the stream begins with it.
    pub first: bool,
}

/// Emits a segment's payload from an offset on. See `emit::bytes` for why the size class is chosen last.
#[inline(always)]
fn pieces(
    ctx: &SkBuffContext,
    way: Way,
    cookie: u64,
    tcp: &Tcp,
    payload: Payload,
    from: u32,
    first: bool,
) {
    let Payload { at, len } = payload;
    let mut done = from;
    for _ in 1..MAX_PIECES {
        if len - done <= MAX_PAYLOAD {
            break;
        }
        let first = first && done == 0;
        let full =
            Piece { at: at + done, seq: done, len: MAX_PAYLOAD, lost: 0, last: false, first };
        piece::<MAX_PAYLOAD>(ctx, way, cookie, tcp, full);
        done += MAX_PAYLOAD;
    }
    let rest = len - done;
    let last = if rest > MAX_PAYLOAD { MAX_PAYLOAD } else { rest };
    let first = first && done == 0;
    let tail = Piece { at: at + done, seq: done, len: last, lost: rest - last, last: true, first };
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
pub fn piece<const CLASS: u32>(
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
        locate(ctx, start.cast());
        describe(ctx, way, cookie, tcp, start.cast());
        copy_payload::<CLASS>(ctx, start.add(size_of::<SegmentRecord>()), piece)
    };
    let record = start.cast::<SegmentRecord>();
    // SAFETY: as above.
    unsafe {
        (*record).seq = u32::from_be(tcp.seq).wrapping_add(piece.seq);
        (*record).len = copied;
        (*record).lost = piece.len - copied + piece.lost;
        if !piece.last {
            // The stream ends behind the last byte of the segment, not of this piece.
            (*record).flags &= !(FIN as u32);
        }
        if piece.first {
            (*record).flags |= SegmentRecord::FIRST;
        }
    }
    if CLASS == 0 {
        slot.submit(BPF_RB_NO_WAKEUP as u64);
    } else {
        slot.submit(wakeup_on_backlog());
    }
    count(Counter::SegmentRecords, 1);
    Some(())
}

/// Fills in the network namespace of the packet's socket.
///
/// The verifier knows what the socket is and refuses to look where it should not; read back from
/// the record it is but a number, which a helper may try.
#[inline(always)]
unsafe fn locate(ctx: &SkBuffContext, record: *mut SegmentRecord) {
    // SAFETY: the context is the program's own, the record the caller's ring memory; the helper
    // checks what it reads.
    unsafe {
        let socket = (*ctx.skb.skb).__bindgen_anon_2.sk as u64;
        ptr::write_volatile(&raw mut (*record).cookie, socket);
        let socket = ptr::read_volatile(&raw const (*record).cookie);
        let net = socket.wrapping_add(SOCK_NET.load() as u64) as *const u64;
        let net = bpf_probe_read_kernel(net).unwrap_or(0);
        let inum = net.wrapping_add(NET_INUM.load() as u64) as *const u32;
        (*record).netns = bpf_probe_read_kernel(inum).unwrap_or(0);
    }
}

/// Fills in all of a record but what differs between the pieces of a segment, and its namespace.
#[inline(always)]
unsafe fn describe(
    ctx: &SkBuffContext,
    way: Way,
    cookie: u64,
    tcp: &Tcp,
    record: *mut SegmentRecord,
) {
    // SAFETY: the caller's ring memory.
    unsafe {
        if is_listener(ctx) {
            packet_ends(ctx, tcp, record);
        } else {
            socket_ends(ctx, way, record);
        }
        (*record).header = header(RecordKind::Segment, way as u8, 0, bpf_ktime_get_boot_ns());
        (*record).cookie = cookie;
        (*record).ack = u32::from_be(tcp.ack);
        (*record).flags = tcp.flags as u32;
        (*record).reserved = 0;
    }
}

/// Fills in the ends as the packet has them.
#[inline(always)]
unsafe fn packet_ends(ctx: &SkBuffContext, tcp: &Tcp, record: *mut SegmentRecord) {
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
        (*record).source_port = u16::from_be(tcp.source);
        (*record).destination_port = u16::from_be(tcp.destination);
    }
}

/// Fills in the ends as the packet's socket has them.
#[inline(always)]
unsafe fn socket_ends(ctx: &SkBuffContext, way: Way, record: *mut SegmentRecord) {
    const WORD: usize = size_of::<u32>();
    const LOCAL: usize = offset_of!(__sk_buff, local_ip6);
    const REMOTE: usize = offset_of!(__sk_buff, remote_ip6);
    let local_port = word::<{ offset_of!(__sk_buff, local_port) }>(ctx) as u16;
    let remote_port = u32::from_be(word::<{ offset_of!(__sk_buff, remote_port) }>(ctx)) as u16;
    // SAFETY: the caller's ring memory, whose addresses lie at multiples of four.
    unsafe {
        let source = (&raw mut (*record).source).cast::<u32>();
        let destination = (&raw mut (*record).destination).cast::<u32>();
        let (local, remote) = if matches!(way, Way::In) {
            (*record).source_port = remote_port;
            (*record).destination_port = local_port;
            (destination, source)
        } else {
            (*record).source_port = local_port;
            (*record).destination_port = remote_port;
            (source, destination)
        };
        if word::<{ offset_of!(__sk_buff, family) }>(ctx) == AF_INET {
            map_into(local, word::<{ offset_of!(__sk_buff, local_ip4) }>(ctx));
            map_into(remote, word::<{ offset_of!(__sk_buff, remote_ip4) }>(ctx));
        } else {
            *local = word::<LOCAL>(ctx);
            *local.add(1) = word::<{ LOCAL + WORD }>(ctx);
            *local.add(2) = word::<{ LOCAL + 2 * WORD }>(ctx);
            *local.add(3) = word::<{ LOCAL + 3 * WORD }>(ctx);
            *remote = word::<REMOTE>(ctx);
            *remote.add(1) = word::<{ REMOTE + WORD }>(ctx);
            *remote.add(2) = word::<{ REMOTE + 2 * WORD }>(ctx);
            *remote.add(3) = word::<{ REMOTE + 3 * WORD }>(ctx);
        }
    }
}

/// Writes an IPv4 address in its IPv4-mapped form (RFC 4291 §2.5.5.2).
///
/// # Safety
/// `to` has room for four words.
#[inline(always)]
unsafe fn map_into(to: *mut u32, address: u32) {
    // SAFETY: the caller's.
    unsafe {
        *to = 0;
        *to.add(1) = 0;
        *to.add(2) = u32::from_be(0xffff);
        *to.add(3) = address;
    }
}

/// The word at the offset `AT` of the context. The kernel wants each word read by itself, at a
/// constant offset from the unchanged context, which the compiler must not rearrange.
#[inline(always)]
fn word<const AT: usize>(ctx: &SkBuffContext) -> u32 {
    let value: u64;
    // SAFETY: the context is the program's own, and the kernel checks the offset.
    unsafe {
        asm!("{0} = *(u32 *)({1} + {2})", out(reg) value, in(reg) ctx.as_ptr(), const AT);
    }
    value as u32
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
