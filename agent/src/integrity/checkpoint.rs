//! Signed statements of how far a chain has come, as C2SP checkpoints (`tlog-checkpoint`) in signed
//! notes (`signed-note`): tools that read those verify ours. In: a chain and a key. Out: a note; and
//! of a note, what it says and whether one of some keys signed it.

use std::fmt::Write as _;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use base64::{Engine as _, prelude::BASE64_STANDARD as BASE64};
use sha2::{Digest as _, Sha256};

use crate::integrity::{
    chain::{Chain, plain},
    merkle::Hash,
};

/// The signature algorithm's number in signed notes: Ed25519.
const ED25519_TYPE: u8 = 1;
/// Longest note that is read, in bytes: ours have some 400.
const MAX_NOTE: usize = 4096;

/// Signs checkpoints.
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

/// What a checkpoint says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Checkpoint {
    /// Events before it.
    pub size: u64,
    /// Root of the Merkle tree over their hashes.
    pub root: Hash,
    /// The chain.
    pub chain: String,
    /// Hash of the last event before it.
    pub head: Hash,
}

/// Whether a checkpoint is who it says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Signature {
    /// One of the keys signed it.
    Good,
    /// One of the keys is named, and did not sign it.
    Bad,
    /// None of the keys is named.
    UnknownKey,
}

impl Signer {
    /// The signer of a host, whose key is made of these random bytes. `None` if they make no key.
    #[must_use]
    pub fn new(host: &str, seed: &[u8; 32]) -> Option<Self> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).ok()?;
        Some(Self { name: format!("scopewatch/{}", plain(host)), pair })
    }

    /// What checks its signatures.
    ///
    /// # Panics
    /// Never: the public key of this algorithm has 32 bytes.
    #[must_use]
    pub fn verifying_key(&self) -> VerifyingKey {
        let public = self.pair.public_key().as_ref().try_into().unwrap_or([0; 32]);
        VerifyingKey { name: self.name.clone(), public }
    }

    /// A checkpoint of `chain` as it is now. `remarks` are lines of `key value` that are signed too.
    #[must_use]
    pub fn sign(&self, chain: &Chain, remarks: &[(&str, &str)]) -> String {
        let tree = chain.tree();
        let mut text = format!(
            "{}\n{}\n{}\nchain {}\nhead {}\n",
            self.name,
            tree.size(),
            BASE64.encode(tree.root()),
            chain.name(),
            BASE64.encode(chain.head())
        );
        for (key, value) in remarks {
            // Writing to a String cannot fail.
            let _infallible = writeln!(text, "{key} {value}");
        }
        let signature = self.pair.sign(text.as_bytes());
        let id = self.verifying_key().id();
        let signed = BASE64.encode([id.as_slice(), signature.as_ref()].concat());
        let _infallible = write!(text, "\n\u{2014} {} {signed}\n", self.name);
        text
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

    fn hex_id(&self) -> String {
        format!("{:08x}", u32::from_be_bytes(self.id()))
    }

    /// The key's id in notes.
    fn id(&self) -> [u8; 4] {
        let name = Sha256::new().chain_update(&self.name).chain_update([b'\n', ED25519_TYPE]);
        let [a, b, c, d, ..]: Hash = name.chain_update(self.public).finalize().into();
        [a, b, c, d]
    }
}

/// Reads a note; `None` if it is no checkpoint of a chain.
#[must_use]
pub fn read(note: &str, keys: &[VerifyingKey]) -> Option<(Checkpoint, Signature)> {
    let end = note.rfind("\n\n").filter(|_| note.len() <= MAX_NOTE)?;
    let (text, signatures) = note.split_at_checked(end.checked_add(1)?)?;
    let mut lines = text.lines();
    let _origin = lines.next()?;
    let size = lines.next()?.parse().ok()?;
    let root = BASE64.decode(lines.next()?).ok()?.try_into().ok()?;
    let chain = lines.next()?.strip_prefix("chain ")?.to_owned();
    let head = BASE64.decode(lines.next()?.strip_prefix("head ")?).ok()?.try_into().ok()?;
    let signature = check(text, signatures, keys);
    Some((Checkpoint { size, root, chain, head }, signature))
}

fn check(text: &str, signatures: &str, keys: &[VerifyingKey]) -> Signature {
    let mut result = Signature::UnknownKey;
    for line in signatures.lines() {
        let Some((name, signed)) = line.strip_prefix("\u{2014} ").and_then(|it| it.split_once(' '))
        else {
            continue;
        };
        let Ok(signed) = BASE64.decode(signed) else { continue };
        let Some((id, signature)) = signed.split_first_chunk::<4>() else { continue };
        for key in keys.iter().filter(|key| key.name == name && key.id() == *id) {
            let public = UnparsedPublicKey::new(&ED25519, key.public);
            match public.verify(text.as_bytes(), signature) {
                Ok(()) => return Signature::Good,
                Err(_) => result = Signature::Bad,
            }
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_is_read_and_checked() {
        let signer = Signer::new("h7", &[5; 32]).unwrap();
        let mut chain = Chain::new("h7/x".to_owned());
        chain.link("{\"a\":1}", &mut Vec::new()).unwrap();
        let note = signer.sign(&chain, &[("dropped", "0")]);
        let key = VerifyingKey::parse(&signer.verifying_key().to_line()).unwrap();
        let keys = [key];
        let (checkpoint, signature) = read(&note, &keys).unwrap();
        assert_eq!(signature, Signature::Good);
        assert_eq!((checkpoint.size, checkpoint.head), (1, *chain.head()));
        assert_eq!((checkpoint.chain.as_str(), checkpoint.root), ("h7/x", chain.tree().root()));
        assert_eq!(read(&note, &[]).unwrap().1, Signature::UnknownKey);
        let forged = note.replace("dropped 0", "dropped 1");
        assert_eq!(read(&forged, &keys).unwrap().1, Signature::Bad);
        let other = [Signer::new("h8", &[5; 32]).unwrap().verifying_key()];
        assert_eq!(read(&note, &other).unwrap().1, Signature::UnknownKey);
        for not_one in ["", "\n\n", "a\nb\nc\n\n", &note.replace("chain", "c")] {
            assert_eq!(read(not_one, &keys), None, "{not_one:?}");
        }
    }

    #[test]
    fn the_key_line_of_the_specification_is_read() {
        // golang.org/x/mod/sumdb/note: the key of its example.
        let line = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
        assert_eq!(VerifyingKey::parse(line).unwrap().to_line(), line);
        assert_eq!(VerifyingKey::parse(&line.replace("c74f", "c74e")), None);
        let text = "If you think cryptography is the answer to your problem,\n\
                    then you don't know what your problem is.\n";
        let signed = "\n\u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";
        let key = VerifyingKey::parse(line).unwrap();
        assert_eq!(check(text, signed, &[key]), Signature::Good);
    }
}
