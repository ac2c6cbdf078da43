//! What a receiver of events answers: whatever it is, it means something, and the same again.

use http::{HeaderName, HeaderValue, StatusCode};
use scopewatch::{
    clock::Timestamp,
    sinks::otlp::answer::{Answer, Outcome, over_grpc, over_http},
};

/// Fields that count.
const FIELDS: [&str; 5] =
    ["retry-after", "content-type", "grpc-status", "grpc-message", "grpc-status-details-bin"];

/// A status, lines of field values, an empty line, and a body.
pub fn answer(input: &[u8]) {
    let Some((head, rest)) = input.split_first_chunk::<3>() else { return };
    let status = 100 + u16::from_be_bytes([head[0], head[1]]) % 900;
    let cut = rest.windows(2).position(|two| two == b"\n\n").unwrap_or(rest.len());
    let (fields, body) = rest.split_at(cut);
    let status = StatusCode::from_u16(status).expect("a status has three digits");
    let body = body.strip_prefix(b"\n\n").unwrap_or(body).to_vec();
    let mut answer = Answer { status, body, ..Answer::default() };
    for (name, value) in FIELDS.into_iter().zip(fields.split(|byte| *byte == b'\n')) {
        let Ok(value) = HeaderValue::from_bytes(value) else { continue };
        let fields = if head[2] & 1 == 0 { &mut answer.fields } else { &mut answer.trailers };
        fields.insert(HeaderName::from_static(name), value);
    }
    let now = Timestamp(1_795_341_871_118_204_000);
    for read in [
        |answer: &_, now| over_http(answer, true, now),
        |answer: &_, now| over_http(answer, false, now),
        over_grpc,
    ] {
        let outcome = read(&answer, now);
        assert_eq!(outcome, read(&answer, now));
        // Only a success confirms anything.
        let is_taken = matches!(outcome, Outcome::Taken | Outcome::Partly(_));
        assert!(!is_taken || status.is_success() || !answer.body.is_empty());
    }
}

pub fn answer_seeds() -> Vec<Vec<u8>> {
    // 200 and 503 less 100.
    let ok = [0, 100];
    let of = |status: [u8; 2], trailers: u8, fields: &str, body: &[u8]| {
        [&status, &[trailers][..], fields.as_bytes(), b"\n\n", body].concat()
    };
    vec![
        of(ok, 0, "\napplication/x-protobuf", b"\x0a\x04\x08\x03\x12\x00"),
        of(ok, 0, "\napplication/json", br#"{"partialSuccess":{"rejectedLogRecords":"3"}}"#),
        of([1, 147], 0, "Sun, 06 Nov 1994 08:49:37 GMT", b"busy"),
        of(ok, 1, "\napplication/grpc\n0", b"\0\0\0\0\x04\x0a\x02\x08\x03"),
        of(
            ok,
            1,
            "\napplication/grpc\n8\nreceived message larger than max\n\
             GjAKKHR5cGUuZ29vZ2xlYXBpcy5jb20vZ29vZ2xlLnJwYy5SZXRyeUluZm8SBAoCCAE",
            b"",
        ),
    ]
}
