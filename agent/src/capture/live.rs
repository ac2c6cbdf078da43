//! Live capture: ring records become events, processes are named, times become wall-clock.
//!
//! In: raw records, from the drain thread. Out: [`CaptureEvent`]s to a sink, process ids of new
//! programs to the discoverer.
//!
//! Naming a process reads a few files of `/proc`, once per process and here rather than in a
//! worker, so that it happens while the process surely lives and every later stage, replay
//! included, is handed the same answer.

use std::{num::NonZeroUsize, sync::Arc, time::Duration};

use lru::LruCache;
use nix::time::{ClockId, clock_gettime};

use crate::{
    capture::{
        CaptureEvent, EventSink,
        record::{Record, RecordError, decode},
    },
    clock::Timestamp,
    identity::{Enricher, process::Process},
};

/// Processes whose names are remembered. One that falls out is named again when it is seen again.
const MAX_PROCESSES: NonZeroUsize = NonZeroUsize::new(16 * 1024).unwrap();

/// What became of the records.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counts {
    /// Records decoded.
    pub records: u64,
    /// Records that could not be decoded.
    pub malformed: u64,
}

/// Turns records into events.
pub struct Live<E> {
    enricher: E,
    /// Processes already told downstream, or known from a record but not told yet.
    processes: LruCache<u32, Known>,
    boot_to_wall: u64,
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
    /// A converter that asks `enricher` for the identity of processes.
    pub fn new(enricher: E) -> Self {
        let mut live = Self {
            enricher,
            processes: LruCache::new(MAX_PROCESSES),
            boot_to_wall: 0,
            counts: Counts::default(),
        };
        live.refresh_clock();
        live
    }

    /// Measures anew how far the wall clock is from the boot clock, by which the kernel stamps.
    pub fn refresh_clock(&mut self) {
        if let Some((wall, boot)) =
            now_nanos(ClockId::CLOCK_REALTIME).zip(now_nanos(ClockId::CLOCK_BOOTTIME))
        {
            self.boot_to_wall = wall.saturating_sub(boot);
        }
    }

    /// Tells the sink that time has passed.
    pub fn tick(&self, sink: &mut impl EventSink) {
        if let Some(boot) = now_nanos(ClockId::CLOCK_BOOTTIME) {
            sink.accept(&CaptureEvent::Tick { at: self.wall(boot) });
        }
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
                self.name(session.pid, sink);
                let at = self.wall(boot_ns);
                sink.accept(&CaptureEvent::Data { at, session, direction, offset, lost, bytes });
            }
            Record::Socket { boot_ns, session, socket, comm } => {
                // A forked process has no exec record. This one comes before its first data.
                self.processes.get_or_insert(session.pid, || Known::Named {
                    comm: String::from_utf8_lossy(comm).into_owned(),
                    path: String::new(),
                });
                self.name(session.pid, sink);
                sink.accept(&CaptureEvent::Socket { at: self.wall(boot_ns), session, socket });
            }
            Record::Close { boot_ns, session, direction } => {
                sink.accept(&CaptureEvent::Close { at: self.wall(boot_ns), session, direction });
            }
            Record::Exec { pid, comm, path } => {
                let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
                let named = Known::Named { comm: text(comm), path: text(path) };
                self.processes.put(pid, named);
                return Some(pid);
            }
            Record::Exit { boot_ns, pid } => {
                // Only of processes that something was told of: a host ends many others.
                if matches!(self.processes.pop(&pid), Some(Known::Told)) {
                    sink.accept(&CaptureEvent::Exit { at: self.wall(boot_ns), pid });
                }
            }
        }
        None
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

/// Nanoseconds of one of the kernel's clocks.
fn now_nanos(clock: ClockId) -> Option<u64> {
    let duration: Duration = clock_gettime(clock).ok()?.into();
    u64::try_from(duration.as_nanos()).ok()
}

#[cfg(test)]
mod tests {
    use scopewatch_common::{ABI_VERSION, Header, RecordKind, Session, SocketRecord};
    use zerocopy::IntoBytes as _;

    use super::*;

    /// A host on which every process has ended by the time that it is looked at.
    struct AllGone;

    impl Enricher for AllGone {
        fn process(&self, _pid: u32) -> Option<Process> {
            None
        }
    }

    #[derive(Default)]
    struct Named(Vec<(u32, String)>);

    impl EventSink for Named {
        fn accept(&mut self, event: &CaptureEvent<&[u8]>) {
            if let CaptureEvent::Process(process) = event {
                self.0.push((process.pid, process.comm.clone()));
            }
        }
    }

    #[test]
    fn a_forked_process_that_is_gone_keeps_its_name() {
        let record = SocketRecord {
            header: Header {
                abi: ABI_VERSION,
                kind: RecordKind::Socket as u8,
                way: 0,
                tgid: 7,
                tid: 7,
                reserved: 0,
                time_ns: 1,
            },
            session: Session { object: 1, generation: 1 },
            cookie: 1,
            local: [127; 16],
            remote: [127; 16],
            local_port: 1,
            remote_port: 2,
            family: 2,
            reserved: 0,
            netns: 0,
            reserved2: 0,
            comm: *b"worker\0\0\0\0\0\0\0\0\0\0",
        };
        let mut live = Live::new(AllGone);
        let mut named = Named::default();
        for _ in 0..2 {
            live.record(record.as_bytes(), &mut named);
        }
        assert_eq!(named.0, [(7, "worker".to_owned())]);
    }
}
