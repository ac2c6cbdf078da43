//! The spool: what waits on disk until every sink has confirmed it.
//!
//! In: records, at the one [`writer::Writer`], which numbers them. Out: the same records in order,
//! at a [`reader::Reader`] for each sink, at least once, and the exact count of those that are lost.
//! `docs/spool.md` tells the format and the promises. Invariants: only the writer changes the
//! directory; a number that no segment has is a lost record; a cursor never goes back while the
//! agent runs; nothing that the directory holds can keep the spool from opening.

pub mod filesystem;
mod ledger;
mod pending;
pub mod reader;
pub mod segment;
mod state;
pub mod writer;

#[cfg(any(test, fuzzing))]
pub mod memory;
#[cfg(test)]
mod tests;

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

pub use self::state::{SinkCounts, Spool};
use self::{filesystem::Filesystem, segment::RunName, writer::Writer};

/// Smallest bound of a spool, in bytes: sixteen segments of the smallest size.
pub const MIN_BYTES: u64 = 1024 * 1024;
/// Smallest and largest size at which a segment is closed, in bytes: small enough that dropping
/// one loses little, large enough that files are few.
const SEGMENT_BYTES: (u64, u64) = (64 * 1024, 16 * 1024 * 1024);
/// Segments that the bound is divided into.
const SEGMENTS: u64 = 64;
/// Most sinks; their cursors fit into a slot of the ledger.
pub const MAX_SINKS: usize = 64;
/// Longest name of a sink, in bytes.
pub const MAX_SINK_NAME: usize = 64;

/// What becomes of a record when there is no room.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Lane {
    /// It goes first.
    Bulk,
    /// It goes only when nothing in bulk is left.
    Kept,
}

impl Lane {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Bulk, Self::Kept];

    /// Its part of file names.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bulk => "bulk",
            Self::Kept => "kept",
        }
    }
}

/// When records are on disk.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SyncPolicy {
    /// With every batch.
    Each,
    /// At the end of each interval.
    Interval(Duration),
}

/// How a spool is to be.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Options {
    /// Most bytes of all segments, at least [`MIN_BYTES`].
    pub max_bytes: u64,
    /// When records are on disk.
    pub sync: SyncPolicy,
    /// Bytes that are set aside for a full disk.
    pub reserve_bytes: u64,
    /// Who reads: the first [`MAX_SINKS`] names count, each of up to [`MAX_SINK_NAME`] bytes.
    pub sinks: Vec<String>,
}

impl Options {
    /// A spool of so many bytes for these sinks, synced every second.
    #[must_use]
    pub fn new(max_bytes: u64, sinks: Vec<String>) -> Self {
        let sync = SyncPolicy::Interval(Duration::from_secs(1));
        Self { max_bytes, sync, reserve_bytes: 1024 * 1024, sinks }
    }

    /// Size at which a segment is closed, in bytes.
    fn segment_bytes(&self) -> u64 {
        let (least, most) = SEGMENT_BYTES;
        (self.max_bytes / SEGMENTS).clamp(least, most)
    }
}

/// What was found at the start.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Recovered {
    /// Records that are there.
    pub records: u64,
    /// Bytes cut off behind the last whole record of a segment.
    pub cut_bytes: u64,
    /// Segments that were no such, and were removed.
    pub removed_segments: u64,
    /// Whether a ledger was there, but no slot of it whole: every sink starts over.
    pub ledger_lost: bool,
}

/// Opens a spool, and makes it if it is not there. `run` names this start of the agent.
///
/// # Errors
/// The directory cannot be listed, or its files cannot be read or made. Damaged ones are mended.
pub fn open<F: Filesystem>(
    filesystem: F,
    options: &Options,
    run: RunName,
    now: Instant,
) -> io::Result<(Writer<F>, Arc<Spool<F>>, Recovered)> {
    Writer::open(filesystem, options, run, now)
}
