//! Signed notes (C2SP `signed-note`), and the Ed25519 keys that sign and check them. In: a text and
//! a key. Out: a note; and of a note, its text and who signed it.
//!
//! A note is a text that ends with a newline, an empty line, and a line for each signature:
//! `— NAME BASE64(ID ‖ SIGNATURE)`. The first line of ours is the name of the key that signs them.

use std::fmt::{self, Write as _};

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use base64::{Engine as _, prelude::BASE64_STANDARD as BASE64};
use sha2::{Digest as _, Sha256};

use crate::integrity::{chain::plain, merkle::Hash};

/// What names of our keys begin with; the host follows.
pub const ORIGIN: &str = "scopewatch/";
/// Longest note that is read, in bytes: ours have some 600.
pub const MAX_NOTE: usize = 4096;

/// The signature algorithm's number in signed notes: Ed25519.
const ED25519_TYPE: u8 = 1;
/// What a line of a signature begins with.
const SIGNATURE: &str = "\u{2014} ";

/// Names a key in notes: the beginning of a hash of it.
pub type KeyId = [u8; 4];

/// Signs notes. What it signs with is wiped when it goes.
pub struct Signer {
    name: String,
    pair: Ed25519KeyPair,
}

/// Checks who signed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct VerifyingKey {
    name: String,
    public: [u8; 32],
}

/// A note, taken apart.
#[derive(Clone, Copy, Debug)]
pub struct Note<'a> {
    text: &'a str,
    signatures: &'a str,
}

impl Signer {
    /// The signer of a host, whose key is made of these random bytes. `None` if they make no key.
    #[must_use]
    pub fn new(host: &str, seed: &[u8; 32]) -> Option<Self> {
        Self::named(format!("{ORIGIN}{}", plain(host)), seed)
    }

    /// Another signer of the same host.
    #[must_use]
    pub fn successor(&self, seed: &[u8; 32]) -> Option<Self> {
        Self::named(self.name.clone(), seed)
    }

    fn named(name: String, seed: &[u8; 32]) -> Option<Self> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).ok()?;
        Some(Self { name, pair })
    }

    /// The name of its key.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What checks its signatures.
    #[must_use]
    pub fn verifying_key(&self) -> VerifyingKey {
        // The public key of this algorithm has 32 bytes.
        let public = self.pair.public_key().as_ref().try_into().unwrap_or([0; 32]);
        VerifyingKey { name: self.name.clone(), public }
    }

    /// The note of a text that ends with a newline.
    #[must_use]
    pub fn sign(&self, mut text: String) -> String {
        let signature = self.pair.sign(text.as_bytes());
        let id = self.verifying_key().id();
        let signed = BASE64.encode([id.as_slice(), signature.as_ref()].concat());
        // Writing to a String cannot fail.
        let _infallible = write!(text, "\n{SIGNATURE}{} {signed}\n", self.name);
        text
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Signer").field(&self.verifying_key().to_line()).finish()
    }
}

impl VerifyingKey {
    /// Reads a key as [`Self::to_line`] writes it.
    #[must_use]
    pub fn parse(line: &str) -> Option<Self> {
        let mut parts = line.trim().splitn(3, '+');
        let (name, id, key) = (parts.next()?, parts.next()?, parts.next()?);
        let bytes = BASE64.decode(key).ok()?;
        let (kind, public) = bytes.split_first()?;
        let public = public.try_into().ok().filter(|_| *kind == ED25519_TYPE)?;
        let key = Self { name: name.to_owned(), public };
        (key.hex_id() == id).then_some(key)
    }

    /// The key as a line of the form that `signed-note` defines.
    #[must_use]
    pub fn to_line(&self) -> String {
        let key = BASE64.encode([&[ED25519_TYPE], self.public.as_slice()].concat());
        format!("{}+{}+{key}", self.name, self.hex_id())
    }

    /// Whose it is.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The key's id in notes.
    #[must_use]
    pub fn id(&self) -> KeyId {
        let name = Sha256::new().chain_update(&self.name).chain_update([b'\n', ED25519_TYPE]);
        let [a, b, c, d, ..]: Hash = name.chain_update(self.public).finalize().into();
        [a, b, c, d]
    }

    fn hex_id(&self) -> String {
        format!("{:08x}", u32::from_be_bytes(self.id()))
    }

    /// Whether it signed this text.
    #[must_use]
    pub fn verifies(&self, text: &str, signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, self.public).verify(text.as_bytes(), signature).is_ok()
    }
}

impl<'a> Note<'a> {
    /// Takes a note apart; `None` if it is none, or too long.
    #[must_use]
    pub fn split(note: &'a str) -> Option<Self> {
        let end = note.rfind("\n\n").filter(|_| note.len() <= MAX_NOTE)?;
        let (text, signatures) = note.split_at_checked(end.checked_add(1)?)?;
        Some(Self { text, signatures })
    }

    /// What is signed.
    #[must_use]
    pub const fn text(&self) -> &'a str {
        self.text
    }

    /// Who signed, by the note's word: names, ids and signatures. Lines that are none are passed
    /// over.
    pub fn signatures(&self) -> impl Iterator<Item = (&'a str, KeyId, Vec<u8>)> + use<'a> {
        self.signatures.lines().filter_map(|line| {
            let (name, signed) = line.strip_prefix(SIGNATURE)?.split_once(' ')?;
            let signed = BASE64.decode(signed).ok()?;
            let (id, signature) = signed.split_first_chunk::<4>()?;
            Some((name, *id, signature.to_vec()))
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::{prelude::any, proptest};

    use super::*;

    #[test]
    fn the_key_line_of_the_specification_is_read() {
        // golang.org/x/mod/sumdb/note: the key and the note of its example.
        let line = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
        let key = VerifyingKey::parse(line).unwrap();
        assert_eq!(key.to_line(), line);
        assert_eq!(VerifyingKey::parse(&line.replace("c74f", "c74e")), None);
        let note = "If you think cryptography is the answer to your problem,\n\
                    then you don't know what your problem is.\n\
                    \n\u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";
        let note = Note::split(note).unwrap();
        let [(name, id, signature)] = note.signatures().collect::<Vec<_>>().try_into().unwrap();
        assert_eq!((name, id), (key.name(), key.id()));
        assert!(key.verifies(note.text(), &signature));
        assert!(!key.verifies("another text\n", &signature));
    }

    #[test]
    fn what_signs_is_not_printed() {
        let signer = Signer::new("h 7", &[5; 32]).unwrap();
        let line = signer.verifying_key().to_line();
        assert_eq!(format!("{signer:?}"), format!("Signer({line:?})"));
        let next = signer.successor(&[6; 32]).unwrap();
        assert_eq!((next.name(), signer.name()), ("scopewatch/h-7", "scopewatch/h-7"));
        assert_ne!(next.verifying_key(), signer.verifying_key());
    }

    proptest! {
        #[test]
        fn any_text_is_taken_apart_or_refused(note in any::<String>(), tail in any::<String>()) {
            for note in [&note, &format!("{note}\n\n{SIGNATURE}{tail}")] {
                let Some(note) = Note::split(note) else { continue };
                assert!(note.text().ends_with('\n'));
                assert!(note.signatures().count() <= note.signatures.lines().count());
            }
        }
    }
}
