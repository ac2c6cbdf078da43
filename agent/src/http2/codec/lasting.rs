//! What a connection is beyond one exchange: exchanges that last, a begin as HTTP/1.1, and a new
//! begin where memory must be given up.

use super::Connection;
use crate::{
    clock::Timestamp,
    flow::chunk::Direction,
    http::{body::Wanted, message::Exchange},
    http2::streams::Streams,
};

impl Connection {
    /// A connection that begins after an upgrade (RFC 7540 §3.2): `exchange` waits for its
    /// response on stream 1, and the client's preface is still to come. Reads of bodies what is
    /// `wanted`.
    #[must_use]
    pub fn after_upgrade(wanted: Wanted, requests: Direction, exchange: Exchange) -> Self {
        let mut streams = Streams::with(wanted).counting_from(exchange.index);
        streams.adopt(exchange);
        let mut connection =
            Self { requests: Some(requests), is_sure: true, streams, ..Self::default() };
        // The client's first SETTINGS are in a field of its request.
        connection.half(requests.reverse()).deframer.permit_all();
        connection
    }

    /// From the next stream on, reads of bodies what is `wanted`.
    pub fn read(&mut self, wanted: &Wanted) {
        self.streams.read(wanted);
    }

    /// Whether a request is under way of which [`Self::tell_lasting`] has not told.
    #[must_use]
    pub fn is_under_way(&self) -> bool {
        self.streams.is_under_way()
    }

    /// Tells of the exchanges that began `age_nanos` before `now` and are not over, once each.
    pub fn tell_lasting(&mut self, now: Timestamp, age_nanos: u64, out: &mut Vec<Exchange>) {
        if let Some((streams, mut outlet)) = self.streams(out) {
            streams.tell_lasting(now, age_nanos, &mut outlet);
        }
    }

    /// Gives up all that is held: what is under way is reported unfinished, and the connection is
    /// read on as one that was joined here.
    pub fn give_up(&mut self, at: Timestamp, out: &mut Vec<Exchange>) {
        let counters = self.counters();
        if let Some((streams, mut outlet)) = self.streams(out) {
            streams.finish(&mut outlet);
        }
        let ended = [self.inbound.has_ended, self.outbound.has_ended];
        *self = Self {
            requests: self.requests,
            is_sure: self.is_sure,
            streams: self.streams.renewed(),
            counters,
            ..Self::default()
        };
        [self.inbound.has_ended, self.outbound.has_ended] = ended;
        for direction in [Direction::Inbound, Direction::Outbound] {
            self.gap(direction, at, 1, out);
        }
    }
}
