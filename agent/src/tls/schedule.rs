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

#[cfg(test)]
mod tests {
    use super::{Transcript, derive_secret, master_secret, p_hash, traffic_keys};
    use crate::tls::{
        secret::{Digest, Label, Secret},
        suite::{Hash, Suite},
        tests::unhex,
    };

    fn secret(text: &str) -> Secret {
        Secret::new(&unhex(text)).unwrap()
    }

    #[test]
    fn rfc8448_section_3() {
        let handshake = secret("1dc826e93606aa6fdc0aadc12f741b01046aa6b99f691ed221a9f0ca043fbeac");
        let master = master_secret(Hash::Sha256, &handshake).unwrap();
        let expected = "18df06843d13a08bf2a449844c5f8a478001bc4d4c627984d5a41da8d0402919";
        assert_eq!(master.bytes(), unhex(expected));
        let hellos = "860c06edc07858ee8e78f0e7428c58edd6b43f2ca3e6e95f02ed063cf0e1cad8";
        let hellos = Digest::new(&unhex(hellos)).unwrap();
        let label = Label::ServerHandshake;
        let traffic = derive_secret(Hash::Sha256, &handshake, label, &hellos).unwrap();
        let keys = traffic_keys(Suite::find(0x1301).unwrap(), &traffic).unwrap();
        assert_eq!(*keys.key, unhex("3fce516009c21727d0f2e4e86ee403bc"));
        assert_eq!(*keys.iv, unhex("5d313eb2671276ee13000b30"));
    }

    #[test]
    fn a_transcript_of_another_hash_derives_nothing() {
        let digest = Transcript::new(Hash::Sha384).digest();
        let parent = secret("01");
        assert!(derive_secret(Hash::Sha256, &parent, Label::ClientEarly, &digest).is_none());
    }

    #[test]
    fn the_pseudorandom_function_of_tls12() {
        // The vector that the TLS working group published for SHA-256.
        let seed = [b"test label", unhex("a0ba9f936cda311827a6f796ffd5198c").as_slice()].concat();
        let out = p_hash(Hash::Sha256, &secret("9bbe436ba940f017b17652849a71db35"), &seed, 100);
        let expected = "e3f229ba727be17b8d122620557cd453c2aab21d07c3d495329b52d4e61edb5a\
                        6b301791e90d35c9c9a46b4e14baf9af0fa022f7077def17abfd3797c0564bab\
                        4fbc91666e9def9b97fce34f796789baa48082d122ee42c5a72e5a5110fff701\
                        87347b66";
        assert_eq!(*out, unhex(expected));
    }
}
