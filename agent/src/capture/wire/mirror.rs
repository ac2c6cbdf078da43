//! Connections that pass this host more than once: from one container to another, before and behind
//! a NAT, through a proxy that forwards bytes. Each place shows its own addresses or its own
//! network namespace, so each is a flow by itself; that they are one is known by the session.
//!
//! In: sessions, as secrets open them. Out: the flow that told of the session first. A copy that
//! someone makes of a connection has its hellos, but opens nothing, and hides nothing.

use std::num::NonZeroUsize;

use lru::LruCache;
use scopewatch_common::Capture;

use super::{
    Wire,
    flow::{Flow, MAX_COOKIES, Place},
};
use crate::{
    tls::secret::Index,
    wire::{FlowId, Side},
};

/// Sessions that are remembered. The places of one connection open within milliseconds of each
/// other, so only handshakes that are under way at once matter.
const MAX_SESSIONS: NonZeroUsize = NonZeroUsize::new(16 * 1024).unwrap();

/// Other places at which one connection may be seen.
const MAX_VIEWS: usize = 4;

/// Sessions that secrets have opened, by what their hellos agree on.
pub(super) struct Sessions(LruCache<Index, FlowId>);

impl Sessions {
    /// None yet.
    pub fn new() -> Self {
        Self(LruCache::new(MAX_SESSIONS))
    }

    /// Notes that `flow` carries `session`; the flow that did so before, if it is another.
    pub fn claim(&mut self, session: Index, flow: FlowId) -> Option<FlowId> {
        let first = *self.0.get_or_insert(session, || flow);
        (first != flow).then_some(first)
    }

    /// Notes that `flow` carries `session`, whoever did before.
    pub fn pass_on(&mut self, session: Index, flow: FlowId) {
        self.0.put(session, flow);
    }
}

impl Wire {
    /// Claims the session that was opened for a flow; whether it is to be told from there.
    pub(super) fn claim(&mut self, id: FlowId) -> bool {
        let Some(flow) = self.flows.get(&id) else { return false };
        if let Some(session) = flow.tls.session()
            && let Some(first) = self.sessions.claim(session, id)
        {
            if !self.yields(first, id) {
                self.merge(id, first);
                return false;
            }
            self.sessions.pass_on(session, id);
            self.merge(first, id);
        }
        let cookies = self.flows.get(&id).into_iter().flat_map(|flow| &flow.cookies);
        self.open_sockets.extend(cookies.map(|&cookie| (cookie, id)));
        true
    }

    /// Drops a flow that is the same connection as `first`, seen at another place.
    fn merge(&mut self, mirror: FlowId, first: FlowId) {
        let Some(mut flow) = self.flows.remove(&mirror) else { return };
        self.waiting.strike(mirror, flow.wait.take());
        self.held = self.held.saturating_sub(flow.held);
        self.close_tunnel(&flow);
        let own = self.flows.get_mut(&first).map(|known| known.absorb(&flow));
        if let Some(own) = &own {
            self.open_sockets.extend(own.iter().map(|&cookie| (cookie, first)));
        }
        self.leave(mirror, own.unwrap_or(flow.cookies));
    }

    /// Has the kernel half leave the sockets of a flow that is told of elsewhere.
    pub(super) fn leave(&mut self, mirror: FlowId, cookies: Vec<u64>) {
        self.counts.mirrored += 1;
        self.table.forget(mirror);
        self.decisions.extend(cookies.into_iter().map(|cookie| (cookie, Capture::Ignored)));
    }
}

impl Flow {
    /// Takes over what `mirror`, the same connection at another place, knows of its ends. Returns
    /// the sockets that are its own, whose segments are told twice.
    pub(super) fn absorb(&mut self, mirror: &Self) -> Vec<u64> {
        let turned = self.tls.client() != mirror.tls.client();
        if self.views.len() < MAX_VIEWS {
            let key = if turned { mirror.key.reversed() } else { mirror.key };
            self.views.push(Place { key, carries: mirror.outer.is_some() });
        }
        for side in [Side::A, Side::B] {
            let there = if turned { side.other() } else { side };
            if mirror.local.of(there) && !self.local.of(side) {
                *self.local.at(side) = true;
                *self.cgroups.at(side) = mirror.cgroups.of(there);
            }
        }
        let mut own = mirror.cookies.clone();
        own.retain(|cookie| !self.cookies.contains(cookie));
        let room = MAX_COOKIES.saturating_sub(self.cookies.len());
        self.cookies.extend(own.iter().take(room));
        own
    }
}

#[cfg(test)]
mod tests {
    use super::{MAX_SESSIONS, Sessions};
    use crate::{tls::secret::Index, wire::FlowId};

    fn session(number: usize) -> Index {
        let mut random = [0; 32];
        random[..8].copy_from_slice(&number.to_be_bytes());
        Index::ClientRandom(random)
    }

    #[test]
    fn the_first_place_keeps_a_session() {
        let mut sessions = Sessions::new();
        assert_eq!(sessions.claim(session(1), FlowId(1)), None);
        assert_eq!(sessions.claim(session(1), FlowId(1)), None);
        assert_eq!(sessions.claim(session(1), FlowId(2)), Some(FlowId(1)));
        assert_eq!(sessions.claim(session(2), FlowId(2)), None);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut sessions = Sessions::new();
        for number in 0..=MAX_SESSIONS.get() {
            sessions.claim(session(number), FlowId(1));
        }
        assert_eq!(sessions.0.len(), MAX_SESSIONS.get());
        assert_eq!(sessions.claim(session(0), FlowId(2)), None, "the oldest was forgotten");
    }
}
