//! What RFC 9113 and RFC 8441 say of whole connections.

use super::{
    super::{Verdict, detect::PREFACE, looks_like_http2},
    CLIENT, END_HEADERS, END_STREAM, SERVER, Wire, block, check, data, frame, get, headers, ok,
    settings, texts,
};
use crate::{
    flow::chunk::Direction,
    http::{
        body::Content,
        message::{Response, Role},
    },
};

const PADDED: u8 = 8;
const PRIORITY: u8 = 0x20;

#[test]
fn rfc9113_8_1_a_request_and_its_response_are_an_exchange() {
    check(&[(CLIENT, get(1, "/a")), (SERVER, ok(1))], &["0: GET /a +0 -> 200 +0"]);
}

#[test]
fn rfc9113_5_streams_interleave() {
    let post = [(":method", "POST"), (":scheme", "https"), (":path", "/b")];
    check(
        &[
            (CLIENT, get(1, "/a")),
            (CLIENT, headers(3, 0, &post)),
            (SERVER, ok(3)),
            (CLIENT, data(3, 0, 5)),
            (SERVER, headers(1, 0, &[(":status", "404")])),
            (CLIENT, data(3, END_STREAM, 6)),
            (SERVER, data(1, END_STREAM, 16_000)),
        ],
        &["1: POST /b +11 -> 200 +0", "0: GET /a +0 -> 404 +16000"],
    );
}

#[test]
fn rfc9113_6_1_padding_is_not_content() {
    let response = headers(1, 0, &[(":status", "200")]);
    let body = frame(0, END_STREAM | PADDED, 1, &[&[4], &b"content"[..], &[0; 4]].concat());
    check(&[(CLIENT, get(1, "/")), (SERVER, response), (SERVER, body)], &["0: GET / +0 -> 200 +7"]);
}

#[test]
fn rfc9113_6_2_padding_and_priority_are_no_fields() {
    let fields = block(&[(":method", "GET"), (":scheme", "https"), (":path", "/p")]);
    let payload = [&[3], &[0, 0, 0, 0, 16][..], &fields, &[0; 3]].concat();
    let request = frame(1, END_STREAM | END_HEADERS | PADDED | PRIORITY, 1, &payload);
    check(&[(CLIENT, request), (SERVER, ok(1))], &["0: GET /p +0 -> 200 +0"]);
}

#[test]
fn rfc9113_6_10_continuation_completes_a_block() {
    let fields = block(&[(":method", "GET"), (":scheme", "https"), (":path", "/long"), ("a", "b")]);
    let (first, rest) = fields.split_at(5);
    let (second, third) = rest.split_at(9);
    let script = [
        (CLIENT, frame(1, END_STREAM, 1, first)),
        (SERVER, frame(6, 0, 0, &[0; 8])),
        (CLIENT, frame(9, 0, 1, second)),
        (CLIENT, frame(9, END_HEADERS, 1, third)),
        (SERVER, ok(1)),
    ];
    check(&script, &["0: GET /long +0 -> 200 +0"]);
}

#[test]
fn rfc9113_8_1_interim_responses_are_not_final() {
    let script = [
        (CLIENT, get(1, "/")),
        (SERVER, headers(1, 0, &[(":status", "100")])),
        (SERVER, headers(1, 0, &[(":status", "103"), ("link", "x")])),
        (SERVER, ok(1)),
    ];
    check(&script, &["0: GET / +0 -> 200 +0"]);
}

#[test]
fn rfc9113_8_3_1_authority_is_the_host_field() {
    let hosts = |fields: &[(&str, &str)]| {
        let mut wire = Wire::open();
        let mut all = vec![(":method", "GET"), (":scheme", "https"), (":path", "/")];
        all.extend(fields);
        wire.feed(CLIENT, &headers(1, END_STREAM, &all));
        wire.feed(SERVER, &ok(1));
        texts(&wire.out[0].request.as_ref().unwrap().fields)
    };
    assert_eq!(hosts(&[(":authority", "a"), ("x", "y")]), ["host: a", "x: y"]);
    assert_eq!(hosts(&[(":authority", "a"), ("host", "a")]), ["host: a"]);
    assert_eq!(hosts(&[(":authority", "a"), ("host", "b")]), ["host: a", "host: b"]);
    assert_eq!(hosts(&[("x", "y"), ("host", "b")]), ["x: y", "host: b"]);
}

#[test]
fn rfc9113_8_2_3_cookie_crumbs_are_joined() {
    let mut wire = Wire::open();
    let fields = [
        (":method", "GET"),
        (":scheme", "https"),
        (":path", "/"),
        ("cookie", "a=1"),
        ("x", "y"),
        ("cookie", "b=2"),
    ];
    wire.feed(CLIENT, &headers(1, END_STREAM, &fields));
    wire.feed(SERVER, &ok(1));
    let request = wire.out[0].request.as_ref().unwrap();
    assert_eq!(texts(&request.fields), ["x: y", "cookie: a=1; b=2"]);
}

#[test]
fn rfc9113_8_4_pushes_are_not_the_clients_requests() {
    let promise = [
        &2_u32.to_be_bytes()[..],
        &block(&[(":method", "GET"), (":scheme", "https"), (":path", "/p")]),
    ]
    .concat();
    let script = [
        (CLIENT, get(1, "/")),
        (SERVER, frame(5, END_HEADERS, 1, &promise)),
        (SERVER, ok(2)),
        (SERVER, ok(1)),
    ];
    check(&script, &["0: GET / +0 -> 200 +0"]);
}

#[test]
fn rfc9113_6_4_a_reset_stream_is_unfinished() {
    let reset = |stream| frame(3, 0, stream, &[0, 0, 0, 8]);
    let script = [
        (CLIENT, get(1, "/a")),
        (CLIENT, reset(1)),
        // The response was on its way.
        (SERVER, ok(1)),
        (CLIENT, headers(3, 0, &[(":method", "PUT"), (":scheme", "https"), (":path", "/b")])),
        (SERVER, headers(3, END_STREAM, &[(":status", "413")])),
        (SERVER, reset(3)),
    ];
    check(&script, &["0: GET /a +0 -> ? unfinished", "1: PUT /b +0 -> 413 +0 unfinished"]);
}

#[test]
fn rfc9113_6_8_goaway_leaves_later_streams_unanswered() {
    let goaway = |last: u32| frame(7, 0, 0, &[last.to_be_bytes(), [0; 4]].concat());
    let script = [
        (CLIENT, get(1, "/a")),
        (CLIENT, get(3, "/b")),
        (SERVER, goaway(u32::MAX >> 1)),
        (SERVER, goaway(1)),
        (CLIENT, get(5, "/c")),
        (SERVER, ok(1)),
    ];
    check(
        &script,
        &["1: GET /b +0 -> ? unfinished", "2: GET /c +0 -> ? unfinished", "0: GET /a +0 -> 200 +0"],
    );
}

#[test]
fn rfc9113_4_1_unknown_frames_are_ignored() {
    let script = [
        (CLIENT, frame(0xfa, 0xff, 7, &[1; 300])),
        (CLIENT, get(1, "/")),
        (SERVER, frame(8, 0, 0, &[0, 0, 1, 0])),
        (SERVER, frame(2, 0, 1, &[0; 5])),
        (SERVER, ok(1)),
    ];
    check(&script, &["0: GET / +0 -> 200 +0"]);
}

#[test]
fn rfc9113_8_5_connect_has_its_authority_for_target_and_upgrades() {
    let script = [
        (CLIENT, headers(1, 0, &[(":method", "CONNECT"), (":authority", "b:443")])),
        (SERVER, headers(1, 0, &[(":status", "200")])),
        (CLIENT, data(1, END_STREAM, 100)),
        (SERVER, data(1, END_STREAM, 100)),
    ];
    check(&script, &["0: CONNECT b:443 +100 -> 200 +100 upgraded"]);
}

#[test]
fn rfc8441_extended_connect_upgrades_and_names_the_protocol() {
    let mut wire = Wire::open();
    let request = [
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":scheme", "https"),
        (":path", "/chat"),
    ];
    wire.feed(SERVER, &frame(4, 0, 0, &[0, 8, 0, 0, 0, 1]));
    wire.feed(CLIENT, &headers(1, 0, &request));
    assert!(wire.out.is_empty());
    wire.feed(SERVER, &headers(1, 0, &[(":status", "200")]));
    wire.feed(CLIENT, &data(1, END_STREAM, 7));
    assert!(wire.out.is_empty());
    wire.feed(SERVER, &data(1, END_STREAM, 9));
    let fields = &wire.out[0].request.as_ref().unwrap().fields;
    assert_eq!(fields.first("upgrade"), Some(&b"websocket"[..]));
    assert_eq!(wire.lines(), ["0: CONNECT /chat +7 -> 200 +9 upgraded"]);
}

#[test]
fn grpc_calls_name_service_and_method_and_have_their_status_in_the_trailers() {
    let mut wire = Wire::open();
    let request = [
        (":method", "POST"),
        (":scheme", "https"),
        (":path", "/pkg.Svc/Get"),
        ("content-type", "application/grpc+proto"),
    ];
    wire.feed(CLIENT, &headers(1, 0, &request));
    wire.feed(CLIENT, &data(1, END_STREAM, 5));
    wire.feed(SERVER, &headers(1, 0, &[(":status", "200")]));
    wire.feed(SERVER, &data(1, 0, 5));
    wire.feed(SERVER, &headers(1, END_STREAM, &[("grpc-status", "7")]));
    // A response without message has its status in the head.
    wire.feed(CLIENT, &headers(3, END_STREAM, &request));
    wire.feed(SERVER, &headers(3, END_STREAM, &[(":status", "200"), ("grpc-status", "16")]));
    let status = |at: usize| wire.out[at].response.as_ref().and_then(Response::grpc_status);
    assert_eq!((status(0), status(1)), (Some(7), Some(16)));
    assert_eq!(wire.out[0].request.as_ref().unwrap().grpc(), Some(("pkg.Svc", "Get")));
    assert_eq!(wire.lines()[0], "0: POST /pkg.Svc/Get +5 -> 200 +5");
}

#[test]
fn messages_of_a_grpc_call_are_counted_across_frames() {
    let mut wire = Wire::open();
    let request = [
        (":method", "POST"),
        (":scheme", "https"),
        (":path", "/pkg.Svc/Stream"),
        ("content-type", "application/grpc"),
    ];
    wire.feed(CLIENT, &headers(1, 0, &request));
    let messages = [0, 0, 0, 0, 2, b'a', b'b', 0, 0, 0, 0, 0];
    wire.feed(CLIENT, &frame(0, 0, 1, &messages[..3]));
    wire.feed(CLIENT, &frame(0, END_STREAM, 1, &messages[3..]));
    let response = [(":status", "200"), ("content-type", "application/grpc")];
    wire.feed(SERVER, &headers(1, 0, &response));
    wire.feed(SERVER, &frame(0, 0, 1, &messages[..7]));
    wire.feed(SERVER, &headers(1, END_STREAM, &[("grpc-status", "0")]));
    let count = |content: &Content| match content {
        Content::Grpc(messages) => (messages.count(), messages.is_exact()),
        other => panic!("no gRPC: {other:?}"),
    };
    assert_eq!(count(&wire.out[0].request.as_ref().unwrap().content), (2, true));
    assert_eq!(count(&wire.out[0].response.as_ref().unwrap().content), (1, true));
}

#[test]
fn samples_count_towards_what_streams_may_hold() {
    let mut wire = Wire::open();
    let before = wire.connection.buffered();
    let request = [
        (":method", "POST"),
        (":scheme", "https"),
        (":path", "/token"),
        ("content-type", "application/json"),
    ];
    wire.feed(CLIENT, &headers(1, 0, &request));
    wire.feed(CLIENT, &data(1, 0, 10_000));
    assert!(wire.connection.buffered() >= before + 10_000);
    wire.feed(CLIENT, &data(1, END_STREAM, 1));
    wire.feed(SERVER, &ok(1));
    assert_eq!(wire.connection.buffered(), before);
}

#[test]
fn the_role_is_told_by_the_preface() {
    let mut wire = Wire::default();
    wire.feed(Direction::Inbound, &[PREFACE, &settings()[..], &get(1, "/")].concat());
    wire.feed(Direction::Outbound, &[settings(), ok(1)].concat());
    assert_eq!(wire.out[0].role, Role::Server);
}

#[test]
fn a_response_that_is_captured_first_waits_for_its_request() {
    check(&[(SERVER, ok(1)), (CLIENT, get(1, "/"))], &["0: GET / +0 -> 200 +0"]);
}

#[test]
fn what_is_in_flight_at_the_end_is_unfinished() {
    let script = [(CLIENT, get(1, "/a")), (SERVER, headers(1, 0, &[(":status", "200")]))];
    check(&script, &["0: GET /a +0 -> 200 +0 unfinished"]);
}

#[test]
fn a_connection_is_done_when_both_directions_have_ended() {
    let mut wire = Wire::open();
    wire.feed(CLIENT, &get(1, "/"));
    let at = crate::clock::Timestamp(7);
    wire.connection.end(CLIENT, at, &mut wire.out);
    assert!(!wire.connection.is_done() && wire.out.is_empty());
    wire.connection.end(SERVER, at, &mut wire.out);
    assert!(wire.connection.is_done());
    assert_eq!(wire.lines(), ["0: GET / +0 -> ? unfinished"]);
}

#[test]
fn times_are_those_of_first_and_last_byte() {
    use crate::clock::Timestamp;
    let mut wire = Wire::open();
    let (request, response) = (get(1, "/"), ok(1));
    let (head, tail) = request.split_at(4);
    for (at, direction, bytes) in
        [(10, CLIENT, head), (20, CLIENT, tail), (30, SERVER, &response[..])]
    {
        wire.connection.feed(direction, Timestamp(at), bytes, &mut wire.out);
    }
    let request = wire.out[0].request.as_ref().unwrap();
    assert_eq!((request.started, request.ended), (Timestamp(10), Timestamp(20)));
    assert_eq!(wire.out[0].response.as_ref().unwrap().ended, Timestamp(30));
}

#[test]
fn http2_is_told_by_its_preface_or_by_three_frames() {
    let ping = frame(6, 0, 0, &[1; 8]);
    let frames = [ok(1), data(3, END_STREAM, 300), ping.clone()].concat();
    assert_eq!(looks_like_http2(PREFACE), Verdict::Yes);
    assert_eq!(looks_like_http2(b"PRI * HT"), Verdict::NeedMore);
    assert_eq!(looks_like_http2(b"PRI * HTTP/3.0\r\n"), Verdict::No);
    assert_eq!(looks_like_http2(&frames), Verdict::Yes);
    assert_eq!(looks_like_http2(&frames[..frames.len() - 9]), Verdict::NeedMore);
    // A header block that begins like one counts for two.
    let request = frame(1, END_STREAM | END_HEADERS, 9, b"\x82\x87\x84");
    assert_eq!(looks_like_http2(&request), Verdict::NeedMore);
    assert_eq!(looks_like_http2(&[request, ping].concat()), Verdict::Yes);
    for other in [
        &b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"[..],
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        &[0; 64],
        &[0xff; 64],
        b"*3\r\n$3\r\nSET\r\n",
    ] {
        assert_eq!(looks_like_http2(other), Verdict::No, "{other:?}");
    }
}
