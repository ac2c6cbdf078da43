//! Which service a call is made to. In: where it was seen. Out: the service of the policy that
//! fits best. Who names another host does not get away from the rules: what else is known of the
//! service decides.

use crate::{
    http::message,
    policy::{
        call::Endpoint,
        compiled::{Policy, Select, ServiceIndex},
        glob::Glob,
        raw::Role,
    },
};

/// A service, and whether the caller named a host that it does not have.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Selected {
    /// The service.
    pub service: ServiceIndex,
    /// Whether the host is none of its own.
    pub host_unexpected: bool,
}

impl Policy {
    /// The service that calls seen at `endpoint` are made to. Of several, the one of which most
    /// is given, and of those the first.
    #[must_use]
    pub fn select(&self, endpoint: &Endpoint<'_>) -> Option<Selected> {
        let mut best: Option<(bool, usize, Selected)> = None;
        for (nth, service) in self.services.iter().enumerate() {
            let Some(given) = service.select.matching(endpoint) else { continue };
            let host = service.select.host(endpoint.host);
            if host == Host::Other && given == 0 {
                continue;
            }
            let rank = (host != Host::Other, given.saturating_add(usize::from(host == Host::Own)));
            if best.is_none_or(|(fits, score, _)| (fits, score) < rank) {
                let host_unexpected = host == Host::Other && endpoint.host.is_some();
                let selected = Selected { service: ServiceIndex(nth), host_unexpected };
                best = Some((rank.0, rank.1, selected));
            }
        }
        best.map(|(_, _, selected)| selected)
    }
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Host {
    Own,
    Any,
    Other,
}

impl Select {
    /// How many conditions other than hosts are given; `None` if one of them does not hold.
    fn matching(&self, endpoint: &Endpoint<'_>) -> Option<usize> {
        let role = match self.role.unwrap_or(Role::Server) {
            Role::Any => true,
            Role::Server => endpoint.role == message::Role::Server,
            Role::Client => endpoint.role == message::Role::Client,
        };
        let port = endpoint.server().map(|address| address.port());
        let port_fits = self.ports.is_empty() || port.is_some_and(|it| self.ports.contains(&it));
        let process = endpoint.process;
        let texts = [
            (&self.exe, &process.exe),
            (&self.unit, &process.unit),
            (&self.cgroup, &process.cgroup),
            (&self.container, &process.container),
        ];
        let fits = |(wanted, found): &(&Option<Glob>, &Option<String>)| match (wanted, found) {
            (None, _) => true,
            (Some(wanted), Some(found)) => wanted.matches(found),
            (Some(_), None) => false,
        };
        let given = texts.iter().filter(|(wanted, _)| wanted.is_some()).count();
        (role && port_fits && texts.iter().all(fits))
            .then(|| given.saturating_add(usize::from(!self.ports.is_empty())))
    }

    fn host(&self, host: Option<&str>) -> Host {
        if self.hosts.is_empty() {
            return Host::Any;
        }
        let own = host.is_some_and(|host| self.hosts.iter().any(|own| own.matches(host)));
        if own { Host::Own } else { Host::Other }
    }
}
