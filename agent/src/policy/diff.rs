//! What differs between two policies. In: both. Out: counts, for the event that tells of a change.

use std::collections::HashMap;

use serde::Serialize;

use crate::policy::compiled::{Policy, Route, Service};

/// How many of each kind were added, removed and changed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Diff {
    /// Issuers, by id.
    pub issuers: Counts,
    /// Services, by id; not counting changes of their routes.
    pub services: Counts,
    /// Routes, by service and id.
    pub routes: Counts,
}

/// How many.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Counts {
    /// Only in the new one.
    pub added: u64,
    /// Only in the old one.
    pub removed: u64,
    /// In both, and not the same.
    pub changed: u64,
}

/// What differs.
#[must_use]
pub fn diff(old: &Policy, new: &Policy) -> Diff {
    Diff {
        issuers: counts(
            old.issuers.iter().map(|it| (it.id.clone(), format!("{it:?}"))),
            new.issuers.iter().map(|it| (it.id.clone(), format!("{it:?}"))),
        ),
        services: counts(
            old.services.iter().map(|it| (it.id.to_string(), content(it))),
            new.services.iter().map(|it| (it.id.to_string(), content(it))),
        ),
        routes: counts(routes(old), routes(new)),
    }
}

fn routes(policy: &Policy) -> impl Iterator<Item = ((String, String, usize), String)> {
    policy.services.iter().flat_map(|service| {
        // Ids that were made may occur twice.
        let mut seen: HashMap<&str, usize> = HashMap::new();
        service.routes.iter().map(move |route| {
            let nth = seen.entry(&route.id).or_default();
            *nth = nth.saturating_add(1);
            ((service.id.to_string(), route.id.to_string(), *nth), rule(route))
        })
    })
}

/// All that a service says, except where and what routes say.
fn content(service: &Service) -> String {
    let Service {
        id: _,
        origin: _,
        select,
        accept,
        schemes,
        sources,
        routes: _,
        router: _,
        unmatched,
        preflight,
        proxies,
        public_base_url,
        implied,
    } = service;
    let mut implied: Vec<(&String, Vec<&String>)> =
        implied.iter().map(|(scope, all)| (scope, all.iter().collect())).collect();
    implied.iter_mut().for_each(|(_, all)| all.sort_unstable());
    implied.sort_unstable();
    format!(
        "{select:?} {accept:?} {schemes:?} {sources:?} {unmatched:?} {preflight:?} {proxies:?} \
         {public_base_url:?} {implied:?}"
    )
}

/// All that a route says, except where.
fn rule(route: &Route) -> String {
    let Route {
        id: _,
        origin: _,
        methods,
        template,
        operation,
        protocol,
        alternatives,
        sensitivity,
        audit,
        volume,
        operation_id,
        trust,
        refined: _,
    } = route;
    format!(
        "{methods:?} {template:?} {operation:?} {protocol:?} {alternatives:?} {sensitivity:?} \
         {audit:?} {volume:?} {operation_id:?} {trust:?}"
    )
}

fn counts<K: std::hash::Hash + Eq>(
    old: impl Iterator<Item = (K, String)>,
    new: impl Iterator<Item = (K, String)>,
) -> Counts {
    let mut old: HashMap<K, String> = old.collect();
    let mut counts = Counts::default();
    for (key, content) in new {
        match old.remove(&key) {
            None => counts.added = counts.added.saturating_add(1),
            Some(before) if before != content => counts.changed = counts.changed.saturating_add(1),
            Some(_) => {}
        }
    }
    counts.removed = old.len() as u64;
    counts
}
