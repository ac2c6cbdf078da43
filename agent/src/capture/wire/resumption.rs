//! Who a client proved to be, for the sessions that it resumes: it shows its certificate once, and the
//! server knows it again.
//!
//! In: names of sessions that can be resumed, with the certificate that was proved. Out: that
//! certificate, for a session that was resumed in time. Certificates are public, and names are
//! hashes, so nothing here is secret.

use std::num::NonZeroUsize;

use lru::LruCache;

use crate::{
    clock::Timestamp,
    tls::{certificate::Certificate, output::SessionName},
    wire::segment::Endpoint,
};

/// Sessions that are remembered; each takes some 500 bytes.
const MAX_SESSIONS: NonZeroUsize = NonZeroUsize::new(10_000).unwrap();

/// A server, as one network namespace has it.
pub(super) type Server = (u32, Endpoint);

/// Certificates of clients, by sessions that they may resume.
pub(super) struct Clients {
    sessions: LruCache<Key, Held>,
    /// Sessions that were forgotten to make room.
    pub evicted: u64,
}

/// A master secret is nobody else's; a ticket counts at the server that issued it.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
struct Key(SessionName, Option<Server>);

impl Key {
    fn of(name: SessionName, server: Server) -> Self {
        match name {
            SessionName::Master(_) => Self(name, None),
            SessionName::Ticket(_) => Self(name, Some(server)),
        }
    }
}

struct Held {
    certificate: Certificate,
    until: Timestamp,
}

impl Clients {
    /// None yet.
    pub fn new() -> Self {
        Self { sessions: LruCache::new(MAX_SESSIONS), evicted: 0 }
    }

    /// Notes whose a session is that `server` will resume until a moment.
    pub fn note(
        &mut self,
        server: Server,
        (name, until): (SessionName, Timestamp),
        certificate: Certificate,
    ) {
        let key = Key::of(name, server);
        let pushed = self.sessions.push(key, Held { certificate, until });
        self.evicted += u64::from(pushed.is_some_and(|(forgotten, _)| forgotten != key));
    }

    /// Whose a session is that was resumed at a moment.
    pub fn of(
        &mut self,
        server: Server,
        name: SessionName,
        at: Timestamp,
    ) -> Option<Box<Certificate>> {
        let key = Key::of(name, server);
        if self.sessions.peek(&key)?.until < at {
            self.sessions.pop(&key);
            return None;
        }
        self.sessions.get(&key).map(|held| Box::new(held.certificate.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::secret::Digest;

    fn server(port: u16) -> Server {
        (0, Endpoint::new([10, 0, 0, 1].into(), port))
    }

    fn digest(number: usize) -> Digest {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&number.to_be_bytes());
        Digest::new(&bytes).unwrap()
    }

    fn certificate() -> Certificate {
        let (subject, issuer) = ("CN=c".to_owned(), "CN=i".to_owned());
        Certificate { thumbprint: [1; 32], subject, issuer }
    }

    #[test]
    fn a_ticket_counts_in_time_and_at_its_own_server() {
        let mut clients = Clients::new();
        let (ticket, master) = (SessionName::Ticket(digest(1)), SessionName::Master(digest(2)));
        for name in [ticket, master] {
            clients.note(server(443), (name, Timestamp(10)), certificate());
        }
        assert!(clients.of(server(444), ticket, Timestamp(5)).is_none());
        assert!(clients.of(server(444), master, Timestamp(5)).is_some());
        assert!(clients.of(server(443), ticket, Timestamp(10)).is_some());
        assert!(clients.of(server(443), ticket, Timestamp(11)).is_none());
        assert!(clients.of(server(443), ticket, Timestamp(5)).is_none(), "it was forgotten");
    }

    #[test]
    fn what_is_remembered_is_bounded_and_what_is_forgotten_counted() {
        let mut clients = Clients::new();
        for number in 0..MAX_SESSIONS.get() + 3 {
            let name = SessionName::Master(digest(number));
            clients.note(server(443), (name, Timestamp(10)), certificate());
        }
        assert_eq!((clients.sessions.len(), clients.evicted), (MAX_SESSIONS.get(), 3));
        assert!(clients.of(server(443), SessionName::Master(digest(0)), Timestamp(1)).is_none());
    }
}
