//! A connection: two directions, each in turn between heads and bodies.
//!
//! In: bytes, gaps and ends of either direction, in the order in which they came. Out:
//! [`Exchange`]s, once request and response are complete or will not get more complete.

use super::{
    body::{Body, Progress},
    head::{Head, Kind, Parsed, Unreadable},
    pair::{MAX_PIPELINE_BYTES, Pairs, Slot},
    scan::{Flaw, Found, MAX_HEAD, Scanner},
};
use crate::{
    clock::Timestamp,
    flow::chunk::Direction,
    http::message::{Exchange, Note, Request, Response},
};

/// Most bytes of one direction that are searched for a first head. A connection joined in the
/// middle of a large download stays unknown that long; one without HTTP is not searched for ever.
pub const MAX_RESYNC: u64 = 1024 * 1024;

/// Most bytes that [`Connection::buffered`] reports: a head under way in each direction, what the
/// pipeline may hold, and beyond that the last request let in, one not let in, and a response.
pub const MAX_BUFFERED: usize = 5 * MAX_HEAD + MAX_PIPELINE_BYTES;

/// First bytes of a direction by which binary protocols are told from text that was joined in the
/// middle: 64 random bytes are free of control characters once in a few thousand times.
const SNIFFED: u64 = 64;

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
    ending: Option<Ending>,
}

/// Why no more exchanges will come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ending {
    /// The bytes are no HTTP/1.x.
    NotHttp,
    /// The connection speaks another protocol now (RFC 9110 §7.8, §9.3.6).
    Upgraded,
    /// The connection is gone.
    Finished,
}

/// How often each limit was hit, and what else keeps exchanges from being whole.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counts {
    /// Heads longer than [`MAX_HEAD`].
    pub head_too_long: u64,
    /// Heads with more fields than [`MAX_FIELDS`](super::MAX_FIELDS).
    pub too_many_fields: u64,
    /// Heads that could not be read.
    pub head_unreadable: u64,
    /// Bodies whose framing was unusable, or whose chunk-size lines or trailers were longer than
    /// [`MAX_CHUNK_LINE`](super::MAX_CHUNK_LINE) or [`MAX_TRAILERS`](super::MAX_TRAILERS).
    pub body_unframed: u64,
    /// Requests beyond [`MAX_PIPELINE`](super::MAX_PIPELINE) or [`MAX_PIPELINE_BYTES`].
    pub pipeline_overflow: u64,
    /// Losses of unknown extent, after each of which the next message start was sought.
    pub resyncs: u64,
    /// Whether (1) [`MAX_RESYNC`] bytes passed without a head.
    pub resync_given_up: u64,
    /// Whether (1) a connection both pipelined and lost bytes, so that it is not paired any more.
    pub pairing_given_up: u64,
}

/// One direction.
#[derive(Default)]
struct Half {
    scanner: Scanner,
    /// The body under way.
    reading: Option<Reading>,
    /// Index of the request whose head is under way.
    opened: Option<u64>,
    /// Bytes searched before the connection's first head.
    searched: u64,
    /// Bytes are known to be missing.
    has_gap: bool,
    has_ended: bool,
}

/// A message whose body is under way.
struct Reading {
    kind: Kind,
    /// Index of its exchange.
    index: u64,
    body: Body,
    /// When its last byte so far came.
    ended: Timestamp,
}

impl Connection {
    /// A connection of which nothing is known. If its start was not captured, say so by a
    /// [`gap`](Self::gap) before the first bytes of each direction: otherwise a direction that
    /// starts with binary content is taken for another protocol.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes bytes of one direction that came at `at`; appends the exchanges that they completed.
    pub fn feed(
        &mut self,
        direction: Direction,
        at: Timestamp,
        bytes: &[u8],
        out: &mut Vec<Exchange>,
    ) {
        if self.half(direction).has_ended {
            return;
        }
        let mut rest = bytes;
        while !rest.is_empty() && !self.is_done() {
            let used = match &mut self.half(direction).reading {
                Some(reading) => {
                    reading.ended = at;
                    let used = reading.body.advance(rest);
                    self.after_body(direction, out);
                    used
                }
                None => self.scan(direction, at, rest, out),
            };
            rest = rest.get(used..).unwrap_or_default();
        }
    }

    /// Bytes of a direction, from here on, that are content of a body: they are counted, not read.
    #[must_use]
    pub fn skippable(&self, direction: Direction) -> u64 {
        let half = match direction {
            Direction::Inbound => &self.inbound,
            Direction::Outbound => &self.outbound,
        };
        half.reading.as_ref().map_or(0, |reading| reading.body.skippable())
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
        let half = self.half(direction);
        half.has_gap = true;
        if let Some(reading) = &mut half.reading
            && reading.body.skip(len)
        {
            reading.ended = at;
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
        self.pairs.settle(out);
    }

    /// The connection is gone: reports what is under way, unfinished.
    pub fn finish(&mut self, _at: Timestamp, out: &mut Vec<Exchange>) {
        if !self.is_done() {
            self.wind_up(Ending::Finished, out);
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
        let Parsed { message, coding, ambiguous, len } = request;
        if let Some(slot) = self.pairs.slot(index) {
            slot.exchange.request = Some(message);
            slot.add_head(len, ambiguous);
        }
        let body = Body::of_request(coding);
        self.half(direction).reading =
            Some(Reading { kind: Kind::Request, index, body, ended: at });
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
        let Parsed { message, coding, ambiguous, len } = response;
        let status = message.status;
        if status < 200 && status != 101 {
            return;
        }
        let index = self.pairs.answer(Kind::Response.role(direction), &mut self.counts);
        let Some(slot) = self.pairs.slot(index) else { return };
        slot.exchange.response = Some(message);
        slot.add_head(len, ambiguous);
        let method = slot.exchange.request.as_ref().map(|request| request.method.as_str());
        if status == 101 || (method == Some("CONNECT") && status < 300) {
            return self.upgrade(index, direction, at, out);
        }
        let body = Body::of_response(coding, status, method);
        self.half(direction).reading =
            Some(Reading { kind: Kind::Response, index, body, ended: at });
        self.after_body(direction, out);
    }

    /// The response with `index` ends HTTP on this connection.
    fn upgrade(
        &mut self,
        index: u64,
        direction: Direction,
        at: Timestamp,
        out: &mut Vec<Exchange>,
    ) {
        self.complete(direction.reverse());
        if let Some(slot) = self.pairs.slot(index) {
            slot.request_done = true;
            slot.close(Kind::Response, at, 0);
            slot.note(Note::Upgraded);
        }
        self.wind_up(Ending::Upgraded, out);
    }

    /// Ends the message under way if its body has ended, or cannot be followed any further.
    fn after_body(&mut self, direction: Direction, out: &mut Vec<Exchange>) {
        let half = self.half(direction);
        let Some(Reading { index, body, .. }) = &half.reading else { return };
        match body.progress() {
            Progress::More => {}
            Progress::End => {
                self.complete(direction);
                self.pairs.settle(out);
            }
            Progress::Broken => {
                let index = *index;
                half.scanner.seek();
                self.counts.body_unframed = self.counts.body_unframed.saturating_add(1);
                self.note(index, Note::AmbiguousFraming);
                self.lose(direction, out);
            }
        }
    }

    /// Framing is unknown from here on: what is under way in this direction stays incomplete.
    fn lose(&mut self, direction: Direction, out: &mut Vec<Exchange>) {
        self.counts.resyncs = self.counts.resyncs.saturating_add(1);
        if let Some(Reading { kind, index, .. }) = self.half(direction).reading {
            self.note(index, kind.body_lost());
            self.complete(direction);
        }
        self.lose_opened(direction);
        self.pairs.lose(self.kind(direction), &mut self.counts);
        self.pairs.settle(out);
    }

    /// Ends the message under way with what there is of it.
    fn complete(&mut self, direction: Direction) {
        let Some(Reading { kind, index, body, ended }) = self.half(direction).reading.take() else {
            return;
        };
        if let Some(slot) = self.pairs.slot(index) {
            slot.close(kind, ended, body.len());
            if body.is_ambiguous() {
                slot.note(Note::AmbiguousFraming);
            }
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
        if let Some(Reading { index, body, .. }) = half.reading {
            if !body.ends_with_connection() {
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

/// Why a connection without a head is not searched any further.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Refusal {
    /// Its first bytes are binary.
    Binary,
    /// [`MAX_RESYNC`] bytes were searched.
    TooFar,
}

impl Half {
    /// As much of `bytes` as may still be searched for a first head.
    fn within_search<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        let left = usize::try_from(MAX_RESYNC.saturating_sub(self.searched)).unwrap_or(usize::MAX);
        bytes.get(..left).unwrap_or(bytes)
    }

    /// Accounts for bytes that were searched.
    fn search(&mut self, bytes: &[u8]) -> Option<Refusal> {
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

impl Counts {
    const fn add(&mut self, flaw: Flaw) {
        let count = match flaw {
            // No head was begun: the resync that follows is all there is to count.
            Flaw::NotAStart => return,
            Flaw::TooLong => &mut self.head_too_long,
            Flaw::Unreadable(Unreadable::TooManyFields) => &mut self.too_many_fields,
            Flaw::Unreadable(Unreadable::Syntax) => &mut self.head_unreadable,
        };
        *count = count.saturating_add(1);
    }
}
