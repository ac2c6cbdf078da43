//! Conversations in the clear, segment by segment, at one or several places of a host.

use scopewatch_common::Capture;

use super::*;
use crate::{
    capture::wire::Wire,
    flow::{
        chunk::Transport,
        table::{Limits, Table},
    },
    wire::segment::{Flags, Segment},
};

const REQUEST: &[u8] = b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n";
const ANSWER: &[u8] = b"HTTP/1.1 204 No Content\r\n\r\n";

/// One place at which the connection is seen: a namespace, and the cookies of its sockets there.
#[derive(Clone, Copy)]
struct Place {
    netns: u32,
    client: Option<u64>,
    server: Option<u64>,
}

const LOOPBACK: Place = Place { netns: 1, client: Some(11), server: Some(12) };

struct Host {
    wire: Wire,
    out: Vec<CaptureEvent<Bytes>>,
    now: u64,
    sent: Ends<u32>,
}

impl Host {
    fn new() -> Self {
        let wire = Wire::new(100).listing(&[8080]);
        Self { wire, out: Vec::new(), now: 1, sent: Ends { a: 100, b: 900 } }
    }

    fn key(place: Place) -> FlowKey {
        let end = |text: &str| text.parse::<std::net::SocketAddr>().unwrap().into();
        FlowKey {
            netns: place.netns,
            source: end("10.0.0.1:40000"),
            destination: end("10.0.0.2:8080"),
        }
    }

    /// The client (A) or the server (B) sends `bytes`, which are seen where they arrive on loopback
    /// and at every socket elsewhere.
    fn send(&mut self, from: Side, bytes: &[u8], fin: bool, places: &[Place]) {
        let (seq, ack) = (self.sent.of(from), self.sent.of(from.other()));
        let loopback =
            places.len() == 1 && places[0].client.is_some() && places[0].server.is_some();
        for place in places {
            let key = Self::key(*place);
            let key = if from == Side::A { key } else { key.reversed() };
            let at = |side| if side == Side::A { place.client } else { place.server };
            let seen = [(at(from).filter(|_| !loopback), false), (at(from.other()), true)];
            for (cookie, received) in seen {
                let Some(cookie) = cookie else { continue };
                self.now += 1000;
                let flags = Flags { ack: true, fin, ..Flags::default() };
                let wire_len = u32::try_from(bytes.len()).unwrap();
                let at = Timestamp(self.now);
                let segment =
                    Segment { at, cookie, key, seq, ack, flags, payload: bytes, wire_len };
                self.wire.segment(&Captured { segment, received, cgroup: 0 }, &mut self.out);
            }
        }
        let sent = self.sent.at(from);
        *sent = sent.wrapping_add(u32::try_from(bytes.len()).unwrap() + u32::from(fin));
    }

    fn owner(&mut self, pid: u32, side: Side, place: Place) {
        let FlowKey { netns, source, destination } = Self::key(place);
        let (local, remote) =
            if side == Side::A { (source, destination) } else { (destination, source) };
        let (local, remote) = (local.socket_addr(), remote.socket_addr());
        let better = self.wire.owner(pid, &Socket { cookie: 0, local, remote, netns });
        assert_eq!(better, [], "who is at a plain connection is asked when it is told of");
    }

    fn exchange(&mut self, places: &[Place]) {
        self.send(Side::A, REQUEST, false, places);
        self.send(Side::B, ANSWER, false, places);
    }

    /// `pid<peer`, then what was told: `i` in, `o` out, `[n]` lost.
    fn told(&mut self) -> String {
        let mut text = String::new();
        for event in self.out.drain(..) {
            match event {
                CaptureEvent::Plain { .. } => text.push_str("plain "),
                CaptureEvent::Proxied { client, .. } => text.push_str(&format!("for {client} ")),
                CaptureEvent::Socket { session, peer, socket, .. } => {
                    let peer = peer.map(|peer| peer.pid);
                    text.push_str(&format!("{} {peer:?}@{} ", session.pid, socket.netns));
                }
                CaptureEvent::Data { direction, offset, lost, bytes, .. } => {
                    let way = if direction == Direction::Inbound { 'i' } else { 'o' };
                    text.push_str(&format!("{way}{offset}"));
                    if lost > 0 {
                        text.push_str(&format!("[{lost}]"));
                    } else {
                        text.push_str(&format!("+{}", bytes.len()));
                    }
                    text.push(' ');
                }
                CaptureEvent::Close { direction, .. } => {
                    text.push_str(if direction.is_some() { "$ " } else { "$$" });
                }
                _ => {}
            }
        }
        text.trim_end().to_owned()
    }
}

#[test]
fn an_exchange_is_told_from_the_server_once_it_is_answered() {
    let mut host = Host::new();
    host.send(Side::A, REQUEST, false, &[LOOPBACK]);
    host.owner(5, Side::A, LOOPBACK);
    host.owner(7, Side::B, LOOPBACK);
    assert_eq!(host.told(), "");
    host.send(Side::B, ANSWER, false, &[LOOPBACK]);
    assert_eq!(host.told(), "7 Some(5)@1 plain i0+28 o0+27");
    host.exchange(&[LOOPBACK]);
    assert_eq!(host.told(), "i28+28 o27+27");
    host.send(Side::A, b"", true, &[LOOPBACK]);
    host.send(Side::B, b"", true, &[LOOPBACK]);
    assert_eq!(host.told(), "$ $ $$");
    assert!(host.wire.plain.talks.is_empty() && host.wire.plain.beginnings.is_empty());
    assert_eq!((host.wire.plain.held, host.wire.counts.plain), (0, 1));
}

#[test]
fn whom_a_proxy_speaks_for_is_told_and_its_header_is_no_part_of_http() {
    let mut host = Host::new();
    // Without its SYN it might be the middle of something.
    let flags = Flags { syn: true, ..Flags::default() };
    let (at, key, payload) = (Timestamp(1), Host::key(LOOPBACK), &b""[..]);
    let segment = Segment { at, cookie: 12, key, seq: 99, ack: 0, flags, payload, wire_len: 0 };
    host.wire.segment(&Captured { segment, received: true, cgroup: 0 }, &mut host.out);
    let header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02\x07\x0a\0\0\x01\0\x01\0\x02";
    host.send(Side::A, &[header, REQUEST].concat(), false, &[LOOPBACK]);
    host.owner(5, Side::A, LOOPBACK);
    host.owner(7, Side::B, LOOPBACK);
    host.send(Side::B, ANSWER, false, &[LOOPBACK]);
    assert_eq!(host.told(), "7 Some(5)@1 plain for 192.0.2.7 i0+28 o0+27");
}

#[test]
fn a_port_that_is_not_listed_is_left() {
    let mut host = Host::new();
    host.wire = Wire::new(100).listing(&[8081]);
    host.exchange(&[LOOPBACK]);
    assert_eq!(host.told(), "");
    assert_eq!(host.wire.decisions().next(), Some((12, Capture::Ignored)));
}

#[test]
fn a_connection_between_two_namespaces_is_told_once_and_its_other_end_is_left() {
    let here = Place { netns: 1, client: Some(11), server: None };
    let there = Place { netns: 2, client: None, server: Some(22) };
    let mut host = Host::new();
    host.send(Side::A, REQUEST, false, &[here, there]);
    host.owner(5, Side::A, here);
    host.owner(7, Side::B, there);
    host.send(Side::B, ANSWER, false, &[there, here]);
    assert_eq!(host.told(), "7 Some(5)@2 plain i0+28 o0+27");
    assert_eq!(host.wire.decisions().collect::<Vec<_>>(), [(11, Capture::Ignored)]);
    assert_eq!((host.wire.counts.mirrored, host.wire.table.len()), (1, 1));
}

#[test]
fn equal_addresses_in_two_namespaces_are_two_connections() {
    let [one, two] = [1, 2].map(|netns| Place {
        netns,
        client: Some(u64::from(netns) * 10),
        server: Some(u64::from(netns) * 10 + 1),
    });
    let mut host = Host::new();
    for (pid, place) in [(7, one), (8, two)] {
        host.sent = Ends { a: pid * 1000, b: pid * 77 };
        host.send(Side::A, REQUEST, false, &[place]);
        host.owner(pid, Side::B, place);
        host.send(Side::B, ANSWER, false, &[place]);
    }
    assert_eq!(host.told(), "7 None@1 plain i0+28 o0+27 8 None@2 plain i0+28 o0+27");
}

#[test]
fn a_client_of_a_remote_server_is_told() {
    let here = Place { netns: 1, client: Some(11), server: None };
    let mut host = Host::new();
    host.send(Side::A, REQUEST, false, &[here]);
    host.owner(5, Side::A, here);
    host.send(Side::B, ANSWER, false, &[here]);
    assert_eq!(host.told(), "5 None@1 plain o0+28 i0+27");
}

#[test]
fn whoever_holds_an_end_unseen_is_asked_for_and_then_told_without() {
    let mut host = Host::new();
    host.exchange(&[LOOPBACK]);
    assert_eq!(host.told(), "");
    assert!(host.wire.strangers(Timestamp(host.now)).is_empty(), "too early");
    let later = Timestamp(host.now + 2 * PATIENCE);
    assert_eq!(host.wire.strangers(later).len(), 2);
    host.wire.tick(later, &mut host.out);
    assert_eq!(host.told(), "0 None@1 plain i0+28 o0+27");
}

#[test]
fn a_connection_that_was_joined_late_says_so() {
    let mut host = Host::new();
    host.owner(7, Side::B, LOOPBACK);
    host.send(Side::B, ANSWER, false, &[LOOPBACK]);
    host.exchange(&[LOOPBACK]);
    assert_eq!(host.told(), "7 None@1 plain i0[1] o0[1] o1+27 i1+28 o28+27");
}

/// No connection begins with a request's frame.
#[test]
fn a_connection_of_http2_that_was_joined_late_says_so() {
    let mut host = Host::new();
    host.owner(7, Side::B, LOOPBACK);
    host.send(Side::A, b"\0\0\x04\x01\x05\0\0\0\x0f\xbe\x82\x84\x87", false, &[LOOPBACK]);
    host.send(Side::B, b"\0\0\x01\x01\x05\0\0\0\x0f\x88", false, &[LOOPBACK]);
    assert_eq!(host.told(), "7 None@1 plain i0[1] o0[1] i1+13 o1+10");
}

#[test]
fn what_a_proxy_says_first_is_no_part_of_it() {
    let mut host = Host::new();
    let request = [b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n", REQUEST].concat();
    host.send(Side::A, &request, false, &[LOOPBACK]);
    host.owner(7, Side::B, LOOPBACK);
    host.send(Side::B, ANSWER, false, &[LOOPBACK]);
    assert_eq!(host.told(), "7 None@1 plain i0+28 o0+27");
}

#[test]
fn what_waits_for_an_answer_is_bounded() {
    let mut host = Host::new();
    host.owner(7, Side::B, LOOPBACK);
    host.send(Side::A, b"POST / HTTP/1.1\r\nContent-Length: 90000\r\n\r\n", false, &[LOOPBACK]);
    assert_eq!(host.told(), "");
    for _ in 0..3 {
        host.send(Side::A, &[b'x'; 30_000], false, &[LOOPBACK]);
    }
    assert!(host.told().starts_with("7 None@1 plain i0+42 i42+30000 i30042+30000 i60042+30000"));
    assert_eq!(host.wire.plain.held, 0);
}

#[test]
fn a_loss_is_a_gap_and_acknowledgements_are_asked_for_while_it_is_open() {
    let mut host = Host::new();
    host.send(Side::A, REQUEST, false, &[LOOPBACK]);
    host.owner(7, Side::B, LOOPBACK);
    host.send(Side::B, ANSWER, false, &[LOOPBACK]);
    host.told();
    host.sent.b += 50;
    host.send(Side::B, b"later", false, &[LOOPBACK]);
    host.wire.tick(Timestamp(host.now + 1), &mut host.out);
    assert_eq!(host.wire.decisions().count(), 0, "it may have been overtaken");
    host.now += NANOS_PER_SEC;
    host.wire.tick(Timestamp(host.now), &mut host.out);
    let mut asked: Vec<_> = host.wire.decisions().collect();
    asked.sort_unstable_by_key(|(cookie, _)| *cookie);
    assert_eq!(asked, [(11, Capture::PlainAcks), (12, Capture::PlainAcks)]);
    assert_eq!(host.told(), "");
    host.send(Side::A, b"", false, &[LOOPBACK]);
    assert_eq!(host.told(), "o27[50] o77+5", "the client has acknowledged what was lost");
    host.wire.tick(Timestamp(host.now), &mut host.out);
    let mut back: Vec<_> = host.wire.decisions().map(|(_, capture)| capture).collect();
    back.dedup();
    assert_eq!(back, [Capture::Plain]);
    assert!(host.wire.acks.is_empty());
}

#[test]
fn exchanges_of_a_connection_without_tls_say_so() {
    let mut host = Host::new();
    host.owner(7, Side::B, LOOPBACK);
    host.exchange(&[LOOPBACK]);
    let mut table =
        Table::new(Limits { connections: 1, idle_nanos: NANOS_PER_SEC, held_bytes: 1 << 20 });
    let mut seen = Vec::new();
    for event in host.out.drain(..) {
        table.accept(&event.borrow(), &mut seen);
    }
    let [seen] = seen.as_slice() else { panic!("{} exchanges", seen.len()) };
    assert_eq!(seen.connection.transport, Transport::Plain);
    assert_eq!(seen.exchange.response.as_ref().map(|answer| answer.status), Some(204));
}
