//! The policy as it is judged by: names resolved, templates and networks read, routes ranked. In:
//! what [`super::compile`] made of a [`super::raw::Policy`]. Out: what the engine looks at.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use crate::{
    policy::{
        call::Source,
        claim::Condition,
        glob::Glob,
        place::Place,
        proxy::Network,
        raw::{
            self, BindingNeed, ClientIp, Needed, Preflight, Protocol, Sensitivity, Trust,
            UnmatchedRoute,
        },
        router::Router,
        template::Template,
        volume::Volume,
    },
    token::{
        issuer::{Issuer, IssuerIndex},
        scheme::Scheme,
    },
};

/// A policy.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Names it.
    pub id: PolicyId,
    /// Who issues tokens, by [`IssuerIndex`].
    pub issuers: Vec<Issuer>,
    /// What is judged.
    pub services: Vec<Service>,
    /// Documents that it imports, as it names them.
    pub documents: Vec<PathBuf>,
}

/// Which policy it was: file and content.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PolicyId {
    /// The file, as it was named.
    pub file: Arc<str>,
    /// SHA-256 of the file and the documents that it imports, in hexadecimal digits.
    pub hash: Arc<str>,
}

/// Position of a service among those of a policy.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct ServiceIndex(pub usize);

/// A service.
#[derive(Clone, Debug)]
pub struct Service {
    /// Name.
    pub id: Arc<str>,
    /// Where it is written.
    pub origin: Origin,
    /// Which calls are made to it.
    pub select: Select,
    /// Issuers whose tokens it takes.
    pub accept: Vec<Accept>,
    /// Schemes that it takes tokens by.
    pub schemes: Vec<Scheme>,
    /// Places that it takes tokens from, the first choice first.
    pub sources: Vec<Source>,
    /// Routes, the most specific first.
    pub routes: Vec<Route>,
    /// Finds them.
    pub router: Router,
    /// What becomes of calls that none matches.
    pub unmatched: UnmatchedRoute,
    /// What becomes of CORS preflight requests.
    pub preflight: Preflight,
    /// Networks of proxies that are believed.
    pub proxies: Vec<Network>,
    /// Scheme and authority that clients see.
    pub public_base_url: Option<String>,
    /// Which scopes each scope includes, itself among them.
    pub implied: HashMap<String, HashSet<String>>,
}

/// Which calls are made to a service.
#[derive(Clone, Debug, Default)]
pub struct Select {
    /// Host names.
    pub hosts: Vec<Glob>,
    /// Ports.
    pub ports: Vec<u16>,
    /// Path of the executable.
    pub exe: Option<Glob>,
    /// systemd unit.
    pub unit: Option<Glob>,
    /// cgroup path.
    pub cgroup: Option<Glob>,
    /// Container id.
    pub container: Option<Glob>,
    /// Which end of calls is judged.
    pub role: Option<raw::Role>,
}

/// An issuer whose tokens a service takes.
#[derive(Clone, Debug)]
pub struct Accept {
    /// The issuer.
    pub issuer: IssuerIndex,
    /// What its tokens must be bound to.
    pub binding: BindingNeed,
    /// Clients that may use them; none for all.
    pub clients: Vec<Glob>,
}

/// Where a rule is written.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Origin {
    /// The file.
    pub file: Arc<str>,
    /// Where in it.
    pub at: Place,
}

impl Default for PolicyId {
    fn default() -> Self {
        Self { file: "".into(), hash: "".into() }
    }
}

/// `FILE:LINE`
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file)?;
        if self.at.line > 0 { write!(f, ":{}", self.at.line) } else { Ok(()) }
    }
}

/// What calls of a route need.
#[derive(Clone, Debug)]
pub struct Route {
    /// Name within the service.
    pub id: Arc<str>,
    /// Where it is written.
    pub origin: Origin,
    /// Methods; all if there are none.
    pub methods: Vec<String>,
    /// What paths are like.
    pub template: Template,
    /// What operations are like; all if it is `None`.
    pub operation: Option<Glob>,
    /// What calls carry.
    pub protocol: Option<Protocol>,
    /// Ways in which a call may be in order; never empty.
    pub alternatives: Vec<Requirement>,
    /// What the data is.
    pub sensitivity: Option<Sensitivity>,
    /// What events tell.
    pub audit: Audit,
    /// How many events tell of calls that are in order.
    pub volume: Volume,
    /// `operationId` in the OpenAPI document.
    pub operation_id: Option<String>,
    /// What its word is worth.
    pub trust: Trust,
    /// If it is a route of the policy over one of a document, where both are.
    pub refined: Option<Refined>,
}

/// What a route was made of. What is needed stands at the route's own origin.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Refined {
    /// The policy's own route.
    pub own: Origin,
    /// The document's.
    pub document: Origin,
    /// Whether the policy says what the data is.
    pub class_is_own: bool,
}

impl Route {
    /// Whether it is about calls by `method`; GET includes HEAD (RFC 9110 §9.3.2).
    #[must_use]
    pub fn has_method(&self, method: &str) -> bool {
        let named = |name: &str| self.methods.iter().any(|it| it == name);
        self.methods.is_empty() || named(method) || (method == "HEAD" && named("GET"))
    }
}

/// A way in which a call may be in order.
#[derive(Clone, Debug, Default)]
pub struct Requirement {
    /// The token that is needed, if one is.
    pub token: Option<TokenRule>,
    /// Other credentials that are needed, all of them.
    pub others: Vec<Needed>,
}

/// What a token must be like.
#[derive(Clone, Debug, Default)]
pub struct TokenRule {
    /// Scopes.
    pub scopes: raw::Amount,
    /// Roles.
    pub roles: raw::Amount,
    /// Conditions on claims.
    pub claims: Vec<Condition>,
    /// Classes of authentication, one of which it must be; none if that is not judged.
    pub acr: Vec<String>,
    /// Longest time since the subject authenticated.
    pub max_auth_age: Option<Duration>,
    /// How possession is to be proven.
    pub binding: BindingNeed,
    /// Audiences, one of which it must name; none if that is not judged.
    pub audiences: Vec<String>,
    /// Issuers; none for all that the service accepts.
    pub issuers: Vec<IssuerIndex>,
    /// Clients; none for all that the service accepts.
    pub clients: Vec<Glob>,
}

/// What events tell of a route's calls beyond what all tell; `None` for what nobody has asked.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Audit {
    /// How much of the client's address is kept.
    pub client_ip: Option<ClientIp>,
    /// Whether the user agent is kept.
    pub user_agent: Option<bool>,
    /// Whether the fingerprint of the TLS hello is kept.
    pub tls_fingerprint: Option<bool>,
    /// Parameters whose values are kept.
    pub params: Vec<String>,
}

impl Audit {
    /// What `own` asks for, and where it is silent, what `class` does.
    #[must_use]
    pub fn of(own: &raw::Audit, class: Option<&raw::Audit>) -> Self {
        let none = raw::Audit::default();
        let class = class.unwrap_or(&none);
        let mut params = own.params.clone();
        params.extend(class.params.iter().filter(|it| !own.params.contains(it)).cloned());
        Self {
            client_ip: own.client_ip.or(class.client_ip),
            user_agent: own.user_agent.or(class.user_agent),
            tls_fingerprint: own.tls_fingerprint.or(class.tls_fingerprint),
            params,
        }
    }
}
