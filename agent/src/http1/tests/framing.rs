//! Where bodies end: RFC 9112 §6 and §7.

use super::{CHUNKED, EMPTY, GET, GET_B, OK, Step, check, join, run};
use crate::http1::TRAILERS_MAX;
use Step::{Ask, EndTell, Finish, LoseTell, Tell};

#[test]
fn responses_to_head_and_with_204_or_304_have_no_body() {
    let head = b"HEAD /a HTTP/1.1\r\nHost: h\r\n\r\n";
    let not_modified = b"HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\n\r\n";
    let long = b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n";
    check(
        &[Ask(head), Tell(long), Ask(GET), Tell(not_modified), Ask(GET_B), Tell(EMPTY)],
        &["HEAD /a 0 -> 200 0", "GET /a 0 -> 304 0", "GET /b 0 -> 204 0"],
    );
}

#[test]
fn a_response_without_length_lasts_until_the_connection_closes() {
    for end in [EndTell, Finish] {
        check(
            &[Ask(GET), Tell(b"HTTP/1.0 200 OK\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"), end],
            &["GET /a 0 -> 200 19"],
        );
    }
}

#[test]
fn chunked_bodies_are_counted_without_their_framing_rfc9112_7_1() {
    let body = b"4;name=\"v\"\r\nwiki\r\n05 ;x\r\npedia\r\nA\r\n0123456789\r\n0\r\n\r\n";
    check(
        &[
            Ask(&join(&[b"POST /a HTTP/1.1\r\nHost: h\r\n", CHUNKED, body, GET_B])),
            Tell(&join(&[
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, Chunked\r\n\r\n",
                body,
                OK,
            ])),
        ],
        &["POST /a 19 -> 200 19; chunk_extension, resp:chunk_extension", "GET /b 0 -> 200 2"],
    );
}

#[test]
fn trailers_stand_apart_from_the_head_rfc9112_7_1_2() {
    let body = b"1\r\na\r\n0\r\nX-Sum: 1\r\nAuthorization: Bearer t\r\n\r\n";
    let (_, out) =
        run(&[Ask(GET), Tell(&join(&[b"HTTP/1.1 200 OK\r\n", CHUNKED, body]))], usize::MAX);
    let response = out.first().and_then(|exchange| exchange.response.as_ref()).unwrap();
    assert_eq!((response.body_bytes, response.fields.len()), (1, 1));
    let trailers: Vec<_> = response.trailers.iter().collect();
    let expected: [(&[u8], &[u8]); 2] = [(b"x-sum", b"1"), (b"authorization", b"Bearer t")];
    assert_eq!(trailers, expected);
    let asked = b"POST /b HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
    check(
        &[
            Ask(GET),
            Tell(&join(&[b"HTTP/1.1 200 OK\r\n", CHUNKED, body])),
            Ask(&join(&[asked, body])),
            Tell(&join(&[b"HTTP/1.1 200 OK\r\n", CHUNKED, b"0\r\nA: 1\nB: 2\n\n"])),
            Ask(GET_B),
            Tell(OK),
        ],
        &["GET /a 0 -> 200 1", "POST /b 1 -> 200 0; resp:chunk_bare_lf", "GET /b 0 -> 200 2"],
    );
}

#[test]
fn trailers_that_are_too_long_are_kept_in_part_and_said_to_be() {
    let long = vec![b'x'; TRAILERS_MAX];
    let body = join(&[b"0\r\nGrpc-Status: 5\r\nX: ", &long, b"\r\nY: 1\r\n\r\n"]);
    let response = join(&[b"HTTP/1.1 200 OK\r\n", CHUNKED, &body]);
    check(
        &[Ask(GET), Tell(&response), Ask(GET_B), Tell(OK)],
        &["GET /a 0 -> 200 0; response_headers_incomplete", "GET /b 0 -> 200 2"],
    );
    let (_, out) = run(&[Ask(GET), Tell(&response)], usize::MAX);
    let response = out.first().and_then(|exchange| exchange.response.as_ref()).unwrap();
    assert_eq!((response.trailers.len(), response.grpc_status()), (1, Some(5)));
}

/// What a lost part of it said is not known, nor where the next message starts.
#[test]
fn a_gap_within_trailers_loses_them() {
    let start = join(&[b"HTTP/1.1 200 OK\r\n", CHUNKED, b"0\r\nGrpc-Status: 5\r\nX: "]);
    check(
        &[Ask(GET), Tell(&start), LoseTell(4), Tell(b"\r\n\r\n"), Ask(GET_B), Tell(OK)],
        &["GET /a 0 -> 200 0; response_body_lost", "GET /b 0 -> 200 2"],
    );
}

/// Its status stands in the body's last message, and HTTP's says nothing.
#[test]
fn a_call_by_grpc_web_has_its_status() {
    for (form, body) in [
        ("grpc-web+proto", &b"\0\0\0\0\x02ab\x80\0\0\0\x10grpc-status: 7\r\n"[..]),
        ("grpc-web-text", b"AAAAAAJhYg==gAAAABBncnBjLXN0YXR1czogNw0K"),
    ] {
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/{form}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let response = join(&[head.as_bytes(), body]);
        check(&[Ask(GET), Tell(&response)], &[&format!("GET /a 0 -> 200 {}", body.len())]);
        let (_, out) = run(&[Ask(GET), Tell(&response)], usize::MAX);
        let response = out.first().and_then(|exchange| exchange.response.as_ref()).unwrap();
        assert_eq!(response.grpc_status(), Some(7), "{form}");
        assert_eq!(response.content.messages().map(|it| it.count()), Some(1), "{form}");
    }
}

#[test]
fn equal_lengths_given_twice_are_one_rfc9110_8_6() {
    check(
        &[Ask(b"PUT /a HTTP/1.1\r\nHost: h\r\nContent-Length: 2, 2\r\nContent-Length: 2\r\n\r\nab"), Tell(OK)],
        &["PUT /a 2 -> 200 2; duplicate_content_length"],
    );
}

#[test]
fn folded_and_spaced_fields_are_read_leniently_rfc9112_5() {
    let head = b"GET /a HTTP/1.1\r\nAuthorization \t: Bearer\r\n  token\r\nHost: h\r\n\r\n";
    let (_, out) = run(&[Ask(head), Finish], usize::MAX);
    let request = out.first().and_then(|exchange| exchange.request.as_ref()).unwrap();
    assert_eq!(request.fields.first("authorization"), Some(b"Bearer    token".as_slice()));
    assert_eq!(request.fields.first("host"), Some(b"h".as_slice()));
}

#[test]
fn unusable_framing_of_a_request_loses_its_body_and_resynchronises() {
    let cases: [(&[u8], &str); 6] = [
        (b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n", "conflicting_content_length"),
        (b"Content-Length: +1\r\n\r\n", "bad_content_length"),
        (b"Content-Length: 1,\r\n\r\n", "bad_content_length"),
        (b"Content-Length: 99999999999999999999\r\n\r\n", "bad_content_length"),
        (b"Transfer-Encoding: chunked, gzip\r\n\r\n", "te_not_final"),
        (b"Transfer-Encoding: \x0bchunked\r\n\r\n", "te_te, ctl_in_field"),
    ];
    for (fields, anomalies) in cases {
        check(
            &[
                Ask(&join(&[b"POST /a HTTP/1.1\r\nHost: h\r\n", fields, b"a\r\n"])),
                Tell(OK),
                Ask(GET_B),
                Tell(EMPTY),
            ],
            &[&format!("POST /a 0 -> 200 2; request_body_lost, {anomalies}"), "GET /b 0 -> 204 0"],
        );
    }
}

/// Where a recipient that goes by the other field sees a second request, none is told.
#[test]
fn rfc9112_11_2_what_is_smuggled_is_no_request_of_its_own() {
    let smuggled = b"GET /admin HTTP/1.1\r\nHost: h\r\n\r\n";
    let chunk = format!("{:x}\r\n", smuggled.len());
    let inner = join(&[chunk.as_bytes(), smuggled, b"\r\n0\r\n\r\n"]);
    let cases: [(&[u8], &str); 3] = [
        (b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n", "te_with_cl, te_cl"),
        (b"Transfer-Encoding: chunked\r\nTransfer-Encoding: x, chunked\r\n\r\n", "te_te"),
        (b"Transfer-Encoding : chunked\r\n\r\n", "te_te, space_before_colon"),
    ];
    for (fields, anomalies) in cases {
        let ask = join(&[b"POST /a HTTP/1.1\r\nHost: h\r\n", fields, &inner, GET_B]);
        let first = format!("POST /a {} -> 200 2; {anomalies}", smuggled.len());
        check(&[Ask(&ask), Tell(OK), Tell(EMPTY)], &[&first, "GET /b 0 -> 204 0"]);
    }
}

#[test]
fn invalid_chunks_lose_the_body_and_resynchronise() {
    let long = join(&[b"1;", &[b'x'; 5000], b"\r\n"]);
    let chunks: [(&[u8], u64, &str); 6] = [
        (b"x\r\n", 0, "resp:bad_chunk_size"),
        (b"-1\r\n", 0, "resp:bad_chunk_size"),
        (b"11111111111111111\r\n", 0, "resp:bad_chunk_size"),
        (b"1\r\nab\r\n", 1, "resp:bad_chunk_data"),
        (b"1\rx\n", 0, "resp:bad_chunk_extension"),
        (&long, 0, "resp:chunk_extension, resp:bad_chunk_extension"),
    ];
    for (chunk, len, anomalies) in chunks {
        let response = join(&[b"HTTP/1.1 200 OK\r\n", CHUNKED, chunk, b"more\r\n"]);
        check(
            &[Ask(GET), Tell(&response), Ask(GET_B), Tell(EMPTY)],
            &[
                &format!("GET /a 0 -> 200 {len}; response_body_lost, {anomalies}"),
                "GET /b 0 -> 204 0",
            ],
        );
    }
}

#[test]
fn a_response_whose_last_coding_is_not_chunked_lasts_until_close() {
    check(
        &[Ask(GET), Tell(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nabc"), Finish],
        &["GET /a 0 -> 200 3; resp:te_not_final"],
    );
}
