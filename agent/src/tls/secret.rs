//! Session secrets, and what one probe hit shows of them.
//!
//! In: values that a probe read from a process, which may be lies: a decoy can only fail to open
//! anything. Out: [`SecretHit`]s for the pool. Secrets are wiped on drop and have no `Debug`,
//! `Display` or `Serialize`.

use aws_lc_rs::digest::{SHA256, digest};
use zeroize::Zeroizing;

use crate::clock::Timestamp;

/// Largest secret: a SHA-384 secret of TLS 1.3, a master secret of TLS 1.2.
pub const MAX_SECRET: usize = 48;

/// A client or server random (RFC 8446 §4.1.2).
pub type Random = [u8; 32];

/// A session secret of 1 to [`MAX_SECRET`] bytes.
#[derive(Clone, Eq, PartialEq)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// A secret of these bytes; none if there are no bytes, or too many.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Option<Self> {
        (1..=MAX_SECRET).contains(&bytes.len()).then(|| Self(Zeroizing::new(bytes.to_vec())))
    }

    /// The bytes, for the key schedule only.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// A name for the secret that does not tell it: its SHA-256.
    #[must_use]
    pub fn fingerprint(&self) -> Digest {
        Digest::new(digest(&SHA256, &self.0).as_ref()).unwrap_or_default()
    }
}

/// A transcript hash: not secret, anyone who sees the handshake can compute it.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Digest {
    bytes: [u8; MAX_SECRET],
    length: u8,
}

impl Digest {
    /// The digest of these bytes; none unless they are 32 or 48.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Option<Self> {
        let length = u8::try_from(bytes.len()).ok().filter(|length| matches!(length, 32 | 48))?;
        let mut digest = Self { bytes: [0; MAX_SECRET], length };
        digest.bytes.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
        Some(digest)
    }

    /// The 32 or 48 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.length)).unwrap_or_default()
    }
}

impl Default for Digest {
    /// All zeros, which nothing hashes to.
    fn default() -> Self {
        Self { bytes: [0; MAX_SECRET], length: 32 }
    }
}

/// What a secret of TLS 1.3 is for (RFC 8446 §7.1).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Label {
    /// "c e traffic": the client's early data.
    ClientEarly,
    /// "c hs traffic": the client's half of the handshake.
    ClientHandshake,
    /// "s hs traffic": the server's half of the handshake.
    ServerHandshake,
    /// "c ap traffic": the client's application data.
    ClientApplication,
    /// "s ap traffic": the server's application data.
    ServerApplication,
    /// "exp master": same parent and transcript as the application secrets.
    Exporter,
    /// "traffic upd": the next generation of an application secret (§7.2).
    TrafficUpdate,
}

impl Label {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::ClientEarly,
        Self::ClientHandshake,
        Self::ServerHandshake,
        Self::ClientApplication,
        Self::ServerApplication,
        Self::Exporter,
        Self::TrafficUpdate,
    ];

    /// The label without "tls13 ".
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ClientEarly => "c e traffic",
            Self::ClientHandshake => "c hs traffic",
            Self::ServerHandshake => "s hs traffic",
            Self::ClientApplication => "c ap traffic",
            Self::ServerApplication => "s ap traffic",
            Self::Exporter => "exp master",
            Self::TrafficUpdate => "traffic upd",
        }
    }

    /// The label that a key derivation was asked for, with or without "tls13 " in front.
    #[must_use]
    pub fn from_derivation(label: &[u8]) -> Option<Self> {
        let label = label.strip_prefix(b"tls13 ").unwrap_or(label);
        Self::ALL.into_iter().find(|known| known.as_str().as_bytes() == label)
    }

    /// The label of a key log line (draft-ietf-tls-keylogfile §2.1); the exporter's is not one
    /// that can open anything.
    #[must_use]
    pub fn from_key_log(label: &[u8]) -> Option<Self> {
        match label {
            b"CLIENT_EARLY_TRAFFIC_SECRET" => Some(Self::ClientEarly),
            b"CLIENT_HANDSHAKE_TRAFFIC_SECRET" => Some(Self::ClientHandshake),
            b"SERVER_HANDSHAKE_TRAFFIC_SECRET" => Some(Self::ServerHandshake),
            b"CLIENT_TRAFFIC_SECRET_0" => Some(Self::ClientApplication),
            b"SERVER_TRAFFIC_SECRET_0" => Some(Self::ServerApplication),
            _ => None,
        }
    }

    /// The part of a connection that secrets with this label open.
    #[must_use]
    pub const fn stage(self) -> Stage {
        match self {
            Self::ClientEarly => Stage::Early,
            Self::ClientHandshake | Self::ServerHandshake => Stage::Handshake,
            Self::ClientApplication
            | Self::ServerApplication
            | Self::Exporter
            | Self::TrafficUpdate => Stage::Application,
        }
    }
}

/// Parts of a connection that have secrets of their own.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Stage {
    /// Early data of TLS 1.3.
    Early,
    /// The encrypted flights of TLS 1.3.
    Handshake,
    /// Application data of TLS 1.3.
    Application,
    /// All that TLS 1.2 encrypts.
    Master,
}

/// Who derived a secret: that process is an end of the connection.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Origin {
    /// Process id.
    pub pid: u32,
    /// Thread id.
    pub tid: u32,
    /// Lower half of the id of its cgroup, 0 if unknown.
    pub cgroup: u32,
    /// Inode of its network namespace, 0 if unknown.
    pub netns: u32,
}

/// What a hit shows.
#[derive(Clone, Eq, PartialEq)]
pub enum Shown {
    /// A derivation of TLS 1.3 before it happens: what is derived, from what, over what.
    Derivation {
        /// What is derived.
        label: Label,
        /// The early, handshake, master, or (for an update) application traffic secret.
        parent: Secret,
        /// Hash of the transcript; none for an update.
        transcript: Option<Digest>,
    },
    /// A traffic secret of TLS 1.3 itself, as a key log has it.
    Traffic {
        /// What it is for.
        label: Label,
        /// The secret.
        secret: Secret,
        /// The client's random, where the site shows it.
        client_random: Option<Random>,
    },
    /// A master secret of TLS 1.2.
    Master {
        /// The secret.
        master: Secret,
        /// The client's random.
        client_random: Random,
        /// The server's random, where the site shows it.
        server_random: Option<Random>,
    },
}

impl Shown {
    /// Whether `other` opens just the same: the two handshake labels of one end, say.
    #[must_use]
    pub fn same_knowledge(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::Derivation { label, parent, transcript },
                Self::Derivation { label: label2, parent: parent2, transcript: transcript2 },
            ) => label.stage() == label2.stage() && transcript == transcript2 && parent == parent2,
            _ => self == other,
        }
    }

    /// The part of a connection that this opens.
    #[must_use]
    pub const fn stage(&self) -> Stage {
        match self {
            Self::Derivation { label, .. } | Self::Traffic { label, .. } => label.stage(),
            Self::Master { .. } => Stage::Master,
        }
    }

    /// What a flow must show to be the one that this belongs to; nothing if only trying can tell.
    pub fn indexes(&self) -> impl Iterator<Item = Index> {
        let pair = match self {
            Self::Derivation { parent, transcript: Some(transcript), label } => {
                let parent = (label.stage() == Stage::Application)
                    .then(|| Index::Parent(parent.fingerprint()));
                [Some(Index::Transcript(*transcript)), parent]
            }
            Self::Traffic { client_random: Some(random), .. }
            | Self::Master { client_random: random, server_random: None, .. } => {
                [Some(Index::ClientRandom(*random)), None]
            }
            Self::Master { client_random, server_random: Some(server), .. } => {
                [Some(Index::Randoms { client: *client_random, server: *server }), None]
            }
            Self::Derivation { transcript: None, .. }
            | Self::Traffic { client_random: None, .. } => [None, None],
        };
        pair.into_iter().flatten()
    }
}

/// What ties a secret to a flow. Flows and hits that share one belong together, unless the hit
/// lies; a caller may keep its waiting connections by it.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Index {
    /// TLS 1.3: hash of the transcript that the secret is derived over.
    Transcript(Digest),
    /// TLS 1.3: fingerprint of the master secret, when the transcript had a gap.
    Parent(Digest),
    /// TLS 1.2: both randoms.
    Randoms {
        /// The client's.
        client: Random,
        /// The server's.
        server: Random,
    },
    /// The client's random.
    ClientRandom(Random),
}

/// One probe hit.
#[derive(Clone)]
pub struct SecretHit {
    /// When it was.
    pub at: Timestamp,
    /// Who derived the secret.
    pub origin: Origin,
    /// What was seen.
    pub shown: Shown,
}

/// What a connection waits for. It waits only while a record lies ready that will prove or
/// disprove what is offered.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Need {
    /// The part that cannot be opened.
    pub stage: Stage,
    /// What hits may be indexed by that would open it, most exact first.
    pub indexes: Vec<Index>,
    /// Whether hits without an index may be tried too. Not where something was lost: there each
    /// would have to be tried on many records.
    pub trial: bool,
}

#[cfg(test)]
mod tests {
    use super::{Digest, Label, Secret};

    #[test]
    fn labels_are_read_as_derivations_write_them() {
        for label in Label::ALL {
            let full = format!("tls13 {}", label.as_str());
            assert_eq!(Label::from_derivation(full.as_bytes()), Some(label));
        }
        assert_eq!(Label::from_derivation(b"tls13 key"), None);
    }

    #[test]
    fn secrets_and_digests_have_bounds() {
        assert!(Secret::new(&[]).is_none());
        assert!(Secret::new(&[1; 49]).is_none());
        assert!(Digest::new(&[1; 33]).is_none());
        assert_eq!(Digest::new(&[1; 48]).unwrap().as_bytes(), [1; 48]);
    }
}
