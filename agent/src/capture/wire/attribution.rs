//! Whose the ends of a connection are, and from which of them it is told.
//!
//! In: processes that were seen at a socket right after they derived a secret, and processes that
//! derived what opened the connection. Out: the holders of both ends, as far as they are known, and
//! how well. An end can hand its keys to another process, which then derives what the end does; but
//! it cannot have the other seen at a socket that it does not use, nor be in a cgroup that it is not in.

use std::{net::SocketAddr, num::NonZeroUsize};

use bytes::Bytes;
use lru::LruCache;

use crate::{
    capture::{
        CaptureEvent, Holder, SessionKey,
        wire::flow::{Ends, Flow, sender},
    },
    clock::Timestamp,
    coverage::{Reason, Uncovered},
    flow::chunk::{Attribution, Direction, Socket},
    tls::{self, pool::SecretPool, secret::Origin},
    wire::{FlowId, Side, segment::FlowKey},
};

/// Ends of connections whose process is remembered until the connection asks.
pub(super) const MAX_OWNERS: NonZeroUsize = NonZeroUsize::new(64 * 1024).unwrap();

/// Id of the root of the cgroup v2 hierarchy (`kernfs` counts from 1). Under the hybrid layout
/// everything is in there, so that two of it have nothing in common.
const ROOT_CGROUP: u32 = 1;

/// The end from which a connection is told, fixed when its first plaintext is; who holds the other
/// may be found later.
#[derive(Clone, Copy, Debug)]
pub(super) struct Observed {
    pub session: SessionKey,
    pub side: Side,
    /// What a loss of unknown length added to the offsets of each direction.
    pub lost: Ends<u64>,
    pub attribution: Attribution,
    pub peer: Option<Holder>,
}

impl Observed {
    /// The direction in which the observed end saw what went in `direction`.
    pub const fn sees(&self, direction: Direction) -> Direction {
        match self.side {
            Side::A => direction,
            Side::B => direction.reverse(),
        }
    }
}

/// Processes that were seen at a socket, by its network namespace and addresses.
pub(super) struct Owners(LruCache<(u32, SocketAddr, SocketAddr), u32>);

impl Owners {
    /// None yet.
    pub fn new() -> Self {
        Self(LruCache::new(MAX_OWNERS))
    }

    /// Notes whose a socket is; whether another had to be forgotten for it.
    pub fn note(&mut self, pid: u32, socket: &Socket) -> bool {
        let key = (socket.netns, socket.local, socket.remote);
        self.0.push(key, pid).is_some_and(|(evicted, _)| evicted != key)
    }

    /// Forgets the ends of a connection that is over: another may come to have its addresses, and
    /// an end that is not known.
    pub fn forget(&mut self, key: FlowKey) {
        let (a, b) = (key.source.socket_addr(), key.destination.socket_addr());
        self.0.pop(&(key.netns, a, b));
        self.0.pop(&(key.netns, b, a));
    }

    /// Ends that are remembered.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Who was seen at either end of a connection.
    pub fn of(&mut self, key: FlowKey) -> Ends<Option<u32>> {
        let (a, b) = (key.source.socket_addr(), key.destination.socket_addr());
        let mut seen_at = |local, remote| self.0.get(&(key.netns, local, remote)).copied();
        Ends { a: seen_at(a, b), b: seen_at(b, a) }
    }
}

impl Flow {
    /// What is known of a connection that is given up.
    pub(super) fn uncovered(
        &self,
        reason: Reason,
        at: Timestamp,
        owners: &mut Owners,
    ) -> Uncovered {
        let seen = owners.of(self.key);
        let (mut ends, mut holders) = (Vec::new(), Vec::new());
        for side in [Side::A, Side::B] {
            if self.local.of(side) {
                ends.push(self.socket(side));
                holders.extend(seen.of(side));
            }
        }
        Uncovered { at, reason, ends, holders, cookies: self.cookies.clone() }
    }
}

impl From<tls::output::Reason> for Reason {
    fn from(failure: tls::output::Reason) -> Self {
        match failure {
            tls::output::Reason::HelloLost => Self::NoHandshake,
            tls::output::Reason::Version(_) => Self::Version,
            tls::output::Reason::Suite(_) => Self::Suite,
            tls::output::Reason::NotTls
            | tls::output::Reason::Malformed(_)
            | tls::output::Reason::Unexpected
            | tls::output::Reason::Renegotiations => Self::NotTls,
            tls::output::Reason::Desynchronised => Self::Desynchronised,
        }
    }
}

/// From which end a connection is told: the server's, if its process is known, else the client's.
/// `None` if no process is known to hold either, which cannot be once a secret opened it.
pub(super) fn observe(
    id: FlowId,
    flow: &mut Flow,
    pool: &SecretPool,
    owners: &mut Owners,
) -> Option<Observed> {
    let client = flow.tls.client()?;
    let holders = holders(flow, client, pool, owners);
    let server = sender(client.reverse());
    let side = if holders.of(server).is_some() { server } else { server.other() };
    let Holder { pid, attribution } = holders.of(side)?;
    let session = SessionKey { pid, object: id.0, generation: flow.begun.0 };
    let peer = holders.of(side.other());
    Some(Observed { session, side, attribution, lost: Ends::default(), peer })
}

impl Flow {
    /// Looks again for who holds the ends of a connection that was told of; what is to be told of
    /// it if one was seen at its socket since.
    pub(super) fn know_better(
        &mut self,
        pool: &SecretPool,
        owners: &mut Owners,
    ) -> Option<CaptureEvent<Bytes>> {
        let before = self.observed?;
        let client = self.tls.client()?;
        let holders = holders(self, client, pool, owners);
        let at_socket =
            |side| holders.of(side).filter(|it: &Holder| it.attribution == Attribution::SocketCall);
        let mut observed = before;
        // The end itself stays whose it was told to be.
        if at_socket(before.side).is_some_and(|it| it.pid == before.session.pid) {
            observed.attribution = Attribution::SocketCall;
        }
        observed.peer = at_socket(before.side.other()).or(before.peer);
        let is_better = (observed.attribution, observed.peer) != (before.attribution, before.peer);
        self.observed = Some(observed);
        is_better.then(|| self.socket_event(observed))
    }
}

/// Who holds the ends: who was seen at their sockets, and else who derived the keys.
fn holders(
    flow: &mut Flow,
    client: Direction,
    pool: &SecretPool,
    owners: &mut Owners,
) -> Ends<Option<Holder>> {
    // The end that opened nothing because the other had shown the same before.
    flow.tls.attribute(pool);
    let derived = |pid: &u32| flow.tls.origins().iter().any(|origin| origin.pid == *pid);
    let mut seen = Ends::<Option<u32>>::default();
    for place in flow.places() {
        let there = owners.of(place.key);
        // Whose socket carries it is an end of it only if it has its keys: a proxy has not.
        let is_end = |pid: &u32| !place.carries || derived(pid);
        let (a, b) = (there.a.filter(is_end), there.b.filter(is_end));
        seen = Ends { a: seen.a.or(a), b: seen.b.or(b) };
    }
    let at_socket = |pid| Holder { pid, attribution: Attribution::SocketCall };
    let mut holders = Ends { a: seen.a.map(at_socket), b: seen.b.map(at_socket) };
    // Who derived the keys but was not seen at a socket may hold an end of this host that is left:
    // both ends derive the same, the one that seals the first record before the other.
    let first = sender(flow.tls.first_sealed().unwrap_or(client.reverse()));
    let mut origins = flow.tls.origins().to_vec();
    origins.retain(|origin| ![seen.a, seen.b].contains(&Some(origin.pid)));
    for fit in [Fit::Cgroup, Fit::Namespace, Fit::Any] {
        origins.retain(|origin| {
            let is_for = |side: &Side| {
                let is_free = flow.local.of(*side) && holders.of(*side).is_none();
                is_free && flow.fits(*side, *origin, fit)
            };
            let Some(side) = [first, first.other()].into_iter().find(is_for) else { return true };
            let (pid, attribution) = (origin.pid, fit.grade());
            *holders.at(side) = Some(Holder { pid, attribution });
            false
        });
    }
    holders
}

/// What a process that derived the keys has in common with an end; the more, the sooner it is its
/// holder.
#[derive(Clone, Copy)]
enum Fit {
    /// The cgroup, if it is not everybody's.
    Cgroup,
    /// The network namespace.
    Namespace,
    /// Nothing that is known: sockets can be handed to other namespaces.
    Any,
}

impl Fit {
    const fn grade(self) -> Attribution {
        match self {
            Self::Cgroup => Attribution::SameCgroup,
            Self::Namespace | Self::Any => Attribution::KeyOnly,
        }
    }
}

impl Flow {
    fn fits(&self, side: Side, origin: Origin, fit: Fit) -> bool {
        match fit {
            Fit::Cgroup => origin.cgroup > ROOT_CGROUP && origin.cgroup == self.cgroups.of(side),
            Fit::Namespace => origin.netns == self.key.netns,
            Fit::Any => true,
        }
    }
}
