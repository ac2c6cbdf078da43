//! Reading credentials, each once. In: requests, and the issuers with their keys. Out:
//! [`Credential`]s, shared by all requests that carry the same: decoding, examining and
//! fingerprinting cost per token, not per request.
//!
//! A credential that was read is recognised by a tag of 128 bits, keyed anew for each reader: no
//! token bytes are kept, and who does not know the keys cannot make two tokens share a tag. What
//! was read under other keys than today's is read again.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    num::NonZeroUsize,
    sync::Arc,
};

use lru::LruCache;

use crate::{
    clock::Timestamp,
    http::message::Request,
    text::Cuts,
    token::{
        Credential,
        examination::{Fault, SignatureState},
        extract::{self, Presented},
        fingerprint::FingerprintKey,
        issuer::IssuerIndex,
        keys::Trust,
        sources::Sources,
    },
};

/// Credentials that are remembered, the ones seen last; a common one takes 4 KiB.
const MAX_KNOWN: NonZeroUsize = NonZeroUsize::new(1024).unwrap();
/// Bytes that the remembered tokens had in all. Their claims, kept twice at most, take some four
/// times as much, so 32 MiB at worst.
const MAX_KNOWN_BYTES: usize = 8 * 1024 * 1024;
/// Tokens whose key is not there that are told of between two askings: see [`Reader::missing`].
const MAX_MISSING: usize = 16;

/// Recognises what was presented.
type Tag = [u64; 2];

/// Reads credentials, and remembers what it read.
pub struct Reader {
    key: Arc<FingerprintKey>,
    tags: [RandomState; 2],
    known: LruCache<Tag, Known>,
    known_bytes: usize,
    missing: Vec<MissingKey>,
    /// What was done so far.
    pub counts: Counts,
}

/// What a [`Reader`] did.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counts {
    /// Credentials decoded.
    pub read: u64,
    /// Credentials recognised.
    pub recognised: u64,
    /// Credentials examined again, as keys had changed.
    pub renewed: u64,
    /// Credentials forgotten to make room.
    pub evicted: u64,
}

/// A key that a token names and its issuer's key sets do not hold.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MissingKey {
    /// Whose key it would be.
    pub issuer: IssuerIndex,
    /// What the token calls it: text that its bearer chose.
    pub key_id: Option<String>,
}

struct Known {
    credential: Arc<Credential>,
    cuts: Cuts,
    /// Of the issuers and keys that it was examined by.
    generation: u64,
    first_seen: Timestamp,
    bytes: usize,
}

impl Reader {
    /// A reader that knows nothing yet and fingerprints with `key`.
    #[must_use]
    pub fn new(key: Arc<FingerprintKey>) -> Self {
        Self {
            key,
            tags: [RandomState::new(), RandomState::new()],
            known: LruCache::new(MAX_KNOWN),
            known_bytes: 0,
            missing: Vec::new(),
            counts: Counts::default(),
        }
    }

    /// The key that fingerprints are made with.
    #[must_use]
    pub const fn key(&self) -> &Arc<FingerprintKey> {
        &self.key
    }

    /// The credentials of `request`, broken ones included, those in standard places first,
    /// examined by what `trust` holds now. What had to be cut is recorded in `cuts`.
    #[must_use]
    pub fn credentials(
        &mut self,
        request: &Request,
        sources: &Sources,
        trust: &Trust,
        cuts: &mut Cuts,
    ) -> Vec<Arc<Credential>> {
        let presented = extract::presented(request, sources, cuts);
        presented.iter().map(|each| self.credential(each, trust, request.started, cuts)).collect()
    }

    /// Takes the keys that were missing since it was last asked, at most [`MAX_MISSING`].
    pub fn missing(&mut self) -> Vec<MissingKey> {
        std::mem::take(&mut self.missing)
    }

    fn credential(
        &mut self,
        presented: &Presented<'_>,
        trust: &Trust,
        at: Timestamp,
        cuts: &mut Cuts,
    ) -> Arc<Credential> {
        let tag = self.tag(presented);
        let known = self.known.get(&tag);
        if let Some(known) = known.filter(|known| known.generation == trust.generation) {
            self.counts.recognised += 1;
            cuts.join(&known.cuts);
            return Arc::clone(&known.credential);
        }
        let first_seen = self.known.peek(&tag).map(|known| known.first_seen);
        match first_seen {
            Some(_) => self.counts.renewed += 1,
            None => self.counts.read += 1,
        }
        let first_seen = first_seen.unwrap_or(at);
        let mut own = Cuts::default();
        let credential = Credential::read(presented, &self.key, trust, first_seen, &mut own);
        let credential = Arc::new(credential);
        cuts.join(&own);
        self.note_missing(&credential);
        let bytes = presented.value.as_ref().map_or(0, |value| value.bytes().len());
        let known = Known {
            credential: Arc::clone(&credential),
            cuts: own,
            generation: trust.generation,
            first_seen,
            bytes,
        };
        self.remember(tag, known);
        credential
    }

    fn remember(&mut self, tag: Tag, known: Known) {
        self.known_bytes = self.known_bytes.saturating_add(known.bytes);
        if let Some((other, replaced)) = self.known.push(tag, known) {
            self.known_bytes = self.known_bytes.saturating_sub(replaced.bytes);
            self.counts.evicted += u64::from(other != tag);
        }
        while self.known_bytes > MAX_KNOWN_BYTES
            && let Some((_, oldest)) = self.known.pop_lru()
        {
            self.known_bytes = self.known_bytes.saturating_sub(oldest.bytes);
            self.counts.evicted += 1;
        }
    }

    fn note_missing(&mut self, credential: &Credential) {
        let examination = &credential.examination;
        let (Some(issuer), Some(header)) = (examination.issuer, credential.header()) else {
            return;
        };
        let unknown = examination.signature == SignatureState::KeyUnknown
            && !examination.faults.contains(&Fault::Malformed);
        let missing = MissingKey { issuer, key_id: header.key_id.clone() };
        if unknown && self.missing.len() < MAX_MISSING && !self.missing.contains(&missing) {
            self.missing.push(missing);
        }
    }

    fn tag(&self, presented: &Presented<'_>) -> Tag {
        let Presented { location, name, scheme, value, well_formed, kind } = presented;
        self.tags.each_ref().map(|keys| {
            let mut hasher = keys.build_hasher();
            let name = name.as_deref().unwrap_or_default().as_bytes();
            let length = u8::try_from(name.len()).unwrap_or(u8::MAX);
            let flags = u8::from(*well_formed) | u8::from(value.is_some()) << 1;
            hasher.write(&[*location as u8, *scheme as u8, *kind as u8, flags, length]);
            hasher.write(name);
            hasher.write(value.as_ref().map_or(&[], |value| value.bytes()));
            hasher.finish()
        })
    }
}

#[cfg(test)]
mod tests;
