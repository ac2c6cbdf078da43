//! Joining late and losing bytes: what is said is true, and what is missing is noted.

use super::{
    super::LINGER_NANOS, CLIENT, END_HEADERS, END_STREAM, SERVER, Wire, block, data, frame, get,
    headers, line, ok, texts,
};
use crate::{
    clock::Timestamp,
    http::message::{Note, Role},
};

fn ping() -> Vec<u8> {
    frame(6, 0, 0, &[0; 8])
}

/// `:method: GET`, `:path: /a`, and the newest entry of the dynamic table.
fn indexed(stream: u32) -> Vec<u8> {
    frame(1, END_STREAM | END_HEADERS, stream, b"\x82\x87\x04\x02/a\xbe")
}

/// The same request, whose third field is `authorization: t`, which is inserted.
fn indexing(stream: u32) -> Vec<u8> {
    frame(1, END_STREAM | END_HEADERS, stream, b"\x82\x87\x04\x02/a\x57\x01t")
}

fn authorization(wire: &Wire, at: usize) -> Option<&[u8]> {
    wire.out[at].request.as_ref().unwrap().fields.first("authorization")
}

#[test]
fn a_token_that_was_indexed_before_we_joined_is_unknown_and_never_absent() {
    let mut wire = Wire::default();
    wire.feed(CLIENT, &[indexed(101), ping(), ping()].concat());
    wire.feed(SERVER, &[ok(101), ping(), ping()].concat());
    assert_eq!(wire.out[0].role, Role::Client);
    assert_eq!(authorization(&wire, 0), None);
    assert_eq!(wire.lines(), ["50: GET /a +0 -> 200 +0 headers_incomplete"]);
}

#[test]
fn a_token_that_is_indexed_after_we_joined_is_known() {
    let mut wire = Wire::default();
    wire.feed(CLIENT, &[indexing(101), indexed(103), ping(), ping()].concat());
    wire.feed(SERVER, &[ok(101), ok(103), ping(), ping()].concat());
    assert_eq!(authorization(&wire, 1), Some(&b"t"[..]));
    assert_eq!(wire.lines(), ["50: GET /a +0 -> 200 +0", "51: GET /a +0 -> 200 +0"]);
}

/// Nothing but what a request itself refers to makes it less than whole.
#[test]
fn requests_are_whole_again_once_what_they_refer_to_was_sent_anew() {
    let mut wire = Wire::default();
    wire.feed(CLIENT, &[indexed(101), indexing(103), indexed(105), ping()].concat());
    wire.feed(SERVER, &[ok(101), ok(103), ok(105), ping()].concat());
    assert_eq!([0, 1, 2].map(|at| authorization(&wire, at)), [None, Some(&b"t"[..]), Some(b"t")]);
    assert_eq!(
        wire.lines(),
        [
            "50: GET /a +0 -> 200 +0 headers_incomplete",
            "51: GET /a +0 -> 200 +0",
            "52: GET /a +0 -> 200 +0"
        ]
    );
}

#[test]
fn who_joins_late_learns_the_role_from_either_end() {
    let mut wire = Wire::default();
    wire.feed(CLIENT, &[ok(7), ping(), ping()].concat());
    wire.finish();
    assert_eq!(wire.out[0].role, Role::Server);
    assert_eq!(wire.lines(), ["3: ? -> 200 +0 request_head_lost"]);
}

#[test]
fn who_learnt_the_wrong_role_from_a_body_learns_the_right_one() {
    let mut wire = Wire::default();
    // The body is itself a server's direction of HTTP/2.
    wire.feed(CLIENT, &[ok(7), ping(), ping()].concat());
    wire.feed(CLIENT, &[get(9, "/"), get(11, "/")].concat());
    wire.feed(SERVER, &[ok(9), ok(11), ping()].concat());
    let roles: Vec<_> = wire.out.iter().map(|exchange| exchange.role).collect();
    assert_eq!(roles, [Role::Server, Role::Client, Role::Client]);
    let lines = wire.lines();
    assert_eq!(lines[1..], ["4: GET / +0 -> 200 +0", "5: GET / +0 -> 200 +0"]);
}

#[test]
fn a_response_whose_request_was_before_waits_until_that_is_certain() {
    let mut wire = Wire::default();
    wire.feed(SERVER, &[ok(7), ping(), ping()].concat());
    assert!(wire.out.is_empty());
    wire.feed(CLIENT, &[get(9, "/"), ping(), ping()].concat());
    assert_eq!(wire.lines(), ["3: ? -> 200 +0 request_head_lost"]);
    wire.feed(SERVER, &ok(5));
    assert_eq!(wire.lines(), ["2: ? -> 200 +0 request_head_lost"]);
    wire.feed(SERVER, &ok(9));
    assert_eq!(wire.lines(), ["4: GET / +0 -> 200 +0"]);
}

#[test]
fn who_joins_within_a_body_finds_the_next_frames() {
    let mut wire = Wire::default();
    let tail = data(7, END_STREAM, 900).split_off(300);
    wire.feed(CLIENT, &tail);
    wire.feed(CLIENT, &[get(9, "/"), ping(), ping()].concat());
    wire.feed(SERVER, &[ok(9), ping(), ping()].concat());
    assert_eq!(wire.lines(), ["4: GET / +0 -> 200 +0"]);
}

#[test]
fn too_few_frames_for_a_chain_are_taken_at_the_end() {
    let mut wire = Wire::default();
    wire.feed(CLIENT, &get(9, "/"));
    wire.feed(SERVER, &ok(9));
    assert!(wire.out.is_empty());
    wire.finish();
    assert_eq!(wire.lines(), ["4: GET / +0 -> 200 +0"]);
}

#[test]
fn a_status_that_cannot_be_resolved_is_0() {
    let mut wire = Wire::default();
    wire.feed(CLIENT, &[get(9, "/"), ping(), ping()].concat());
    let unknown = frame(1, END_HEADERS, 9, b"\xbe\xbf");
    wire.feed(SERVER, &[unknown, data(9, END_STREAM, 4), ping()].concat());
    assert_eq!(wire.lines(), ["4: GET / +0 -> 0 +4 response_headers_incomplete"]);
}

#[test]
fn a_gap_within_a_body_costs_that_body_only() {
    let mut wire = Wire::open();
    wire.feed(CLIENT, &[indexing(1), get(3, "/b")].concat());
    wire.feed(SERVER, &headers(1, 0, &[(":status", "200")]));
    let body = data(1, END_STREAM, 1000);
    wire.feed(SERVER, &body[..100]);
    wire.gap(SERVER, 500);
    wire.feed(SERVER, &body[600..]);
    wire.feed(SERVER, &ok(3));
    wire.feed(CLIENT, &indexed(5));
    wire.feed(SERVER, &ok(5));
    assert_eq!(authorization(&wire, 2), Some(&b"t"[..]));
    assert_eq!(
        wire.lines(),
        [
            "0: GET /a +0 -> 200 +1000 response_body_lost",
            "1: GET /b +0 -> 200 +0",
            "2: GET /a +0 -> 200 +0",
        ]
    );
}

#[test]
fn a_gap_up_to_the_end_of_a_body_ends_it() {
    let mut wire = Wire::open();
    wire.feed(CLIENT, &get(1, "/"));
    wire.feed(SERVER, &headers(1, 0, &[(":status", "200")]));
    wire.feed(SERVER, &data(1, END_STREAM, 50)[..19]);
    wire.gap(SERVER, 40);
    assert_eq!(wire.lines(), ["0: GET / +0 -> 200 +50 response_body_lost"]);
}

#[test]
fn a_gap_within_a_header_block_loses_that_head_and_the_table() {
    let mut wire = Wire::open();
    wire.feed(CLIENT, &indexing(1));
    let lost = get(3, "/lost");
    wire.feed(CLIENT, &lost[..12]);
    wire.gap(CLIENT, 8);
    wire.feed(CLIENT, &lost[20..]);
    wire.feed(CLIENT, &indexed(5));
    wire.feed(SERVER, &[ok(1), ok(3), ok(5)].concat());
    assert_eq!(authorization(&wire, 2), None);
    assert_eq!(
        wire.lines(),
        [
            "0: GET /a +0 -> 200 +0",
            "1: ? -> 200 +0 request_head_lost",
            "2: GET /a +0 -> 200 +0 headers_incomplete",
        ]
    );
}

/// The rest of the block was decoded as if it were its beginning.
#[test]
fn a_continuation_of_a_lost_fragment_gives_no_fields() {
    let mut wire = Wire::open();
    wire.feed(CLIENT, &get(1, "/"));
    let first = frame(1, 0, 3, &block(&[(":method", "GET")]));
    wire.feed(CLIENT, &first[..10]);
    wire.gap(CLIENT, first.len() as u64 - 10);
    wire.feed(CLIENT, &frame(9, END_HEADERS, 3, &block(&[(":path", "/false")])));
    wire.feed(SERVER, &[ok(1), ok(3)].concat());
    assert_eq!(wire.lines(), ["0: GET / +0 -> 200 +0", "1: ? -> 200 +0 request_head_lost"]);
}

#[test]
fn a_gap_between_frames_forgets_the_table_and_finds_the_next_frames() {
    let mut wire = Wire::open();
    wire.feed(CLIENT, &indexing(1));
    wire.gap(CLIENT, 1000);
    wire.feed(CLIENT, &data(3, END_STREAM, 100)[50..]);
    wire.feed(CLIENT, &[indexed(9), ping(), ping()].concat());
    wire.feed(SERVER, &[ok(1), ok(5), ok(9)].concat());
    assert_eq!(
        wire.lines(),
        [
            "0: GET /a +0 -> 200 +0",
            "2: ? -> 200 +0 request_head_lost",
            "4: GET /a +0 -> 200 +0 headers_incomplete",
        ]
    );
}

#[test]
fn an_upload_whose_end_was_lost_is_over_when_it_was_answered() {
    let mut wire = Wire::open();
    wire.feed(CLIENT, &headers(1, 0, &[(":method", "PUT"), (":scheme", "https"), (":path", "/")]));
    wire.gap(CLIENT, 1000);
    wire.feed(SERVER, &ok(1));
    assert_eq!(wire.lines(), ["0: PUT / +0 -> 200 +0 request_body_lost"]);
}

#[test]
fn a_response_whose_end_was_lost_is_given_up_after_a_while() {
    let mut wire = Wire::open();
    wire.feed(CLIENT, &[get(1, "/a"), get(3, "/b")].concat());
    wire.feed(SERVER, &headers(3, 0, &[(":status", "200")]));
    wire.gap(SERVER, 1000);
    let late = Timestamp(7).plus(LINGER_NANOS);
    wire.connection.feed(CLIENT, late, &get(5, "/c"), &mut wire.out);
    assert_eq!(
        wire.lines(),
        [
            "0: GET /a +0 -> ? response_head_lost unfinished",
            "1: GET /b +0 -> 200 +0 response_body_lost unfinished",
        ]
    );
}

#[test]
fn trailers_after_a_lost_head_are_not_taken_for_one() {
    let mut wire = Wire::open();
    wire.feed(CLIENT, &get(1, "/"));
    wire.gap(SERVER, 1000);
    let trailers = headers(1, END_STREAM, &[("grpc-status", "0")]);
    wire.feed(SERVER, &[trailers, ping(), ping()].concat());
    assert_eq!(wire.lines(), ["0: GET / +0 -> ? response_head_lost"]);
}

/// All requests after it were taken for ones that had been reported.
#[test]
fn a_request_within_a_body_does_not_hide_later_ones() {
    let mut wire = Wire::open();
    wire.feed(CLIENT, &get(1, "/a"));
    wire.gap(CLIENT, 100);
    wire.feed(CLIENT, &[get(0x7fff_fff1, "/false"), ping(), ping()].concat());
    wire.feed(CLIENT, &[get(5, "/b"), get(7, "/c")].concat());
    wire.feed(SERVER, &[ok(1), ok(3), ok(5), ok(7)].concat());
    assert_eq!(
        wire.lines(),
        [
            "0: GET /a +0 -> 200 +0",
            "1: ? -> 200 +0 request_head_lost",
            "2: GET /b +0 -> 200 +0",
            "3: GET /c +0 -> 200 +0",
        ]
    );
}

/// What the server permitted was lost, and larger frames were taken for nonsense.
#[test]
fn after_lost_settings_frames_of_any_size_make_sense() {
    let mut wire = Wire::open();
    let permit = frame(4, 0, 0, &[0, 5, 0, 1, 0, 0]);
    wire.feed(SERVER, &permit[..10]);
    wire.gap(SERVER, 5);
    wire.feed(CLIENT, &headers(1, 0, &[(":method", "PUT"), (":scheme", "https"), (":path", "/")]));
    wire.feed(CLIENT, &data(1, END_STREAM, 20_000));
    wire.feed(SERVER, &ok(1));
    assert_eq!(wire.lines(), ["0: PUT / +20000 -> 200 +0"]);
}

#[test]
fn frames_that_stop_making_sense_are_a_loss() {
    let mut wire = Wire::open();
    wire.feed(CLIENT, &indexing(1));
    wire.feed(CLIENT, &frame(6, 0, 1, &[0; 3]));
    wire.feed(CLIENT, &[indexed(3), ping(), ping()].concat());
    wire.feed(SERVER, &[ok(1), ok(3)].concat());
    assert_eq!(line(&wire.out[1]), "1: GET /a +0 -> 200 +0 headers_incomplete");
    assert_eq!(wire.connection.counters().derailments, 1);
}

#[test]
fn a_malformed_block_keeps_what_came_before_the_fault() {
    let mut wire = Wire::open();
    wire.feed(CLIENT, &frame(1, END_STREAM | END_HEADERS, 1, b"\x82\x87\x04\x02/a\x57\x01t\x80"));
    wire.feed(SERVER, &ok(1));
    let exchange = &wire.out[0];
    assert_eq!(exchange.notes, [Note::HeadersIncomplete]);
    assert_eq!(texts(&exchange.request.as_ref().unwrap().fields), ["authorization: t"]);
    assert_eq!(wire.connection.counters().blocks_malformed, 1);
}

/// Found by fuzzing: with its body in one piece, what was in it was passed over, and else searched.
#[test]
fn a_body_within_a_header_block_is_passed_over_however_it_is_cut() {
    let decoy = [get(7, "/in/the/body"), ok(7), get(9, "/x")].concat();
    let body = frame(0, END_STREAM, 1, &decoy);
    let begun = frame(1, 0, 1, &block(&[(":method", "PUT")]));
    let bytes = [begun, body, get(3, "/a"), ping(), get(5, "/b")].concat();
    for most in [1, 50, usize::MAX] {
        let mut wire = Wire::open();
        bytes.chunks(most).for_each(|piece| wire.feed(CLIENT, piece));
        wire.feed(SERVER, &[ok(3), ok(5)].concat());
        assert_eq!(wire.lines(), ["1: GET /a +0 -> 200 +0", "2: GET /b +0 -> 200 +0"], "{most}");
    }
}
