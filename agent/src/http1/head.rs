//! One head: whether a line may start it, and what the whole of it says (RFC 9112 §3 to §5).
//!
//! In: the bytes of a head, from its start line to the empty line. Out: [`Request`] or
//! [`Response`] without body lengths, and what the head declares about its body. Every name and
//! value that comes out stands in the bytes that came in; line folds are replaced by spaces.

use std::mem::MaybeUninit;

use httparse::ParserConfig;
use memchr::{memmem, memrchr};
use zeroize::Zeroizing;

use super::{framing::Framing, lenience};
use crate::{
    clock::Timestamp,
    flow::chunk::Direction,
    http::{
        anomaly::{Anomaly, AnomalySet},
        body::Content,
        message::{Fields, Note, Request, Response, Role, Version},
    },
};

/// Most fields of a head. Servers stop at 100 or so; twice that leaves room for proxies.
pub const MAX_FIELDS: usize = 256;

/// Longest method in bytes. The longest registered one, `UPDATEREDIRECTREF`, has 17: anything far
/// beyond is the start of another protocol.
pub const MAX_METHOD: usize = 32;

/// Methods that make a line in the middle of unknown bytes certain to be a request line. None of
/// them is the end of another, so that one whose first bytes were lost cannot pass for another.
const CERTAIN_METHODS: [&[u8]; 10] = [
    b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"CONNECT", b"OPTIONS", b"TRACE", b"PATCH",
    b"QUERY",
];

/// What every status line starts with. The slash is not a method's character.
const STATUS_START: &[u8] = b"HTTP/1.";

/// Which message a head starts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    Request,
    Response,
}

impl Kind {
    /// Role of the observed process if messages of this kind go in `direction`.
    pub(super) const fn role(self, direction: Direction) -> Role {
        Role::of_requests(match self {
            Self::Request => direction,
            Self::Response => direction.reverse(),
        })
    }

    /// What to note if bytes of such a message's body are missing.
    pub(super) const fn body_lost(self) -> Note {
        match self {
            Self::Request => Note::RequestBodyLost,
            Self::Response => Note::ResponseBodyLost,
        }
    }
}

/// A head, read.
pub(super) enum Head {
    Request(Parsed<Request>),
    Response(Parsed<Response>),
}

/// A message whose body is still to come.
pub(super) struct Parsed<M> {
    pub(super) message: M,
    pub(super) framing: Framing,
    /// Length of the head in bytes.
    pub(super) len: usize,
}

/// Why a head cannot be read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Unreadable {
    /// With what is odd about it.
    Syntax(AnomalySet),
    TooManyFields,
}

/// Offset of the first byte by which `line`, the first bytes of a line, can be neither a request
/// line nor a status line. Looks at the method only, so that its cost does not grow with the line.
pub(super) fn offence(line: &[u8]) -> Option<usize> {
    let status = line.iter().zip(STATUS_START).position(|(byte, wanted)| byte != wanted)?;
    let method = match line.iter().take(MAX_METHOD).position(|byte| !is_token(*byte)) {
        Some(at) if at > 0 && line.get(at) == Some(&b' ') => return None,
        Some(at) => at,
        None if line.get(MAX_METHOD).is_none_or(|byte| *byte == b' ') => return None,
        None => MAX_METHOD,
    };
    Some(status.max(method))
}

/// What `line`, without its line end, starts: a request line (RFC 9112 §3) with any method, or a
/// status line (§4).
pub(super) fn start_line(line: &[u8]) -> Option<Kind> {
    if let Some(rest) = line.strip_prefix(STATUS_START) {
        return is_status(rest).then_some(Kind::Response);
    }
    request_line(line).map(|_| Kind::Request)
}

/// What is certain to be a start line at the end of `line`, which stands in the middle of unknown
/// bytes: its offset, and what it starts.
pub(super) fn certain_start(line: &[u8]) -> Option<(usize, Kind)> {
    let version = memmem::rfind(line, STATUS_START)?;
    if start_line(line.get(version..)?) == Some(Kind::Response) {
        return Some((version, Kind::Response));
    }
    let rest = without_version(line)?;
    let space = memrchr(b' ', rest)?;
    let (before, target) = (rest.get(..space)?, rest.get(space.checked_add(1)?..)?);
    let method = CERTAIN_METHODS.into_iter().find(|method| before.ends_with(method))?;
    let offset = before.len().checked_sub(method.len())?;
    let is_cut = before.get(..offset)?.last().is_some_and(u8::is_ascii_uppercase);
    let certain = !is_cut
        && !target.is_empty()
        && target.iter().all(|byte| byte.is_ascii_graphic() || !byte.is_ascii());
    certain.then_some((offset, Kind::Request))
}

/// Whether `line`, without its line end, is a field line (RFC 9112 §5) beyond doubt.
pub(super) fn is_field_line(line: &[u8]) -> bool {
    let name_end = line.iter().position(|byte| !is_token(*byte));
    name_end.is_some_and(|at| at > 0 && line.get(at) == Some(&b':'))
}

/// Method and target of a request line.
fn request_line(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = without_version(line)?;
    let space = rest.iter().position(|byte| *byte == b' ')?;
    let (method, target) = (rest.get(..space)?, rest.get(space.checked_add(1)?..)?);
    let plausible = (1..=MAX_METHOD).contains(&method.len())
        && method.iter().all(|byte| is_token(*byte))
        && !target.is_empty();
    plausible.then_some((method, target))
}

fn without_version(line: &[u8]) -> Option<&[u8]> {
    line.strip_suffix(b" HTTP/1.1").or_else(|| line.strip_suffix(b" HTTP/1.0"))
}

/// Whether `rest` may follow `HTTP/1.` in a status line.
fn is_status(rest: &[u8]) -> bool {
    match rest {
        [b'0' | b'1', b' ', b'1'..=b'9', tens, units, reason @ ..] => {
            tens.is_ascii_digit()
                && units.is_ascii_digit()
                && reason.first().is_none_or(|byte| *byte == b' ')
        }
        _ => false,
    }
}

/// `tchar` of RFC 9110 §5.6.2.
pub(super) const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

/// Reads a head at a place where a head must be: strictly, or else leniently and ambiguously.
/// `bare_lf` says that not all of its lines end in CRLF.
///
/// # Errors
///
/// [`Unreadable`] if no lenience helps.
pub(super) fn read(
    kind: Kind,
    head: &[u8],
    started: Timestamp,
    bare_lf: bool,
) -> Result<Head, Unreadable> {
    let mut oddities = AnomalySet::NONE;
    oddities.add_if(bare_lf, Anomaly::BareLf);
    match parse(&ParserConfig::default(), kind, head, started) {
        Ok(head) => Ok(head.with(oddities)),
        Err(Unreadable::Syntax(_)) => {
            oddities.add_all(lenience::oddities(kind, head));
            read_leniently(kind, &lenience::repaired(head), started, oddities)
        }
        Err(Unreadable::TooManyFields) => Err(Unreadable::TooManyFields),
    }
}

/// Reads a head that was found in the middle of unknown bytes: strictly, and a request of
/// HTTP/1.1 must have the `Host` that RFC 9112 §3.2 demands.
pub(super) fn read_certain(kind: Kind, head: &[u8], started: Timestamp) -> Option<Head> {
    let head = parse(&ParserConfig::default(), kind, head, started).ok()?;
    match &head {
        Head::Request(Parsed { message, .. }) => {
            let certain =
                message.version == Version::Http10 || message.fields.first("host").is_some();
            certain.then_some(head)
        }
        Head::Response(_) => Some(head),
    }
}

fn read_leniently(
    kind: Kind,
    head: &[u8],
    started: Timestamp,
    oddities: AnomalySet,
) -> Result<Head, Unreadable> {
    let mut read = match parse(&lenient(), kind, head, started) {
        Ok(read) => read.with(oddities),
        Err(Unreadable::Syntax(_)) => return Err(Unreadable::Syntax(oddities)),
        Err(Unreadable::TooManyFields) => return Err(Unreadable::TooManyFields),
    };
    let (fields, framing) = match &mut read {
        Head::Request(parsed) => (&parsed.message.fields, &mut parsed.framing),
        Head::Response(parsed) => (&parsed.message.fields, &mut parsed.framing),
    };
    let missed = lenience::missed_framing(head, fields);
    if !missed.is_empty() {
        framing.spoil();
        framing.anomalies.add_all(missed);
    }
    Ok(read)
}

impl Head {
    fn with(mut self, oddities: AnomalySet) -> Self {
        match &mut self {
            Self::Request(parsed) => parsed.framing.anomalies.add_all(oddities),
            Self::Response(parsed) => parsed.framing.anomalies.add_all(oddities),
        }
        self
    }
}

fn lenient() -> ParserConfig {
    let mut config = ParserConfig::default();
    config
        .allow_multiple_spaces_in_request_line_delimiters(true)
        .allow_multiple_spaces_in_response_status_delimiters(true)
        .ignore_invalid_headers_in_requests(true)
        .ignore_invalid_headers_in_responses(true);
    config
}

fn parse(
    config: &ParserConfig,
    kind: Kind,
    head: &[u8],
    started: Timestamp,
) -> Result<Head, Unreadable> {
    let mut room = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    match kind {
        Kind::Request => {
            let mut raw = httparse::Request::new(&mut []);
            let status = config.parse_request_with_uninit_headers(&mut raw, head, &mut room);
            complete(status)?;
            request(&raw, head, started).map(Head::Request)
        }
        Kind::Response => {
            let mut raw = httparse::Response::new(&mut []);
            let status = config.parse_response_with_uninit_headers(&mut raw, head, &mut room);
            complete(status)?;
            response(&raw, head, started).map(Head::Response)
        }
    }
    .ok_or(Unreadable::Syntax(AnomalySet::NONE))
}

fn complete(status: httparse::Result<usize>) -> Result<(), Unreadable> {
    match status {
        Ok(httparse::Status::Complete(_)) => Ok(()),
        Err(httparse::Error::TooManyHeaders) => Err(Unreadable::TooManyFields),
        Ok(httparse::Status::Partial) | Err(_) => Err(Unreadable::Syntax(AnomalySet::NONE)),
    }
}

fn request(
    raw: &httparse::Request<'_, '_>,
    head: &[u8],
    started: Timestamp,
) -> Option<Parsed<Request>> {
    let version = version(raw.version?)?;
    let fields = fields(raw.headers);
    let target = raw.path?;
    let framing = Framing::declared(&fields, version, Some(target));
    let message = Request {
        method: raw.method?.to_owned(),
        target: Zeroizing::new(target.to_owned()),
        version,
        head_bytes: head.len() as u64,
        fields,
        body_bytes: 0,
        content: Content::Counted,
        started,
        ended: started,
    };
    Some(Parsed { message, framing, len: head.len() })
}

fn response(
    raw: &httparse::Response<'_, '_>,
    head: &[u8],
    started: Timestamp,
) -> Option<Parsed<Response>> {
    let version = version(raw.version?)?;
    let fields = fields(raw.headers);
    let framing = Framing::declared(&fields, version, None);
    let message = Response {
        status: raw.code?,
        version,
        head_bytes: head.len() as u64,
        fields,
        trailers: Fields::default(),
        body_bytes: 0,
        content: Content::Counted,
        started,
        ended: started,
    };
    Some(Parsed { message, framing, len: head.len() })
}

const fn version(minor: u8) -> Option<Version> {
    match minor {
        0 => Some(Version::Http10),
        1 => Some(Version::Http11),
        _ => None,
    }
}

fn fields(raw: &[httparse::Header<'_>]) -> Fields {
    let bytes = raw.iter().fold(0_usize, |sum, field| {
        sum.saturating_add(field.name.len()).saturating_add(field.value.len())
    });
    let mut fields = Fields::with_capacity(raw.len(), bytes);
    for field in raw {
        fields.push(field.name.as_bytes(), field.value);
    }
    fields
}

/// CR or LF.
pub(super) const fn is_line_end(byte: u8) -> bool {
    matches!(byte, b'\r' | b'\n')
}
