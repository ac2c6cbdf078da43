//! Requests as bytes, to hyper's server: valid ones, odd ones and damaged ones, pipelined.

use std::sync::atomic::{AtomicU64, Ordering};

use http::Response;
use hyper::{server::conn::http1, service::service_fn};
use proptest::{
    prelude::{Just, Strategy, prop},
    prop_assert, prop_oneof, proptest,
    sample::select,
};
use tokio::io::AsyncWriteExt as _;

use crate::{
    app::{Requests, Script},
    mutation::{config, mutate, mutations},
    tap::{Log, PIPE, Tap, idle, run},
    told::{Asked, is_parting},
};

/// Lines that a request may have.
const LINES: &[&str] = &[
    "Host: api.test",
    "Authorization: Bearer abc.def.ghi",
    "Cookie: a=b",
    "Cookie: c=d",
    "Accept:*/*",
    "X-Empty:",
    "X-Space:  \t both sides \t ",
    "X-Bytes: \u{e9}\u{20ac}",
    "Connection: keep-alive",
    "Expect: 100-continue",
    "TE: trailers",
];

/// Lines that are odd, most of them such as smugglers use.
const ODD_LINES: &[&str] = &[
    "Host: other.test",
    "x-folded: one\r\n two",
    "X-Colon : before",
    "no field",
    "Connection: close",
    "Connection: keep-alive, upgrade",
    "Transfer-Encoding: identity",
    "Transfer-Encoding: chunked",
    "Transfer-Encoding: Chunked ",
    "Transfer-Encoding: gzip, chunked",
    "Transfer-Encoding: chunked, gzip",
    "Transfer-Encoding: xchunked",
    "Transfer-Encoding : chunked",
    "Transfer-Encoding:\tchunked",
    "Content-Length: 0",
    "Content-Length: 3",
    "Content-Length: 11",
    "Content-Length: 11, 11",
    "Content-Length: +3",
    "Content-Length : 3",
    "Content-Length: 99999999999999999999",
];

/// Targets in each of the forms of RFC 9112 §3.2.
const TARGETS: &[&str] = &[
    "/",
    "/a/b?c=d&e",
    "/a%20b",
    "//double",
    "http://api.test/absolute?q",
    "HTTP://API.test",
    "*",
    "api.test:443",
];

const ODD_TARGETS: &[&str] = &["/fragment#here", "/quote\"<>{}|", "/\u{e9}", "no/slash"];

/// Chunked bodies, valid and odd. None asks for more than a connection has.
const CHUNKED: &[&str] = &[
    "0\r\n\r\n",
    "3\r\nabc\r\n0\r\n\r\n",
    "003;ext=\"v;w\"\r\nabc\r\nA \r\n0123456789\r\n0\r\n\r\n",
    "3\r\nabc\r\n0\r\nTrailer: t\r\nOther: u\r\n\r\n",
    "3\r\nabc\r\n0\r\nTrailer: t\nOther: u\r\n\r\n",
    "3\nabc\r\n0\r\n\r\n",
    "3 x\r\nabc\r\n0\r\n\r\n",
    "3\r\nabcd\r\n0\r\n\r\n",
    "3;a\rb\r\nabc\r\n0\r\n\r\n",
    "+3\r\nabc\r\n0\r\n\r\n",
    "0x3\r\nabc\r\n0\r\n\r\n",
    "ffffffffffffffff1\r\nabc\r\n0\r\n\r\n",
];

fn request() -> impl Strategy<Value = Vec<u8>> {
    let methods = ["GET", "HEAD", "POST", "PUT", "PATCH", "OPTIONS", "DELETE", "PROPFIND", "g-t"];
    let version = prop_oneof![
        20 => Just(" HTTP/1.1"),
        1 => select(vec![" HTTP/1.0", "  HTTP/1.1", " HTTP/2.0", " HTTP/1.1 "]),
    ];
    let line = prop_oneof![15 => select(LINES), 1 => select(ODD_LINES)];
    let lines = prop::collection::vec(line, 0..7);
    let target = prop_oneof![5 => select(TARGETS), 1 => select(ODD_TARGETS)];
    let body = prop_oneof![
        select(vec!["", "abc", "0123456789\n", "GET / HTTP/1.1\r\n\r\n"]),
        select(CHUNKED),
    ];
    // Most have the body that they declare.
    let framing = proptest::option::weighted(
        0.8,
        select(vec![
            ("Content-Length: 3", "abc"),
            ("Content-Length: 0", ""),
            ("Transfer-Encoding: chunked", CHUNKED[1]),
            ("Transfer-Encoding: chunked", CHUNKED[2]),
            ("Transfer-Encoding: chunked", CHUNKED[3]),
        ]),
    );
    let start = (select(methods.to_vec()), target, version);
    (start, lines, framing, body, select(vec!["", "", "", "\r\n", "\n"])).prop_map(
        |((method, target, version), mut lines, framing, body, before)| {
            let body = match framing {
                Some((line, body)) => {
                    lines.retain(|line| !declares_body(line));
                    lines.push(line);
                    body
                }
                None if lines.iter().any(|line| declares_body(line)) => body,
                None => "",
            };
            let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
            format!("{before}{method} {target}{version}\r\n{lines}\r\n{body}").into_bytes()
        },
    )
}

fn declares_body(line: &str) -> bool {
    line.starts_with("Content-Length") || line.starts_with("Transfer-Encoding")
}

/// Gives hyper's server these bytes: what it was asked, and what passed.
async fn serve(bytes: &[u8]) -> (Vec<Asked>, Log) {
    let (server, mut client) = tokio::io::duplex(PIPE);
    let (log, requests) = (Log::default(), Requests::default());
    let service =
        service_fn(|request| requests.clone().serve(request, |at| Response::new(answer(at))));
    let connection =
        http1::Builder::new().half_close(true).serve_connection(Tap::new(server, &log), service);
    client.write_all(bytes).await.unwrap();
    client.shutdown().await.unwrap();
    // An error is the refusal of what comes next.
    let _ = connection.await;
    idle().await;
    (requests.all(), log)
}

fn answer(at: usize) -> Script {
    Script { pieces: [at].into(), is_sized: at.is_multiple_of(2), ..Script::default() }
}

/// Compares requests by their place; returns how many hyper accepted.
fn compare(bytes: &[u8]) -> Result<usize, String> {
    let (asked, log) = run(serve(bytes));
    let exchanges = log.exchanges();
    for (at, asked) in asked.iter().enumerate() {
        let exchange = exchanges.get(at).ok_or("a request is missing")?;
        let seen = Asked::seen(exchange).ok_or("a request was not read")?;
        if !asked.is(&seen) {
            return Err(format!("hyper: {asked:?}\ncodec: {seen:?}"));
        }
        // The answers are hyper's own.
        if let (Some(_), Some(response)) = (asked.body, &exchange.response) {
            let len = if asked.method == "HEAD" { 0 } else { answer(at).len() };
            if (response.status, response.body_bytes) != (200, len) {
                return Err(format!("answer {at}: {} {}", response.status, response.body_bytes));
            }
        }
        if is_parting(exchange) {
            return Ok(at + 1);
        }
    }
    Ok(asked.len())
}

static ACCEPTED: AtomicU64 = AtomicU64::new(0);

proptest! {
    #![proptest_config(config(20_000))]

    fn requests_agree(
        requests in prop::collection::vec(request(), 1..6),
        mutations in mutations(),
    ) {
        let mut bytes = requests.concat();
        mutate(&mut bytes, &mutations);
        match compare(&bytes) {
            Ok(count) => drop(ACCEPTED.fetch_add(count as u64, Ordering::Relaxed)),
            Err(why) => prop_assert!(false, "{why}\nbytes: {}", bytes.escape_ascii()),
        }
    }
}

/// Most of what is made is accepted at least in part: otherwise nothing would be compared.
#[test]
fn hyper_accepts_no_request_that_the_codec_reads_otherwise() {
    requests_agree();
    let accepted = ACCEPTED.load(Ordering::Relaxed);
    assert!(accepted > 20_000, "hyper accepted {accepted} requests only");
}

/// As many as the codec lets wait (RFC 9112 §9.3.2).
#[test]
fn sixty_four_pipelined_requests_agree() {
    let one = |at: usize| {
        format!("POST /{at} HTTP/1.1\r\nHost: h\r\nContent-Length: {at}\r\n\r\n{}", "b".repeat(at))
    };
    let bytes: String = (0..64).map(one).collect();
    assert_eq!(compare(bytes.as_bytes()), Ok(64));
}
