//! Whole connections through the wire path, in memory: sessions of rustls with itself, and recorded
//! ones, cut into segments as sockets of this host would show them.

mod attribution;
mod bodies;
mod bounds;
mod crowd;
mod handshake;
mod loss;
mod nested;

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use bytes::Bytes;
use scopewatch_common::Capture;

use super::{Captured, Wire};
use crate::{
    capture::{CaptureEvent, SessionKey},
    clock::Timestamp,
    flow::chunk::{Attribution, Direction, Handshake, Socket},
    tls::{
        secret::Origin,
        tests::{
            Session,
            pairs::{Ends as Pair, suite},
        },
    },
    wire::segment::{Flags, FlowKey, Segment},
};

/// Processes of the usual test connection.
const CLIENT: u32 = 11;
const SERVER: u32 = 22;

const MILLISECOND: u64 = 1_000_000;

const REQUEST: &[u8] = b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n";
const ANSWER: &[u8] = b"HTTP/1.1 204 No Content\r\n\r\n";

/// Which ends are on this host.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Local {
    Both,
    Client,
    Server,
}

/// A TCP connection that carries a session.
struct Line {
    client: SocketAddr,
    server: SocketAddr,
    local: Local,
    /// Next sequence numbers.
    client_seq: u32,
    server_seq: u32,
    /// Cookie of the client's socket; the server's is one more.
    cookie: u64,
    /// Cgroup of both ends' sockets.
    cgroup: u32,
}

impl Line {
    /// The `number`th connection of a client to the usual server.
    fn new(number: u32, local: Local) -> Self {
        let [_, high, middle, low] = number.to_be_bytes();
        let client = SocketAddr::from(([10, high, middle, low], 40_000));
        Self {
            client,
            server: "10.255.0.1:443".parse().unwrap(),
            local,
            client_seq: 1000,
            server_seq: 9000,
            cookie: u64::from(number) * 2,
            cgroup: 0,
        }
    }

    fn cookie_of(&self, end: Direction) -> u64 {
        self.cookie + u64::from(end == Direction::Inbound)
    }

    /// The socket of one end: the client's if it is the one that sends outbound.
    fn socket(&self, end: Direction) -> Socket {
        let (local, remote) = match end {
            Direction::Outbound => (self.client, self.server),
            Direction::Inbound => (self.server, self.client),
        };
        Socket { cookie: self.cookie_of(end), local, remote, netns: 0 }
    }
}

/// The wire path, a clock, and what came out.
struct Rig {
    wire: Wire,
    now: Timestamp,
    out: Vec<CaptureEvent<Bytes>>,
}

/// What was told of one connection.
#[derive(Debug, Default, Eq, PartialEq)]
struct Told {
    sessions: Vec<SessionKey>,
    sockets: Vec<(Socket, Option<u32>)>,
    /// How the observed end's holder is known, and the other's.
    attributions: Vec<(Attribution, Option<Attribution>)>,
    handshakes: Vec<Arc<Handshake>>,
    proxied_for: Option<IpAddr>,
    inbound: Vec<u8>,
    outbound: Vec<u8>,
    lost: u64,
    /// Bytes that were not asked for, of either direction.
    skipped: u64,
    closed: Vec<Option<Direction>>,
}

impl Rig {
    fn new() -> Self {
        Self::with(1000)
    }

    fn with(connections: usize) -> Self {
        Self { wire: Wire::new(connections), now: Timestamp(1), out: Vec::new() }
    }

    fn pass(&mut self, nanos: u64) {
        self.now = self.now.plus(nanos);
    }

    /// A segment from the client (outbound) or the server, as the ends on this host see it.
    fn push(&mut self, line: &mut Line, way: Direction, flags: &str, payload: &[u8]) {
        self.push_part(line, way, flags, payload, 0);
    }

    /// The same, with so many bytes behind the payload that were not captured.
    fn push_part(
        &mut self,
        line: &mut Line,
        way: Direction,
        flags: &str,
        payload: &[u8],
        lost: usize,
    ) {
        self.pass(MILLISECOND);
        let flags = Flags {
            syn: flags.contains('S'),
            ack: flags.contains('.'),
            fin: flags.contains('F'),
            rst: false,
            first: flags.contains('1'),
        };
        let (source, destination, seq, ack) = match way {
            Direction::Outbound => (line.client, line.server, line.client_seq, line.server_seq),
            Direction::Inbound => (line.server, line.client, line.server_seq, line.client_seq),
        };
        // On loopback a segment is seen once, at its receiver.
        let received = match line.local {
            Local::Both => true,
            Local::Client => way == Direction::Inbound,
            Local::Server => way == Direction::Outbound,
        };
        let at_end = if received { way.reverse() } else { way };
        let wire_len = u32::try_from(payload.len() + lost).unwrap();
        let segment = Segment {
            at: self.now,
            cookie: line.cookie_of(at_end),
            key: FlowKey { netns: 0, source: source.into(), destination: destination.into() },
            seq,
            ack: if flags.ack { ack } else { 0 },
            flags,
            payload,
            wire_len,
        };
        let captured = Captured { segment, received, cgroup: line.cgroup };
        self.wire.segment(&captured, &mut self.out);
        let taken = wire_len + u32::from(flags.syn) + u32::from(flags.fin);
        match way {
            Direction::Outbound => line.client_seq += taken,
            Direction::Inbound => line.server_seq += taken,
        }
    }

    fn connect(&mut self, line: &mut Line) {
        self.push(line, Direction::Outbound, "S", b"");
        self.push(line, Direction::Inbound, "S.", b"");
        self.push(line, Direction::Outbound, ".", b"");
    }

    fn finish(&mut self, line: &mut Line) {
        self.push(line, Direction::Outbound, "F.", b"");
        self.push(line, Direction::Inbound, "F.", b"");
    }

    /// Sends the flights of a session, in segments as large as loopback's.
    fn send(&mut self, line: &mut Line, flights: &[(Direction, Vec<u8>)]) {
        for (way, bytes) in flights {
            bytes.chunks(32_000).for_each(|piece| self.push(line, *way, ".", piece));
        }
    }

    /// A process derives the secrets of a session.
    fn derive(&mut self, session: &Session, pid: u32) {
        self.derive_as(session, Origin { pid, tid: pid, cgroup: 0, netns: 0 });
    }

    fn derive_as(&mut self, session: &Session, origin: Origin) {
        for hit in &session.hits {
            let mut hit = hit.clone();
            (hit.at, hit.origin) = (self.now, origin);
            self.wire.learn(hit, &mut self.out);
        }
    }

    /// A process uses the socket at one end of a connection, right after it derived a secret.
    fn own(&mut self, line: &Line, end: Direction, pid: u32) {
        let better = self.wire.owner(pid, &line.socket(end));
        self.out.extend(better);
    }

    fn tick(&mut self) {
        self.wire.tick(self.now, &mut self.out);
    }

    /// What was told since the last call.
    fn told(&mut self) -> Told {
        let mut told = Told::default();
        for event in self.out.drain(..) {
            if let Some(session) = event.session()
                && !told.sessions.contains(&session)
            {
                told.sessions.push(session);
            }
            match event {
                CaptureEvent::Socket { socket, attribution, peer, .. } => {
                    told.sockets.push((socket, peer.map(|peer| peer.pid)));
                    told.attributions.push((attribution, peer.map(|peer| peer.attribution)));
                }
                CaptureEvent::Data { direction, bytes, lost, .. } => {
                    told.lost += lost;
                    match direction {
                        Direction::Inbound => told.inbound.extend_from_slice(&bytes),
                        Direction::Outbound => told.outbound.extend_from_slice(&bytes),
                    }
                }
                CaptureEvent::Close { direction, .. } => told.closed.push(direction),
                CaptureEvent::Skipped { bytes, .. } => told.skipped += bytes,
                CaptureEvent::Handshake { handshake, .. } => told.handshakes.push(handshake),
                CaptureEvent::Proxied { client, .. } => told.proxied_for = Some(client),
                CaptureEvent::Plain { .. }
                | CaptureEvent::Process(_)
                | CaptureEvent::Exit { .. }
                | CaptureEvent::Tick { .. } => panic!("the wire path tells of none: {event:?}"),
            }
        }
        told
    }

    /// That nothing is kept of connections that are over.
    #[track_caller]
    fn is_empty(&self) {
        let Wire { flows, waiting, open_sockets, owners, held, .. } = &self.wire;
        assert_eq!((flows.len(), open_sockets.len(), owners.len(), *held), (0, 0, 0, 0));
        assert_eq!((waiting.len(), waiting.indexes()), (0, 0));
    }

    fn ignored(&mut self) -> Vec<u64> {
        let ignored = |(cookie, capture)| (capture == Capture::Ignored).then_some(cookie);
        self.wire.decisions().filter_map(ignored).collect()
    }
}

/// A session of TLS 1.3 with one exchange.
fn talk() -> Session {
    talk_of(&rustls::version::TLS13, &[(REQUEST, ANSWER)])
}

fn talk_of(
    version: &'static rustls::SupportedProtocolVersion,
    turns: &[(&[u8], &[u8])],
) -> Session {
    Pair::new(suite(version), false).talk(b"", turns)
}

#[test]
fn a_secret_that_comes_first_opens_a_connection_as_it_goes() {
    let (mut rig, mut line, session) = (Rig::new(), Line::new(1, Local::Both), talk());
    rig.connect(&mut line);
    rig.derive(&session, SERVER);
    let (talk, goodbye) = session.flow.split_at(session.flow.len() - 2);
    rig.send(&mut line, talk);
    assert!(rig.wire.tells_of(line.cookie) && rig.wire.tells_of(line.cookie + 1));
    rig.send(&mut line, goodbye);
    let told = rig.told();
    assert_eq!((told.inbound, told.outbound), (session.client.clone(), session.server.clone()));
    assert_eq!(rig.wire.counts.opened, 1);
    assert!(!rig.wire.tells_of(line.cookie));
}

#[test]
fn a_secret_that_comes_last_opens_what_has_waited() {
    let (mut rig, mut line, session) = (Rig::new(), Line::new(1, Local::Both), talk());
    rig.connect(&mut line);
    rig.send(&mut line, &session.flow);
    assert_eq!(rig.told(), Told::default());
    assert!(!rig.wire.tells_of(line.cookie));
    rig.derive(&session, SERVER);
    let told = rig.told();
    assert_eq!((told.inbound, told.outbound), (session.client.clone(), session.server.clone()));
    assert_eq!((rig.wire.waiting.len(), rig.wire.held), (0, 0));
}

#[test]
fn a_record_of_a_secret_opens_a_connection() {
    use crate::tls::tests::{corpus::SIMPLE, session, unhex};
    let (mut rig, mut line, session) = (Rig::new(), Line::new(1, Local::Both), session(SIMPLE));
    let derivation = SIMPLE.lines().find_map(|line| line.strip_prefix("derive s_hs_traffic "));
    let (parent, transcript) = derivation.unwrap().split_once(' ').unwrap();
    let (parent, transcript) = (unhex(parent), unhex(transcript));
    rig.connect(&mut line);
    let kind = scopewatch_common::SecretKind::Handshake;
    let origin = Origin { pid: CLIENT, tid: CLIENT, cgroup: 0, netns: 0 };
    let parts = (parent.as_slice(), transcript.as_slice());
    rig.wire.secret(rig.now, origin, kind, (&[0; 64], parts.1), &mut rig.out);
    rig.wire.secret(rig.now, origin, kind, parts, &mut rig.out);
    rig.send(&mut line, &session.flow);
    let told = rig.told();
    assert_eq!((told.inbound, told.outbound), (session.client, session.server));
}

#[test]
fn an_ended_connection_is_told_to_its_end_and_forgotten() {
    for version in rustls::ALL_VERSIONS {
        let session = talk_of(version, &[(REQUEST, ANSWER)]);
        let (mut rig, mut line) = (Rig::new(), Line::new(1, Local::Both));
        rig.connect(&mut line);
        rig.own(&line, Direction::Outbound, CLIENT);
        rig.derive(&session, SERVER);
        rig.send(&mut line, &session.flow);
        rig.finish(&mut line);
        let told = rig.told();
        let ways = [Some(Direction::Inbound), Some(Direction::Outbound), None];
        assert_eq!(told.closed, ways);
        rig.is_empty();
    }
}

#[test]
fn other_protocols_are_left_to_the_kernel_half() {
    let (mut rig, mut line) = (Rig::new(), Line::new(1, Local::Both));
    rig.connect(&mut line);
    rig.push(&mut line, Direction::Outbound, ".", b"SSH-2.0-OpenSSH_9.9\r\n");
    assert_eq!(rig.ignored(), [line.cookie + 1]);
    assert_eq!(rig.told(), Told::default());
}

#[test]
fn ports_that_are_used_again_begin_another_connection() {
    let (mut rig, mut sessions) = (Rig::new(), Vec::new());
    for (round, pid) in [(0, CLIENT), (1, CLIENT + 1)] {
        let (mut line, session) = (Line::new(1, Local::Both), talk());
        (line.client_seq, line.server_seq) = (1000 + round * 500_000, 9000 + round * 700_000);
        line.cookie = 100 + u64::from(round) * 2;
        rig.connect(&mut line);
        if round == 0 {
            rig.own(&line, Direction::Inbound, SERVER);
            rig.own(&line, Direction::Outbound, pid);
        }
        rig.derive(&session, pid);
        rig.send(&mut line, &session.flow);
        // The second comes while the end of the first was missed.
        let told = rig.told();
        assert_eq!(told.inbound, if round == 0 { &session.client[..] } else { &told.inbound[..] });
        sessions.extend(told.sessions);
    }
    sessions.dedup();
    assert_eq!(sessions.len(), 2, "{sessions:?}");
    assert_eq!(sessions[0].pid, SERVER);
    assert_ne!(sessions[1].pid, SERVER, "its owner is not known");
}
