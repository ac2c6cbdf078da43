//! What the stages said last. In: a snapshot now and then from each, at the cost of a lock that is
//! held for a copy. Out: the same, to whoever asks, with how old each is.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use serde::Serialize;

use crate::{
    capture::wire, clock::Timestamp, coverage::Coverage, event::control::Reason, flow::table,
    sandbox::protocol::Tap, spool::SinkCounts,
};

/// The board. Clones are the same one.
#[derive(Clone)]
pub struct Board(Arc<Shared>);

struct Shared {
    started: Instant,
    /// Whether somebody may ask for what costs more to copy.
    watched: AtomicBool,
    parts: Mutex<Parts>,
}

/// What is on it; a stage that has said nothing yet is not there.
#[derive(Clone, Debug, Default)]
pub struct Parts {
    /// Of the drain.
    pub capture: Option<Said<Capture>>,
    /// Where packets are seen, if they are.
    pub packets: Option<Tap>,
    /// Of the kernel half: its counters, in the order of `Counter::ALL`.
    pub kernel: Option<Said<Vec<u64>>>,
    /// Of libraries and executables that were looked at.
    pub libraries: Option<Said<Libraries>>,
    /// Of each worker.
    pub flows: BTreeMap<usize, Said<table::Counts>>,
    /// Of each worker: calls without an event, as none in their sample.
    pub left_out: BTreeMap<usize, u64>,
    /// Of the output.
    pub export: Option<Said<Export>>,
    /// Of the policy in force.
    pub policy: Option<Said<Policy>>,
}

/// A snapshot, and when it was made.
#[derive(Clone, Debug)]
pub struct Said<T> {
    /// The snapshot.
    pub what: T,
    /// When it was made.
    pub at: Instant,
}

/// What the drain says.
#[derive(Clone, Debug, Default)]
pub struct Capture {
    /// Records of the kernel half, taken from the ring.
    pub records: u64,
    /// Those among them that could not be decoded.
    pub malformed: u64,
    /// What the wire path did.
    pub wire: wire::Counts,
    /// Which connections are told; `None` where nobody asks.
    pub coverage: Option<Box<Coverage>>,
    /// Connections that are not told, by reason.
    pub uncovered: BTreeMap<crate::coverage::Reason, u64>,
}

/// What became of libraries and executables.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Libraries {
    /// Those that are probed.
    pub probed: u64,
    /// Those that are not.
    pub left: u64,
}

/// What the output says.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Export {
    /// The chain of this start of the agent.
    pub chain: String,
    /// Its length.
    pub events: u64,
    /// Bytes that records take in the spool.
    pub spool_bytes: u64,
    /// Bytes that they may take.
    pub spool_max_bytes: u64,
    /// Events that are gone, by reason.
    pub gone: BTreeMap<Reason, u64>,
    /// Why the signing key could not be replaced when that was due, if it could not.
    pub signing_trouble: Option<String>,
    /// How each sink is doing.
    pub sinks: Vec<Sink>,
}

/// How a sink is doing.
#[derive(Clone, Debug, Serialize)]
pub struct Sink {
    /// What became of its records.
    #[serde(flatten)]
    pub counts: SinkCounts,
    /// How its delivery goes.
    #[serde(flatten)]
    pub progress: Progress,
}

/// How a delivery goes.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Progress {
    /// Tries that failed, and were or will be repeated.
    pub retries: u64,
    /// Since when every try fails; `None` while it delivers.
    pub failing_since: Option<Timestamp>,
    /// Why the last one did.
    pub last_failure: Option<String>,
}

/// The policy in force.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Policy {
    /// Its file.
    pub file: String,
    /// Names its content.
    pub hash: String,
    /// Whether a newer one was refused since.
    pub rejected: bool,
}

impl Default for Board {
    fn default() -> Self {
        let (watched, parts) = (AtomicBool::new(false), Mutex::default());
        Self(Arc::new(Shared { started: Instant::now(), watched, parts }))
    }
}

impl Board {
    /// From now on, somebody may ask for everything.
    pub fn watch(&self) {
        self.0.watched.store(true, Ordering::Relaxed);
    }

    /// Whether somebody may ask for what costs more to copy.
    #[must_use]
    pub fn is_watched(&self) -> bool {
        self.0.watched.load(Ordering::Relaxed)
    }

    /// When the agent started.
    #[must_use]
    pub fn started(&self) -> Instant {
        self.0.started
    }

    /// Puts a snapshot on the board, by `place` in its place.
    pub fn say(&self, place: impl FnOnce(&mut Parts, Instant)) {
        place(&mut self.parts(), Instant::now());
    }

    /// What is on the board.
    #[must_use]
    pub fn read(&self) -> Parts {
        self.parts().clone()
    }

    fn parts(&self) -> MutexGuard<'_, Parts> {
        // Every change is one assignment: nothing half-made is seen.
        self.0.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Said<T> {
    /// Said at this moment.
    pub const fn at(what: T, at: Instant) -> Self {
        Self { what, at }
    }
}

impl Parts {
    /// All workers' counts together.
    #[must_use]
    pub fn all_flows(&self) -> table::Counts {
        let mut all = table::Counts::default();
        self.flows.values().for_each(|said| all.add(said.what));
        all
    }
}
