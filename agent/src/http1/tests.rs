//! What the codec makes of scripted connections. Every script runs with its bytes fed whole, in
//! threes and one by one: the exchanges must be the same.

mod anomalies;
mod framing;
mod limits;
mod loss;
mod properties;

use super::{Connection, Ending};
use crate::{
    clock::Timestamp,
    flow::chunk::Direction,
    http::{
        anomaly::Anomalies,
        body::Content,
        message::{Exchange, Role},
    },
};

/// What happens on a connection that the observed process opened.
enum Step<'a> {
    /// Bytes of the requests' direction.
    Ask(&'a [u8]),
    /// Bytes of the responses' direction.
    Tell(&'a [u8]),
    LoseAsk(u64),
    LoseTell(u64),
    EndAsk,
    EndTell,
    Finish,
}

use Step::{Ask, EndAsk, EndTell, Finish, LoseAsk, LoseTell, Tell};

fn run(steps: &[Step<'_>], at_most: usize) -> (Connection, Vec<Exchange>) {
    let (ask, tell) = (Direction::Outbound, Direction::Inbound);
    let mut connection = Connection::new();
    let mut out = Vec::new();
    for (step, at) in steps.iter().zip(1..) {
        let at = Timestamp(at);
        let mut feed = |direction, bytes: &[u8]| {
            for piece in bytes.chunks(at_most) {
                connection.feed(direction, at, piece, &mut out);
            }
        };
        match step {
            Ask(bytes) => feed(ask, bytes),
            Tell(bytes) => feed(tell, bytes),
            LoseAsk(len) => connection.gap(ask, at, *len, &mut out),
            LoseTell(len) => connection.gap(tell, at, *len, &mut out),
            EndAsk => connection.end(ask, at, &mut out),
            EndTell => connection.end(tell, at, &mut out),
            Finish => connection.finish(at, &mut out),
        }
    }
    (connection, out)
}

/// `POST /path 5 -> 200 3; note, anomaly, resp:anomaly`, with `-` for a message that is missing.
fn render(exchange: &Exchange) -> String {
    let request = exchange.request.as_ref().map_or_else(
        || "-".to_owned(),
        |request| format!("{} {} {}", request.method, *request.target, request.body_bytes),
    );
    let response = exchange.response.as_ref().map_or_else(
        || "-".to_owned(),
        |response| format!("{} {}", response.status, response.body_bytes),
    );
    let Anomalies { request: asked, response: told } = exchange.anomalies;
    let notes = exchange.notes.iter().map(|note| note.as_str().to_owned());
    let asked = asked.iter().map(|anomaly| anomaly.as_str().to_owned());
    let told = told.iter().map(|anomaly| format!("resp:{anomaly}"));
    let notes: Vec<_> = notes.chain(asked).chain(told).collect();
    let separator = if notes.is_empty() { "" } else { "; " };
    format!("{request} -> {response}{separator}{}", notes.join(", "))
}

fn check(steps: &[Step<'_>], expected: &[&str]) -> Connection {
    let (connection, whole) = run(steps, usize::MAX);
    assert_eq!(whole.iter().map(render).collect::<Vec<_>>(), expected);
    for at_most in [1, 3] {
        let (cut, out) = run(steps, at_most);
        assert_eq!(out, whole, "in pieces of {at_most}");
        assert_eq!(cut.counts(), connection.counts(), "in pieces of {at_most}");
        assert_eq!(cut.ending(), connection.ending(), "in pieces of {at_most}");
    }
    connection
}

const GET: &[u8] = b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n";
const GET_B: &[u8] = b"GET /b HTTP/1.1\r\nHost: h\r\n\r\n";
const GET_C: &[u8] = b"GET /c HTTP/1.1\r\nHost: h\r\n\r\n";
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const EMPTY: &[u8] = b"HTTP/1.1 204 No Content\r\n\r\n";
const CHUNKED: &[u8] = b"Transfer-Encoding: chunked\r\n\r\n";

fn join(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

#[test]
fn keep_alive_gives_one_exchange_after_the_other() {
    check(
        &[Ask(GET), Tell(OK), Ask(GET_B), Tell(EMPTY)],
        &["GET /a 0 -> 200 2", "GET /b 0 -> 204 0"],
    );
}

#[test]
fn messages_carry_fields_version_role_and_times() {
    let (_, out) = run(
        &[
            Ask(b"POST /t?x=1 HTTP/1.0\r\nHoSt:  h \r\nAuth"),
            Ask(b"orization: Bearer a\r\nContent-Length: 3\r\n\r\na"),
            Ask(b"bc"),
            Tell(b"HTTP/1.1 401\r\nWWW-Authenticate: Bearer\r\nContent-Length: 2\r\n\r\n"),
            Tell(b"no"),
        ],
        usize::MAX,
    );
    let [exchange] = out.as_slice() else { panic!("one exchange, not {}", out.len()) };
    assert_eq!((exchange.index, exchange.role), (0, Role::Client));
    let request = exchange.request.as_ref().unwrap();
    assert_eq!(request.version.as_str(), "1.0");
    assert_eq!(request.fields.first("host"), Some(b"h".as_slice()));
    assert_eq!(request.fields.first("authorization"), Some(b"Bearer a".as_slice()));
    assert_eq!((request.started, request.ended), (Timestamp(1), Timestamp(3)));
    let response = exchange.response.as_ref().unwrap();
    assert_eq!(response.version.as_str(), "1.1");
    assert_eq!(response.fields.first("www-authenticate"), Some(b"Bearer".as_slice()));
    assert_eq!((response.started, response.ended), (Timestamp(4), Timestamp(5)));
}

#[test]
fn requests_that_reach_the_process_make_it_a_server() {
    let mut connection = Connection::new();
    let mut out = Vec::new();
    connection.feed(Direction::Inbound, Timestamp(1), GET, &mut out);
    connection.feed(Direction::Outbound, Timestamp(2), OK, &mut out);
    assert_eq!(out.first().map(|exchange| exchange.role), Some(Role::Server));
}

#[test]
fn pipelined_requests_pair_in_order_rfc9112_9_3_2() {
    check(
        &[Ask(&join(&[GET, GET_B, GET_C])), Tell(&join(&[OK, EMPTY, OK]))],
        &["GET /a 0 -> 200 2", "GET /b 0 -> 204 0", "GET /c 0 -> 200 2"],
    );
}

#[test]
fn line_ends_before_a_start_line_are_skipped_rfc9112_2_2() {
    check(&[Ask(b"\r\n\r\n"), Ask(GET), Tell(b"\r\n"), Tell(OK)], &["GET /a 0 -> 200 2"]);
}

#[test]
fn interim_responses_are_skipped_rfc9110_15_2() {
    check(
        &[
            Ask(b"PUT /a HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"),
            Tell(b"HTTP/1.1 100 Continue\r\n\r\n"),
            Ask(b"abc"),
            Tell(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"),
            Tell(OK),
        ],
        &["PUT /a 3 -> 200 2"],
    );
}

#[test]
fn an_early_response_waits_for_the_request_to_end() {
    check(
        &[
            Ask(b"PUT /a HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\na"),
            Tell(OK),
            Ask(b"bc"),
            Ask(GET_B),
            Tell(EMPTY),
        ],
        &["PUT /a 3 -> 200 2", "GET /b 0 -> 204 0"],
    );
}

#[test]
fn an_early_response_to_half_a_head_belongs_to_that_request() {
    check(
        &[Ask(b"GET /a HTTP/1.1\r\nHost"), Tell(OK), Ask(b": h\r\n\r\n"), Ask(GET_B), Tell(EMPTY)],
        &["GET /a 0 -> 200 2", "GET /b 0 -> 204 0"],
    );
}

#[test]
fn a_request_without_response_is_unfinished() {
    check(
        &[Ask(GET), Tell(OK), Ask(GET_B), Finish],
        &["GET /a 0 -> 200 2", "GET /b 0 -> -; unfinished"],
    );
    check(&[Ask(GET), EndTell], &["GET /a 0 -> -; unfinished"]);
    check(&[Ask(GET), EndAsk, Tell(OK)], &["GET /a 0 -> 200 2"]);
}

#[test]
fn a_response_without_request_is_reported_alone() {
    check(
        &[Tell(OK), Ask(GET), Tell(EMPTY)],
        &["- -> 200 2; request_head_lost", "GET /a 0 -> 204 0"],
    );
}

#[test]
fn half_a_head_at_the_end_is_a_request_that_was_not_read() {
    check(&[Ask(b"GET /a HTTP/1.1\r\nHo"), Finish], &["- -> -; request_head_lost, unfinished"]);
    check(&[Ask(b"GET /a HT"), Finish], &[]);
}

#[test]
fn a_message_cut_off_by_the_end_is_unfinished() {
    check(
        &[Ask(GET), Tell(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab"), EndTell],
        &["GET /a 0 -> 200 2; unfinished"],
    );
    check(
        &[Ask(b"PUT /a HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nab"), Finish],
        &["PUT /a 2 -> -; unfinished"],
    );
}

#[test]
fn nothing_is_read_after_the_end() {
    let connection = check(&[Ask(GET), Tell(OK), Finish, Ask(GET), Finish], &["GET /a 0 -> 200 2"]);
    assert_eq!(connection.ending(), Some(Ending::Finished));
    check(&[Ask(GET), EndAsk, Ask(GET_B), Tell(OK), Finish], &["GET /a 0 -> 200 2"]);
}

#[test]
fn switching_protocols_ends_http_rfc9110_7_8() {
    let connection = check(
        &[
            Ask(
                b"GET /ws HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
            ),
            Tell(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n\x81\x05hello"),
            Ask(GET),
            Finish,
        ],
        &["GET /ws 28 -> 101 7; upgraded"],
    );
    assert_eq!(connection.ending(), Some(Ending::Upgraded));
}

#[test]
fn a_websocket_is_one_exchange_with_its_duration_and_bytes_rfc6455_4() {
    let steps = [
        Ask(b"GET /ws HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n"),
        Tell(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"),
        Ask(b"\x81\x05hello"),
        Tell(b"\x81\x03yes"),
        LoseAsk(100),
        EndAsk,
        EndTell,
    ];
    let connection = check(&steps, &["GET /ws 107 -> 101 5; request_body_lost, upgraded"]);
    assert_eq!((connection.ending(), connection.buffered()), (Some(Ending::Upgraded), 0));
    let (_, out) = run(&steps, usize::MAX);
    let request = out[0].request.as_ref().unwrap();
    let response = out[0].response.as_ref().unwrap();
    assert_eq!((request.started, request.ended), (Timestamp(1), Timestamp(5)));
    assert_eq!((response.started, response.ended), (Timestamp(2), Timestamp(4)));
}

#[test]
fn first_bytes_are_kept_of_calls_to_authorization_servers_and_of_no_others() {
    let call = |path: &str| {
        let json = "Content-Type: application/json\r\n";
        let ask = format!(
            "POST {path} HTTP/1.1\r\nHost: h\r\n{json}Content-Length: 7\r\n\r\n{{\"a\":1}}"
        );
        let tell = format!(
            "HTTP/1.1 200 OK\r\n{json}Transfer-Encoding: chunked\r\n\r\n\
             2\r\n{{\"\r\n3\r\na\"}}\r\n0\r\n\r\n"
        );
        let (_, out) = run(&[Ask(ask.as_bytes()), Tell(tell.as_bytes())], 2);
        (out[0].request.clone().unwrap().content, out[0].response.clone().unwrap().content)
    };
    let sampled = |content| match content {
        Content::Sampled(sample) => (sample.bytes().to_vec(), sample.is_whole()),
        other => panic!("no sample: {other:?}"),
    };
    let (asked, told) = call("/oauth2/token");
    assert_eq!(sampled(asked), (b"{\"a\":1}".to_vec(), true));
    assert_eq!(sampled(told), (b"{\"a\"}".to_vec(), true));
    assert_eq!(call("/orders"), (Content::Counted, Content::Counted));
}

#[test]
fn a_connect_that_succeeds_ends_http_rfc9110_9_3_6() {
    let connect = b"CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\n";
    let connection = check(
        &[
            Ask(connect),
            Tell(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"),
            Tell(OK),
            EndAsk,
            EndTell,
        ],
        &["CONNECT h:443 0 -> 200 40; upgraded"],
    );
    assert!(connection.is_done());
    check(
        &[Ask(connect), Tell(b"HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n"), Ask(GET), Tell(OK)],
        &["CONNECT h:443 0 -> 407 0", "GET /a 0 -> 200 2"],
    );
}
