//! What protocol a connection speaks, by its first bytes, and the codec for it.
//!
//! In: bytes, gaps and ends of one connection. Out: [`Exchange`]s, or the [`Reason`] why there
//! will be none. A codec that will give none any more is dropped, with all that it held.
//!
//! A connection whose start was seen is HTTP/2 by its preface or its server's SETTINGS. One that
//! was joined late, as a gap before its first bytes says, is HTTP/2 if those begin with a chain
//! of frames. Everything else is HTTP/1.x, until that codec finds that it is not.

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
                    self.start(
                        Protocol::Http2(Box::new(http2::Connection::with(self.wanted.clone()))),
                        out,
                    );
                    bytes.get(used..).unwrap_or_default()
                }
                Told::NotHttp2 { used } => bytes.get(used..).unwrap_or_default(),
            },
            Protocol::Http1(_) | Protocol::Http2(_) | Protocol::Closed(_) => bytes,
        };
        self.act(
            out,
            |http1, out| http1.feed(direction, at, rest, out),
            |http2, out| http2.feed(direction, at, rest, out),
        );
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
            Some(Ending::NotHttp) => Some(Reason::NotHttp),
            Some(Ending::Upgraded) => Some(Reason::Upgraded),
            Some(Ending::Finished) => None,
        };
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
    /// As above.
    NotHttp2 {
        used: usize,
    },
}

impl Opening {
    fn take(&mut self, direction: Direction, at: Timestamp, bytes: &[u8]) -> Told {
        if self.first.get_or_insert((direction, at)).0 != direction {
            return Told::NotHttp2 { used: 0 };
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
mod tests {
    use super::*;

    use Direction::{Inbound, Outbound};

    const GET: &[u8] = b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n";
    const POST: &[u8] = b"POST /a HTTP/1.1\r\nHost: h\r\n\r\n";
    const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

    /// Feeds whole and byte by byte; expects so many exchanges, and the reason for no more.
    fn check(feeds: &[(Direction, &[u8])], exchanges: usize, reason: Option<&str>) {
        for at_most in [usize::MAX, 1] {
            let mut codec = Codec::new();
            let mut out = Vec::new();
            for (direction, bytes) in feeds {
                for piece in bytes.chunks(at_most) {
                    codec.feed(*direction, Timestamp(1), piece, &mut out);
                }
            }
            assert_eq!(out.len(), exchanges, "in pieces of {at_most}");
            assert_eq!(codec.reason().map(Reason::as_str), reason, "in pieces of {at_most}");
            assert_eq!(codec.is_done(), reason.is_some());
            assert!(reason.is_none() || codec.buffered() == 0);
        }
    }

    #[test]
    fn http1_is_read_also_where_it_starts_as_the_preface_does() {
        check(&[(Outbound, GET), (Inbound, OK)], 1, None);
        check(&[(Outbound, POST), (Inbound, OK)], 1, None);
        check(&[(Outbound, b"PRI"), (Outbound, b"NT /a HTTP/1.1\r\n\r\n"), (Inbound, OK)], 1, None);
    }

    /// SETTINGS, then a GET on stream 1 by static table entries alone, and its answer, 204.
    const H2_SETTINGS: &[u8] = b"\0\0\0\x04\0\0\0\0\0";
    const H2_GET: &[u8] = b"\0\0\x03\x01\x05\0\0\0\x01\x82\x84\x87";
    const H2_OK: &[u8] = b"\0\0\x01\x01\x05\0\0\0\x01\x89";

    #[test]
    fn the_http2_preface_is_recognised_rfc9113_3_4() {
        let client = [http2::PREFACE.as_slice(), H2_SETTINGS, H2_GET].concat();
        let server = [H2_SETTINGS, H2_OK].concat();
        check(&[(Outbound, &client), (Inbound, &server)], 1, None);
        check(&[(Inbound, H2_SETTINGS), (Outbound, &client), (Inbound, H2_OK)], 1, None);
    }

    #[test]
    fn http2_joined_late_is_recognised_by_its_frames() {
        let mut codec = Codec::new();
        let mut out = Vec::new();
        for direction in [Outbound, Inbound] {
            codec.gap(direction, Timestamp(1), 1, &mut out);
        }
        codec.feed(Outbound, Timestamp(1), &[H2_SETTINGS, H2_GET].concat(), &mut out);
        codec.feed(Inbound, Timestamp(2), &[H2_SETTINGS, H2_OK].concat(), &mut out);
        codec.finish(Timestamp(3), &mut out);
        let statuses: Vec<_> = out.iter().map(|e| e.response.as_ref().map(|r| r.status)).collect();
        assert_eq!(statuses, [Some(204)]);
    }

    #[test]
    fn http2_goes_unrecognised_only_if_its_start_is_cut_off() {
        check(&[(Outbound, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r")], 0, None);
        check(&[(Outbound, b"\0\0\x12\x01")], 0, Some("not_http"));
    }

    #[test]
    fn other_protocols_are_not_http() {
        check(&[(Outbound, b"\x16\x03\x01\x02\0\x01")], 0, Some("not_http"));
    }

    #[test]
    fn an_upgrade_ends_http() {
        let switch = b"HTTP/1.1 101 Switching Protocols\r\n\r\n";
        check(&[(Outbound, GET), (Inbound, switch), (Outbound, GET)], 0, None);
        let mut codec = Codec::new();
        let mut out = Vec::new();
        codec.feed(Outbound, Timestamp(1), GET, &mut out);
        codec.feed(Inbound, Timestamp(2), switch, &mut out);
        codec.feed(Outbound, Timestamp(3), GET, &mut out);
        codec.finish(Timestamp(4), &mut out);
        assert_eq!((out.len(), codec.reason()), (1, Some(Reason::Upgraded)));
    }

    #[test]
    fn what_is_under_way_at_the_end_is_reported() {
        let mut codec = Codec::new();
        let mut out = Vec::new();
        codec.feed(Outbound, Timestamp(1), GET, &mut out);
        codec.end(Outbound, Timestamp(2), &mut out);
        assert_eq!((out.len(), codec.is_done()), (0, false));
        codec.finish(Timestamp(3), &mut out);
        assert_eq!((out.len(), codec.is_done(), codec.reason()), (1, true, None));
    }

    #[test]
    fn a_gap_before_the_first_bytes_allows_binary_content() {
        let mut codec = Codec::new();
        let mut out = Vec::new();
        codec.gap(Inbound, Timestamp(1), 100, &mut out);
        codec.feed(Inbound, Timestamp(1), b"\x1f\x8b\0\0\r\n", &mut out);
        codec.feed(Outbound, Timestamp(2), GET, &mut out);
        codec.feed(Inbound, Timestamp(3), OK, &mut out);
        assert_eq!(out.len(), 1);
    }
}
