//! Judging. In: a policy, and a call. Out: what the policy says of the call, and by which rule.
//!
//! Pure: the same call is judged alike, live and replayed. Where a path may be read in several
//! ways, or a call has several operations, the strictest verdict is the call's.

use std::sync::Arc;

use crate::{
    http::message::Role,
    policy::{
        call::{Call, Endpoint, Source},
        compiled::{Audit, Policy, Route, Service},
        judgement::{Judgement, MatchedRoute, Verdict},
        path::{self, Path},
        proxy,
        raw::{Amount, Preflight, Trust, UnmatchedRoute},
        reason::Reason,
        requirement::{Chosen, Findings, Trial, choose},
        select::Selected,
    },
};

/// Fields by which clients ask servers to take another method for the request's.
const METHOD_OVERRIDES: [&str; 3] =
    ["x-http-method-override", "x-http-method", "x-method-override"];

/// Judges calls by a policy.
#[derive(Clone, Debug)]
pub struct Engine {
    policy: Arc<Policy>,
}

/// A route that a call may be about.
#[derive(Clone, Copy)]
struct Hit<'h> {
    /// `None` if there is none.
    route: Option<&'h Route>,
    path: &'h Path<'h>,
    operation: Option<&'h str>,
}

/// A hit, judged.
struct Judged<'h> {
    hit: Hit<'h>,
    verdict: Verdict,
    reasons: Vec<Reason>,
    missing: Vec<String>,
    required: Amount,
}

impl Engine {
    /// Judges by `policy`.
    #[must_use]
    pub const fn new(policy: Arc<Policy>) -> Self {
        Self { policy }
    }

    /// The policy.
    #[must_use]
    pub fn policy(&self) -> &Arc<Policy> {
        &self.policy
    }

    /// The service that calls seen at `endpoint` are made to.
    #[must_use]
    pub fn service(&self, endpoint: &Endpoint<'_>) -> Option<&Service> {
        self.policy.services.get(self.policy.select(endpoint)?.service.0)
    }

    /// Every place that some service takes tokens from.
    #[must_use]
    pub fn sources(&self) -> Vec<Source> {
        let mut all = Vec::new();
        for source in self.policy.services.iter().flat_map(|service| &service.sources) {
            if !all.contains(source) {
                all.push(source.clone());
            }
        }
        all
    }

    /// What the policy says of `call`; `None` if it says nothing.
    #[must_use]
    pub fn judge(&self, call: &Call<'_>) -> Option<Judgement> {
        self.judge_at(self.policy.select(&call.endpoint)?, call)
    }

    /// As [`Self::judge`], for a call whose service is known.
    #[must_use]
    pub fn judge_at(&self, selected: Selected, call: &Call<'_>) -> Option<Judgement> {
        let service = self.policy.services.get(selected.service.0)?;
        if service.preflight == Preflight::Skip && is_preflight(call) {
            let judgement = self.plain(selected, service, call, Verdict::Allow, None);
            return Some(Judgement { preflight: true, ..judgement });
        }
        if call.method.is_empty() || call.target.is_empty() {
            let reason = Some(Reason::CaptureIncomplete);
            return Some(self.plain(selected, service, call, Verdict::Indeterminate, reason));
        }
        let readings = path::split_target(call.target).map(|(path, _)| path::read(path));
        let Some(readings) = readings else {
            return self.unmatched(selected, service, call);
        };
        let mut is_odd = readings.is_odd;
        let mut hits = Vec::new();
        for path in &readings.paths {
            is_odd |= add_hits(service, call, path, &mut hits);
        }
        if hits.is_empty() {
            let judgement = self.unmatched(selected, service, call)?;
            return Some(Judgement { path_ambiguous: is_odd, ..judgement });
        }
        let judgement = self.strictest(selected, service, call, hits)?;
        Some(Judgement { path_ambiguous: is_odd, ..judgement })
    }

    /// The strictest of what is said of each hit.
    fn strictest(
        &self,
        selected: Selected,
        service: &Service,
        call: &Call<'_>,
        hits: Vec<Hit<'_>>,
    ) -> Option<Judgement> {
        let chosen = choose(service, call);
        // Operations that nobody knows may be any of those that there are rules for.
        let is_guess = call.operations.is_none()
            && hits.iter().any(|hit| hit.route.is_some_and(|it| it.operation.is_some()));
        let judged = hits.into_iter().filter_map(|hit| self.hit(service, call, chosen, hit));
        let mut best: Option<Judged<'_>> = None;
        let mut differ = false;
        for one in judged {
            differ |= best.as_ref().is_some_and(|best| best.verdict != one.verdict);
            if best.as_ref().is_none_or(|best| one.verdict > best.verdict) {
                best = Some(one);
            }
        }
        let Judged { hit, verdict, reasons, missing, required } = best?;
        let Some(route) = hit.route else {
            let reason = Some(Reason::RouteUnmatched);
            return Some(self.plain(selected, service, call, verdict, reason));
        };
        let credential = match chosen {
            Chosen::Token(nth, _) => Some(nth),
            Chosen::Refused(_) | Chosen::Unseen => None,
        };
        let mut judgement = self.plain(selected, service, call, verdict, None);
        if is_guess && differ {
            judgement.verdict = Verdict::Indeterminate;
            judgement.reasons = vec![Reason::CaptureIncomplete];
        } else {
            judgement.reasons = reasons;
        }
        Some(Judgement {
            route: Some(matched(route, &hit)),
            rule: route.origin.clone(),
            required,
            missing,
            credential,
            audit: route.audit.clone(),
            advisory: route.trust == Trust::Suggest,
            ..judgement
        })
    }

    /// What is said of one hit; `None` if nothing is.
    fn hit<'h>(
        &self,
        service: &Service,
        call: &Call<'_>,
        chosen: Chosen<'_>,
        hit: Hit<'h>,
    ) -> Option<Judged<'h>> {
        let Some(route) = hit.route else {
            let verdict = unmatched_verdict(service)?;
            let (reasons, required) = (vec![Reason::RouteUnmatched], Amount::default());
            return Some(Judged { hit, verdict, reasons, missing: Vec::new(), required });
        };
        let params = route.template.capture(hit.path).unwrap_or_default();
        let issuers = &self.policy.issuers;
        let trial = Trial { issuers, service, call, chosen, params: &params };
        let mut best: Option<(&Amount, Findings)> = None;
        let none = Amount::default();
        for requirement in &route.alternatives {
            let findings = trial.findings(requirement);
            let rank = |it: &Findings| (it.verdict(), it.against.len());
            if best.as_ref().is_none_or(|(_, best)| rank(&findings) < rank(best)) {
                let scopes = requirement.token.as_ref().map_or(&none, |rule| &rule.scopes);
                best = Some((scopes, findings));
            }
        }
        let (required, findings) = best?;
        let (verdict, missing) = (findings.verdict(), findings.missing.clone());
        let required = required.clone();
        Some(Judged { hit, verdict, reasons: findings.reasons(), missing, required })
    }

    fn unmatched(
        &self,
        selected: Selected,
        service: &Service,
        call: &Call<'_>,
    ) -> Option<Judgement> {
        let verdict = unmatched_verdict(service)?;
        Some(self.plain(selected, service, call, verdict, Some(Reason::RouteUnmatched)))
    }

    /// A judgement that no route is part of.
    fn plain(
        &self,
        selected: Selected,
        service: &Service,
        call: &Call<'_>,
        verdict: Verdict,
        reason: Option<Reason>,
    ) -> Judgement {
        let endpoint = &call.endpoint;
        let client = endpoint.client().map(|address| match endpoint.role {
            Role::Client => address.ip(),
            Role::Server => proxy::client_address(
                address.ip(),
                endpoint.proxied_for,
                call.fields,
                &service.proxies,
            ),
        });
        Judgement {
            verdict,
            reasons: reason.into_iter().collect(),
            service: selected.service,
            service_id: Arc::clone(&service.id),
            route: None,
            rule: service.origin.clone(),
            required: Amount::default(),
            missing: Vec::new(),
            credential: None,
            policy: self.policy.id.clone(),
            client,
            audit: Audit::default(),
            advisory: false,
            path_ambiguous: false,
            host_unexpected: selected.host_unexpected,
            preflight: false,
        }
    }
}

fn matched(route: &Route, hit: &Hit<'_>) -> MatchedRoute {
    let captured = if route.audit.params.is_empty() {
        Vec::new()
    } else {
        route.template.capture(hit.path).unwrap_or_default()
    };
    let kept =
        captured.into_iter().filter(|(name, _)| route.audit.params.iter().any(|it| it == name));
    MatchedRoute {
        id: Arc::clone(&route.id),
        template: route.template.as_str().into(),
        operation_id: route.operation_id.clone(),
        operation: hit.operation.map(str::to_owned),
        sensitivity: route.sensitivity,
        volume: route.volume,
        params: kept.map(|(name, value)| (name.to_owned(), value)).collect(),
    }
}

const fn unmatched_verdict(service: &Service) -> Option<Verdict> {
    match service.unmatched {
        UnmatchedRoute::Report => Some(Verdict::Indeterminate),
        UnmatchedRoute::Ignore => None,
        UnmatchedRoute::Deny => Some(Verdict::Deny),
    }
}

/// A CORS preflight (Fetch §4.8).
fn is_preflight(call: &Call<'_>) -> bool {
    call.method == "OPTIONS"
        && call.fields.first("origin").is_some()
        && call.fields.first("access-control-request-method").is_some()
}

/// Adds the routes that `path` leads to. Out: whether it is ambiguous which.
fn add_hits<'h>(
    service: &'h Service,
    call: &Call<'h>,
    path: &'h Path<'h>,
    hits: &mut Vec<Hit<'h>>,
) -> bool {
    let mut is_odd = add_by_method(service, call, call.method, path, hits);
    let overrides = METHOD_OVERRIDES.iter().filter_map(|name| call.fields.first(name));
    for method in overrides.filter_map(|value| std::str::from_utf8(value).ok()) {
        if method != call.method {
            is_odd = true;
            add_by_method(service, call, method, path, hits);
        }
    }
    is_odd
}

fn add_by_method<'h>(
    service: &'h Service,
    call: &Call<'h>,
    method: &str,
    path: &'h Path<'h>,
    hits: &mut Vec<Hit<'h>>,
) -> bool {
    let routes = |found: Vec<usize>| -> Vec<&'h Route> {
        let routes = found.into_iter().filter_map(|nth| service.routes.get(nth));
        routes.filter(|route| route.has_method(method)).collect()
    };
    let exact = routes(service.router.find(path));
    let mut is_odd = exact.first().is_some_and(|route| {
        let template = &route.template;
        template.trailing_slash != path.trailing_slash && !template.ends_open()
    });
    add_by_operation(&exact, call, path, hits);
    if let Some(folded) = service.router.find_folded(path).map(routes) {
        let best = |all: &[&Route]| all.first().map(|route| Arc::clone(&route.id));
        if best(&folded) != best(&exact) {
            is_odd = true;
            add_by_operation(&folded, call, path, hits);
        }
    }
    is_odd
}

fn add_by_operation<'h>(
    routes: &[&'h Route],
    call: &Call<'h>,
    path: &'h Path<'h>,
    hits: &mut Vec<Hit<'h>>,
) {
    let mut add = |route: Option<&'h Route>, operation: Option<&'h str>| {
        let same = |hit: &Hit<'_>| match (hit.route, route) {
            (Some(one), Some(other)) => std::ptr::eq(one, other) && hit.operation == operation,
            (None, None) => hit.operation == operation,
            _ => false,
        };
        if !hits.iter().any(same) {
            hits.push(Hit { route, path, operation });
        }
    };
    let Some(first) = routes.first() else { return };
    if routes.iter().all(|route| route.operation.is_none()) {
        return add(Some(first), None);
    }
    let general = routes.iter().copied().find(|route| route.operation.is_none());
    match call.operations {
        Some([]) => add(general, None),
        Some(operations) => {
            for operation in operations {
                let fits = |route: &&&Route| {
                    route.operation.as_ref().is_none_or(|glob| glob.matches(operation))
                };
                add(routes.iter().find(fits).copied(), Some(operation));
            }
        }
        None => {
            let special = routes.iter().copied().take_while(|route| route.operation.is_some());
            special.for_each(|route| add(Some(route), None));
            add(general, None);
        }
    }
}

#[cfg(test)]
mod tests;
