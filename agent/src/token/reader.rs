//! Reading credentials, each once. In: header fields. Out: [`Credential`]s, shared by all requests
//! that carry the same: decoding and fingerprinting cost per token, not per request.
//!
//! A credential that was read is recognised by a tag of 128 bits, keyed anew for each reader: no
//! token bytes are kept, and who does not know the keys cannot make two tokens share a tag.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    num::NonZeroUsize,
    sync::Arc,
};

use lru::LruCache;

use crate::{
    http::message::Fields,
    text::Cuts,
    token::{
        Credential,
        extract::{self, Presented},
        fingerprint::FingerprintKey,
    },
};

/// Credentials that are remembered, the ones seen last. With every list and text at its limit one
/// takes some 40 KiB, so 40 MiB at worst; a common one takes 2 KiB.
const MAX_KNOWN: NonZeroUsize = NonZeroUsize::new(1024).unwrap();

/// Recognises what was presented.
type Tag = [u64; 2];

/// Reads credentials, and remembers what it read.
pub struct Reader {
    key: Arc<FingerprintKey>,
    tags: [RandomState; 2],
    known: LruCache<Tag, Known>,
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
    /// Credentials forgotten to make room.
    pub evicted: u64,
}

struct Known {
    credential: Arc<Credential>,
    cuts: Cuts,
}

impl Reader {
    /// A reader that knows nothing yet and fingerprints with `key`.
    #[must_use]
    pub fn new(key: Arc<FingerprintKey>) -> Self {
        Self {
            key,
            tags: [RandomState::new(), RandomState::new()],
            known: LruCache::new(MAX_KNOWN),
            counts: Counts::default(),
        }
    }

    /// The key that fingerprints are made with.
    #[must_use]
    pub const fn key(&self) -> &Arc<FingerprintKey> {
        &self.key
    }

    /// The credentials of a request, in wire order; each `Authorization` field is one, broken ones
    /// included. What had to be cut is recorded in `cuts`.
    #[must_use]
    pub fn credentials(&mut self, fields: &Fields, cuts: &mut Cuts) -> Vec<Arc<Credential>> {
        extract::presented(fields).map(|presented| self.credential(&presented, cuts)).collect()
    }

    fn credential(&mut self, presented: &Presented<'_>, cuts: &mut Cuts) -> Arc<Credential> {
        let tag = self.tag(presented);
        if let Some(known) = self.known.get(&tag) {
            self.counts.recognised += 1;
            cuts.join(&known.cuts);
            return Arc::clone(&known.credential);
        }
        let mut own = Cuts::default();
        let credential = Arc::new(Credential::read(presented, &self.key, &mut own));
        cuts.join(&own);
        let known = Known { credential: Arc::clone(&credential), cuts: own };
        self.counts.read += 1;
        self.counts.evicted += u64::from(self.known.push(tag, known).is_some());
        credential
    }

    fn tag(&self, presented: &Presented<'_>) -> Tag {
        let Presented { location, scheme, value, well_formed } = presented;
        self.tags.each_ref().map(|keys| {
            let mut hasher = keys.build_hasher();
            hasher.write(&[*location as u8, *scheme as u8, u8::from(*well_formed)]);
            hasher.write(value.unwrap_or_default());
            hasher.finish()
        })
    }
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::*;
    use crate::token::Format;

    fn reader() -> Reader {
        Reader::new(Arc::new(FingerprintKey::new(Zeroizing::new([1; 32]))))
    }

    fn fields(authorization: &str) -> Fields {
        let mut fields = Fields::default();
        fields.push(b"authorization", authorization.as_bytes());
        fields
    }

    #[test]
    fn the_same_credential_is_read_once_and_with_it_what_was_cut() {
        let mut reader = reader();
        // {"alg":"none"} and a client_id of 600 letters.
        let claims = format!(r#"{{"client_id":"{}"}}"#, "c".repeat(600));
        let claims = base64::Engine::encode(&base64::prelude::BASE64_URL_SAFE_NO_PAD, claims);
        let field = fields(&format!("Bearer eyJhbGciOiJub25lIn0.{claims}."));
        let [first, second] = [(); 2].map(|()| {
            let mut cuts = Cuts::default();
            let read = reader.credentials(&field, &mut cuts);
            assert_eq!(cuts.iter().collect::<Vec<_>>(), ["client_id"]);
            read
        });
        assert_eq!(first, second);
        assert_eq!(first[0].format(), Format::Jws);
        assert_eq!(reader.counts, Counts { read: 1, recognised: 1, evicted: 0 });
    }

    #[test]
    fn a_tag_tells_all_that_a_reading_depends_on_apart() {
        let mut reader = reader();
        for field in ["Bearer abc", "DPoP abc", "Bearer\tabc", "Bearer abd", "Bearer", "abc"] {
            let read = reader.credentials(&fields(field), &mut Cuts::default());
            let fresh = self::reader().credentials(&fields(field), &mut Cuts::default());
            assert_eq!(read, fresh, "{field}");
        }
        assert_eq!(reader.counts, Counts { read: 6, recognised: 0, evicted: 0 });
    }

    #[test]
    fn the_credential_seen_least_lately_is_forgotten() {
        let mut reader = reader();
        for number in 0..=MAX_KNOWN.get() {
            let _ = reader.credentials(&fields(&format!("Bearer {number}")), &mut Cuts::default());
            let _ = reader.credentials(&fields("Bearer kept"), &mut Cuts::default());
        }
        assert_eq!((reader.known.len(), reader.counts.evicted), (MAX_KNOWN.get(), 2));
        let _ = reader.credentials(&fields("Bearer 0"), &mut Cuts::default());
        assert_eq!(reader.counts.recognised, MAX_KNOWN.get() as u64);
    }
}
