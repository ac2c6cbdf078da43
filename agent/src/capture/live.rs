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
    /// Processes already told downstream, or known from an exec but not told yet.
    processes: LruCache<u32, Known>,
    boot_to_wall: u64,
    /// What became of the records so far.
    pub counts: Counts,
}

enum Known {
    /// From the kernel's exec record: enough to name the process if it is gone by the time that
    /// it is needed.
    Executed {
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
            Record::Socket { boot_ns, session, socket } => {
                self.name(session.pid, sink);
                sink.accept(&CaptureEvent::Socket { at: self.wall(boot_ns), session, socket });
            }
            Record::Close { boot_ns, session, direction } => {
                sink.accept(&CaptureEvent::Close { at: self.wall(boot_ns), session, direction });
            }
            Record::Segment { .. } | Record::Secret { .. } | Record::Owner { .. } => {}
            Record::Exec { pid, comm, path } => {
                let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
                let executed = Known::Executed { comm: text(comm), path: text(path) };
                self.processes.put(pid, executed);
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
            Some(Known::Executed { comm, path }) => {
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
