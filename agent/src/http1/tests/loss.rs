//! Gaps, joining in the middle, and bytes that are no HTTP.

use super::{CHUNKED, EMPTY, GET, GET_B, GET_C, OK, Step, check, join};
use crate::http1::{Ending, MAX_RESYNC};
use Step::{Ask, LoseAsk, LoseTell, Tell};

#[test]
fn a_gap_within_content_of_known_length_keeps_the_framing() {
    check(
        &[
            Ask(b"PUT /a HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nab"),
            LoseAsk(4),
            Ask(b"ghi"),
            Tell(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"),
            LoseTell(5),
            Ask(GET_B),
            Tell(OK),
        ],
        &["PUT /a 9 -> 200 5; request_body_lost, response_body_lost", "GET /b 0 -> 200 2"],
    );
}

#[test]
fn a_gap_within_a_chunk_keeps_the_framing() {
    let start = join(&[b"HTTP/1.1 200 OK\r\n", CHUNKED, b"5\r\nab"]);
    check(
        &[Ask(GET), Tell(&start), LoseTell(3), Tell(b"\r\n0\r\n\r\n"), Ask(GET_B), Tell(OK)],
        &["GET /a 0 -> 200 5; response_body_lost", "GET /b 0 -> 200 2"],
    );
}

#[test]
fn a_gap_past_the_end_of_a_body_loses_what_follows() {
    check(
        &[
            Ask(GET),
            Tell(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab"),
            LoseTell(4),
            Tell(b"garbage\r\n"),
            Ask(GET_B),
            Tell(OK),
        ],
        &["GET /a 0 -> 200 2; response_body_lost", "GET /b 0 -> 200 2"],
    );
}

#[test]
fn a_gap_in_chunk_framing_resynchronises() {
    let start = join(&[b"HTTP/1.1 200 OK\r\n", CHUNKED, b"5"]);
    check(
        &[
            Ask(GET),
            Tell(&start),
            LoseTell(1),
            Tell(b"{\"a\": 1}\r\n0\r\n\r\n"),
            Ask(GET_B),
            Tell(OK),
        ],
        &["GET /a 0 -> 200 0; response_body_lost", "GET /b 0 -> 200 2"],
    );
}

#[test]
fn a_gap_in_a_request_head_leaves_the_response_alone() {
    check(
        &[
            Ask(b"GET /a HTTP/1.1\r\nHost: "),
            LoseAsk(9),
            Ask(b"x\r\n\r\n"),
            Tell(OK),
            Ask(GET_B),
            Tell(OK),
        ],
        &["- -> 200 2; request_head_lost", "GET /b 0 -> 200 2"],
    );
}

#[test]
fn requests_in_flight_when_responses_are_lost_are_unfinished() {
    check(
        &[Ask(GET), LoseTell(7), Tell(b"nothing\r\n"), Ask(GET_B), Tell(OK)],
        &["GET /a 0 -> -; response_head_lost, unfinished", "GET /b 0 -> 200 2"],
    );
}

#[test]
fn after_lost_responses_the_next_one_is_not_that_of_an_older_request() {
    check(
        &[Ask(GET), LoseTell(90), Tell(OK), LoseAsk(60), Ask(GET_B), Tell(EMPTY)],
        &[
            "GET /a 0 -> -; response_head_lost, unfinished",
            "- -> 200 2; request_head_lost",
            "GET /b 0 -> 204 0",
        ],
    );
}

#[test]
fn lost_requests_leave_their_responses_alone() {
    check(
        &[Ask(GET), Tell(OK), LoseAsk(60), Tell(OK), Ask(GET_B), Tell(EMPTY)],
        &["GET /a 0 -> 200 2", "- -> 200 2; request_head_lost", "GET /b 0 -> 204 0"],
    );
}

#[test]
fn a_request_before_lost_ones_is_still_answered_in_order() {
    check(
        &[
            Ask(b"PUT /a HTTP/1.1\r\nHost: h\r\n"),
            Ask(CHUNKED),
            LoseAsk(60),
            Tell(OK),
            Ask(GET_B),
            Tell(EMPTY),
        ],
        &["PUT /a 0 -> 200 2; request_body_lost", "GET /b 0 -> 204 0"],
    );
}

#[test]
fn a_pipelining_connection_that_loses_bytes_is_not_paired_any_more() {
    let connection = check(
        &[
            Ask(&join(&[GET, GET_B])),
            Tell(&join(&[OK, OK])),
            Ask(GET_C),
            LoseAsk(60),
            Ask(GET),
            Tell(&join(&[OK, OK])),
        ],
        &[
            "GET /a 0 -> 200 2",
            "GET /b 0 -> 200 2",
            "GET /c 0 -> -; unfinished",
            "GET /a 0 -> -; unfinished",
            "- -> 200 2; request_head_lost",
            "- -> 200 2; request_head_lost",
        ],
    );
    assert_eq!(connection.counts().pairing_given_up, 1);
}

#[test]
fn a_response_passed_unseen_while_seeking_does_not_shift_the_pairs() {
    check(
        &[
            Ask(GET),
            LoseTell(9),
            Ask(GET_B),
            Tell(b"HTTP/1.1 200 OK\r\nno field\r\n\r\n"),
            Ask(GET_C),
            Tell(OK),
            Ask(GET),
            Tell(OK),
        ],
        &[
            "GET /a 0 -> -; response_head_lost, unfinished",
            "GET /b 0 -> -; unfinished",
            "GET /c 0 -> -; unfinished",
            "- -> 200 2; request_head_lost",
            "GET /a 0 -> 200 2",
        ],
    );
}

#[test]
fn a_gap_of_nothing_changes_nothing() {
    check(&[Ask(GET), LoseAsk(0), LoseTell(0), Tell(OK)], &["GET /a 0 -> 200 2"]);
}

#[test]
fn a_connection_joined_in_a_body_is_read_from_the_next_start() {
    let rest = b"{\"rest\": \"of a body\"}, GET /x HTTP/1.1\r\n0\r\n\r\n";
    check(&[Ask(&join(&[rest, GET])), Tell(OK)], &["GET /a 0 -> 200 2"]);
    check(
        &[LoseTell(1), Tell(&join(&[b"\x00\x01\xff{\r\n", OK])), Ask(GET), Tell(OK)],
        &["- -> 200 2; request_head_lost", "GET /a 0 -> 200 2"],
    );
}

#[test]
fn a_message_is_found_right_after_a_body_without_line_end() {
    let tail = vec![b'x'; 100_000];
    for tail in [b"{\"rest\": 1}".as_slice(), b"", &tail] {
        check(
            &[
                LoseAsk(1),
                Ask(&join(&[tail, GET])),
                LoseTell(1),
                Tell(&join(&[tail, OK])),
                Ask(GET_B),
                Tell(EMPTY),
            ],
            &[
                "GET /a 0 -> -; response_head_lost, unfinished",
                "- -> 200 2; request_head_lost",
                "GET /b 0 -> 204 0",
            ],
        );
    }
}

#[test]
fn only_certain_heads_end_a_search() {
    for decoy in [
        "FROB /x HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET /x HTTP/1.1\r\n\r\n",
        "GET /x HTTP/1.1\r\nHost: h\n\n",
        "GET /x HTTP/1.1\nHost: h\r\n\r\n",
        "GET /x HTTP/1.1\r\nHost: h\r\n folded\r\n\r\n",
        "GET /x y HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET /x HTTP/2.0\r\nHost: h\r\n\r\n",
        "GET /x HTTP/1.1\r\nHost: h\r\nno field\r\n\r\n",
        "GET /x HTTP/1.1\r\nHost: h\r\n",
        "XGET /x HTTP/1.1\r\nHost: h\r\n\r\n",
    ] {
        check(&[LoseAsk(1), Ask(decoy.as_bytes()), Ask(GET), Tell(OK)], &["GET /a 0 -> 200 2"]);
    }
}

#[test]
fn binary_is_not_http() {
    for bytes in [
        b"\x16\x03\x01\x02\x00\x01".as_slice(),
        b"\x00\x00\x12\x04\x00",
        b"GE\x00",
        b"AMQP\x00\x00\x09\x01",
        b"\x7fELF",
        b"(binary\x01",
    ] {
        let connection = check(&[Ask(bytes)], &[]);
        assert_eq!(connection.ending(), Some(Ending::NotHttp), "{bytes:?}");
        assert_eq!(connection.buffered(), 0);
    }
}

#[test]
fn text_without_http_is_given_up_in_time() {
    let line = b"EHLO client.example and more text\r\n";
    let text = line.repeat(usize::try_from(MAX_RESYNC).unwrap() / line.len());
    let connection = check(&[Ask(&text)], &[]);
    assert!(!connection.is_done());
    let connection = check(&[Ask(&text), Ask(line), Ask(line), Ask(GET)], &[]);
    assert_eq!(connection.ending(), Some(Ending::NotHttp));
    assert_eq!(connection.counts().resync_given_up, 1);
}
