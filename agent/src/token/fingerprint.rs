//! Fingerprints: the only trace of a token that leaves `token/`. In: token bytes and the
//! deployment's key. Out: 22 characters by which the same token is recognised, and nothing learnt
//! by whoever lacks the key. Pure: `config/keyfile.rs` reads and makes keys.

use std::sync::Arc;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as BASE64URL};
use hmac::{Hmac, KeyInit, Mac, digest::Output};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::token::{Kind, Secret};

/// Length of a key, in bytes: the output size of SHA-256 (RFC 2104 §3).
pub const KEY_BYTES: usize = 32;
/// Length of a fingerprint: 132 bits, beyond accidental and deliberate collision alike.
pub const FINGERPRINT_CHARS: usize = 22;
/// Name of the algorithm in events.
pub const ALGORITHM: &str = "hmac-sha256";

/// Length of a key's id: 48 bits tell a deployment's few keys apart.
const KEY_ID_CHARS: usize = 8;
/// HMAC's block for SHA-256, to which RFC 2104 §2 pads keys with zeroes.
const BLOCK_BYTES: usize = 64;

// Each use of the key has a domain of its own, and no domain starts with another.
const TOKEN_DOMAIN: &[u8] = b"scopewatch/fp/v1";
const KEY_ID_DOMAIN: &[u8] = b"scopewatch/key-id/v1";

/// The key of a deployment: agents that share it give the same token the same fingerprint.
pub struct FingerprintKey {
    bytes: Secret<[u8; KEY_BYTES]>,
    id: Arc<str>,
}

impl FingerprintKey {
    /// A key of these bytes, which must be uniformly random.
    #[must_use]
    pub fn new(bytes: Zeroizing<[u8; KEY_BYTES]>) -> Self {
        let mut key = Self { bytes: Secret::new(bytes), id: Arc::default() };
        key.id = base64url(&key.mac(&[KEY_ID_DOMAIN]), KEY_ID_CHARS).into();
        key
    }

    /// Names the key in events, so that fingerprints of a rotated key are told apart.
    #[must_use]
    pub fn id(&self) -> Arc<str> {
        Arc::clone(&self.id)
    }

    /// `base64url(HMAC-SHA-256(key, "scopewatch/fp/v1" ‖ kind ‖ token))[..22]`. No kind's name
    /// starts with another's, so the input reads one way only.
    pub(in crate::token) fn fingerprint(&self, kind: Kind, token: &[u8]) -> Fingerprint {
        let mac = self.mac(&[TOKEN_DOMAIN, kind.as_str().as_bytes(), token]);
        Fingerprint(base64url(&mac, FINGERPRINT_CHARS))
    }

    fn mac(&self, parts: &[&[u8]]) -> Output<Sha256> {
        let mut block = Zeroizing::new([0; BLOCK_BYTES]);
        block.iter_mut().zip(self.bytes.expose()).for_each(|(to, from)| *to = *from);
        let mut mac = <Hmac<Sha256> as KeyInit>::new((&*block).into());
        parts.iter().for_each(|part| mac.update(part));
        mac.finalize().into_bytes()
    }
}

/// Recognises a token without telling it.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Fingerprint(String);

impl Fingerprint {
    /// [`FINGERPRINT_CHARS`] characters of base64url (RFC 4648 §5).
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn base64url(bytes: &[u8], chars: usize) -> String {
    let mut text = BASE64URL.encode(bytes);
    text.truncate(chars);
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};

    use super::*;

    fn key(byte: u8) -> FingerprintKey {
        FingerprintKey::new(Zeroizing::new([byte; KEY_BYTES]))
    }

    #[test]
    fn is_the_documented_hmac() {
        // python3: b64url(hmac.new(bytes([7])*32, b"scopewatch/fp/v1access" + b"mF_9.B5f-4.1JqM",
        // "sha256").digest())[:22]
        let fp = key(7).fingerprint(Kind::Access, b"mF_9.B5f-4.1JqM");
        assert_eq!(fp.as_str(), "Lg6QWIlgKpODUzP2miGi19");
        assert_eq!(&*key(7).id(), "Ruo4n92E");
    }

    #[test]
    fn differs_by_key_kind_and_token() {
        let one = key(1).fingerprint(Kind::Access, b"t");
        assert_ne!(one, key(2).fingerprint(Kind::Access, b"t"));
        assert_ne!(one, key(1).fingerprint(Kind::Refresh, b"t"));
        assert_ne!(one, key(1).fingerprint(Kind::Access, b"u"));
    }

    #[test]
    fn no_kind_name_starts_with_another() {
        for one in Kind::ALL {
            let clash = |other: &&Kind| *other != one && one.as_str().starts_with(other.as_str());
            assert_eq!(Kind::ALL.iter().find(clash), None, "{one}");
        }
    }

    proptest! {
        #[test]
        fn is_stable_and_22_characters(token in any::<Vec<u8>>()) {
            let fp = key(3).fingerprint(Kind::Access, &token);
            assert_eq!(&fp, &key(3).fingerprint(Kind::Access, &token));
            assert_eq!(fp.as_str().len(), FINGERPRINT_CHARS);
        }
    }
}
