//! The wire path: segments and secrets become plaintext of connections with known ends.
//!
//! In: segments, secrets and owners of sockets, in ring order. Out: the same [`CaptureEvent`]s
//! that the call path yields, and decisions for the kernel half on sockets that are of no use.
//!
//! Opening happens on the drain thread: secrets must not be recorded and plaintext must, so it
//! comes before the recorder. An AEAD opens gigabytes a second; the exchanges are rebuilt elsewhere.

use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
    num::NonZeroUsize,
};

use bytes::Bytes;
use lru::LruCache;
use scopewatch_common::{Capture, SecretKind};

use crate::{
    capture::{CaptureEvent, SessionKey},
    clock::{NANOS_PER_SEC, Timestamp},
    flow::chunk::{Direction, Payload, Socket, UNKNOWN_LOSS},
    tls::{
        open::Connection,
        output::{Output, State},
        pool::SecretPool,
        secret::{Digest, Index, Label, Origin, Secret, SecretHit, Shown},
    },
    wire::{
        FlowId, Side, WireChunk,
        classify::Protocol,
        flow::Flow as TcpFlow,
        segment::{FlowKey, Segment},
        table::{FlowTable, Limits},
    },
};

/// How long a connection may wait for a secret. Both come from one ring, so a secret that is not
/// there by then will not come: its library has no key site.
const PATIENCE: u64 = 5 * NANOS_PER_SEC;

/// Ends of connections whose process is remembered until the connection asks.
const MAX_OWNERS: NonZeroUsize = NonZeroUsize::new(64 * 1024).unwrap();

/// What the wire path did.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counts {
    /// Connections that a secret opened.
    pub opened: u64,
    /// Connections that were given up because no secret came.
    pub uncovered: u64,
    /// Connections that were given up for another reason: not TLS after all, joined late, a suite
    /// that is not opened.
    pub failed: u64,
}

/// The wire path of the host.
pub struct Wire {
    table: FlowTable,
    pool: SecretPool,
    flows: HashMap<FlowId, Flow>,
    /// Connections that wait for what a secret is indexed by.
    waiting: HashMap<Index, HashSet<FlowId>>,
    owners: LruCache<(SocketAddr, SocketAddr), u32>,
    /// Sockets of connections that are open: what the call path tells of them is told twice.
    open_sockets: HashMap<u64, FlowId>,
    decisions: Vec<(u64, Capture)>,
    /// What was done so far.
    pub counts: Counts,
}

/// One connection.
struct Flow {
    tls: Connection,
    key: FlowKey,
    begun: Timestamp,
    /// Sockets at which it was seen, and whether an end is on this host.
    cookies: Vec<u64>,
    local: Ends<bool>,
    /// Plaintext told of each direction, unknown losses left out.
    told: Ends<u64>,
    /// Directions that have not ended.
    live: u8,
    /// Under what it is listed as waiting.
    waits: Vec<Index>,
    observed: Option<Observed>,
}

/// The end from which a connection is told, fixed when its first plaintext is.
#[derive(Clone, Copy)]
struct Observed {
    session: SessionKey,
    side: Side,
    /// What a loss of unknown length added to the offsets of each direction.
    lost: Ends<u64>,
    peer: Option<u32>,
}

#[derive(Clone, Copy, Default)]
struct Ends<T> {
    a: T,
    b: T,
}

impl<T: Copy> Ends<T> {
    const fn of(self, side: Side) -> T {
        match side {
            Side::A => self.a,
            Side::B => self.b,
        }
    }

    const fn at(&mut self, side: Side) -> &mut T {
        match side {
            Side::A => &mut self.a,
            Side::B => &mut self.b,
        }
    }
}

/// A segment as the ring told of it.
pub struct Captured<'a> {
    /// The segment.
    pub segment: Segment<'a>,
    /// Whether a socket of this host received it; else one sent it.
    pub received: bool,
}

impl Wire {
    /// A wire path that follows at most `connections`.
    #[must_use]
    pub fn new(connections: usize) -> Self {
        Self {
            table: FlowTable::new(Limits { flows: connections, ..Limits::default() }),
            pool: SecretPool::new(),
            flows: HashMap::new(),
            waiting: HashMap::new(),
            owners: LruCache::new(MAX_OWNERS),
            open_sockets: HashMap::new(),
            decisions: Vec::new(),
            counts: Counts::default(),
        }
    }

    /// Takes a segment; appends what it completed to `out`.
    pub fn segment(&mut self, captured: &Captured<'_>, out: &mut Vec<CaptureEvent<Bytes>>) {
        let segment = &captured.segment;
        let mut chunks = Vec::new();
        let seen = self.table.push(segment, &mut chunks);
        if let Some(seen) = seen {
            match seen.protocol {
                Protocol::Tls => self.note(seen.flow, captured),
                Protocol::Ignored | Protocol::Plain => {
                    self.decisions.push((segment.cookie, Capture::Ignored));
                }
                Protocol::Undecided => {}
            }
        }
        self.take(chunks, out);
    }

    /// Takes a secret, and opens what waits for it.
    pub fn secret(
        &mut self,
        at: Timestamp,
        origin: Origin,
        kind: SecretKind,
        parts: (&[u8], &[u8]),
        out: &mut Vec<CaptureEvent<Bytes>>,
    ) {
        let Some(shown) = shown(kind, parts.0, parts.1) else { return };
        let hit = SecretHit { at, origin, shown };
        let waiting: Vec<FlowId> =
            hit.shown.indexes().filter_map(|index| self.waiting.remove(&index)).flatten().collect();
        self.pool.insert(hit);
        for id in waiting {
            self.advance(id, out);
        }
    }

    /// Notes whose a socket is.
    pub fn owner(&mut self, pid: u32, socket: &Socket) {
        self.owners.put((socket.local, socket.remote), pid);
    }

    /// Gives up what has waited too long.
    pub fn tick(&mut self, now: Timestamp, out: &mut Vec<CaptureEvent<Bytes>>) {
        let mut chunks = Vec::new();
        self.table.expire(now, &mut chunks);
        self.take(chunks, out);
        self.pool.expire(now);
        let stale: Vec<FlowId> = self
            .flows
            .iter()
            .filter(|(_, flow)| {
                now.since(flow.begun) > PATIENCE && flow.tls.state() == State::WaitingForSecret
            })
            .map(|(id, _)| *id)
            .collect();
        for id in stale {
            self.counts.uncovered += 1;
            self.give_up(id, now, out);
        }
    }

    /// Whether the plaintext of a socket comes from here.
    #[must_use]
    pub fn tells_of(&self, cookie: u64) -> bool {
        self.open_sockets.contains_key(&cookie)
    }

    /// Decisions for the kernel half since the last call.
    pub fn decisions(&mut self) -> impl Iterator<Item = (u64, Capture)> {
        self.decisions.drain(..)
    }

    fn note(&mut self, id: FlowId, captured: &Captured<'_>) {
        // What comes after the end would make a connection that never ends again.
        let Some(key) = self.table.flow(id).filter(|flow| !flow.is_closed()).map(TcpFlow::key)
        else {
            return;
        };
        let segment = &captured.segment;
        let flow = self.flows.entry(id).or_insert_with(|| Flow {
            tls: Connection::new(),
            key,
            begun: segment.at,
            cookies: Vec::new(),
            local: Ends::default(),
            told: Ends::default(),
            live: 2,
            waits: Vec::new(),
            observed: None,
        });
        let from_a = segment.key.source == key.source;
        let side = if from_a == captured.received { Side::B } else { Side::A };
        *flow.local.at(side) = true;
        if !flow.cookies.contains(&segment.cookie) {
            flow.cookies.push(segment.cookie);
            if flow.is_open() {
                self.open_sockets.insert(segment.cookie, id);
            }
        }
    }

    fn take(&mut self, chunks: Vec<WireChunk>, out: &mut Vec<CaptureEvent<Bytes>>) {
        for WireChunk { at, flow: id, from, offset: _, payload } in chunks {
            let Some(flow) = self.flows.get_mut(&id) else { continue };
            let direction = sent_by(from);
            match &payload {
                Payload::Bytes(bytes) => flow.tls.feed(direction, at, bytes),
                Payload::Gap(missing) => flow.tls.gap(direction, at, *missing),
                Payload::End => flow.tls.end(direction, at),
            }
            self.advance(id, out);
        }
    }

    /// Opens what can be opened and tells what came of it.
    fn advance(&mut self, id: FlowId, out: &mut Vec<CaptureEvent<Bytes>>) {
        self.stop_waiting(id);
        let Some(flow) = self.flows.get_mut(&id) else { return };
        let was_open = flow.is_open();
        flow.tls.resolve(&self.pool);
        // From the first record that opens, not from the first data: what a process writes may be
        // known by its call before it is on its way, as small segments wait for others.
        if flow.is_open() && !was_open {
            self.open_sockets.extend(flow.cookies.iter().map(|&cookie| (cookie, id)));
        }
        let mut last = flow.begun;
        while let Some(output) = flow.tls.next_output() {
            if flow.observed.is_none()
                && matches!(output, Output::Data { .. })
                && let Some(observed) = observe(id, flow, &self.pool, &mut self.owners)
            {
                self.counts.opened += 1;
                flow.observed = Some(observed);
                out.push(flow.socket_event(observed));
            }
            last = flow.tell(output, out).unwrap_or(last);
        }
        match flow.tls.state() {
            State::WaitingForSecret => {
                flow.waits = flow.tls.needs().flat_map(|need| need.indexes).collect();
                for index in &flow.waits {
                    self.waiting.entry(*index).or_default().insert(id);
                }
            }
            State::Failed(reason) => {
                tracing::debug!(flow = id.0, %reason, "not opened");
                self.counts.failed += 1;
                self.give_up(id, last, out);
            }
            State::Handshake | State::Open if flow.live == 0 => self.forget(id, last, out),
            State::Handshake | State::Open => {}
        }
    }

    fn stop_waiting(&mut self, id: FlowId) {
        let Some(flow) = self.flows.get_mut(&id) else { return };
        for index in flow.waits.drain(..) {
            if let Some(ids) = self.waiting.get_mut(&index) {
                ids.remove(&id);
                if ids.is_empty() {
                    self.waiting.remove(&index);
                }
            }
        }
    }

    fn give_up(&mut self, id: FlowId, at: Timestamp, out: &mut Vec<CaptureEvent<Bytes>>) {
        if let Some(flow) = self.flows.get(&id) {
            self.decisions.extend(flow.cookies.iter().map(|&cookie| (cookie, Capture::Ignored)));
        }
        self.forget(id, at, out);
    }

    fn forget(&mut self, id: FlowId, at: Timestamp, out: &mut Vec<CaptureEvent<Bytes>>) {
        self.stop_waiting(id);
        let Some(flow) = self.flows.remove(&id) else { return };
        // Another connection may come to have these addresses, and an end that is not known.
        let (a, b) = (flow.key.source.socket_addr(), flow.key.destination.socket_addr());
        self.owners.pop(&(a, b));
        self.owners.pop(&(b, a));
        for cookie in &flow.cookies {
            self.open_sockets.remove(cookie);
        }
        if let Some(observed) = flow.observed {
            out.push(CaptureEvent::Close { at, session: observed.session, direction: None });
        }
    }
}

impl Flow {
    /// Whether a secret has opened it.
    fn is_open(&self) -> bool {
        !self.tls.origins().is_empty()
    }

    /// Tells of one thing learnt, as seen from the observed end; when it was.
    fn tell(&mut self, output: Output, out: &mut Vec<CaptureEvent<Bytes>>) -> Option<Timestamp> {
        if let Output::Closed { .. } = output {
            self.live = self.live.saturating_sub(1);
        }
        if let Output::Data { direction, offset, bytes, .. } = &output {
            *self.told.at(sender(*direction)) = offset.saturating_add(bytes.len() as u64);
        }
        let observed = self.observed.as_mut()?;
        let session = observed.session;
        let mut data = |at, from: Direction, offset: u64, lost, bytes| {
            let direction = observed.sees(from);
            let before = observed.lost.at(sender(from));
            let event = CaptureEvent::Data {
                at,
                session,
                direction,
                offset: before.saturating_add(offset),
                lost,
                bytes,
            };
            if lost == UNKNOWN_LOSS {
                *before = before.saturating_add(UNKNOWN_LOSS);
            }
            out.push(event);
            Some(at)
        };
        match output {
            Output::Data { direction, at, offset, bytes } => data(at, direction, offset, 0, bytes),
            Output::Skipped { direction, at, offset, bytes } => {
                data(at, direction, offset, bytes, Bytes::new())
            }
            Output::Gap { direction, at, at_most: _ } => {
                let offset = self.told.of(sender(direction));
                data(at, direction, offset, UNKNOWN_LOSS, Bytes::new())
            }
            Output::Closed { direction, at, clean: _ } => {
                let direction = Some(observed.sees(direction));
                out.push(CaptureEvent::Close { at, session, direction });
                Some(at)
            }
            Output::Offered(_)
            | Output::Negotiated(_)
            | Output::Certificate { .. }
            | Output::Alert { .. } => None,
        }
    }

    /// The addresses, as the observed end has them.
    fn socket_event(&self, observed: Observed) -> CaptureEvent<Bytes> {
        let FlowKey { source: a, destination: b } = self.key;
        let (local, remote) = match observed.side {
            Side::A => (a, b),
            Side::B => (b, a),
        };
        let socket = Socket {
            cookie: self.cookies.first().copied().unwrap_or(0),
            local: local.socket_addr(),
            remote: remote.socket_addr(),
            netns: 0,
        };
        let (session, peer) = (observed.session, observed.peer);
        CaptureEvent::Socket { at: self.begun, session, socket, peer }
    }
}

impl Observed {
    /// The direction in which the observed end saw what went in `direction`.
    const fn sees(&self, direction: Direction) -> Direction {
        match self.side {
            Side::A => direction,
            Side::B => direction.reverse(),
        }
    }
}

/// From which end a connection is told: the server's, if its process is known, else the client's.
/// `None` if no process is known to hold either, which cannot be once a secret opened it.
fn observe(
    id: FlowId,
    flow: &mut Flow,
    pool: &SecretPool,
    owners: &mut LruCache<(SocketAddr, SocketAddr), u32>,
) -> Option<Observed> {
    let FlowKey { source, destination } = flow.key;
    let (a, b) = (source.socket_addr(), destination.socket_addr());
    let mut holders = Ends { a: owners.get(&(a, b)).copied(), b: owners.get(&(b, a)).copied() };
    let server = sender(flow.tls.client()?.reverse());
    // The end that opened nothing because the other had shown the same before.
    flow.tls.attribute(pool);
    // Who derived the keys but was not seen at a socket holds the end that is left; a lone one
    // the end on this host, and where both ends are, the server's, which derives first.
    for origin in flow.tls.origins() {
        if [holders.a, holders.b].contains(&Some(origin.pid)) {
            continue;
        }
        for side in [server, server.other()] {
            if flow.local.of(side) && holders.of(side).is_none() {
                *holders.at(side) = Some(origin.pid);
                break;
            }
        }
    }
    let side = if holders.of(server).is_some() { server } else { server.other() };
    let pid = holders.of(side)?;
    let session = SessionKey { pid, object: id.0, generation: flow.begun.0 };
    let peer = holders.of(side.other());
    Some(Observed { session, side, lost: Ends::default(), peer })
}

/// Ciphertext of side A goes out, that of side B comes in: directions as side A sees them.
const fn sent_by(side: Side) -> Direction {
    match side {
        Side::A => Direction::Outbound,
        Side::B => Direction::Inbound,
    }
}

const fn sender(direction: Direction) -> Side {
    match direction {
        Direction::Outbound => Side::A,
        Direction::Inbound => Side::B,
    }
}

/// What a record of the kernel half shows; `None` if its lengths fit no key schedule.
fn shown(kind: SecretKind, secret: &[u8], context: &[u8]) -> Option<Shown> {
    let secret = Secret::new(secret)?;
    let derivation = |label| {
        let transcript = Some(Digest::new(context)?);
        Some(Shown::Derivation { label, parent: secret.clone(), transcript })
    };
    match kind {
        SecretKind::Handshake => derivation(Label::ServerHandshake),
        SecretKind::Master => derivation(Label::ServerApplication),
        SecretKind::Early => derivation(Label::ClientEarly),
        SecretKind::Tls12 => {
            let (server, client) = context.split_at_checked(32)?;
            Some(Shown::Master {
                master: secret.clone(),
                client_random: client.try_into().ok()?,
                server_random: Some(server.try_into().ok()?),
            })
        }
    }
}
