//! Stage 7, events to the world.
//!
//! In: encoded events. Out: lines, directly ([`output`]), or by way of the spool ([`export`]) to any
//! number of sinks, each with a thread and a cursor of its own ([`delivery`]).

pub mod dead;
pub mod delivery;
pub mod export;
pub mod file;
pub mod otlp;
pub mod output;
pub mod stdout;
pub mod syslog;

#[cfg(test)]
mod tests;

use std::{io, time::Duration};

use self::{delivery::Stop, otlp::answer::Complaint};

/// Somebody who takes events.
pub trait Sink: Send {
    /// Takes records, in order, until one cannot be taken; each is an event as JSON. What it says
    /// to have taken will not be kept for it any longer.
    fn deliver(&mut self, records: &mut dyn Iterator<Item = &[u8]>) -> Delivery;

    /// Is told, before all else, by what it will be told to end. Who may wait for long looks at it.
    fn heed(&mut self, _stop: &Stop) {}

    /// Is called now and then while there is nothing to take.
    fn idle(&mut self) {}
}

/// What became of some records.
#[derive(Debug)]
pub enum Delivery {
    /// All were taken.
    Delivered,
    /// The first `done` were taken. The others can be, later.
    Retry {
        /// How many were taken.
        done: usize,
        /// Why no more.
        why: io::Error,
        /// When to try again, if the receiver said so.
        after: Option<Duration>,
    },
    /// The first `done` were taken. The next never can be.
    Reject {
        /// How many were taken.
        done: usize,
        /// What is wrong with the next one.
        why: Refusal,
    },
    /// The first `done` were taken. Of the `of` next ones, `refused` never can be, and nobody says
    /// which; the others were taken.
    Partly {
        /// How many were taken before them.
        done: usize,
        /// How many were looked at together.
        of: usize,
        /// How many of these were refused.
        refused: u64,
        /// Why.
        why: Refusal,
    },
}

/// Why a record can never be taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// It is no event of a known form.
    #[error("it has no form in this format")]
    Unmappable,
    /// The receiver says so, of this and maybe of others that it got together with it.
    #[error("{0}")]
    Answered(Complaint),
    /// The receiver took some of several, and did not say which.
    #[error("the receiver refused some of those that it got together with this one")]
    Rejected,
    /// Nothing is left to leave out, and it is larger than the receiver takes.
    #[error("what must be kept of it is larger than the receiver takes")]
    TooLarge,
}
