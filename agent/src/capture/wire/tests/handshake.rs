//! What a connection's handshake told.

use std::sync::Arc;

use rustls::{
    SupportedProtocolVersion,
    version::{TLS12, TLS13},
};

use super::{ANSWER, CLIENT, Line, Local, Pair, REQUEST, Rig, SERVER, suite};
use crate::{
    capture::CaptureEvent,
    flow::chunk::{Direction, Handshake, ShownCertificate},
    tls::{suite::Suite, tests::Session},
};

/// What is known of the handshake when the request was told, and when the answer was.
fn known(session: &Session) -> [Option<Arc<Handshake>>; 2] {
    let (mut rig, mut line) = (Rig::new(), Line::new(1, Local::Both));
    rig.connect(&mut line);
    rig.derive(session, CLIENT);
    rig.derive(session, SERVER);
    rig.send(&mut line, &session.flow);
    let mut known = [None, None];
    let mut latest = None;
    for event in rig.out.drain(..) {
        match event {
            CaptureEvent::Handshake { handshake, .. } => latest = Some(handshake),
            CaptureEvent::Data { direction: Direction::Inbound, .. } => {
                known[0].clone_from(&latest);
            }
            CaptureEvent::Data { .. } => known[1].clone_from(&latest),
            _ => {}
        }
    }
    known
}

fn pair(version: &'static SupportedProtocolVersion, certificate: bool) -> Pair {
    Pair::new(suite(version), certificate)
}

const TURN: &[(&[u8], &[u8])] = &[(REQUEST, ANSWER)];

#[track_caller]
fn check(version: &'static SupportedProtocolVersion, name: &str) {
    let pair = pair(version, false);
    let [asked, answered] = known(&pair.talk(b"", TURN));
    assert_eq!(asked, answered, "all of it is known before the first request");
    let full = asked.unwrap();
    assert_eq!(full.server_name.as_deref(), Some("server.test"));
    assert_eq!(full.alpn.as_deref(), Some("http/1.1"));
    assert_eq!(full.version.as_deref(), Some(name));
    assert_eq!(full.suite.as_deref(), Suite::find(suite(version).suite().into()).map(|it| it.name));
    assert!(full.ja4.as_deref().unwrap().starts_with(if name == "1.3" { "t13d" } else { "t12d" }));
    assert_eq!((full.resumed, &full.client_certificate), (false, &ShownCertificate::Nothing));
    let [resumed, _] = known(&pair.talk(b"", TURN));
    let resumed = resumed.unwrap();
    assert!(resumed.resumed && !resumed.is_uncertified());
    assert_eq!(resumed.client_certificate, ShownCertificate::Unknown);
}

#[test]
fn names_version_and_resumption_are_told() {
    check(&TLS12, "1.2");
    check(&TLS13, "1.3");
}

#[test]
fn a_client_certificate_is_known_by_the_answer_at_the_latest() {
    for version in [&TLS12, &TLS13] {
        let [_, answered] = known(&pair(version, true).talk(b"", TURN));
        let certificate = answered.unwrap().client_certificate.certificate().unwrap().clone();
        assert_eq!(certificate.subject, "CN=client.test,O=Example\\, Inc.,C=FR");
        assert_eq!(certificate.issuer, "CN=scopewatch test CA");
    }
}

/// Sessions of one pair, one after another, cut into pieces; the certificate that is known of each in
/// the end, and whether it was resumed.
fn certificates(sessions: &[Session], piece: usize) -> Vec<(bool, ShownCertificate)> {
    let mut rig = Rig::new();
    let told = (1..).zip(sessions).map(|(number, session)| {
        let mut line = Line::new(number, Local::Both);
        rig.connect(&mut line);
        rig.derive(session, CLIENT);
        rig.derive(session, SERVER);
        for (way, bytes) in &session.flow {
            bytes.chunks(piece).for_each(|piece| rig.push(&mut line, *way, ".", piece));
        }
        rig.finish(&mut line);
        let last = rig.told().handshakes.pop().unwrap();
        (last.resumed, last.client_certificate.clone())
    });
    told.collect()
}

#[test]
fn the_certificate_of_a_session_is_known_wherever_it_is_resumed() {
    for version in [&TLS12, &TLS13] {
        let pair = pair(version, true);
        let sessions = [(); 3].map(|()| pair.talk(b"", TURN));
        for piece in [1, 97, 32_000] {
            let known = certificates(&sessions, piece);
            assert_eq!([&known[0].0, &known[1].0, &known[2].0], [&false, &true, &true]);
            let subject = known[0].1.certificate().unwrap().subject.as_str();
            assert_eq!(subject, "CN=client.test,O=Example\\, Inc.,C=FR");
            assert!(known.iter().all(|(_, it)| *it == known[0].1), "{known:?}");
        }
        // Where the first was not seen, nobody is guessed.
        let late = certificates(&sessions[1..], 32_000);
        assert!(late.iter().all(|it| *it == (true, ShownCertificate::Unknown)), "{late:?}");
    }
}

#[test]
fn whom_a_proxy_speaks_for_is_told_with_its_connection() {
    let session = pair(&TLS13, false).talk(b"", TURN);
    let named: &[u8] = b"PROXY TCP4 192.0.2.7 10.0.0.1 1 2\r\n";
    for (connects, flags, header, told) in [
        (true, ".", &b""[..], None),
        (true, ".", named, Some("192.0.2.7")),
        (true, ".", b"PROXY UNKNOWN\r\n", None),
        // As sockets see it, which show no SYN.
        (false, "1.", named, Some("192.0.2.7")),
        // Something may have come before it, which only looks like a header.
        (false, ".", named, None),
    ] {
        let (mut rig, mut line) = (Rig::new(), Line::new(1, Local::Both));
        if connects {
            rig.connect(&mut line);
        }
        rig.push(&mut line, Direction::Outbound, flags, header);
        rig.derive(&session, CLIENT);
        rig.derive(&session, SERVER);
        rig.send(&mut line, &session.flow);
        let found = rig.told();
        assert_eq!(found.proxied_for, told.map(|it| it.parse().unwrap()));
        assert_eq!([found.inbound, found.outbound].concat(), [REQUEST, ANSWER].concat());
    }
}
