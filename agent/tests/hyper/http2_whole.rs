//! HTTP/2 with hyper at both ends: all that either says is told, and nothing is odd about it.

use http::{HeaderMap, HeaderValue, Request, Response};
use hyper::{client::conn::http2 as client, server::conn::http2 as server, service::service_fn};
use proptest::{
    prelude::{ProptestConfig, Strategy, any, prop},
    prop_assert, prop_assert_eq, proptest,
    sample::select,
};

use crate::{
    app::{Requests, Script, answered},
    tap::{Log, Spawn, Tap, run},
    told::{Answered, Asked},
};

/// Bytes that wait in the pipe: few, so that frames pass in pieces.
const NARROW: usize = 3000;

/// A request and its answer.
#[derive(Clone, Debug)]
struct Call {
    method: &'static str,
    token: String,
    is_sensitive: bool,
    upload: Script,
    status: u16,
    download: Script,
}

fn call() -> impl Strategy<Value = Call> {
    let method = select(vec!["GET", "HEAD", "POST", "PUT", "DELETE"]);
    let status = select(vec![200_u16, 201, 204, 304, 401, 403, 500]);
    let token = "[A-Za-z0-9._~+/-]{1,900}";
    (method, token, any::<bool>(), script(), status, script()).prop_map(
        |(method, token, is_sensitive, upload, status, download)| {
            let nothing = Script { is_sized: true, ..Script::default() };
            let has_content = method != "HEAD" && !matches!(status, 204 | 304);
            let download = if has_content { download } else { nothing };
            Call { method, token, is_sensitive, upload, status, download }
        },
    )
}

fn script() -> impl Strategy<Value = Script> {
    let pieces = prop::collection::vec(1_usize..20_000, 0..3);
    (pieces, any::<bool>(), any::<bool>()).prop_map(|(pieces, is_sized, has_trailers)| {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("5"));
        let trailers = has_trailers.then_some(trailers);
        Script { pieces: pieces.into(), trailers, is_sized }
    })
}

/// What the server was asked and each call was answered, and what passed. Each request names its
/// call, as they are made at once.
async fn talk(calls: Vec<Call>) -> (Vec<Asked>, Vec<Option<Answered>>, Log) {
    let (near, far) = tokio::io::duplex(NARROW);
    let (log, requests) = (Log::default(), Requests::default());
    let (script, noted) = (calls.clone(), requests.clone());
    let service = service_fn(move |request| {
        let path =
            |it: &Request<_>| it.uri().path().trim_start_matches('/').parse::<usize>().unwrap();
        let call = script[path(&request)].clone();
        noted.clone().serve(request, move |_| {
            let response = Response::builder().status(call.status).header("x-token", &call.token);
            response.body(call.download.clone()).unwrap()
        })
    });
    let far = Tap::new(far, &Log::default());
    let server = tokio::spawn(server::Builder::new(Spawn).serve_connection(far, service));
    let (sender, connection) = client::handshake(Spawn, Tap::new(near, &log)).await.unwrap();
    let driver = tokio::spawn(connection);
    let made = calls.into_iter().enumerate().map(|(at, call)| {
        let mut sender = sender.clone();
        let mut token = HeaderValue::from_str(&format!("Bearer {}", call.token)).unwrap();
        token.set_sensitive(call.is_sensitive);
        let request = Request::builder()
            .method(call.method)
            .uri(format!("https://api.test/{at}"))
            .header("authorization", token)
            .body(call.upload);
        tokio::spawn(async move { answered(sender.send_request(request.unwrap()).await).await })
    });
    let mut answers = Vec::new();
    for call in made.collect::<Vec<_>>() {
        answers.push(call.await.unwrap());
    }
    drop(sender);
    driver.await.unwrap().unwrap();
    let _ = server.await.unwrap();
    (requests.all(), answers, log)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn both_ends_were_told_what_the_codec_tells(calls in prop::collection::vec(call(), 1..8)) {
        let count = calls.len();
        let (mut asked, answers, log) = run(talk(calls));
        let mut exchanges = log.exchanges();
        prop_assert_eq!((asked.len(), exchanges.len()), (count, count));
        asked.sort_by_key(|asked| asked.target.path().to_owned());
        exchanges.sort_by_key(|exchange| exchange.request.as_ref().unwrap().target.to_string());
        for ((asked, answer), exchange) in asked.iter().zip(&answers).zip(&exchanges) {
            let answer = answer.as_ref().unwrap();
            prop_assert!(asked.body.is_some() && answer.body.is_some());
            let seen = (Asked::seen(exchange).unwrap(), Answered::seen(exchange).unwrap());
            prop_assert!(asked.is(&seen.0), "hyper: {:?}\ncodec: {:?}", asked, seen.0);
            prop_assert!(answer.is(&seen.1), "hyper: {:?}\ncodec: {:?}", answer, seen.1);
            prop_assert!(exchange.notes.is_empty() && exchange.anomalies.grade().is_none());
        }
    }
}
