//! From an [`Observation`] to the `access` event that tells of it. Decides nothing: it names.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    num::NonZeroUsize,
    sync::Arc,
};

use lru::LruCache;
use sha2::{Digest, Sha256};
use ulid::Ulid;

use crate::{
    clock::Timestamp,
    event::{
        handshake::Tls,
        model::{
            Agent, Client, Container, Credential, Event, EventType, Host, Http, Identity, Meta,
            Observed, Outcome, Process, Rpc, SCHEMA_VERSION, Server, ServerOutcome, Severity, Time,
            Token, Trace,
        },
        shared::Shared,
        verdict,
    },
    flow::chunk::{Handshake, Transport},
    http::{
        anomaly::{Anomalies, Grade},
        body::grpc::Messages,
        message::{Note, Phase, Role, Version},
    },
    identity,
    observation::{GrpcCall, Observation},
    policy::raw::ClientIp,
    text::Cuts,
    token::{self, examination::Binding, fingerprint},
};

/// Longest text kept of what the kernel says of a process, in bytes: it chooses its paths itself.
pub const MAX_PROCESS_TEXT: usize = 1024;

const GRPC_OK: u32 = 0;
const GRPC_PERMISSION_DENIED: u32 = 7;
const GRPC_UNAUTHENTICATED: u32 = 16;

/// Processes whose group is remembered, with some KiB at most each: those that hold connections
/// now are few beside those that ever did.
const MAX_PROCESSES: NonZeroUsize = NonZeroUsize::new(1024).unwrap();

/// Connections whose handshake is remembered in its written form, with some KiB at most each.
const MAX_HANDSHAKES: NonZeroUsize = NonZeroUsize::new(1024).unwrap();

/// Where events come from: the same for all of one run of the agent.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Origin {
    host: Shared<Host>,
    agent: Shared<Agent>,
}

/// Writes the events of one worker.
pub struct Author {
    origin: Origin,
    /// By process id, those that were named last.
    processes: LruCache<u32, Named>,
    /// By connection, those that were told of last.
    handshakes: LruCache<u64, (Arc<Handshake>, Shared<Tls>)>,
}

/// A process, as events have it.
struct Named {
    /// What it was made from: another process may come to have the id.
    of: Arc<identity::process::Process>,
    process: Shared<Process>,
    cuts: Cuts,
}

impl Origin {
    /// The origin of events of this agent on `host`.
    #[must_use]
    pub fn new(host: Host) -> Self {
        let agent = Agent { version: env!("CARGO_PKG_VERSION").to_owned() };
        Self { host: Shared::new(host), agent: Shared::new(agent) }
    }

    /// The groups of every event.
    #[must_use]
    pub fn groups(&self) -> (Shared<Host>, Shared<Agent>) {
        (self.host.clone(), self.agent.clone())
    }
}

impl Author {
    /// The author of events of `origin`.
    #[must_use]
    pub fn new(origin: Origin) -> Self {
        Self {
            origin,
            processes: LruCache::new(MAX_PROCESSES),
            handshakes: LruCache::new(MAX_HANDSHAKES),
        }
    }

    /// The event, `seq`th of this run, that tells of `seen`.
    #[must_use]
    pub fn access(&mut self, seq: u64, seen: &Observation) -> Event {
        let severity = severity(&seen.anomalies);
        let r#type = match seen.phase {
            Phase::Ended => EventType::Access,
            Phase::Begun => EventType::AccessBegun,
        };
        self.event(r#type, severity, seq, seen)
    }

    /// The event beside it that tells of a call for what was judged of it, if the call deserves
    /// one. One that lasts is told as soon as the server has answered, and once.
    #[must_use]
    pub fn scope_check(&mut self, seq: u64, seen: &Observation) -> Option<Event> {
        let judged = seen.judged.as_ref().filter(|judged| !judged.is_told)?;
        let outcome = server_outcome(seen);
        if seen.phase == Phase::Begun && outcome == ServerOutcome::Unknown {
            return None;
        }
        verdict::deserves_scope_check(judged, outcome)
            .then(|| self.event(EventType::ScopeCheck, judged.assessment.severity, seq, seen))
    }

    fn event(
        &mut self,
        r#type: EventType,
        severity: Severity,
        seq: u64,
        seen: &Observation,
    ) -> Event {
        let mut cuts = seen.cuts.clone();
        let peer = seen.peer.as_ref().map(|peer| self.process(peer, &mut cuts));
        let process = self.process(&seen.process, &mut cuts);
        let (client, server) = ends(seen);
        let shown = seen.credential();
        let state = shown.and_then(|credential| credential.state(seen.time));
        let authz = verdict::authz(seen, server_outcome(seen), &mut cuts);
        let route = seen.judged.as_ref().map(|judged| verdict::route(judged, &mut cuts));
        Event {
            event: self.meta(r#type, severity, seq, seen),
            host: self.origin.host.clone(),
            agent: self.origin.agent.clone(),
            process,
            peer,
            observation: observed(seen, &cuts),
            authz,
            route,
            client: unless_empty(client),
            server: unless_empty(server),
            tls: seen.handshake.as_ref().map(|handshake| self.tls(seen.connection, handshake)),
            http: unless_empty(http(seen)),
            volume: None,
            rpc: seen.grpc.map(|call| rpc(call, seen.phase)),
            trace: seen.request.as_ref().and_then(|asked| asked.trace.as_ref()).map(|trace| {
                Trace { trace_id: trace.trace_id.clone(), span_id: trace.span_id.clone() }
            }),
            credential: shown.map(|each| credential(each, seen)),
            credentials_seen: u64::try_from(seen.credentials.len()).ok().filter(|seen| *seen > 1),
            token: shown.zip(state).map(|(each, state)| token(each, state, seen)),
            identity: shown.map(|each| identity(each, seen)),
        }
    }

    fn process(
        &mut self,
        of: &Arc<identity::process::Process>,
        cuts: &mut Cuts,
    ) -> Shared<Process> {
        if let Some(named) = self.processes.get(&of.pid)
            && (Arc::ptr_eq(&named.of, of) || named.of == *of)
        {
            cuts.join(&named.cuts);
            return named.process.clone();
        }
        let mut own = Cuts::default();
        let process = Shared::new(process(of, &mut own));
        cuts.join(&own);
        let named = Named { of: Arc::clone(of), process: process.clone(), cuts: own };
        self.processes.put(of.pid, named);
        process
    }

    fn tls(&mut self, connection: u64, of: &Arc<Handshake>) -> Shared<Tls> {
        if let Some((told, tls)) = self.handshakes.get(&connection)
            && (Arc::ptr_eq(told, of) || told == of)
        {
            return tls.clone();
        }
        let tls = Shared::new(Tls::of(of));
        self.handshakes.put(connection, (Arc::clone(of), tls.clone()));
        tls
    }

    fn meta(&self, r#type: EventType, severity: Severity, seq: u64, seen: &Observation) -> Meta {
        Meta {
            uid: self.uid(r#type, seen).to_string(),
            r#type,
            time: Time(seen.time),
            observed_time: Time(seen.observed_at),
            seq,
            severity,
            outcome: match server_outcome(seen) {
                ServerOutcome::Allowed => Outcome::Success,
                ServerOutcome::Denied | ServerOutcome::Failed => Outcome::Failure,
                ServerOutcome::Unknown => Outcome::Unknown,
            },
            schema: SCHEMA_VERSION.to_owned(),
        }
    }

    /// A ULID whose random part is made of what names the observation, so that duplicates are
    /// recognised and replays repeat themselves.
    fn uid(&self, r#type: EventType, seen: &Observation) -> Ulid {
        let digest = Sha256::new()
            .chain_update(&self.origin.host.boot_id)
            .chain_update([0])
            .chain_update(seen.connection.to_be_bytes())
            .chain_update(seen.index.to_be_bytes())
            .chain_update(seen.role.as_str())
            .chain_update([0])
            .chain_update(r#type.as_str())
            .finalize();
        let first_80_bits = digest.iter().take(10).fold(0, |bits, b| bits << 8 | u128::from(*b));
        Ulid::from_parts(seen.time.as_millis(), first_80_bits)
    }
}

fn process(process: &identity::process::Process, cuts: &mut Cuts) -> Process {
    let identity::process::Process { pid, started, comm, exe, unit, container, cgroup } = process;
    let mut text = |field, text: &String| cuts.text(field, text, MAX_PROCESS_TEXT);
    Process {
        pid: *pid,
        comm: text("comm", comm),
        start: started.map(Time),
        exe: exe.as_ref().map(|exe| text("exe", exe)),
        unit: unit.as_ref().map(|unit| text("unit", unit)),
        cgroup: cgroup.as_ref().map(|cgroup| text("cgroup", cgroup)),
        container: container.as_ref().map(|id| Container { id: text("container", id) }),
    }
}

fn observed(seen: &Observation, cuts: &Cuts) -> Observed {
    let notes = seen.notes.iter().map(|note| note.as_str().to_owned());
    let is_unsure = seen.operations.as_ref().is_some_and(|asked| !asked.is_complete);
    let unsure = is_unsure.then(|| "operation_unknown".to_owned());
    let cuts = cuts.iter().map(|field| format!("truncated:{field}"));
    Observed {
        role: seen.role,
        conn_id: format!("{:016x}", seen.connection),
        exchange: seen.index,
        complete: is_complete(seen),
        transport: Some(seen.transport),
        attribution: Some(seen.attribution),
        peer_attribution: seen.peer_attribution,
        library: None,
        proto: version(seen).map(|version| alpn(version).to_owned()),
        notes: notes.chain(unsure).chain(cuts).collect(),
    }
}

/// Whether nothing is missing, and nobody may have read the messages in another way.
fn is_complete(seen: &Observation) -> bool {
    let is_whole = seen.notes.iter().all(|note| *note == Note::Upgraded);
    let is_clear = !seen.anomalies.is_ambiguous()
        && seen.operations.as_ref().is_none_or(|asked| asked.is_complete);
    let is_over = seen.phase == Phase::Ended;
    is_over && is_whole && is_clear && seen.request.is_some() && seen.response.is_some()
}

/// Requests that are read in two ways get past who looks at them in one.
fn severity(anomalies: &Anomalies) -> Severity {
    match (anomalies.request.grade(), anomalies.response.grade()) {
        (Some(Grade::Ambiguous), _) => Severity::Medium,
        (_, Some(Grade::Ambiguous)) | (Some(Grade::Untidy), _) => Severity::Low,
        (None | Some(Grade::Rare), None | Some(Grade::Rare | Grade::Untidy)) => Severity::Info,
    }
}

/// Who called and who was called: the process is one, its peer the other.
fn ends(seen: &Observation) -> (Client, Server) {
    let audit = Kept::of(seen);
    let (asked, handshake) = (seen.request.as_ref(), seen.handshake.as_deref());
    let (client, server) = match (seen.role, seen.socket) {
        (Role::Client, Some(socket)) => (Some(socket.local), Some(socket.remote)),
        (Role::Server, Some(socket)) => (Some(socket.remote), Some(socket.local)),
        (Role::Client | Role::Server, None) => (None, None),
    };
    let client = Client {
        ip: client.and_then(|at| shown_address(at.ip(), seen)),
        port: client.map(|at| at.port()),
        forwarded_for: forwarded_for(seen, client),
        ua: asked.and_then(|asked| asked.user_agent.clone()).filter(|_| audit.user_agent),
        tls_fp: handshake
            .and_then(|handshake| handshake.ja4.clone())
            .filter(|_| audit.tls_fingerprint),
    };
    let server = Server {
        host: asked.and_then(|asked| asked.target.host.clone()),
        ip: server.map(|at| at.ip()),
        port: server.as_ref().map(SocketAddr::port),
        sni: handshake.and_then(|handshake| handshake.server_name.clone()),
    };
    (client, server)
}

/// What the policy has kept of a client; all of which it says nothing.
struct Kept {
    user_agent: bool,
    tls_fingerprint: bool,
}

impl Kept {
    fn of(seen: &Observation) -> Self {
        let audit = seen.judged.as_ref().map(|judged| &judged.judgement.audit);
        Self {
            user_agent: audit.and_then(|audit| audit.user_agent).unwrap_or(true),
            tls_fingerprint: audit.and_then(|audit| audit.tls_fingerprint).unwrap_or(true),
        }
    }
}

/// The address of a client, as far as the policy has it kept.
fn shown_address(address: IpAddr, seen: &Observation) -> Option<IpAddr> {
    let kept = seen.judged.as_ref().and_then(|judged| judged.judgement.audit.client_ip);
    match (kept, address) {
        (None | Some(ClientIp::Full), address) => Some(address),
        (Some(ClientIp::Network), IpAddr::V4(address)) => {
            Some(Ipv4Addr::from_bits(address.to_bits() & (u32::MAX << 8)).into())
        }
        (Some(ClientIp::Network), IpAddr::V6(address)) => {
            Some(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 80)).into())
        }
        (Some(ClientIp::None), _) => None,
    }
}

/// The client's address by the word of proxies, if it is another than that of the connection.
fn forwarded_for(seen: &Observation, client: Option<SocketAddr>) -> Option<IpAddr> {
    let told = seen.judged.as_ref().and_then(|judged| judged.judgement.client)?;
    let is_other = client.is_none_or(|client| client.ip() != told);
    is_other.then(|| shown_address(told, seen)).flatten()
}

fn http(seen: &Observation) -> Http {
    let asked = seen.request.as_ref();
    let target = asked.map(|asked| &asked.target);
    // Only a request to a proxy says by itself what it is for.
    let carried = match seen.transport {
        Transport::Tls => "https",
        Transport::Plain => "http",
    };
    let scheme = target.map(|target| target.scheme.clone().unwrap_or_else(|| carried.to_owned()));
    let answered = seen.response.filter(|_| asked.is_some());
    let operations = seen.operations.as_ref().map_or(&[][..], |asked| &asked.list);
    // Lengths and ends are not known before.
    let is_over = seen.phase == Phase::Ended;
    let since = |at: Timestamp| at.since(seen.time);
    let matched = seen.judged.as_ref().and_then(|judged| judged.judgement.route.as_ref());
    let template = matched.map(|route| route.template.to_string());
    Http {
        method: asked.map(|asked| asked.method.to_owned()),
        scheme,
        path: template.clone().or_else(|| target.and_then(|target| target.path.clone())),
        path_template: template,
        status: seen.response.map(|answered| answered.status),
        req_bytes: asked.filter(|_| is_over).map(|asked| asked.body_bytes),
        resp_bytes: seen.response.filter(|_| is_over).map(|answered| answered.body_bytes),
        req_head_bytes: asked.map(|asked| asked.head_bytes),
        resp_head_bytes: seen.response.map(|answered| answered.head_bytes),
        req_end_ns: asked.filter(|_| is_over).map(|asked| since(asked.ended)),
        resp_start_ns: answered.map(|answered| since(answered.started)),
        duration_ns: answered.filter(|_| is_over).map(|answered| since(answered.ended)),
        version: version(seen).map(|version| version.as_str().to_owned()),
        operation_protocol: seen.operations.as_ref().map(|asked| asked.protocol),
        operation: operations.iter().map(ToString::to_string).collect(),
        operation_fields: operations.iter().flat_map(|each| each.fields.clone()).collect(),
        query_keys: target.map_or_else(Vec::new, |target| target.query_keys.clone()),
        anomaly: seen.anomalies.request.iter().collect(),
        resp_anomaly: seen.anomalies.response.iter().collect(),
    }
}

fn version(seen: &Observation) -> Option<Version> {
    let asked = seen.request.as_ref().map(|asked| asked.version);
    asked.or(seen.response.map(|answered| answered.version))
}

const fn alpn(version: Version) -> &'static str {
    match version {
        Version::Http10 => "http/1.0",
        Version::Http11 => "http/1.1",
        Version::Http2 => "h2",
    }
}

fn rpc(call: GrpcCall, phase: Phase) -> Rpc {
    let is_inexact = |side: Option<Messages>| side.is_some_and(|messages| !messages.is_exact());
    Rpc {
        status_code: call.status,
        req_messages: call.request.map(|messages| messages.count()),
        resp_messages: call.response.map(|messages| messages.count()),
        at_least: (phase == Phase::Begun || is_inexact(call.request) || is_inexact(call.response))
            .then_some(true),
    }
}

fn server_outcome(seen: &Observation) -> ServerOutcome {
    let status = seen.response.map(|answered| answered.status);
    match (status, seen.grpc.map(|call| call.status)) {
        (Some(401 | 403 | 407), _) => ServerOutcome::Denied,
        (Some(400..), _) => ServerOutcome::Failed,
        // A call's own status, as HTTP's is 200 whatever came of it (gRPC over HTTP/2).
        (Some(..400), Some(Some(GRPC_OK)) | None) => ServerOutcome::Allowed,
        (Some(..400), Some(Some(GRPC_PERMISSION_DENIED | GRPC_UNAUTHENTICATED))) => {
            ServerOutcome::Denied
        }
        (Some(..400), Some(Some(_))) => ServerOutcome::Failed,
        (Some(..400), Some(None)) | (None, _) => ServerOutcome::Unknown,
    }
}

fn credential(credential: &token::Credential, seen: &Observation) -> Credential {
    let fp = credential.fingerprint.as_ref().map(|fp| fp.as_str().to_owned());
    Credential {
        location: credential.location,
        scheme: credential.scheme,
        kind: credential.kind,
        format: credential.format(),
        fp_alg: fp.is_some().then(|| fingerprint::ALGORITHM.to_owned()),
        key_id: fp.is_some().then(|| seen.key_id.to_string()),
        fp,
        jti: credential.claims().and_then(|claims| claims.id.clone()),
        prefix_class: credential.prefix_class.map(|class| class.name.to_owned()),
        binding: seen.binding.as_ref().and_then(binding),
    }
}

/// What was proved of a binding; `None` where there is none.
fn binding(binding: &Binding) -> Option<String> {
    let name = match binding {
        Binding::None => return None,
        Binding::Dpop => "dpop",
        Binding::Mtls => "mtls",
        Binding::Missing => "missing",
        Binding::Mismatch => "mismatch",
        Binding::ProofInvalid(check) => return Some(format!("proof_invalid:{check}")),
        Binding::ProofReplayed => "proof_replayed",
        Binding::Unverifiable => "unverifiable",
    };
    Some(name.to_owned())
}

fn token(credential: &token::Credential, state: token::TokenState, seen: &Observation) -> Token {
    let (claims, header) = (credential.claims(), credential.header());
    let signature = credential.examination.signature;
    let exp = claims.and_then(|claims| claims.expires_at);
    Token {
        state,
        sig_state: seen.has_policy.then_some(signature),
        iss: claims.and_then(|claims| claims.issuer.clone()),
        iat: claims.and_then(|claims| claims.issued_at),
        nbf: claims.and_then(|claims| claims.not_before),
        exp,
        ttl_left: exp.map(|exp| signed_difference(exp, seen.time.as_secs())),
        alg: header.and_then(|header| header.algorithm.clone()),
        kid: header.and_then(|header| header.key_id.clone()),
        typ: header.and_then(|header| header.typ.clone()),
        aud: claims.map_or_else(Vec::new, |claims| claims.audience.clone()),
    }
}

/// `a - b`, saturating.
fn signed_difference(a: u64, b: u64) -> i64 {
    let [a, b] = [a, b].map(|each| i64::try_from(each).unwrap_or(i64::MAX));
    a.saturating_sub(b)
}

fn identity(credential: &token::Credential, seen: &Observation) -> Identity {
    let claims = credential.claims();
    Identity {
        evidence: seen.identity.evidence,
        subject: seen.identity.subject.clone(),
        username: seen.identity.username.clone(),
        client_id: seen.identity.client_id.clone(),
        tenant: seen.identity.tenant.clone(),
        acr: claims.and_then(|claims| claims.acr.clone()),
        auth_time: claims.and_then(|claims| claims.auth_time),
        session: claims.and_then(|claims| claims.session.clone()),
        withheld: seen.identity.withheld,
        actor_chain: seen.identity.actors.clone(),
        amr: claims.map_or_else(Vec::new, |claims| claims.amr.clone()),
    }
}

fn unless_empty<T: Default + PartialEq>(group: T) -> Option<T> {
    (group != T::default()).then_some(group)
}
