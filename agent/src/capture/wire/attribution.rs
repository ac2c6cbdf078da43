//! Whose the ends of a connection are, and from which of them it is told.
//!
//! In: processes that were seen at a socket right after they derived a secret, and processes that
//! derived what opened the connection. Out: the holders of both ends, as far as they are known.

use std::{net::SocketAddr, num::NonZeroUsize};

use lru::LruCache;

use crate::{
    capture::{
        SessionKey,
        wire::flow::{Ends, Flow, sender},
    },
    flow::chunk::{Direction, Socket},
    tls::pool::SecretPool,
    wire::{FlowId, Side, segment::FlowKey},
};

/// Ends of connections whose process is remembered until the connection asks.
pub(super) const MAX_OWNERS: NonZeroUsize = NonZeroUsize::new(64 * 1024).unwrap();

/// The end from which a connection is told, fixed when its first plaintext is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Observed {
    pub session: SessionKey,
    pub side: Side,
    /// What a loss of unknown length added to the offsets of each direction.
    pub lost: Ends<u64>,
    pub peer: Option<u32>,
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

/// From which end a connection is told: the server's, if its process is known, else the client's.
/// `None` if no process is known to hold either, which cannot be once a secret opened it.
pub(super) fn observe(
    id: FlowId,
    flow: &mut Flow,
    pool: &SecretPool,
    owners: &mut Owners,
) -> Option<Observed> {
    let mut holders = owners.of(flow.key);
    for view in &flow.views {
        let seen = owners.of(*view);
        holders = Ends { a: holders.a.or(seen.a), b: holders.b.or(seen.b) };
    }
    let server = sender(flow.tls.client()?.reverse());
    // The end that opened nothing because the other had shown the same before.
    flow.tls.attribute(pool);
    // Who derived the keys but was not seen at a socket holds the end that is left; a lone one
    // the end on this host, and where both ends are, the server's, which derives first.
    for origin in flow.tls.origins() {
        if [holders.a, holders.b].contains(&Some(origin.pid)) {
            continue;
        }
        for side in [server, server.other()] {
            if flow.local.of(side) && holders.of(side).is_none() {
                *holders.at(side) = Some(origin.pid);
                break;
            }
        }
    }
    let side = if holders.of(server).is_some() { server } else { server.other() };
    let pid = holders.of(side)?;
    let session = SessionKey { pid, object: id.0, generation: flow.begun.0 };
    let peer = holders.of(side.other());
    Some(Observed { session, side, lost: Ends::default(), peer })
}
