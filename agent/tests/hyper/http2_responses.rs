//! Responses as frames, to hyper's client: valid ones, odd ones and damaged ones.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::Request;
use http_body_util::Empty;
use hyper::client::conn::http2;
use proptest::{
    prelude::{Strategy, prop},
    prop_assert, prop_oneof, proptest,
    sample::select,
};
use tokio::io::{AsyncWriteExt as _, DuplexStream};

use crate::{
    app::answered,
    http2_frames::{Message, connection, count_heads, pieces, steps, style},
    mutation::{config, mutate, mutations},
    tap::{Log, PIPE, Spawn, Tap, idle, read_some, run},
    told::{Answered, is_table_unsure},
};

const STATUSES: &[&str] = &["200", "201", "204", "304", "401", "404", "500", "999"];
const ODD_STARTS: &[&[(&str, &str)]] =
    &[&[], &[(":status", "20")], &[(":status", "200"), (":path", "/")], &[(":status", "101")]];

const FIELDS: &[(&str, &str)] = &[
    ("server", "s/1.0"),
    ("date", "Mon, 21 Oct 2013 20:13:21 GMT"),
    ("set-cookie", "a=b"),
    ("set-cookie", "c=d"),
    ("content-type", "application/grpc"),
    ("www-authenticate", "Bearer error=\"invalid_token\""),
    ("x-empty", ""),
];

const ODD_FIELDS: &[(&str, &str)] =
    &[("connection", "close"), ("X-Upper", "a"), ("content-length", "3"), ("x-line", "a\nb")];

fn message() -> impl Strategy<Value = Message> {
    let start = prop_oneof![
        20 => select(STATUSES).prop_map(|status| vec![(":status", status)]),
        1 => select(ODD_STARTS).prop_map(<[_]>::to_vec),
    ];
    let field = prop_oneof![30 => select(FIELDS), 1 => select(ODD_FIELDS)];
    let interim = prop::option::weighted(0.2, select(vec!["100", "103", "102"]));
    let trailers =
        prop::option::weighted(0.4, select(vec![("grpc-status", "7"), ("grpc-message", "no")]));
    (start, prop::collection::vec(field, 0..6), interim, pieces(), trailers, style()).prop_map(
        |(start, fields, interim, pieces, trailers, style)| {
            let interim = interim.map(|status| vec![(":status", status), ("link", "<a>")]);
            let heads = interim.into_iter().chain([[start, fields].concat()]).collect();
            let trailers = trailers.map(|field| vec![field]);
            Message { heads, pieces, trailers, style }
        },
    )
}

/// Sends these bytes once `count` requests have come.
async fn serve(mut io: DuplexStream, bytes: Vec<u8>, count: usize) {
    let mut read = Vec::new();
    while count_heads(&read) < count && read_some(&mut io, &mut read).await {}
    let _ = io.write_all(&bytes).await;
    while read_some(&mut io, &mut read).await {}
}

/// Makes requests with hyper's client, all at once.
async fn ask(count: usize, bytes: Vec<u8>) -> (Vec<Option<Answered>>, Log) {
    let (client, server) = tokio::io::duplex(PIPE);
    let log = Log::default();
    tokio::spawn(serve(server, bytes, count));
    let (sender, connection) = http2::handshake(Spawn, Tap::new(client, &log)).await.unwrap();
    tokio::spawn(connection);
    let calls = (0..count).map(|_| {
        let mut sender = sender.clone();
        let request = Request::get("https://api.test/path").body(Empty::<Bytes>::new()).unwrap();
        tokio::spawn(async move { answered(sender.send_request(request).await).await })
    });
    let mut answers = Vec::new();
    for call in calls.collect::<Vec<_>>() {
        answers.push(call.await.unwrap());
    }
    drop(sender);
    idle().await;
    (answers, log)
}

/// Without it (RFC 9113 §3.4) the codec takes the connection for one that was joined late.
fn begins_with_settings(bytes: &[u8]) -> bool {
    matches!(bytes, [_, _, _, 4, 0, 0, 0, 0, 0, ..])
}

/// Compares responses by their streams; returns how many hyper accepted.
fn compare(count: usize, bytes: Vec<u8>) -> Result<usize, String> {
    if !begins_with_settings(&bytes) {
        return Ok(0);
    }
    let (answers, log) = run(ask(count, bytes));
    let exchanges = log.exchanges();
    for (at, answer) in answers.iter().enumerate() {
        let Some(answer) = answer else { continue };
        let exchange = exchanges.get(at).ok_or("an exchange is missing")?;
        let seen = Answered::seen(exchange).ok_or("a response is missing")?;
        if exchange.anomalies.response.is_empty() && !answer.is(&seen) {
            if exchanges.iter().any(|it| is_table_unsure(it.anomalies.response)) {
                continue;
            }
            return Err(format!("hyper: {answer:?}\ncodec: {seen:?}"));
        }
    }
    Ok(answers.iter().flatten().count())
}

static ACCEPTED: AtomicU64 = AtomicU64::new(0);

proptest! {
    #![proptest_config(config(6000))]

    fn responses_agree(
        messages in prop::collection::vec(message(), 1..6),
        steps in steps(),
        mutations in mutations(),
    ) {
        let mut bytes = connection(&messages, &steps);
        mutate(&mut bytes, &mutations);
        match compare(messages.len(), bytes.clone()) {
            Ok(count) => drop(ACCEPTED.fetch_add(count as u64, Ordering::Relaxed)),
            Err(why) => prop_assert!(false, "{why}\nbytes: {}", bytes.escape_ascii()),
        }
    }
}

/// Most of what is made is accepted at least in part: otherwise nothing would be compared.
#[test]
fn hyper_accepts_no_response_that_the_codec_reads_otherwise() {
    responses_agree();
    let accepted = ACCEPTED.load(Ordering::Relaxed);
    assert!(accepted > 6000, "hyper accepted {accepted} responses only");
}
