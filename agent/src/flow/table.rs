//! A worker's connections: bounded, each with its streams and its codec.
//!
//! In: captured events of the sessions that fall to this worker. Out: exchanges with the
//! connection that they were seen on. The table never grows beyond its cap: the connection that
//! was idle longest is finished to make room, and counted.

mod marks;

use std::{
    collections::{HashMap, HashSet, VecDeque},
    num::NonZeroUsize,
    sync::Arc,
};

use lru::LruCache;

use crate::{
    capture::{CaptureEvent, SessionKey, Skip},
    clock::{NANOS_PER_SEC, Timestamp},
    flow::{
        chunk::{Attribution, Chunk, Connection, Direction, Payload, Transport, UNKNOWN_LOSS},
        stream::Stream,
    },
    http::{
        body::Wanted,
        detect::Codec,
        message::{Exchange, Phase},
    },
    identity::process::Process,
    text::Cuts,
};

/// Processes named to a worker and not known to have ended. Ones beyond it are forgotten, oldest
/// first; their later connections name only the process id.
const MAX_PROCESSES: NonZeroUsize = NonZeroUsize::new(16 * 1024).unwrap();

/// A process that is older than the capture may hold connections that are, too. One in the middle
/// of a message moves bytes soon; one that was idle begins with a whole message, and needs no care.
const OLD_CONNECTION_NANOS: u64 = 10 * NANOS_PER_SEC;

/// How long an exchange lasts before it is told that it has begun, in nanoseconds. Sessions of
/// hours must not be unseen until they end; most streams of answers end within seconds.
pub const LASTING_NANOS: u64 = 10 * NANOS_PER_SEC;

/// Connections that may wait for a look at what lasts, for each that may be followed: those that
/// ended meanwhile wait, too.
const WATCHED_PER_CONNECTION: usize = 4;

/// Least that is worth skipping, in bytes: a record of TLS is at most as long, and of a shorter
/// rest some is here already.
const MIN_SKIP: u64 = 16 * 1024;

/// Bounds on a table.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections followed at once, at least 1.
    pub connections: usize,
    /// Nanoseconds without traffic after which a connection is given up.
    pub idle_nanos: u64,
    /// Octets that the codecs of all connections may hold. Beyond them, those that hold most lose
    /// what they hold.
    pub held_bytes: usize,
}

/// What a table has done.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counts {
    /// Connections seen.
    pub connections: u64,
    /// Exchanges handed out.
    pub exchanges: u64,
    /// Connections given up to make room.
    pub evicted: u64,
    /// Connections given up after being idle.
    pub idle: u64,
    /// Connections whose codec lost what it held, as all together held too much.
    pub relieved: u64,
    /// How often limits of single connections were hit, by those that have ended.
    pub limits_hit: u64,
    /// Contents of which more came of their coding than is looked at.
    pub contents_too_large: u64,
    /// Contents of which a byte made more than any honest one does.
    pub content_bombs: u64,
    /// Connections that were not looked at for exchanges that last, as too many waited for that.
    pub unwatched: u64,
    /// Losses within streams.
    pub gaps: u64,
    /// Bytes of bodies that nobody needed to see.
    pub skipped_bytes: u64,
    /// Bytes that were lost so, as far as their number is known.
    pub gap_bytes: u64,
}

impl Counts {
    /// Adds what an observation left of contents.
    pub const fn add_cuts(&mut self, cuts: &Cuts) {
        let Cuts { contents_too_large, content_bombs, .. } = cuts;
        self.contents_too_large = self.contents_too_large.saturating_add(*contents_too_large);
        self.content_bombs = self.content_bombs.saturating_add(*content_bombs);
    }

    /// Adds another table's counts.
    pub const fn add(&mut self, other: Self) {
        let Self { connections, exchanges, evicted, idle, gaps, gap_bytes, skipped_bytes, .. } =
            other;
        let Self { relieved, limits_hit, unwatched, contents_too_large, content_bombs, .. } = other;
        self.contents_too_large = self.contents_too_large.saturating_add(contents_too_large);
        self.content_bombs = self.content_bombs.saturating_add(content_bombs);
        self.relieved += relieved;
        self.limits_hit = self.limits_hit.saturating_add(limits_hit);
        self.unwatched += unwatched;
        self.skipped_bytes = self.skipped_bytes.saturating_add(skipped_bytes);
        self.connections += connections;
        self.exchanges += exchanges;
        self.evicted += evicted;
        self.idle += idle;
        self.gaps += gaps;
        self.gap_bytes = self.gap_bytes.saturating_add(gap_bytes);
    }
}

/// An exchange and where it was seen.
#[derive(Debug)]
pub struct Seen {
    /// The exchange.
    pub exchange: Exchange,
    /// The connection, as it was known when the exchange ended.
    pub connection: Arc<Connection>,
    /// When the exchange was complete, or given up.
    pub at: Timestamp,
}

/// The connections of one worker.
pub struct Table {
    limits: Limits,
    wanted: Wanted,
    flows: LruCache<SessionKey, Flow>,
    /// Sessions of each process, to end them with it.
    by_pid: HashMap<u32, HashSet<SessionKey>>,
    processes: LruCache<u32, Arc<Process>>,
    /// When the first event was captured.
    begun: Option<Timestamp>,
    /// Octets that the codecs hold.
    held: usize,
    /// Connections with exchanges under way, and when to look whether those last.
    watched: VecDeque<(Timestamp, SessionKey)>,
    /// Exchanges on their way out; empty between calls.
    exchanges: Vec<Exchange>,
    /// What was done so far.
    pub counts: Counts,
}

struct Flow {
    connection: Arc<Connection>,
    inbound: Stream,
    outbound: Stream,
    codec: Codec,
    /// Octets that the codec holds.
    held: usize,
    /// Whether it waits for a look at what lasts.
    is_watched: bool,
    last_seen: Timestamp,
}

impl Table {
    /// An empty table.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        let cap = NonZeroUsize::new(limits.connections).unwrap_or(NonZeroUsize::MIN);
        Self {
            limits,
            wanted: Wanted::default(),
            flows: LruCache::new(cap),
            by_pid: HashMap::new(),
            processes: LruCache::new(MAX_PROCESSES),
            begun: None,
            held: 0,
            watched: VecDeque::new(),
            exchanges: Vec::new(),
            counts: Counts::default(),
        }
    }

    /// As above; reads of bodies what is `wanted`.
    #[must_use]
    pub fn reading(self, wanted: Wanted) -> Self {
        Self { wanted, ..self }
    }

    /// Takes one captured event; appends the exchanges that it completed to `out`.
    pub fn accept(&mut self, event: &CaptureEvent<&[u8]>, out: &mut Vec<Seen>) {
        match *event {
            CaptureEvent::Process(ref process) => {
                self.processes.put(process.pid, Arc::clone(process));
            }
            CaptureEvent::Data { at, session, direction, offset, lost, bytes } => {
                self.make_room(at, &session, out);
                let flow = self.flow(session, at);
                for payload in flow.stream(direction).push(offset, lost, bytes) {
                    self.feed(session, Chunk { at, direction, payload }, out);
                }
            }
            CaptureEvent::Skipped { at, session, direction, offset, bytes } => {
                self.make_room(at, &session, out);
                self.skipped(at, (session, direction), (offset, bytes), out);
            }
            CaptureEvent::Socket { at, session, socket, attribution, peer } => {
                self.make_room(at, &session, out);
                let peer_attribution = peer.map(|holder| holder.attribution);
                let peer = peer.map(|holder| self.process(holder.pid));
                // Who reads what passes at the socket says itself what of it was missed.
                let told = attribution != Attribution::TlsCall;
                let flow = self.flow_from(session, at, told);
                let connection = Arc::make_mut(&mut flow.connection);
                connection.socket = Some(socket);
                connection.attribution = attribution;
                (connection.peer, connection.peer_attribution) = (peer, peer_attribution);
            }
            CaptureEvent::Plain { at, session } => {
                self.make_room(at, &session, out);
                let flow = self.flow(session, at);
                Arc::make_mut(&mut flow.connection).transport = Transport::Plain;
            }
            CaptureEvent::Proxied { at, session, client } => {
                self.make_room(at, &session, out);
                let flow = self.flow(session, at);
                Arc::make_mut(&mut flow.connection).proxied_for = Some(client);
            }
            CaptureEvent::Handshake { at, session, ref handshake } => {
                self.make_room(at, &session, out);
                let flow = self.flow(session, at);
                Arc::make_mut(&mut flow.connection).handshake = Some(Arc::clone(handshake));
            }
            CaptureEvent::Close { at, session, direction: Some(direction) } => {
                self.feed(session, Chunk { at, direction, payload: Payload::End }, out);
            }
            CaptureEvent::Close { at, session, direction: None } => self.finish(session, at, out),
            CaptureEvent::Exit { at, pid } => self.exit(pid, at, out),
            CaptureEvent::Tick { at } => {
                self.tell_lasting(at, out);
                self.expire(at, out);
            }
        }
    }

    /// Takes `bytes` from `offset` on that were not told because they were not asked for. What
    /// should have come before them is lost.
    fn skipped(
        &mut self,
        at: Timestamp,
        (session, direction): (SessionKey, Direction),
        (offset, bytes): (u64, u64),
        out: &mut Vec<Seen>,
    ) {
        let stream = self.flow(session, at).stream(direction);
        let (before, new) = stream.skip(offset, bytes);
        if before > 0 {
            self.feed(session, Chunk { at, direction, payload: Payload::Gap(before) }, out);
        }
        if new > 0 {
            self.step(session, at, out, |codec, counts, exchanges| {
                counts.skipped_bytes = counts.skipped_bytes.saturating_add(new);
                codec.skipped(direction, at, new, exchanges);
            });
        }
    }

    /// What need not be told of `session` from here on, if it is enough to be worth it.
    #[must_use]
    pub fn skippable(&mut self, session: SessionKey, direction: Direction) -> Option<Skip> {
        let flow = self.flows.peek_mut(&session)?;
        let bytes = flow.codec.skippable(direction);
        let from = flow.stream(direction).next_offset();
        let until = from.saturating_add(bytes);
        (bytes >= MIN_SKIP).then_some(Skip { session, direction, from, until })
    }

    /// Finishes every connection: no more events will come.
    pub fn finish_all(&mut self, at: Timestamp, out: &mut Vec<Seen>) {
        while let Some((session, flow)) = self.flows.pop_lru() {
            self.abandon(session, flow, at, out);
        }
    }

    /// Connections being followed.
    #[must_use]
    pub fn len(&self) -> usize {
        self.flows.len()
    }

    /// Whether no connection is being followed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.flows.is_empty()
    }

    /// The flow of a session, made if it is new, and marked as the one used last.
    fn flow(&mut self, session: SessionKey, at: Timestamp) -> &mut Flow {
        self.flow_from(session, at, false)
    }

    /// The same; `told` is whether losses at its start are told, and need not be suspected.
    fn flow_from(&mut self, session: SessionKey, at: Timestamp, told: bool) -> &mut Flow {
        let Self { flows, by_pid, processes, counts, begun, wanted, .. } = self;
        let begun = *begun.get_or_insert(at);
        let flow = flows.get_or_insert_mut(session, || {
            counts.connections += 1;
            by_pid.entry(session.pid).or_default().insert(session);
            let process = named(processes, session.pid);
            let older = process.started.is_none_or(|started| started < begun);
            let joined_late = !told && older && at.since(begun) < OLD_CONNECTION_NANOS;
            let connection = Connection::new(connection_id(session), process);
            Flow::new(connection, wanted.clone(), joined_late, at)
        });
        flow.last_seen = at;
        flow
    }

    fn process(&mut self, pid: u32) -> Arc<Process> {
        named(&mut self.processes, pid)
    }

    /// Finishes the connection that was idle longest, if `session` is new and the table is full.
    fn make_room(&mut self, at: Timestamp, session: &SessionKey, out: &mut Vec<Seen>) {
        if self.flows.len() >= self.limits.connections
            && !self.flows.contains(session)
            && let Some((oldest, flow)) = self.flows.pop_lru()
        {
            self.counts.evicted += 1;
            self.abandon(oldest, flow, at, out);
        }
    }

    fn feed(&mut self, session: SessionKey, chunk: Chunk<&[u8]>, out: &mut Vec<Seen>) {
        let Chunk { at, direction, payload } = chunk;
        self.step(session, at, out, |codec, counts, exchanges| match payload {
            Payload::Bytes(bytes) => codec.feed(direction, at, bytes, exchanges),
            Payload::Gap(len) => {
                counts.gaps += 1;
                // Neither what stands for a loss of unknown length, nor what a recording claims.
                let known = len.checked_rem(UNKNOWN_LOSS).unwrap_or(0);
                counts.gap_bytes = counts.gap_bytes.saturating_add(known);
                codec.gap(direction, at, len, exchanges);
            }
            Payload::End => codec.end(direction, at, exchanges),
        });
    }

    /// Lets a connection's codec take a step, and hands out what came of it.
    fn step(
        &mut self,
        session: SessionKey,
        at: Timestamp,
        out: &mut Vec<Seen>,
        step: impl FnOnce(&mut Codec, &mut Counts, &mut Vec<Exchange>),
    ) {
        let Self { flows, exchanges, counts, held, watched, limits, .. } = self;
        let Some(flow) = flows.peek_mut(&session) else { return };
        step(&mut flow.codec, counts, exchanges);
        counts.exchanges += exchanges.iter().filter(|it| it.phase == Phase::Ended).count() as u64;
        out.extend(exchanges.drain(..).map(|exchange| flow.seen(exchange, at)));
        flow.account(held);
        if !flow.is_watched && flow.codec.is_under_way() {
            flow.is_watched =
                watched.len() < limits.connections.saturating_mul(WATCHED_PER_CONNECTION);
            if flow.is_watched {
                watched.push_back((at.plus(LASTING_NANOS), session));
            } else {
                counts.unwatched += 1;
            }
        }
        if self.held > self.limits.held_bytes {
            self.relieve(at, out);
        }
    }

    /// Tells of exchanges that have lasted long enough by now.
    fn tell_lasting(&mut self, now: Timestamp, out: &mut Vec<Seen>) {
        // As many as there are: those that go on waiting are appended.
        for _ in 0..self.watched.len() {
            if self.watched.front().is_none_or(|(due, _)| *due > now) {
                break;
            }
            let Some((_, session)) = self.watched.pop_front() else { break };
            if let Some(flow) = self.flows.peek_mut(&session) {
                flow.is_watched = false;
            }
            self.step(session, now, out, |codec, _, exchanges| {
                codec.tell_lasting(now, LASTING_NANOS, exchanges);
            });
        }
    }

    /// Lets the codecs that hold most give it up, until a quarter of the bound is free: so that it
    /// is not done again for the next octet.
    fn relieve(&mut self, at: Timestamp, out: &mut Vec<Seen>) {
        let goal = self.limits.held_bytes / 4 * 3;
        let mut holders: Vec<_> =
            self.flows.iter().map(|(key, flow)| (flow.held, *key)).filter(|it| it.0 > 0).collect();
        // Of equal ones, the one that was idle longest.
        holders.reverse();
        holders.sort_by_key(|(held, _)| std::cmp::Reverse(*held));
        for (_, session) in holders {
            if self.held <= goal {
                break;
            }
            self.counts.relieved += 1;
            let Self { flows, exchanges, counts, held, .. } = &mut *self;
            let Some(flow) = flows.peek_mut(&session) else { continue };
            flow.codec.give_up(at, exchanges);
            counts.exchanges += exchanges.len() as u64;
            out.extend(exchanges.drain(..).map(|exchange| flow.seen(exchange, at)));
            flow.account(held);
        }
    }

    fn finish(&mut self, session: SessionKey, at: Timestamp, out: &mut Vec<Seen>) {
        if let Some(flow) = self.flows.pop(&session) {
            self.conclude(session, flow, at, out);
        }
    }

    fn exit(&mut self, pid: u32, at: Timestamp, out: &mut Vec<Seen>) {
        for session in self.by_pid.remove(&pid).unwrap_or_default() {
            self.finish(session, at, out);
        }
        self.processes.pop(&pid);
    }

    fn expire(&mut self, now: Timestamp, out: &mut Vec<Seen>) {
        while let Some((&session, flow)) = self.flows.peek_lru() {
            if now.since(flow.last_seen) < self.limits.idle_nanos {
                break;
            }
            self.counts.idle += 1;
            if let Some(flow) = self.flows.pop(&session) {
                self.abandon(session, flow, now, out);
            }
        }
    }

    /// As [`Self::conclude`], of a connection that goes on: also a tunnel is unfinished.
    fn abandon(&mut self, session: SessionKey, mut flow: Flow, at: Timestamp, out: &mut Vec<Seen>) {
        flow.codec.give_up(at, &mut self.exchanges);
        self.conclude(session, flow, at, out);
    }

    /// Reports what is unfinished on a flow that was taken out of the table.
    fn conclude(
        &mut self,
        session: SessionKey,
        mut flow: Flow,
        at: Timestamp,
        out: &mut Vec<Seen>,
    ) {
        if let Some(sessions) = self.by_pid.get_mut(&session.pid) {
            sessions.remove(&session);
            if sessions.is_empty() {
                self.by_pid.remove(&session.pid);
            }
        }
        flow.codec.finish(at, &mut self.exchanges);
        flow.account(&mut self.held);
        self.counts.limits_hit = self.counts.limits_hit.saturating_add(flow.codec.limits_hit());
        self.counts.exchanges += self.exchanges.len() as u64;
        out.extend(self.exchanges.drain(..).map(|exchange| flow.seen(exchange, at)));
    }
}

impl Flow {
    /// A connection that is new, or of which earlier bytes may have been missed.
    fn new(connection: Connection, wanted: Wanted, joined_late: bool, at: Timestamp) -> Self {
        let mut codec = Codec::with(wanted);
        if joined_late {
            // Before any byte and in both directions at once, so that no answer seems lost.
            for direction in [Direction::Inbound, Direction::Outbound] {
                codec.gap(direction, at, 1, &mut Vec::new());
            }
        }
        Self {
            connection: Arc::new(connection),
            inbound: Stream::new(),
            outbound: Stream::new(),
            codec,
            held: 0,
            is_watched: false,
            last_seen: at,
        }
    }

    /// Brings `total`, what all codecs hold, up to date.
    fn account(&mut self, total: &mut usize) {
        let held = self.codec.buffered();
        *total = total.saturating_sub(self.held).saturating_add(held);
        self.held = held;
    }

    fn seen(&self, exchange: Exchange, at: Timestamp) -> Seen {
        Seen { exchange, connection: Arc::clone(&self.connection), at }
    }

    const fn stream(&mut self, direction: Direction) -> &mut Stream {
        match direction {
            Direction::Inbound => &mut self.inbound,
            Direction::Outbound => &mut self.outbound,
        }
    }
}

/// The process `pid` as it was named, or by its id alone.
fn named(processes: &mut LruCache<u32, Arc<Process>>, pid: u32) -> Arc<Process> {
    processes.get(&pid).cloned().unwrap_or_else(|| Arc::new(Process::unknown(pid)))
}

/// A name for the connection that a replay gives again: mixed from the session's parts, as the
/// parts themselves are addresses within a process.
fn connection_id(SessionKey { pid, object, generation }: SessionKey) -> u64 {
    // The finalizer of MurmurHash3, a bijection of 64 bits.
    let mix = |mut x: u64| {
        x = (x ^ (x >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        x = (x ^ (x >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        x ^ (x >> 33)
    };
    mix(mix(object ^ mix(pid.into())) ^ generation)
}

#[cfg(test)]
mod tests;
