//! Each oddity of HTTP/2 messages by its name: RFC 9113 §8 and §10.3.

use super::{CLIENT, END_STREAM, SERVER, check, data, get, headers, ok};

const PSEUDO: [(&str, &str); 4] =
    [(":method", "POST"), (":scheme", "https"), (":path", "/"), (":authority", "a")];

/// A request with `fields` after the usual pseudo-header fields, and `len` octets of body.
#[track_caller]
fn check_fields(fields: &[(&str, &str)], len: usize, anomalies: &str) {
    let head = [&PSEUDO[..], fields].concat();
    let script = [
        (CLIENT, headers(1, 0, &head)),
        (CLIENT, data(1, END_STREAM, len)),
        (SERVER, ok(1)),
        (CLIENT, get(3, "/next")),
        (SERVER, ok(3)),
    ];
    let first = format!("0: POST / +{len} -> 200 +0{anomalies}");
    check(&script, &[&first, "1: GET /next +0 -> 200 +0"]);
}

#[track_caller]
fn check_head(head: &[(&str, &str)], line: &str, anomalies: &str) {
    let script = [(CLIENT, headers(1, END_STREAM, head)), (SERVER, ok(1))];
    check(&script, &[&format!("0: {line} +0 -> 200 +0{anomalies}")]);
}

#[test]
fn rfc9113_8_2_2_fields_of_connections_are_named() {
    for (name, value) in [
        ("connection", "close"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "close"),
        ("upgrade", "h2c"),
        ("te", "gzip"),
    ] {
        check_fields(&[(name, value)], 1, " connection_field");
    }
    check_fields(&[("transfer-encoding", "chunked")], 1, " h2_te");
    check_fields(&[("te", "trailers")], 1, "");
}

#[test]
fn rfc9113_8_2_1_names_and_values_that_break_lines_are_named() {
    check_fields(&[("X-Upper", "a")], 1, " uppercase_name");
    check_fields(&[("x y", "a")], 1, " bad_field_name");
    check_fields(&[("x:y", "a")], 1, " bad_field_name");
    check_fields(&[("", "a")], 1, " bad_field_name");
    check_fields(&[("x\r\ny", "a")], 1, " line_break_in_field");
    check_fields(&[("x", "a\r\ntransfer-encoding: chunked")], 1, " line_break_in_field");
    check_fields(&[("x", "a\nb")], 1, " line_break_in_field");
    check_fields(&[("x", "a\0b")], 1, " nul_in_field");
    check_fields(&[("x", " a")], 1, " padded_value");
    check_fields(&[("x", "a\tb c"), ("y", "")], 1, "");
}

#[test]
fn rfc9113_8_3_pseudo_header_fields_out_of_place_are_named() {
    check_fields(&[(":authority", "a")], 1, " pseudo_duplicate");
    check_fields(&[("x", "y"), (":path", "/")], 1, " pseudo_order pseudo_duplicate");
    check_fields(&[(":version", "1.1")], 1, " pseudo_unknown");
    check_head(&[(":method", "GET"), (":path", "/")], "GET /", " pseudo_missing");
    check_head(
        &[(":method", "GET"), (":scheme", "https"), (":path", "x")],
        "GET x",
        " bad_pseudo_value",
    );
    check_head(
        &[(":method", "GET / HTTP/1.1"), (":scheme", "https"), (":path", "/")],
        "GET / HTTP/1.1 /",
        " bad_pseudo_value",
    );
    check_head(&[(":method", "OPTIONS"), (":scheme", "https"), (":path", "*")], "OPTIONS *", "");
}

/// Whoever adds a field of the other message does not hide its own.
#[test]
fn rfc9113_8_3_pseudo_header_fields_of_the_other_message_are_named() {
    let ask = [&PSEUDO[..], &[(":status", "204")]].concat();
    check_head(&ask, "POST /", " pseudo_unknown");
    let tell = [(":status", "404"), (":path", "/x"), ("server", "s")];
    let script = [(CLIENT, get(1, "/")), (SERVER, headers(1, END_STREAM, &tell))];
    check(&script, &["0: GET / +0 -> 404 +0 resp:pseudo_unknown"]);
}

#[test]
fn rfc9113_8_3_1_another_host_is_named() {
    check_fields(&[("host", "b")], 1, " authority_host_mismatch");
    check_fields(&[("host", "a")], 1, "");
}

#[test]
fn rfc9113_8_1_1_lengths_that_differ_are_named() {
    check_fields(&[("content-length", "2")], 1, " content_length_mismatch");
    check_fields(&[("content-length", "0")], 1, " content_length_mismatch");
    check_fields(&[("content-length", "1")], 1, "");
    check_fields(&[("content-length", "x")], 1, " bad_content_length");
    check_fields(
        &[("content-length", "1"), ("content-length", "2")],
        1,
        " conflicting_content_length",
    );
    let head = [&PSEUDO[..], &[("content-length", "7")]].concat();
    check_head(&head, "POST /", " content_length_mismatch");
}

#[test]
fn rfc9113_8_1_1_responses_without_body_may_declare_any_length() {
    let answer = |status| headers(1, END_STREAM, &[(":status", status), ("content-length", "5")]);
    let ask = |method| {
        headers(1, END_STREAM, &[(":method", method), (":scheme", "https"), (":path", "/")])
    };
    let script = |method, status| [(CLIENT, ask(method)), (SERVER, answer(status))];
    check(&script("HEAD", "200"), &["0: HEAD / +0 -> 200 +0"]);
    check(&script("GET", "304"), &["0: GET / +0 -> 304 +0"]);
    check(&script("GET", "200"), &["0: GET / +0 -> 200 +0 resp:content_length_mismatch"]);
}
