//! What calls tell before it is known on which socket.
//!
//! In: plaintext of sessions that are bound to no socket yet. Out: the same, once it is known that
//! the wire path does not tell of that socket, or once nobody can know any more.
//!
//! A server that reads ahead has the first request in memory when its handshake ends: its first
//! read makes no call on the socket, its first write does.

use std::num::NonZeroUsize;

use bytes::Bytes;
use lru::LruCache;

use crate::{
    capture::{CaptureEvent, SessionKey},
    clock::{NANOS_PER_SEC, Timestamp},
};

/// Sessions that wait; beyond them, the one that waits longest waits no more.
const MAX_SESSIONS: NonZeroUsize = NonZeroUsize::new(1024).unwrap();

/// Plaintext that waits, in bytes.
const MAX_BYTES: usize = 4 * 1024 * 1024;

/// How long a session may wait: one without a socket of its own (a memory BIO) waits in vain.
const PATIENCE: u64 = NANOS_PER_SEC;

/// Sessions that wait.
pub struct Unbound {
    sessions: LruCache<SessionKey, Held>,
    bytes: usize,
}

/// What one session said so far.
struct Held {
    since: Timestamp,
    bytes: usize,
    events: Vec<CaptureEvent<Bytes>>,
}

impl Default for Unbound {
    fn default() -> Self {
        Self::new()
    }
}

impl Unbound {
    /// Nothing waits.
    #[must_use]
    pub fn new() -> Self {
        Self { sessions: LruCache::new(MAX_SESSIONS), bytes: 0 }
    }

    /// Keeps an event of `session`, with `bytes` of plaintext.
    pub fn hold(
        &mut self,
        session: SessionKey,
        at: Timestamp,
        bytes: usize,
        event: CaptureEvent<Bytes>,
    ) {
        let empty = || Held { since: at, bytes: 0, events: Vec::new() };
        let held = self.sessions.get_or_insert_mut(session, empty);
        held.bytes = held.bytes.saturating_add(bytes);
        held.events.push(event);
        self.bytes = self.bytes.saturating_add(bytes);
    }

    /// What was kept of `session`, in order.
    pub fn take(&mut self, session: SessionKey) -> Vec<CaptureEvent<Bytes>> {
        let Some(held) = self.sessions.pop(&session) else { return Vec::new() };
        self.bytes = self.bytes.saturating_sub(held.bytes);
        held.events
    }

    /// The session that must make room, if one must.
    #[must_use]
    pub fn excess(&self) -> Option<SessionKey> {
        let full = self.bytes > MAX_BYTES || self.sessions.len() >= MAX_SESSIONS.get();
        self.sessions.peek_lru().filter(|_| full).map(|(session, _)| *session)
    }

    /// A session that has waited too long at `now`.
    #[must_use]
    pub fn late(&self, now: Timestamp) -> Option<SessionKey> {
        let late = |(_, held): &(&SessionKey, &Held)| now.since(held.since) > PATIENCE;
        self.sessions.iter().find(late).map(|(session, _)| *session)
    }

    /// A session of the process `pid`.
    #[must_use]
    pub fn of_process(&self, pid: u32) -> Option<SessionKey> {
        self.sessions.iter().map(|(session, _)| *session).find(|session| session.pid == pid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::chunk::Direction;

    fn session(pid: u32) -> SessionKey {
        SessionKey { pid, object: 1, generation: 1 }
    }

    fn hold(unbound: &mut Unbound, pid: u32, at: u64, bytes: usize) {
        let (session, at) = (session(pid), Timestamp(at));
        let direction = Some(Direction::Inbound);
        unbound.hold(session, at, bytes, CaptureEvent::Close { at, session, direction });
    }

    #[test]
    fn gives_back_what_was_kept_in_order() {
        let mut unbound = Unbound::new();
        hold(&mut unbound, 1, 10, 1);
        hold(&mut unbound, 2, 11, 1);
        hold(&mut unbound, 1, 12, 1);
        assert_eq!(unbound.of_process(1), Some(session(1)));
        assert_eq!(unbound.take(session(1)).len(), 2);
        assert!(unbound.take(session(1)).is_empty());
        assert_eq!(unbound.of_process(1), None);
    }

    #[test]
    fn patience_and_room_are_bounded() {
        let mut unbound = Unbound::new();
        hold(&mut unbound, 1, 0, MAX_BYTES);
        assert_eq!(unbound.excess(), None);
        assert_eq!(unbound.late(Timestamp(PATIENCE)), None);
        assert_eq!(unbound.late(Timestamp(PATIENCE + 1)), Some(session(1)));
        hold(&mut unbound, 2, 0, 1);
        assert_eq!(unbound.excess(), Some(session(1)));
        unbound.take(session(1));
        assert_eq!(unbound.excess(), None);
        for pid in 3..2 + u32::try_from(MAX_SESSIONS.get()).unwrap() {
            hold(&mut unbound, pid, 0, 0);
        }
        assert_eq!(unbound.excess(), Some(session(2)));
    }
}
