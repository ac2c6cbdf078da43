//! The streams of one connection: requests paired with their responses (RFC 9113 §5.1, §8.1).
//!
//! In: header blocks and body lengths by stream, ends, losses. Out: [`Exchange`]s, each once, when
//! both ends are over or nothing can follow. Either side of a stream may come first, since the two
//! directions are captured apart. Streams that a server opens (pushes) are left out: no client
//! made those requests.

use std::collections::BTreeMap;

use super::{
    block::Side,
    stream::{Body, Headers, Progress, Stream},
};
use crate::{
    clock::{NANOS_PER_SEC, Timestamp},
    http::{
        body::Wanted,
        message::{Exchange, Note, Phase, Role},
    },
};

/// Streams in flight on one connection. Servers permit 100 to 250 at once; beyond this the oldest
/// is given up, so that neither a flood nor ends that were lost pile up. A stream that is reset is
/// over: a rapid reset holds nothing.
pub const STREAMS_MAX: usize = 1024;

/// Octets that all streams in flight may hold: 2 KiB for each of [`STREAMS_MAX`].
pub const STREAMS_SIZE_MAX: usize = 2 * 1024 * 1024;

/// How long a stream waits for the end of its response after that may have been lost.
pub const LINGER_NANOS: u64 = 60 * NANOS_PER_SEC;

/// Ranges of streams whose requests were lost; beyond this the oldest is forgotten, and responses
/// in it are left out.
const LOST_RANGES_MAX: usize = 16;

/// Streams in flight.
#[derive(Default)]
pub struct Streams {
    streams: BTreeMap<u32, Box<Stream>>,
    /// Octets that they hold.
    size: usize,
    /// How many of them have no request.
    orphans: usize,
    /// The last stream on which a request was seen. Clients open streams in order (§5.1.1).
    last_request: u32,
    /// Streams between these two, exclusively, may have had requests that were lost.
    lost: Vec<(u32, u32)>,
    /// The last stream that the server acts upon, once it said so.
    last_accepted: Option<u32>,
    /// When ends of responses may have been lost.
    unsure_since: Option<Timestamp>,
    /// How many streams were given up because there were too many.
    evicted: u64,
    /// How many of `lost` were forgotten because there were too many.
    losses_forgotten: u64,
    /// Position of stream 1's exchange on the connection.
    first: u64,
    wanted: Wanted,
}

/// Position of a stream's exchange on a connection on which stream 1 has `first`.
const fn index(first: u64, id: u32) -> u64 {
    first.saturating_add((id / 2) as u64)
}

/// Where exchanges go, and what they all have in common.
pub struct Outlet<'a> {
    /// Which end the observed process is.
    pub role: Role,
    /// Takes the exchanges.
    pub exchanges: &'a mut Vec<Exchange>,
}

impl Streams {
    /// No streams yet; reads of bodies what is `wanted`.
    pub fn with(wanted: Wanted) -> Self {
        Self { wanted, ..Self::default() }
    }

    /// From the next stream on, reads of bodies what is `wanted`.
    pub fn read(&mut self, wanted: &Wanted) {
        self.wanted = wanted.clone();
    }

    /// As above; exchanges are counted from `first`, which is stream 1.
    pub fn counting_from(self, first: u64) -> Self {
        Self { first, ..self }
    }

    /// No streams, of the same connection.
    pub fn renewed(&self) -> Self {
        Self::with(self.wanted.clone()).counting_from(self.first)
    }

    /// Takes over the exchange of a request that was made otherwise: its response comes on stream 1
    /// (RFC 7540 §3.2).
    pub fn adopt(&mut self, exchange: Exchange) {
        let Exchange { request, notes, anomalies, .. } = exchange;
        let Some(request) = request else { return };
        self.last_request = 1;
        let mut stream =
            Stream { wanted: self.wanted.clone(), notes, anomalies, ..Stream::default() };
        stream.adopt(request);
        self.size = self.size.saturating_add(stream.size);
        self.streams.insert(1, Box::new(stream));
    }

    /// Whether a request is under way of which [`Self::tell_lasting`] has not told.
    pub fn is_under_way(&self) -> bool {
        self.streams.values().any(|stream| !stream.is_told && stream.request.is_some())
    }

    /// Tells of the exchanges that began `age_nanos` before `now` and are not over, once each.
    pub fn tell_lasting(&mut self, now: Timestamp, age_nanos: u64, out: &mut Outlet<'_>) {
        for (id, stream) in &mut self.streams {
            let began = stream.request.as_ref().map(|request| request.started);
            if stream.is_told || began.is_none_or(|began| now.since(began) < age_nanos) {
                continue;
            }
            stream.is_told = true;
            let known = Exchange::new(index(self.first, *id), out.role);
            out.exchanges.push(Exchange {
                request: stream.request.clone(),
                response: stream.response.clone(),
                notes: stream.notes.clone(),
                anomalies: stream.anomalies,
                phase: Phase::Begun,
                ..known
            });
        }
    }

    /// A header block of the client. `after_loss` tells that earlier ones may be missing. Returns
    /// whether it is a request's head.
    pub fn on_request(&mut self, headers: Headers, after_loss: bool, out: &mut Outlet<'_>) -> bool {
        let id = headers.stream;
        let has_request = self.streams.get(&id).is_some_and(|stream| stream.request.is_some());
        let is_head = headers.block.heads == Some(Side::Request) && !has_request;
        // A head on an earlier stream proves that what seemed to be a later request was none. Any
        // other block there is trailers, which say nothing that matters here.
        if id <= self.last_request && !is_head {
            if headers.is_end {
                self.on_end(Side::Request, id, headers.ended, out);
            }
            return false;
        }
        if !is_head && !headers.block.is_incomplete {
            return false;
        }
        if after_loss {
            self.add_lost(self.last_request, id);
        }
        self.last_request = id;
        self.expire(headers.ended, out);
        if headers.block.is_lost {
            self.add_lost(id.saturating_sub(1), id.saturating_add(1));
        } else {
            self.open(headers);
        }
        self.settle_orphans(id, out);
        self.settle(id, out);
        if self.last_accepted.is_some_and(|last| id > last) {
            self.give_up(id, out);
        }
        self.shed(out);
        true
    }

    /// A header block of the server.
    pub fn on_response(&mut self, headers: Headers, out: &mut Outlet<'_>) {
        let Headers { stream: id, block, is_end, started, ended } = headers;
        if block.status.is_some_and(|status| (100..200).contains(&status)) && !is_end {
            return;
        }
        let may_open = block.status.is_some()
            && (id > self.last_request || self.lost.iter().any(|lost| lost.0 < id && id < lost.1));
        if may_open && !self.streams.contains_key(&id) {
            let stream = Stream { wanted: self.wanted.clone(), ..Stream::default() };
            self.streams.insert(id, Box::new(stream));
            self.orphans += 1;
        }
        let Some(stream) = self.streams.get_mut(&id) else { return };
        let before = stream.size;
        stream.add_response(block, is_end, started, ended);
        self.size = self.size.saturating_add(stream.size.saturating_sub(before));
        if is_end {
            self.on_end(Side::Response, id, ended, out);
        } else {
            self.settle(id, out);
        }
        self.shed(out);
    }

    /// Content of a request or response.
    pub fn on_body(&mut self, side: Side, body: &Body<'_>, out: &mut Outlet<'_>) {
        let Some(stream) = self.streams.get_mut(&body.stream) else { return };
        let before = stream.size;
        stream.add_body(side, body);
        self.size = self.size.saturating_add(stream.size.saturating_sub(before));
        if body.is_end {
            self.on_end(side, body.stream, body.at, out);
        }
        self.shed(out);
    }

    /// One end gave up a stream (RFC 9113 §6.4).
    pub fn on_reset(&mut self, id: u32, out: &mut Outlet<'_>) {
        self.give_up(id, out);
    }

    /// The server acts on no stream beyond `last` (RFC 9113 §6.8).
    pub fn on_goaway(&mut self, last: u32, out: &mut Outlet<'_>) {
        let last = self.last_accepted.map_or(last, |before| before.min(last));
        self.last_accepted = Some(last);
        while let Some((&id, _)) = self.streams.range(last.saturating_add(1)..).next() {
            self.give_up(id, out);
        }
    }

    /// Frames of one direction were lost, on streams that nobody knows.
    pub fn on_loss(&mut self, side: Side, at: Timestamp) {
        for stream in self.streams.values_mut() {
            match side {
                Side::Request => stream.lose_request(),
                Side::Response => stream.lose_response(),
            }
        }
        if side == Side::Response {
            self.unsure_since = Some(at);
        }
    }

    /// Nothing follows: gives up all that is in flight.
    pub fn finish(&mut self, out: &mut Outlet<'_>) {
        self.settle_orphans(u32::MAX, out);
        while let Some((&id, _)) = self.streams.first_key_value() {
            self.give_up(id, out);
        }
    }

    /// Octets that the streams hold; at most [`STREAMS_SIZE_MAX`].
    #[must_use]
    pub const fn size(&self) -> usize {
        self.size
    }

    /// How many streams were given up because there were too many, or they held too much.
    #[must_use]
    pub const fn evicted(&self) -> u64 {
        self.evicted
    }

    /// How many losses of requests were forgotten because there were too many.
    #[must_use]
    pub const fn losses_forgotten(&self) -> u64 {
        self.losses_forgotten
    }

    fn open(&mut self, headers: Headers) {
        let id = headers.stream;
        let is_orphan = self.streams.contains_key(&id);
        let new = || Box::new(Stream { wanted: self.wanted.clone(), ..Stream::default() });
        let stream = self.streams.entry(id).or_insert_with(new);
        self.orphans = self.orphans.saturating_sub(usize::from(is_orphan));
        let before = stream.size;
        stream.add_request(headers);
        self.size = self.size.saturating_add(stream.size.saturating_sub(before));
    }

    fn on_end(&mut self, side: Side, id: u32, at: Timestamp, out: &mut Outlet<'_>) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        *stream.progress(side) = Progress::Ended;
        if let Some(ended) = stream.ended(side) {
            *ended = at;
        }
        stream.check_length(side);
        self.settle(id, out);
    }

    /// Reports the stream if it is over.
    fn settle(&mut self, id: u32, out: &mut Outlet<'_>) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        if stream.is_tunnel() {
            stream.note(Note::Upgraded);
        }
        if !stream.is_over(id <= self.last_request) {
            return;
        }
        self.report(id, out);
    }

    /// Reports the responses whose requests can't come any more: `id` was opened later.
    fn settle_orphans(&mut self, id: u32, out: &mut Outlet<'_>) {
        if self.orphans == 0 {
            return;
        }
        let over = |stream: &Stream| stream.request.is_none() && stream.is_over(true);
        let orphans = self.streams.range(..id).filter(|(_, stream)| over(stream));
        let orphans: Vec<u32> = orphans.map(|(id, _)| *id).collect();
        for orphan in orphans {
            self.report(orphan, out);
        }
    }

    /// Reports a stream that is not over.
    fn give_up(&mut self, id: u32, out: &mut Outlet<'_>) {
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.note(Note::Unfinished);
            self.report(id, out);
        }
    }

    /// Gives up the oldest streams while there are too many.
    fn shed(&mut self, out: &mut Outlet<'_>) {
        while self.streams.len() > STREAMS_MAX || self.size > STREAMS_SIZE_MAX {
            let Some((&oldest, _)) = self.streams.first_key_value() else { break };
            self.evicted += 1;
            self.give_up(oldest, out);
        }
    }

    /// Gives up streams whose end was probably lost long ago.
    fn expire(&mut self, now: Timestamp, out: &mut Outlet<'_>) {
        if self.unsure_since.is_none_or(|since| now.since(since) < LINGER_NANOS) {
            return;
        }
        self.unsure_since = None;
        let unsure = |stream: &Stream| stream.response_progress == Progress::Unsure;
        let expired = self.streams.iter().filter(|(_, stream)| unsure(stream));
        let expired: Vec<u32> = expired.map(|(id, _)| *id).collect();
        for id in expired {
            self.give_up(id, out);
        }
    }

    fn report(&mut self, id: u32, out: &mut Outlet<'_>) {
        let Some(mut stream) = self.streams.remove(&id) else { return };
        self.size = self.size.saturating_sub(stream.size);
        if stream.request.is_none() {
            self.orphans = self.orphans.saturating_sub(1);
            stream.note(Note::RequestHeadLost);
        }
        if stream.response.is_none() && stream.is_response_head_lost {
            stream.note(Note::ResponseHeadLost);
        }
        stream.notes.sort_unstable();
        let Stream { request, response, notes, anomalies, .. } = *stream;
        let known = Exchange::new(index(self.first, id), out.role);
        out.exchanges.push(Exchange { request, response, notes, anomalies, ..known });
    }

    fn add_lost(&mut self, after: u32, before: u32) {
        if self.lost.len() >= LOST_RANGES_MAX {
            self.lost.remove(0);
            self.losses_forgotten += 1;
        }
        self.lost.push((after, before));
    }
}
