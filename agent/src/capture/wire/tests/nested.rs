//! Sessions within sessions: a client speaks TLS through a proxy to which it speaks TLS.

use std::{mem, net::SocketAddr};

use rustls::SupportedProtocolVersion;

use super::{ANSWER, CLIENT, Line, Local, Pair, REQUEST, Rig, SERVER, Told, suite, talk_of};
use crate::{
    capture::{CaptureEvent, Skip, wire::flow::Flow},
    flow::chunk::{
        Attribution::{KeyOnly, SocketCall},
        Direction::{self, Inbound, Outbound},
    },
    tls::tests::Session,
};

/// The process that is the client's proxy.
const PROXY: u32 = 33;

const CONNECT: &[u8] = b"CONNECT server.test:443 HTTP/1.1\r\nHost: server.test:443\r\n\r\n";
const CONNECTED: &[u8] = b"HTTP/1.1 200 Connection established\r\n\r\n";

/// A session in which `flights` go through a tunnel.
fn carry(version: &'static SupportedProtocolVersion, flights: &[(Direction, Vec<u8>)]) -> Session {
    let mut turns = vec![(CONNECT, CONNECTED)];
    for (way, bytes) in flights {
        turns.push(match way {
            Outbound => (bytes.as_slice(), b"".as_slice()),
            Inbound => (b"".as_slice(), bytes.as_slice()),
        });
    }
    Pair::new(suite(version), false).talk(b"", &turns)
}

/// An exchange within a session of one version, carried by one of the other.
fn nest(
    inner: &'static SupportedProtocolVersion,
    outer: &'static SupportedProtocolVersion,
) -> (Session, Session) {
    let inner = talk_of(inner, &[(REQUEST, ANSWER)]);
    let outer = carry(outer, &inner.flow);
    (inner, outer)
}

/// What was told of each session, in the order in which they were told of first.
fn told(rig: &mut Rig) -> Vec<Told> {
    let mut events = mem::take(&mut rig.out);
    let mut all = Vec::new();
    while let Some(session) = events.first().map(CaptureEvent::session) {
        let is_its = |event: &CaptureEvent<_>| event.session() == session;
        (rig.out, events) = events.into_iter().partition(is_its);
        all.push(rig.told());
    }
    all
}

/// Whom the client's and the server's hellos name.
fn server_name(told: &Told) -> Option<String> {
    told.handshakes.last()?.server_name.clone()
}

#[test]
fn a_session_within_another_is_told_however_both_are_cut() {
    for inner in rustls::ALL_VERSIONS {
        for outer in rustls::ALL_VERSIONS {
            let (inner, outer) = nest(inner, outer);
            for (size, first) in [(1, true), (7, true), (700, true), (64_000, true), (700, false)] {
                let (mut rig, mut line) = (Rig::new(), Line::new(1, Local::Client));
                rig.connect(&mut line);
                let sessions = [&outer, &inner];
                if first {
                    sessions.iter().for_each(|session| rig.derive(session, CLIENT));
                }
                for (way, bytes) in &outer.flow {
                    bytes.chunks(size).for_each(|piece| rig.push(&mut line, *way, ".", piece));
                }
                if !first {
                    sessions.iter().for_each(|session| rig.derive(session, CLIENT));
                }
                let told = told(&mut rig);
                assert_eq!(told.len(), 2, "by {size}: {told:?}");
                for (told, session) in told.iter().zip(sessions) {
                    assert!(told.outbound == session.client && told.inbound == session.server);
                    assert_eq!(server_name(told).as_deref(), Some("server.test"));
                    assert_eq!((told.sessions[0].pid, told.lost), (CLIENT, 0));
                    let (socket, peer) = told.sockets[0];
                    assert_eq!((socket.local, socket.remote), (line.client, line.server));
                    assert_eq!((socket.cookie, peer), (line.cookie_of(Outbound), None));
                }
                assert_ne!(told[0].sessions, told[1].sessions);
                rig.finish(&mut line);
                rig.is_empty();
            }
        }
    }
}

/// The client's connection to its proxy, and the proxy's to the server.
fn lines() -> [Line; 2] {
    let mut near = Line::new(1, Local::Both);
    near.server = SocketAddr::from(([10, 254, 0, 1], 3128));
    [near, Line::new(2, Local::Both)]
}

/// All three talk. `late` is whether the session is opened within the client's connection first, or
/// on the proxy's.
fn relay(rig: &mut Rig, [near, far]: &mut [Line; 2], inner: &Session, outer: &Session, late: bool) {
    rig.connect(near);
    rig.connect(far);
    for (session, pid) in [(outer, PROXY), (outer, CLIENT), (inner, SERVER), (inner, CLIENT)] {
        rig.derive(session, pid);
    }
    rig.own(near, Inbound, PROXY);
    rig.own(near, Outbound, CLIENT);
    rig.own(far, Inbound, SERVER);
    let (first, second) = match late {
        true => ((near, outer), (far, inner)),
        false => ((far, inner), (near, outer)),
    };
    let mut flights = first.1.flow.iter();
    let is_it = |flow: &Flow| flow.outer.is_some() == late && flow.is_open();
    while !rig.wire.flows.values().any(is_it) {
        rig.send(first.0, std::slice::from_ref(flights.next().unwrap()));
    }
    let (talk, goodbye) = second.1.flow.split_at(second.1.flow.len() - 2);
    rig.send(second.0, talk);
    rig.send(first.0, flights.as_slice());
    rig.send(second.0, goodbye);
}

#[test]
fn a_session_that_goes_on_beyond_the_proxy_is_told_there_and_once() {
    for version in rustls::ALL_VERSIONS {
        for late in [false, true] {
            let (inner, outer) = nest(version, &rustls::version::TLS13);
            let (mut rig, mut lines) = (Rig::new(), lines());
            relay(&mut rig, &mut lines, &inner, &outer, late);
            let told = told(&mut rig);
            let of = |pid| told.iter().filter(move |told| told.sessions[0].pid == pid);
            let [inner_told] = of(SERVER).collect::<Vec<_>>()[..] else { panic!("{told:?}") };
            assert_eq!(told.len(), 2, "{late}: {told:?}");
            // Told from the server's end.
            assert!(inner_told.inbound == inner.client && inner_told.outbound == inner.server);
            let [_, far] = &lines;
            let (socket, peer) = inner_told.sockets[0];
            assert_eq!((socket.local, socket.remote), (far.server, far.client));
            assert_eq!(peer, Some(CLIENT));
            assert_eq!(inner_told.attributions[0], (SocketCall, Some(SocketCall)));
            let outer_told = of(PROXY).next().unwrap();
            assert_eq!(outer_told.sockets[0].1, Some(CLIENT));
        }
    }
}

#[test]
fn a_proxy_is_an_end_of_what_it_carries_if_it_has_its_keys() {
    let (inner, outer) = nest(&rustls::version::TLS13, &rustls::version::TLS13);
    for terminates in [false, true] {
        let (mut rig, [mut near, _]) = (Rig::new(), lines());
        rig.connect(&mut near);
        rig.derive(&outer, PROXY);
        rig.own(&near, Inbound, PROXY);
        rig.derive(&inner, CLIENT);
        if terminates {
            rig.derive(&inner, PROXY);
        }
        rig.send(&mut near, &outer.flow);
        let told = told(&mut rig);
        let inner = &told[1];
        let (end, peer) = (inner.sessions[0].pid, inner.sockets[0].1);
        let expected = if terminates { (PROXY, Some(CLIENT)) } else { (CLIENT, None) };
        assert_eq!((end, peer), expected, "{inner:?}");
        let known = if terminates { (SocketCall, Some(KeyOnly)) } else { (KeyOnly, None) };
        assert_eq!(inner.attributions[0], known);
    }
}

#[test]
fn one_session_lies_within_another_and_none_within_that() {
    let innermost = talk_of(&rustls::version::TLS13, &[(REQUEST, ANSWER)]);
    let inner = carry(&rustls::version::TLS13, &innermost.flow);
    let outer = carry(&rustls::version::TLS13, &inner.flow);
    let (mut rig, mut line) = (Rig::new(), Line::new(1, Local::Client));
    rig.connect(&mut line);
    [&outer, &inner, &innermost].iter().for_each(|session| rig.derive(session, CLIENT));
    rig.send(&mut line, &outer.flow);
    let told = told(&mut rig);
    assert_eq!(told.len(), 2);
    assert!(told[1].outbound == inner.client && told[1].inbound == inner.server);
}

/// Whoever reads the outer session's exchanges needs no byte of the tunnel.
fn skip_all(rig: &mut Rig) {
    let all = |event: &CaptureEvent<_>| match event {
        CaptureEvent::Data { session, direction, .. } => {
            Some(Skip { session: *session, direction: *direction, from: 0, until: u64::MAX })
        }
        _ => None,
    };
    let Some(first) = rig.out.iter().find_map(all) else { return };
    for direction in [Inbound, Outbound] {
        rig.wire.skip(Skip { direction, ..first });
    }
}

#[test]
fn what_carries_a_session_is_opened_until_that_has_ended() {
    let long: Vec<u8> = vec![b'x'; 50_000];
    let inner = talk_of(&rustls::version::TLS13, &[(REQUEST, &long)]);
    // It might yet change to TLS in its first 64 KiB.
    let parts = [ANSWER, &long, &long, &long].map(|part| (Inbound, part.to_vec()));
    let plain: Vec<_> = [(Outbound, REQUEST.to_vec())].into_iter().chain(parts).collect();
    for (flights, sessions) in [(&inner.flow, 2), (&plain, 1)] {
        let outer = carry(&rustls::version::TLS13, flights);
        let (mut rig, mut line) = (Rig::new(), Line::new(1, Local::Client));
        rig.connect(&mut line);
        [&outer, &inner].iter().for_each(|session| rig.derive(session, CLIENT));
        for flight in &outer.flow {
            rig.send(&mut line, std::slice::from_ref(flight));
            skip_all(&mut rig);
        }
        let told = told(&mut rig);
        assert_eq!(told.len(), sessions);
        let outer_told = &told[0];
        assert_eq!(outer_told.skipped > 30_000, sessions == 1, "{} skipped", outer_told.skipped);
        if let Some(told) = told.get(1) {
            assert!(told.inbound == inner.server, "{} of {}", told.inbound.len(), long.len());
        }
    }
}

#[test]
fn a_session_within_another_that_no_secret_opens_is_given_up_and_hides_nothing() {
    let (inner, outer) = nest(&rustls::version::TLS13, &rustls::version::TLS13);
    for local in [Local::Client, Local::Server] {
        let (mut rig, mut line) = (Rig::new(), Line::new(1, local));
        rig.connect(&mut line);
        rig.derive(&outer, PROXY);
        let (talk, goodbye) = outer.flow.split_at(outer.flow.len() - 2);
        rig.send(&mut line, talk);
        assert!(rig.wire.held > 0);
        rig.pass(crate::clock::NANOS_PER_SEC * 6);
        rig.tick();
        assert_eq!((rig.wire.held, rig.wire.waiting.len(), rig.wire.flows.len()), (0, 0, 1));
        // Who only passes it on is no end of it.
        assert_eq!(rig.wire.uncovered().is_empty(), local == Local::Server);
        assert!(rig.ignored().is_empty(), "the socket of the outer session");
        rig.send(&mut line, goodbye);
        let told = told(&mut rig);
        assert_eq!(told.len(), 1);
        let bytes = told[0].inbound.len() + told[0].outbound.len();
        assert_eq!(bytes, outer.client.len() + outer.server.len());
        assert!(!inner.flow.is_empty());
    }
}
