//! The key that people's pseudonyms are made with, which can forget one of them. In: a key, and
//! names. Out: pseudonyms, and keys that cannot make some of them any more.
//!
//! It is a puncturable pseudo-random function: the tree of Goldreich, Goldwasser and Micali (1986),
//! of which any node makes all that is below it. A name's place among 2⁶⁴ leaves is a hash of it,
//! and the leaf's key makes its pseudonym. A new key is the root. To forget a name, the nodes above
//! its leaf are replaced by those beside the way to it: they make every other leaf, and the nodes
//! above them, from which alone this one could be made, are gone.
//!
//! So nothing is written when a name is seen first, agents that start with one key agree, and which
//! names were forgotten, in which order, is the same for all that come after.
//!
//! Pure: `config/subjectfile.rs` reads and writes keys, `pseudonym.rs` shares one among workers.

mod codec;

use std::collections::BTreeMap;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as BASE64URL};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

pub use self::codec::{MAX_LENGTH, SubjectKeyError};
use crate::token::Secret;

/// Length of a node's key, in bytes.
pub const KEY_BYTES: usize = 32;
/// Length of a pseudonym: 132 bits, as fingerprints have.
pub const PSEUDONYM_CHARS: usize = 22;

/// Steps from the root to a leaf. Two of 2³² people share a leaf with a chance of one in two; then
/// each still has a pseudonym, and to forget one forgets both.
const LEVELS: u8 = 64;

// None starts with another. A step's input is 50 bytes, so that it is one block of SHA-256.
const PLACE_DOMAIN: &[u8] = b"scopewatch/place/v1";
const STEP_DOMAIN: &[u8] = b"scopewatch/step/v1";
const PSEUDONYM_DOMAIN: &[u8] = b"scopewatch/subject/v2";

/// A node's key, or a leaf's.
type Bytes = Zeroizing<[u8; KEY_BYTES]>;

/// Makes pseudonyms of all names but those that it was made to forget.
pub struct SubjectKey {
    /// By the first leaf below each. No leaf is below two of them.
    nodes: BTreeMap<u64, Node>,
}

struct Node {
    /// Steps from the root.
    level: u8,
    /// Behind a pointer: where the map moves its entries, no key is left behind.
    key: Box<Secret<[u8; KEY_BYTES]>>,
}

impl SubjectKey {
    /// A key that has forgotten nobody, of these bytes, which must be uniformly random.
    #[must_use]
    pub fn new(root: Zeroizing<[u8; KEY_BYTES]>) -> Self {
        Self { nodes: BTreeMap::from([(0, Node::new(0, root))]) }
    }

    /// Stands for `name`, for whoever has the key: `base64url(HMAC-SHA-256(leaf,
    /// "scopewatch/subject/v2" ‖ name))[..22]`. `None` once the name is forgotten.
    #[must_use]
    pub fn pseudonym(&self, name: &str) -> Option<String> {
        let leaf = self.leaf(place(name))?;
        let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(leaf.as_slice()).ok()?;
        mac.update(PSEUDONYM_DOMAIN);
        mac.update(name.as_bytes());
        let mut text = BASE64URL.encode(mac.finalize().into_bytes());
        text.truncate(PSEUDONYM_CHARS);
        Some(text)
    }

    /// Forgets `name`; whether it was known before.
    pub fn forget(&mut self, name: &str) -> bool {
        let place = place(name);
        let Some(first) = self.above(place).map(|(first, _)| first) else { return false };
        let Some(Node { level, key }) = self.nodes.remove(&first) else { return false };
        let mut way = Zeroizing::new(*key.expose());
        for level in level..LEVELS {
            let side = side(place, level);
            let beside = first_below(place ^ bit(level), level + 1);
            self.nodes.insert(beside, Node::new(level + 1, step(&way, !side)));
            way = step(&way, side);
        }
        true
    }

    /// The node that `place` is below, and its first leaf.
    fn above(&self, place: u64) -> Option<(u64, &Node)> {
        let (first, node) = self.nodes.range(..=place).next_back()?;
        (first_below(place, node.level) == *first).then_some((*first, node))
    }

    fn leaf(&self, place: u64) -> Option<Bytes> {
        let (_, node) = self.above(place)?;
        let mut way = Zeroizing::new(*node.key.expose());
        for level in node.level..LEVELS {
            way = step(&way, side(place, level));
        }
        Some(way)
    }
}

impl Node {
    fn new(level: u8, key: Bytes) -> Self {
        Self { level, key: Box::new(Secret::new(key)) }
    }
}

/// Which leaf is a name's: the first 64 bits of a hash. Without a key, as whoever holds the nodes
/// would hold it too: who can make pseudonyms of guessed names can tell which were forgotten.
fn place(name: &str) -> u64 {
    let digest = Sha256::new().chain_update(PLACE_DOMAIN).chain_update(name).finalize();
    digest.iter().take(8).fold(0, |place, byte| place << 8 | u64::from(*byte))
}

/// The node below `key` on the side that is asked for.
fn step(key: &Bytes, side: bool) -> Bytes {
    let mut below = Zeroizing::new([0; KEY_BYTES]);
    Sha256::new()
        .chain_update(STEP_DOMAIN)
        .chain_update([u8::from(side)])
        .chain_update(key.as_slice())
        .finalize_into((&mut *below).into());
    below
}

/// The bit of a place that is decided by the step from `level` on.
const fn bit(level: u8) -> u64 {
    1_u64.rotate_right(level as u32 + 1)
}

const fn side(place: u64, level: u8) -> bool {
    place & bit(level) != 0
}

/// Which of a place's bits are not decided yet at `level`.
fn undecided(level: u8) -> u64 {
    u64::MAX.checked_shr(level.into()).unwrap_or(0)
}

/// The first leaf below the node at `level` that `place` is below.
fn first_below(place: u64, level: u8) -> u64 {
    place & !undecided(level)
}

#[cfg(test)]
mod tests;
