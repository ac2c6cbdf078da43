//! Responses as bytes, to hyper's client: valid ones, odd ones and damaged ones.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use hyper::client::conn::http1;
use proptest::{
    prelude::{Just, Strategy, any, prop},
    prop_assert, prop_oneof, proptest,
    sample::select,
};
use tokio::io::{AsyncWriteExt as _, DuplexStream};

use crate::{
    app::answered,
    mutation::{config, mutate, mutations},
    tap::{Log, PIPE, Tap, idle, read_some, run},
    told::{Answered, is_framing_unsure, is_parting, is_tunnel},
};

const LINES: &[&str] = &[
    "Server: s/1.0",
    "Date: Mon, 21 Oct 2013 20:13:21 GMT",
    "Content-Type: application/json",
    "Set-Cookie: a=b; Secure",
    "Set-Cookie: c=d",
    "WWW-Authenticate: Bearer realm=\"x\", error=\"invalid_token\"",
    "X-Empty:",
    "X-Bytes: \u{e9}",
    "Connection: keep-alive",
];

const ODD_LINES: &[&str] = &[
    "Connection: close",
    "X-Folded: one\r\n two\r\n\tthree",
    "X-Colon : before",
    "no field",
    ": nameless",
    "Transfer-Encoding: identity",
    "Transfer-Encoding: gzip, chunked",
    "Transfer-Encoding: chunked, gzip",
    "Transfer-Encoding : chunked",
    "Content-Length: 0",
    "Content-Length: 3",
    "Content-Length: 3, 3",
    "Content-Length : 3",
    "Content-Length: 4",
    "Content-Length: -1",
];

/// What frames the body, and the body.
const BODIES: &[(&str, &str)] = &[
    ("Content-Length: 3\r\n", "abc"),
    ("Content-Length: 0\r\n", ""),
    ("Transfer-Encoding: chunked\r\n", "0\r\n\r\n"),
    ("Transfer-Encoding: chunked\r\n", "3\r\nabc\r\n0\r\n\r\n"),
    ("Transfer-Encoding: chunked\r\n", "3;e=\"x\"\r\nabc\r\nA\t\r\n0123456789\r\n0\r\n\r\n"),
    ("Transfer-Encoding: chunked\r\n", "3\r\nabc\r\n0\r\nGrpc-Status: 0\r\n\r\n"),
    ("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", "3\r\nabc\r\n0\r\n\r\n"),
    ("", "until the end"),
    ("", ""),
    ("Content-Length: 9\r\n", "HTTP/1.1 "),
];

/// A request's method, and the bytes that come back.
type Call = (&'static str, Vec<u8>);

fn call() -> impl Strategy<Value = Call> {
    let method =
        prop_oneof![4 => Just("GET"), 2 => Just("POST"), 1 => Just("HEAD"), 1 => Just("CONNECT")];
    let start = prop_oneof![
        12 => select(vec!["HTTP/1.1 200 OK", "HTTP/1.1 401 Unauthorized", "HTTP/1.1 204 No Content"]),
        6 => select(vec!["HTTP/1.1 304 Not Modified", "HTTP/1.1 500", "HTTP/1.1 404 Not  Found "]),
        2 => select(vec!["HTTP/1.0 200 OK", "HTTP/1.1 999 \u{e9}", "HTTP/1.1 101 Switching"]),
        1 => select(vec!["HTTP/1.1  200 OK", "HTTP/2.0 200 OK", "HTTP/1.1 20 OK", "HTTP/1.1 099 x"]),
    ];
    let interim = prop_oneof![
        8 => Just(""),
        1 => Just("HTTP/1.1 100 Continue\r\n\r\n"),
        1 => Just("HTTP/1.1 103 Early\r\nLink: <a>\r\n\r\nHTTP/1.1 102 Wait\r\n\r\n"),
    ];
    let line = prop_oneof![15 => select(LINES), 1 => select(ODD_LINES)];
    let lines = prop::collection::vec(line, 0..6);
    (method, interim, start, lines, select(BODIES), any::<bool>()).prop_map(
        |(method, interim, start, lines, (framing, body), is_first)| {
            let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
            let fields = if is_first { [framing, &lines] } else { [&lines, framing] }.concat();
            let code = start.get(9..12).unwrap_or_default();
            let has_body = method != "HEAD" && !matches!(code, "204" | "304" | "101");
            let body = if has_body { body } else { "" };
            (method, format!("{interim}{start}\r\n{fields}\r\n{body}").into_bytes())
        },
    )
}

/// The end of every request: the server waits for it.
const MARK: &[u8] = b"x-end: 1\r\n\r\n";

/// Answers each request with the bytes that are its turn, and closes when nobody asks any more.
async fn serve(mut io: DuplexStream, calls: Vec<Call>) {
    for (_, bytes) in calls {
        let mut read = Vec::new();
        while !read.ends_with(MARK) {
            if !read_some(&mut io, &mut read).await {
                return;
            }
        }
        if io.write_all(&bytes).await.is_err() {
            return;
        }
    }
    // The client may wait for the end of a body.
    idle().await;
}

/// Makes these calls with hyper's client, until it refuses an answer.
async fn ask(calls: &[Call], is_lenient: bool) -> (Vec<Answered>, Log) {
    let (client, server) = tokio::io::duplex(PIPE);
    let log = Log::default();
    let server = tokio::spawn(serve(server, calls.to_vec()));
    let (mut sender, connection) = http1::Builder::new()
        .allow_obsolete_multiline_headers_in_responses(is_lenient)
        .allow_spaces_after_header_name_in_responses(is_lenient)
        .ignore_invalid_headers_in_responses(is_lenient)
        .handshake(Tap::new(client, &log))
        .await
        .unwrap();
    let driver = tokio::spawn(async move { connection.with_upgrades().await });
    let mut all = Vec::new();
    for (method, _) in calls {
        let target = if *method == "CONNECT" { "api.test:443" } else { "/path" };
        let request = Request::builder().method(*method).uri(target).header("x-end", "1");
        let Ok(()) = sender.ready().await else { break };
        let response = sender.send_request(request.body(Full::<Bytes>::default()).unwrap()).await;
        let Some(answered) = answered(response).await else { break };
        let is_whole = answered.body.is_some();
        all.push(answered);
        if !is_whole {
            break;
        }
    }
    drop(sender);
    server.await.unwrap();
    let _ = driver.await;
    (all, log)
}

/// Compares responses by their place; returns how many hyper accepted.
fn compare(calls: &[Call], is_lenient: bool) -> Result<usize, String> {
    let (answers, log) = run(ask(calls, is_lenient));
    let exchanges = log.exchanges();
    for (at, answer) in answers.iter().enumerate() {
        let exchange = exchanges.get(at).ok_or("an exchange is missing")?;
        let mut seen = Answered::seen(exchange).ok_or("a response is missing")?;
        let is_unsure = is_framing_unsure(exchange, is_lenient);
        let body = answer.body.filter(|_| !is_unsure);
        let mut answer = Answered { body, ..answer.clone() };
        answer.narrow();
        seen.narrow();
        if is_parting(exchange) {
            answer.trailers.clone_from(&seen.trailers);
        }
        if !answer.is(&seen) {
            return Err(format!("hyper: {answer:?}\ncodec: {seen:?}"));
        }
        if is_unsure || is_tunnel(exchange) || is_parting(exchange) {
            return Ok(at + 1);
        }
    }
    Ok(answers.len())
}

static ACCEPTED: AtomicU64 = AtomicU64::new(0);

proptest! {
    #![proptest_config(config(20_000))]

    fn responses_agree(
        calls in prop::collection::vec((call(), mutations()), 1..5),
        is_lenient: bool,
    ) {
        let calls: Vec<Call> = calls
            .into_iter()
            .map(|((method, mut bytes), mutations)| {
                mutate(&mut bytes, &mutations);
                (method, bytes)
            })
            .collect();
        let text = |(method, bytes): &Call| format!("{method} <- {}\n", bytes.escape_ascii());
        match compare(&calls, is_lenient) {
            Ok(count) => drop(ACCEPTED.fetch_add(count as u64, Ordering::Relaxed)),
            Err(why) => prop_assert!(false, "{why}\n{}", calls.iter().map(text).collect::<String>()),
        }
    }
}

/// Most of what is made is accepted at least in part: otherwise nothing would be compared.
#[test]
fn hyper_accepts_no_response_that_the_codec_reads_otherwise() {
    responses_agree();
    let accepted = ACCEPTED.load(Ordering::Relaxed);
    assert!(accepted > 15_000, "hyper accepted {accepted} responses only");
}
