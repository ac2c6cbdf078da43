//! HTTP messages in the form that all protocol versions share (RFC 9110).
//!
//! In: heads and body lengths from a codec. Out: [`Exchange`]s for `observation.rs`. Field values
//! may hold credentials: they are wiped on drop and have no `Debug` output.

use std::fmt;

use zeroize::Zeroizing;

use super::{
    anomaly::{Anomalies, AnomalySet},
    body::Content,
};
use crate::{clock::Timestamp, flow::chunk::Direction, http::wiped::Wiped, names::named_enum};

named_enum! {
    /// Which end of the connection the observed process is.
    pub enum Role {
        /// Requests leave the process.
        Client = "client",
        /// Requests reach the process.
        Server = "server",
    }
}

impl Role {
    /// The role of the process at the other end.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }

    /// The role of a process whose requests go in `direction`.
    #[must_use]
    pub const fn of_requests(direction: Direction) -> Self {
        match direction {
            Direction::Inbound => Self::Server,
            Direction::Outbound => Self::Client,
        }
    }
}

/// Protocol version of a message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Version {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    Http11,
    /// HTTP/2
    Http2,
}

impl Version {
    /// Version number as OpenTelemetry's `network.protocol.version` has it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http10 => "1.0",
            Self::Http11 => "1.1",
            Self::Http2 => "2",
        }
    }
}

/// The fields of one head, in wire order, in one buffer that is wiped on drop. Names are stored
/// in lower case.
#[derive(Clone, Default, Eq, PartialEq)]
pub struct Fields {
    raw: Wiped,
    spans: Vec<Span>,
}

/// Octets of room for which nothing is copied.
const ROOM_FREE: usize = 128;

#[derive(Clone, Copy, Eq, PartialEq)]
struct Span {
    start: u32,
    name_len: u32,
    value_len: u32,
}

impl Fields {
    /// No fields yet, with room for `count` of them whose names and values have `bytes` bytes in
    /// all: a buffer that need not grow leaves no copy of a credential behind.
    #[must_use]
    pub fn with_capacity(count: usize, bytes: usize) -> Self {
        Self { raw: Wiped::with_capacity(bytes), spans: Vec::with_capacity(count) }
    }

    /// Appends a field. The name is lower-cased; the value is kept byte for byte. Beyond 4 GiB of
    /// content (far above every head limit) the field is ignored.
    pub fn push(&mut self, name: &[u8], value: &[u8]) {
        let (Ok(start), Ok(name_len), Ok(value_len)) =
            (u32::try_from(self.raw.len()), u32::try_from(name.len()), u32::try_from(value.len()))
        else {
            return;
        };
        self.raw.extend(name.iter().map(u8::to_ascii_lowercase));
        self.raw.extend_from_slice(value);
        self.spans.push(Span { start, name_len, value_len });
    }

    /// Gives back room beyond twice what is needed: those who bound what they hold go by
    /// [`Self::size`].
    pub fn fit(&mut self) {
        let needed = self.raw.len();
        if self.raw.capacity() > needed.saturating_mul(2).saturating_add(ROOM_FREE) {
            self.raw.move_to(needed);
        }
        if self.spans.capacity() > self.spans.len().saturating_mul(2).saturating_add(8) {
            self.spans.shrink_to_fit();
        }
    }

    /// All fields in wire order, as (lower-case name, value).
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.spans.iter().filter_map(|span| self.field(span))
    }

    /// Value of the field at `position`, counted from 0.
    #[must_use]
    pub fn value(&self, position: usize) -> Option<&[u8]> {
        self.spans.get(position).and_then(|span| self.field(span)).map(|(_, value)| value)
    }

    fn field(&self, span: &Span) -> Option<(&[u8], &[u8])> {
        let start = span.start as usize;
        let middle = start.checked_add(span.name_len as usize)?;
        let end = middle.checked_add(span.value_len as usize)?;
        Some((self.raw.get(start..middle)?, self.raw.get(middle..end)?))
    }

    /// Values of every field called `name` (given in lower case), in wire order.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.iter().filter(move |(n, _)| *n == name.as_bytes()).map(|(_, value)| value)
    }

    /// Value of the first field called `name` (given in lower case).
    #[must_use]
    pub fn first(&self, name: &str) -> Option<&[u8]> {
        self.iter().find(|(n, _)| *n == name.as_bytes()).map(|(_, value)| value)
    }

    /// Number of fields.
    #[must_use]
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Memory that the fields take, in octets.
    #[must_use]
    pub fn size(&self) -> usize {
        let spans = self.spans.len().saturating_mul(size_of::<Span>());
        self.raw.len().saturating_add(spans)
    }

    /// Whether the `content-type` is gRPC's: `application/grpc`, or that with a suffix.
    #[must_use]
    pub fn is_grpc(&self) -> bool {
        self.first("content-type").is_some_and(|value| value.starts_with(b"application/grpc"))
    }

    /// Host that is asked for, with its port: `Host`, or HTTP/2's `:authority`, which stands
    /// in its place.
    #[must_use]
    pub fn host(&self) -> Option<&[u8]> {
        self.first("host")
    }

    /// Media type of the content, without parameters (RFC 9110 §8.3.1).
    #[must_use]
    pub fn media_type(&self) -> Option<&[u8]> {
        self.media_types().next()
    }

    /// Whether a `content-type` says that the content is a form: `application/x-www-form-urlencoded`
    /// (RFC 6750 §2.2).
    #[must_use]
    pub fn is_form(&self) -> bool {
        let form = b"application/x-www-form-urlencoded";
        self.media_types().any(|media_type| media_type.eq_ignore_ascii_case(form))
    }

    fn media_types(&self) -> impl Iterator<Item = &[u8]> {
        let sent = self.all("content-type");
        sent.map(|it| it.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii())
    }

    /// Whether there are no fields.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }
}

impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(|(name, _)| String::from_utf8_lossy(name))).finish()
    }
}

/// A request's head (RFC 9110 §9) and the length of its body.
#[derive(Clone, Eq, PartialEq)]
pub struct Request {
    /// Method, byte for byte: methods are case-sensitive (RFC 9110 §9.1). Empty if
    /// [`Note::HeadersIncomplete`] concerns it.
    pub method: String,
    /// Request target as sent (RFC 9112 §3.2); for HTTP/2 the `:path`, or the `:authority` of a
    /// plain CONNECT. Empty if [`Note::HeadersIncomplete`] concerns it. May hold credentials.
    pub target: Zeroizing<String>,
    /// Protocol version.
    pub version: Version,
    /// Length of the head as sent, in octets: in HTTP/1.x from the start line to the empty line,
    /// in HTTP/2 the compressed header block.
    pub head_bytes: u64,
    /// Header fields.
    pub fields: Fields,
    /// Body bytes seen or known, after transfer coding is removed; after an upgrade, what the new
    /// protocol sent this way.
    pub body_bytes: u64,
    /// What was read of the body.
    pub content: Content,
    /// When the first byte of the head was captured.
    pub started: Timestamp,
    /// When the last byte of the message was captured.
    pub ended: Timestamp,
}

impl Request {
    /// Service and method of a gRPC call, which its path is made of: `/package.Service/Method`.
    #[must_use]
    pub fn grpc(&self) -> Option<(&str, &str)> {
        let path = self.target.strip_prefix('/').filter(|_| self.fields.is_grpc())?;
        path.split_once('/')
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("version", &self.version)
            .field("fields", &self.fields)
            .field("body_bytes", &self.body_bytes)
            .finish_non_exhaustive()
    }
}

/// A final response's head (RFC 9110 §15) and the length of its body.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Response {
    /// Status code, 200 to 999, or 101. 0 if [`Note::ResponseHeadersIncomplete`] concerns it.
    pub status: u16,
    /// Protocol version.
    pub version: Version,
    /// Length of the head as sent, in octets, as above.
    pub head_bytes: u64,
    /// Header fields.
    pub fields: Fields,
    /// Trailer fields (RFC 9110 §6.5).
    pub trailers: Fields,
    /// Body bytes seen or known, after transfer coding is removed; after an upgrade, what the new
    /// protocol sent this way.
    pub body_bytes: u64,
    /// What was read of the body.
    pub content: Content,
    /// When the first byte of the head was captured.
    pub started: Timestamp,
    /// When the last byte of the message was captured.
    pub ended: Timestamp,
}

impl Response {
    /// Status of a gRPC call: in the trailers, in the head of a response that has no message, or, by
    /// gRPC-Web, in the body.
    #[must_use]
    pub fn grpc_status(&self) -> Option<u32> {
        let status =
            self.trailers.first("grpc-status").or_else(|| self.fields.first("grpc-status"));
        match status {
            Some(status) => std::str::from_utf8(status).ok()?.parse().ok(),
            None => self.content.grpc_status(),
        }
    }
}

/// What is told of an exchange.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Phase {
    /// All of it, as it is over, or will not get more complete. Every exchange is told so once.
    Ended,
    /// That it has begun and lasts, with what is known so far. It is told again at its end, by the
    /// same index.
    Begun,
}

/// A request and the response to it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Exchange {
    /// Position on its connection, from 0 in the order of requests.
    pub index: u64,
    /// Which end the observed process is.
    pub role: Role,
    /// Whether this is all of it.
    pub phase: Phase,
    /// The request; `None` where only the response was captured.
    pub request: Option<Request>,
    /// The final response; `None` where none was captured.
    pub response: Option<Response>,
    /// What is missing. Empty means that the exchange was seen whole.
    pub notes: Vec<Note>,
    /// What is odd.
    pub anomalies: Anomalies,
}

impl Exchange {
    /// An exchange of which nothing is known yet.
    #[must_use]
    pub const fn new(index: u64, role: Role) -> Self {
        let anomalies = Anomalies { request: AnomalySet::NONE, response: AnomalySet::NONE };
        Self {
            index,
            role,
            phase: Phase::Ended,
            request: None,
            response: None,
            notes: Vec::new(),
            anomalies,
        }
    }
}

/// Why an exchange is less than whole, or ends otherwise than by its messages.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Note {
    /// Bytes of the request's head are missing: nothing may be said to be absent from it.
    RequestHeadLost,
    /// Fields of the request's head could not be decoded, since compression state from before is
    /// missing, or they exceeded a limit: nothing may be said to be absent from it.
    HeadersIncomplete,
    /// Bytes of the request's body are missing.
    RequestBodyLost,
    /// Bytes of the response's head are missing.
    ResponseHeadLost,
    /// Fields of the response's head or trailers could not be decoded, as above.
    ResponseHeadersIncomplete,
    /// Bytes of the response's body are missing.
    ResponseBodyLost,
    /// The connection ended, or was given up, before the exchange did.
    Unfinished,
    /// The connection changed protocol with this exchange (101, or CONNECT).
    Upgraded,
}

impl Note {
    /// Name in events.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RequestHeadLost => "request_head_lost",
            Self::HeadersIncomplete => "headers_incomplete",
            Self::RequestBodyLost => "request_body_lost",
            Self::ResponseHeadLost => "response_head_lost",
            Self::ResponseHeadersIncomplete => "response_headers_incomplete",
            Self::ResponseBodyLost => "response_body_lost",
            Self::Unfinished => "unfinished",
            Self::Upgraded => "upgraded",
        }
    }
}
