//! What is bounded, and what happens there.

use super::{EMPTY, GET, GET_B, OK, Step, check, join, render, run};
use crate::{
    http::message::{Exchange, Note},
    http1::{Counts, MAX_BUFFERED, MAX_HEAD, MAX_PIPELINE},
};
use Step::{Ask, Tell};

#[test]
fn a_head_may_have_the_longest_length_and_no_more() {
    let head = |len: usize| {
        let frame = b"GET /a HTTP/1.1\r\nHost: h\r\nX: \r\n\r\n".len();
        join(&[b"GET /a HTTP/1.1\r\nHost: h\r\nX: ", &vec![b'x'; len - frame], b"\r\n\r\n"])
    };
    check(&[Ask(&head(MAX_HEAD)), Tell(OK)], &["GET /a 0 -> 200 2"]);
    let connection = check(
        &[Ask(&head(MAX_HEAD + 1)), Tell(OK), Ask(GET), Tell(OK)],
        &["- -> 200 2; request_head_lost", "GET /a 0 -> 200 2"],
    );
    assert_eq!(connection.counts().head_too_long, 1);
}

#[test]
fn a_head_with_too_many_fields_is_lost() {
    let fields =
        |count: usize| join(&[b"GET /a HTTP/1.0\r\n", &b"X: y\r\n".repeat(count), b"\r\n"]);
    check(&[Ask(&fields(256)), Tell(OK)], &["GET /a 0 -> 200 2"]);
    let connection = check(
        &[Ask(&fields(257)), Tell(OK), Ask(GET), Tell(OK)],
        &["- -> 200 2; request_head_lost", "GET /a 0 -> 200 2"],
    );
    assert_eq!(connection.counts().too_many_fields, 1);
}

#[test]
fn a_head_that_cannot_be_read_is_lost() {
    let connection = check(
        &[Ask(b"GET /a HTTP/1.1\r\nHost: h\r\nX: \x00\r\n\r\n"), Tell(OK), Ask(GET), Tell(OK)],
        &["- -> 200 2; request_head_lost, nul_in_field", "GET /a 0 -> 200 2"],
    );
    assert_eq!(connection.counts(), Counts { head_unreadable: 1, resyncs: 1, ..Counts::default() });
}

#[test]
fn requests_beyond_the_pipeline_limit_are_unfinished_and_shift_no_pair() {
    let requests: Vec<u8> = GET.repeat(MAX_PIPELINE + 2);
    let responses: Vec<u8> = OK.repeat(MAX_PIPELINE + 2);
    let (connection, out) =
        run(&[Ask(&requests), Tell(&responses), Ask(GET_B), Tell(EMPTY)], usize::MAX);
    assert_eq!(connection.counts().pipeline_overflow, 2);
    let unfinished = |exchange: &&Exchange| exchange.notes == [Note::Unfinished];
    assert_eq!(out.iter().filter(unfinished).count(), 2);
    let whole = out.iter().filter(|exchange| exchange.notes.is_empty()).count();
    assert_eq!(whole, MAX_PIPELINE + 1);
    let alone = out.iter().filter(|exchange| exchange.request.is_none()).count();
    assert_eq!(alone, 2);
    assert_eq!(out.last().map(render).as_deref(), Some("GET /b 0 -> 204 0"));
}

#[test]
fn large_heads_in_flight_are_bounded_by_their_bytes() {
    let large = join(&[b"GET /a HTTP/1.1\r\nHost: h\r\nX: ", &[b'x'; 60 * 1024], b"\r\n\r\n"]);
    let (connection, out) = run(&[Ask(&large.repeat(20))], usize::MAX);
    assert_eq!((connection.counts().pipeline_overflow, out.len()), (15, 15));
    assert!(connection.buffered() <= MAX_BUFFERED);
}
