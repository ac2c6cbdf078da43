//! Bodies that nobody wants: of the records of TLS that hold nothing else, only headers are told.
//!
//! From the first record of a stream on, each header says where the next one is. Once the agent
//! knows how much of a body is to come, it says before which sequence number all is body; records
//! that end before it are passed over. What the agent learns late costs copies, nothing else.
//!
//! Every byte is told of, as copied or as passed over. A stream whose next header was not seen (its
//! segment was lost or came late) is copied until the header comes, or for good.

use core::ptr;

use aya_ebpf::helpers::generated::bpf_probe_read_kernel as read_kernel;
use scopewatch_common::{Counter, MIN_SKIPPED, Way, stream_key};

use crate::{
    emit::bounded,
    maps::{PLACES, Place, SKIPS, count},
    packet::{Packet, Tcp},
    piece::{Payload, Piece, piece},
};

/// Bytes of a record's header: type, version, length (RFC 8446 §5.1).
const HEADER: u32 = 5;

/// Longest fragment of a record (RFC 5246 §6.2.3).
const MAX_FRAGMENT: u32 = (1 << 14) + 2048;

/// Type of records that carry data.
const APPLICATION_DATA: u64 = 23;

/// Type of the record that begins a stream, but for an alert that ends it.
const HANDSHAKE: u8 = 22;

/// Headers that are followed within one segment: 64 KiB hold four full records. Streams of small
/// ones are copied.
const MAX_HEADERS: u32 = 8;

/// Size class of records that hold a header.
const HEADER_CLASS: u32 = 8;

/// How far a segment was walked through. Offsets are of its payload.
#[repr(C)]
#[derive(Clone, Copy)]
struct Walk {
    /// Where the payload lies in the packet.
    base: u32,
    /// Its length.
    len: u32,
    /// Records that end up to here may be passed over; 0 if none.
    limit: u32,
    /// The next byte of a header.
    at: u32,
    /// Bytes that were told of.
    done: u32,
    // As in `Place`.
    head: u32,
    have: u32,
    state: u32,
}

/// Follows the records of a segment, and tells of those at its start that are passed over. How many
/// bytes these have; the rest is to be copied.
#[inline(always)]
pub fn pass_over(
    packet: &impl Packet,
    way: Way,
    cookie: u64,
    tcp: &Tcp,
    payload: Payload,
    skips: bool,
) -> u32 {
    let key = stream_key(cookie, way);
    let seq = u32::from_be(tcp.seq);
    let Some(place) = place(packet, key, seq, payload.at) else { return 0 };
    // SAFETY: the verifier checked the pointer.
    let word = unsafe { place.read_volatile() };
    let before = Place::of(word);
    let at = before.next.wrapping_sub(seq);
    if before.state == Place::LOST || at > i32::MAX as u32 {
        return 0;
    }
    // SAFETY: a plain integer, read once.
    let end = if skips { unsafe { SKIPS.get(key) }.copied().unwrap_or(seq) } else { seq };
    let mut limit = end.wrapping_sub(seq);
    if limit > i32::MAX as u32 {
        // It lies behind, and will seem to lie ahead again when numbers have come half-way round.
        let _ = SKIPS.remove(key);
        limit = 0;
    }
    let Payload { at: base, len } = payload;
    let Place { head, have, state, .. } = before;
    let mut walk = Walk { base, len, limit, at, done: 0, head, have, state };
    forget(&mut walk);
    if walk.state == Place::PASSED && walk.at > 0 {
        let rest = if walk.at < walk.len { walk.at } else { walk.len };
        tell::<0>(packet, way, cookie, tcp, &mut walk, 0, rest);
    }
    for _ in 0..MAX_HEADERS {
        forget(&mut walk);
        if walk.at >= walk.len || !step(packet, way, cookie, tcp, &mut walk) {
            break;
        }
    }
    forget(&mut walk);
    if walk.at < walk.len {
        split(packet, way, cookie, tcp, &mut walk);
    }
    let Walk { head, have, state, .. } = walk;
    let after = Place { next: seq.wrapping_add(walk.at), head, have, state }.word();
    // One who changes nothing must not undo what another processor has found out meanwhile.
    if after != word {
        // SAFETY: as above.
        unsafe { place.write_volatile(after) };
    }
    walk.done
}

/// Takes one record: whether its header lies in the segment, and is one. What is passed over
/// follows what was, as only a segment's start can be told so.
#[inline(always)]
fn step(packet: &impl Packet, way: Way, cookie: u64, tcp: &Tcp, walk: &mut Walk) -> bool {
    let begun = walk.at;
    if walk.len - begun < HEADER {
        return false;
    }
    let Some([a, b, c, d, e]) = packet.load::<[u8; 5]>(walk.base + begun) else {
        return false;
    };
    let bytes = u64::from_be_bytes([0, 0, 0, a, b, c, d, e]);
    // What an earlier segment had of the header comes before.
    let have = walk.have & 7;
    let seen = (walk.head as u64) << ((HEADER - have) * 8);
    let header = seen | (bytes >> (have * 8));
    let (content, length) = (header >> 32, (header & 0xffff) as u32);
    let is_header = content >= 20
        && content <= APPLICATION_DATA
        && (header >> 24) & 0xff == 3
        && (header >> 16) & 0xff <= 4
        && length <= MAX_FRAGMENT;
    if !is_header {
        walk.state = Place::LOST;
        return false;
    }
    let told = HEADER - have;
    walk.at = begun + told + length;
    (walk.head, walk.have) = (0, 0);
    walk.state = Place::COPIED;
    if content == APPLICATION_DATA && length >= MIN_SKIPPED && walk.at <= walk.limit {
        walk.state = Place::PASSED;
        if walk.done == begun {
            let to = if walk.at < walk.len { walk.at } else { walk.len };
            tell::<HEADER_CLASS>(packet, way, cookie, tcp, walk, told, to);
        }
    }
    true
}

/// Keeps what the segment has of a header that ends in the next one. Where there is none, or more
/// of them than are followed, the place is lost.
#[inline(always)]
fn split(packet: &impl Packet, way: Way, cookie: u64, tcp: &Tcp, walk: &mut Walk) {
    let rest = walk.len - walk.at;
    if walk.state == Place::LOST || walk.have != 0 || rest >= HEADER {
        walk.state = Place::LOST;
        return;
    }
    let mut bytes = [0_u8; 4];
    let have = bounded::<4>(rest as u64);
    // SAFETY: the destination holds four bytes.
    if !unsafe { packet.copy(walk.base + walk.at, bytes.as_mut_ptr(), have as u32) } {
        walk.state = Place::LOST;
        return;
    }
    walk.head = u32::from_be_bytes(bytes) >> (32 - have as u32 * 8);
    walk.have = have as u32;
    walk.state = Place::COPIED;
    let kept = Place { next: 0, head: walk.head, have: walk.have, state: walk.state };
    if !kept.is_plausible() {
        walk.state = Place::LOST;
        return;
    }
    if walk.done == walk.at && walk.limit > 0 {
        let len = walk.len;
        tell::<HEADER_CLASS>(packet, way, cookie, tcp, walk, rest, len);
    }
    walk.at = walk.len;
}

/// Tells of the bytes from what was told up to `to`: `copied` of them as they are.
#[inline(always)]
fn tell<const CLASS: u32>(
    packet: &impl Packet,
    way: Way,
    cookie: u64,
    tcp: &Tcp,
    walk: &mut Walk,
    copied: u32,
    to: u32,
) {
    let from = walk.done;
    let lost = to - from - copied;
    let last = to == walk.len;
    // A stream begins with no record that is passed over.
    let told = Piece { at: walk.base + from, seq: from, len: copied, lost, last, first: false };
    piece::<CLASS>(packet, way, cookie, tcp, told);
    count(Counter::SkippedBytes, lost as u64);
    walk.done = to;
}

/// Has the verifier forget what it knows of a structure of numbers: it would follow each way to
/// each of their values anew.
#[inline(always)]
pub fn forget<T: Copy>(numbers: &mut T) {
    let numbers = ptr::from_mut(numbers);
    // SAFETY: reads the structure into itself, through a helper that takes any address.
    unsafe { read_kernel(numbers.cast(), size_of::<T>() as u32, numbers.cast_const().cast()) };
}

/// The stream's place; a stream that was not seen before begins with its handshake.
#[inline(always)]
fn place(packet: &impl Packet, key: u64, seq: u32, at: u32) -> Option<*mut u64> {
    if let Some(place) = PLACES.get_ptr_mut(key) {
        return Some(place);
    }
    let first: u8 = packet.load(at)?;
    let state = if first == HANDSHAKE { Place::COPIED } else { Place::LOST };
    let _ = PLACES.insert(key, Place { next: seq, head: 0, have: 0, state }.word(), 0);
    PLACES.get_ptr_mut(key)
}
