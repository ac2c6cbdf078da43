//! The policy as it is written: YAML, unknown keys refused. In: text. Out: [`Policy`], word for
//! word, with the place of whatever may be refused later. `docs/policy.md` explains the keys, and
//! `scopewatch config schema` publishes these definitions, comments included.

use std::{collections::BTreeMap, path::PathBuf};

use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    names::named_enum,
    policy::{
        error::{Located, Problem},
        place::{At, Seconds},
        volume::Volume,
    },
    token::{issuer::Algorithm, profile::Profile, scheme::Scheme},
};

/// A policy: who issues tokens, and what the services of this host take them for.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Version of the format: 1.
    pub version: At<u64>,
    /// What holds unless an issuer or a service says otherwise.
    #[serde(default)]
    pub defaults: Defaults,
    /// What each class of sensitivity adds to the log.
    #[serde(default)]
    pub sensitivity: BTreeMap<Sensitivity, Audit>,
    /// Who issues tokens. Without any, it is not judged who issued a token.
    #[serde(default)]
    pub issuers: Vec<At<Issuer>>,
    /// What is judged. Calls to other services are not.
    #[serde(default)]
    pub services: Vec<At<Service>>,
}

/// What holds unless an issuer or a service says otherwise.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Defaults {
    /// How far clocks may differ.
    pub leeway: Seconds,
    /// Longest time from `iat` to `exp` that is in order.
    pub max_token_lifetime: Seconds,
    /// What becomes of calls that no route matches.
    pub unmatched_route: UnmatchedRoute,
    /// What becomes of CORS preflight requests (Fetch §4.8), which never carry credentials.
    pub cors_preflight: Preflight,
    /// Networks of proxies whose word on the client's address is taken, such as `10.0.0.0/8`.
    pub trusted_proxies: Vec<At<String>>,
}

impl Default for Defaults {
    fn default() -> Self {
        Self {
            leeway: Seconds(60),
            max_token_lifetime: Seconds(24 * 3600),
            unmatched_route: UnmatchedRoute::Report,
            cors_preflight: Preflight::Skip,
            trusted_proxies: Vec::new(),
        }
    }
}

named_enum! {
    /// What becomes of calls that no route matches.
    pub enum UnmatchedRoute {
        /// They are told of, as indeterminate
        Report = "report",
        /// They are not judged
        Ignore = "ignore",
        /// They are denied
        Deny = "deny",
    }
}

named_enum! {
    /// What becomes of CORS preflight requests.
    pub enum Preflight {
        /// They are allowed
        Skip = "skip",
        /// They are judged as any other call
        Judge = "judge",
    }
}

named_enum! {
    /// What a route's data is.
    pub enum Sensitivity {
        /// For everybody
        Public = "public",
        /// For everybody within
        Internal = "internal",
        /// For some
        Confidential = "confidential",
        /// Of persons
        Pii = "pii",
        /// Of money
        Financial = "financial",
        /// Of patients
        Phi = "phi",
        /// Keys and the like
        Secret = "secret",
    }
}

/// What an event tells beyond what all events tell.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Audit {
    /// How much of the client's address is kept.
    pub client_ip: Option<ClientIp>,
    /// Whether the user agent is kept.
    pub user_agent: Option<bool>,
    /// Whether the fingerprint of the client's TLS hello is kept.
    pub tls_fingerprint: Option<bool>,
    /// Parameters of the path whose values are kept, by their names in the template.
    pub params: Vec<String>,
}

named_enum! {
    /// How much of the client's address is kept.
    pub enum ClientIp {
        /// All
        Full = "full",
        /// Its network: 24 bits of IPv4, 48 of IPv6
        Network = "network",
        /// Nothing
        None = "none",
    }
}

/// Who issues tokens.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Issuer {
    /// Name within the policy and in events.
    pub id: At<String>,
    /// Values of `iss` that are this issuer's, exactly; `{tenant}` stands for each of `tenants`.
    pub r#match: Vec<At<String>>,
    /// What `{tenant}` may be.
    #[serde(default)]
    pub tenants: Vec<String>,
    /// Dialect of its tokens.
    #[serde(default = "lax")]
    pub profile: Profile,
    /// Algorithms that it signs with (RFC 8725 §3.1).
    #[serde(default = "asymmetric")]
    pub algs: At<Vec<Algorithm>>,
    /// Where its keys come from; without it, its tokens are read but not verified.
    #[serde(default)]
    pub jwks: Option<At<Jwks>>,
    /// How far its clock may differ, in place of `defaults.leeway`.
    #[serde(default)]
    pub leeway: Option<Seconds>,
    /// In place of `defaults.max_token_lifetime`.
    #[serde(default)]
    pub max_token_lifetime: Option<Seconds>,
    /// Claims that every access token of it must have, beside those of its profile.
    #[serde(default)]
    pub required_claims: Vec<String>,
}

const fn lax() -> Profile {
    Profile::Lax
}

fn asymmetric() -> At<Vec<Algorithm>> {
    use Algorithm::{EdDsa, Es256, Es384, Es512, Ps256, Ps384, Ps512, Rs256, Rs384, Rs512};
    let all = [Rs256, Rs384, Rs512, Ps256, Ps384, Ps512, Es256, Es384, Es512, EdDsa];
    At::nowhere(all.to_vec())
}

/// Where an issuer's keys come from; several are tried in this order.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Jwks {
    /// File with a JWK set (RFC 7517 §5) or PEM; read again when it changes.
    pub file: Option<PathBuf>,
    /// A JWK set.
    pub inline: Option<serde_json::Value>,
    /// Address of a JWK set to fetch: the agent makes no call that is not named here.
    pub url: Option<String>,
    /// PEM file of the certificate authorities that `url` is trusted by, in place of the host's.
    pub ca_file: Option<PathBuf>,
    /// Key sets that others fetch on this host.
    pub observe: Option<Observe>,
}

/// Key sets that others fetch on this host.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Observe {
    /// Processes whose key sets are believed.
    pub from: From,
}

/// Processes whose key sets are believed: all that is given must hold.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct From {
    /// Path of the executable.
    pub exe: Option<String>,
    /// systemd unit.
    pub unit: Option<String>,
    /// cgroup path, or a prefix of it.
    pub cgroup: Option<String>,
    /// Container id.
    pub container: Option<String>,
}

/// A service: which calls are made to it, whose tokens it takes, and what its routes need.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// Name within the policy and in events.
    pub id: At<String>,
    /// Which calls are made to it.
    pub select: At<Select>,
    /// Audiences of tokens for it, one of which a token must name; none if that is not judged.
    #[serde(default)]
    pub audiences: Vec<String>,
    /// Issuers whose tokens it takes; none for all issuers of the policy.
    #[serde(default)]
    pub accept: Vec<At<Accept>>,
    /// Authentication schemes that it takes tokens by.
    #[serde(default = "token_schemes")]
    pub schemes: Vec<Scheme>,
    /// Places that it takes tokens from.
    #[serde(default = "authorization")]
    pub credential_sources: Vec<Source>,
    /// An OpenAPI document that describes routes.
    #[serde(default)]
    pub openapi: Option<At<OpenApi>>,
    /// Its routes; what they give overrides what the document says of the same method and path.
    #[serde(default)]
    pub routes: Vec<At<Route>>,
    /// Scopes that include others.
    #[serde(default)]
    pub scope_implies: BTreeMap<String, Vec<String>>,
    /// In place of `defaults.unmatched_route`.
    #[serde(default)]
    pub unmatched_route: Option<UnmatchedRoute>,
    /// In place of `defaults.cors_preflight`.
    #[serde(default)]
    pub cors_preflight: Option<Preflight>,
    /// In place of `defaults.trusted_proxies`.
    #[serde(default)]
    pub trusted_proxies: Option<Vec<At<String>>>,
    /// Scheme and authority that clients see, where a proxy stands before it: DPoP proofs name it
    /// (RFC 9449 §4.3).
    #[serde(default)]
    pub public_base_url: Option<At<String>>,
}

fn token_schemes() -> Vec<Scheme> {
    vec![Scheme::Bearer, Scheme::Dpop]
}

fn authorization() -> Vec<Source> {
    vec![Source::Authorization]
}

/// Which calls are made to a service: all that is given must hold. `*` stands for anything.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Select {
    /// Host names that are asked for. A caller may choose any: give something else as well.
    pub hosts: Vec<String>,
    /// Ports of the server.
    pub ports: Vec<u16>,
    /// Path of the executable.
    pub exe: Option<String>,
    /// systemd unit.
    pub unit: Option<String>,
    /// cgroup path.
    pub cgroup: Option<String>,
    /// Container id.
    pub container: Option<String>,
    /// Which end of calls is judged.
    pub role: Option<Role>,
}

named_enum! {
    /// An end of a call.
    pub enum Role {
        /// The end that answers
        Server = "server",
        /// The end that asks
        Client = "client",
        /// Both
        Any = "any",
    }
}

/// An issuer whose tokens a service takes.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Accept {
    /// `id` of the issuer.
    pub issuer: At<String>,
    /// What its tokens must be bound to.
    #[serde(default)]
    pub binding: BindingNeed,
    /// Clients that may use them.
    #[serde(default)]
    pub clients: Clients,
}

named_enum! {
    /// How possession of a token is to be proven.
    pub enum BindingNeed {
        /// Not at all, unless the token itself is bound
        None = "none",
        /// By a DPoP proof (RFC 9449)
        Dpop = "dpop",
        /// By a client certificate (RFC 8705 §3)
        Mtls = "mtls",
        /// By either
        Any = "any",
    }
}

#[expect(clippy::derivable_impls, reason = "`named_enum` derives for all enums alike")]
impl Default for BindingNeed {
    fn default() -> Self {
        Self::None
    }
}

/// Clients that may use a token.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Clients {
    /// Their client ids, `*` standing for anything; none for all clients.
    pub allow: Vec<String>,
}

/// A place in a request for a token.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The `Authorization` field.
    Authorization,
    /// `access_token` in a form (RFC 6750 §2.2).
    Form,
    /// `access_token` in the query (RFC 6750 §2.3).
    Query,
    /// Kubernetes' WebSocket subprotocol.
    Websocket,
    /// The cookie of that name.
    Cookie(String),
    /// The field of that name.
    Header(String),
}

/// An OpenAPI document, 3.0 to 3.2.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct OpenApi {
    /// The file, relative to the policy's.
    pub file: PathBuf,
    /// What its word is worth.
    #[serde(default)]
    pub trust: Trust,
}

named_enum! {
    /// What a document's word is worth.
    pub enum Trust {
        /// As much as the policy's
        Enforce = "enforce",
        /// Verdicts by it are told, and raise no alarm
        Suggest = "suggest",
    }
}

#[expect(clippy::derivable_impls, reason = "`named_enum` derives for all enums alike")]
impl Default for Trust {
    fn default() -> Self {
        Self::Enforce
    }
}

/// What calls of a route need.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// Name within the service and in events; made from methods and path if it is not given.
    #[serde(default)]
    pub id: Option<At<String>>,
    /// Which calls it is about.
    pub r#match: At<Match>,
    /// What they need; without it, any token that is in order.
    #[serde(default)]
    pub require: Option<Require>,
    /// What they need, one of several ways; in place of `require`.
    #[serde(default)]
    pub require_any: Option<At<Vec<Require>>>,
    /// What the data is.
    #[serde(default)]
    pub sensitivity: Option<Sensitivity>,
    /// What events tell beyond what the class of sensitivity adds.
    #[serde(default)]
    pub audit: Audit,
    /// How many events tell of calls that are in order.
    #[serde(default)]
    pub volume: Volume,
    /// What the calls carry, so that operations within can be told apart.
    #[serde(default)]
    pub protocol: Option<Protocol>,
}

named_enum! {
    /// A protocol within HTTP whose operations are told apart.
    pub enum Protocol {
        /// Model Context Protocol: `tools/call:NAME`, `resources/read`, …
        Mcp = "mcp",
        /// GraphQL: `query:FIELD`, `mutation:FIELD`, …
        Graphql = "graphql",
    }
}

/// Which calls a route is about.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Match {
    /// Methods; all if it is not given. GET includes HEAD.
    #[serde(default)]
    pub methods: Vec<String>,
    /// Template of the path: `{name}` stands for a segment or a part of one, `*` for a segment,
    /// `**` for any number of them.
    pub path: At<String>,
    /// Operation of a protocol within HTTP, `*` standing for anything.
    #[serde(default)]
    pub operation: Option<At<String>>,
}

/// What a call needs: all that is given must hold.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Require {
    /// Credentials, all of which must be there; `[token]` if it is not given, `[]` for none.
    pub credentials: Option<Vec<Needed>>,
    /// Scopes of the token.
    pub scopes: Amount,
    /// Roles of the token.
    pub roles: Amount,
    /// Conditions on claims.
    pub claims: Vec<At<Claim>>,
    /// How well the subject must have authenticated.
    pub acr: Acr,
    /// How possession is to be proven, beyond what the issuer's entry in `accept` says.
    pub binding: BindingNeed,
    /// In place of the service's `audiences`.
    pub audiences: Option<Vec<String>>,
    /// Issuers, of those that the service accepts.
    pub issuers: Vec<At<String>>,
    /// Clients, of those that the service accepts.
    pub clients: Clients,
}

/// A credential that a call needs.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum Needed {
    /// A token.
    Token,
    /// User name and password (RFC 7617).
    Basic,
    /// A client certificate.
    Mtls,
    /// A field of that name, such as one with a key.
    Header(String),
    /// A cookie of that name.
    Cookie(String),
    /// A parameter of the query of that name.
    Query(String),
}

/// How many of which.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Amount {
    /// All of these.
    pub all: Vec<String>,
    /// One of these.
    pub any: Vec<String>,
}

/// How well the subject must have authenticated (RFC 9470).
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Acr {
    /// Classes (`acr`), one of which it must be.
    pub any: Vec<String>,
    /// Longest time since then.
    pub max_auth_age: Option<Seconds>,
}

/// A condition on a claim: exactly one of what follows `path`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Claim {
    /// Name in reasons; the path if it is not given.
    pub id: Option<String>,
    /// Name of the claim, names joined by dots, or a JSON pointer (RFC 6901).
    pub path: String,
    /// It is this value.
    pub equals: Option<serde_json::Value>,
    /// It is the value of this parameter of the route.
    pub equals_param: Option<String>,
    /// It is one of these values.
    pub one_of: Option<Vec<serde_json::Value>>,
    /// It is a list that has this value, or text of words of which this is one.
    pub contains: Option<serde_json::Value>,
    /// It is text like this, `*` standing for anything.
    pub like: Option<String>,
    /// It is there, or it is not.
    pub exists: Option<bool>,
}

/// Parses a policy. `file` is what messages call it.
///
/// # Errors
/// It is no YAML, lacks a key, or has one that is not known; the error says where.
pub fn parse(file: &str, text: &str) -> Result<Policy, Located> {
    let options = serde_saphyr::options! { with_snippet: false };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let at = error.location().map(Into::into).unwrap_or_default();
        Located { file: file.into(), at, problem: Problem::from(&error) }
    })
}
