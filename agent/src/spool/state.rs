//! What the writer and the readers share: which segments there are, how far they are written, and
//! where each sink is. Held for moments only, never while a disk is waited for.

use std::{
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::Serialize;

use crate::spool::{
    Lane,
    filesystem::Filesystem,
    ledger::{Entries, SinkEntry},
    segment::Header,
};

/// The readers' side of a spool.
pub struct Spool<F: Filesystem> {
    pub(super) filesystem: F,
    state: Mutex<State>,
    changed: Condvar,
}

/// What of a segment is known.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Segment {
    pub(super) header: Header,
    /// Bytes that hold whole frames.
    pub(super) length: u64,
    /// Records in them.
    pub(super) count: u64,
    /// Number of the last of them.
    pub(super) last: u64,
}

#[derive(Debug, Default)]
pub(super) struct State {
    /// For each lane, oldest first.
    pub(super) segments: [VecDeque<Segment>; 2],
    /// Number of the next record.
    pub(super) next: u64,
    pub(super) sinks: Vec<SinkEntry>,
    /// No more records will come.
    pub(super) closed: bool,
}

/// What became of the records that a sink was to get.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct SinkCounts {
    /// The sink.
    pub name: String,
    /// Records that it confirmed.
    pub delivered: u64,
    /// Records that it refused for good.
    pub dead: u64,
    /// Records that were gone before it could have them, as far as it came by now.
    pub lost: u64,
    /// Records that are ahead of it, those among them that are lost by now included.
    pub pending: u64,
}

impl<F: Filesystem> Spool<F> {
    pub(super) fn new(filesystem: F, state: State) -> Arc<Self> {
        Arc::new(Self { filesystem, state: Mutex::new(state), changed: Condvar::new() })
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        // What panicked held no half-made change: every one is a few assignments.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes the readers.
    pub(super) fn tell(&self) {
        self.changed.notify_all();
    }

    /// Waits until `is_met`, but no longer than `timeout`.
    pub(super) fn wait(
        &self,
        timeout: Duration,
        is_met: impl Fn(&State) -> bool,
    ) -> MutexGuard<'_, State> {
        let state = self.state();
        let waited = self.changed.wait_timeout_while(state, timeout, |state| !is_met(state));
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// Bytes that all records take.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.state().bytes()
    }

    /// What became of the records of each sink: at any time `delivered + dead + lost + pending` is
    /// what was taken in since the sink is known.
    #[must_use]
    pub fn counts(&self) -> Vec<SinkCounts> {
        let state = self.state();
        let counts = |sink: &SinkEntry| SinkCounts {
            name: sink.name.clone(),
            delivered: sink.delivered,
            dead: sink.dead,
            lost: sink.lost,
            pending: state.next.saturating_sub(sink.cursor),
        };
        state.sinks.iter().map(counts).collect()
    }
}

impl State {
    pub(super) fn lane(&self, lane: Lane) -> &VecDeque<Segment> {
        let [bulk, kept] = &self.segments;
        match lane {
            Lane::Bulk => bulk,
            Lane::Kept => kept,
        }
    }

    pub(super) fn lane_mut(&mut self, lane: Lane) -> &mut VecDeque<Segment> {
        let [bulk, kept] = &mut self.segments;
        match lane {
            Lane::Bulk => bulk,
            Lane::Kept => kept,
        }
    }

    /// Bytes of all segments.
    pub(super) fn bytes(&self) -> u64 {
        self.segments.iter().flatten().map(|segment| segment.length).sum()
    }

    /// Number of the oldest record that is there.
    pub(super) fn oldest(&self) -> Option<u64> {
        let fronts = self.segments.iter().filter_map(VecDeque::front);
        fronts.map(|segment| segment.header.first).min()
    }

    /// Number below which every sink has everything.
    pub(super) fn passed(&self) -> u64 {
        self.sinks.iter().map(|sink| sink.cursor).min().unwrap_or(0)
    }

    pub(super) fn entries(&self) -> Entries {
        Entries { next: self.next, sinks: self.sinks.clone() }
    }
}
