//! A worker's connections: bounded, each with its streams and its codec.
//!
//! In: captured events of the sessions that fall to this worker. Out: exchanges with the
//! connection that they were seen on. The table never grows beyond its cap: the connection that
//! was idle longest is finished to make room, and counted.

use std::{
    collections::{HashMap, HashSet},
    num::NonZeroUsize,
    sync::Arc,
};

use lru::LruCache;

use crate::{
    capture::{CaptureEvent, SessionKey},
    clock::{NANOS_PER_SEC, Timestamp},
    flow::{
        chunk::{Chunk, Connection, Direction, Payload, Transport},
        stream::Stream,
    },
    http::{detect::Codec, message::Exchange},
    identity::process::Process,
};

/// Processes named to a worker and not known to have ended. Ones beyond it are forgotten, oldest
/// first; their later connections name only the process id.
const MAX_PROCESSES: NonZeroUsize = NonZeroUsize::new(16 * 1024).unwrap();

/// A process that is older than the capture may hold connections that are, too. One in the middle
/// of a message moves bytes soon; one that was idle begins with a whole message, and needs no care.
const OLD_CONNECTION_NANOS: u64 = 10 * NANOS_PER_SEC;

/// Bounds on a table.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections followed at once, at least 1.
    pub connections: usize,
    /// Nanoseconds without traffic after which a connection is given up.
    pub idle_nanos: u64,
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
    /// Losses within streams.
    pub gaps: u64,
    /// Bytes that were lost so.
    pub gap_bytes: u64,
}

impl Counts {
    /// Adds another table's counts.
    pub const fn add(&mut self, other: Self) {
        let Self { connections, exchanges, evicted, idle, gaps, gap_bytes } = other;
        self.connections += connections;
        self.exchanges += exchanges;
        self.evicted += evicted;
        self.idle += idle;
        self.gaps += gaps;
        self.gap_bytes += gap_bytes;
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
    flows: LruCache<SessionKey, Flow>,
    /// Sessions of each process, to end them with it.
    by_pid: HashMap<u32, HashSet<SessionKey>>,
    processes: LruCache<u32, Arc<Process>>,
    /// When the first event was captured.
    begun: Option<Timestamp>,
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
    last_seen: Timestamp,
}

impl Table {
    /// An empty table.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        let cap = NonZeroUsize::new(limits.connections).unwrap_or(NonZeroUsize::MIN);
        Self {
            limits,
            flows: LruCache::new(cap),
            by_pid: HashMap::new(),
            processes: LruCache::new(MAX_PROCESSES),
            begun: None,
            exchanges: Vec::new(),
            counts: Counts::default(),
        }
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
            CaptureEvent::Socket { at, session, socket, peer } => {
                self.make_room(at, &session, out);
                let peer = peer.map(|pid| self.process(pid));
                let flow = self.flow(session, at);
                let known = (*flow.connection).clone();
                flow.connection = Arc::new(Connection { socket: Some(socket), peer, ..known });
            }
            CaptureEvent::Plain { at, session } => {
                self.make_room(at, &session, out);
                let flow = self.flow(session, at);
                Arc::make_mut(&mut flow.connection).transport = Transport::Plain;
            }
            CaptureEvent::Close { at, session, direction: Some(direction) } => {
                self.feed(session, Chunk { at, direction, payload: Payload::End }, out);
            }
            CaptureEvent::Close { at, session, direction: None } => self.finish(session, at, out),
            CaptureEvent::Exit { at, pid } => self.exit(pid, at, out),
            CaptureEvent::Tick { at } => self.expire(at, out),
        }
    }

    /// Finishes every connection: no more events will come.
    pub fn finish_all(&mut self, at: Timestamp, out: &mut Vec<Seen>) {
        while let Some((session, flow)) = self.flows.pop_lru() {
            self.conclude(session, flow, at, out);
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
        let Self { flows, by_pid, processes, counts, begun, .. } = self;
        let begun = *begun.get_or_insert(at);
        let flow = flows.get_or_insert_mut(session, || {
            counts.connections += 1;
            by_pid.entry(session.pid).or_default().insert(session);
            let process = named(processes, session.pid);
            let older = process.started.is_none_or(|started| started < begun);
            let joined_late = older && at.since(begun) < OLD_CONNECTION_NANOS;
            let connection = Connection::new(connection_id(session), process);
            Flow::new(connection, joined_late, at)
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
            self.conclude(oldest, flow, at, out);
        }
    }

    fn feed(&mut self, session: SessionKey, chunk: Chunk<&[u8]>, out: &mut Vec<Seen>) {
        let Self { flows, exchanges, counts, .. } = self;
        let Some(flow) = flows.peek_mut(&session) else { return };
        let Chunk { at, direction, payload } = chunk;
        match payload {
            Payload::Bytes(bytes) => flow.codec.feed(direction, at, bytes, exchanges),
            Payload::Gap(len) => {
                counts.gaps += 1;
                counts.gap_bytes += len;
                flow.codec.gap(direction, at, len, exchanges);
            }
            Payload::End => flow.codec.end(direction, at, exchanges),
        }
        counts.exchanges += exchanges.len() as u64;
        out.extend(exchanges.drain(..).map(|exchange| flow.seen(exchange, at)));
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
            self.finish(session, now, out);
        }
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
        self.counts.exchanges += self.exchanges.len() as u64;
        out.extend(self.exchanges.drain(..).map(|exchange| flow.seen(exchange, at)));
    }
}

impl Flow {
    /// A connection that is new, or of which earlier bytes may have been missed.
    fn new(connection: Connection, joined_late: bool, at: Timestamp) -> Self {
        let mut codec = Codec::new();
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
            last_seen: at,
        }
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
mod tests {
    use super::*;
    use crate::flow::chunk::Socket;

    const LIMITS: Limits = Limits { connections: 4, idle_nanos: 60 * NANOS_PER_SEC };
    const REQUEST: &str = "GET /a HTTP/1.1\r\nHost: h\r\n\r\n";
    const RESPONSE: &str = "HTTP/1.1 204 No Content\r\n\r\n";

    fn session(pid: u32, object: u64) -> SessionKey {
        SessionKey { pid, object, generation: 1 }
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp(seconds * NANOS_PER_SEC)
    }

    fn data(
        seconds: u64,
        session: SessionKey,
        direction: Direction,
        offset: usize,
        text: &'static str,
    ) -> CaptureEvent<&'static [u8]> {
        let bytes = text.as_bytes();
        let offset = offset as u64;
        CaptureEvent::Data { at: at(seconds), session, direction, offset, lost: 0, bytes }
    }

    /// A process that started after the capture began.
    fn young(pid: u32) -> CaptureEvent<&'static [u8]> {
        let process = Process { started: Some(at(1000)), ..Process::unknown(pid) };
        CaptureEvent::Process(Arc::new(process))
    }

    fn feed(
        table: &mut Table,
        events: impl IntoIterator<Item = CaptureEvent<&'static [u8]>>,
    ) -> Vec<Seen> {
        let mut seen = Vec::new();
        for event in events {
            table.accept(&event, &mut seen);
        }
        seen
    }

    fn statuses(seen: &[Seen]) -> Vec<Option<u16>> {
        seen.iter().map(|seen| seen.exchange.response.as_ref().map(|r| r.status)).collect()
    }

    #[test]
    fn an_exchange_carries_the_process_and_the_socket_that_were_told_before_it() {
        let mut table = Table::new(LIMITS);
        let key = session(7, 0x10);
        let socket = Socket {
            cookie: 3,
            local: "127.0.0.1:443".parse().unwrap(),
            remote: "127.0.0.1:50000".parse().unwrap(),
            netns: 0,
        };
        let seen = feed(
            &mut table,
            [
                young(7),
                CaptureEvent::Socket { at: at(1), session: key, socket, peer: None },
                data(1, key, Direction::Inbound, 0, REQUEST),
                data(1, key, Direction::Outbound, 0, RESPONSE),
            ],
        );
        assert_eq!(statuses(&seen), [Some(204)]);
        assert_eq!(seen[0].connection.socket, Some(socket));
        assert_eq!(seen[0].connection.process.pid, 7);
    }

    #[test]
    fn lost_bytes_are_counted_and_told_to_the_codec() {
        let mut table = Table::new(LIMITS);
        let key = session(7, 0x10);
        let request = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n";
        let seen = feed(
            &mut table,
            [
                young(7),
                data(1, key, Direction::Inbound, 0, request),
                data(1, key, Direction::Inbound, request.len() + 4, "567890"),
                data(1, key, Direction::Outbound, 0, RESPONSE),
            ],
        );
        assert_eq!(statuses(&seen), [Some(204)]);
        assert_eq!(seen[0].exchange.notes, [crate::http::message::Note::RequestBodyLost]);
        assert_eq!((table.counts.gaps, table.counts.gap_bytes), (1, 4));
    }

    #[test]
    fn a_full_table_gives_up_the_connection_that_was_idle_longest() {
        let mut table = Table::new(LIMITS);
        feed(&mut table, [young(7)]);
        for object in 0..4 {
            feed(&mut table, [data(object, session(7, object), Direction::Inbound, 0, REQUEST)]);
        }
        feed(&mut table, [data(5, session(7, 0), Direction::Inbound, REQUEST.len(), REQUEST)]);
        let seen = feed(&mut table, [data(6, session(7, 9), Direction::Inbound, 0, REQUEST)]);
        assert_eq!(seen.len(), 1, "the request of the evicted connection is reported unanswered");
        assert_eq!(seen[0].connection.id, connection_id(session(7, 1)));
        assert_eq!((table.len(), table.counts.evicted), (4, 1));
    }

    #[test]
    fn idle_connections_are_given_up() {
        let mut table = Table::new(LIMITS);
        let key = session(7, 1);
        feed(&mut table, [young(7), data(1, key, Direction::Inbound, 0, REQUEST)]);
        assert!(feed(&mut table, [CaptureEvent::Tick { at: at(60) }]).is_empty());
        assert_eq!(feed(&mut table, [CaptureEvent::Tick { at: at(61) }]).len(), 1);
        assert_eq!((table.len(), table.counts.idle), (0, 1));
    }

    #[test]
    fn a_process_takes_its_connections_with_it_and_leaves_those_of_others() {
        let mut table = Table::new(LIMITS);
        let (mine, other) = (session(7, 1), session(8, 1));
        feed(&mut table, [young(7), young(8)]);
        feed(&mut table, [data(1, mine, Direction::Inbound, 0, REQUEST)]);
        feed(&mut table, [data(1, other, Direction::Inbound, 0, REQUEST)]);
        let seen = feed(&mut table, [CaptureEvent::Exit { at: at(2), pid: 7 }]);
        assert_eq!(seen.len(), 1);
        assert_eq!((table.len(), table.by_pid.len()), (1, 1));
    }

    #[test]
    fn a_response_that_ends_with_its_connection_ends_when_the_session_does() {
        let mut table = Table::new(LIMITS);
        let key = session(7, 1);
        let events = [
            young(7),
            data(1, key, Direction::Inbound, 0, REQUEST),
            data(1, key, Direction::Outbound, 0, "HTTP/1.1 200 OK\r\n\r\nabc"),
            CaptureEvent::Close { at: at(2), session: key, direction: Some(Direction::Outbound) },
        ];
        let seen = feed(&mut table, events);
        assert_eq!(statuses(&seen), [Some(200)]);
        assert!(seen[0].exchange.notes.is_empty(), "{:?}", seen[0].exchange.notes);
    }

    #[test]
    fn a_connection_older_than_the_capture_is_joined_in_the_middle_of_a_body() {
        let mut table = Table::new(LIMITS);
        let key = session(7, 1);
        // No start time is known of process 7: it may be older.
        let seen = feed(
            &mut table,
            [
                data(1, key, Direction::Outbound, 0, "\0\u{1}rest of a binary body"),
                data(2, key, Direction::Inbound, 0, REQUEST),
                data(2, key, Direction::Outbound, 23, RESPONSE),
            ],
        );
        assert_eq!(statuses(&seen), [Some(204)]);
        assert!(seen[0].exchange.notes.is_empty(), "{:?}", seen[0].exchange.notes);
    }

    #[test]
    fn bytes_that_are_not_http_make_no_exchange() {
        let mut table = Table::new(LIMITS);
        let key = session(7, 1);
        let mut seen =
            feed(&mut table, [young(7), data(1, key, Direction::Inbound, 0, "\0\u{1}\u{2}")]);
        table.finish_all(at(3), &mut seen);
        assert!(seen.is_empty() && table.is_empty());
    }

    #[test]
    fn connections_have_names_of_their_own() {
        let ids: HashSet<u64> = (0..1000)
            .flat_map(|n| [session(n, 0x1000), session(1, 1 << 40 | u64::from(n) << 4)])
            .map(connection_id)
            .collect();
        assert_eq!(ids.len(), 2000);
    }
}
