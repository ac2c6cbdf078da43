//! What is known of one direction: where its heads are sought, and the message under way.

use super::{
    body::{Body, Progress},
    head::Kind,
    scan::Scanner,
    trailers::Trailers,
};
use crate::{
    clock::Timestamp,
    http::{
        anomaly::{Anomaly, AnomalySet},
        body::Content,
    },
};

/// Most bytes of one direction that are searched for a first head. A connection joined in the
/// middle of a large download stays unknown that long; one without HTTP is not searched for ever.
pub const MAX_RESYNC: u64 = 1024 * 1024;

/// First bytes of a direction by which binary protocols are told from text that was joined in the
/// middle: 64 random bytes are free of control characters once in a few thousand times.
const SNIFFED: u64 = 64;

/// One direction.
#[derive(Default)]
pub(super) struct Half {
    pub(super) scanner: Scanner,
    /// The body under way.
    pub(super) reading: Option<Reading>,
    /// Index of the request whose head is under way.
    pub(super) opened: Option<u64>,
    /// Bytes searched before the connection's first head.
    searched: u64,
    /// Bytes are known to be missing.
    pub(super) has_gap: bool,
    pub(super) has_ended: bool,
}

/// A message whose body is under way.
pub(super) struct Reading {
    pub(super) kind: Kind,
    /// Index of its exchange.
    pub(super) index: u64,
    pub(super) body: Body,
    /// The length by which others may read it.
    pub(super) rival: Option<u64>,
    /// What is read of it.
    pub(super) content: Content,
    /// Fields behind it.
    pub(super) trailers: Option<Box<Trailers>>,
    /// When its last byte so far came.
    pub(super) ended: Timestamp,
}

impl Reading {
    /// A message whose head came at `at`.
    pub(super) fn new(
        (kind, index): (Kind, u64),
        body: Body,
        rival: Option<u64>,
        content: Content,
        at: Timestamp,
    ) -> Self {
        Self { kind, index, body, rival, content, trailers: None, ended: at }
    }

    /// Takes the bytes at the start of `bytes` that belong to it: how many.
    pub(super) fn advance(&mut self, bytes: &[u8]) -> usize {
        self.body.advance(bytes, &mut self.content, &mut self.trailers)
    }

    /// What is odd about the body, and about where others see its end.
    pub(super) fn anomalies(&self) -> AnomalySet {
        let mut anomalies = self.body.anomalies();
        if let Some(rival) = self.rival
            && self.body.progress() == Progress::End
        {
            anomalies.add_if(rival > self.body.wire_len(), Anomaly::ClTe);
            anomalies.add_if(rival < self.body.wire_len(), Anomaly::TeCl);
        }
        anomalies
    }
}

/// Why a connection without a head is not searched any further.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Refusal {
    /// Its first bytes are binary.
    Binary,
    /// [`MAX_RESYNC`] bytes were searched.
    TooFar,
}

impl Half {
    /// Bytes kept of the body under way.
    pub(super) fn read(&self) -> usize {
        let kept = |it: &Reading| {
            let trailers = it.trailers.as_ref().map_or(0, |trailers| trailers.size());
            it.content.size().saturating_add(trailers)
        };
        self.reading.as_ref().map_or(0, kept)
    }

    /// As much of `bytes` as may still be searched for a first head.
    pub(super) fn within_search<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        let left = usize::try_from(MAX_RESYNC.saturating_sub(self.searched)).unwrap_or(usize::MAX);
        bytes.get(..left).unwrap_or(bytes)
    }

    /// Accounts for bytes that were searched.
    pub(super) fn search(&mut self, bytes: &[u8]) -> Option<Refusal> {
        let sniffed = usize::try_from(SNIFFED.saturating_sub(self.searched)).unwrap_or(0);
        self.searched = self.searched.saturating_add(bytes.len() as u64);
        if !self.has_gap && bytes.iter().take(sniffed).any(|byte| is_binary(*byte)) {
            return Some(Refusal::Binary);
        }
        (self.searched >= MAX_RESYNC).then_some(Refusal::TooFar)
    }
}

/// Control characters that text does not have.
const fn is_binary(byte: u8) -> bool {
    byte.is_ascii_control() && !matches!(byte, b'\t' | b'\r' | b'\n')
}
