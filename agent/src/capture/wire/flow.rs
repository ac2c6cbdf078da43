//! One connection of the wire path: its TLS, the sockets at which it was seen, and how far it was
//! told.

use std::{net::IpAddr, sync::Arc};

use crate::{
    capture::wire::{attribution::Observed, waiting::Wait},
    clock::Timestamp,
    flow::chunk::{Direction, Handshake},
    tls::open::Connection,
    wire::{FlowId, Side, segment::FlowKey, tunnel::Tunnel},
};

/// Sockets at which one connection may be seen: its two ends, and both ends of each pair of
/// virtual interfaces on the way from one container to another.
pub(super) const MAX_COOKIES: usize = 8;

/// A connection.
pub(super) struct Flow {
    pub tls: Connection,
    /// Addresses of side A and side B.
    pub key: FlowKey,
    /// Other places of this host at which it was seen; see `mirror`.
    pub views: Vec<Place>,
    pub begun: Timestamp,
    /// Sockets at which it was seen, at most [`MAX_COOKIES`], and whether an end is on this host.
    pub cookies: Vec<u64>,
    pub local: Ends<bool>,
    /// Lower halves of the ids of their sockets' cgroups, 0 if unknown.
    pub cgroups: Ends<u32>,
    /// The socket at which each side's segments were seen last, and whether it received them.
    pub seen_at: Ends<(u64, bool)>,
    /// Plaintext told of each direction, unknown losses left out.
    pub told: Ends<u64>,
    /// Directions that have not ended.
    pub live: u8,
    /// Ciphertext held when it was last looked at, in bytes.
    pub held: usize,
    pub wait: Option<Wait>,
    pub observed: Option<Observed>,
    /// What its handshake told, as far as it was read.
    pub handshake: Arc<Handshake>,
    /// The client that a PROXY header before it named.
    pub proxied_for: Option<IpAddr>,
    /// Looks for a session within this one, as long as there may be one.
    pub tunnel: Option<Tunnel>,
    /// The session within which this one is; see `nested`.
    pub outer: Option<Outer>,
}

/// Where a connection is seen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// Its addresses there, from side A to side B.
    pub key: FlowKey,
    /// Whether they are those of another connection, which carries it.
    pub carries: bool,
}

/// A session that carries another.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outer {
    pub flow: FlowId,
    /// The socket at which it was seen first.
    pub cookie: u64,
}

impl Flow {
    /// A connection that `key` names, first seen at `begun`.
    pub fn new(key: FlowKey, begun: Timestamp) -> Self {
        Self {
            tls: Connection::new(),
            key,
            views: Vec::new(),
            begun,
            cookies: Vec::new(),
            local: Ends::default(),
            cgroups: Ends::default(),
            seen_at: Ends::default(),
            told: Ends::default(),
            live: 2,
            held: 0,
            wait: None,
            observed: None,
            handshake: Arc::default(),
            proxied_for: None,
            tunnel: Some(Tunnel::default()),
            outer: None,
        }
    }

    /// Every place of this host at which it was seen.
    pub fn places(&self) -> impl Iterator<Item = Place> {
        let own = Place { key: self.key, carries: self.outer.is_some() };
        std::iter::once(own).chain(self.views.iter().copied())
    }

    /// Whether a secret has opened it.
    pub fn is_open(&self) -> bool {
        !self.tls.origins().is_empty()
    }
}

/// Something of each end.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Ends<T> {
    pub a: T,
    pub b: T,
}

impl<T: Copy> Ends<T> {
    pub const fn of(self, side: Side) -> T {
        match side {
            Side::A => self.a,
            Side::B => self.b,
        }
    }

    pub const fn at(&mut self, side: Side) -> &mut T {
        match side {
            Side::A => &mut self.a,
            Side::B => &mut self.b,
        }
    }
}

/// Ciphertext of side A goes out, that of side B comes in: directions as side A sees them.
pub(super) const fn sent_by(side: Side) -> Direction {
    match side {
        Side::A => Direction::Outbound,
        Side::B => Direction::Inbound,
    }
}

/// The side that sends in a direction.
pub(super) const fn sender(direction: Direction) -> Side {
    match direction {
        Direction::Outbound => Side::A,
        Direction::Inbound => Side::B,
    }
}
