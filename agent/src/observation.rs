//! Stage 5's end: an exchange, read as a use of credentials and judged. In: an [`Exchange`], the
//! [`Connection`] it was seen on, and the rules in force. Out: an [`Observation`], the last that
//! findings and events need to know of it.
//!
//! No token bytes past this point, no identifiers in paths, no query values, and no text from
//! traffic beyond its limit. Pure: time and key are handed in.

mod judged;
mod learnt;
mod naming;

use std::sync::Arc;

pub use self::{
    judged::Judged,
    naming::{Naming, SubjectMode},
};
use self::{
    judged::{Judge, Looked, Scene},
    naming::Named,
};
use crate::{
    clock::Timestamp,
    flow::chunk::{
        Attribution, ClientCertificate, Connection, Handshake, ShownCertificate, Socket, Transport,
    },
    http::{
        anomaly::Anomalies,
        body::grpc::Messages,
        message::{Exchange, Fields, Note, Phase, Request, Response, Role, Version},
        operation::{self, Operations},
        path::Target,
    },
    identity::process::Process,
    rules::{Follower, Rules, Standing},
    text::Cuts,
    token::{
        Credential, Evidence,
        challenge::{self, Challenge},
        examination::Binding,
        fingerprint::FingerprintKey,
        pseudonym::Withheld,
        reader::Reader,
        shape::{TOKEN, is_token, without_secrets},
    },
};

/// Longest user agent kept, in bytes.
pub const MAX_USER_AGENT: usize = 256;

/// Longest name kept of a certificate, in bytes.
pub const MAX_DISTINGUISHED_NAME: usize = 512;

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

/// Turns exchanges into observations, for one worker: it remembers the credentials that it read,
/// and what they were shown with.
pub struct Observer {
    reader: Reader,
    rules: Follower,
    judge: Judge,
    naming: Naming,
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
    /// How it is known that it did.
    pub attribution: Attribution,
    /// The process at the other end, where that is known.
    pub peer: Option<Arc<Process>>,
    /// How it is known that it is; there if `peer` is.
    pub peer_attribution: Option<Attribution>,
    /// Stable name of the connection within this boot.
    pub connection: u64,
    /// Addresses, seen from the process.
    pub socket: Option<Socket>,
    /// What carried the connection's bytes.
    pub transport: Transport,
    /// What the TLS handshake told, as far as it may be kept.
    pub handshake: Option<Arc<Handshake>>,
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
    /// The request's credentials, those in standard places first.
    pub credentials: Vec<Arc<Credential>>,
    /// What the sender proved of the credential that events tell of.
    pub binding: Option<Binding>,
    /// Who that credential speaks for.
    pub identity: Identity,
    /// Whether there is a policy, by which tokens are verified.
    pub has_policy: bool,
    /// What the policy says of it; `None` if nothing.
    pub judged: Option<Judged>,
    /// Why the server refused, in its own words.
    pub challenges: Vec<Challenge>,
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
    /// A name of theirs that people use, or its pseudonym.
    pub username: Option<String>,
    /// The client that the token was issued to.
    pub client_id: Option<String>,
    /// The tenant of its issuer.
    pub tenant: Option<String>,
    /// Who acts for the subject, the current actor first, or their pseudonyms.
    pub actors: Vec<String>,
    /// Why one of them is not told, or both names of the subject.
    pub withheld: Option<Withheld>,
    /// How well that is proven.
    pub evidence: Evidence,
}

impl Observation {
    /// The credential that events tell of: the one that was judged, else the first.
    #[must_use]
    pub fn credential(&self) -> Option<&Credential> {
        self.credentials.get(told(self.judged.as_ref())).map(AsRef::as_ref)
    }
}

/// Position of the credential that events tell of.
fn told(judged: Option<&Judged>) -> usize {
    judged.and_then(|judged| judged.judgement.credential).unwrap_or(0)
}

impl Observer {
    /// An observer that fingerprints with `key`, names people as `naming` says, and judges by what
    /// `rules` has.
    #[must_use]
    pub fn new(key: Arc<FingerprintKey>, naming: Naming, rules: &Standing) -> Self {
        let (reader, rules) = (Reader::new(key), rules.follow());
        Self { reader, rules, judge: Judge::default(), naming }
    }

    /// One like it that has read nothing, for another worker; what was proved by DPoP is known to both.
    #[must_use]
    pub fn fresh(&self) -> Self {
        let reader = Reader::new(Arc::clone(self.reader.key()));
        let (rules, judge) = (self.rules.clone(), self.judge.sharing());
        Self { reader, rules, judge, naming: self.naming.clone() }
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
        let rules = Arc::clone(self.rules.current());
        let credentials = request.as_ref().map_or_else(Vec::new, |request| {
            let Rules { sources, trust, .. } = &*rules;
            self.reader.credentials(request, sources, trust, &mut cuts)
        });
        if let Some(keyring) = &rules.keyring {
            self.reader.missing().into_iter().for_each(|key| keyring.missing(key));
        }
        let asked = request.as_ref().map(|request| asked(request, &mut cuts));
        if let Some(keyring) = &rules.keyring {
            learnt::key_set(keyring, exchange, connection, asked.as_ref(), &mut cuts);
        }
        let handshake = connection.handshake.as_ref();
        let handshake = handshake.map(|handshake| self.handshake(handshake, &mut cuts));
        let operations =
            request.as_ref().and_then(|it| operation::of_request(it, notes, &mut cuts));
        let Looked { bindings, judged } = self.look(
            &rules,
            exchange,
            connection,
            asked.as_ref(),
            &credentials,
            operations.as_ref(),
        );
        let shown = told(judged.as_ref());
        let answer = response.as_ref().map(|response| &response.fields);
        let begun = request.as_ref().map(|request| request.started);
        let answered_from = response.as_ref().map(|response| response.started);
        Observation {
            time: begun.or(answered_from).unwrap_or(observed_at),
            observed_at,
            process: Arc::clone(&connection.process),
            attribution: connection.attribution,
            peer: connection.peer.clone(),
            peer_attribution: connection.peer_attribution,
            connection: connection.id,
            socket: connection.socket,
            transport: connection.transport,
            handshake,
            index: *index,
            role: *role,
            phase: *phase,
            notes: notes.clone(),
            anomalies: *anomalies,
            request: asked,
            response: response.as_ref().map(answered),
            operations,
            grpc: GrpcCall::of(request.as_ref(), response.as_ref()),
            identity: self.identity(credentials.get(shown).map(AsRef::as_ref)),
            binding: bindings.into_iter().nth(shown),
            credentials,
            has_policy: rules.engine.is_some(),
            judged,
            challenges: answer
                .map_or_else(Vec::new, |fields| challenge::challenges(fields, &mut cuts)),
            cuts,
            key_id: self.reader.key().id(),
        }
    }

    /// What the policy, if there is one, makes of an exchange of which a request was seen.
    fn look(
        &mut self,
        rules: &Rules,
        exchange: &Exchange,
        connection: &Connection,
        asked: Option<&Asked>,
        credentials: &[Arc<Credential>],
        operations: Option<&Operations>,
    ) -> Looked {
        let Some(((engine, request), asked)) =
            rules.engine.as_ref().zip(exchange.request.as_ref()).zip(asked)
        else {
            return Looked::default();
        };
        let operations = operations.and_then(Operations::named);
        let scene = Scene {
            exchange,
            request,
            connection,
            host: asked.target.host.as_deref(),
            operations: operations.as_deref(),
            credentials,
            status: judged::status(exchange.response.as_ref()),
        };
        self.judge.look(engine, &scene)
    }

    /// What of a handshake may be kept: as it is, where nothing of it needs to be hidden or cut.
    fn handshake(&self, told: &Arc<Handshake>, cuts: &mut Cuts) -> Arc<Handshake> {
        let mut kept = Arc::clone(told);
        if told.server_name.as_deref().is_some_and(is_token) {
            Arc::make_mut(&mut kept).server_name = Some(TOKEN.to_owned());
        }
        if let ShownCertificate::Certificate(ClientCertificate { thumbprint, subject, issuer }) =
            &told.client_certificate
        {
            // One who is forgotten is left out; events have no place beside it that says why.
            let subject = self.naming.name(without_token(subject)).ok().flatten();
            let subject = subject.unwrap_or_default();
            Arc::make_mut(&mut kept).client_certificate =
                ShownCertificate::Certificate(ClientCertificate {
                    thumbprint: *thumbprint,
                    subject: cuts.text("subject", &subject, MAX_DISTINGUISHED_NAME),
                    issuer: cuts.text("issuer", without_token(issuer), MAX_DISTINGUISHED_NAME),
                });
        }
        kept
    }

    fn identity(&self, credential: Option<&Credential>) -> Identity {
        let claims = credential.and_then(Credential::claims);
        // As the dialect of the issuer has it, where the policy names the issuer.
        let known = credential.filter(|credential| credential.examination.issuer.is_some());
        let grant = known.map(|credential| &credential.examination.grant);
        let (subject, client_id) = match (grant, claims) {
            (Some(grant), _) if grant.subject.is_some() || grant.client_id.is_some() => {
                (grant.subject.as_ref(), grant.client_id.as_ref())
            }
            (_, Some(claims)) => (claims.subject.as_ref(), claims.client_id.as_ref()),
            (_, None) => (None, None),
        };
        let username = grant.and_then(|grant| grant.username.as_ref());
        let Named { names: [subject, username], withheld } =
            self.naming.person([subject, username]);
        let actors = self.naming.people(claims.map_or(&[], |claims| &claims.actors));
        Identity {
            subject,
            username,
            client_id: client_id.cloned(),
            tenant: grant.and_then(|grant| grant.tenant.clone()),
            actors: actors.names,
            withheld: withheld.or(actors.withheld),
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

/// A distinguished name, unless an attribute of it is a token.
fn without_token(name: &str) -> &str {
    if name.split(['=', ',', '+', ' ']).any(is_token) { TOKEN } else { name }
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
