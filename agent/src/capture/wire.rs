//! The wire path: segments and secrets become plaintext of connections with known ends.
//!
//! In: segments, secrets and owners of sockets, in ring order. Out: the same [`CaptureEvent`]s
//! that the call path yields, and decisions for the kernel half on sockets that are of no use.
//!
//! - `flow` is one connection, `waiting` lists those that no secret has opened yet;
//! - `shown` reads a secret's record, `attribution` finds the processes at both ends;
//! - `telling` turns what an opened connection yields into events;
//! - `unwanted` says what nobody reads, to be left unopened and, if it is long, uncopied;
//! - `mirror` knows which flows are one connection, `nested` finds sessions within sessions,
//!   `plain` tells of HTTP without TLS;
//! - `resumption` remembers clients' certificates for the sessions that they resume.
//!
//! Opening happens on the drain thread: secrets must not be recorded and plaintext must, so it
//! comes before the recorder. An AEAD opens gigabytes a second; the exchanges are rebuilt elsewhere.
//!
//! Bounds: connections by the flow table, one more within each, and once that has let go of them by
//! [`waiting::MAX_WAITING`]; sockets by [`flow::MAX_COOKIES`] each; ciphertext that waits by
//! [`MAX_HELD`]; ends by [`attribution::MAX_OWNERS`].

mod attribution;
mod flow;
mod mirror;
mod nested;
mod plain;
mod resumption;
mod shown;
mod telling;
#[cfg(test)]
mod tests;
mod unwanted;
mod waiting;

use std::collections::HashMap;

use bytes::Bytes;
use scopewatch_common::{Capture, SecretKind};

pub use self::unwanted::Unwanted;

use crate::{
    capture::{
        CaptureEvent,
        wire::{
            attribution::{Owners, observe},
            flow::{Ends, Flow, MAX_COOKIES, sent_by},
            mirror::Sessions,
            nested::Carried,
            plain::Plain,
            resumption::Clients,
            shown::shown,
            waiting::{MAX_WAITING, Waiting},
        },
    },
    clock::{NANOS_PER_SEC, Timestamp},
    coverage::{Fresh, Reason},
    flow::chunk::{Payload, Socket},
    tls::{
        output::{Output, State},
        pool::SecretPool,
        secret::{Origin, SecretHit},
    },
    wire::{
        FlowId, Side, WireChunk,
        classify::Protocol,
        flow::Flow as TcpFlow,
        segment::{FlowKey, Segment},
        table::{FlowTable, Limits, Passed},
    },
};

/// Ciphertext that all connections together may hold while they wait, in bytes. One alone may hold
/// [`tls::record::MAX_HELD`](crate::tls::record::MAX_HELD) each way.
pub const MAX_HELD: usize = 64 << 20;

/// How old a hole must be for its connection's acknowledgements to be asked for: segments that only
/// overtook each other have closed theirs by then.
const LATE: u64 = NANOS_PER_SEC / 10;

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
    /// Connections that were given up before their time, as too many waited or held too much;
    /// also counted as uncovered.
    pub crowded_out: u64,
    /// Sockets that were forgotten, as their connection was seen at too many.
    pub sockets_evicted: u64,
    /// Holders of sockets that were forgotten to make room.
    pub owners_evicted: u64,
    /// Sessions whose client's certificate was forgotten to make room.
    pub sessions_evicted: u64,
    /// Flows that were another one's connection, seen at another place of the host.
    pub mirrored: u64,
    /// Connections without TLS that were told of.
    pub plain: u64,
}

/// The wire path of the host.
pub struct Wire {
    table: FlowTable,
    pool: SecretPool,
    flows: HashMap<FlowId, Flow>,
    waiting: Waiting,
    /// Ciphertext that all flows hold.
    held: usize,
    owners: Owners,
    sessions: Sessions,
    clients: Clients,
    plain: Plain,
    /// Flows whose bare acknowledgements the kernel half tells of, with their sockets.
    acks: HashMap<FlowId, Vec<u64>>,
    /// Sockets of connections that are open: what the call path tells of them is told twice.
    open_sockets: HashMap<u64, FlowId>,
    decisions: Vec<(u64, Capture)>,
    unwanted: Vec<Unwanted>,
    uncovered: Fresh,
    /// What was done so far.
    pub counts: Counts,
}

/// A segment as the ring told of it.
pub struct Captured<'a> {
    /// The segment.
    pub segment: Segment<'a>,
    /// Whether a socket of this host received it; else one sent it.
    pub received: bool,
    /// Lower half of the id of that socket's cgroup, 0 if unknown.
    pub cgroup: u32,
}

impl Wire {
    /// A wire path that follows at most `connections`.
    #[must_use]
    pub fn new(connections: usize) -> Self {
        Self {
            table: FlowTable::new(Limits { flows: connections, ..Limits::default() }),
            pool: SecretPool::new(),
            flows: HashMap::new(),
            waiting: Waiting::default(),
            held: 0,
            owners: Owners::new(),
            sessions: Sessions::new(),
            clients: Clients::new(),
            plain: Plain::default(),
            acks: HashMap::new(),
            open_sockets: HashMap::new(),
            decisions: Vec::new(),
            unwanted: Vec::new(),
            uncovered: Fresh::default(),
            counts: Counts::default(),
        }
    }

    /// The same, that tells of HTTP without TLS on `ports`.
    #[must_use]
    pub fn listing(mut self, ports: &[u16]) -> Self {
        self.plain = Plain::on(ports);
        self
    }

    /// Takes a segment; appends what it completed to `out`.
    pub fn segment(&mut self, captured: &Captured<'_>, out: &mut Vec<CaptureEvent<Bytes>>) {
        let segment = &captured.segment;
        if let Some(passed) = self.table.pass(segment) {
            return self.pass(passed, captured, out);
        }
        let mut chunks = Vec::new();
        let seen = self.table.push(segment, &mut chunks);
        if let Some(seen) = seen {
            match seen.protocol {
                Protocol::Tls => self.note(seen.flow, captured),
                Protocol::Plain if self.plain.lists(segment.key) => {
                    if let Some(flow) = self.table.flow(seen.flow).filter(|flow| !flow.is_closed())
                    {
                        self.plain.note(flow, captured);
                    }
                }
                Protocol::Ignored | Protocol::Plain => {
                    self.decisions.push((segment.cookie, Capture::Ignored));
                }
                Protocol::Undecided => {}
            }
        }
        self.take(chunks, out);
        self.make_room(segment.at, out);
    }

    /// Takes a payload that is the very next of its stream.
    fn pass(
        &mut self,
        Passed { flow: id, from, offset: _ }: Passed,
        captured: &Captured<'_>,
        out: &mut Vec<CaptureEvent<Bytes>>,
    ) {
        let Some(flow) = self.flows.get_mut(&id) else { return };
        let segment = &captured.segment;
        flow.tls.feed(sent_by(from), segment.at, segment.payload);
        *flow.seen_at.at(from) = (segment.cookie, captured.received);
        // Nearly always it was seen at this socket before.
        if !flow.cookies.contains(&segment.cookie) {
            self.note(id, captured);
        }
        self.advance(id, segment.at, out);
        self.make_room(segment.at, out);
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
        if let Some(shown) = shown(kind, parts.0, parts.1) {
            self.learn(SecretHit { at, origin, shown }, out);
        }
    }

    fn learn(&mut self, hit: SecretHit, out: &mut Vec<CaptureEvent<Bytes>>) {
        let at = hit.at;
        let waiting = self.waiting.for_secret(&hit.shown);
        self.pool.insert(hit);
        for id in waiting {
            self.advance(id, at, out);
        }
    }

    /// Notes whose a socket is; returns what is known better by that of connections that were told
    /// of. A client that sends its first request in one segment with the end of its handshake is
    /// seen at its socket only after that segment was.
    pub fn owner(&mut self, pid: u32, socket: &Socket) -> Vec<CaptureEvent<Bytes>> {
        self.counts.owners_evicted += u64::from(self.owners.note(pid, socket));
        let (source, destination) = (socket.local.into(), socket.remote.into());
        let id = self.table.find(FlowKey { netns: socket.netns, source, destination });
        let Self { flows, pool, owners, .. } = self;
        let ids = id.into_iter().flat_map(|id| [id, nested::within(id)]);
        ids.filter_map(|id| flows.get_mut(&id)?.know_better(pool, owners)).collect()
    }

    /// Ends of connections without TLS that nobody was seen at: the next tick tells of them.
    pub fn strangers(&mut self, now: Timestamp) -> Vec<Socket> {
        self.plain.strangers(now, &mut self.owners)
    }

    /// Gives up what has waited too long.
    pub fn tick(&mut self, now: Timestamp, out: &mut Vec<CaptureEvent<Bytes>>) {
        let mut chunks = Vec::new();
        self.table.expire(now, &mut chunks);
        self.take(chunks, out);
        self.plain.tick(now, &mut self.owners, out);
        self.ask_for_acks(now);
        self.pool.expire(now);
        while let Some(id) = self.waiting.stale(now) {
            self.counts.uncovered += 1;
            // Who joined late has seen no hello: no secret can be found for it.
            let greeted = self.flows.get(&id).is_some_and(|flow| flow.tls.client().is_some());
            let reason = if greeted { Reason::NoSecret } else { Reason::NoHandshake };
            self.give_up(id, reason, now, out);
        }
    }

    /// Connections that were given up since the last call.
    pub fn uncovered(&mut self) -> Fresh {
        std::mem::take(&mut self.uncovered)
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
        let Some(tcp) = self.table.flow(id).filter(|flow| !flow.is_closed()) else { return };
        let key = tcp.key();
        let segment = &captured.segment;
        let flow = self.flows.entry(id).or_insert_with(|| Flow {
            proxied_for: tcp.proxied_for(),
            ..Flow::new(key, segment.at)
        });
        let from_a = segment.key.source == key.source;
        let side = if from_a == captured.received { Side::B } else { Side::A };
        *flow.local.at(side) = true;
        *flow.cgroups.at(side) = captured.cgroup;
        let from = if from_a { Side::A } else { Side::B };
        *flow.seen_at.at(from) = (segment.cookie, captured.received);
        if flow.cookies.contains(&segment.cookie) {
            return;
        }
        if flow.cookies.len() >= MAX_COOKIES {
            self.counts.sockets_evicted += 1;
            let oldest = flow.cookies.remove(0);
            self.open_sockets.remove(&oldest);
        }
        flow.cookies.push(segment.cookie);
        if flow.is_open() {
            self.open_sockets.insert(segment.cookie, id);
        }
    }

    fn take(&mut self, chunks: Vec<WireChunk>, out: &mut Vec<CaptureEvent<Bytes>>) {
        for chunk in chunks {
            if self.plain.follows(chunk.flow) {
                self.plain.take(chunk, &mut self.owners, out);
                continue;
            }
            let WireChunk { at, flow: id, from, offset: _, payload } = chunk;
            let Some(flow) = self.flows.get_mut(&id) else { continue };
            let direction = sent_by(from);
            match &payload {
                Payload::Bytes(bytes) => flow.tls.feed(direction, at, bytes),
                Payload::Gap(missing) => flow.tls.gap(direction, at, *missing),
                Payload::End => flow.tls.end(direction, at),
            }
            self.advance(id, at, out);
        }
        for (id, cookies) in self.plain.mirrors() {
            self.leave(id, cookies);
        }
        self.counts.plain = self.plain.told;
    }

    /// Opens what can be opened and tells what came of it.
    fn advance(&mut self, id: FlowId, now: Timestamp, out: &mut Vec<CaptureEvent<Bytes>>) {
        let Some(mut flow) = self.flows.get_mut(&id) else { return };
        let was_open = flow.is_open();
        flow.tls.resolve(&self.pool);
        // From the first record that opens, not from the first data: what a process writes may be
        // known by its call before it is on its way, as small segments wait for others.
        if flow.is_open() && !was_open {
            if !self.claim(id) {
                return;
            }
            let Some(claimed) = self.flows.get_mut(&id) else { return };
            flow = claimed;
        }
        let (mut last, mut carried) = (flow.begun, Vec::new());
        while let Some(output) = flow.tls.next_output() {
            if flow.tunnel.is_some() {
                carried.extend(Carried::by(&output));
            }
            if flow.observed.is_none()
                && matches!(output, Output::Data { .. })
                && let Some(observed) = observe(id, flow, &self.pool, &mut self.owners)
            {
                self.counts.opened += 1;
                flow.observed = Some(observed);
                out.push(flow.socket_event(observed));
                out.extend(flow.proxied_event(observed));
                out.push(flow.handshake_event(observed, now));
            }
            let Some(output) = flow.recall(output, &mut self.clients, now) else { continue };
            last = flow.tell(output, now, out).unwrap_or(last);
        }
        if !carried.is_empty() {
            self.descend(id, carried, out);
            let Some(carrier) = self.flows.get_mut(&id) else { return };
            flow = carrier;
        }
        self.held = self.held.saturating_sub(flow.held);
        flow.held = flow.tls.held();
        self.held = self.held.saturating_add(flow.held);
        self.counts.sessions_evicted = self.clients.evicted;
        let before = flow.wait.take();
        // Who joined late may have missed the client's hello: nothing will open what is held then.
        let headless = flow.tls.client().is_none()
            && flow.held > 0
            && self.table.flow(id).is_none_or(TcpFlow::joined_late);
        match flow.tls.state() {
            state
                if state == State::WaitingForSecret || (state == State::Handshake && headless) =>
            {
                let indexes = flow.tls.needs().flat_map(|need| need.indexes).collect();
                flow.wait = Some(self.waiting.list(id, before, now, indexes));
            }
            state => {
                self.waiting.strike(id, before);
                self.conclude(id, state, last, out);
            }
        }
    }

    /// Asks for the bare acknowledgements of connections with a hole, and for no others: what the
    /// receiver has acknowledged was lost on its way to the agent, and need not be waited for.
    fn ask_for_acks(&mut self, now: Timestamp) {
        let Self { table, flows, plain, acks, decisions, .. } = self;
        let waits = |id: &FlowId| {
            let stalled = table.flow(*id).and_then(TcpFlow::stalled);
            stalled.is_some_and(|since| now.since(since) > LATE)
        };
        acks.retain(|id, cookies| {
            let (is_plain, waits) = (plain.follows(*id), waits(id));
            let with = if is_plain { Capture::Plain } else { Capture::Tls };
            if !waits && (is_plain || flows.contains_key(id)) {
                decisions.extend(cookies.drain(..).map(|cookie| (cookie, with)));
            }
            waits
        });
        let tls = flows.iter().map(|(id, flow)| (id, &flow.cookies, Capture::TlsAcks));
        let plain = plain.sockets().map(|(id, cookies)| (id, cookies, Capture::PlainAcks));
        for (id, cookies, with) in tls.chain(plain) {
            if waits(id) && !acks.contains_key(id) {
                decisions.extend(cookies.iter().map(|&cookie| (cookie, with)));
                acks.insert(*id, cookies.clone());
            }
        }
    }

    /// Parts with a connection that is over.
    fn conclude(
        &mut self,
        id: FlowId,
        state: State,
        last: Timestamp,
        out: &mut Vec<CaptureEvent<Bytes>>,
    ) {
        match state {
            State::Failed(reason) => {
                tracing::debug!(flow = id.0, %reason, "not opened");
                self.counts.failed += 1;
                self.give_up(id, reason.into(), last, out);
            }
            State::Handshake | State::Open
                if self.flows.get(&id).is_some_and(|flow| flow.live == 0) =>
            {
                self.forget(id, last, out);
            }
            State::Handshake | State::Open | State::WaitingForSecret => {}
        }
    }

    /// Gives up the connections that have waited longest, as long as too many wait or they hold
    /// too much.
    fn make_room(&mut self, now: Timestamp, out: &mut Vec<CaptureEvent<Bytes>>) {
        while (self.waiting.len() > MAX_WAITING || self.held > MAX_HELD)
            && let Some(id) = self.waiting.longest()
        {
            self.counts.uncovered += 1;
            self.counts.crowded_out += 1;
            self.give_up(id, Reason::CrowdedOut, now, out);
        }
    }

    fn give_up(
        &mut self,
        id: FlowId,
        reason: Reason,
        at: Timestamp,
        out: &mut Vec<CaptureEvent<Bytes>>,
    ) {
        // One that only passes, within another, has no end here.
        if let Some(flow) = self.flows.get(&id).filter(|flow| flow.local != Ends::default()) {
            self.uncovered.push(reason, || flow.uncovered(reason, at, &mut self.owners));
            self.decisions.extend(flow.cookies.iter().map(|&cookie| (cookie, Capture::Ignored)));
        }
        self.forget(id, at, out);
    }

    fn forget(&mut self, id: FlowId, at: Timestamp, out: &mut Vec<CaptureEvent<Bytes>>) {
        let Some(mut flow) = self.flows.remove(&id) else { return };
        self.waiting.strike(id, flow.wait.take());
        self.held = self.held.saturating_sub(flow.held);
        self.close_tunnel(&flow);
        let places = flow.places().filter(|place| !place.carries);
        places.for_each(|place| self.owners.forget(place.key));
        for cookie in &flow.cookies {
            // A listener's cookie may stand for another connection by now.
            if self.open_sockets.get(cookie) == Some(&id) {
                self.open_sockets.remove(cookie);
            }
        }
        if let Some(observed) = flow.observed {
            out.push(CaptureEvent::Close { at, session: observed.session, direction: None });
        }
        self.end_nested(id, at, out);
    }
}
