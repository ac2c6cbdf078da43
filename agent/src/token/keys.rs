//! The keys of issuers. In: JWK sets (RFC 7517 §5) and PEM files, as text. Out: [`Trust`]: issuers
//! with their keys, an immutable snapshot that verification reads. Loading is not in here.
//!
//! Bounds: [`MAX_SET`] bytes a set, [`MAX_KEYS`] keys of it, and a set for each origin.

use std::sync::Arc;

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Map, Value};
use thiserror::Error;

use super::{
    issuer::{Algorithm, Issuer, IssuerIndex},
    jwk::{JwkError, Key},
};
use crate::clock::Timestamp;

/// Longest key set, in bytes. Key sets with certificates in them have some 10 KiB.
pub const MAX_SET: usize = 256 * 1024;
/// Most keys of a set. Issuers that rotate daily publish a dozen.
pub const MAX_KEYS: usize = 64;

/// Keys of one origin.
#[derive(Default)]
pub struct KeySet {
    keys: Vec<Key>,
    /// Keys that do not verify signatures of tokens, and why.
    pub ignored: Vec<JwkError>,
    /// Keys beyond [`MAX_KEYS`].
    pub excess: usize,
}

/// Why text is no key set.
#[derive(Debug, Error)]
pub enum KeySetError {
    /// See [`MAX_SET`].
    #[error("it is longer than {MAX_SET} bytes")]
    Long,
    /// RFC 7517 §5.
    #[error("it is no JWK set: no JSON object")]
    Json(#[source] serde_json::Error),
    /// RFC 7517 §5.1.
    #[error("it is no JWK set: it has no array `keys`")]
    NoKeys,
    /// RFC 7468.
    #[error("its PEM is damaged")]
    Pem,
    /// A set of which nothing can be used.
    #[error("none of its keys can be used: {0}")]
    Unusable(#[source] JwkError),
    /// A PEM file with something else in it.
    #[error("it holds a {0}, and a PUBLIC KEY is wanted")]
    OtherPem(&'static str),
}

impl KeySet {
    /// Reads a JWK set, a single JWK, or PEM public keys (RFC 7468 §13).
    ///
    /// # Errors
    /// It is none of them, or nothing of it verifies signatures. A set without any keys is in
    /// order: its issuer has revoked them all.
    pub fn read(text: &str) -> Result<Self, KeySetError> {
        if text.len() > MAX_SET {
            return Err(KeySetError::Long);
        }
        let found: Vec<Result<Key, JwkError>> = if text.contains("-----BEGIN ") {
            pem(text)?
        } else {
            let json: Map<String, Value> = serde_json::from_str(text).map_err(KeySetError::Json)?;
            match json.get("keys").and_then(Value::as_array) {
                Some(keys) => keys.iter().map(jwk).collect(),
                None if json.contains_key("kty") => vec![Key::from_jwk(&json)],
                None => return Err(KeySetError::NoKeys),
            }
        };
        let mut set = Self { excess: found.len().saturating_sub(MAX_KEYS), ..Self::default() };
        for each in found.into_iter().take(MAX_KEYS) {
            match each {
                Ok(key) => set.keys.push(key),
                Err(reason) => set.ignored.push(reason),
            }
        }
        match set.ignored.first() {
            Some(reason) if set.keys.is_empty() => Err(KeySetError::Unusable(*reason)),
            _ => Ok(set),
        }
    }

    /// The keys that verify.
    #[must_use]
    pub fn keys(&self) -> &[Key] {
        &self.keys
    }

    /// Whether a key has this `kid`.
    #[must_use]
    pub fn names(&self, kid: &str) -> bool {
        self.keys.iter().any(|key| key.id.as_deref() == Some(kid))
    }

    /// Without secrets: of what others publish, none is a key.
    #[must_use]
    pub fn public(mut self) -> Self {
        self.keys.retain(|key| !key.is_secret());
        self
    }
}

fn jwk(value: &Value) -> Result<Key, JwkError> {
    value.as_object().ok_or(JwkError::Invalid).and_then(Key::from_jwk)
}

/// Every `PUBLIC KEY` block.
fn pem(text: &str) -> Result<Vec<Result<Key, JwkError>>, KeySetError> {
    let mut keys = Vec::new();
    for block in text.split("-----BEGIN ").skip(1) {
        let (label, rest) = block.split_once("-----").ok_or(KeySetError::Pem)?;
        match label {
            "PUBLIC KEY" => {}
            "CERTIFICATE" => return Err(KeySetError::OtherPem("certificate")),
            _ if label.ends_with("PRIVATE KEY") => {
                return Err(KeySetError::OtherPem("private key"));
            }
            _ => return Err(KeySetError::OtherPem("block of another kind")),
        }
        let (body, _) = rest.split_once("-----END PUBLIC KEY-----").ok_or(KeySetError::Pem)?;
        let body: String = body.split_ascii_whitespace().collect();
        let der = BASE64_STANDARD.decode(body).map_err(|_| KeySetError::Pem)?;
        keys.push(Key::from_spki(&der));
    }
    Ok(keys)
}

/// A key set, and when it was its issuer's.
#[derive(Clone)]
pub struct Held {
    /// The keys.
    pub set: Arc<KeySet>,
    /// When it was obtained; `None` for one that the operator vouches for as long as it stands
    /// there.
    pub as_of: Option<Timestamp>,
    /// Whether it was seen in traffic, not configured.
    pub is_observed: bool,
}

impl Held {
    /// A set that the operator vouches for.
    #[must_use]
    pub fn configured(set: KeySet) -> Self {
        Self { set: Arc::new(set), as_of: None, is_observed: false }
    }

    /// A set that was fetched from where the operator said.
    #[must_use]
    pub fn fetched(set: KeySet, at: Timestamp) -> Self {
        Self { set: Arc::new(set.public()), as_of: Some(at), is_observed: false }
    }

    /// A set that a process was answered.
    #[must_use]
    pub fn observed(set: KeySet, at: Timestamp) -> Self {
        Self { set: Arc::new(set.public()), as_of: Some(at), is_observed: true }
    }
}

/// Issuers with their keys, at one moment.
#[derive(Clone, Default)]
pub struct Trust {
    issuers: Vec<Trusted>,
    /// Differs from that of every other snapshot whose verdicts may differ.
    pub generation: u64,
}

/// An issuer with its keys.
#[derive(Clone)]
pub struct Trusted {
    /// Who it is.
    pub issuer: Arc<Issuer>,
    /// Its keys, one set for each origin that gave any.
    pub keys: Vec<Held>,
}

impl Trust {
    /// The issuers, in the order of the policy.
    #[must_use]
    pub const fn new(issuers: Vec<Trusted>, generation: u64) -> Self {
        Self { issuers, generation }
    }

    /// Whether there is nobody to trust.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.issuers.is_empty()
    }

    /// The first issuer that `iss` names.
    #[must_use]
    pub fn find(&self, iss: &str) -> Option<(IssuerIndex, &Trusted)> {
        let at = self.issuers.iter().position(|each| each.issuer.is_named(iss))?;
        Some((IssuerIndex(u16::try_from(at).ok()?), self.issuers.get(at)?))
    }
}

/// What became of the search for the key that made a signature.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::token) enum Found {
    /// A key made it.
    Made {
        /// See [`Held::is_observed`].
        is_observed: bool,
    },
    /// None did, and the one that should have was there.
    Forged,
    /// None did, but another may have.
    Unknown,
    /// There is no key at all.
    NoKeys,
}

impl Trusted {
    /// Which key made `signature`. `kid` is what the token names; `issued_by` a moment by which
    /// the token existed. A signature is forged only if the key that it names was in a set that
    /// was the issuer's then or later, or if ids play no role in a set that the operator vouches
    /// for.
    pub(in crate::token) fn find_key(
        &self,
        kid: Option<&str>,
        algorithm: Algorithm,
        message: &[u8],
        signature: &[u8],
        issued_by: Timestamp,
    ) -> Found {
        if self.keys.is_empty() {
            return Found::NoKeys;
        }
        let mut forged = false;
        // Configured keys prove more than observed ones.
        let (configured, observed): (Vec<_>, Vec<_>) =
            self.keys.iter().partition(|held| !held.is_observed);
        for held in configured.into_iter().chain(observed) {
            let keys = held.set.keys();
            // A key without an id may be the one that any token names.
            let may_be = |key: &&Key| match (kid, &key.id) {
                (Some(kid), Some(id)) => kid == id,
                _ => true,
            };
            if keys.iter().filter(may_be).any(|key| key.made(signature, message, algorithm)) {
                return Found::Made { is_observed: held.is_observed };
            }
            let was_there = match kid {
                Some(kid) if held.set.names(kid) => true,
                _ => held.as_of.is_none() && keys.iter().all(|key| key.id.is_none()),
            };
            let is_current = held.as_of.is_none_or(|as_of| as_of >= issued_by);
            forged |= was_there && is_current && !keys.is_empty();
        }
        if forged { Found::Forged } else { Found::Unknown }
    }
}

#[cfg(test)]
mod tests;
