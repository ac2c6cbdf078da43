//! A subject key as bytes. In: what a file holds. Out: a key, or why it is none; and the way back.
//!
//! ```text
//! "scopewatch/subject-key/v1\n"
//! for each node, by place:  level (1)  first leaf below it (8, big-endian)  key (32)
//! SHA-256 of all before (32)
//! ```
//!
//! One key has one form. The checksum is for accidents: who may write the file may also replace it.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::{KEY_BYTES, LEVELS, Node, SubjectKey, first_below, undecided};

/// Longest form, in bytes: some 30,000 names that were forgotten.
pub const MAX_LENGTH: usize = 64 * 1024 * 1024;

const BEGIN: &[u8] = b"scopewatch/subject-key/v1\n";
const SUM_BYTES: usize = 32;
const NODE_BYTES: usize = 1 + 8 + KEY_BYTES;

/// Why bytes are no subject key.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SubjectKeyError {
    /// Something else, such as a fingerprint key.
    #[error("it does not begin as a subject key does")]
    Other,
    /// See [`MAX_LENGTH`].
    #[error("it is longer than {MAX_LENGTH} bytes")]
    Long,
    /// Bytes are missing, or others than were written.
    #[error("its checksum is wrong: it was cut off or changed")]
    Damaged,
    /// No key is written so.
    #[error("its nodes are no tree")]
    NoTree,
}

impl SubjectKey {
    /// How many bytes [`Self::encode`] makes of it.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        BEGIN.len() + self.nodes.len() * NODE_BYTES + SUM_BYTES
    }

    /// The key as bytes.
    #[must_use]
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        // With room for all of it, so that growing leaves no copy behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(self.encoded_len()));
        bytes.extend_from_slice(BEGIN);
        for (first, Node { level, key }) in &self.nodes {
            bytes.push(*level);
            bytes.extend_from_slice(&first.to_be_bytes());
            bytes.extend_from_slice(key.expose());
        }
        let sum = Sha256::digest(&*bytes);
        bytes.extend_from_slice(&sum);
        bytes
    }

    /// The key that `bytes` are the form of.
    ///
    /// # Errors
    /// They are that of none.
    pub fn decode(bytes: &[u8]) -> Result<Self, SubjectKeyError> {
        if bytes.len() > MAX_LENGTH {
            return Err(SubjectKeyError::Long);
        }
        let rest = bytes.strip_prefix(BEGIN).ok_or(SubjectKeyError::Other)?;
        let (body, sum) = rest.split_last_chunk::<SUM_BYTES>().ok_or(SubjectKeyError::Damaged)?;
        let summed = Sha256::new().chain_update(BEGIN).chain_update(body).finalize();
        if summed.as_slice() != sum {
            return Err(SubjectKeyError::Damaged);
        }
        let (each, []) = body.as_chunks::<NODE_BYTES>() else {
            return Err(SubjectKeyError::NoTree);
        };
        nodes(each).map(|nodes| Self { nodes }).ok_or(SubjectKeyError::NoTree)
    }
}

/// The nodes, if each begins where its level lets it and behind all that is below the one before.
fn nodes(each: &[[u8; NODE_BYTES]]) -> Option<BTreeMap<u64, Node>> {
    let mut nodes = BTreeMap::new();
    let mut free_from = Some(0);
    for bytes in each {
        let ([level], rest) = bytes.split_first_chunk::<1>()?;
        let (first, key) = rest.split_first_chunk::<8>()?;
        let (level, first) = (*level, u64::from_be_bytes(*first));
        let is_place = level <= LEVELS && first_below(first, level) == first;
        if !is_place || free_from.is_none_or(|free| first < free) {
            return None;
        }
        free_from = (first | undecided(level)).checked_add(1);
        let mut own = Zeroizing::new([0; KEY_BYTES]);
        own.copy_from_slice(key);
        nodes.insert(first, Node::new(level, own));
    }
    // To forget every name that there could be takes longer than anybody has.
    (!nodes.is_empty()).then_some(nodes)
}
