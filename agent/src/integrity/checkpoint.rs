//! Signed statements of how far a chain has come, as C2SP checkpoints (`tlog-checkpoint`) in signed
//! notes: tools that read those verify ours. In: a chain and a key. Out: a note; and of a note, what
//! it says. Who may say so is for `succession.rs` to tell.

use std::fmt::Write as _;

use base64::{Engine as _, prelude::BASE64_STANDARD as BASE64};

use crate::integrity::{
    chain::Chain,
    merkle::Hash,
    note::{Note, Signer, VerifyingKey},
};

/// What the line begins with that names the key's successor.
const NEXT: &str = "next";

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
    /// The key that signs what comes behind it, if it is another.
    pub next: Option<VerifyingKey>,
}

impl Checkpoint {
    /// Reads a note, whoever signed it; `None` if it is no checkpoint of a chain.
    #[must_use]
    pub fn read(note: &str) -> Option<Self> {
        let mut lines = Note::split(note)?.text().lines();
        let _origin = lines.next()?;
        let size = lines.next()?.parse().ok()?;
        let root = BASE64.decode(lines.next()?).ok()?.try_into().ok()?;
        let chain = lines.next()?.strip_prefix("chain ")?.to_owned();
        let head = BASE64.decode(lines.next()?.strip_prefix("head ")?).ok()?.try_into().ok()?;
        let next = lines.filter_map(|line| line.split_once(' ')).find(|(key, _)| *key == NEXT);
        let next = next.and_then(|(_, key)| VerifyingKey::parse(key));
        Some(Self { size, root, chain, head, next })
    }
}

/// A checkpoint of `chain` as it is now, the last one that `signer` signs if it names the key that
/// is `next`. `remarks` are lines of `key value` that are signed too.
#[must_use]
pub fn sign(
    signer: &Signer,
    chain: &Chain,
    next: Option<&VerifyingKey>,
    remarks: &[(&str, &str)],
) -> String {
    let tree = chain.tree();
    let mut text = format!(
        "{}\n{}\n{}\nchain {}\nhead {}\n",
        signer.name(),
        tree.size(),
        BASE64.encode(tree.root()),
        chain.name(),
        BASE64.encode(chain.head())
    );
    let next = next.map(VerifyingKey::to_line);
    let next = next.as_deref().map(|line| (NEXT, line));
    for (key, value) in next.iter().chain(remarks) {
        // Writing to a String cannot fail.
        let _infallible = writeln!(text, "{key} {value}");
    }
    signer.sign(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_is_read_as_it_was_written() {
        let signer = Signer::new("h7", &[5; 32]).unwrap();
        let mut chain = Chain::new("h7/x".to_owned());
        chain.link("{\"a\":1}", &mut Vec::new()).unwrap();
        let note = sign(&signer, &chain, None, &[("dropped", "0")]);
        let root = chain.tree().root();
        let expected =
            Checkpoint { size: 1, root, chain: "h7/x".to_owned(), head: *chain.head(), next: None };
        assert_eq!(Checkpoint::read(&note), Some(expected));
        for not_one in ["", "\n\n", "a\nb\nc\n\n", &note.replace("chain", "c")] {
            assert_eq!(Checkpoint::read(not_one), None, "{not_one:?}");
        }
    }

    #[test]
    fn a_checkpoint_names_the_key_that_is_next() {
        let signer = Signer::new("h7", &[5; 32]).unwrap();
        let next = signer.successor(&[6; 32]).unwrap().verifying_key();
        let chain = Chain::new("h7/x".to_owned());
        let note = sign(&signer, &chain, Some(&next), &[("time", "now")]);
        assert_eq!(Checkpoint::read(&note).unwrap().next, Some(next));
    }
}
