//! HTTP without TLS, on ports that the configuration lists: behind a proxy that ends TLS.
//!
//! In: chunks of flows on those ports, in stream order. Out: the same events as of an opened
//! connection. There is nothing to open, but what is told must be told once and by someone: a
//! connection's first bytes wait until it has been answered, by when whoever holds its ends was
//! seen at the sockets, and both network namespaces that it may pass have shown it.
//!
//! A connection between two namespaces is two flows here, which begin with the same sequence and
//! acknowledgement numbers. The one at the server's socket is told; the one at the client's alone
//! gives way to it, and lends it the client's process.

use std::{
    collections::{BTreeSet, HashMap},
    net::IpAddr,
};

use bytes::Bytes;

use crate::{
    capture::{
        CaptureEvent, Holder, SessionKey,
        wire::{
            Captured,
            attribution::Owners,
            flow::{Ends, MAX_COOKIES, sent_by},
        },
    },
    clock::{NANOS_PER_SEC, Timestamp},
    flow::chunk::{Attribution, Direction, Payload, Socket},
    wire::{
        FlowId, Side, WireChunk,
        classify::{HTTP2_LENGTH, SAMPLE_LEN, Shape, shape},
        flow::Flow as TcpFlow,
        segment::FlowKey,
    },
};

/// How long a connection may wait for its answer and its holders.
const PATIENCE: u64 = NANOS_PER_SEC;

/// Bytes of one connection that may wait: a head, and the begin of a body.
const MAX_HELD: usize = 64 * 1024;

/// Bytes of all connections that may wait.
const MAX_ALL_HELD: usize = 16 << 20;

/// Sequence and acknowledgement number of a flow's first segment.
type Beginning = (u32, u32);

/// Connections without TLS. There are as many as the flow table has on listed ports.
#[derive(Default)]
pub(super) struct Plain {
    ports: BTreeSet<u16>,
    talks: HashMap<FlowId, Talk>,
    /// Flows at the client's and at the server's socket, by how they begin.
    beginnings: HashMap<Beginning, Places>,
    held: usize,
    mirrors: Vec<(FlowId, Vec<u64>)>,
    /// Connections told of.
    pub told: u64,
}

/// Where one connection is seen.
#[derive(Default)]
struct Places {
    client: Option<FlowId>,
    server: Option<FlowId>,
}

/// One flow.
struct Talk {
    key: FlowKey,
    server: Side,
    begun: Timestamp,
    beginning: Beginning,
    cookies: Vec<u64>,
    local: Ends<bool>,
    answered: bool,
    ended: Ends<bool>,
    /// The client that a PROXY header named.
    proxied_for: Option<IpAddr>,
    /// What waits, and its length in bytes.
    waits: Vec<WireChunk>,
    held: usize,
    told: Option<Told>,
}

/// From which end it is told, and what each direction's offsets are counted from.
#[derive(Clone, Copy)]
struct Told {
    session: SessionKey,
    side: Side,
    base: Ends<Option<u64>>,
    /// What the reader was told to have missed before the first byte.
    missed: u64,
}

impl Plain {
    /// Tells of connections on `ports`.
    pub fn on(ports: &[u16]) -> Self {
        Self { ports: ports.iter().copied().collect(), ..Self::default() }
    }

    /// Whether a connection has a listed port.
    pub fn lists(&self, key: FlowKey) -> bool {
        [key.source, key.destination].iter().any(|end| self.ports.contains(&end.port()))
    }

    /// Whether a flow is one of these.
    pub fn follows(&self, id: FlowId) -> bool {
        self.talks.contains_key(&id)
    }

    /// Sockets of each flow.
    pub fn sockets(&self) -> impl Iterator<Item = (&FlowId, &Vec<u64>)> {
        self.talks.iter().map(|(id, talk)| (id, &talk.cookies))
    }

    /// Flows that another place of the host tells of, since the last call, and their sockets.
    pub fn mirrors(&mut self) -> Vec<(FlowId, Vec<u64>)> {
        std::mem::take(&mut self.mirrors)
    }

    /// Notes where a segment of a flow was seen.
    pub fn note(&mut self, flow: &TcpFlow, captured: &Captured<'_>) {
        let (id, key) = (flow.id(), flow.key());
        let segment = &captured.segment;
        let side = side_of(segment.key, key);
        let seen_at = if captured.received { side.other() } else { side };
        let server = if self.ports.contains(&key.destination.port()) { Side::B } else { Side::A };
        let talk = self.talks.entry(id).or_insert_with(|| {
            let beginning = (segment.data_seq(), segment.ack);
            let places = self.beginnings.entry(beginning).or_default();
            let place = if seen_at == server { &mut places.server } else { &mut places.client };
            place.get_or_insert(id);
            let proxied_for = flow.proxied_for().filter(|_| server == Side::B);
            Talk { proxied_for, ..Talk::new(key, server, segment.at, beginning) }
        });
        *talk.local.at(seen_at) = true;
        if talk.cookies.len() < MAX_COOKIES && !talk.cookies.contains(&segment.cookie) {
            talk.cookies.push(segment.cookie);
        }
    }

    /// Takes a chunk of a flow.
    pub fn take(
        &mut self,
        chunk: WireChunk,
        owners: &mut Owners,
        out: &mut Vec<CaptureEvent<Bytes>>,
    ) {
        let (id, at) = (chunk.flow, chunk.at);
        let Some(talk) = self.talks.get_mut(&id) else { return };
        match &chunk.payload {
            Payload::End => *talk.ended.at(chunk.from) = true,
            Payload::Bytes(bytes) => {
                talk.answered |= chunk.from == talk.server;
                if talk.told.is_none() {
                    talk.held = talk.held.saturating_add(bytes.len());
                    self.held = self.held.saturating_add(bytes.len());
                }
            }
            Payload::Gap(_) => {}
        }
        let over = talk.ended.a && talk.ended.b;
        if talk.told.is_some() {
            talk.tell(chunk, out);
        } else {
            talk.waits.push(chunk);
            let full = talk.held > MAX_HELD || self.held > MAX_ALL_HELD;
            self.settle(id, over || full, owners, out);
        }
        if over {
            self.end(id, at, owners, out);
        }
    }

    /// Ends that somebody must hold, and nobody was seen at, of connections that have waited.
    pub fn strangers(&self, now: Timestamp, owners: &mut Owners) -> Vec<Socket> {
        let mut strangers = Vec::new();
        for talk in self.talks.values().filter(|talk| talk.is_late(now)) {
            let seen = owners.of(talk.key);
            for side in [Side::A, Side::B] {
                if talk.local.of(side) && seen.of(side).is_none() {
                    strangers.push(talk.socket(side));
                }
            }
        }
        strangers
    }

    /// Tells of what has waited long enough.
    pub fn tick(
        &mut self,
        now: Timestamp,
        owners: &mut Owners,
        out: &mut Vec<CaptureEvent<Bytes>>,
    ) {
        let late = self.talks.iter().filter(|(_, talk)| talk.is_late(now)).map(|(id, _)| *id);
        for id in late.collect::<Vec<_>>() {
            self.settle(id, true, owners, out);
        }
    }

    /// Tells what waits, if it is known whose the connection is, or if it must not wait longer.
    fn settle(
        &mut self,
        id: FlowId,
        at_once: bool,
        owners: &mut Owners,
        out: &mut Vec<CaptureEvent<Bytes>>,
    ) {
        let Some(talk) = self.talks.get(&id) else { return };
        if !talk.answered && !at_once {
            return;
        }
        let at_server = talk.local.of(talk.server);
        let places = self.beginnings.get(&talk.beginning);
        let other = |id: &FlowId| self.talks.get(id);
        if !at_server && places.is_some_and(|places| places.server.is_some()) {
            let cookies = talk.cookies.clone();
            self.drop(id);
            self.mirrors.push((id, cookies));
            return;
        }
        let client = talk.server.other();
        let mut holders = owners.of(talk.key);
        if let Some(view) = places.and_then(|places| places.client).as_ref().and_then(other) {
            let seen = owners.of(view.key).of(view.server.other());
            *holders.at(client) = holders.of(client).or(seen);
        }
        let observed = if at_server { talk.server } else { client };
        if holders.of(observed).is_none() && !at_once {
            return;
        }
        self.tell(id, holders, out);
    }

    /// Begins to tell, with all that waits.
    fn tell(&mut self, id: FlowId, holders: Ends<Option<u32>>, out: &mut Vec<CaptureEvent<Bytes>>) {
        let Some(talk) = self.talks.get_mut(&id) else { return };
        let client = talk.server.other();
        let side = [talk.server, client].into_iter().find(|side| holders.of(*side).is_some());
        let side = side.unwrap_or(if talk.local.of(talk.server) { talk.server } else { client });
        // Nobody is process 0: the end is known, its holder is not.
        let pid = holders.of(side).unwrap_or(0);
        let session = SessionKey { pid, object: id.0, generation: talk.begun.0 };
        let missed = u64::from(!talk.is_from_its_start());
        talk.told = Some(Told { session, side, base: Ends::default(), missed });
        let attribution = Attribution::SocketCall;
        let peer = holders.of(side.other()).map(|pid| Holder { pid, attribution });
        let (at, socket) = (talk.begun, talk.socket(side));
        out.push(CaptureEvent::Socket { at, session, socket, attribution, peer });
        out.push(CaptureEvent::Plain { at, session });
        if let Some(client) = talk.proxied_for {
            out.push(CaptureEvent::Proxied { at, session, client });
        }
        if missed > 0 {
            for direction in [Direction::Inbound, Direction::Outbound] {
                let (offset, bytes) = (0, Bytes::new());
                out.push(CaptureEvent::Data {
                    at,
                    session,
                    direction,
                    offset,
                    lost: missed,
                    bytes,
                });
            }
        }
        for chunk in std::mem::take(&mut talk.waits) {
            talk.tell(chunk, out);
        }
        self.held = self.held.saturating_sub(std::mem::take(&mut talk.held));
        self.told += 1;
    }

    fn end(
        &mut self,
        id: FlowId,
        at: Timestamp,
        owners: &mut Owners,
        out: &mut Vec<CaptureEvent<Bytes>>,
    ) {
        let Some(talk) = self.drop(id) else { return };
        owners.forget(talk.key);
        if let Some(Told { session, .. }) = talk.told {
            out.push(CaptureEvent::Close { at, session, direction: None });
        }
    }

    fn drop(&mut self, id: FlowId) -> Option<Talk> {
        let talk = self.talks.remove(&id)?;
        self.held = self.held.saturating_sub(talk.held);
        if let Some(places) = self.beginnings.get_mut(&talk.beginning) {
            for place in [&mut places.client, &mut places.server] {
                *place = place.filter(|known| *known != id);
            }
            if places.client.is_none() && places.server.is_none() {
                self.beginnings.remove(&talk.beginning);
            }
        }
        Some(talk)
    }
}

impl Talk {
    fn new(key: FlowKey, server: Side, begun: Timestamp, beginning: Beginning) -> Self {
        Self {
            key,
            server,
            begun,
            beginning,
            cookies: Vec::new(),
            local: Ends::default(),
            answered: false,
            ended: Ends::default(),
            proxied_for: None,
            waits: Vec::new(),
            held: 0,
            told: None,
        }
    }

    fn is_late(&self, now: Timestamp) -> bool {
        self.told.is_none() && now.since(self.begun) > PATIENCE
    }

    /// The socket of one end.
    fn socket(&self, side: Side) -> Socket {
        let FlowKey { netns, source, destination } = self.key;
        let (local, remote) = match side {
            Side::A => (source, destination),
            Side::B => (destination, source),
        };
        let cookie = self.cookies.first().copied().unwrap_or(0);
        Socket { cookie, local: local.socket_addr(), remote: remote.socket_addr(), netns }
    }

    /// Whether what waits begins with a client's first words: a request that no answer came before.
    /// A server of HTTP/2 may send its SETTINGS first.
    fn is_from_its_start(&self) -> bool {
        let first = self.waits.first().filter(|chunk| chunk.from == self.server);
        if let Some(WireChunk { payload: Payload::Bytes(bytes), .. }) = first
            && bytes.first() != Some(&0)
        {
            return false;
        }
        let mut start = Vec::new();
        for chunk in self.waits.iter().filter(|chunk| chunk.from != self.server) {
            match &chunk.payload {
                Payload::Bytes(bytes) => start.extend_from_slice(bytes),
                Payload::Gap(_) => return false,
                Payload::End => {}
            }
            if start.len() >= SAMPLE_LEN {
                break;
            }
        }
        let is_later = start.starts_with(b"HTTP/1.") || start.first() == Some(&HTTP2_LENGTH);
        shape(&start) == Shape::Plain && !is_later
    }

    /// Tells one chunk, as seen from the observed end.
    fn tell(&mut self, chunk: WireChunk, out: &mut Vec<CaptureEvent<Bytes>>) {
        let Some(told) = &mut self.told else { return };
        let WireChunk { at, from, offset, payload, .. } = chunk;
        let session = told.session;
        let direction = sent_by(from);
        let direction = if told.side == Side::A { direction } else { direction.reverse() };
        // What comes before the first byte is a proxy's header: no part of HTTP.
        let base = *told.base.at(from).get_or_insert(offset);
        let offset = offset.saturating_sub(base).saturating_add(told.missed);
        let mut data = |lost, bytes| {
            out.push(CaptureEvent::Data { at, session, direction, offset, lost, bytes });
        };
        match payload {
            Payload::Bytes(bytes) => data(0, bytes),
            Payload::Gap(missing) => data(missing, Bytes::new()),
            Payload::End => {
                let direction = Some(direction);
                out.push(CaptureEvent::Close { at, session, direction });
            }
        }
    }
}

/// Which side of `key` sent a segment.
fn side_of(segment: FlowKey, key: FlowKey) -> Side {
    if segment.source == key.source { Side::A } else { Side::B }
}

#[cfg(test)]
mod tests;
