//! A connection: two directions, each in turn between heads and bodies.
//!
//! In: bytes, gaps and ends of either direction, in the order in which they came. Out:
//! [`Exchange`]s, once request and response are complete or will not get more complete.

mod lasting;

pub use lasting::Http2Upgrade;

use super::{
    body::{Body, Progress},
    counts::Counts,
    half::{Half, Reading, Refusal},
    head::{Head, Kind, Parsed, Unreadable},
    pair::{MAX_PIPELINE_BYTES, Pairs, Slot},
    scan::{Flaw, Found, MAX_HEAD},
    trailers::TRAILERS_MAX,
};
use crate::{
    clock::Timestamp,
    flow::chunk::Direction,
    http::{
        body::{Wanted, sample::SAMPLE_MAX},
        message::{Exchange, Note, Request, Response},
    },
};

/// Most bytes that [`Connection::buffered`] reports: a head under way in each direction, what the
/// pipeline may hold, and beyond that the last request let in, one not let in, and a response, with
/// what is read of their bodies and trailers.
pub const MAX_BUFFERED: usize = 5 * MAX_HEAD + 4 * (SAMPLE_MAX + TRAILERS_MAX) + MAX_PIPELINE_BYTES;

/// HTTP/1.x on one connection.
#[derive(Default)]
pub struct Connection {
    inbound: Half,
    outbound: Half,
    /// Which way requests go, once a start line has told.
    requests: Option<Direction>,
    /// A head was read: this is HTTP.
    is_http: bool,
    pairs: Pairs,
    counts: Counts,
    /// The exchange that ended HTTP here, by its index: what comes now is counted for it.
    tunnel: Option<u64>,
    ending: Option<Ending>,
    /// The request that changed to HTTP/2, until it is taken.
    upgrade: Option<Http2Upgrade>,
    wanted: Wanted,
}

/// Why no more exchanges will come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ending {
    /// The bytes are no HTTP/1.x.
    NotHttp,
    /// The connection speaks another protocol now (RFC 9110 §7.8, §9.3.6).
    Upgraded,
    /// The connection speaks HTTP/2 now (RFC 7540 §3.2).
    Http2,
    /// The connection is gone.
    Finished,
}

impl Connection {
    /// A connection of which nothing is known. If its start was not captured, say so by a
    /// [`gap`](Self::gap) before the first bytes of each direction: otherwise a direction that
    /// starts with binary content is taken for another protocol.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// As above; reads of bodies what is `wanted`.
    #[must_use]
    pub fn with(wanted: Wanted) -> Self {
        Self { wanted, ..Self::default() }
    }

    /// From the next message on, reads of bodies what is `wanted`.
    pub fn read(&mut self, wanted: &Wanted) {
        self.wanted = wanted.clone();
    }

    /// Takes bytes of one direction that came at `at`; appends the exchanges that they completed.
    pub fn feed(
        &mut self,
        direction: Direction,
        at: Timestamp,
        bytes: &[u8],
        out: &mut Vec<Exchange>,
    ) {
        self.feed_until_end(direction, at, bytes, out);
    }

    /// As above: how many bytes were taken until HTTP/1.x ended, as [`Self::ending`] says.
    pub fn feed_until_end(
        &mut self,
        direction: Direction,
        at: Timestamp,
        bytes: &[u8],
        out: &mut Vec<Exchange>,
    ) -> usize {
        if self.half(direction).has_ended {
            return bytes.len();
        }
        let mut rest = bytes;
        while !rest.is_empty() && !self.is_done() {
            if self.tunnel.is_some() {
                self.carry(direction, at, rest.len() as u64, false);
                return bytes.len();
            }
            let used = match &mut self.half(direction).reading {
                Some(reading) => {
                    reading.ended = at;
                    let used = reading.advance(rest);
                    self.after_body(direction, out);
                    used
                }
                None => self.scan(direction, at, rest, out),
            };
            rest = rest.get(used..).unwrap_or_default();
        }
        bytes.len().saturating_sub(rest.len())
    }

    /// Bytes of a direction, from here on, that are content of a body: they are counted, not read.
    #[must_use]
    pub fn skippable(&self, direction: Direction) -> u64 {
        let half = match direction {
            Direction::Inbound => &self.inbound,
            Direction::Outbound => &self.outbound,
        };
        match &half.reading {
            _ if self.tunnel.is_some() => u64::MAX,
            Some(reading) if !reading.content.is_wanting() => reading.body.skippable(),
            Some(_) | None => 0,
        }
    }

    /// Passes over `len` bytes of one direction that were there, and were not asked for: they are
    /// content, as [`Self::skippable`] said, or else as good as lost.
    pub fn skipped(
        &mut self,
        direction: Direction,
        at: Timestamp,
        len: u64,
        out: &mut Vec<Exchange>,
    ) {
        if len > self.skippable(direction) || self.is_done() || self.half(direction).has_ended {
            return self.gap(direction, at, len, out);
        }
        if self.tunnel.is_some() {
            return self.carry(direction, at, len, false);
        }
        if let Some(reading) = &mut self.half(direction).reading {
            reading.body.skip(len);
            reading.ended = at;
            self.after_body(direction, out);
        }
    }

    /// Passes over `len` bytes of one direction that were not captured. Within content whose
    /// length is known the framing stays sure; elsewhere the next certain start is sought.
    pub fn gap(&mut self, direction: Direction, at: Timestamp, len: u64, out: &mut Vec<Exchange>) {
        if len == 0 || self.is_done() || self.half(direction).has_ended {
            return;
        }
        if self.tunnel.is_some() {
            return self.carry(direction, at, len, true);
        }
        let half = self.half(direction);
        half.has_gap = true;
        if let Some(reading) = &mut half.reading
            && reading.body.skip(len)
        {
            reading.ended = at;
            reading.content.lose(len);
            let (kind, index) = (reading.kind, reading.index);
            self.note(index, kind.body_lost());
            self.after_body(direction, out);
        } else {
            half.scanner.seek();
            self.lose(direction, out);
        }
    }

    /// One direction has ended: a body that lasts until then is complete, others stay unfinished.
    pub fn end(&mut self, direction: Direction, _at: Timestamp, out: &mut Vec<Exchange>) {
        if self.is_done() {
            return;
        }
        self.close(direction);
        if self.tunnel.is_some() && self.inbound.has_ended && self.outbound.has_ended {
            self.wind_up(Ending::Upgraded, out);
        }
        self.pairs.settle(out);
    }

    /// The connection is gone: reports what is under way, unfinished.
    pub fn finish(&mut self, _at: Timestamp, out: &mut Vec<Exchange>) {
        if !self.is_done() {
            let is_tunnel = self.tunnel.is_some();
            self.wind_up(if is_tunnel { Ending::Upgraded } else { Ending::Finished }, out);
        }
    }

    /// Whether no more exchanges will come, so that feeding may stop.
    #[must_use]
    pub const fn is_done(&self) -> bool {
        self.ending.is_some()
    }

    /// Why no more exchanges will come, `None` while they may.
    #[must_use]
    pub const fn ending(&self) -> Option<Ending> {
        self.ending
    }

    /// Bytes held: partial heads, and the heads of exchanges under way. At most [`MAX_BUFFERED`].
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.inbound
            .scanner
            .held()
            .saturating_add(self.outbound.scanner.held())
            .saturating_add(self.inbound.read())
            .saturating_add(self.outbound.read())
            .saturating_add(self.pairs.head_bytes())
    }

    /// What went wrong so far.
    #[must_use]
    pub const fn counts(&self) -> Counts {
        self.counts
    }

    const fn half(&mut self, direction: Direction) -> &mut Half {
        match direction {
            Direction::Inbound => &mut self.inbound,
            Direction::Outbound => &mut self.outbound,
        }
    }

    /// Which messages go in `direction`, once that is known.
    fn kind(&self, direction: Direction) -> Option<Kind> {
        let requests = self.requests?;
        Some(if requests == direction { Kind::Request } else { Kind::Response })
    }

    /// Takes bytes that stand outside bodies: how many.
    fn scan(
        &mut self,
        direction: Direction,
        at: Timestamp,
        bytes: &[u8],
        out: &mut Vec<Exchange>,
    ) -> usize {
        let wanted = self.kind(direction);
        let is_http = self.is_http;
        let half = self.half(direction);
        let was_seeking = half.scanner.is_seeking();
        let is_search = was_seeking && !is_http;
        let bytes = if is_search { half.within_search(bytes) } else { bytes };
        let (used, found) = half.scanner.advance(wanted, at, bytes);
        if is_search && let Some(refusal) = half.search(bytes.get(..used).unwrap_or(bytes)) {
            self.counts.resync_given_up = u64::from(refusal == Refusal::TooFar);
            self.wind_up(Ending::NotHttp, out);
            return used;
        }
        match found {
            Found::Nothing => {
                if let Some(kind) = self.half(direction).scanner.started() {
                    self.announce(direction, kind);
                }
            }
            Found::Loss { flaw, kind } => {
                if let Some(kind) = kind {
                    self.announce(direction, kind);
                }
                self.counts.add(flaw);
                self.add_flaw(direction, flaw);
                self.lose(direction, out);
            }
            Found::Head(Head::Request(request)) => self.request(direction, at, request, out),
            Found::Head(Head::Response(response)) => {
                if was_seeking {
                    self.pairs.resume();
                }
                self.response(direction, at, response, out);
            }
        }
        used
    }

    /// What is odd about a request's head that cannot be read.
    fn add_flaw(&mut self, direction: Direction, flaw: Flaw) {
        if let Flaw::Unreadable(Unreadable::Syntax(anomalies)) = flaw
            && let Some(index) = self.half(direction).opened
            && let Some(slot) = self.pairs.slot(index)
        {
            slot.add_anomalies(Kind::Request, anomalies);
        }
    }

    /// A message of this kind has started: fixes the role, and opens a request's exchange.
    fn announce(&mut self, direction: Direction, kind: Kind) {
        match kind {
            Kind::Request => {
                self.requests = Some(direction);
                if self.half(direction).opened.is_none() {
                    let index = self.pairs.open(kind.role(direction), &mut self.counts);
                    self.half(direction).opened = Some(index);
                }
            }
            Kind::Response => self.requests = Some(direction.reverse()),
        }
    }

    fn request(
        &mut self,
        direction: Direction,
        at: Timestamp,
        request: Parsed<Request>,
        out: &mut Vec<Exchange>,
    ) {
        self.is_http = true;
        self.announce(direction, Kind::Request);
        let Some(index) = self.half(direction).opened.take() else { return };
        let Parsed { message, framing, len } = request;
        let content = self.wanted.of_request(&message.method, &message.target, &message.fields);
        if let Some(slot) = self.pairs.slot(index) {
            slot.exchange.request = Some(message);
            slot.add_head(len);
            slot.add_anomalies(Kind::Request, framing.anomalies);
        }
        let body = Body::of_request(framing.coding);
        let rival = framing.rival;
        self.half(direction).reading =
            Some(Reading::new((Kind::Request, index), body, rival, content, at));
        self.after_body(direction, out);
    }

    fn response(
        &mut self,
        direction: Direction,
        at: Timestamp,
        response: Parsed<Response>,
        out: &mut Vec<Exchange>,
    ) {
        self.is_http = true;
        self.announce(direction, Kind::Response);
        let Parsed { message, framing, len } = response;
        let status = message.status;
        if status < 200 && status != 101 {
            return;
        }
        let index = self.pairs.answer(Kind::Response.role(direction), &mut self.counts);
        let Some(slot) = self.pairs.slot(index) else { return };
        let asked = slot.exchange.request.as_ref();
        let content = self.wanted.of_response(asked, &message.fields);
        slot.exchange.response = Some(message);
        slot.add_head(len);
        slot.add_anomalies(Kind::Response, framing.anomalies);
        let method = slot.exchange.request.as_ref().map(|request| request.method.as_str());
        if status == 101 || (method == Some("CONNECT") && status < 300) {
            return self.upgrade(index, direction, at, out);
        }
        let body = Body::of_response(framing.coding, status, method);
        let rival = framing.rival.filter(|_| body.progress() == Progress::More);
        self.half(direction).reading =
            Some(Reading::new((Kind::Response, index), body, rival, content, at));
        self.after_body(direction, out);
    }

    /// Ends the message under way if its body has ended, or cannot be followed any further.
    fn after_body(&mut self, direction: Direction, out: &mut Vec<Exchange>) {
        let half = self.half(direction);
        let Some(Reading { body, .. }) = &half.reading else { return };
        match body.progress() {
            Progress::More => {}
            Progress::End => {
                self.complete(direction);
                self.pairs.settle(out);
            }
            Progress::Broken => {
                half.scanner.seek();
                self.counts.body_unframed = self.counts.body_unframed.saturating_add(1);
                self.lose(direction, out);
            }
        }
    }

    /// Framing is unknown from here on: what is under way in this direction stays incomplete.
    fn lose(&mut self, direction: Direction, out: &mut Vec<Exchange>) {
        self.counts.resyncs = self.counts.resyncs.saturating_add(1);
        if let Some(Reading { kind, index, .. }) = &self.half(direction).reading {
            let (kind, index) = (*kind, *index);
            self.note(index, kind.body_lost());
            self.complete(direction);
        }
        self.lose_opened(direction);
        self.pairs.lose(self.kind(direction), &mut self.counts);
        self.pairs.settle(out);
    }

    /// Ends the message under way with what there is of it.
    fn complete(&mut self, direction: Direction) {
        let Some(reading) = self.half(direction).reading.take() else { return };
        if let Some(slot) = self.pairs.slot(reading.index) {
            slot.add_anomalies(reading.kind, reading.anomalies());
            if let Some(trailers) = &reading.trailers {
                slot.end(trailers, reading.kind);
            }
            slot.close(reading.kind, reading.ended, reading.body.len(), reading.content);
        }
    }

    /// Ends the request whose head is under way without it.
    fn lose_opened(&mut self, direction: Direction) -> Option<&mut Slot> {
        let index = self.half(direction).opened.take()?;
        let slot = self.pairs.slot(index)?;
        slot.request_done = true;
        slot.note(Note::RequestHeadLost);
        Some(slot)
    }

    /// Ends a direction.
    fn close(&mut self, direction: Direction) {
        let half = self.half(direction);
        half.has_ended = true;
        half.scanner.expect();
        if let Some(Reading { index, body, .. }) = &half.reading {
            let (index, is_unfinished) = (*index, !body.ends_with_connection());
            if is_unfinished {
                self.note(index, Note::Unfinished);
            }
            self.complete(direction);
        }
        if let Some(slot) = self.lose_opened(direction) {
            slot.note(Note::Unfinished);
        }
        if self.kind(direction) == Some(Kind::Response) {
            self.pairs.abandon();
        }
    }

    /// Ends everything.
    fn wind_up(&mut self, ending: Ending, out: &mut Vec<Exchange>) {
        self.end_tunnel();
        self.close(Direction::Inbound);
        self.close(Direction::Outbound);
        self.pairs.abandon();
        self.pairs.settle(out);
        self.ending = Some(ending);
    }

    fn note(&mut self, index: u64, note: Note) {
        if let Some(slot) = self.pairs.slot(index) {
            slot.note(note);
        }
    }
}
