//! Stage 5's end: an exchange, read as a use of credentials. In: an [`Exchange`] and the
//! [`Connection`] it was seen on. Out: an [`Observation`], the last that verdicts, findings and
//! events need to know of it.
//!
//! No token bytes past this point, no identifiers in paths, no query values, and no text from
//! traffic beyond its limit. Pure: time and key are handed in.

use std::sync::Arc;

use crate::{
    clock::Timestamp,
    flow::chunk::{Connection, Socket, Transport},
    http::{
        anomaly::Anomalies,
        body::grpc::Messages,
        message::{Exchange, Fields, Note, Phase, Request, Response, Role, Version},
        operation::{self, Operations},
        path::Target,
    },
    identity::process::Process,
    names::named_enum,
    text::Cuts,
    token::{
        Credential, Evidence, fingerprint::FingerprintKey, reader::Reader, shape::without_secrets,
    },
};

/// Longest user agent kept, in bytes.
pub const MAX_USER_AGENT: usize = 256;

/// Methods that are named in events: IANA's registry, as far as servers answer it. Others are
/// [`OTHER_METHOD`], as a method is 8 KiB of free text in the hands of a peer.
const METHODS: &[&str] = &[
    "GET",
    "HEAD",
    "POST",
    "PUT",
    "DELETE",
    "CONNECT",
    "OPTIONS",
    "TRACE",
    "PATCH",
    "QUERY",
    "PROPFIND",
    "PROPPATCH",
    "MKCOL",
    "COPY",
    "MOVE",
    "LOCK",
    "UNLOCK",
    "REPORT",
    "SEARCH",
];

/// Stands for methods out of the ordinary, as in OpenTelemetry's `http.request.method`.
pub const OTHER_METHOD: &str = "_OTHER";

named_enum! {
    /// What is kept of the people in tokens.
    pub enum SubjectMode {
        /// Their names as the issuer has them.
        Plain = "plain",
        /// A pseudonym, which only the key's holder can tie to a name.
        Pseudonym = "pseudonym",
        /// Nothing.
        Drop = "drop",
    }
}

/// What may be kept.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PrivacyOptions {
    /// How subjects and actors are named.
    pub subject: SubjectMode,
}

/// Turns exchanges into observations, for one worker: it remembers the credentials that it read.
pub struct Observer {
    reader: Reader,
    privacy: PrivacyOptions,
}

/// One exchange, as the audit sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Observation {
    /// When the exchange began: the first byte captured of its request, else of its response.
    pub time: Timestamp,
    /// When the agent made the observation.
    pub observed_at: Timestamp,
    /// The process that held the observed end.
    pub process: Arc<Process>,
    /// The process at the other end, where that is known.
    pub peer: Option<Arc<Process>>,
    /// Stable name of the connection within this boot.
    pub connection: u64,
    /// Addresses, seen from the process.
    pub socket: Option<Socket>,
    /// What carried the connection's bytes.
    pub transport: Transport,
    /// Position of the exchange on its connection, from 0.
    pub index: u64,
    /// Which end was observed.
    pub role: Role,
    /// Whether the exchange is over. One that lasts is observed twice: who counts exchanges, or
    /// judges rates, takes the end.
    pub phase: Phase,
    /// What is missing.
    pub notes: Vec<Note>,
    /// What is odd.
    pub anomalies: Anomalies,
    /// Fields that were cut to their limit.
    pub cuts: Cuts,
    /// What was asked; `None` where only the response was captured.
    pub request: Option<Asked>,
    /// What was answered; `None` where nothing was captured of it.
    pub response: Option<Answered>,
    /// The operations that the request names, where its route or protocol says that it does.
    pub operations: Option<Operations>,
    /// What of the exchange is a gRPC call.
    pub grpc: Option<GrpcCall>,
    /// The request's credentials, in wire order.
    pub credentials: Vec<Arc<Credential>>,
    /// Who the first credential speaks for.
    pub identity: Identity,
    /// Names the fingerprint key.
    pub key_id: Arc<str>,
}

/// What is kept of a request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Asked {
    /// Registered method, else [`OTHER_METHOD`].
    pub method: &'static str,
    /// Where it went.
    pub target: Target,
    /// Protocol version.
    pub version: Version,
    /// Octets of the head as sent.
    pub head_bytes: u64,
    /// Body bytes.
    pub body_bytes: u64,
    /// When its last byte was captured.
    pub ended: Timestamp,
    /// `User-Agent` (RFC 9110 §10.1.5), without words that look like secrets.
    pub user_agent: Option<String>,
    /// The trace that it belongs to.
    pub trace: Option<Trace>,
}

/// What is kept of a response.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Answered {
    /// Status code.
    pub status: u16,
    /// Protocol version.
    pub version: Version,
    /// Octets of the head as sent.
    pub head_bytes: u64,
    /// Body bytes.
    pub body_bytes: u64,
    /// When its first byte was captured.
    pub started: Timestamp,
    /// When its last byte was captured.
    pub ended: Timestamp,
}

/// What is kept of a gRPC call, beside its operation.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct GrpcCall {
    /// Status in the trailers; `None` if none was seen.
    pub status: Option<u32>,
    /// Messages of the request.
    pub request: Option<Messages>,
    /// Messages of the response.
    pub response: Option<Messages>,
}

impl GrpcCall {
    fn of(request: Option<&Request>, response: Option<&Response>) -> Option<Self> {
        let is_asked = request.is_some_and(|request| request.fields.is_grpc());
        let is_answered = response.is_some_and(|response| response.fields.is_grpc());
        (is_asked || is_answered).then(|| Self {
            status: response.and_then(Response::grpc_status),
            request: request.and_then(|request| request.content.messages()),
            response: response.and_then(|response| response.content.messages()),
        })
    }
}

/// Position in a distributed trace (W3C Trace Context §3.2).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Trace {
    /// 32 lower-case hexadecimal digits, not all zero.
    pub trace_id: String,
    /// The caller's span: 16 lower-case hexadecimal digits, not all zero.
    pub span_id: String,
}

/// Who a credential speaks for, as far as it says and as privacy allows.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Identity {
    /// The subject, or its pseudonym.
    pub subject: Option<String>,
    /// The client that the token was issued to.
    pub client_id: Option<String>,
    /// Who acts for the subject, the current actor first, or their pseudonyms.
    pub actors: Vec<String>,
    /// How well that is proven.
    pub evidence: Evidence,
}

impl Observer {
    /// An observer that fingerprints with `key`.
    #[must_use]
    pub fn new(key: Arc<FingerprintKey>, privacy: PrivacyOptions) -> Self {
        Self { reader: Reader::new(key), privacy }
    }

    /// One like it that has read nothing, for another worker.
    #[must_use]
    pub fn fresh(&self) -> Self {
        Self::new(Arc::clone(self.reader.key()), self.privacy)
    }

    /// What `exchange`, seen on `connection`, tells.
    #[must_use]
    pub fn observe(
        &mut self,
        exchange: &Exchange,
        connection: &Connection,
        observed_at: Timestamp,
    ) -> Observation {
        let Exchange { index, role, phase, request, response, notes, anomalies } = exchange;
        let mut cuts = Cuts::default();
        let credentials = request
            .as_ref()
            .map_or_else(Vec::new, |request| self.reader.credentials(&request.fields, &mut cuts));
        let asked = request.as_ref().map(|request| asked(request, &mut cuts));
        let operations =
            request.as_ref().and_then(|it| operation::of_request(it, notes, &mut cuts));
        let begun = request.as_ref().map(|request| request.started);
        let answered_from = response.as_ref().map(|response| response.started);
        Observation {
            time: begun.or(answered_from).unwrap_or(observed_at),
            observed_at,
            process: Arc::clone(&connection.process),
            peer: connection.peer.clone(),
            connection: connection.id,
            socket: connection.socket,
            transport: connection.transport,
            index: *index,
            role: *role,
            phase: *phase,
            notes: notes.clone(),
            anomalies: *anomalies,
            cuts,
            request: asked,
            response: response.as_ref().map(answered),
            operations,
            grpc: GrpcCall::of(request.as_ref(), response.as_ref()),
            identity: self.identity(credentials.first().map(AsRef::as_ref)),
            credentials,
            key_id: self.reader.key().id(),
        }
    }

    fn identity(&self, credential: Option<&Credential>) -> Identity {
        let claims = credential.and_then(Credential::claims);
        let named = |name: &String| match self.privacy.subject {
            SubjectMode::Plain => Some(name.clone()),
            SubjectMode::Pseudonym => Some(self.reader.key().pseudonym(name)),
            SubjectMode::Drop => None,
        };
        Identity {
            subject: claims.and_then(|claims| claims.subject.as_ref()).and_then(named),
            client_id: claims.and_then(|claims| claims.client_id.clone()),
            actors: claims
                .map_or(&[][..], |claims| &claims.actors)
                .iter()
                .filter_map(named)
                .collect(),
            evidence: credential.map_or(Evidence::Unknown, Credential::evidence),
        }
    }
}

fn asked(request: &Request, cuts: &mut Cuts) -> Asked {
    let fields = &request.fields;
    let host = fields.host();
    Asked {
        method: METHODS.iter().find(|each| **each == request.method).unwrap_or(&OTHER_METHOD),
        target: Target::read(&request.method, &request.target, host, cuts),
        version: request.version,
        head_bytes: request.head_bytes,
        body_bytes: request.body_bytes,
        ended: request.ended,
        user_agent: user_agent(fields, cuts),
        trace: trace(fields),
    }
}

fn answered(response: &Response) -> Answered {
    Answered {
        status: response.status,
        version: response.version,
        head_bytes: response.head_bytes,
        body_bytes: response.body_bytes,
        started: response.started,
        ended: response.ended,
    }
}

fn user_agent(fields: &Fields, cuts: &mut Cuts) -> Option<String> {
    let sent = String::from_utf8_lossy(fields.first("user-agent")?);
    let shown = without_secrets(sent.trim());
    (!shown.is_empty()).then(|| cuts.text("ua", &shown, MAX_USER_AGENT))
}

/// Reads `traceparent`. More than one is as good as none (W3C Trace Context §3.2.2).
fn trace(fields: &Fields) -> Option<Trace> {
    let mut sent = fields.all("traceparent");
    let (Some(only), None) = (sent.next(), sent.next()) else { return None };
    let mut parts = std::str::from_utf8(only).ok()?.split('-');
    let version = parts.next().filter(|part| is_lower_hex(part, 2) && *part != "ff")?;
    let trace_id = parts.next().filter(|part| is_id(part, 32))?;
    let span_id = parts.next().filter(|part| is_id(part, 16))?;
    parts.next().filter(|part| is_lower_hex(part, 2))?;
    // Versions to come may append fields, this one may not.
    if version == "00" && parts.next().is_some() {
        return None;
    }
    Some(Trace { trace_id: trace_id.to_owned(), span_id: span_id.to_owned() })
}

fn is_id(text: &str, digits: usize) -> bool {
    is_lower_hex(text, digits) && text.bytes().any(|b| b != b'0')
}

fn is_lower_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_trace(values: &[&str], expected: Option<(&str, &str)>) {
        let mut fields = Fields::default();
        values.iter().for_each(|value| fields.push(b"traceparent", value.as_bytes()));
        let expected = expected.map(|(trace_id, span_id)| Trace {
            trace_id: trace_id.to_owned(),
            span_id: span_id.to_owned(),
        });
        assert_eq!(trace(&fields), expected, "{values:?}");
    }

    #[test]
    fn traceparent_is_read_only_if_it_is_one() {
        let (trace, span) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
        let whole = format!("00-{trace}-{span}-01");
        check_trace(&[&whole], Some((trace, span)));
        check_trace(&[&format!("cc-{trace}-{span}-01-what-comes")], Some((trace, span)));
        check_trace(&[&whole, &whole], None);
        check_trace(&[&format!("{whole}-x")], None);
        check_trace(&[&format!("ff-{trace}-{span}-01")], None);
        check_trace(&[&whole.to_uppercase()], None);
        check_trace(&[&format!("00-{}-{span}-01", "0".repeat(32))], None);
        check_trace(&[&format!("00-{trace}-{}-01", "0".repeat(16))], None);
        check_trace(&[&format!("00-{trace}-{span}")], None);
        check_trace(&[""], None);
        check_trace(&[], None);
    }

    #[track_caller]
    fn check_user_agent(sent: &str, expected: Option<&str>) {
        let mut fields = Fields::default();
        fields.push(b"user-agent", sent.as_bytes());
        assert_eq!(user_agent(&fields, &mut Cuts::default()).as_deref(), expected);
    }

    #[test]
    fn user_agents_lose_their_secrets() {
        check_user_agent("curl/8.5.0", Some("curl/8.5.0"));
        check_user_agent("bot key=A9fB3kPq77LmZx01 v1", Some("bot {token} v1"));
        check_user_agent(" ", None);
        check_user_agent("", None);
        check_user_agent(&"a ".repeat(300), Some(&"a ".repeat(128)));
    }
}
