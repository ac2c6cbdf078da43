//! What a connection is beyond one exchange: exchanges that last, tunnels, the change to HTTP/2,
//! and a new begin where memory must be given up.

use super::{Connection, Ending};
use crate::{
    clock::Timestamp,
    flow::chunk::Direction,
    http::{
        body::Content,
        message::{Exchange, Note},
    },
    http1::head::Kind,
};

/// A request that changed its connection to HTTP/2 (RFC 7540 §3.2). It is answered there, on
/// stream 1.
pub struct Http2Upgrade {
    /// Which way requests go.
    pub requests: Direction,
    /// The exchange, of which only the response is missing.
    pub exchange: Exchange,
}

impl Connection {
    /// Whether a request is under way of which [`Self::tell_lasting`] has not told.
    #[must_use]
    pub fn is_under_way(&self) -> bool {
        self.pairs.is_under_way()
    }

    /// Tells of the exchanges that began `age_nanos` before `now` and are not over, once each.
    pub fn tell_lasting(&mut self, now: Timestamp, age_nanos: u64, out: &mut Vec<Exchange>) {
        self.pairs.tell_lasting(now, age_nanos, out);
    }

    /// Takes the request that ended HTTP/1.1 here, if [`Ending::Http2`] says so.
    pub fn take_upgrade(&mut self) -> Option<Http2Upgrade> {
        self.upgrade.take()
    }

    /// Gives up all that is held: what is under way is reported unfinished, and reading goes on at
    /// the next certain start.
    pub fn give_up(&mut self, at: Timestamp, out: &mut Vec<Exchange>) {
        let mut next = Self {
            requests: self.requests,
            is_http: self.is_http,
            pairs: self.pairs.renewed(),
            counts: self.counts,
            wanted: self.wanted.clone(),
            ..Self::default()
        };
        next.inbound.has_ended = self.inbound.has_ended;
        next.outbound.has_ended = self.outbound.has_ended;
        for direction in [Direction::Inbound, Direction::Outbound] {
            next.gap(direction, at, 1, &mut Vec::new());
        }
        if let Some(index) = self.tunnel {
            self.note(index, Note::Unfinished);
        }
        self.finish(at, out);
        // A tunnel has no next start.
        if self.ending != Some(Ending::Upgraded) {
            *self = next;
        }
    }

    /// The response with `index` ends HTTP on this connection: what follows is not read.
    pub(super) fn upgrade(
        &mut self,
        index: u64,
        direction: Direction,
        at: Timestamp,
        out: &mut Vec<Exchange>,
    ) {
        self.complete(direction.reverse());
        if self.change_to_http2(index, out) {
            return;
        }
        self.half(direction.reverse()).scanner.expect();
        if let Some(slot) = self.pairs.slot(index) {
            slot.note(Note::Upgraded);
            // From here on, bodies are what the other protocol says.
            for kind in [Kind::Request, Kind::Response] {
                slot.close(kind, at, 0, Content::Counted);
            }
            slot.response_done = false;
        }
        self.tunnel = Some(index);
    }

    /// Counts what another protocol says in `direction`.
    pub(super) fn carry(&mut self, direction: Direction, at: Timestamp, len: u64, is_lost: bool) {
        let kind = self.kind(direction);
        let Some((index, kind)) = self.tunnel.zip(kind) else { return };
        let Some(slot) = self.pairs.slot(index) else { return };
        if is_lost {
            slot.note(kind.body_lost());
        }
        slot.carry(kind, at, len);
    }

    /// Ends the exchange whose upgrade ended HTTP: its connection has ended.
    pub(super) fn end_tunnel(&mut self) {
        if let Some(index) = self.tunnel
            && let Some(slot) = self.pairs.slot(index)
        {
            slot.response_done = true;
        }
    }

    /// Ends HTTP/1.1 if the response with `index` changes to HTTP/2: whether it does.
    fn change_to_http2(&mut self, index: u64, out: &mut Vec<Exchange>) -> bool {
        let Some(requests) = self.requests else { return false };
        let changes = self.pairs.slot(index).is_some_and(|slot| {
            let response = slot.exchange.response.as_ref();
            let protocol = response.and_then(|response| response.fields.first("upgrade"));
            let is_switch = response.is_some_and(|response| response.status == 101);
            is_switch && protocol.is_some_and(|name| name.eq_ignore_ascii_case(b"h2c"))
        });
        if !changes {
            return false;
        }
        if let Some(mut slot) = self.pairs.take(index) {
            slot.note(Note::Upgraded);
            // The switch is no answer.
            slot.exchange.response = None;
            slot.exchange.anomalies.response = Default::default();
            self.upgrade = Some(Http2Upgrade { requests, exchange: slot.exchange });
        }
        debug_assert_eq!(self.kind(requests), Some(Kind::Request));
        self.wind_up(Ending::Http2, out);
        true
    }
}
