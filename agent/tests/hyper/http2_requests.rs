//! Requests as frames, to hyper's server: valid ones, odd ones and damaged ones.

use std::sync::atomic::{AtomicU64, Ordering};

use http::Response;
use hyper::{server::conn::http2, service::service_fn};
use proptest::{
    prelude::{Strategy, prop},
    prop_assert, prop_oneof, proptest,
    sample::select,
};
use scopewatch::{http::message::Exchange, http2::PREFACE};
use tokio::io::AsyncWriteExt as _;

use crate::{
    app::{Requests, Script},
    http2_frames::{Message, connection, pieces, steps, style},
    mutation::{config, mutate, mutations},
    tap::{Log, PIPE, Spawn, Tap, idle, run},
    told::{Asked, is_table_unsure},
};

const METHODS: &[&str] = &["GET", "HEAD", "POST", "PUT", "DELETE", "PROPFIND"];
const PATHS: &[&str] = &["/", "/a/b?c=d", "/a%20b", "/package.Service/Method", "//x"];

const FIELDS: &[(&str, &str)] = &[
    ("authorization", "Bearer abc.def.ghi"),
    ("authorization", "Bearer another"),
    ("cookie", "a=b"),
    ("cookie", "c=d"),
    ("user-agent", "test/1.0"),
    ("content-type", "application/grpc"),
    ("te", "trailers"),
    ("x-empty", ""),
    ("x-bytes", "\u{e9}"),
    ("x-again", "1"),
    ("x-again", "2"),
];

const ODD_FIELDS: &[(&str, &str)] = &[
    ("host", "other.test"),
    ("X-Upper", "a"),
    ("connection", "close"),
    ("transfer-encoding", "chunked"),
    ("content-length", "0"),
    ("content-length", "3"),
    ("x-line", "a\r\nb"),
    ("x blank", "a"),
    ("", "nameless"),
    (":path", "/late"),
    (":unknown", "a"),
    ("te", "gzip"),
];

const ODD_STARTS: &[&[(&str, &str)]] = &[
    &[(":method", "CONNECT"), (":authority", "api.test:443")],
    &[(":method", "OPTIONS"), (":scheme", "http"), (":authority", "a"), (":path", "*")],
    &[(":method", "GET"), (":scheme", "https"), (":path", "/no/authority")],
    &[(":method", "GET"), (":authority", "no.scheme"), (":path", "/")],
    &[(":method", "GET"), (":scheme", "https"), (":authority", "a")],
    &[(":method", "GET"), (":scheme", "https"), (":authority", "a"), (":path", "")],
    &[(":method", "GET"), (":scheme", "https"), (":authority", "a"), (":path", "no/slash")],
    &[(":method", "GET"), (":scheme", "https"), (":authority", "u@a:1"), (":path", "/")],
    &[(":method", "GET"), (":method", "PUT"), (":scheme", "https"), (":path", "/")],
    &[(":scheme", "https"), (":authority", "a"), (":path", "/")],
    &[(":status", "200")],
];

fn message() -> impl Strategy<Value = Message> {
    let pseudo = prop_oneof![
        15 => (select(METHODS), select(PATHS)).prop_map(|(method, path)| vec![
            (":method", method), (":scheme", "https"), (":authority", "api.test"), (":path", path),
        ]),
        1 => select(ODD_STARTS).prop_map(<[_]>::to_vec),
    ];
    let field = prop_oneof![20 => select(FIELDS), 1 => select(ODD_FIELDS)];
    let trailers =
        prop::option::weighted(0.3, select(vec![vec![("x-check", "1")], vec![("a", "")]]));
    (pseudo, prop::collection::vec(field, 0..8), pieces(), trailers, style()).prop_map(
        |(pseudo, fields, pieces, trailers, style)| Message {
            heads: vec![[pseudo, fields].concat()],
            pieces,
            trailers,
            style,
        },
    )
}

/// Gives hyper's server these bytes: what it was asked, and what passed.
async fn serve(bytes: &[u8]) -> (Vec<Asked>, Log) {
    let (server, mut client) = tokio::io::duplex(PIPE);
    let (log, requests) = (Log::default(), Requests::default());
    let noted = requests.clone();
    let service =
        service_fn(move |request| noted.clone().serve(request, |at| Response::new(answer(at))));
    let connection = http2::Builder::new(Spawn).serve_connection(Tap::new(server, &log), service);
    let connection = tokio::spawn(connection);
    client.write_all(bytes).await.unwrap();
    idle().await;
    client.shutdown().await.unwrap();
    // An error is the refusal of what comes next.
    let _ = connection.await.unwrap();
    idle().await;
    (requests.all(), log)
}

fn answer(at: usize) -> Script {
    Script { pieces: [at].into(), is_sized: at.is_multiple_of(2), ..Script::default() }
}

/// Finds each request that hyper accepted among those that the codec told, in the same order:
/// between them are those that hyper refused. Returns how many hyper accepted.
fn compare(bytes: &[u8]) -> Result<usize, String> {
    let (asked, log) = run(serve(bytes));
    let exchanges = log.exchanges();
    let mut rest = exchanges.iter();
    for (at, asked) in asked.iter().enumerate() {
        let is_told = |exchange: &Exchange| {
            let is_malformed = !exchange.anomalies.request.is_empty();
            is_malformed || Asked::seen(exchange).is_some_and(|seen| asked.is(&seen))
        };
        if !rest.any(is_told) {
            if exchanges.iter().any(|it| is_table_unsure(it.anomalies.request)) {
                return Ok(at);
            }
            let all: Vec<_> = exchanges.iter().map(Asked::seen).collect();
            return Err(format!("hyper: {asked:?}\ncodec: {all:?}"));
        }
    }
    Ok(asked.len())
}

static ACCEPTED: AtomicU64 = AtomicU64::new(0);

proptest! {
    #![proptest_config(config(6000))]

    fn requests_agree(
        messages in prop::collection::vec(message(), 1..6),
        steps in steps(),
        mutations in mutations(),
    ) {
        let mut bytes = connection(&messages, &steps);
        mutate(&mut bytes, &mutations);
        bytes.splice(..0, PREFACE.iter().copied());
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
    assert!(accepted > 6000, "hyper accepted {accepted} requests only");
}
