//! Which protocol a connection speaks, and what becomes of it.

use super::*;
use crate::http::message::Phase;

use Direction::{Inbound, Outbound};

const GET: &[u8] = b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n";
const POST: &[u8] = b"POST /a HTTP/1.1\r\nHost: h\r\n\r\n";
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

/// Feeds whole and byte by byte; expects so many exchanges, and the reason for no more.
fn check(feeds: &[(Direction, &[u8])], exchanges: usize, reason: Option<&str>) {
    for at_most in [usize::MAX, 1] {
        let mut codec = Codec::new();
        let mut out = Vec::new();
        for (direction, bytes) in feeds {
            for piece in bytes.chunks(at_most) {
                codec.feed(*direction, Timestamp(1), piece, &mut out);
            }
        }
        assert_eq!(out.len(), exchanges, "in pieces of {at_most}");
        assert_eq!(codec.reason().map(Reason::as_str), reason, "in pieces of {at_most}");
        assert_eq!(codec.is_done(), reason.is_some());
        assert!(reason.is_none() || codec.buffered() == 0);
    }
}

#[test]
fn http1_is_read_also_where_it_starts_as_the_preface_does() {
    check(&[(Outbound, GET), (Inbound, OK)], 1, None);
    check(&[(Outbound, POST), (Inbound, OK)], 1, None);
    check(&[(Outbound, b"PRI"), (Outbound, b"NT /a HTTP/1.1\r\n\r\n"), (Inbound, OK)], 1, None);
}

/// SETTINGS, then a GET on stream 1 by static table entries alone, and its answer, 204.
const H2_SETTINGS: &[u8] = b"\0\0\0\x04\0\0\0\0\0";
const H2_GET: &[u8] = b"\0\0\x03\x01\x05\0\0\0\x01\x82\x84\x87";
const H2_OK: &[u8] = b"\0\0\x01\x01\x05\0\0\0\x01\x89";

#[test]
fn the_http2_preface_is_recognised_rfc9113_3_4() {
    let client = [http2::PREFACE.as_slice(), H2_SETTINGS, H2_GET].concat();
    let server = [H2_SETTINGS, H2_OK].concat();
    check(&[(Outbound, &client), (Inbound, &server)], 1, None);
    check(&[(Inbound, H2_SETTINGS), (Outbound, &client), (Inbound, H2_OK)], 1, None);
}

#[test]
fn http2_joined_late_is_recognised_by_its_frames() {
    let mut codec = Codec::new();
    let mut out = Vec::new();
    for direction in [Outbound, Inbound] {
        codec.gap(direction, Timestamp(1), 1, &mut out);
    }
    codec.feed(Outbound, Timestamp(1), &[H2_SETTINGS, H2_GET].concat(), &mut out);
    codec.feed(Inbound, Timestamp(2), &[H2_SETTINGS, H2_OK].concat(), &mut out);
    codec.finish(Timestamp(3), &mut out);
    let statuses: Vec<_> = out.iter().map(|e| e.response.as_ref().map(|r| r.status)).collect();
    assert_eq!(statuses, [Some(204)]);
}

#[test]
fn http2_joined_late_is_recognised_by_one_request_that_is_answered() {
    // The second one begins with a field that only those know who saw it inserted.
    let indexed: &[u8] = b"\0\0\x04\x01\x05\0\0\0\x01\xbe\x82\x84\x87";
    for request in [H2_GET, indexed] {
        for at_most in [usize::MAX, 1] {
            let mut codec = Codec::new();
            let mut out = Vec::new();
            for direction in [Inbound, Outbound] {
                codec.gap(direction, Timestamp(1), 1, &mut out);
            }
            for (direction, bytes) in [(Inbound, request), (Outbound, H2_OK)] {
                bytes
                    .chunks(at_most)
                    .for_each(|it| codec.feed(direction, Timestamp(2), it, &mut out));
            }
            codec.finish(Timestamp(3), &mut out);
            let [exchange] = out.as_slice() else { panic!("{out:?}") };
            assert_eq!(exchange.request.as_ref().map(|it| it.method.as_str()), Some("GET"));
            assert_eq!(exchange.response.as_ref().map(|it| it.status), Some(204));
        }
    }
}

/// Only an answer says that frames end where bytes do: that a piece ends there says nothing.
#[test]
fn http2_joined_late_says_the_same_however_its_first_bytes_were_cut() {
    let ping = b"\0\0\x08\x06\0\0\0\0\0pingpong";
    // What makes no sense stands before the request and behind it, so that it is none.
    let first = [&ping[..], ping, ping, &[0xff; 9], H2_GET].concat();
    let bytes = [&first[..], &[0xff; 40]].concat();
    let told = |cut: usize| {
        let mut codec = Codec::new();
        let mut out = Vec::new();
        codec.gap(Outbound, Timestamp(1), 1, &mut out);
        let (before, behind) = bytes.split_at(cut);
        for piece in [before, behind] {
            codec.feed(Outbound, Timestamp(2), piece, &mut out);
        }
        codec.finish(Timestamp(3), &mut out);
        out.len()
    };
    assert!((0..bytes.len()).all(|cut| told(cut) == told(0)), "cut behind the request");
    assert_eq!(told(first.len()), 0);
}

/// What follows may be anything.
#[test]
fn half_a_frame_before_an_answer_is_not_http2() {
    let mut codec = Codec::new();
    let mut out = Vec::new();
    codec.gap(Outbound, Timestamp(1), 1, &mut out);
    codec.feed(Outbound, Timestamp(1), &H2_GET[..11], &mut out);
    codec.feed(Inbound, Timestamp(2), OK, &mut out);
    assert!(!matches!(codec.protocol, Protocol::Http2(_)));
}

#[test]
fn http2_goes_unrecognised_only_if_its_start_is_cut_off() {
    check(&[(Outbound, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r")], 0, None);
    check(&[(Outbound, b"\0\0\x12\x01")], 0, Some("not_http"));
}

#[test]
fn other_protocols_are_not_http() {
    check(&[(Outbound, b"\x16\x03\x01\x02\0\x01")], 0, Some("not_http"));
}

#[test]
fn an_upgrade_ends_http() {
    let switch = b"HTTP/1.1 101 Switching Protocols\r\n\r\n";
    check(&[(Outbound, GET), (Inbound, switch), (Outbound, GET)], 0, None);
    let mut codec = Codec::new();
    let mut out = Vec::new();
    codec.feed(Outbound, Timestamp(1), GET, &mut out);
    codec.feed(Inbound, Timestamp(2), switch, &mut out);
    codec.feed(Outbound, Timestamp(3), GET, &mut out);
    codec.finish(Timestamp(4), &mut out);
    assert_eq!((out.len(), codec.reason()), (1, Some(Reason::Upgraded)));
}

const ASK_H2C: &[u8] = b"POST /up HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer t\r\n\
    Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\
    Content-Length: 3\r\n\r\nabc";
const SWITCH_H2C: &[u8] =
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n";
/// A GET on stream 3, and its answer.
const H2_GET_3: &[u8] = b"\0\0\x03\x01\x05\0\0\0\x03\x82\x84\x87";
const H2_OK_3: &[u8] = b"\0\0\x01\x01\x05\0\0\0\x03\x88";

/// Exchanges as `index target status; notes`, fed whole and byte by byte.
fn check_h2c(feeds: &[(Direction, &[u8])], expected: &[&str]) {
    for at_most in [usize::MAX, 1] {
        let (mut codec, mut out) = (Codec::new(), Vec::new());
        for (direction, bytes) in feeds {
            for piece in bytes.chunks(at_most) {
                codec.feed(*direction, Timestamp(1), piece, &mut out);
            }
        }
        codec.finish(Timestamp(2), &mut out);
        let show = |it: &Exchange| {
            let target = it.request.as_ref().map_or("-", |it| it.target.as_str());
            let status = it.response.as_ref().map_or(0, |it| it.status);
            let notes: Vec<_> = it.notes.iter().map(|note| note.as_str()).collect();
            format!("{} {target} {status}; {}", it.index, notes.join(" "))
        };
        let shown: Vec<_> = out.iter().map(show).collect();
        assert_eq!(shown, expected, "in pieces of {at_most}");
    }
}

#[test]
fn after_an_upgrade_to_h2c_the_request_is_answered_on_stream_1_rfc7540_3_2() {
    let server = [SWITCH_H2C, H2_SETTINGS, H2_OK].concat();
    let client = [http2::PREFACE.as_slice(), H2_SETTINGS, H2_GET_3].concat();
    let expected = ["0 /up 204; upgraded", "1 / 200; "];
    check_h2c(
        &[(Outbound, ASK_H2C), (Inbound, &server), (Outbound, &client), (Inbound, H2_OK_3)],
        &expected,
    );
    check_h2c(
        &[
            (Outbound, ASK_H2C),
            (Inbound, SWITCH_H2C),
            (Outbound, &client),
            (Inbound, &[H2_SETTINGS, H2_OK_3, H2_OK].concat()),
        ],
        &["1 / 200; ", "0 /up 204; upgraded"],
    );
}

#[test]
fn exchanges_before_an_upgrade_to_h2c_keep_their_places() {
    let server = [SWITCH_H2C, H2_SETTINGS, H2_OK].concat();
    let client = [http2::PREFACE.as_slice(), H2_SETTINGS, H2_GET_3].concat();
    check_h2c(
        &[
            (Outbound, GET),
            (Inbound, OK),
            (Outbound, ASK_H2C),
            (Inbound, &server),
            (Outbound, &client),
            (Inbound, H2_OK_3),
        ],
        &["0 /a 200; ", "1 /up 204; upgraded", "2 / 200; "],
    );
}

#[test]
fn an_upgrade_to_h2c_that_is_not_answered_or_refused_is_told() {
    check_h2c(&[(Outbound, ASK_H2C), (Inbound, SWITCH_H2C)], &["0 /up 0; unfinished upgraded"]);
    check_h2c(
        &[(Outbound, ASK_H2C), (Inbound, OK), (Outbound, GET), (Inbound, OK)],
        &["0 /up 200; ", "1 /a 200; "],
    );
}

/// Tells what lasts at 5, 10 and 20 seconds after a request, each as index and phase.
fn check_lasting(asked: &[u8], told: &[u8], expected: &[(u64, Phase)]) {
    let second = |nth: u64| Timestamp(nth * 1_000_000_000);
    let (mut codec, mut out) = (Codec::new(), Vec::new());
    codec.feed(Outbound, second(1), asked, &mut out);
    codec.feed(Inbound, second(2), told, &mut out);
    for now in [5, 11, 20] {
        codec.tell_lasting(second(now), 10_000_000_000, &mut out);
    }
    assert!(!codec.is_under_way());
    codec.finish(second(30), &mut out);
    let phases: Vec<_> = out.iter().map(|it| (it.index, it.phase)).collect();
    assert_eq!(phases, expected);
}

#[test]
fn what_lasts_is_told_once_and_again_at_its_end() {
    let both = [(0, Phase::Begun), (0, Phase::Ended)];
    let events = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n";
    check_lasting(GET, events, &both);
    check_lasting(GET, b"HTTP/1.1 101 Switching Protocols\r\n\r\n\x81\x02ab", &both);
    check_lasting(GET, b"", &both);
    check_lasting(GET, OK, &[(0, Phase::Ended)]);
    let client = [http2::PREFACE.as_slice(), H2_SETTINGS, H2_GET].concat();
    let answer = |head: &[u8]| [H2_SETTINGS, head].concat();
    check_lasting(&client, &answer(b"\0\0\x01\x01\x04\0\0\0\x01\x88"), &both);
    check_lasting(&client, &answer(H2_OK), &[(0, Phase::Ended)]);
}

#[test]
fn a_connection_that_gave_up_what_it_held_is_read_on_with_new_places() {
    let check = |feeds: [&[u8]; 4], expected: &[(u64, bool)]| {
        let (mut codec, mut out) = (Codec::new(), Vec::new());
        let [asked, told, asks, tells] = feeds;
        codec.feed(Outbound, Timestamp(1), asked, &mut out);
        codec.feed(Inbound, Timestamp(1), told, &mut out);
        codec.give_up(Timestamp(2), &mut out);
        let bound = if codec.is_done() { 0 } else { 1024 };
        assert!(codec.buffered() <= bound, "{}", codec.buffered());
        codec.feed(Outbound, Timestamp(3), asks, &mut out);
        codec.feed(Inbound, Timestamp(3), tells, &mut out);
        codec.finish(Timestamp(4), &mut out);
        let whole = |it: &Exchange| (it.index, it.response.is_some() && it.notes.is_empty());
        assert_eq!(out.iter().map(whole).collect::<Vec<_>>(), expected);
    };
    check([GET, b"HTTP/1.1 200 OK\r\nContent-Le", GET, OK], &[(0, false), (1, true)]);
    check([GET, OK, GET, OK], &[(0, true), (1, true)]);
    let client = [http2::PREFACE.as_slice(), H2_SETTINGS, H2_GET].concat();
    let ping = b"\0\0\x08\x06\0\0\0\0\0\0\0\0\0\0\0\0\0";
    let [asks, tells] = [H2_GET_3, H2_OK_3].map(|it| [ping, ping, ping, it].concat());
    check([&client, H2_SETTINGS, &asks, &tells], &[(0, false), (1, true)]);
    let switch = b"HTTP/1.1 101 Switching Protocols\r\n\r\n\x81\x02ab";
    check([GET, switch, GET, OK], &[(0, false)]);
    check([b"PRI * HT", b"", GET, OK], &[(0, true)]);
}

#[test]
fn what_is_under_way_at_the_end_is_reported() {
    let mut codec = Codec::new();
    let mut out = Vec::new();
    codec.feed(Outbound, Timestamp(1), GET, &mut out);
    codec.end(Outbound, Timestamp(2), &mut out);
    assert_eq!((out.len(), codec.is_done()), (0, false));
    codec.finish(Timestamp(3), &mut out);
    assert_eq!((out.len(), codec.is_done(), codec.reason()), (1, true, None));
}

#[test]
fn a_gap_before_the_first_bytes_allows_binary_content() {
    let mut codec = Codec::new();
    let mut out = Vec::new();
    codec.gap(Inbound, Timestamp(1), 100, &mut out);
    codec.feed(Inbound, Timestamp(1), b"\x1f\x8b\0\0\r\n", &mut out);
    codec.feed(Outbound, Timestamp(2), GET, &mut out);
    codec.feed(Inbound, Timestamp(3), OK, &mut out);
    assert_eq!(out.len(), 1);
}
