//! HTTP/1.1 with hyper at both ends: all that either says is told, and nothing is odd about it.

use std::convert::Infallible;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::Empty;
use hyper::{
    body::Incoming, client::conn::http1 as client, server::conn::http1 as server,
    service::service_fn,
};
use proptest::{
    prelude::{Just, ProptestConfig, Strategy, any, prop},
    prop_assert, prop_assert_eq, prop_oneof, proptest,
    sample::select,
};
use scopewatch::{flow::chunk::Direction, http::message::Note};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::{
    app::{Requests, Script, answered},
    tap::{Log, Tap, read_some, run},
    told::{Answered, Asked},
};

/// Bytes that wait in the pipe: few, so that messages pass in pieces.
const NARROW: usize = 3000;

/// A request and its answer.
#[derive(Clone, Debug)]
struct Call {
    method: &'static str,
    token: String,
    upload: Script,
    waits: bool,
    status: u16,
    download: Script,
}

fn call() -> impl Strategy<Value = Call> {
    let method = select(vec!["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"]);
    let status = select(vec![200_u16, 201, 204, 304, 400, 401, 403, 500]);
    (method, "[A-Za-z0-9._~+/-]{1,900}", script(), any::<bool>(), status, script()).prop_map(
        |(method, token, upload, waits, status, download)| {
            let nothing = Script { is_sized: true, ..Script::default() };
            let upload = if matches!(method, "GET" | "HEAD") { nothing.clone() } else { upload };
            let download = if matches!(status, 204 | 304) { nothing } else { download };
            Call { method, token, upload, waits, status, download }
        },
    )
}

fn script() -> impl Strategy<Value = Script> {
    let pieces = prop::collection::vec(1_usize..3000, 0..4);
    let framing = prop_oneof![Just((true, false)), Just((false, false)), Just((false, true))];
    (pieces, framing).prop_map(|(pieces, (is_sized, has_trailers))| {
        let mut trailers = HeaderMap::new();
        trailers.insert("x-check", HeaderValue::from_static("1"));
        let trailers = has_trailers.then_some(trailers);
        Script { pieces: pieces.into(), trailers, is_sized }
    })
}

fn request(call: &Call) -> Request<Script> {
    let mut request = Request::builder()
        .method(call.method)
        .uri(format!("/{}?q", call.token.len()))
        .header("host", "api.test")
        .header("te", "trailers")
        .header("authorization", format!("Bearer {}", call.token));
    if call.waits {
        request = request.header("expect", "100-continue");
    }
    if call.upload.trailers.is_some() {
        request = request.header("trailer", "x-check");
    }
    request.body(call.upload.clone()).unwrap()
}

fn response(call: &Call) -> Response<Script> {
    let mut response = Response::builder().status(call.status).header("x-path", &call.token);
    if call.download.trailers.is_some() {
        response = response.header("trailer", "x-check");
    }
    response.body(call.download.clone()).unwrap()
}

/// What the server was asked and the client was answered, and what passed.
async fn talk(calls: Vec<Call>) -> (Vec<Asked>, Vec<Answered>, Log) {
    let (near, far) = tokio::io::duplex(NARROW);
    let (log, requests) = (Log::default(), Requests::default());
    let (script, noted) = (calls.clone(), requests.clone());
    let service = service_fn(move |request| {
        let script = script.clone();
        noted.clone().serve(request, move |at| response(&script[at]))
    });
    let server = tokio::spawn(
        server::Builder::new().serve_connection(Tap::new(far, &Log::default()), service),
    );
    let (mut sender, connection) = client::handshake(Tap::new(near, &log)).await.unwrap();
    let driver = tokio::spawn(connection);
    let mut answers = Vec::new();
    for call in &calls {
        sender.ready().await.unwrap();
        answers.extend(answered(sender.send_request(request(call)).await).await);
    }
    drop(sender);
    driver.await.unwrap().unwrap();
    let _ = server.await.unwrap();
    (requests.all(), answers, log)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1000) })]

    #[test]
    fn both_ends_were_told_what_the_codec_tells(calls in prop::collection::vec(call(), 1..8)) {
        let count = calls.len();
        let (asked, answers, log) = run(talk(calls));
        let exchanges = log.exchanges();
        prop_assert_eq!((asked.len(), answers.len(), exchanges.len()), (count, count, count));
        for ((asked, answer), exchange) in asked.iter().zip(&answers).zip(&exchanges) {
            prop_assert!(asked.body.is_some() && answer.body.is_some());
            let seen = (Asked::seen(exchange).unwrap(), Answered::seen(exchange).unwrap());
            prop_assert!(asked.is(&seen.0), "hyper: {:?}\ncodec: {:?}", asked, seen.0);
            prop_assert!(answer.is(&seen.1), "hyper: {:?}\ncodec: {:?}", answer, seen.1);
            prop_assert!(exchange.notes.is_empty() && exchange.anomalies.grade().is_none());
        }
    }
}

/// Changes the protocol as RFC 9110 §7.8 or §9.3.6 has it, and echoes what comes then.
async fn turn(request: Request<Incoming>) -> Result<Response<Empty<Bytes>>, Infallible> {
    let mut response = Response::new(Empty::new());
    if request.method() != "CONNECT" {
        *response.status_mut() = http::StatusCode::SWITCHING_PROTOCOLS;
        response.headers_mut().insert("upgrade", HeaderValue::from_static("echo"));
        response.headers_mut().insert("connection", HeaderValue::from_static("upgrade"));
    }
    tokio::spawn(async move {
        let parts = hyper::upgrade::on(request).await.unwrap().downcast::<Tap>().unwrap();
        let (mut io, mut bytes) = (parts.io.into_inner(), parts.read_buf.to_vec());
        io.read_to_end(&mut bytes).await.unwrap();
        io.write_all(&bytes).await.unwrap();
    });
    Ok(response)
}

/// Asks hyper's server to change the protocol, speaks another one then, and closes.
async fn change(head: &[u8], then: &[u8]) -> Log {
    let (mut near, far) = tokio::io::duplex(NARROW);
    let connection =
        server::Builder::new().serve_connection(Tap::new(far, &Log::default()), service_fn(turn));
    tokio::spawn(connection.with_upgrades());
    let log = Log::default();
    for bytes in [head, then] {
        near.write_all(bytes).await.unwrap();
        log.note(Direction::Outbound, bytes);
        let mut back = Vec::new();
        if bytes == then {
            near.shutdown().await.unwrap();
        }
        while read_some(&mut near, &mut back).await {}
        log.note(Direction::Inbound, &back);
    }
    log
}

#[test]
fn a_change_of_protocol_is_one_exchange_with_all_that_follows() {
    let then = b"GET / HTTP/1.1\r\n\r\n is no request here";
    for (head, status) in [
        ("CONNECT api.test:443 HTTP/1.1\r\nHost: api.test:443\r\n\r\n", 200),
        ("GET /ws HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n", 101),
    ] {
        let exchanges = run(change(head.as_bytes(), then)).exchanges();
        let [exchange] = &exchanges[..] else { panic!("one exchange, not {}", exchanges.len()) };
        let (request, response) = (&exchange.request, &exchange.response);
        let (request, response) = (request.as_ref().unwrap(), response.as_ref().unwrap());
        assert_eq!((response.status, exchange.notes.as_slice()), (status, &[Note::Upgraded][..]));
        assert_eq!(
            (request.body_bytes, response.body_bytes),
            (then.len() as u64, then.len() as u64)
        );
    }
}
