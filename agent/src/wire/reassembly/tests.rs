//! Each test is named after what breaks naive readers.

use super::{HOLE_TIMEOUT, MAX_HELD, PIECE_COST, Reassembler, WINDOW};
use crate::{
    clock::Timestamp,
    flow::chunk::Payload,
    wire::{
        ledger::{Counters, Ledger},
        segment::Segment,
        testing::{FIN, segment},
    },
};

/// A stream whose first byte has the sequence number 1000.
struct Rig {
    stream: Reassembler,
    ledger: Ledger,
    out: Vec<Payload>,
}

impl Rig {
    fn new() -> Self {
        Self::with_budget(16 << 20)
    }

    fn with_budget(limit: usize) -> Self {
        Self { stream: Reassembler::new(1000, false), ledger: Ledger::new(limit), out: Vec::new() }
    }

    fn push(&mut self, segment: Segment<'_>) -> &mut Self {
        self.stream.push(&segment, &mut self.ledger, &mut self.out);
        assert_eq!(self.ledger.held(), self.stream.held());
        self
    }

    fn bytes(&mut self, seq: u32, payload: &str) -> &mut Self {
        self.push(segment(seq, payload.as_bytes()))
    }

    fn fin(&mut self, seq: u32, payload: &str) -> &mut Self {
        self.push(Segment { flags: FIN, ..segment(seq, payload.as_bytes()) })
    }

    fn ack(&mut self, ack: u32) -> &mut Self {
        self.stream.acknowledge(ack, Timestamp(0), &mut self.ledger, &mut self.out);
        self
    }

    /// What came out so far: bytes as they are, gaps as `<length>`, the end as `$`.
    #[track_caller]
    fn gives(&mut self, expected: &str) -> Counters {
        let text: String = self.out.iter().map(show).collect();
        assert_eq!(text, expected);
        self.ledger.counters
    }
}

fn show(payload: &Payload) -> String {
    match payload {
        Payload::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Payload::Gap(missing) => format!("<{missing}>"),
        Payload::End => "$".to_owned(),
    }
}

#[test]
fn segments_in_order_pass_at_once() {
    Rig::new().bytes(1000, "abc").bytes(1003, "def").fin(1006, "").gives("abcdef$");
}

#[test]
fn one_byte_segments() {
    let mut rig = Rig::new();
    for (seq, byte) in (1000..).zip(["a", "b", "c", "d"]) {
        rig.bytes(seq, byte);
    }
    rig.gives("abcd");
}

#[test]
fn super_packets_and_their_segments_overlap() {
    let all = "0123456789abcdef".repeat(4096);
    let cut = |from: u32, len| segment(1000 + from, &all.as_bytes()[from as usize..][..len]);
    let mut rig = Rig::new();
    rig.push(cut(0, 1448)).push(cut(30_000, 1448)).push(cut(0, 65_536)).push(cut(64_000, 1448));
    assert_eq!(rig.gives(&all).conflicting_overlaps, 0);
}

#[test]
fn retransmissions_are_dropped() {
    let counters =
        Rig::new().bytes(1000, "abc").bytes(1000, "abc").bytes(1001, "bcd").gives("abcd");
    assert_eq!(counters.duplicate_bytes, 5);
}

#[test]
fn reordering_is_undone() {
    let mut rig = Rig::new();
    rig.bytes(1006, "ghi").fin(1009, "").bytes(1003, "def").gives("");
    assert_eq!(rig.bytes(1000, "abc").gives("abcdefghi$").reordered_segments, 2);
    assert_eq!(rig.stream.held(), 0);
}

#[test]
fn overlapping_segments_with_other_bytes_never_replace_the_first_copy() {
    let table: [(&[(u32, &str)], &str); 5] = [
        (&[(1002, "cd"), (1000, "ABCDEF")], "ABcdEF"),
        (&[(1001, "bcd"), (1003, "XYZ"), (1000, "a")], "abcdYZ"),
        (&[(1001, "b"), (1003, "d"), (1001, "XXXX"), (1000, "a")], "abXdX"),
        (&[(1003, "def"), (1002, "XX"), (1000, "ab")], "abXdef"),
        (&[(1002, "cd"), (1002, "XX"), (1000, "ab")], "abcd"),
    ];
    for (segments, expected) in table {
        let mut rig = Rig::new();
        for (seq, payload) in segments {
            rig.bytes(*seq, payload);
        }
        assert_eq!(rig.gives(expected).conflicting_overlaps, 1, "{segments:?}");
    }
}

#[test]
fn overlapping_segments_with_equal_bytes_are_no_conflict() {
    let counters =
        Rig::new().bytes(1002, "cd").bytes(1001, "bcde").bytes(1000, "abcdef").gives("abcdef");
    assert_eq!(counters.conflicting_overlaps, 0);
}

#[test]
fn keep_alive_probes_add_nothing() {
    let counters = Rig::new().bytes(1000, "abc").bytes(1002, "").bytes(1002, "?").gives("abc");
    assert_eq!(counters.probes, 2);
    Rig::new().bytes(999, "?").bytes(1000, "abc").gives("abc");
}

#[test]
fn zero_window_probes_count_their_byte_once() {
    Rig::new()
        .bytes(1000, "abc")
        .bytes(1003, "d")
        .bytes(1003, "d")
        .bytes(1003, "def")
        .gives("abcdef");
}

#[test]
fn a_hole_that_the_receiver_acknowledged_is_a_gap() {
    let counters = Rig::new().bytes(1000, "abc").bytes(1006, "ghi").ack(1009).gives("abc<3>ghi");
    assert_eq!(counters.gap_acked_bytes, 3);
    Rig::new().bytes(1006, "ghi").ack(1000).bytes(1000, "abcdef").gives("abcdefghi");
    Rig::new().bytes(1006, "ghi").ack(1002).gives("<2>");
}

#[test]
fn an_acknowledgement_that_came_before_the_next_segment_makes_the_gap_then() {
    Rig::new().bytes(1000, "abc").ack(1006).gives("abc");
    Rig::new().bytes(1000, "abc").ack(1006).bytes(1006, "ghi").gives("abc<3>ghi");
}

#[test]
fn a_bare_acknowledgement_tells_that_its_sender_has_passed_the_lost_tail() {
    Rig::new().bytes(1000, "abc").bytes(1010, "").ack(1010).gives("abc<7>");
}

#[test]
fn a_forged_acknowledgement_alone_loses_nothing() {
    let counters = Rig::new().ack(900_000).bytes(1000, "abc").bytes(1003, "def").gives("abcdef");
    assert_eq!(counters.acks_of_unsent, 1);
    // The next honest one makes it forgotten: reordering is waited for again.
    let mut rig = Rig::new();
    rig.ack(900_000).ack(1000).bytes(1003, "def").bytes(1000, "abc").gives("abcdef");
}

#[test]
fn a_segment_beyond_any_window_alone_loses_nothing() {
    let far = 1000 + u32::try_from(WINDOW).unwrap() + 1;
    let mut rig = Rig::new();
    rig.bytes(far, "wild").bytes(1000, "abc");
    assert_eq!(rig.gives("abc").beyond_window, 1);
    // With the receiver's word for it, it was a loss.
    rig.ack(far - 10).bytes(far, "real").ack(far + 4);
    rig.gives(&format!("abc<{}>real", WINDOW - 2));
}

#[test]
fn a_hole_expires() {
    let mut rig = Rig::new();
    rig.bytes(1003, "def");
    let Rig { stream, ledger, out } = &mut rig;
    assert_eq!(stream.due(), Some(Timestamp(HOLE_TIMEOUT)));
    stream.expire(Timestamp(HOLE_TIMEOUT - 1), ledger, out);
    assert_eq!(out, &[]);
    stream.expire(Timestamp(HOLE_TIMEOUT), ledger, out);
    assert_eq!(stream.due(), None);
    assert_eq!(rig.gives("<3>def").gap_expired_bytes, 3);
}

#[test]
fn window_overflow_gives_up_the_first_hole_only() {
    let chunk = "x".repeat(1000);
    let mut rig = Rig::new();
    let fit = MAX_HELD / (chunk.len() + PIECE_COST);
    // Every other thousand is missing.
    for seq in (2000..).step_by(2000).take(fit) {
        rig.bytes(seq, &chunk);
    }
    rig.gives("");
    let last = 2000 + 2000 * u32::try_from(fit).unwrap();
    rig.bytes(last, &chunk);
    let counters = rig.gives(&format!("<1000>{chunk}"));
    assert_eq!((counters.flow_overflows, counters.gap_overflow_bytes), (1, 1000));
    assert!(rig.stream.held() <= MAX_HELD);
}

#[test]
fn a_segment_that_comes_megabytes_late_is_no_loss() {
    let segment = "x".repeat(65_483);
    let mut rig = Rig::new();
    let starts = (1000..).step_by(segment.len()).take(48);
    for seq in starts.clone().skip(1).chain(starts.take(1)) {
        rig.bytes(seq, &segment);
    }
    rig.gives(&segment.repeat(48));
}

#[test]
fn without_a_budget_nothing_waits() {
    let mut rig = Rig::with_budget(0);
    rig.bytes(1003, "def");
    assert_eq!(rig.gives("<3>def").table_overflows, 1);
}

#[test]
fn what_was_not_captured_is_a_gap() {
    let cut = Segment { wire_len: 10, ..segment(1000, b"head") };
    let counters = Rig::new().push(cut).bytes(1010, "next").gives("head<6>next");
    assert_eq!(counters.gap_uncaptured_bytes, 6);
    // Behind a hole, a fuller copy may still come.
    Rig::new().push(Segment { seq: 1001, ..cut }).bytes(1000, "?head-whole").gives("?head-whole");
}

#[test]
fn headers_only_segments_make_one_long_gap() {
    let bare = |seq| Segment { wire_len: 1448, ..segment(seq, b"") };
    let mut rig = Rig::new();
    rig.push(bare(1000)).push(bare(2448)).bytes(3896, "tail");
    rig.gives("<2896>tail");
}

#[test]
fn a_fin_before_its_data_waits() {
    Rig::new().fin(1003, "def").bytes(1000, "abc").gives("abcdef$");
    Rig::new().fin(1006, "").bytes(1000, "abc").ack(1007).gives("abc<3>$");
}

#[test]
fn a_fin_that_data_overtakes_is_void() {
    let counters = Rig::new().fin(1003, "").bytes(1000, "abcdef").fin(1006, "").gives("abcdef$");
    assert_eq!(counters.void_fins, 1);
}

#[test]
fn nothing_follows_the_end() {
    let counters =
        Rig::new().fin(1000, "abc").fin(1000, "abc").bytes(1004, "x").bytes(1003, "").gives("abc$");
    assert_eq!(counters.after_end, 1);
}

#[test]
fn a_segment_longer_than_any_packet_is_refused() {
    let huge = Segment { wire_len: u32::MAX, ..segment(1000, b"x") };
    assert_eq!(Rig::new().push(huge).gives("").malformed_segments, 1);
}

#[test]
fn finishing_yields_what_waits() {
    let mut rig = Rig::new();
    rig.bytes(1003, "def");
    rig.stream.finish(&mut rig.ledger, &mut rig.out);
    rig.stream.finish(&mut rig.ledger, &mut rig.out);
    rig.gives("<3>def$");
    assert_eq!(rig.ledger.held(), 0);
}
