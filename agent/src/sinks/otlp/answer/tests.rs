//! Answers of all kinds, and hostile ones.

use base64::prelude::BASE64_STANDARD_NO_PAD;
use http::HeaderValue;
use proptest::{
    prelude::{any, prop},
    proptest,
};

use super::*;
use crate::event::mapping::otlp::message::{Any, Delay};

/// Sun, 06 Nov 1994 08:49:37 GMT, and half a second less than a minute before.
const NOW: Timestamp = Timestamp((784_111_777 - 60) * NANOS_PER_SEC + 500_000_000);

fn answer(status: u16, fields: &[(&'static str, &str)], body: &[u8]) -> Answer {
    let mut answer = Answer {
        status: StatusCode::from_u16(status).unwrap(),
        body: body.to_owned(),
        ..Answer::default()
    };
    for (name, value) in fields {
        answer.fields.insert(*name, HeaderValue::from_str(value).unwrap());
    }
    answer
}

fn partial(rejected: i64) -> Vec<u8> {
    let error_message = "no".to_owned();
    let partial_success = Some(PartialSuccess { rejected_log_records: rejected, error_message });
    Response { partial_success }.encode_to_vec()
}

fn http(status: u16, fields: &[(&'static str, &str)], body: &[u8]) -> Outcome {
    over_http(&answer(status, fields, body), false, NOW)
}

#[test]
fn statuses_of_http_are_as_the_protocol_has_them() {
    let later = |status, after: Option<u64>| Outcome::Later {
        why: Complaint::Http(status),
        after: after.map(Duration::from_secs),
    };
    for status in [200, 202, 204] {
        assert_eq!(http(status, &[], b""), Outcome::Taken);
    }
    for status in [429, 502, 503, 504] {
        assert_eq!(http(status, &[], b""), later(status, None));
        assert_eq!(http(status, &[("retry-after", "7")], b""), later(status, Some(7)));
    }
    let date = "Sun, 06 Nov 1994 08:49:37 GMT";
    assert_eq!(http(503, &[("retry-after", date)], b""), later(503, Some(60)));
    let past = "Sun, 06 Nov 1994 08:00:00 GMT";
    assert_eq!(http(503, &[("retry-after", past)], b""), later(503, Some(0)));
    for wrong in ["", "soon", "-1", "1.5", "99999999999999999999999"] {
        let after = if wrong.is_empty() { None } else { Some(wrong) };
        let fields: Vec<_> = after.map(|after| ("retry-after", after)).into_iter().collect();
        assert_eq!(http(503, &fields, b""), later(503, None), "{wrong}");
    }
    for status in [301, 307, 401, 403, 404, 405, 407, 415] {
        assert_eq!(http(status, &[], b""), later(status, None));
    }
    for status in [400, 402, 408, 409, 422, 500, 501, 505] {
        assert_eq!(http(status, &[], b""), Outcome::Refused(Complaint::Http(status)));
    }
    assert_eq!(http(413, &[], b""), Outcome::TooLarge(Complaint::Http(413)));
}

#[test]
fn a_success_may_be_partial_or_no_answer_of_a_receiver() {
    let unknown = Outcome::Later { why: Complaint::Unintelligible, after: None };
    assert_eq!(http(200, &[], &partial(3)), Outcome::Partly(3));
    assert_eq!(http(200, &[], &partial(0)), Outcome::Taken, "a warning");
    assert_eq!(http(200, &[], &partial(-1)), Outcome::Taken);
    assert_eq!(http(200, &[("content-type", "text/html")], b"<html>"), unknown);
    assert_eq!(http(200, &[], b"<html>hello</html>"), unknown);
    let json = |body: &str| over_http(&answer(200, &[], body.as_bytes()), true, NOW);
    assert_eq!(json("{}"), Outcome::Taken);
    assert_eq!(json(r#"{"partialSuccess":{}}"#), Outcome::Taken);
    assert_eq!(json(r#"{"partialSuccess":{"rejectedLogRecords":"2"}}"#), Outcome::Partly(2));
    assert_eq!(json(r#"{"partialSuccess":{"rejectedLogRecords":2}}"#), Outcome::Partly(2));
    for wrong in [
        "[]",
        "1",
        "OK",
        r#"{"partialSuccess":[]}"#,
        r#"{"partialSuccess":{"rejectedLogRecords":{}}}"#,
    ] {
        assert_eq!(json(wrong), unknown, "{wrong}");
    }
    // What it says of itself counts.
    let fields = [("content-type", "application/json; charset=utf-8")];
    assert_eq!(
        http(200, &fields, br#"{"partialSuccess":{"rejectedLogRecords":"2"}}"#),
        Outcome::Partly(2)
    );
}

/// An answer of gRPC: status, message, details, and the response in a frame.
fn grpc(code: &str, message: &str, details: Option<&str>, body: &[u8]) -> Outcome {
    let mut answer = answer(200, &[("content-type", "application/grpc")], body);
    answer.trailers.insert("grpc-status", HeaderValue::from_str(code).unwrap());
    answer.trailers.insert("grpc-message", HeaderValue::from_str(message).unwrap());
    if let Some(details) = details {
        let details = HeaderValue::from_str(details).unwrap();
        answer.trailers.insert("grpc-status-details-bin", details);
    }
    over_grpc(&answer, NOW)
}

fn frame(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[0], length.as_slice(), message].concat()
}

fn retry_in(seconds: i64, nanos: i32) -> String {
    let retry_delay = Some(Delay { seconds, nanos });
    let value = RetryInfo { retry_delay }.encode_to_vec();
    let type_url = "type.googleapis.com/google.rpc.RetryInfo".to_owned();
    let other = Any { type_url: "type.googleapis.com/x".to_owned(), value: vec![1] };
    let details = vec![other, Any { type_url, value }];
    BASE64_STANDARD_NO_PAD.encode(Status { details }.encode_to_vec())
}

#[test]
fn statuses_of_grpc_are_as_the_protocol_has_them() {
    assert_eq!(grpc("0", "", None, &frame(b"")), Outcome::Taken);
    assert_eq!(grpc("0", "", None, &frame(&partial(3))), Outcome::Partly(3));
    let later = |code, after| Outcome::Later { why: Complaint::Grpc(code), after };
    for code in [1, 4, 7, 10, 11, 12, 14, 15, 16] {
        assert_eq!(grpc(&code.to_string(), "", None, b""), later(code, None));
    }
    for code in [2, 3, 5, 6, 8, 9, 13, 17, 255] {
        let refused = Outcome::Refused(Complaint::Grpc(code));
        assert_eq!(grpc(&code.to_string(), "", None, b""), refused);
    }
    let after = Some(Duration::from_millis(2500));
    let details = retry_in(2, 500_000_000);
    assert_eq!(grpc("8", "", Some(&details), b""), later(8, after));
    assert_eq!(grpc("14", "", Some(&details), b""), later(14, after));
    let negative = retry_in(-1, -1);
    assert_eq!(grpc("8", "", Some(&negative), b""), later(8, Some(Duration::ZERO)));
    assert_eq!(grpc("14", "", Some("!"), b""), later(14, None));
}

#[test]
fn messages_that_are_too_large_are_told_by_every_implementation() {
    for (code, message) in [
        (8, "grpc: received message larger than max (5000000 vs. 4194304)"),
        (8, "gRPC message exceeds maximum size 4194304: 5000000"),
        (8, "CLIENT: Received%20message%20larger%20than%20max%20(5 vs. 4)"),
        (11, "Error, decoded message length too large: found 5000000 bytes, the limit is: 4194304"),
    ] {
        let expected = Outcome::TooLarge(Complaint::Grpc(code));
        assert_eq!(grpc(&code.to_string(), message, None, b""), expected, "{message}");
    }
}

#[test]
fn what_is_no_grpc_confirms_nothing() {
    let unknown = Outcome::Later { why: Complaint::Unintelligible, after: None };
    for body in [&b""[..], b"\0", b"\0\0\0\0\x01", b"\x01\0\0\0\0", b"\0\0\0\0\0x"] {
        assert_eq!(grpc("0", "", None, body), unknown, "{body:?}");
    }
    assert_eq!(over_grpc(&answer(200, &[], &frame(b"")), NOW), unknown);
    assert_eq!(grpc("none", "", None, &frame(b"")), unknown);
    let proxy = |status| over_grpc(&answer(status, &[], b""), NOW);
    assert_eq!(proxy(503), Outcome::Later { why: Complaint::Http(503), after: None });
    assert_eq!(proxy(413), Outcome::TooLarge(Complaint::Http(413)));
    // With nothing but a head.
    let head = answer(200, &[("grpc-status", "16")], b"");
    assert_eq!(over_grpc(&head, NOW), Outcome::Later { why: Complaint::Grpc(16), after: None });
}

proptest! {
    #[test]
    fn hostile_answers_do_no_harm(
        status in 100..1000_u16,
        fields in prop::collection::vec((0..5_usize, "[ -~]{0,40}"), 0..5),
        body in prop::collection::vec(any::<u8>(), 0..200),
        is_json in any::<bool>(),
    ) {
        let names =
            ["retry-after", "content-type", "grpc-status", "grpc-message", "grpc-status-details-bin"];
        let fields: Vec<_> = fields.iter().map(|(n, value)| (names[*n], value.as_str())).collect();
        let mut answer = answer(status, &fields, &body);
        let _ = over_http(&answer, is_json, NOW);
        let _ = over_grpc(&answer, NOW);
        answer.trailers = std::mem::take(&mut answer.fields);
        let _ = over_grpc(&answer, NOW);
    }
}
