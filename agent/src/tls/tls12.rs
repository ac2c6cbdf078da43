//! The handshakes of one TLS 1.2 connection: the first, and renegotiations (RFC 5246 §7.4).

use super::{
    lane::Keys,
    output::{SessionName, Side},
    protect::RecordOpener,
    schedule::key_block,
    secret::{Index, Random, Secret, Shown, Stage},
    suite::Suite,
};

/// Handshakes on one connection. Servers that ask for a certificate renegotiate once; some
/// re-key every gigabyte or so.
pub(super) const MAX_HANDSHAKES: usize = 64;

/// One handshake, from its ServerHello on.
pub(super) struct Handshake {
    pub suite: &'static Suite,
    pub client_random: Random,
    pub server_random: Random,
    pub encrypt_then_mac: bool,
    /// Whether an earlier session is resumed.
    pub resumed: bool,
    /// The master secret, once a record has proved it.
    pub master: Option<Secret>,
}

impl Handshake {
    /// Keys of a side under the proved master secret.
    pub fn keys(&self, side: Side) -> Option<Keys> {
        self.keys_of(side, self.master.as_ref()?)
    }

    /// Keys of a side under this master secret.
    pub fn keys_of(&self, side: Side, master: &Secret) -> Option<Keys> {
        let (client, server) =
            key_block(self.suite, master, &self.client_random, &self.server_random);
        let keys = match side {
            Side::Client => client,
            Side::Server => server,
        };
        let opener = RecordOpener::new(self.suite, &keys, self.encrypt_then_mac)?;
        Some(Keys { opener, number: 0, stage: Stage::Master, suite: self.suite, traffic: None })
    }

    /// How its session is known when it is resumed.
    pub fn name(&self) -> Option<SessionName> {
        self.master.as_ref().map(|master| SessionName::Master(master.fingerprint()))
    }

    /// What a hit may be indexed by that shows the master secret.
    pub fn indexes(&self) -> Vec<Index> {
        let (client, server) = (self.client_random, self.server_random);
        vec![Index::Randoms { client, server }, Index::ClientRandom(client)]
    }

    /// The master secret that a hit shows.
    pub fn candidate(shown: &Shown) -> Option<Secret> {
        match shown {
            Shown::Master { master, .. } => Some(master.clone()),
            Shown::Derivation { .. } | Shown::Traffic { .. } => None,
        }
    }
}
