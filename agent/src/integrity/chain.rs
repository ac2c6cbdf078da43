//! Links events. In: an event as JSON. Out: the same with an `integrity` member behind all others:
//! the chain's name, the event's position, the hash before, and its own.

use std::{io::Write as _, mem};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD as BASE64URL};
use sha2::{Digest as _, Sha256};

use crate::integrity::{
    canonical::{self, NotCanonical},
    merkle::{Hash, Tree},
};

/// Name of the member.
pub const MEMBER: &str = "integrity";

const EVENT_DOMAIN: &[u8] = b"scopewatch/ev/v1";
const START_DOMAIN: &[u8] = b"scopewatch/chain/v1";

/// A chain that grows.
#[derive(Clone, Debug)]
pub struct Chain {
    name: String,
    head: Hash,
    /// The head as the next event has it, and room for that event's own hash.
    written: (String, String),
    tree: Tree,
    canonical: Vec<u8>,
}

impl Chain {
    /// The chain of that name, which has no event yet. Names are of letters, digits, `.`, `-`, `_`
    /// and `/` ([`name_of`]).
    #[must_use]
    pub fn new(name: String) -> Self {
        let head = start(&name);
        let written = (BASE64URL.encode(head), String::new());
        Self { name, head, written, tree: Tree::default(), canonical: Vec::new() }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Hash of the last event.
    #[must_use]
    pub const fn head(&self) -> &Hash {
        &self.head
    }

    /// The hashes of all events so far, as leaves.
    #[must_use]
    pub const fn tree(&self) -> &Tree {
        &self.tree
    }

    /// Appends `event`, which is an object without `integrity`, to the chain, and its linked form
    /// to `out`.
    ///
    /// # Errors
    /// It has no canonical form; nothing is appended to the chain.
    pub fn link(&mut self, event: &str, out: &mut Vec<u8>) -> Result<(), NotCanonical> {
        if canonical::is_canonical_without(event, MEMBER) {
            return self.link_canonical(event, out);
        }
        self.canonical.clear();
        canonical::append(event, MEMBER, &mut self.canonical)?;
        let hash = hash(&self.head, &self.canonical);
        self.append(event, hash, out)
    }

    /// The same for an event that is known to be in canonical form, and is hashed where it stands:
    /// the agent makes them so (`event/json.rs`).
    ///
    /// # Errors
    /// It is no object; nothing is appended to the chain.
    pub fn link_canonical(&mut self, event: &str, out: &mut Vec<u8>) -> Result<(), NotCanonical> {
        debug_assert!(canonical::is_canonical_without(event, MEMBER), "{event}");
        let hash = hash(&self.head, event.as_bytes());
        self.append(event, hash, out)
    }

    fn append(&mut self, event: &str, hash: Hash, out: &mut Vec<u8>) -> Result<(), NotCanonical> {
        let body = event.trim_end().strip_suffix('}').ok_or(NotCanonical::Syntax)?;
        let (prev, own) = &mut self.written;
        own.clear();
        BASE64URL.encode_string(hash, own);
        let (chain, seq) = (&self.name, self.tree.size());
        out.extend_from_slice(body.as_bytes());
        // Writing to a vector cannot fail.
        let _infallible = write!(
            out,
            r#","{MEMBER}":{{"chain":"{chain}","seq":{seq},"prev":"{prev}","hash":"{own}"}}}}"#
        );
        mem::swap(prev, own);
        self.head = hash;
        self.tree.push(&hash);
        Ok(())
    }
}

/// The name of a chain: of a host, and of one start of the agent on it.
#[must_use]
pub fn name_of(host: &str, run: &[u8; 16]) -> String {
    format!("{}/{}", plain(host), ulid::Ulid::from_bytes(*run))
}

/// `text` in characters that stand for themselves in every format.
#[must_use]
pub fn plain(text: &str) -> String {
    let is_plain = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let plain: String = text.chars().map(|c| if is_plain(&c) { c } else { '-' }).take(64).collect();
    if plain.is_empty() { "-".to_owned() } else { plain }
}

/// What stands in the place of a hash before the first event.
#[must_use]
pub fn start(name: &str) -> Hash {
    Sha256::new().chain_update(START_DOMAIN).chain_update(name).finalize().into()
}

/// The hash of an event in canonical form that follows `prev`.
#[must_use]
pub fn hash(prev: &Hash, canonical: &[u8]) -> Hash {
    let digest = Sha256::new().chain_update(EVENT_DOMAIN).chain_update(prev);
    digest.chain_update(canonical).finalize().into()
}

/// A hash as events have it.
#[must_use]
pub fn read_hash(text: &str) -> Option<Hash> {
    BASE64URL.decode(text).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_linked_as_documented() {
        let mut chain = Chain::new(name_of("h 7", &[0; 16]));
        let mut out = Vec::new();
        chain.link(r#"{"b":1,"a":"x"}"#, &mut out).unwrap();
        // python3: p = sha256(b"scopewatch/chain/v1" + b"h-7/" + b"0"*26).digest()
        // h = sha256(b"scopewatch/ev/v1" + p + b'{"a":"x","b":1}').digest(), both b64url
        assert_eq!(
            String::from_utf8(out).unwrap(),
            concat!(
                r#"{"b":1,"a":"x","integrity":{"chain":"h-7/00000000000000000000000000","seq":0,"#,
                r#""prev":"u8z3BRAEq56gKyJFqJ2PbwxvyJ2-WMN_rlhlJ7zJYt0","hash":"RhCQkf_mu_IuMmN0AQJlqH5HUx4j6x2IiP1ze7_a8UQ"}}"#
            )
        );
        assert_eq!(chain.tree().size(), 1);
    }

    #[test]
    fn what_has_no_canonical_form_does_not_move_the_chain() {
        let mut chain = Chain::new("c".to_owned());
        assert_eq!(chain.link(r#"{"a":1e2}"#, &mut Vec::new()), Err(NotCanonical::Number));
        assert_eq!((chain.tree().size(), *chain.head()), (0, start("c")));
    }
}
