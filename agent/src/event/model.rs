//! The event, version 1: fields are added, never changed or removed. In: what `access.rs` found.
//! Out: a value that serialises to the JSON of `docs/events.md`, which is made from these
//! definitions.

use std::{borrow::Cow, net::IpAddr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

use crate::{
    clock::Timestamp,
    event::{
        group::group,
        handshake::Tls,
        shared::Shared,
        verdict::{Required, Route},
        volume::Told,
    },
    flow::chunk::{Attribution, Transport},
    http::{anomaly::Anomaly, message::Role, operation::Protocol},
    names::named_enum,
    policy::{judgement::Verdict, outcome::Finding},
    token::{
        Evidence, Format, Kind, TokenState,
        challenge::{ChallengeError, Hint},
        examination::SignatureState,
        extract::{Location, Scheme},
        pseudonym::Withheld,
    },
};

/// Version of the event's form.
pub const SCHEMA_VERSION: &str = "1";

named_enum! {
    /// What an event tells of; dotted names group the kinds to come.
    pub enum EventType {
        /// An exchange used, or lacked, credentials
        Access = "access",
        /// An exchange has begun and has lasted for ten seconds, as sessions over WebSocket, event
        /// streams and tunnels do. Its `access` follows at its end, with the same
        /// `observation.conn_id` and `exchange`: who counts exchanges, counts those.
        AccessBegun = "access.begun",
        /// A call that policy and server disagree about, or that was refused, or that is about
        /// sensitive data; told beside its `access`
        ScopeCheck = "scope_check",
        /// A policy is judged by, the first one of this run
        PolicyLoaded = "policy.loaded",
        /// Another policy is judged by, or the keys of its issuers changed
        PolicyChanged = "policy.changed",
        /// A new policy, or keys, cannot be used: what was known stays
        PolicyRejected = "policy.rejected",
    }
}

named_enum! {
    /// How much attention an event deserves, least first.
    pub enum Severity {
        /// For the record
        Info = "info",
        /// Look at it some day
        Low = "low",
        /// Look at it this week
        Medium = "medium",
        /// Look at it today
        High = "high",
        /// Look at it now
        Critical = "critical",
    }
}

named_enum! {
    /// Whether the exchange did what it was to do, by its status alone.
    pub enum Outcome {
        /// 1xx to 3xx, of gRPC status 0
        Success = "success",
        /// 4xx and above, other statuses of gRPC
        Failure = "failure",
        /// No response was seen, or not the status of a gRPC call
        Unknown = "unknown",
    }
}

named_enum! {
    /// What the server decided, by its status alone.
    pub enum ServerOutcome {
        /// 1xx to 3xx, of gRPC status 0: it did what was asked.
        Allowed = "allowed",
        /// 401, 403 or 407, of gRPC status 7 or 16: it refused the caller.
        Denied = "denied",
        /// Other 4xx, 5xx, other statuses of gRPC: it failed for reasons that need not be the
        /// caller's rights.
        Failed = "failed",
        /// No response was seen, or not the status of a gRPC call.
        Unknown = "unknown",
    }
}

/// A time, written as RFC 3339 in UTC with microseconds.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct Time(pub Timestamp);

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0.to_rfc3339())
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        let stamp = Timestamp::from_rfc3339(&text).map(Self);
        stamp.ok_or_else(|| D::Error::custom("a time is not RFC 3339, or before 1970"))
    }
}

group! {
    /// An audit event.
    pub struct Event {
        required {
            /// What kind of event this is, and when it happened.
            event: Meta ["group", ""],
            /// The machine that the agent runs on.
            host: Shared<Host> ["group", ""],
            /// The agent that made the event.
            agent: Shared<Agent> ["group", ""],
            /// The process that held the observed end of the connection.
            process: Shared<Process> ["group", ""],
            /// How the exchange was observed, and what of it was not.
            observation: Observed ["group", ""],
            /// What was decided.
            authz: Authz ["group", ""],
        }
        optional {
            /// The process at the other end, where that is on this host and one event tells of
            /// both ends.
            peer: Shared<Process> ["group", ""],
            /// Who called.
            client: Client ["group", ""],
            /// Who was called.
            server: Server ["group", ""],
            /// The TLS handshake of the connection, as far as it was seen.
            tls: Shared<Tls> ["group", ""],
            /// What the policy has the call for; there if the policy says anything of it.
            route: Route ["group", ""],
            /// The exchange.
            http: Http ["group", ""],
            /// What else the event stands for; there if the policy's `volume` asks for fewer
            /// events.
            volume: Told ["group", ""],
            /// The gRPC call that the exchange is.
            rpc: Rpc ["group", ""],
            /// The distributed trace that the request belongs to.
            trace: Trace ["group", ""],
            /// The credential of the request that was judged, else its first, without its secret.
            credential: Credential ["group", ""],
            /// How many credentials the request had, if more than one. A server must refuse such
            /// a request.
            credentials_seen: u64 ["count", "RFC 6750 §3.1"],
            /// The token in the credential, as far as it is readable.
            token: Token ["group", ""],
            /// Who the credential speaks for.
            identity: Identity ["group", ""],
        }
        list {}
    }
}

group! {
    /// What kind of event this is, and when it happened.
    pub struct Meta {
        required {
            /// Name of the event. Made from what was observed: the same observation, replayed or
            /// sent twice, has the same uid.
            uid: String ["ULID", ""],
            /// Kind of event.
            r#type: EventType ["one of", ""],
            /// When the exchange began.
            time: Time ["RFC 3339, UTC", "RFC 3339 §5.6"],
            /// When the agent made the event.
            observed_time: Time ["RFC 3339, UTC", "RFC 3339 §5.6"],
            /// Position among the events of this run of the agent. A missing number is a lost
            /// event.
            seq: u64 ["count", ""],
            /// How much attention the event deserves.
            severity: Severity ["one of", ""],
            /// Whether the exchange succeeded, by its status.
            outcome: Outcome ["one of", ""],
            /// Version of the event's form.
            schema: String ["version", ""],
        }
        optional {}
        list {}
    }
}

group! {
    /// The machine that the agent runs on.
    pub struct Host {
        required {
            /// Stable id of the machine.
            id: String ["machine id", "machine-id(5)"],
            /// Name of the machine.
            name: String ["host name", "hostname(7)"],
            /// Id of this boot: connection ids and process starts are unique within it.
            boot_id: String ["UUID", "random(4)"],
        }
        optional {}
        list {}
    }
}

group! {
    /// The agent that made the event.
    pub struct Agent {
        required {
            /// Version of the agent.
            version: String ["version", ""],
        }
        optional {}
        list {}
    }
}

group! {
    /// A process that held an end of the connection.
    pub struct Process {
        required {
            /// Process id, in the initial pid namespace.
            pid: u32 ["pid", "proc(5)"],
            /// Short name; the process may choose it.
            comm: String ["text", "proc_pid_comm(5)"],
        }
        optional {
            /// When the process started.
            start: Time ["RFC 3339, UTC", "proc_pid_stat(5)"],
            /// Path of the executable, in the process's own mount namespace.
            exe: String ["path", "proc_pid_exe(5)"],
            /// systemd unit.
            unit: String ["unit name", "systemd.unit(5)"],
            /// cgroup path.
            cgroup: String ["path", "cgroups(7)"],
            /// The container that the process runs in.
            container: Container ["group", ""],
        }
        list {}
    }
}

group! {
    /// The container that the process runs in.
    pub struct Container {
        required {
            /// Container id.
            id: String ["64 hex digits", "OCI runtime"],
        }
        optional {}
        list {}
    }
}

group! {
    /// How the exchange was observed, and what of it was not.
    pub struct Observed {
        required {
            /// Which end of the connection the process was. A call between two processes of one
            /// host gives an event for each end.
            role: Role ["one of", ""],
            /// Names the connection within this boot.
            conn_id: String ["16 hex digits", ""],
            /// Position of the exchange on its connection, from 0.
            exchange: u64 ["index", ""],
            /// Whether nothing is missing, and nothing may be read in two ways. Only then may
            /// absence be concluded from a field that is not there. Never of `access.begun`.
            complete: bool ["true or false", ""],
        }
        optional {
            /// What carried the connection's bytes.
            transport: Transport ["one of", ""],
            /// How it is known that `process` held its end.
            attribution: Attribution ["one of", ""],
            /// How it is known that `peer` held the other.
            peer_attribution: Attribution ["as `observation.attribution`", ""],
            /// TLS library that the process uses.
            library: String ["name", ""],
            /// Application protocol.
            proto: String ["ALPN name", "RFC 7301 §6"],
        }
        list {
            /// What is missing: `request_head_lost`, `headers_incomplete`, `request_body_lost`,
            /// `response_head_lost`, `response_headers_incomplete`, `response_body_lost`,
            /// `unfinished`; `operation_unknown`, if there may be more than `http.operation` says;
            /// or that the exchange changed the protocol: `upgraded`; `truncated:` and the name of
            /// a field that was cut to its limit.
            notes: String ["name", ""],
        }
    }
}

group! {
    /// Who called.
    #[derive(Default)]
    pub struct Client {
        required {}
        optional {
            /// Address that the connection came from.
            ip: IpAddr ["IP address", ""],
            /// Port that the connection came from.
            port: u16 ["port", ""],
            /// Address that the client has by the word of proxies that the policy trusts, if it is
            /// another than `client.ip`.
            forwarded_for: IpAddr ["IP address", "RFC 7239"],
            /// User agent, with `{token}` in place of words that look like secrets.
            ua: String ["text, up to 256 bytes", "RFC 9110 §10.1.5"],
            /// Fingerprint of the TLS hello that the connection began with: names the software
            /// and its settings, not the machine. Behind a proxy it is the proxy's.
            tls_fp: String ["JA4", "JA4 by FoxIO"],
        }
        list {}
    }
}

group! {
    /// Who was called.
    #[derive(Default)]
    pub struct Server {
        required {}
        optional {
            /// Host that was asked for, in lower case, without port. The caller chose it.
            host: String ["host name or address", "RFC 9110 §7.2"],
            /// Address that the connection went to.
            ip: IpAddr ["IP address", ""],
            /// Port that the connection went to.
            port: u16 ["port", ""],
            /// Host name that the TLS hello asked for, in lower case. The caller chose it.
            sni: String ["host name, up to 255 bytes", "RFC 6066 §3"],
        }
        list {}
    }
}

group! {
    /// The exchange.
    #[derive(Default)]
    pub struct Http {
        required {}
        optional {
            /// Method, `_OTHER` if it is none in common use.
            method: String ["name", "RFC 9110 §9"],
            /// Scheme of the target.
            scheme: String ["`http` or `https`", "RFC 9110 §4.2"],
            /// Path, with `{int}`, `{uuid}`, `{hex}`, `{email}` and `{token}` in place of
            /// segments that look like those; `http.path_template` where that is known.
            path: String ["path, up to 1024 bytes", "RFC 3986 §3.3"],
            /// Template of the path by which the policy judged the call.
            path_template: String ["path, up to 1024 bytes", ""],
            /// Status code of the final response.
            status: u16 ["code", "RFC 9110 §15"],
            /// Body bytes of the request, after transfer coding is removed.
            req_bytes: u64 ["bytes", "RFC 9110 §6.4"],
            /// Body bytes of the response, after transfer coding is removed.
            resp_bytes: u64 ["bytes", "RFC 9110 §6.4"],
            /// Head of the request as sent: in HTTP/1 from start line to empty line, in HTTP/2
            /// the compressed header block.
            req_head_bytes: u64 ["bytes", "RFC 9112 §2.1, RFC 9113 §4.3"],
            /// Head of the response as sent.
            resp_head_bytes: u64 ["bytes", "RFC 9112 §2.1, RFC 9113 §4.3"],
            /// From the first byte of the request to its last.
            req_end_ns: u64 ["nanoseconds", ""],
            /// From the first byte of the request to the first of the response.
            resp_start_ns: u64 ["nanoseconds", ""],
            /// From the first byte of the request to the last of the response.
            duration_ns: u64 ["nanoseconds", ""],
            /// How `http.operation` is named.
            operation_protocol: Protocol ["one of", ""],
            /// Protocol version.
            version: String ["`1.0`, `1.1` or `2`", "RFC 9110 §2.5"],
        }
        list {
            /// The operations that the request asks for, up to 16: gRPC's `service/method`, a
            /// JSON-RPC method, MCP's method and its tool or prompt (`tools/call search`),
            /// GraphQL's type and name (`mutation AddUser`; the caller chose the name). All but
            /// gRPC's are in the body, which is read where policy marks the route.
            operation: String ["text, names up to 128 bytes", "OpenTelemetry span names"],
            /// Outermost fields of GraphQL operations, up to 32, by their names in the server's
            /// schema: what is executed, whatever the caller calls it.
            operation_fields: String ["text, up to 128 bytes", "GraphQL §2.5"],
            /// Names of query parameters, in order, up to 32; never their values.
            query_keys: String ["text, up to 64 bytes", "RFC 3986 §3.4"],
            /// What is odd about the form of the request: evidence of smuggling, or of broken
            /// software. What others may read differently raises the event's severity.
            anomaly: Anomaly ["one of", "RFC 9112 §11.2, RFC 9113 §10.3"],
            /// What is odd about the form of the response.
            resp_anomaly: Anomaly ["as `http.anomaly`", "RFC 9112 §11.1, RFC 9113 §10.3"],
        }
    }
}

group! {
    /// The gRPC call that the exchange is. Service and method are its `http.operation`.
    #[derive(Default)]
    pub struct Rpc {
        required {}
        optional {
            /// gRPC status. It decides the outcome, as `http.status` is 200 whatever came of the
            /// call.
            status_code: u32 ["code", "gRPC status codes; OpenTelemetry"],
            /// Messages of the request.
            req_messages: u64 ["count", "gRPC over HTTP/2"],
            /// Messages of the response.
            resp_messages: u64 ["count", "gRPC over HTTP/2"],
            /// There, and true, if messages may have been missed: the counts are at least.
            at_least: bool ["true", ""],
        }
        list {}
    }
}

group! {
    /// The distributed trace that the request belongs to.
    pub struct Trace {
        required {
            /// Id of the trace.
            trace_id: String ["32 hex digits", "W3C Trace Context §3.2.2.3"],
            /// Id of the caller's span.
            span_id: String ["16 hex digits", "W3C Trace Context §3.2.2.4"],
        }
        optional {}
        list {}
    }
}

group! {
    /// The credential of the request that was judged, else its first, without its secret.
    pub struct Credential {
        required {
            /// Where in the request it stood.
            location: Location ["one of", "RFC 9110 §11.6.2"],
            /// Authentication scheme, `other` if it is not in common use.
            scheme: Scheme ["one of", "RFC 9110 §11.1"],
            /// What it is for.
            kind: Kind ["one of", "RFC 8725 §3.11"],
            /// How it is encoded.
            format: Format ["one of", "RFC 7519 §3"],
        }
        optional {
            /// Fingerprint: the same for the same token, under the same key.
            fp: String ["22 base64url digits", "RFC 2104"],
            /// Algorithm of the fingerprint.
            fp_alg: String ["name", "RFC 2104"],
            /// Names the key of the fingerprint.
            key_id: String ["8 base64url digits", ""],
            /// Id that the issuer gave the token; leads to the issuer's own log.
            jti: String ["text, up to 512 bytes", "RFC 7519 §4.1.7"],
            /// Issuer and sort of an opaque token, by its prefix.
            prefix_class: String ["name", ""],
            /// What the sender proved of a token that is bound, or of one shown with a proof:
            /// `dpop` or `mtls`; else `missing`, `mismatch`, `proof_replayed`, `unverifiable`, or
            /// `proof_invalid:` and the check that failed.
            binding: String ["name", "RFC 9449, RFC 8705"],
        }
        list {}
    }
}

group! {
    /// The token in the credential, as far as it is readable. Verified if `sig_state` says so.
    pub struct Token {
        required {
            /// What the token says of its own validity when the exchange began.
            state: TokenState ["one of", "RFC 7519 §4.1"],
        }
        optional {
            /// What became of its signature, where the policy has issuers.
            sig_state: SignatureState ["one of", "RFC 7515 §5.2"],
            /// Issuer.
            iss: String ["text, up to 512 bytes", "RFC 7519 §4.1.1"],
            /// When it was issued.
            iat: u64 ["seconds since 1970", "RFC 7519 §4.1.6"],
            /// When it begins to be valid.
            nbf: u64 ["seconds since 1970", "RFC 7519 §4.1.5"],
            /// When it ceases to be valid.
            exp: u64 ["seconds since 1970", "RFC 7519 §4.1.4"],
            /// From the exchange's begin to `exp`; negative if expired.
            ttl_left: i64 ["seconds", ""],
            /// Algorithm that it claims to be signed or encrypted with.
            alg: String ["name", "RFC 7515 §4.1.1"],
            /// Key that it claims to be signed or encrypted with.
            kid: String ["text, up to 512 bytes", "RFC 7515 §4.1.4"],
            /// Media type that it claims to have.
            typ: String ["media type", "RFC 7515 §4.1.9"],
        }
        list {
            /// Who it is meant for, up to 16.
            aud: String ["text, up to 512 bytes", "RFC 7519 §4.1.3"],
        }
    }
}

group! {
    /// Who the credential speaks for. As good as its `evidence`.
    pub struct Identity {
        required {
            /// How well the rest is proven.
            evidence: Evidence ["one of", ""],
        }
        optional {
            /// Subject of the token, or its pseudonym.
            subject: String ["text, up to 512 bytes", "RFC 7519 §4.1.2"],
            /// A name of the subject's that people use, or its pseudonym.
            username: String ["text, up to 512 bytes", "OpenID Connect Core §5.1"],
            /// Client that the token was issued to.
            client_id: String ["text, up to 512 bytes", "RFC 8693 §4.3"],
            /// Tenant of the issuer.
            tenant: String ["text, up to 512 bytes", ""],
            /// How the subject authenticated: class.
            acr: String ["text, up to 512 bytes", "OpenID Connect Core §2"],
            /// When the subject authenticated.
            auth_time: u64 ["seconds since 1970", "OpenID Connect Core §2"],
            /// Session at the issuer.
            session: String ["text, up to 512 bytes", "OpenID Connect Front-Channel Logout §3"],
            /// Why somebody has no pseudonym: the subject, of whom then neither name is told, or one
            /// of those who act for them.
            withheld: Withheld ["one of", ""],
        }
        list {
            /// Who acts for the subject, the current actor first, up to 16; or their pseudonyms.
            actor_chain: String ["text, up to 512 bytes", "RFC 8693 §4.1"],
            /// How the subject authenticated: methods, up to 16.
            amr: String ["text, up to 512 bytes", "RFC 8176"],
        }
    }
}

group! {
    /// What was decided.
    pub struct Authz {
        required {
            /// What the server decided, by its status.
            server_outcome: ServerOutcome ["one of", "RFC 9110 §15"],
        }
        optional {
            /// What the policy says of the call.
            verdict: Verdict ["one of", ""],
            /// What that is beside what the server did.
            assessment: Finding ["one of", ""],
            /// Scopes that the policy asks for.
            required: Required ["group", ""],
            /// Why the server refused, in its own words.
            server_error: ChallengeError ["one of", "RFC 6750 §3.1, RFC 9449 §7.1, RFC 9470 §3"],
            /// What the server's description of the error is about.
            server_hint: Hint ["one of", ""],
            /// The rule that decided: service and route, by their ids in the policy.
            policy_id: String ["name", ""],
            /// Names the content of the policy.
            policy_hash: String ["64 hex digits", "FIPS 180-4"],
            /// Where the rule is written.
            policy_rule: String ["file:line", ""],
        }
        list {
            /// Scopes of the token, up to 64.
            scopes: String ["text, up to 128 bytes", "RFC 6749 §3.3"],
            /// Roles, groups and entitlements of the token, up to 64.
            roles: String ["text, up to 128 bytes", "RFC 9068 §2.2.3.1"],
            /// Scopes that the token lacks, up to 64: each of them, or one of them, as
            /// `authz.required` has it.
            missing: String ["text, up to 128 bytes", ""],
            /// Why the verdict is not `allow`: `credential_missing`, `multiple_credentials`,
            /// `scheme_unsupported`, `malformed`, `expired`, `not_yet_valid`,
            /// `lifetime_exceeded`, `issuer_unknown`, `audience_mismatch`, `alg_forbidden`,
            /// `key_unknown`, `signature_bad`, `kind_mismatch`, `claim_missing:` and the claim,
            /// `scope_missing:` and the scopes, `role_missing`, `claim_condition:` and its id,
            /// `client_not_allowed`, `binding_missing`, `binding_mismatch`,
            /// `binding_unverifiable`, `proof_invalid:` and the check, `proof_replayed`,
            /// `acr_insufficient`, `auth_too_old`, `route_unmatched`, `opaque_unlearned`,
            /// `capture_incomplete`.
            reasons: String ["text, up to 512 bytes", "docs/policy.md"],
            /// Scopes that the server says it asks for, up to 64.
            server_required_scope: String ["text, up to 128 bytes", "RFC 6750 §3"],
        }
    }
}
