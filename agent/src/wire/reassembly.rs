//! One direction of one connection: segments in any order become payloads in stream order.
//!
//! In: segments of the sender, acknowledgement numbers of its peer. Out: [`Payload`]s without
//! overlap, in order, with a gap exactly where bytes can't come any more.
//!
//! - The first copy of a byte wins; a later one that differs is counted if the first still waits.
//! - A hole is given up when the receiver acknowledged it and the sender is known to have passed
//!   it. Either end alone could otherwise blind us: by a segment that its peer will refuse, or by
//!   an acknowledgement of bytes still to come.
//! - Without that evidence, a hole is given up when too much waits behind it or for too long.
//! - Nothing waits in an idle stream: its memory is this structure.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::{
    clock::{NANOS_PER_SEC, Timestamp},
    flow::chunk::Payload,
    wire::{
        ledger::{GapCause, Ledger},
        segment::{MAX_PACKET, Segment},
        sequence::{SequenceSpace, distance},
    },
};

/// How far ahead of the next byte a segment may lie, in bytes. Linux's receive buffers grow to
/// 6 MiB (`tcp_rmem`); more can't be in flight unless an operator raised them, and then only a
/// loss makes a difference.
pub const WINDOW: u64 = 8 << 20;

/// Bytes that may wait in one direction of one flow, bookkeeping included. What a sender on loopback
/// leaves behind on one processor comes late if that has something else to do: more than a megabyte
/// later was seen. Linux's send buffers grow to 4 MiB (`tcp_wmem`): no more is under way.
pub const MAX_HELD: usize = 4 << 20;

/// Cost of one waiting piece on top of its bytes: map entry, `Bytes`, and two allocations.
pub const PIECE_COST: usize = 128;

/// How long a hole may stay without evidence, in nanoseconds: five retransmissions of Linux with
/// the shortest timeout (0.2 s, doubled each time) fit.
pub const HOLE_TIMEOUT: u64 = 10 * NANOS_PER_SEC;

/// Rebuilds one direction of a connection.
#[derive(Debug)]
pub struct Reassembler {
    space: SequenceSpace,
    joined_late: bool,
    ended: bool,
    /// Offset of the next byte to yield.
    next: u64,
    /// End of what the sender was seen to send, holes included; not below `next`.
    sent: u64,
    /// The receiver's last acknowledgement.
    acked: u64,
    /// Where the stream ends, once a FIN was seen.
    fin: Option<u64>,
    /// Since when the byte at `next` is missing.
    stalled: Option<Timestamp>,
    /// Bytes that wait behind a hole, by offset; they don't overlap.
    held: BTreeMap<u64, Bytes>,
    /// What `held` takes from the budget.
    cost: usize,
}

/// What a segment says about the stream from `next` on.
struct Fresh<'a> {
    start: u64,
    end: u64,
    /// From `start`; fewer than `end - start` if not all was captured.
    bytes: &'a [u8],
}

impl<'a> Fresh<'a> {
    fn captured_end(&self) -> u64 {
        self.start.saturating_add(self.bytes.len() as u64)
    }

    /// The captured bytes with offsets in `from..to`.
    fn slice(&self, from: u64, to: u64) -> &'a [u8] {
        let index = |offset: u64| {
            usize::try_from(offset.saturating_sub(self.start))
                .map_or(self.bytes.len(), |index| index.min(self.bytes.len()))
        };
        self.bytes.get(index(from)..index(to)).unwrap_or_default()
    }
}

impl Reassembler {
    /// A stream whose first byte has the sequence number `first`: known from a SYN, or just the
    /// first that was seen (`joined_late`).
    #[must_use]
    pub const fn new(first: u32, joined_late: bool) -> Self {
        Self {
            space: SequenceSpace::starting_at(first),
            joined_late,
            ended: false,
            next: 0,
            sent: 0,
            acked: 0,
            fin: None,
            stalled: None,
            held: BTreeMap::new(),
            cost: 0,
        }
    }

    /// Sequence number of the first byte.
    #[must_use]
    pub const fn first(&self) -> u32 {
        self.space.first()
    }

    /// Whether the stream may have had bytes before offset 0.
    #[must_use]
    pub const fn joined_late(&self) -> bool {
        self.joined_late
    }

    /// Whether [`Payload::End`] was yielded.
    #[must_use]
    pub const fn ended(&self) -> bool {
        self.ended
    }

    /// Whether all was yielded that the sender said before its FIN.
    #[must_use]
    pub const fn has_finished(&self) -> bool {
        self.ended && matches!(self.fin, Some(fin) if fin == self.next)
    }

    /// Offset of the next byte to yield.
    #[must_use]
    pub const fn next(&self) -> u64 {
        self.next
    }

    /// Sequence number of the byte that lies `ahead` of the next one to yield.
    #[must_use]
    pub fn sequence(&self, ahead: i64) -> Option<u32> {
        Some(self.space.seq(self.next.checked_add_signed(ahead)?))
    }

    /// Bytes that this stream holds of the shared budget.
    #[must_use]
    pub const fn held(&self) -> usize {
        self.cost
    }

    /// Since when the next byte is missing, while later ones are known of.
    #[must_use]
    pub const fn stalled(&self) -> Option<Timestamp> {
        self.stalled
    }

    /// When [`Reassembler::expire`] will have something to do.
    #[must_use]
    pub fn due(&self) -> Option<Timestamp> {
        self.stalled.map(|since| since.plus(HOLE_TIMEOUT))
    }

    /// How far `seq` is ahead of the sequence number that comes next, the FIN's included.
    #[must_use]
    pub const fn ahead(&self, seq: u32) -> i32 {
        distance(self.space.seq(self.next).wrapping_add(self.ended as u32), seq)
    }

    /// Takes a segment of the sender and appends to `out` what became ready.
    pub fn push(&mut self, segment: &Segment<'_>, ledger: &mut Ledger, out: &mut Vec<Payload>) {
        if segment.wire_len as usize > MAX_PACKET {
            ledger.counters.malformed_segments += 1;
            return;
        }
        let before = self.next;
        if let Some(fresh) = self.fresh_part(segment, ledger) {
            self.place(&fresh, segment, ledger, out);
        }
        self.settle(before, segment.at, ledger, out);
    }

    /// Takes a segment whose captured payload is the very next of the stream, and nothing else:
    /// its bytes are ready as they are. The offset of the first, or `None` where
    /// [`Reassembler::push`] has to look closer; then nothing was changed.
    pub fn pass(&mut self, segment: &Segment<'_>) -> Option<u64> {
        let len = segment.payload.len() as u64;
        let plain = len > 0
            && len == u64::from(segment.wire_len)
            && segment.payload.len() <= MAX_PACKET
            && !(segment.flags.syn || segment.flags.fin || segment.flags.rst);
        let quiet = !self.ended && self.fin.is_none() && self.is_whole();
        if !plain || !quiet || self.ahead(segment.seq) != 0 {
            return None;
        }
        let offset = self.next;
        self.next = offset.saturating_add(len);
        self.sent = self.next;
        Some(offset)
    }

    /// Takes an acknowledgement number that says nothing new of what is missing; `false` where
    /// [`Reassembler::acknowledge`] has to look closer, and nothing was changed.
    pub fn pass_acknowledgement(&mut self, ack: u32) -> bool {
        match self.space.offset(ack, self.next) {
            Some(acked) if self.is_whole() && acked <= self.sent => {
                self.acked = acked;
                true
            }
            Some(_) | None => false,
        }
    }

    /// Whether everything that the sender was seen to send was yielded.
    fn is_whole(&self) -> bool {
        self.held.is_empty() && self.sent == self.next
    }

    /// Takes an acknowledgement number of the receiver.
    pub fn acknowledge(
        &mut self,
        ack: u32,
        at: Timestamp,
        ledger: &mut Ledger,
        out: &mut Vec<Payload>,
    ) {
        let Some(acked) = self.space.offset(ack, self.next) else { return };
        // One more than the bytes: the FIN's own number.
        if acked > self.sent.saturating_add(1) {
            ledger.counters.acks_of_unsent += 1;
        }
        // The last, not the highest: a forged one is forgotten with the next honest one.
        self.acked = acked;
        let before = self.next;
        self.give_up_to(acked.min(self.sent), GapCause::Acked, ledger, out);
        self.settle(before, at, ledger, out);
    }

    /// Gives up a hole that is older than [`HOLE_TIMEOUT`].
    pub fn expire(&mut self, now: Timestamp, ledger: &mut Ledger, out: &mut Vec<Payload>) {
        if self.due().is_some_and(|due| due <= now) {
            let before = self.next;
            self.give_up_to(self.sent, GapCause::Expired, ledger, out);
            self.settle(before, now, ledger, out);
        }
    }

    /// Ends the stream here: yields what waits, gaps in between, and the end.
    pub fn finish(&mut self, ledger: &mut Ledger, out: &mut Vec<Payload>) {
        if self.ended {
            return;
        }
        self.give_up_to(self.sent, GapCause::Ended, ledger, out);
        self.end(ledger, out);
    }

    /// Forgets what waits, without yielding it.
    pub fn discard(&mut self, ledger: &mut Ledger) {
        self.held.clear();
        ledger.release(std::mem::take(&mut self.cost));
        self.sent = self.next;
        self.stalled = None;
    }

    /// The part of a segment that isn't behind `next`: empty for a bare acknowledgement, which
    /// still tells how far its sender has got.
    fn fresh_part<'a>(&self, segment: &Segment<'a>, ledger: &mut Ledger) -> Option<Fresh<'a>> {
        let ahead = i64::from(self.ahead(segment.data_seq()));
        let len = segment.wire_len;
        if self.ended {
            ledger.counters.after_end += u64::from(len > 0 && ahead + i64::from(len) > 0);
            return None;
        }
        let behind = u64::try_from(-ahead).unwrap_or(0);
        let seen = behind.min(u64::from(len));
        ledger.counters.duplicate_bytes += seen;
        if ahead == -1 && len <= 1 && !segment.flags.syn && !segment.flags.fin {
            ledger.counters.probes += 1;
        }
        let end = self.next.checked_add_signed(ahead + i64::from(len))?;
        if end < self.next {
            return None;
        }
        let payload = segment.payload.get(..len as usize).unwrap_or(segment.payload);
        let bytes = usize::try_from(seen).ok().and_then(|seen| payload.get(seen..));
        let start = self.next.saturating_add(u64::try_from(ahead).unwrap_or(0));
        Some(Fresh { start, end, bytes: bytes.unwrap_or_default() })
    }

    fn place(
        &mut self,
        fresh: &Fresh<'_>,
        segment: &Segment<'_>,
        ledger: &mut Ledger,
        out: &mut Vec<Payload>,
    ) {
        // Acknowledged bytes don't count as distance: the window starts behind them.
        let reached = self.next.max(self.acked);
        if fresh.start > reached.saturating_add(WINDOW) {
            ledger.counters.beyond_window += 1;
            return;
        }
        self.count_conflict(fresh, ledger);
        self.give_up_to(self.acked.min(fresh.start), GapCause::Acked, ledger, out);
        self.sent = self.sent.max(fresh.end);
        if segment.flags.fin {
            self.fin.get_or_insert(fresh.end);
        }
        if fresh.start <= self.next {
            self.take(fresh, ledger, out);
        } else {
            ledger.counters.reordered_segments += u64::from(fresh.end > fresh.start);
            self.hold(fresh, ledger, out);
        }
    }

    /// Yields a segment that starts at or before `next`, between what waited in its range.
    fn take(&mut self, fresh: &Fresh<'_>, ledger: &mut Ledger, out: &mut Vec<Payload>) {
        while self.next < fresh.end {
            let stop = self.first_held().map_or(fresh.end, |held| held.min(fresh.end));
            let bytes = fresh.slice(self.next, stop);
            if !bytes.is_empty() {
                self.emit(Bytes::copy_from_slice(bytes), out);
            }
            self.emit_gap(stop, GapCause::Uncaptured, ledger, out);
            self.drain(ledger, out);
        }
    }

    /// Keeps a segment that starts behind a hole, except where a first copy waits already.
    fn hold(&mut self, fresh: &Fresh<'_>, ledger: &mut Ledger, out: &mut Vec<Payload>) {
        let end = fresh.captured_end();
        let mut at = fresh.start;
        while at < end {
            if let Some(covered) = self.covered_until(at) {
                at = covered;
                continue;
            }
            let stop = self.held.range(at..end).next().map_or(end, |(start, _)| *start);
            let bytes = fresh.slice(at, stop);
            if self.reserve(bytes.len() + PIECE_COST, ledger) {
                self.held.insert(at, Bytes::copy_from_slice(bytes));
                at = stop;
                continue;
            }
            // Each round yields the first piece that waits, or reaches this segment.
            let first = self.first_held().map_or(fresh.start, |held| held.min(fresh.start));
            self.give_up_to(first, GapCause::Overflow, ledger, out);
            if fresh.start <= self.next {
                return self.take(fresh, ledger, out);
            }
        }
    }

    fn reserve(&mut self, cost: usize, ledger: &mut Ledger) -> bool {
        if self.cost.saturating_add(cost) > MAX_HELD {
            ledger.counters.flow_overflows += 1;
            return false;
        }
        if !ledger.reserve(cost) {
            ledger.counters.table_overflows += 1;
            return false;
        }
        self.cost += cost;
        true
    }

    /// Counts a segment that differs from bytes that wait at the same offsets.
    fn count_conflict(&self, fresh: &Fresh<'_>, ledger: &mut Ledger) {
        let before = self.held.range(..=fresh.start).next_back();
        let within = self.held.range(fresh.start.saturating_add(1)..);
        let conflict = before
            .into_iter()
            .chain(within.take_while(|(start, _)| **start < fresh.captured_end()))
            .any(|(start, bytes)| {
                let piece = Fresh { start: *start, end: end_of(*start, bytes), bytes };
                let from = piece.start.max(fresh.start);
                let to = piece.end.min(fresh.captured_end());
                from < to && piece.slice(from, to) != fresh.slice(from, to)
            });
        ledger.counters.conflicting_overlaps += u64::from(conflict);
    }

    /// Yields everything before `target`: what waits, and gaps in between.
    fn give_up_to(
        &mut self,
        target: u64,
        cause: GapCause,
        ledger: &mut Ledger,
        out: &mut Vec<Payload>,
    ) {
        while !self.ended && self.next < target {
            let stop = self.first_held().map_or(target, |held| held.min(target));
            self.emit_gap(stop, cause, ledger, out);
            self.drain(ledger, out);
        }
    }

    /// Yields what waits at `next`.
    fn drain(&mut self, ledger: &mut Ledger, out: &mut Vec<Payload>) {
        while let Some(entry) = self.held.first_entry() {
            if *entry.key() > self.next {
                return;
            }
            let bytes = entry.remove();
            let cost = bytes.len() + PIECE_COST;
            self.cost = self.cost.saturating_sub(cost);
            ledger.release(cost);
            self.emit(bytes, out);
        }
    }

    fn emit(&mut self, bytes: Bytes, out: &mut Vec<Payload>) {
        self.next = end_of(self.next, &bytes);
        out.push(Payload::Bytes(bytes));
    }

    /// Yields a gap from `next` to `to`, as one with a gap right before it.
    fn emit_gap(&mut self, to: u64, cause: GapCause, ledger: &mut Ledger, out: &mut Vec<Payload>) {
        let missing = to.saturating_sub(self.next);
        if missing == 0 {
            return;
        }
        ledger.count_gap(cause, missing);
        self.next = to;
        match out.last_mut() {
            Some(Payload::Gap(before)) => *before = before.saturating_add(missing),
            _ => out.push(Payload::Gap(missing)),
        }
    }

    /// Ends the stream if its FIN is reached, and notes since when it waits for its next byte.
    fn settle(&mut self, before: u64, at: Timestamp, ledger: &mut Ledger, out: &mut Vec<Payload>) {
        self.sent = self.sent.max(self.next);
        if let Some(fin) = self.fin {
            if self.next == fin && !self.ended {
                return self.end(ledger, out);
            }
            if self.next > fin {
                // Linux, too, forgets a FIN that bytes from before it have overtaken.
                self.fin = None;
                ledger.counters.void_fins += 1;
            }
        }
        if self.next != before {
            self.stalled = None;
        }
        if self.sent > self.next {
            self.stalled.get_or_insert(at);
        }
    }

    fn end(&mut self, ledger: &mut Ledger, out: &mut Vec<Payload>) {
        self.discard(ledger);
        self.ended = true;
        out.push(Payload::End);
    }

    fn first_held(&self) -> Option<u64> {
        self.held.first_key_value().map(|(start, _)| *start)
    }

    /// End of the waiting piece that covers `offset`.
    fn covered_until(&self, offset: u64) -> Option<u64> {
        let (start, bytes) = self.held.range(..=offset).next_back()?;
        Some(end_of(*start, bytes)).filter(|end| *end > offset)
    }
}

/// Offset behind `bytes` that start at `start`.
fn end_of(start: u64, bytes: &Bytes) -> u64 {
    start.saturating_add(bytes.len() as u64)
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
