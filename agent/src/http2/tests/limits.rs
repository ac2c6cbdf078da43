//! What floods cost: each limit is kept, counted, and noted on what it concerns.

use super::{
    super::{BLOCK_MAX, STREAMS_MAX, STREAMS_SIZE_MAX, deframe::HELD_MAX},
    CLIENT, END_HEADERS, END_STREAM, SERVER, Wire, block, frame, get, headers, ok,
};
use crate::http::message::Note;

fn stream(at: usize) -> u32 {
    u32::try_from(2 * at + 1).unwrap()
}

#[test]
fn a_flood_of_streams_gives_up_the_oldest() {
    let mut wire = Wire::open();
    for at in 0..STREAMS_MAX + 3 {
        wire.feed(CLIENT, &get(stream(at), "/"));
    }
    assert_eq!(wire.connection.counters().streams_evicted, 3);
    assert_eq!(wire.lines(), [0, 1, 2].map(|at| format!("{at}: GET / +0 -> ? unfinished")));
    // What was given up is not reported again.
    wire.feed(SERVER, &ok(1));
    assert!(wire.out.is_empty());
}

#[test]
fn streams_that_hold_too_much_give_up_the_oldest() {
    let mut wire = Wire::open();
    let long = "v".repeat(100);
    let mut fields = vec![(":method", "GET"), (":scheme", "https"), (":path", "/")];
    fields.extend(vec![("name", long.as_str()); 140]);
    for at in 0..STREAMS_MAX {
        wire.feed(CLIENT, &headers(stream(at), END_STREAM, &fields));
        assert!(wire.connection.buffered() <= STREAMS_SIZE_MAX + BLOCK_MAX);
    }
    assert!(wire.connection.counters().streams_evicted > 0);
    assert_eq!(wire.out[0].notes, [Note::Unfinished]);
}

/// CVE-2023-44487: requests that are reset at once.
#[test]
fn a_rapid_reset_holds_nothing() {
    let mut wire = Wire::open();
    let idle = wire.connection.buffered();
    for at in 0..5_000 {
        wire.feed(CLIENT, &[get(stream(at), "/"), frame(3, 0, stream(at), &[0; 4])].concat());
    }
    assert_eq!(wire.out.len(), 5_000);
    assert_eq!(wire.connection.buffered(), idle);
}

/// CVE-2024-27316 and its kin: a header block without end.
#[test]
fn a_flood_of_continuation_is_cut_and_followed_to_its_end() {
    let mut wire = Wire::open();
    let first =
        block(&[(":method", "GET"), (":scheme", "https"), (":path", "/"), ("authorization", "t")]);
    wire.feed(CLIENT, &frame(1, END_STREAM, 1, &first));
    let more = block(&vec![("name", "value"); 1000]);
    for _ in 0..40 {
        wire.feed(CLIENT, &frame(9, 0, 1, &more));
        wire.feed(CLIENT, &frame(9, 0, 1, &[]));
    }
    wire.feed(CLIENT, &frame(9, END_HEADERS, 1, &[]));
    wire.feed(CLIENT, &get(3, "/b"));
    wire.feed(SERVER, &[ok(1), ok(3)].concat());
    let request = wire.out[0].request.as_ref().unwrap();
    assert_eq!(request.fields.first("authorization"), Some(&b"t"[..]));
    assert!(request.fields.size() < 4 * BLOCK_MAX);
    assert_eq!(
        wire.lines(),
        ["0: GET / +0 -> 200 +0 headers_incomplete", "1: GET /b +0 -> 200 +0",]
    );
    assert_eq!(wire.connection.counters().blocks_cut, 1);
}

#[test]
fn a_header_bomb_is_cut() {
    let mut wire = Wire::open();
    let mut bomb = block(&[(":method", "GET"), (":scheme", "https"), (":path", "/")]);
    bomb.extend(b"\x40\x01x\x7f\xa1\x1e");
    bomb.extend([b'v'; 4000]);
    bomb.extend([0xbe; 10_000]);
    wire.feed(CLIENT, &frame(1, END_STREAM | END_HEADERS, 1, &bomb));
    wire.feed(SERVER, &ok(1));
    assert_eq!(wire.lines(), ["0: GET / +0 -> 200 +0 headers_incomplete"]);
    assert_eq!(wire.connection.counters().lists_cut, 1);
}

#[test]
fn a_table_larger_than_kept_is_counted() {
    let mut wire = Wire::open();
    wire.feed(CLIENT, &frame(1, END_STREAM | END_HEADERS, 1, b"\x3f\xff\xff\x3f\x82\x84\x87"));
    wire.feed(SERVER, &ok(1));
    assert_eq!(wire.lines(), ["0: GET / +0 -> 200 +0"]);
    assert_eq!(wire.connection.counters().tables_capped, 1);
}

#[test]
fn a_header_frame_too_long_to_gather_is_a_lost_head() {
    let mut wire = Wire::default();
    // Without the server's SETTINGS nobody knows what it permits.
    wire.feed(CLIENT, super::super::detect::PREFACE);
    let long = frame(1, END_STREAM | END_HEADERS, 1, &vec![0; BLOCK_MAX + 1]);
    for piece in long.chunks(1000) {
        wire.feed(CLIENT, piece);
    }
    wire.feed(SERVER, &[super::settings(), ok(1)].concat());
    assert_eq!(wire.lines(), ["0: ? -> 200 +0 request_head_lost"]);
    assert_eq!(wire.connection.counters().frames_damaged, 1);
}

#[test]
fn frames_are_sought_without_keeping_what_was_searched() {
    let mut wire = Wire::open();
    let idle = wire.connection.buffered();
    wire.gap(CLIENT, 1);
    // Each ninth octet may be where a long frame begins.
    let junk: Vec<u8> = [0, 0x3f, 0, 0, 0, 0, 0, 0, 1].repeat(20_000);
    wire.feed(CLIENT, &junk);
    for piece in junk.chunks(1500) {
        wire.feed(CLIENT, piece);
        assert!(wire.connection.buffered() <= idle + HELD_MAX);
    }
}

#[test]
fn losses_beyond_a_limit_are_forgotten() {
    let mut wire = Wire::open();
    for at in 0..17 {
        let request = get(stream(at), "/");
        wire.feed(CLIENT, &request[..9]);
        wire.gap(CLIENT, request.len() as u64 - 9);
    }
    wire.feed(SERVER, &[ok(1), ok(3)].concat());
    assert_eq!(wire.lines(), ["1: ? -> 200 +0 request_head_lost"]);
    assert_eq!(wire.connection.counters().losses_forgotten, 1);
}

#[test]
fn a_frame_larger_than_permitted_is_a_derailment() {
    let mut wire = Wire::open();
    wire.feed(CLIENT, &frame(0, 0, 1, &[0; 16_385]));
    assert_eq!(wire.connection.counters().derailments, 1);
    let mut wire = Wire::open();
    wire.feed(SERVER, &frame(4, 0, 0, &[0, 5, 0, 1, 0, 0]));
    wire.feed(CLIENT, &frame(0, 0, 1, &[0; 16_385]));
    assert_eq!(wire.connection.counters().derailments, 0);
}
