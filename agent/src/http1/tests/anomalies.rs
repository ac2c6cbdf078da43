//! Each oddity by its name, and nothing else by it: RFC 9112 §11.2 and the clauses named there.

use super::{CHUNKED, GET_B, OK, Step, check, join};
use Step::{Ask, Tell};

const POST: &[u8] = b"POST /a HTTP/1.1\r\n";
const HOST: &[u8] = b"Host: h\r\n";
const BODY: &[u8] = b"1\r\na\r\n0\r\n\r\n";

/// A request that is read to its end although it is odd; the one after it is found.
#[track_caller]
fn check_read(request: &[&[u8]], line: &str, anomalies: &str) {
    check(
        &[Ask(&join(&[&join(request), GET_B])), Tell(OK), Tell(OK)],
        &[&format!("{line} -> 200 2; {anomalies}"), "GET /b 0 -> 200 2"],
    );
}

#[track_caller]
fn check_post(fields: &[u8], body: &[u8], anomalies: &str) {
    check_read(&[POST, HOST, fields, body], "POST /a 1", anomalies);
}

#[test]
fn rfc9112_6_3_length_beside_coding_is_named_by_who_reads_more() {
    let both = |len: &str| format!("Content-Length: {len}\r\nTransfer-Encoding: chunked\r\n\r\n");
    // The chunked body has 11 bytes.
    check_post(both("11").as_bytes(), BODY, "te_with_cl");
    check_post(both("50").as_bytes(), BODY, "te_with_cl, cl_te");
    check_post(both("3").as_bytes(), BODY, "te_with_cl, te_cl");
    check_post(both("x").as_bytes(), BODY, "te_with_cl, bad_content_length");
}

#[test]
fn rfc9112_6_1_obscured_transfer_codings_are_named() {
    check_post(b"Transfer-Encoding: chunked, chunked\r\n\r\n", BODY, "te_te");
    check_post(b"Transfer-Encoding: xchunked\r\nTransfer-Encoding: chunked\r\n\r\n", BODY, "te_te");
    check_post(b"Transfer-Encoding : chunked\r\n\r\n", BODY, "te_te, space_before_colon");
    check_post(b"Transfer-Encoding: chunked,\r\n\r\n", BODY, "te_te");
    check_post(b"Transfer-Encoding: ,chunked\r\n\r\n", BODY, "te_te");
    check_post(b"Transfer-Encoding:\r\n chunked\r\n\r\n", BODY, "te_te, obs_fold");
    check_post(b"Transfer-Encoding:\r\nContent-Length: 1\r\n\r\n", b"a", "te_te");
    check_post(b"Transfer-Encoding: identity\r\nContent-Length: 1\r\n\r\n", b"a", "te_identity");
    check_read(&[b"POST /a HTTP/1.0\r\n", HOST, CHUNKED, BODY], "POST /a 1", "te_in_http10");
}

#[test]
fn codings_that_are_registered_are_not_odd_rfc9112_7() {
    check(
        &[
            Ask(&join(&[POST, HOST, b"Transfer-Encoding: gzip;q=1 , Chunked\r\n\r\n", BODY])),
            Tell(OK),
        ],
        &["POST /a 1 -> 200 2"],
    );
}

#[test]
fn rfc9112_2_2_and_5_lines_that_are_odd_are_named() {
    for (lines, anomalies) in [
        (b"Content-Length : 1\r\n\r\n".as_slice(), "space_before_colon"),
        (b"Content-Length: 1\n\n", "bare_lf"),
        (b"X: a\r\n\tb\r\nContent-Length: 1\r\n\r\n", "obs_fold"),
        (b"X: a\rb\r\nContent-Length: 1\r\n\r\n", "bare_cr"),
        (b"no field\r\nContent-Length: 1\r\n\r\n", "bad_field_line"),
        (b"X\x0c: a\r\nContent-Length: 1\r\n\r\n", "bad_field_line, ctl_in_field"),
        (b": nameless\r\nContent-Length: 1\r\n\r\n", "bad_field_line"),
        (b"X: a\x0bb\r\nContent-Length: 1\r\n\r\n", "ctl_in_field"),
        (b"Content-Length: 1, 1\r\n\r\n", "duplicate_content_length"),
        (
            b"Connection: close, authorization\r\nContent-Length: 1\r\n\r\n",
            "connection_drops_field",
        ),
    ] {
        check_post(lines, b"a", anomalies);
    }
    check_read(
        &[POST, b" X: y\r\n", HOST, b"Content-Length: 1\r\n\r\na"],
        "POST /a 1",
        "space_before_field",
    );
}

#[test]
fn rfc9110_5_5_a_nul_loses_the_head_and_is_named() {
    check(
        &[Ask(&join(&[POST, HOST, b"X: a\0b\r\n\r\n"])), Tell(OK), Ask(GET_B), Tell(OK)],
        &["- -> 200 2; request_head_lost, nul_in_field", "GET /b 0 -> 200 2"],
    );
}

#[test]
fn rfc9112_3_start_lines_with_other_spaces_are_named() {
    check_read(
        &[b"POST  /a HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\na"],
        "POST /a 1",
        "bad_start_line",
    );
}

#[test]
fn rfc9112_3_2_hosts_that_are_odd_are_named() {
    let cases: [(&[u8], &str, &str); 8] = [
        (b"POST /a HTTP/1.1\r\n", "/a", "missing_host"),
        (b"POST /a HTTP/1.1\r\nHost: a\r\nHost: b\r\n", "/a", "multiple_host"),
        (b"POST /a HTTP/1.1\r\nHost: a b\r\n", "/a", "bad_host"),
        (b"POST /a HTTP/1.1\r\nHost: a/b\r\n", "/a", "bad_host"),
        (b"POST /a HTTP/1.1\r\nHost: u@h\r\n", "/a", "bad_host"),
        (b"POST http://a/ HTTP/1.1\r\nHost: b\r\n", "http://a/", "absolute_form_host_mismatch"),
        (
            b"POST http://a:1?x HTTP/1.1\r\nHost: a\r\n",
            "http://a:1?x",
            "absolute_form_host_mismatch",
        ),
        (b"POST http://a@b/ HTTP/1.1\r\nHost: a\r\n", "http://a@b/", "absolute_form_host_mismatch"),
    ];
    for (head, target, anomalies) in cases {
        let line = format!("POST {target} 1");
        check_read(&[head, b"Content-Length: 1\r\n\r\na"], &line, anomalies);
    }
    for head in [
        "GET / HTTP/1.0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost:\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n",
        "GET http://A.b:1/?u=c://d HTTP/1.1\r\nHost: a.B:1\r\n\r\n",
        "GET /?u=http://c/ HTTP/1.1\r\nHost: a\r\n\r\n",
    ] {
        let target = head.split(' ').nth(1).unwrap();
        check(&[Ask(head.as_bytes()), Tell(OK)], &[&format!("GET {target} 0 -> 200 2")]);
    }
}

#[test]
fn rfc9112_7_1_chunks_that_are_odd_are_named() {
    let cases: [(&[u8], &str); 6] = [
        (b"1\na\r\n0\r\n\r\n", "chunk_bare_lf"),
        (b"1\r\na\n0\r\n\r\n", "chunk_bare_lf"),
        (b"1\r\na\r\n0\r\nX: y\n\n", "chunk_bare_lf"),
        (b"1;x=y\r\na\r\n0\r\n\r\n", "chunk_extension"),
        (b"1 ; x\r\na\r\n0\r\n\r\n", "chunk_extension"),
        (b"1 x\r\na\r\n0\r\n\r\n", "bad_chunk_extension"),
    ];
    for (body, anomalies) in cases {
        check_post(CHUNKED, body, anomalies);
    }
}

#[test]
fn oddities_of_a_response_are_the_servers() {
    check(
        &[Ask(GET_B), Tell(b"HTTP/1.1 200 OK\r\nX : a\r\nContent-Length: 0, 0\r\n\r\n")],
        &["GET /b 0 -> 200 0; resp:duplicate_content_length, resp:space_before_colon"],
    );
    let head = b"HEAD /a HTTP/1.1\r\nHost: h\r\n\r\n";
    let both = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n";
    check(&[Ask(head), Tell(both)], &["HEAD /a 0 -> 200 0; resp:te_with_cl"]);
}
