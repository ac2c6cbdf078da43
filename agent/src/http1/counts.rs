//! How often limits were hit on one connection.

use super::{head::Unreadable, scan::Flaw};

/// How often each limit was hit, and what else keeps exchanges from being whole.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counts {
    /// Heads longer than [`MAX_HEAD`](super::MAX_HEAD).
    pub head_too_long: u64,
    /// Heads with more fields than [`MAX_FIELDS`](super::MAX_FIELDS).
    pub too_many_fields: u64,
    /// Heads that could not be read.
    pub head_unreadable: u64,
    /// Bodies whose framing was unusable, or whose chunk-size lines or trailers were longer than
    /// [`MAX_CHUNK_LINE`](super::MAX_CHUNK_LINE) or [`MAX_TRAILERS`](super::MAX_TRAILERS).
    pub body_unframed: u64,
    /// Requests beyond [`MAX_PIPELINE`](super::MAX_PIPELINE) or [`MAX_PIPELINE_BYTES`](super::MAX_PIPELINE_BYTES).
    pub pipeline_overflow: u64,
    /// Losses of unknown extent, after each of which the next message start was sought.
    pub resyncs: u64,
    /// Whether (1) [`MAX_RESYNC`](super::MAX_RESYNC) bytes passed without a head.
    pub resync_given_up: u64,
    /// Whether (1) a connection both pipelined and lost bytes, so that it is not paired any more.
    pub pairing_given_up: u64,
}

impl Counts {
    /// How often a limit was hit, in all.
    #[must_use]
    pub const fn limits_hit(&self) -> u64 {
        self.head_too_long
            .saturating_add(self.too_many_fields)
            .saturating_add(self.body_unframed)
            .saturating_add(self.pipeline_overflow)
            .saturating_add(self.resync_given_up)
    }

    pub(super) const fn add(&mut self, flaw: Flaw) {
        let count = match flaw {
            // No head was begun: the resync that follows is all there is to count.
            Flaw::NotAStart => return,
            Flaw::TooLong => &mut self.head_too_long,
            Flaw::Unreadable(Unreadable::TooManyFields) => &mut self.too_many_fields,
            Flaw::Unreadable(Unreadable::Syntax(_)) => &mut self.head_unreadable,
        };
        *count = count.saturating_add(1);
    }
}
