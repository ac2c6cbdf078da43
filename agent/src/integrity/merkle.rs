//! The root of a Merkle tree (RFC 9162 §2.1) that grows leaf by leaf. In: leaves. Out: the root
//! over all so far, at the cost of a few hashes; memory for one hash a level.

use sha2::{Digest as _, Sha256};

/// A SHA-256 hash.
pub type Hash = [u8; 32];

/// The tree, as far as its root needs it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Tree {
    size: u64,
    /// Roots of the full subtrees that make up the tree, the largest first.
    full: Vec<Hash>,
}

impl Tree {
    /// Leaves so far.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Adds a leaf.
    pub fn push(&mut self, leaf: &[u8]) {
        let mut root: Hash = Sha256::new().chain_update([0]).chain_update(leaf).finalize().into();
        // Each low bit of the size is a full subtree that the new one pairs with.
        for _ in 0..self.size.trailing_ones() {
            if let Some(left) = self.full.pop() {
                root = node(&left, &root);
            }
        }
        self.full.push(root);
        self.size = self.size.saturating_add(1);
    }

    /// The root; that of no leaves is the hash of nothing.
    #[must_use]
    pub fn root(&self) -> Hash {
        let joined = self.full.iter().rev().copied().reduce(|right, left| node(&left, &right));
        joined.unwrap_or_else(|| Sha256::digest(b"").into())
    }
}

fn node(left: &Hash, right: &Hash) -> Hash {
    Sha256::new().chain_update([1]).chain_update(left).chain_update(right).finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 9162 §2.1.1, as it is written there.
    fn defined(leaves: &[&[u8]]) -> Hash {
        match leaves {
            [] => Sha256::digest(b"").into(),
            [leaf] => Sha256::new().chain_update([0]).chain_update(leaf).finalize().into(),
            _ => {
                let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
                node(&defined(left), &defined(right))
            }
        }
    }

    #[test]
    fn the_root_is_the_one_that_is_defined() {
        let leaves: Vec<Vec<u8>> = (0..70_u8).map(|n| vec![n; usize::from(n)]).collect();
        let leaves: Vec<&[u8]> = leaves.iter().map(Vec::as_slice).collect();
        let mut tree = Tree::default();
        assert_eq!(tree.root(), defined(&[]));
        for (nth, leaf) in leaves.iter().enumerate() {
            tree.push(leaf);
            assert_eq!(tree.root(), defined(&leaves[..=nth]), "{} leaves", nth + 1);
        }
        assert_eq!(tree.size(), 70);
    }
}
