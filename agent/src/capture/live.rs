//! Live capture: ring records become events, processes are named, times become wall-clock.
//!
//! In: raw records, from the drain thread. Out: [`CaptureEvent`]s to a sink, process ids of new
//! programs to the discoverer.
//!
//! Naming a process reads a few files of `/proc`, once per process and here rather than in a
//! worker, so that it happens while the process surely lives and every later stage, replay
//! included, is handed the same answer.

#[cfg(test)]
mod tests;

use std::{num::NonZeroUsize, sync::Arc};

use bytes::Bytes;
use lru::LruCache;
use scopewatch_common::Capture;

use crate::{
    capture::{
        CaptureEvent, EventSink, SessionKey,
        record::{Record, RecordError, decode},
        unbound::Unbound,
        unread::{Requests, Unread},
        wire::{self, Captured, Unwanted, Wire},
    },
    clock::{NANOS_PER_SEC, Timestamp},
    coverage::{Coverage, Path},
    discover::sockets,
    flow::chunk::Attribution,
    identity::{
        Enricher,
        boot::{boot_nanos, boot_to_wall},
        process::Process,
    },
    telemetry::board,
    tls::secret::Origin,
    wire::segment::{Flags, FlowKey, Segment},
};

/// Processes whose names are remembered. One that falls out is named again when it is seen again.
const MAX_PROCESSES: NonZeroUsize = NonZeroUsize::new(16 * 1024).unwrap();

/// Sessions of the call path whose socket is remembered.
const MAX_SESSIONS: NonZeroUsize = NonZeroUsize::new(64 * 1024).unwrap();

/// How often holders of connections that are not told are looked up: that reads all of `/proc`, and
/// what ended before cannot be found.
const LOOK_UP: u64 = 10 * NANOS_PER_SEC;

/// How often the log says what is told and what is not, if that has changed.
const REPORT: u64 = 60 * NANOS_PER_SEC;

/// What became of the records.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counts {
    /// Records decoded.
    pub records: u64,
    /// Records that could not be decoded.
    pub malformed: u64,
    /// Boot time in nanoseconds of the newest record that traffic made.
    pub latest: u64,
}

/// Turns records into events.
pub struct Live<E> {
    enricher: E,
    /// Processes already told downstream, or known from a record but not told yet.
    processes: LruCache<u32, Known>,
    boot_to_wall: u64,
    wire: Option<Wire>,
    /// Sockets of the call path's sessions; `None` for those that waited for theirs in vain.
    sockets: LruCache<SessionKey, Option<u64>>,
    unbound: Unbound,
    /// Sockets that the call path tells of.
    called: LruCache<u64, ()>,
    /// What need not be told of the call path's sessions.
    unread: Requests,
    /// What is told and what is not.
    coverage: Coverage,
    /// When holders of what is not told were looked up last, and when that was last logged.
    looked: Timestamp,
    logged: Timestamp,
    opened: Vec<CaptureEvent<Bytes>>,
    /// What became of the records so far.
    pub counts: Counts,
}

enum Known {
    /// From the kernel's records: enough to name the process if it is gone by the time that it is
    /// needed. The path is empty if no exec was seen.
    Named {
        comm: String,
        path: String,
    },
    Told,
}

impl<E: Enricher> Live<E> {
    /// A converter that asks `enricher` for the identity of processes and opens ciphertext by
    /// `wire`, if there is one.
    pub fn new(enricher: E, wire: Option<Wire>) -> Self {
        let mut live = Self {
            enricher,
            processes: LruCache::new(MAX_PROCESSES),
            boot_to_wall: 0,
            wire,
            sockets: LruCache::new(MAX_SESSIONS),
            unbound: Unbound::new(),
            called: LruCache::new(MAX_SESSIONS),
            unread: Requests::default(),
            coverage: Coverage::default(),
            looked: Timestamp::default(),
            logged: Timestamp::default(),
            opened: Vec::new(),
            counts: Counts::default(),
        };
        live.refresh_clock();
        live
    }

    /// Measures anew how far the wall clock is from the boot clock, by which the kernel stamps.
    pub fn refresh_clock(&mut self) {
        if let Some(boot_to_wall) = boot_to_wall() {
            self.boot_to_wall = boot_to_wall;
        }
    }

    /// Tells the sink that time has passed.
    pub fn tick(&mut self, sink: &mut impl EventSink) {
        let Some(boot) = boot_nanos() else { return };
        let at = self.wall(boot);
        if let Some(wire) = &mut self.wire {
            let strangers = wire.strangers(at);
            for (pid, socket) in sockets::holders(&strangers) {
                wire.owner(pid, &socket);
            }
            wire.tick(at, &mut self.opened);
            self.tell_opened(sink);
        }
        while let Some(session) = self.unbound.late(at) {
            self.release(session, sink);
        }
        if at.since(self.looked) > LOOK_UP {
            self.looked = at;
            self.look_up();
        }
        if at.since(self.logged) > REPORT {
            self.logged = at;
            self.coverage.log();
        }
        sink.accept(&CaptureEvent::Tick { at });
    }

    /// Finds out whose the connections are that are not told.
    fn look_up(&mut self) {
        let Some(wire) = &mut self.wire else { return };
        let mut fresh = wire.uncovered();
        if fresh.is_empty() {
            return;
        }
        fresh.leave_out(|cookie| self.called.contains(&cookie));
        for (pid, socket) in sockets::holders(&fresh.strangers()) {
            fresh.hold(pid, &socket);
        }
        self.coverage.take(fresh);
        for pid in self.coverage.nameless().collect::<Vec<_>>() {
            if let Some(process) = self.enricher.process(pid) {
                self.coverage.name(&process);
            }
        }
    }

    /// Tells the sink what still waits to be told.
    pub fn finish(&mut self, sink: &mut impl EventSink) {
        while let Some(session) = self.unbound.late(Timestamp(u64::MAX)) {
            self.release(session, sink);
        }
        self.look_up();
        self.coverage.log();
    }

    /// What of the host's connections is told, and why the rest is not.
    #[must_use]
    pub const fn coverage(&self) -> &Coverage {
        &self.coverage
    }

    /// How capturing goes; all of its coverage only if somebody `asks` for that.
    #[must_use]
    pub fn say(&self, asks: bool) -> board::Capture {
        board::Capture {
            records: self.counts.records,
            malformed: self.counts.malformed,
            wire: self.wire_counts(),
            coverage: asks.then(|| Box::new(self.coverage.clone())),
            uncovered: self.coverage.uncovered.clone(),
        }
    }

    /// What the kernel half is to be told about sockets since the last call.
    pub fn decisions(&mut self) -> impl Iterator<Item = (u64, Capture)> {
        self.wire.iter_mut().flat_map(Wire::decisions)
    }

    /// What the kernel half need not copy, since the last call.
    pub fn unwanted(&mut self) -> impl Iterator<Item = Unwanted> {
        self.wire.iter_mut().flat_map(Wire::unwanted)
    }

    /// The same of what calls move.
    pub fn unread(&mut self) -> impl Iterator<Item = Unread> {
        self.unread.take()
    }

    /// What the wire path did, if there is one.
    #[must_use]
    pub fn wire_counts(&self) -> wire::Counts {
        self.wire.as_ref().map_or_else(wire::Counts::default, |wire| wire.counts)
    }

    /// Decodes one record and hands on what it tells. Returns the process id if a program was
    /// executed, whose libraries may need probing.
    pub fn record(&mut self, raw: &[u8], sink: &mut impl EventSink) -> Option<u32> {
        match decode(raw) {
            Ok(record) => {
                self.counts.records += 1;
                self.dispatch(record, sink)
            }
            Err(error) => {
                self.malformed(error);
                None
            }
        }
    }

    fn dispatch(&mut self, record: Record<'_>, sink: &mut impl EventSink) -> Option<u32> {
        match record {
            Record::Data { boot_ns, session, direction, offset, lost, bytes } => {
                self.counts.latest = boot_ns;
                let at = self.wall(boot_ns);
                let data = CaptureEvent::Data { at, session, direction, offset, lost, bytes };
                self.call(session, at, bytes.len(), &data, sink);
            }
            Record::Skipped { boot_ns, session, direction, offset, bytes } => {
                self.counts.latest = boot_ns;
                let at = self.wall(boot_ns);
                let skipped = CaptureEvent::Skipped { at, session, direction, offset, bytes };
                self.call(session, at, 0, &skipped, sink);
            }
            Record::Socket { boot_ns, session, socket, comm } => {
                self.sockets.put(session, Some(socket.cookie));
                let held = self.unbound.take(session);
                if self.is_told_by_wire(session) {
                    return None;
                }
                self.called.put(socket.cookie, ());
                self.coverage.cover(Path::Calls, [session.pid]);
                self.know(session.pid, comm);
                self.name(session.pid, sink);
                let attribution = Attribution::TlsCall;
                let (at, peer) = (self.wall(boot_ns), None);
                sink.accept(&CaptureEvent::Socket { at, session, socket, attribution, peer });
                held.iter().for_each(|event| sink.accept(&event.borrow()));
            }
            Record::Close { boot_ns, session, direction } => {
                self.release(session, sink);
                sink.accept(&CaptureEvent::Close { at: self.wall(boot_ns), session, direction });
            }
            Record::Segment { .. } | Record::Secret { .. } | Record::Owner { .. } => {
                self.wire(&record, sink);
            }
            Record::Exec { pid, comm, path } => {
                let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
                let named = Known::Named { comm: text(comm), path: text(path) };
                self.processes.put(pid, named);
                self.coverage.forget(pid);
                return Some(pid);
            }
            Record::Exit { boot_ns, pid } => {
                while let Some(session) = self.unbound.of_process(pid) {
                    self.release(session, sink);
                }
                // Only of processes that something was told of: a host ends many others.
                if matches!(self.processes.pop(&pid), Some(Known::Told)) {
                    sink.accept(&CaptureEvent::Exit { at: self.wall(boot_ns), pid });
                }
            }
        }
        None
    }

    /// Tells what a call told, unless the wire path tells it; that is known by the socket.
    fn call(
        &mut self,
        session: SessionKey,
        at: Timestamp,
        bytes: usize,
        data: &CaptureEvent<&[u8]>,
        sink: &mut impl EventSink,
    ) {
        if self.is_told_by_wire(session) {
            return;
        }
        self.name(session.pid, sink);
        if self.wire.is_none() || self.sockets.contains(&session) {
            sink.accept(data);
            return self.pass_over(sink);
        }
        self.unbound.hold(session, at, bytes, data.to_owned());
        while let Some(session) = self.unbound.excess() {
            self.release(session, sink);
        }
    }

    /// Leaves where it is what nobody reads.
    fn pass_over(&mut self, sink: &mut impl EventSink) {
        let Some(skip) = sink.skippable() else { return };
        if !self.wire.as_mut().is_some_and(|wire| wire.skip(skip)) {
            self.unread.skip(skip);
        }
    }

    /// Tells what a session said that waits for its socket no longer.
    fn release(&mut self, session: SessionKey, sink: &mut impl EventSink) {
        let held = self.unbound.take(session);
        if !held.is_empty() {
            self.sockets.put(session, None);
            held.iter().for_each(|event| sink.accept(&event.borrow()));
        }
    }

    /// Hands ciphertext, secrets and owners to the wire path.
    fn wire(&mut self, record: &Record<'_>, sink: &mut impl EventSink) {
        let to_wall = self.boot_to_wall;
        let wall = |boot_ns: u64| Timestamp(boot_ns.saturating_add(to_wall));
        let Some(wire) = &mut self.wire else { return };
        match *record {
            Record::Segment {
                boot_ns,
                received,
                cookie,
                source,
                destination,
                netns,
                cgroup,
                seq,
                ack,
                flags,
                first,
                lost,
                bytes,
            } => {
                self.counts.latest = boot_ns;
                let segment = Segment {
                    at: wall(boot_ns),
                    cookie,
                    key: FlowKey { netns, source: source.into(), destination: destination.into() },
                    seq,
                    ack,
                    flags: Flags { first, ..Flags::from(flags) },
                    payload: bytes,
                    wire_len: u32::try_from(bytes.len()).unwrap_or(u32::MAX).saturating_add(lost),
                };
                wire.segment(&Captured { segment, received, cgroup }, &mut self.opened);
            }
            Record::Secret { boot_ns, pid, tid, cgroup, netns, kind, secret, context } => {
                let origin = Origin { pid, tid, cgroup, netns };
                let parts = (secret, context);
                wire.secret(wall(boot_ns), origin, kind, parts, &mut self.opened);
            }
            Record::Owner { pid, socket, comm, .. } => {
                let better = wire.owner(pid, &socket);
                self.know(pid, comm);
                for event in better {
                    self.name(pid, sink);
                    sink.accept(&event.borrow());
                }
            }
            Record::Data { .. }
            | Record::Skipped { .. }
            | Record::Socket { .. }
            | Record::Close { .. }
            | Record::Exec { .. }
            | Record::Exit { .. } => {}
        }
        self.tell_opened(sink);
    }

    /// Hands on what the wire path opened.
    fn tell_opened(&mut self, sink: &mut impl EventSink) {
        let mut opened = std::mem::take(&mut self.opened);
        let mut events = opened.drain(..).peekable();
        while let Some(event) = events.next() {
            if let CaptureEvent::Socket { session, peer, .. } = event {
                let plain = matches!(events.peek(), Some(CaptureEvent::Plain { .. }));
                let path = if plain { Path::Plain } else { Path::Wire };
                let other = peer.map(|peer| peer.pid).filter(|pid| *pid != session.pid);
                self.coverage.cover(path, std::iter::once(session.pid).chain(other));
                self.name(session.pid, sink);
                if let Some(peer) = peer {
                    self.name(peer.pid, sink);
                }
            }
            sink.accept(&event.borrow());
            self.pass_over(sink);
        }
        drop(events);
        self.opened = opened;
    }

    /// Whether the wire path tells of the connection that a session of the call path is on.
    fn is_told_by_wire(&mut self, session: SessionKey) -> bool {
        let Some(wire) = &self.wire else { return false };
        self.sockets.get(&session).copied().flatten().is_some_and(|cookie| wire.tells_of(cookie))
    }

    /// Remembers a process's short name from a record that comes before its first data: a forked
    /// process has no exec record.
    fn know(&mut self, pid: u32, comm: &[u8]) {
        self.processes.get_or_insert(pid, || Known::Named {
            comm: String::from_utf8_lossy(comm).into_owned(),
            path: String::new(),
        });
    }

    /// Tells the sink who `pid` is, once.
    fn name(&mut self, pid: u32, sink: &mut impl EventSink) {
        let known = self.processes.get(&pid);
        if matches!(known, Some(Known::Told)) {
            return;
        }
        let process = self.enricher.process(pid).unwrap_or_else(|| match known {
            Some(Known::Named { comm, path }) => {
                let exe = Some(path.clone()).filter(|path| path.starts_with('/'));
                Process { comm: comm.clone(), exe, ..Process::unknown(pid) }
            }
            Some(Known::Told) | None => Process::unknown(pid),
        });
        self.processes.put(pid, Known::Told);
        sink.accept(&CaptureEvent::Process(Arc::new(process)));
    }

    fn wall(&self, boot_ns: u64) -> Timestamp {
        Timestamp(boot_ns.saturating_add(self.boot_to_wall))
    }

    fn malformed(&mut self, error: RecordError) {
        self.counts.malformed += 1;
        tracing::debug!(%error, "record skipped");
    }
}
