//! Which response answers which request.
//!
//! In: requests and responses in the order in which each direction has them, and losses. Out:
//! [`Exchange`]s, each when both its sides are done. Responses answer in the order of requests
//! (RFC 9112 §9.3), so a queue suffices until bytes of unknown extent are lost:
//!
//! - in the requests' direction: requests in the queue are still answered in order, and a later
//!   one comes after those that were lost;
//! - in the responses' direction: nobody knows which requests were answered meanwhile. All that
//!   wait are reported unfinished.
//!
//! Either way the first response after a request answers that request, unless the client
//! pipelines. Where both happened, no pair is certain any more, and none is made.

use std::collections::VecDeque;

use super::{counts::Counts, head::Kind, trailers::Trailers};
use crate::{
    clock::Timestamp,
    http::{
        anomaly::AnomalySet,
        body::Content,
        message::{Exchange, Note, Phase, Request, Response, Role},
    },
};

/// Most requests that wait for a response. Clients that pipeline send a handful; what is sent
/// beyond this is reported unfinished.
pub const MAX_PIPELINE: usize = 64;

/// Most bytes of heads that may be kept when one more request shall wait: 64 requests with the
/// largest heads would hold 4 MiB for each connection.
pub const MAX_PIPELINE_BYTES: usize = 256 * 1024;

/// The exchanges under way on one connection.
#[derive(Default)]
pub(super) struct Pairs {
    /// In the order of requests. Only the last one's request can be under way, and one response.
    queue: VecDeque<Slot>,
    next_index: u64,
    /// Requests that were not queued, and that come after all that are.
    unqueued: u64,
    /// A response came while more than one request waited for it.
    pipelined: bool,
    /// Bytes of unknown extent were lost in either direction.
    lossy: bool,
    /// Both, so that no pair is made any more.
    gave_up: bool,
}

/// An exchange under way.
pub(super) struct Slot {
    pub(super) exchange: Exchange,
    pub(super) request_done: bool,
    pub(super) response_done: bool,
    /// Bytes of its heads, and of what was read of its bodies.
    pub(super) head_bytes: usize,
    /// Whether it was told while under way.
    is_told: bool,
}

impl Slot {
    /// Adds `note` once.
    pub(super) fn note(&mut self, note: Note) {
        if !self.exchange.notes.contains(&note) {
            self.exchange.notes.push(note);
        }
    }

    /// Accounts for a head of `len` bytes.
    pub(super) const fn add_head(&mut self, len: usize) {
        self.head_bytes = self.head_bytes.saturating_add(len);
    }

    /// Adds what is odd about the message of this kind.
    pub(super) const fn add_anomalies(&mut self, kind: Kind, anomalies: AnomalySet) {
        match kind {
            Kind::Request => self.exchange.anomalies.request.add_all(anomalies),
            Kind::Response => self.exchange.anomalies.response.add_all(anomalies),
        }
    }

    /// Adds what stood behind the body of the message of this kind. That of a request says nothing
    /// that matters here.
    pub(super) fn end(&mut self, trailers: &Trailers, kind: Kind) {
        if kind == Kind::Request {
            return;
        }
        if trailers.is_cut() {
            self.note(Note::ResponseHeadersIncomplete);
        }
        if let Some(response) = &mut self.exchange.response {
            response.trailers = trailers.fields();
            self.head_bytes = self.head_bytes.saturating_add(trailers.size());
        }
    }

    /// Ends the side that `kind` names: the last byte of its message came at `ended`, its body
    /// had `body_bytes`.
    pub(super) fn close(&mut self, kind: Kind, ended: Timestamp, body_bytes: u64, read: Content) {
        self.head_bytes = self.head_bytes.saturating_add(read.size());
        match kind {
            Kind::Request => {
                self.request_done = true;
                if let Some(Request { ended: end, body_bytes: len, content, .. }) =
                    &mut self.exchange.request
                {
                    (*end, *len, *content) = (ended, body_bytes, read);
                }
            }
            Kind::Response => {
                self.response_done = true;
                if let Some(Response { ended: end, body_bytes: len, content, .. }) =
                    &mut self.exchange.response
                {
                    (*end, *len, *content) = (ended, body_bytes, read);
                }
            }
        }
    }

    /// Adds `len` bytes, which came until `at`, to what follows an upgrade.
    pub(super) const fn carry(&mut self, kind: Kind, at: Timestamp, len: u64) {
        let (ended, carried) = match (kind, &mut self.exchange) {
            (Kind::Request, Exchange { request: Some(it), .. }) => {
                (&mut it.ended, &mut it.body_bytes)
            }
            (Kind::Response, Exchange { response: Some(it), .. }) => {
                (&mut it.ended, &mut it.body_bytes)
            }
            _ => return,
        };
        (*ended, *carried) = (at, carried.saturating_add(len));
    }

    const fn is_waiting(&self) -> bool {
        !self.response_done && self.exchange.response.is_none()
    }

    const fn is_done(&self) -> bool {
        self.request_done && self.response_done
    }
}

impl Pairs {
    /// A request starts: the index of its exchange.
    pub(super) fn open(&mut self, role: Role, counts: &mut Counts) -> u64 {
        let is_full = self.unqueued > 0
            || self.waiting() >= MAX_PIPELINE
            || self.head_bytes() >= MAX_PIPELINE_BYTES;
        let mut slot = self.slot_for(role);
        let index = slot.exchange.index;
        if self.gave_up || is_full {
            slot.response_done = true;
            slot.note(Note::Unfinished);
        }
        if is_full && !self.gave_up {
            self.unqueued = self.unqueued.saturating_add(1);
            counts.pipeline_overflow = counts.pipeline_overflow.saturating_add(1);
        }
        self.queue.push_back(slot);
        index
    }

    /// A final response starts: the index of the exchange that it belongs to, which has no request
    /// if none is known to be answered by it.
    pub(super) fn answer(&mut self, role: Role, counts: &mut Counts) -> u64 {
        self.pipelined |= self.waiting() > 1;
        self.give_up_if_unsure(counts);
        if let Some(slot) = self.queue.iter().find(|slot| slot.is_waiting()) {
            return slot.exchange.index;
        }
        self.unqueued = self.unqueued.saturating_sub(1);
        let mut slot = self.slot_for(role);
        let index = slot.exchange.index;
        slot.request_done = true;
        slot.note(Note::RequestHeadLost);
        self.queue.push_back(slot);
        index
    }

    /// Bytes of unknown extent were lost in the direction of `kind`, `None` if that is not known.
    pub(super) fn lose(&mut self, kind: Option<Kind>, counts: &mut Counts) {
        self.lossy = true;
        self.pipelined |= self.unqueued > 0;
        if kind == Some(Kind::Response) {
            self.queue
                .iter_mut()
                .filter(|slot| slot.is_waiting())
                .for_each(|slot| slot.note(Note::ResponseHeadLost));
            self.abandon();
        }
        self.give_up_if_unsure(counts);
    }

    /// A response was found again after a loss. If several requests wait, responses have passed
    /// unseen, or the client pipelines: which one it answers is not certain.
    pub(super) fn resume(&mut self) {
        if self.waiting() > 1 {
            self.abandon();
        }
    }

    /// No request that waits now will be paired with a response.
    pub(super) fn abandon(&mut self) {
        self.unqueued = 0;
        for slot in self.queue.iter_mut().filter(|slot| slot.is_waiting()) {
            slot.response_done = true;
            slot.note(Note::Unfinished);
        }
    }

    /// The exchange under way with this index.
    pub(super) fn slot(&mut self, index: u64) -> Option<&mut Slot> {
        self.queue.iter_mut().find(|slot| slot.exchange.index == index)
    }

    /// Reports the exchanges of which both sides are done.
    pub(super) fn settle(&mut self, out: &mut Vec<Exchange>) {
        let mut position = 0_usize;
        while let Some(slot) = self.queue.get(position) {
            if !slot.is_done() {
                position = position.saturating_add(1);
            } else if let Some(Slot { mut exchange, .. }) = self.queue.remove(position) {
                exchange.notes.sort_unstable();
                out.push(exchange);
            }
        }
    }

    /// Takes out the exchange under way with this index.
    pub(super) fn take(&mut self, index: u64) -> Option<Slot> {
        let position = self.queue.iter().position(|slot| slot.exchange.index == index)?;
        self.queue.remove(position)
    }

    /// No exchanges, of the same connection.
    pub(super) fn renewed(&self) -> Self {
        Self { next_index: self.next_index, ..Self::default() }
    }

    /// Whether a request is under way of which [`Self::tell_lasting`] has not told.
    pub(super) fn is_under_way(&self) -> bool {
        self.queue.iter().any(|slot| !slot.is_told && slot.exchange.request.is_some())
    }

    /// Tells of the exchanges that began `age_nanos` before `now` and are not over, once each.
    pub(super) fn tell_lasting(&mut self, now: Timestamp, age_nanos: u64, out: &mut Vec<Exchange>) {
        for slot in &mut self.queue {
            let began = slot.exchange.request.as_ref().map(|request| request.started);
            if slot.is_told || began.is_none_or(|began| now.since(began) < age_nanos) {
                continue;
            }
            slot.is_told = true;
            out.push(Exchange { phase: Phase::Begun, ..slot.exchange.clone() });
        }
    }

    /// Bytes of heads that are kept.
    pub(super) fn head_bytes(&self) -> usize {
        self.queue.iter().fold(0, |sum, slot| sum.saturating_add(slot.head_bytes))
    }

    fn waiting(&self) -> usize {
        self.queue.iter().filter(|slot| slot.is_waiting()).count()
    }

    fn give_up_if_unsure(&mut self, counts: &mut Counts) {
        if self.pipelined && self.lossy && !self.gave_up {
            self.gave_up = true;
            counts.pairing_given_up = counts.pairing_given_up.saturating_add(1);
            self.abandon();
        }
    }

    const fn slot_for(&mut self, role: Role) -> Slot {
        let index = self.next_index;
        self.next_index = index.saturating_add(1);
        Slot {
            exchange: Exchange::new(index, role),
            request_done: false,
            response_done: false,
            head_bytes: 0,
            is_told: false,
        }
    }
}
