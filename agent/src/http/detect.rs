//! What protocol a connection speaks, by its first bytes, and the codec for it.
//!
//! In: bytes, gaps and ends of one connection. Out: [`Exchange`]s, or the [`Reason`] why there
//! will be none. A codec that will give none any more is dropped, with all that it held.
//!
//! A connection whose start was seen is HTTP/2 by its preface or its server's SETTINGS. One that
//! was joined late, as a gap before its first bytes says, is HTTP/2 if those begin with a chain
//! of frames, or are whole frames when the other end answers. Everything else is HTTP/1.x, until
//! that codec finds that it is not.

use super::{body::Wanted, message::Exchange};
use crate::{
    clock::Timestamp,
    flow::chunk::Direction,
    http1::{self, Ending},
    http2::{self, Verdict},
};

/// What an HTTP/2 server sends first: the header of a SETTINGS frame (RFC 9113 §3.4, §4.1), whose
/// length, the second and third byte, is left open.
const HTTP2_SETTINGS: [Option<u8>; 9] =
    [Some(0), None, None, Some(4), Some(0), Some(0), Some(0), Some(0), Some(0)];

/// Why a connection gives no (more) exchanges.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Reason {
    /// It speaks something else than HTTP.
    NotHttp,
    /// It spoke HTTP/1.x, and changed to another protocol.
    Upgraded,
}

impl Reason {
    /// Name in coverage reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotHttp => "not_http",
            Self::Upgraded => "upgraded",
        }
    }
}

/// The codec of one connection.
#[derive(Default)]
pub struct Codec {
    protocol: Protocol,
    wanted: Wanted,
    /// How often limits were hit by codecs that were dropped.
    limits_hit: u64,
}

enum Protocol {
    /// Too few bytes were seen to tell.
    Unknown(Opening),
    Http1(Box<http1::Connection>),
    Http2(Box<http2::Connection>),
    /// Nothing more is read, `None` after the end of a connection that was read to its end.
    Closed(Option<Reason>),
}

/// What came before the protocol was known.
#[derive(Default)]
struct Opening {
    /// The first bytes of the direction that spoke first, as long as they may start HTTP/2.
    held: Vec<u8>,
    /// Where they went, and when the first one came.
    first: Option<(Direction, Timestamp)>,
    /// Losses before them: the connection was joined late.
    gaps: Vec<(Direction, Timestamp, u64)>,
}

impl Default for Protocol {
    fn default() -> Self {
        Self::Unknown(Opening::default())
    }
}

impl Codec {
    /// A codec for a connection of which nothing is known.
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
        match &mut self.protocol {
            Protocol::Http1(connection) => connection.read(wanted),
            Protocol::Http2(connection) => connection.read(wanted),
            Protocol::Unknown(_) | Protocol::Closed(_) => {}
        }
    }

    /// Takes bytes of one direction that came at `at`; appends the exchanges that they completed.
    pub fn feed(
        &mut self,
        direction: Direction,
        at: Timestamp,
        bytes: &[u8],
        out: &mut Vec<Exchange>,
    ) {
        let rest = match &mut self.protocol {
            Protocol::Unknown(opening) => match opening.take(direction, at, bytes) {
                Told::Unsure => return,
                Told::Http2 { used } => {
                    self.start_http2(out);
                    bytes.get(used..).unwrap_or_default()
                }
                Told::Answered { asked_at } => {
                    self.start_http2(out);
                    if let Protocol::Http2(connection) = &mut self.protocol {
                        connection.settle(direction.reverse(), asked_at, out);
                    }
                    bytes
                }
                Told::NotHttp2 { used } => bytes.get(used..).unwrap_or_default(),
            },
            Protocol::Http1(_) | Protocol::Http2(_) | Protocol::Closed(_) => bytes,
        };
        let mut used = rest.len();
        self.act(
            out,
            |http1, out| used = http1.feed_until_end(direction, at, rest, out),
            |http2, out| http2.feed(direction, at, rest, out),
        );
        // After the change to another version.
        if let (Protocol::Http2(connection), Some(rest @ [_, ..])) =
            (&mut self.protocol, rest.get(used..))
        {
            connection.feed(direction, at, rest, out);
        }
    }

    /// Passes over `len` bytes of one direction that were not captured.
    pub fn gap(&mut self, direction: Direction, at: Timestamp, len: u64, out: &mut Vec<Exchange>) {
        if let Protocol::Unknown(opening) = &mut self.protocol
            && opening.first.is_none()
        {
            // At most one a direction: what counts is that there was one.
            if opening.gaps.iter().all(|(known, ..)| *known != direction) {
                opening.gaps.push((direction, at, len));
            }
            return;
        }
        self.act(
            out,
            |http1, out| http1.gap(direction, at, len, out),
            |http2, out| http2.gap(direction, at, len, out),
        );
    }

    /// Bytes of a direction, from here on, that need not be told: they are only counted. HTTP/2
    /// tells none, as its frames end too soon.
    #[must_use]
    pub fn skippable(&self, direction: Direction) -> u64 {
        match &self.protocol {
            Protocol::Http1(connection) => connection.skippable(direction),
            Protocol::Closed(_) => u64::MAX,
            Protocol::Unknown(_) | Protocol::Http2(_) => 0,
        }
    }

    /// Passes over `len` bytes of one direction that were there, and were not told.
    pub fn skipped(
        &mut self,
        direction: Direction,
        at: Timestamp,
        len: u64,
        out: &mut Vec<Exchange>,
    ) {
        match &mut self.protocol {
            Protocol::Http1(_) => self.act(
                out,
                |http1, out| http1.skipped(direction, at, len, out),
                |http2, out| http2.gap(direction, at, len, out),
            ),
            Protocol::Closed(_) => {}
            Protocol::Unknown(_) | Protocol::Http2(_) => self.gap(direction, at, len, out),
        }
    }

    /// One direction has ended.
    pub fn end(&mut self, direction: Direction, at: Timestamp, out: &mut Vec<Exchange>) {
        self.act(
            out,
            |http1, out| http1.end(direction, at, out),
            |http2, out| http2.end(direction, at, out),
        );
    }

    /// The connection is gone: reports what is under way, unfinished.
    pub fn finish(&mut self, at: Timestamp, out: &mut Vec<Exchange>) {
        self.act(out, |http1, out| http1.finish(at, out), |http2, out| http2.finish(at, out));
    }

    /// Whether no more exchanges will come, so that feeding may stop.
    #[must_use]
    pub const fn is_done(&self) -> bool {
        matches!(self.protocol, Protocol::Closed(_))
    }

    /// Why no more exchanges will come; `None` while they may, and at a connection's proper end.
    #[must_use]
    pub const fn reason(&self) -> Option<Reason> {
        match self.protocol {
            Protocol::Closed(reason) => reason,
            Protocol::Unknown(_) | Protocol::Http1(_) | Protocol::Http2(_) => None,
        }
    }

    /// Bytes held, at most [`http1::MAX_BUFFERED`] or [`http2::BUFFERED_MAX`].
    #[must_use]
    pub fn buffered(&self) -> usize {
        match &self.protocol {
            Protocol::Unknown(opening) => opening.held.len(),
            Protocol::Http1(connection) => connection.buffered(),
            Protocol::Http2(connection) => connection.buffered(),
            Protocol::Closed(_) => 0,
        }
    }

    /// Whether a request is under way of which [`Self::tell_lasting`] has not told.
    #[must_use]
    pub fn is_under_way(&self) -> bool {
        match &self.protocol {
            Protocol::Http1(connection) => connection.is_under_way(),
            Protocol::Http2(connection) => connection.is_under_way(),
            Protocol::Unknown(_) | Protocol::Closed(_) => false,
        }
    }

    /// Tells of the exchanges that began `age_nanos` before `now` and are not over, once each.
    pub fn tell_lasting(&mut self, now: Timestamp, age_nanos: u64, out: &mut Vec<Exchange>) {
        match &mut self.protocol {
            Protocol::Http1(connection) => connection.tell_lasting(now, age_nanos, out),
            Protocol::Http2(connection) => connection.tell_lasting(now, age_nanos, out),
            Protocol::Unknown(_) | Protocol::Closed(_) => {}
        }
    }

    /// Gives up all that is held: exchanges under way are reported unfinished, and the connection
    /// is read on as one that was joined here.
    pub fn give_up(&mut self, at: Timestamp, out: &mut Vec<Exchange>) {
        match &mut self.protocol {
            Protocol::Unknown(opening) => {
                let gaps = [Direction::Inbound, Direction::Outbound].map(|way| (way, at, 1));
                *opening = Opening { gaps: gaps.to_vec(), ..Opening::default() };
            }
            Protocol::Http1(connection) => {
                connection.give_up(at, out);
                if connection.is_done() {
                    self.close(Some(Reason::Upgraded));
                }
            }
            Protocol::Http2(connection) => connection.give_up(at, out),
            Protocol::Closed(_) => {}
        }
    }

    /// How often limits were hit.
    #[must_use]
    pub fn limits_hit(&self) -> u64 {
        let now = match &self.protocol {
            Protocol::Http1(connection) => connection.counts().limits_hit(),
            Protocol::Http2(connection) => connection.counters().limits_hit(),
            Protocol::Unknown(_) | Protocol::Closed(_) => 0,
        };
        self.limits_hit.saturating_add(now)
    }

    /// Begins `protocol`, with what came before it was known.
    fn start(&mut self, protocol: Protocol, out: &mut Vec<Exchange>) {
        let Protocol::Unknown(opening) = std::mem::replace(&mut self.protocol, protocol) else {
            return;
        };
        for (direction, at, len) in opening.gaps {
            self.gap(direction, at, len, out);
        }
        if let Some((direction, at)) = opening.first {
            self.feed(direction, at, &opening.held, out);
        }
    }

    fn start_http2(&mut self, out: &mut Vec<Exchange>) {
        let connection = http2::Connection::with(self.wanted.clone());
        self.start(Protocol::Http2(Box::new(connection)), out);
    }

    /// Lets the codec of the protocol act; what is not the opening of HTTP/2 is HTTP/1.x.
    fn act(
        &mut self,
        out: &mut Vec<Exchange>,
        http1: impl FnOnce(&mut http1::Connection, &mut Vec<Exchange>),
        http2: impl FnOnce(&mut http2::Connection, &mut Vec<Exchange>),
    ) {
        if matches!(self.protocol, Protocol::Unknown(_)) {
            self.start(
                Protocol::Http1(Box::new(http1::Connection::with(self.wanted.clone()))),
                out,
            );
        }
        let ending = match &mut self.protocol {
            Protocol::Unknown(_) | Protocol::Closed(_) => return,
            Protocol::Http1(connection) => {
                http1(connection, out);
                connection.ending()
            }
            Protocol::Http2(connection) => {
                http2(connection, out);
                connection.is_done().then_some(Ending::Finished)
            }
        };
        let reason = match ending {
            None => return,
            Some(Ending::Http2) => return self.upgrade(),
            Some(Ending::NotHttp) => Some(Reason::NotHttp),
            Some(Ending::Upgraded) => Some(Reason::Upgraded),
            Some(Ending::Finished) => None,
        };
        self.close(reason);
    }

    /// Goes on in HTTP/2, with the request that asked for it (RFC 7540 §3.2).
    fn upgrade(&mut self) {
        let Protocol::Http1(connection) = &mut self.protocol else { return };
        let Some(http1::Http2Upgrade { requests, exchange }) = connection.take_upgrade() else {
            return self.close(None);
        };
        let next = http2::Connection::after_upgrade(self.wanted.clone(), requests, exchange);
        self.limits_hit = self.limits_hit();
        self.protocol = Protocol::Http2(Box::new(next));
    }

    fn close(&mut self, reason: Option<Reason>) {
        self.limits_hit = self.limits_hit();
        self.protocol = Protocol::Closed(reason);
    }
}

/// What an opening says.
enum Told {
    Unsure,
    /// `used` bytes of those just seen are held already.
    Http2 {
        used: usize,
    },
    /// HTTP/2 as well: what is held are whole frames, since these bytes answer them.
    Answered {
        asked_at: Timestamp,
    },
    /// As above.
    NotHttp2 {
        used: usize,
    },
}

impl Opening {
    fn take(&mut self, direction: Direction, at: Timestamp, bytes: &[u8]) -> Told {
        let (asks, asked_at) = *self.first.get_or_insert((direction, at));
        if asks != direction {
            // A request is often a single frame, and is answered before the next one.
            let is_http2 = !self.gaps.is_empty() && http2::chain_to_end(&self.held);
            return if is_http2 { Told::Answered { asked_at } } else { Told::NotHttp2 { used: 0 } };
        }
        if !self.gaps.is_empty() {
            self.held.extend_from_slice(bytes);
            return match http2::looks_like_http2(&self.held) {
                Verdict::Yes => Told::Http2 { used: bytes.len() },
                Verdict::No => Told::NotHttp2 { used: bytes.len() },
                Verdict::NeedMore => Told::Unsure,
            };
        }
        for (taken, byte) in bytes.iter().enumerate() {
            self.held.push(*byte);
            let used = taken.saturating_add(1);
            let preface = self.agrees(http2::PREFACE.iter().map(|byte| Some(*byte)));
            let settings = self.agrees(HTTP2_SETTINGS.into_iter());
            match (preface, settings) {
                (Some(true), _) | (_, Some(true)) => return Told::Http2 { used },
                (None, None) => return Told::NotHttp2 { used },
                (Some(false), _) | (_, Some(false)) => {}
            }
        }
        Told::Unsure
    }

    /// Whether the bytes held are all of `pattern`, or (`Some(false)`) the start of it.
    fn agrees(&self, mut pattern: impl Iterator<Item = Option<u8>>) -> Option<bool> {
        let agree = self
            .held
            .iter()
            .all(|byte| pattern.next().is_some_and(|wanted| wanted.is_none_or(|w| w == *byte)));
        agree.then(|| pattern.next().is_none())
    }
}

#[cfg(test)]
mod tests;
