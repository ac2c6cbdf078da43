//! What is read of calls by gRPC-Web, however they come.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use proptest::{
    prelude::{Strategy, any, prop},
    prop_assert, prop_assert_eq, proptest,
};

use super::*;

fn call(media_type: &str) -> Option<Call> {
    let mut fields = Fields::default();
    fields.push(b"content-type", media_type.as_bytes());
    Call::of(&fields)
}

fn binary() -> Call {
    call("application/grpc-web+proto").unwrap()
}

fn text() -> Call {
    call("application/grpc-web-text+proto").unwrap()
}

fn frame(flag: u8, content: &[u8]) -> Vec<u8> {
    let len = u32::try_from(content.len()).unwrap().to_be_bytes();
    [&[flag][..], &len, content].concat()
}

fn read(mut call: Call, bytes: &[u8]) -> (u64, bool, Option<u32>) {
    call.take(bytes);
    (call.messages().count(), call.messages().is_exact(), call.status())
}

#[test]
fn calls_are_told_by_their_media_type() {
    for (media_type, is_text) in [
        ("application/grpc-web", false),
        ("application/grpc-web+proto; charset=utf-8", false),
        ("application/grpc-web-text", true),
        ("application/grpc-web-text+json", true),
    ] {
        assert_eq!(call(media_type).map(|it| it.text.is_some()), Some(is_text), "{media_type}");
    }
    for media_type in
        ["application/grpc", "application/grpc-webs", "application/grpc-web-texts", ""]
    {
        assert!(call(media_type).is_none(), "{media_type}");
    }
}

#[test]
fn the_status_is_read_as_servers_write_it() {
    for (trailers, status) in [
        ("grpc-status:0\r\n", Some(0)),
        ("grpc-message: no\r\ngrpc-status: 16\r\n", Some(16)),
        ("Grpc-Status: 7", Some(7)),
        ("grpc-status:\t5 \ngrpc-status: 0\n", Some(5)),
        ("x-grpc-status: 1\r\n", None),
        ("grpc-status: none\r\n", None),
        ("grpc-status\r\n", None),
        ("", None),
    ] {
        let body = [frame(0, b"abc"), frame(0x80, trailers.as_bytes())].concat();
        assert_eq!(read(binary(), &body), (1, true, status), "{trailers:?}");
    }
    // Compressed, so that they say nothing here.
    assert_eq!(read(binary(), &frame(0x81, b"grpc-status: 0\r\n")), (0, true, None));
}

#[test]
fn a_line_that_is_cut_says_nothing() {
    let body = frame(0x80, b"a: 1\r\ngrpc-status: 16\r\n");
    for left in 1..body.len() {
        let status = read(binary(), body.get(..body.len() - left).unwrap()).2;
        assert_eq!(status, None, "{left} bytes are missing");
    }
    let mut lost = binary();
    lost.take(body.get(..body.len() - 3).unwrap());
    lost.lose(3);
    assert_eq!((lost.status(), lost.messages().is_exact()), (None, true));
}

#[test]
fn trailers_are_kept_up_to_a_limit() {
    let long = "x".repeat(TRAILERS_MAX);
    let first = frame(0x80, format!("grpc-status: 3\r\nx: {long}\r\n").as_bytes());
    let last = frame(0x80, format!("x: {long}\r\ngrpc-status: 3\r\n").as_bytes());
    for (body, status) in [(first, Some(3)), (last, None)] {
        let mut call = binary();
        call.take(&body);
        assert_eq!((call.size(), call.status()), (TRAILERS_MAX, status));
    }
}

#[test]
fn text_after_a_loss_or_with_another_character_is_not_read_on() {
    let body =
        BASE64_STANDARD.encode([frame(0, b"abc"), frame(0x80, b"grpc-status: 0\r\n")].concat());
    assert_eq!(read(text(), body.as_bytes()), (1, true, Some(0)));
    let mut lost = text();
    lost.take(body.as_bytes().get(..12).unwrap());
    lost.lose(4);
    lost.take(body.as_bytes());
    assert_eq!((lost.messages().count(), lost.messages().is_exact()), (1, false));
    for other in ["AA A", "A===", "AA=A", "=AAA", "AAAA\n"] {
        assert!(!read(text(), other.as_bytes()).1, "{other:?}");
    }
}

fn frames() -> impl Strategy<Value = Vec<(bool, Vec<u8>)>> {
    prop::collection::vec((any::<bool>(), prop::collection::vec(any::<u8>(), 0..40)), 0..6)
}

proptest! {
    /// Split anywhere, and as text encoded piece by piece, it is the same call.
    #[test]
    fn a_call_is_the_same_however_it_comes(
        frames in frames(),
        status in 0_u32..20,
        encoded_by in 1_usize..50,
        cut_by in 1_usize..50,
    ) {
        let message = |(compressed, content): &(bool, Vec<u8>)| frame((*compressed).into(), content);
        let messages: Vec<u8> = frames.iter().flat_map(message).collect();
        let trailers = frame(0x80, format!("a: b\r\ngrpc-status: {status}\r\n").as_bytes());
        let body = [messages, trailers].concat();
        let pieces = body.chunks(encoded_by).map(|piece| BASE64_STANDARD.encode(piece));
        let encoded = pieces.collect::<String>().into_bytes();
        for (mut call, sent) in [(binary(), body.clone()), (text(), encoded)] {
            sent.chunks(cut_by).for_each(|piece| call.take(piece));
            let told = (call.messages().count(), call.messages().is_exact(), call.status());
            prop_assert_eq!(told, (frames.len() as u64, true, Some(status)));
        }
    }

    /// Whatever comes, no more is kept than may be.
    #[test]
    fn memory_is_bounded(bytes in prop::collection::vec(any::<u8>(), 0..200), lost in any::<u64>()) {
        for mut call in [binary(), text()] {
            for _ in 0..40 {
                call.take(&[0x80, 0xff, 0xff, 0xff, 0xff]);
                call.take(&bytes);
                prop_assert!(call.size() <= TRAILERS_MAX);
            }
            call.lose(lost);
            call.take(&bytes);
            let _status = call.status();
        }
    }
}
