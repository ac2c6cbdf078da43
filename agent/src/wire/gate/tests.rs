//! Where each protocol begins in a stream, and what is withheld until then.

use bytes::Bytes;
use proptest::{
    collection::vec,
    prelude::{any, proptest},
};

use super::{Gate, MAX_UNDECIDED, Start};
use crate::{
    flow::chunk::Payload,
    wire::{
        Side::{self, A, B},
        classify::Protocol,
        ledger::Counters,
    },
};

const CLIENT_HELLO: &[u8] = b"\x16\x03\x01\x00\x04\x01\x00\x00\x00hello";
const SERVER_HELLO: &[u8] = b"\x16\x03\x03\x00\x04\x02\x00\x00\x00hello";

/// Runs payloads through a gate, and returns what it decided and what came out of each side,
/// offsets checked.
fn run(gate: &mut Gate, payloads: &[(Side, &[u8])]) -> (Protocol, Vec<u8>, Vec<u8>) {
    let (mut position, mut expected) = ([0_u64; 2], [None; 2]);
    let mut out = [Vec::new(), Vec::new()];
    for (from, payload) in payloads {
        let side = usize::from(*from == B);
        let mut emit = |offset: u64, payload: Payload| {
            let Payload::Bytes(bytes) = payload else { panic!("only bytes went in") };
            assert_eq!(*expected[side].get_or_insert(offset), offset);
            expected[side] = Some(offset + bytes.len() as u64);
            out[side].extend_from_slice(&bytes);
        };
        let bytes = Payload::Bytes(Bytes::copy_from_slice(payload));
        gate.pass(*from, position[side], bytes, &mut Counters::default(), &mut emit);
        position[side] += payload.len() as u64;
    }
    let [a, b] = out;
    (gate.protocol(), a, b)
}

#[track_caller]
fn check(payloads: &[(Side, &[u8])], protocol: Protocol, a: &[u8], b: &[u8]) {
    let (decided, from_a, from_b) = run(&mut Gate::new(Start::Syn), payloads);
    assert_eq!(decided, protocol);
    assert_eq!(from_a.escape_ascii().to_string(), a.escape_ascii().to_string());
    assert_eq!(from_b.escape_ascii().to_string(), b.escape_ascii().to_string());
}

#[test]
fn tls_from_the_first_byte() {
    let payloads = [(A, CLIENT_HELLO), (B, SERVER_HELLO), (A, b"more")];
    check(&payloads, Protocol::Tls, &[CLIENT_HELLO, b"more"].concat(), SERVER_HELLO);
}

#[test]
fn http_without_tls() {
    let payloads: [(Side, &[u8]); 2] =
        [(A, b"GET / HTTP/1.1\r\n\r\n"), (B, b"HTTP/1.1 200 OK\r\n")];
    check(&payloads, Protocol::Plain, payloads[0].1, payloads[1].1);
}

#[test]
fn other_protocols_are_ignored() {
    check(&[(B, b"SSH-2.0-OpenSSH\r\n"), (A, CLIENT_HELLO)], Protocol::Ignored, b"", b"");
}

#[test]
fn one_byte_segments_are_put_together() {
    let bytes: Vec<(Side, &[u8])> = CLIENT_HELLO.chunks(1).map(|byte| (A, byte)).collect();
    check(&bytes, Protocol::Tls, CLIENT_HELLO, b"");
}

#[test]
fn proxy_headers_are_passed_over() {
    let v1 = [b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n", CLIENT_HELLO].concat();
    let v2 = [b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c0123456789ab", CLIENT_HELLO].concat();
    for stream in [v1, v2] {
        for size in [1, 5, stream.len()] {
            let mut payloads: Vec<_> = stream.chunks(size).map(|chunk| (A, chunk)).collect();
            payloads.push((B, SERVER_HELLO));
            check(&payloads, Protocol::Tls, CLIENT_HELLO, SERVER_HELLO);
        }
    }
}

#[test]
fn the_client_that_connects_names_whom_it_is_a_proxy_for_and_nobody_else_does() {
    let named = |payloads: &[(Side, &[u8])]| {
        let mut gate = Gate::new(Start::Syn);
        run(&mut gate, payloads);
        gate.proxied_for().map(|it| it.to_string())
    };
    let v1 = b"PROXY TCP4 192.0.2.7 10.0.0.2 1 2\r\n";
    let v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02\x07\x0a\0\0\x01\0\x01\0\x02";
    let other = b"PROXY TCP4 192.0.2.8 10.0.0.2 1 2\r\n";
    for start in [v1.as_slice(), v2] {
        let stream = [start, other, CLIENT_HELLO].concat();
        for size in [1, 5, 17, stream.len()] {
            let payloads: Vec<_> = stream.chunks(size).map(|chunk| (A, chunk)).collect();
            assert_eq!(named(&payloads).as_deref(), Some("192.0.2.7"), "{size}");
        }
    }
    assert_eq!(named(&[(B, v1), (A, CLIENT_HELLO)]), None);
    assert_eq!(named(&[(A, &v1[..30])]), None, "it is not whole");
    let connect: [(Side, &[u8]); 3] =
        [(A, b"CONNECT a:1 HTTP/1.1\r\n\r\n"), (A, v1), (A, CLIENT_HELLO)];
    assert_eq!(named(&connect), None, "within a dialogue it is something else");
    let mut late = Gate::new(Start::Late);
    run(&mut late, &[(A, v1), (A, CLIENT_HELLO)]);
    assert_eq!(late.proxied_for(), None, "what came before was not seen");
}

#[test]
fn a_header_with_a_hole_names_nobody() {
    let (mut gate, mut counters) = (Gate::new(Start::Syn), Counters::default());
    let mut emit = |_, _| {};
    let start = Bytes::from_static(b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00");
    gate.pass(A, 0, Payload::Bytes(start), &mut counters, &mut emit);
    gate.pass(A, 18, Payload::Gap(1), &mut counters, &mut emit);
    let rest = [b"\x07\x0a\0\0\x01\0\x01\0\x02", CLIENT_HELLO].concat();
    gate.pass(A, 19, Payload::Bytes(rest.into()), &mut counters, &mut emit);
    assert_eq!((gate.protocol(), gate.proxied_for()), (Protocol::Tls, None));
}

#[test]
fn tls_through_a_proxys_connect() {
    let payloads: [(Side, &[u8]); 6] = [
        (A, b"CONNECT api.example:443 HTTP/1.1\r\nHost: api.example\r\n\r\n"),
        (B, b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 2\r\n\r\nno"),
        (A, b"CONNECT api.example:443 HTTP/1.1\r\n\r\n"),
        (B, b"HTTP/1.1 200 Connection established\r\n\r\n"),
        (A, CLIENT_HELLO),
        (B, SERVER_HELLO),
    ];
    check(&payloads, Protocol::Tls, CLIENT_HELLO, SERVER_HELLO);
}

#[test]
fn tls_after_starttls() {
    let smtp: [(Side, &[u8]); 7] = [
        (B, b"220 mail.example ESMTP\r\n"),
        (A, b"EHLO me\r\n"),
        (B, b"250-mail.example\r\n250 STARTTLS\r\n"),
        (A, b"STARTTLS\r\n"),
        (B, b"220 ready\r\n"),
        (A, CLIENT_HELLO),
        (B, SERVER_HELLO),
    ];
    check(&smtp, Protocol::Tls, CLIENT_HELLO, SERVER_HELLO);
    let imap: [(Side, &[u8]); 5] = [
        (B, b"* OK IMAP4rev2\r\n"),
        (A, b"a1 STARTTLS\r\n"),
        (B, b"a1 OK go\r\n"),
        (A, CLIENT_HELLO),
        (B, SERVER_HELLO),
    ];
    check(&imap, Protocol::Tls, CLIENT_HELLO, SERVER_HELLO);
    let ldap: [(Side, &[u8]); 4] = [
        (A, b"\x30\x1d\x02\x01\x01\x77\x18\x80\x161.3.6.1.4.1.1466.20037"),
        (B, b"\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\x00\x04\x00\x04\x00"),
        (A, CLIENT_HELLO),
        (B, SERVER_HELLO),
    ];
    check(&ldap, Protocol::Tls, CLIENT_HELLO, SERVER_HELLO);
}

#[test]
fn a_dialogue_without_end_is_ignored() {
    let mut gate = Gate::new(Start::Syn);
    let line: (Side, &[u8]) = (B, b"* OK still here\r\n");
    let lines = usize::try_from(MAX_UNDECIDED).unwrap() / line.1.len();
    assert_eq!(run(&mut gate, &vec![line; lines]).0, Protocol::Undecided);
    assert_eq!(run(&mut gate, &[line]).0, Protocol::Ignored);
}

#[test]
fn joined_in_the_middle_of_a_body_the_next_request_decides() {
    let mut gate = Gate::new(Start::Late);
    let request: &[u8] = b"GET /next HTTP/1.1\r\n\r\n";
    let (protocol, a, b) =
        run(&mut gate, &[(B, b"rest of a body"), (A, request), (B, b"HTTP/1.1 ")]);
    assert_eq!((protocol, &a[..], &b[..]), (Protocol::Plain, request, &b"HTTP/1.1 "[..]));
}

#[test]
fn a_gap_at_the_start_proves_nothing() {
    let mut gate = Gate::new(Start::Syn);
    let mut out = Vec::new();
    let mut emit = |offset, payload| out.push((offset, payload));
    let mut counters = Counters::default();
    gate.pass(A, 0, Payload::Gap(100), &mut counters, &mut emit);
    gate.pass(A, 100, Payload::Bytes(Bytes::from_static(b"body")), &mut counters, &mut emit);
    gate.pass(B, 0, Payload::Bytes(Bytes::from_static(b"\x16\x03")), &mut counters, &mut emit);
    let hello = Payload::Bytes(Bytes::from_static(CLIENT_HELLO));
    gate.pass(A, 104, hello.clone(), &mut counters, &mut emit);
    gate.pass(B, 2, Payload::Gap(5), &mut counters, &mut emit);
    gate.pass(A, 118, Payload::End, &mut counters, &mut emit);
    let sample = Payload::Bytes(Bytes::from_static(b"\x16\x03"));
    assert_eq!(out, [(104, hello), (0, sample), (2, Payload::Gap(5)), (118, Payload::End)]);
}

proptest! {
    #[test]
    fn any_chunking_gives_the_same_bytes(
        start in 0_usize..4,
        tail in vec(any::<u8>(), 0..60),
        cuts in vec(1_usize..20, 1..30),
    ) {
        let starts: [&[u8]; 4] = [CLIENT_HELLO, b"POST /token HTTP/1.1\r\n", b"PROXY a\r\nGET ", b"??"];
        let stream = [starts[start], &tail].concat();
        let whole = run(&mut Gate::new(Start::Syn), &[(A, &stream)]);
        let mut rest = &stream[..];
        let mut pieces = Vec::new();
        for cut in cuts.iter().cycle() {
            let (piece, behind) = rest.split_at((*cut).min(rest.len()));
            pieces.push((A, piece));
            rest = behind;
            if rest.is_empty() {
                break;
            }
        }
        assert_eq!(run(&mut Gate::new(Start::Syn), &pieces), whole);
    }

    #[test]
    fn arbitrary_dialogues_never_panic_and_never_invent_bytes(
        payloads in vec((any::<bool>(), vec(any::<u8>(), 0..40), 0_usize..8), 0..20),
        late: bool,
    ) {
        let starts: [&[u8]; 4] = [b"\x30\x84", b"220 ", b"\x16\x03\x01", b"CONNECT "];
        let payloads: Vec<_> = payloads
            .iter()
            .map(|(a, bytes, start)| {
                let start = starts.get(*start).copied().unwrap_or_default();
                (if *a { A } else { B }, [start, bytes].concat())
            })
            .collect();
        let borrowed: Vec<_> = payloads.iter().map(|(side, bytes)| (*side, &bytes[..])).collect();
        let (_, a, b) = run(&mut Gate::new(if late { Start::Late } else { Start::Syn }), &borrowed);
        for (side, out) in [(A, a), (B, b)] {
            let sent = payloads.iter().filter(|(from, _)| *from == side);
            let sent: Vec<u8> = sent.flat_map(|(_, bytes)| bytes.clone()).collect();
            assert!(sent.ends_with(&out));
        }
    }
}
