//! Pieces of segments into the ring, with where they were seen.
//!
//! In: a packet that matters, and which part of its payload. Out: [`SegmentRecord`]s.

use core::ptr;

use aya_ebpf::{
    bindings::BPF_RB_NO_WAKEUP,
    helpers::{bpf_ktime_get_boot_ns, bpf_probe_read_kernel},
};
use scopewatch_common::{Counter, MAX_PAYLOAD, RecordKind, SIZE_CLASSES, SegmentRecord, Way};

use crate::{
    emit::{bounded, header, wakeup_on_backlog},
    maps::{EVENTS, count, count_two},
    packet::{FIN, Packet, Tcp},
    socket::{NET_INUM, SOCK_NET},
};

/// Records that one segment may fill: 64 KiB in the largest class.
const MAX_PIECES: u32 = 4;

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
pub fn pieces(
    packet: &impl Packet,
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
        piece::<MAX_PAYLOAD>(packet, way, cookie, tcp, full);
        done += MAX_PAYLOAD;
    }
    let rest = len - done;
    let last = if rest > MAX_PAYLOAD { MAX_PAYLOAD } else { rest };
    let first = first && done == 0;
    let tail = Piece { at: at + done, seq: done, len: last, lost: rest - last, last: true, first };
    if last <= SIZE_CLASSES[0] {
        piece::<{ SIZE_CLASSES[0] }>(packet, way, cookie, tcp, tail);
    } else if last <= SIZE_CLASSES[1] {
        piece::<{ SIZE_CLASSES[1] }>(packet, way, cookie, tcp, tail);
    } else if last <= SIZE_CLASSES[2] {
        piece::<{ SIZE_CLASSES[2] }>(packet, way, cookie, tcp, tail);
    } else {
        piece::<{ SIZE_CLASSES[3] }>(packet, way, cookie, tcp, tail);
    }
}

/// Emits one record of the size class `CLASS`.
#[inline(always)]
pub fn piece<const CLASS: u32>(
    packet: &impl Packet,
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
        locate(packet, start.cast());
        describe(packet, way, cookie, tcp, start.cast());
        copy_payload::<CLASS>(packet, start.add(size_of::<SegmentRecord>()), piece)
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
#[inline(always)]
unsafe fn locate(packet: &impl Packet, record: *mut SegmentRecord) {
    // SAFETY: the caller's ring memory; the helper checks what it reads.
    unsafe {
        packet.socket(&raw mut (*record).cookie);
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
    packet: &impl Packet,
    way: Way,
    cookie: u64,
    tcp: &Tcp,
    record: *mut SegmentRecord,
) {
    // SAFETY: the caller's ring memory.
    unsafe {
        if packet.is_listener() {
            packet_ends(packet, tcp, record);
        } else {
            packet.ends(way, record);
        }
        (*record).header = header(RecordKind::Segment, way as u8, 0, bpf_ktime_get_boot_ns());
        (*record).cookie = cookie;
        (*record).ack = u32::from_be(tcp.ack);
        (*record).flags = tcp.flags as u32;
        (*record).cgroup = packet.cgroup();
    }
}

/// Fills in the ends as the packet has them.
#[inline(always)]
unsafe fn packet_ends(packet: &impl Packet, tcp: &Tcp, record: *mut SegmentRecord) {
    let first: u8 = packet.load(0).unwrap_or(0);
    // SAFETY: the caller's ring memory.
    unsafe {
        if first >> 4 == 4 {
            (*record).source = mapped(packet.load(12).unwrap_or([0; 4]));
            (*record).destination = mapped(packet.load(16).unwrap_or([0; 4]));
        } else {
            (*record).source = packet.load(8).unwrap_or([0; 16]);
            (*record).destination = packet.load(24).unwrap_or([0; 16]);
        }
        (*record).source_port = u16::from_be(tcp.source);
        (*record).destination_port = u16::from_be(tcp.destination);
    }
}

/// Writes an IPv4 address in its IPv4-mapped form (RFC 4291 §2.5.5.2).
///
/// # Safety
/// `to` has room for four words.
#[inline(always)]
pub unsafe fn map_into(to: *mut u32, address: u32) {
    // SAFETY: the caller's.
    unsafe {
        *to = 0;
        *to.add(1) = 0;
        *to.add(2) = u32::from_be(0xffff);
        *to.add(3) = address;
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
unsafe fn copy_payload<const CLASS: u32>(packet: &impl Packet, to: *mut u8, piece: Piece) -> u32 {
    if piece.len == 0 || piece.len > CLASS {
        return 0;
    }
    let len = bounded::<CLASS>(piece.len as u64) as u32;
    // SAFETY: the destination is long enough.
    if unsafe { packet.copy(piece.at, to, len) } { len } else { 0 }
}
