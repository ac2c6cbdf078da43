//! From the policy as it is written to the policy as it is judged by. In: a [`raw::Policy`], and
//! whoever reads the documents that it names. Out: a [`Policy`] and warnings, or all that is wrong.
//!
//! Reads no file itself.

mod issuers;
mod refine;
mod routes;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use sha2::{Digest as _, Sha256};

use crate::{
    policy::{
        call,
        compiled::{Accept, Origin, Policy, PolicyId, Route, Select, Service},
        error::{Located, Problem, Problems, nearest},
        glob::Glob,
        openapi,
        place::{At, Place},
        proxy::Network,
        raw,
        router::Router,
    },
    token::issuer::{Issuer, IssuerIndex},
};

pub use routes::{MAX_ALTERNATIVES, Written};

/// Most services, issuers, and routes of one service.
pub const MAX_SERVICES: usize = 1024;
/// See [`MAX_SERVICES`].
pub const MAX_ISSUERS: usize = 1024;
/// See [`MAX_SERVICES`].
pub const MAX_ROUTES: usize = 100_000;

/// Longest policy that is read, in bytes.
pub const MAX_LENGTH: usize = 8 * 1024 * 1024;

/// Reads the document at a path that the policy names.
///
/// # Errors
/// It cannot be read: the system's reason.
pub type Reader<'r> = &'r dyn Fn(&std::path::Path) -> Result<String, String>;

/// A policy that can be judged by, and what is odd about it.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// The policy.
    pub policy: Policy,
    /// What is likely not meant so.
    pub warnings: Vec<Located>,
}

/// Parses and compiles a policy. `file` is what messages call it.
///
/// # Errors
/// All that is wrong with it.
pub fn compile(file: &str, text: &str, read: Reader<'_>) -> Result<Compiled, Problems> {
    if text.len() > MAX_LENGTH {
        let problem = Problem::TooLong { limit: MAX_LENGTH };
        return Err(Problems(vec![Located { file: file.into(), at: Place::default(), problem }]));
    }
    let raw = raw::parse(file, text).map_err(|located| Problems(vec![located]))?;
    let mut hash = Sha256::new();
    hash.update(text);
    let mut compiler = Compiler {
        file: file.into(),
        raw: &raw,
        read,
        hash,
        problems: Vec::new(),
        warnings: Vec::new(),
    };
    let (issuers, services) = compiler.all();
    let Compiler { problems, warnings, hash, file, .. } = compiler;
    if !problems.is_empty() {
        return Err(Problems(problems));
    }
    let digits = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let id = PolicyId { file, hash: digits.into() };
    let documents = raw.services.iter().filter_map(|service| service.value.openapi.as_ref());
    let documents = documents.map(|openapi| openapi.value.file.clone()).collect();
    Ok(Compiled { policy: Policy { id, issuers, services, documents }, warnings })
}

struct Compiler<'r> {
    file: Arc<str>,
    raw: &'r raw::Policy,
    read: Reader<'r>,
    hash: Sha256,
    problems: Vec<Located>,
    warnings: Vec<Located>,
}

impl<'r> Compiler<'r> {
    fn all(&mut self) -> (Vec<Issuer>, Vec<Service>) {
        let raw = self.raw;
        if raw.version.value != 1 {
            self.refuse(raw.version.place, Problem::Version(raw.version.value));
        }
        self.at_most("issuers", raw.issuers.len(), MAX_ISSUERS);
        self.at_most("services", raw.services.len(), MAX_SERVICES);
        self.unique("issuer", raw.issuers.iter().map(|it| &it.value.id));
        self.unique("service", raw.services.iter().map(|it| &it.value.id));
        if !self.problems.is_empty() {
            return (Vec::new(), Vec::new());
        }
        let issuers = raw.issuers.iter().map(|issuer| self.issuer(&issuer.value)).collect();
        let services = raw.services.iter().map(|service| self.service(service)).collect();
        (issuers, services)
    }

    fn service(&mut self, at: &'r At<raw::Service>) -> Service {
        let raw = &at.value;
        let defaults = &self.raw.defaults;
        let proxies = raw.trusted_proxies.as_ref().unwrap_or(&defaults.trusted_proxies);
        let proxies = self.networks(proxies);
        if let Some(url) = &raw.public_base_url {
            let rest = url.value.strip_prefix("https://").or(url.value.strip_prefix("http://"));
            if rest.is_none_or(|rest| rest.is_empty() || rest.contains(['/', '?', '#'])) {
                let what = "`public_base_url` is a scheme and an authority, such as \
                            https://api.example.net";
                self.refuse(url.place, Problem::Invalid(what));
            }
        }
        let accept = self.accept(&raw.accept);
        let own = self.routes(raw);
        let imported = raw.openapi.as_ref().map(|openapi| self.import(raw, openapi));
        let classes = &self.raw.sensitivity;
        let mut routes = refine::refine(own, imported.unwrap_or_default(), classes);
        self.at_most("routes", routes.len(), MAX_ROUTES);
        rank(&mut routes);
        Service {
            id: raw.id.value.as_str().into(),
            origin: Origin { file: Arc::clone(&self.file), at: at.place },
            select: self.select(&raw.select),
            accept,
            schemes: raw.schemes.clone(),
            sources: raw.credential_sources.iter().map(source).collect(),
            router: Router::new(&routes.iter().map(|route| &route.template).collect::<Vec<_>>()),
            routes,
            unmatched: raw.unmatched_route.unwrap_or(defaults.unmatched_route),
            preflight: raw.cors_preflight.unwrap_or(defaults.cors_preflight),
            proxies,
            public_base_url: raw.public_base_url.as_ref().map(|url| url.value.clone()),
            implied: closure(&raw.scope_implies),
        }
    }

    fn select(&mut self, at: &At<raw::Select>) -> Select {
        let raw::Select { hosts, ports, exe, unit, cgroup, container, role } = &at.value;
        let local = [exe, unit, cgroup, container].into_iter().flatten().next();
        if hosts.is_empty() && ports.is_empty() && local.is_none() {
            let what = "`select` needs one of `hosts`, `ports`, `exe`, `unit`, `cgroup` and \
                        `container`";
            self.refuse(at.place, Problem::Invalid(what));
        }
        if ports.is_empty() && local.is_none() && !hosts.is_empty() {
            let what = "callers choose the host that they name: select by a port, `exe` or `unit` \
                        as well, or a call with another name is not judged";
            self.warn(at.place, Problem::Invalid(what));
        }
        let glob = |text: &Option<String>| text.as_deref().map(Glob::new);
        Select {
            hosts: hosts.iter().map(|host| Glob::new(&host.to_ascii_lowercase())).collect(),
            ports: ports.clone(),
            exe: glob(exe),
            unit: glob(unit),
            cgroup: glob(cgroup),
            container: glob(container),
            role: *role,
        }
    }

    fn accept(&mut self, all: &[At<raw::Accept>]) -> Vec<Accept> {
        if all.is_empty() {
            let any = (0..self.raw.issuers.len()).filter_map(|nth| u16::try_from(nth).ok());
            let accept = |nth| Accept {
                issuer: IssuerIndex(nth),
                binding: raw::BindingNeed::None,
                clients: Vec::new(),
            };
            return any.map(accept).collect();
        }
        let accept = |at: &At<raw::Accept>| {
            let raw::Accept { issuer, binding, clients } = &at.value;
            let issuer = self.issuer_index(issuer)?;
            Some(Accept { issuer, binding: *binding, clients: globs(&clients.allow) })
        };
        all.iter().filter_map(accept).collect()
    }

    fn issuer_index(&mut self, name: &At<String>) -> Option<IssuerIndex> {
        let issuers = &self.raw.issuers;
        let nth = issuers.iter().position(|issuer| issuer.value.id.value == name.value);
        let index = nth.and_then(|nth| u16::try_from(nth).ok()).map(IssuerIndex);
        if index.is_none() {
            let known: Vec<&str> = issuers.iter().map(|it| it.value.id.value.as_str()).collect();
            let nearest = nearest(&name.value, &known);
            let id = name.value.clone();
            self.refuse(name.place, Problem::Unresolved { what: "issuer", id, nearest });
        }
        index
    }

    fn networks(&mut self, all: &[At<String>]) -> Vec<Network> {
        let mut networks = Vec::new();
        for text in all {
            match Network::parse(&text.value) {
                Some(network) => networks.push(network),
                None => self.refuse(text.place, Problem::Network(text.value.clone())),
            }
        }
        networks
    }

    fn import(&mut self, service: &'r raw::Service, at: &At<raw::OpenApi>) -> Vec<Route> {
        let path = &at.value.file;
        let file = path.display().to_string();
        let text = match (self.read)(path) {
            Ok(text) => text,
            Err(reason) => {
                self.refuse(at.place, Problem::Unreadable { path: file, reason });
                return Vec::new();
            }
        };
        self.hash.update(&text);
        match openapi::import(&file, &text) {
            Ok(document) => {
                self.warnings.extend(document.warnings);
                let trust = at.value.trust;
                let context = routes::Context { service, file: file.into(), trust };
                let routes = document.routes.iter();
                routes.filter_map(|route| self.route(route, &context)).collect()
            }
            Err(located) => {
                self.problems.push(located);
                Vec::new()
            }
        }
    }

    fn unique(&mut self, what: &'static str, ids: impl Iterator<Item = &'r At<String>>) {
        let mut seen = HashSet::new();
        for id in ids {
            if !seen.insert(&id.value) {
                self.refuse(id.place, Problem::Duplicate { what, id: id.value.clone() });
            }
        }
    }

    fn at_most(&mut self, what: &'static str, count: usize, limit: usize) {
        if count > limit {
            self.refuse(Place::default(), Problem::TooMany { what, count, limit });
        }
    }

    fn refuse(&mut self, at: Place, problem: Problem) {
        self.problems.push(Located { file: Arc::clone(&self.file), at, problem });
    }

    fn warn(&mut self, at: Place, problem: Problem) {
        self.warnings.push(Located { file: Arc::clone(&self.file), at, problem });
    }
}

/// The most specific first; what is equally specific, by operation, by method, then as written.
fn rank(routes: &mut [Route]) {
    routes.sort_by_cached_key(|route| {
        let operation = route.operation.as_ref().map_or(0, |it| it.as_str().len().max(1));
        let head = route.methods.iter().any(|method| method == "HEAD");
        (
            route.template.rank(),
            usize::MAX.saturating_sub(operation),
            !head,
            route.methods.is_empty(),
        )
    });
}

fn globs(patterns: &[String]) -> Vec<Glob> {
    patterns.iter().map(|pattern| Glob::new(pattern)).collect()
}

fn source(raw: &raw::Source) -> call::Source {
    let lower = |name: &str| name.to_ascii_lowercase().into();
    match raw {
        raw::Source::Authorization => call::Source::Authorization,
        raw::Source::Form => call::Source::Form,
        raw::Source::Query => call::Source::Query,
        raw::Source::Websocket => call::Source::Websocket,
        // Names of cookies are case-sensitive (RFC 6265 §5.4).
        raw::Source::Cookie(name) => call::Source::Cookie(name.as_str().into()),
        raw::Source::Header(name) => call::Source::Header(lower(name)),
    }
}

/// Everything that each scope includes, over any number of steps.
fn closure(implies: &BTreeMap<String, Vec<String>>) -> HashMap<String, HashSet<String>> {
    let mut all = HashMap::new();
    for scope in implies.keys() {
        let mut reached = HashSet::from([scope.clone()]);
        let mut open = vec![scope];
        while let Some(next) = open.pop() {
            let further = implies.get(next).into_iter().flatten();
            open.extend(further.filter(|it| reached.insert((*it).clone())));
        }
        all.insert(scope.clone(), reached);
    }
    all
}
