//! Sender constraint: whether a call proves that its token is the sender's. In: an examined
//! credential and its [`Call`]. Out: a [`Binding`] (RFC 9449 for DPoP, RFC 8705 for certificates).
//!
//! State: proofs seen, against replay; nonces that servers gave. Both tables hold keyed hashes, are
//! bounded, and count what they forget. Binders of several workers share them: a service's calls
//! come by several connections, each of which falls to one worker. Signatures are checked without
//! the lock, which is held for a look-up.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    num::NonZeroUsize,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as BASE64URL};
use lru::LruCache;

use super::{
    Credential,
    certificate::{self, Forwarded},
    dpop::{self, Proof, Proved},
    examination::{Binding, ProofCheck},
    scheme::Scheme,
};
use crate::{
    clock::{NANOS_PER_SEC, Timestamp},
    flow::chunk::Transport,
    http::message::{Request, Response},
};

/// Proofs that are remembered: those of [`dpop::WINDOW`] at 100 calls a second, in some 4 MiB.
const MAX_PROOFS: NonZeroUsize = NonZeroUsize::new(65_536).unwrap();
/// Nonces that are remembered, and keys that were given one. Servers change nonces by the minute.
const MAX_NONCES: NonZeroUsize = NonZeroUsize::new(4096).unwrap();

/// A request, and what is known of how it came.
#[derive(Clone, Copy)]
pub struct Call<'a> {
    /// The request.
    pub request: &'a Request,
    /// Whether all of its fields were seen: else none is said to be absent.
    pub is_complete: bool,
    /// What carried it.
    pub transport: Transport,
    /// Where it was seen: the same call passes a client, a proxy and a server, and is no replay.
    /// Equal for all calls that one service gets, and for no others.
    pub place: u64,
    /// Where clients call the service, if the policy says so.
    pub public_base_url: Option<&'a str>,
    /// SHA-256 of the certificate that the client proved to hold in the connection's handshake.
    pub client_certificate: Option<&'a [u8; 32]>,
    /// Whether it is known that the client showed none in that handshake.
    pub is_uncertified: bool,
    /// Whether the policy trusts who made the connection to tell the client's certificate
    /// (RFC 9440 §3).
    pub trusts_forwarded: bool,
}

/// What a [`Binder`] did.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counts {
    /// Proofs checked.
    pub proofs: u64,
    /// Proofs that were there before.
    pub replayed: u64,
    /// Proofs forgotten while they could still have been replayed.
    pub proofs_evicted: u64,
    /// Nonces forgotten.
    pub nonces_evicted: u64,
}

type Tag = [u64; 2];

/// Tells whether tokens are their senders'. Clones share what they remember.
#[derive(Clone, Default)]
pub struct Binder {
    tags: Arc<[RandomState; 2]>,
    memory: Arc<Mutex<Memory>>,
}

struct Memory {
    /// When each proof was seen last.
    proofs: LruCache<Tag, Timestamp>,
    /// Nonces by the place that gave them.
    nonces: LruCache<Tag, ()>,
    /// Keys that were given a nonce, by place.
    challenged: LruCache<Tag, ()>,
    counts: Counts,
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            proofs: LruCache::new(MAX_PROOFS),
            nonces: LruCache::new(MAX_NONCES),
            challenged: LruCache::new(MAX_NONCES),
            counts: Counts::default(),
        }
    }
}

impl Binder {
    /// Whether `call` proves that `credential` is the sender's. To be asked once for each call, as
    /// it remembers the proof.
    pub fn binding(&self, credential: &Credential, call: &Call<'_>) -> Binding {
        let confirmation = &credential.examination.grant.confirmation;
        match (&confirmation.jkt, &confirmation.x5t_s256) {
            _ if confirmation.other => Binding::Unverifiable,
            // RFC 9449 §7.2: a bound token is to be refused as a bearer token.
            (Some(_), _) if credential.scheme != Scheme::Dpop => Binding::Missing,
            (bound, None) if credential.scheme == Scheme::Dpop => {
                self.proof(credential, bound.as_deref(), call)
            }
            (_, Some(thumbprint)) => certificate_binding(thumbprint, call),
            _ => Binding::None,
        }
    }

    /// Learns from the response to `call` which nonce the server wants next (RFC 9449 §8 and §9).
    pub fn answered(&self, call: &Call<'_>, response: &Response) {
        let Some(nonce) = response.fields.first("dpop-nonce") else { return };
        let nonce = self.tag(call.place, &[b"nonce", nonce]);
        let key = call.request.fields.first("dpop").and_then(dpop::key_of);
        let key = key.map(|key| self.tag(call.place, &[b"key", key.as_bytes()]));
        let Memory { nonces, challenged, counts, .. } = &mut *self.memory();
        counts.nonces_evicted += u64::from(forgets(nonces.push(nonce, ()), nonce));
        if let Some(key) = key {
            counts.nonces_evicted += u64::from(forgets(challenged.push(key, ()), key));
        }
    }

    /// `bound` is the key that the token names.
    fn proof(&self, credential: &Credential, bound: Option<&str>, call: &Call<'_>) -> Binding {
        let mut fields = call.request.fields.all("dpop");
        let sent = match (fields.next(), fields.next()) {
            (Some(only), None) => only,
            (Some(_), Some(_)) => return Binding::ProofInvalid(ProofCheck::OneField),
            (None, _) if call.is_complete => return Binding::Missing,
            (None, _) => return Binding::Unverifiable,
        };
        let Some(token) = &credential.digest else { return Binding::Unverifiable };
        let Call { request, transport, public_base_url, .. } = *call;
        let leeway = credential.examination.leeway;
        let proved = Proved { request, transport, public_base_url, token: &token.0, leeway };
        let checked = dpop::check(sent, &proved);
        self.memory().counts.proofs += 1;
        let proof = match checked {
            Ok(proof) => proof,
            Err(check) => return Binding::ProofInvalid(check),
        };
        let nonce = self.nonce(&proof, call.place);
        if nonce == Some(false) {
            return Binding::ProofInvalid(ProofCheck::Nonce);
        }
        // Who holds no key of the token cannot spoil its proofs: others are not remembered here.
        match bound {
            Some(bound) if bound != proof.jkt => return Binding::Mismatch,
            None if credential.claims().is_some() => return Binding::Mismatch,
            _ => {}
        }
        if self.is_replayed(&proof, call) {
            return Binding::ProofReplayed;
        }
        if proof.is_uncertain || nonce.is_none() || bound.is_none() {
            return Binding::Unverifiable;
        }
        Binding::Dpop
    }

    /// Whether the proof has the nonce that it should; `None` if it has one that nobody was seen to
    /// give, as before the agent began.
    fn nonce(&self, proof: &Proof, place: u64) -> Option<bool> {
        match &proof.nonce {
            Some(nonce) => {
                let given = self.tag(place, &[b"nonce", nonce.as_bytes()]);
                self.memory().nonces.get(&given).map(|()| true)
            }
            None => {
                let key = self.tag(place, &[b"key", proof.jkt.as_bytes()]);
                Some(self.memory().challenged.get(&key).is_none())
            }
        }
    }

    /// Whether the proof was there before (RFC 9449 §11.1), which it is remembered for.
    fn is_replayed(&self, proof: &Proof, call: &Call<'_>) -> bool {
        let tag = self.tag(call.place, &[b"proof", proof.jkt.as_bytes(), proof.jti.as_bytes()]);
        let at = call.request.started;
        // Longer ago, `iat` was refused.
        let memory = 4 * dpop::WINDOW * NANOS_PER_SEC;
        let Memory { proofs, counts, .. } = &mut *self.memory();
        match proofs.push(tag, at) {
            Some((known, before)) if known == tag => {
                let is_replayed = at.since(before) <= memory;
                counts.replayed += u64::from(is_replayed);
                is_replayed
            }
            Some((_, before)) => {
                counts.proofs_evicted += u64::from(at.since(before) <= memory);
                false
            }
            None => false,
        }
    }

    /// What was done so far, by all that share what they remember.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.memory().counts
    }

    /// Each step leaves it whole: one that panicked spoils nothing for the others.
    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tag(&self, place: u64, parts: &[&[u8]]) -> Tag {
        self.tags.each_ref().map(|keys| {
            let mut hasher = keys.build_hasher();
            hasher.write_u64(place);
            for part in parts {
                hasher.write_usize(part.len());
                hasher.write(part);
            }
            hasher.finish()
        })
    }
}

/// Whether a push made another entry than `tag` go.
fn forgets(pushed: Option<(Tag, ())>, tag: Tag) -> bool {
    pushed.is_some_and(|(other, ())| other != tag)
}

/// Whether the client's certificate is the one that the token names (RFC 8705 §3.1).
fn certificate_binding(thumbprint: &str, call: &Call<'_>) -> Binding {
    let forwarded = match call.trusts_forwarded {
        true => certificate::forwarded(&call.request.fields),
        false => Forwarded::None,
    };
    let shown = match (forwarded, call.client_certificate) {
        (Forwarded::One(thumbprint), _) => thumbprint,
        (Forwarded::Several, _) => return Binding::Unverifiable,
        (Forwarded::None, Some(thumbprint)) => *thumbprint,
        // A proxy that tells of no certificate may not have been asked to.
        (Forwarded::None, None) if call.is_uncertified && !call.trusts_forwarded => {
            return Binding::Missing;
        }
        (Forwarded::None, None) => return Binding::Unverifiable,
    };
    if BASE64URL.encode(shown) == thumbprint { Binding::Mtls } else { Binding::Mismatch }
}

#[cfg(test)]
mod tests;
