//! Key schedules: from a secret that was seen to the keys of records (RFC 8446 §7, RFC 5246 §5
//! and §6.3). The passive side never has the key exchange, so a schedule starts in the middle.

use aws_lc_rs::{digest, hkdf, hmac};
use zeroize::Zeroizing;

use super::{
    secret::{Digest, Label, Random, Secret},
    suite::{Hash, Suite},
};

/// The keys with which one side writes. Wiped on drop.
pub struct WriteKeys {
    /// Key of the cipher.
    pub key: Zeroizing<Vec<u8>>,
    /// Initialisation vector, or TLS 1.2's fixed part of it.
    pub iv: Zeroizing<Vec<u8>>,
    /// Key of the MAC, empty for an AEAD.
    pub mac: Zeroizing<Vec<u8>>,
}

/// Hash over the handshake messages so far (RFC 8446 §4.4.1).
#[derive(Clone)]
pub struct Transcript {
    hash: Hash,
    context: digest::Context,
}

impl Transcript {
    /// An empty transcript.
    #[must_use]
    pub fn new(hash: Hash) -> Self {
        Self { hash, context: digest::Context::new(digest_algorithm(hash)) }
    }

    /// Appends a message, header included.
    pub fn add(&mut self, message: &[u8]) {
        self.context.update(message);
    }

    /// The hash so far.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::new(self.context.clone().finish().as_ref()).unwrap_or_default()
    }

    /// Replaces the first ClientHello by a synthetic `message_hash` message, as a
    /// HelloRetryRequest demands.
    pub fn fold_for_retry(&mut self) {
        let digest = self.digest();
        let length = u8::try_from(digest.as_bytes().len()).unwrap_or_default();
        *self = Self::new(self.hash);
        self.add(&[254, 0, 0, length]);
        self.add(digest.as_bytes());
    }
}

/// HKDF-Expand-Label (RFC 8446 §7.1) into `out`; false if the lengths are absurd.
fn expand_label(hash: Hash, secret: &Secret, label: &str, context: &[u8], out: &mut [u8]) -> bool {
    const PREFIX: &[u8] = b"tls13 ";
    let (Ok(length), Ok(label_length), Ok(context_length)) = (
        u16::try_from(out.len()),
        u8::try_from(PREFIX.len().saturating_add(label.len())),
        u8::try_from(context.len()),
    ) else {
        return false;
    };
    let info: [&[u8]; 6] = [
        &length.to_be_bytes(),
        &[label_length],
        PREFIX,
        label.as_bytes(),
        &[context_length],
        context,
    ];
    let prk = hkdf::Prk::new_less_safe(hkdf_algorithm(hash), secret.bytes());
    prk.expand(&info, Length(out.len())).and_then(|okm| okm.fill(out)).is_ok()
}

/// Derive-Secret (RFC 8446 §7.1): the secret with `label` under `parent`, over a transcript.
/// None if the transcript's hash is not the suite's.
#[must_use]
pub fn derive_secret(
    hash: Hash,
    parent: &Secret,
    label: Label,
    transcript: &Digest,
) -> Option<Secret> {
    if transcript.as_bytes().len() != hash_length(hash) {
        return None;
    }
    expand_secret(hash, parent, label.as_str(), transcript.as_bytes())
}

/// The next generation of an application traffic secret (RFC 8446 §7.2).
#[must_use]
pub fn next_generation(hash: Hash, traffic: &Secret) -> Option<Secret> {
    expand_secret(hash, traffic, Label::TrafficUpdate.as_str(), &[])
}

/// The master secret, which follows from the handshake secret alone (RFC 8446 §7.1).
#[must_use]
pub fn master_secret(hash: Hash, handshake: &Secret) -> Option<Secret> {
    let empty = Transcript::new(hash).digest();
    let salt = expand_secret(hash, handshake, "derived", empty.as_bytes())?;
    let zeros = vec![0; hash_length(hash)];
    let key = hmac::Key::new(hmac_algorithm(hash), salt.bytes());
    Secret::new(hmac::sign(&key, &zeros).as_ref())
}

/// Record keys of a traffic secret (RFC 8446 §7.3).
#[must_use]
pub fn traffic_keys(suite: &Suite, traffic: &Secret) -> Option<WriteKeys> {
    let mut keys = WriteKeys {
        key: Zeroizing::new(vec![0; suite.protection.key_length()]),
        iv: Zeroizing::new(vec![0; 12]),
        mac: Zeroizing::default(),
    };
    let whole = expand_label(suite.hash, traffic, "key", &[], &mut keys.key)
        && expand_label(suite.hash, traffic, "iv", &[], &mut keys.iv);
    whole.then_some(keys)
}

/// Record keys of TLS 1.2, the client's and the server's (RFC 5246 §6.3).
#[must_use]
pub fn key_block(
    suite: &Suite,
    master: &Secret,
    client_random: &Random,
    server_random: &Random,
) -> (WriteKeys, WriteKeys) {
    let protection = suite.protection;
    let lengths = [protection.mac_length(), protection.key_length(), protection.fixed_iv_length()];
    let total = lengths.iter().sum::<usize>().saturating_mul(2);
    let seed = [&b"key expansion"[..], server_random, client_random].concat();
    let block = p_hash(suite.hash, master, &seed, total);
    let mut rest = block.as_slice();
    let mut pair = lengths.map(|length| {
        let mut part = || {
            let (part, behind) = rest.split_at_checked(length).unwrap_or_default();
            rest = behind;
            Zeroizing::new(part.to_vec())
        };
        [part(), part()]
    });
    let mut side = |index: usize| {
        let [mac, key, iv] =
            pair.each_mut().map(|both| both.get_mut(index).map(std::mem::take).unwrap_or_default());
        WriteKeys { key, iv, mac }
    };
    (side(0), side(1))
}

/// P_hash (RFC 5246 §5), `length` bytes of it.
fn p_hash(hash: Hash, secret: &Secret, seed: &[u8], length: usize) -> Zeroizing<Vec<u8>> {
    let key = hmac::Key::new(hmac_algorithm(hash), secret.bytes());
    // Reserved in full: a vector that grows would leave unwiped copies behind.
    let mut out = Zeroizing::new(Vec::with_capacity(length.saturating_add(hash_length(hash))));
    let mut link = hmac::sign(&key, seed);
    while out.len() < length {
        let mut context = hmac::Context::with_key(&key);
        context.update(link.as_ref());
        context.update(seed);
        out.extend_from_slice(context.sign().as_ref());
        link = hmac::sign(&key, link.as_ref());
    }
    out.truncate(length);
    out
}

fn expand_secret(hash: Hash, parent: &Secret, label: &str, context: &[u8]) -> Option<Secret> {
    let mut out = Zeroizing::new(vec![0; hash_length(hash)]);
    expand_label(hash, parent, label, context, &mut out).then(|| Secret::new(&out))?
}

const fn hash_length(hash: Hash) -> usize {
    match hash {
        Hash::Sha256 => 32,
        Hash::Sha384 => 48,
    }
}

const fn digest_algorithm(hash: Hash) -> &'static digest::Algorithm {
    match hash {
        Hash::Sha256 => &digest::SHA256,
        Hash::Sha384 => &digest::SHA384,
    }
}

const fn hkdf_algorithm(hash: Hash) -> hkdf::Algorithm {
    match hash {
        Hash::Sha256 => hkdf::HKDF_SHA256,
        Hash::Sha384 => hkdf::HKDF_SHA384,
    }
}

const fn hmac_algorithm(hash: Hash) -> hmac::Algorithm {
    match hash {
        Hash::Sha256 => hmac::HMAC_SHA256,
        Hash::Sha384 => hmac::HMAC_SHA384,
    }
}

/// Output length of an expansion, in bytes.
struct Length(usize);

impl hkdf::KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}
