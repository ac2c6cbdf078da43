//! Pseudonyms while the agent runs. In: a [`SubjectKey`], which may be replaced at any time, and
//! names. Out: their pseudonyms, each made once as long as it is remembered.
//!
//! Workers share the key, and whoever replaces it need not wait for them: the old one is wiped
//! there and then, with all that was remembered of it, and not when the last worker is busy again.
//! Names are recognised by a tag of 128 bits, keyed anew for each run, and not kept.

use std::{
    hash::{BuildHasher as _, RandomState},
    num::NonZeroUsize,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use lru::LruCache;

use crate::{names::named_enum, token::subject::SubjectKey};

/// Pseudonyms that are remembered, the ones used last: some 100 bytes each.
const MAX_KNOWN: NonZeroUsize = NonZeroUsize::new(8192).unwrap();

named_enum! {
    /// Why somebody has no pseudonym.
    pub enum Withheld {
        /// The subject key was made to forget them
        Forgotten = "forgotten",
        /// There is no subject key that could be used
        NoKey = "no_key",
    }
}

/// A key and what was made with it, shared by all clones.
#[derive(Clone)]
pub struct Pseudonyms(Arc<Mutex<State>>);

struct State {
    key: Option<SubjectKey>,
    tags: [RandomState; 2],
    /// `None` for a name that is forgotten.
    known: LruCache<[u64; 2], Option<String>>,
    evicted: u64,
}

impl Pseudonyms {
    /// Pseudonyms by `key`.
    #[must_use]
    pub fn new(key: SubjectKey) -> Self {
        Self(Arc::new(Mutex::new(State {
            key: Some(key),
            tags: [RandomState::new(), RandomState::new()],
            known: LruCache::new(MAX_KNOWN),
            evicted: 0,
        })))
    }

    /// Stands for `name`.
    ///
    /// # Errors
    /// Nothing may.
    pub fn of(&self, name: &str) -> Result<String, Withheld> {
        let mut state = self.state();
        let tag = state.tags.each_ref().map(|keys| keys.hash_one(name));
        if let Some(known) = state.known.get(&tag) {
            return known.clone().ok_or(Withheld::Forgotten);
        }
        let made = state.key.as_ref().ok_or(Withheld::NoKey)?.pseudonym(name);
        if state.known.push(tag, made.clone()).is_some() {
            state.evicted = state.evicted.saturating_add(1);
        }
        made.ok_or(Withheld::Forgotten)
    }

    /// Uses `key` from now on, or nothing; what was there is wiped before this returns.
    pub fn replace(&self, key: Option<SubjectKey>) {
        let mut state = self.state();
        state.known.clear();
        state.key = key;
    }

    /// Pseudonyms that had to be forgotten to make room.
    #[must_use]
    pub fn evicted(&self) -> u64 {
        self.state().evicted
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::testing::subject_key as key;

    #[test]
    fn are_those_of_the_key_at_any_time() {
        let (names, mut punctured) = (Pseudonyms::new(key(7)), key(7));
        let worker = names.clone();
        let alice = key(7).pseudonym("alice").unwrap();
        for _ in 0..2 {
            assert_eq!(worker.of("alice").as_ref(), Ok(&alice));
        }
        punctured.forget("alice");
        names.replace(Some(punctured));
        for _ in 0..2 {
            assert_eq!(worker.of("alice"), Err(Withheld::Forgotten));
            assert_eq!(worker.of("bob").ok(), key(7).pseudonym("bob"));
        }
        names.replace(None);
        assert_eq!([worker.of("alice"), worker.of("bob")], [const { Err(Withheld::NoKey) }; 2]);
        names.replace(Some(key(8)));
        assert_eq!(worker.of("alice").ok(), key(8).pseudonym("alice"));
    }

    #[test]
    fn a_bounded_number_is_remembered() {
        let names = Pseudonyms::new(key(7));
        let count = MAX_KNOWN.get() + 3;
        (0..count).for_each(|each| drop(names.of(&each.to_string())));
        assert_eq!((names.evicted(), names.state().known.len()), (3, MAX_KNOWN.get()));
        assert_eq!(names.of("0").ok(), key(7).pseudonym("0"));
    }
}
