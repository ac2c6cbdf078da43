//! Which keys are trusted, and for what. In: keys that somebody pinned, and checkpoints that name a
//! successor, in any order and from whomever. Out: the keys that follow from the pinned ones, each
//! with the place from which on it may sign.
//!
//! The last checkpoint that a key signs names the next key, and then the key is destroyed. So whoever
//! takes a host has a key that was made shortly before, and none of those that signed what is older.
//! That is worth something only if a late key cannot speak of early events: a key that was inherited
//! is good behind the checkpoint that named it, in that chain and in chains that began later.

use std::collections::{BTreeMap, BTreeSet};

use crate::integrity::{
    checkpoint::Checkpoint,
    merkle::Hash,
    note::{KeyId, Note, ORIGIN, VerifyingKey},
};

/// Bytes of notes that are held at most, 32 MiB: what some 150 hosts sign in a year. More are left
/// out, and counted.
const MAX_HELD: usize = 32 << 20;

/// Gathers what keys say of their successors.
#[derive(Debug, Default)]
pub struct Successions {
    pinned: Vec<VerifyingKey>,
    /// By the place of each, since a key's own place is always before those that it names.
    notes: BTreeSet<(Place, String)>,
    held: usize,
    left_out: u64,
}

/// The keys that are trusted.
#[derive(Debug, Default)]
pub struct Trusted {
    keys: BTreeMap<KeyId, Vec<(VerifyingKey, Option<Place>)>>,
    /// What successions say of chains: roots, by the number of events.
    roots: BTreeMap<String, BTreeMap<u64, Hash>>,
    inherited: u64,
    left_out: u64,
}

/// A place in a host's chains. Chains of a host are named by the time when they began.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Place {
    host: String,
    run: String,
    size: u64,
}

/// What a signature is worth, the best last.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Signature {
    /// No key that is trusted is named.
    UnknownKey,
    /// One that is trusted is named, and did not sign.
    Bad,
    /// One signed that is trusted, but was made later than what it speaks of.
    Early,
    /// One signed that is trusted.
    Good,
}

impl Successions {
    /// What follows from these keys, which are trusted whatever they sign.
    #[must_use]
    pub fn new(pinned: Vec<VerifyingKey>) -> Self {
        Self { pinned, ..Self::default() }
    }

    /// Takes a checkpoint, by its note; one that names no successor of its own host's key is passed
    /// over.
    pub fn take(&mut self, note: &str, said: &Checkpoint) {
        let Some(next) = &said.next else { return };
        let known = self.pinned.iter().any(|pinned| pinned.name() == next.name());
        if !known || origin(note) != next.name() {
            return;
        }
        let entry = (Place::of(said), note.to_owned());
        if self.notes.contains(&entry) {
            return;
        }
        if self.held.saturating_add(note.len()) > MAX_HELD {
            self.left_out += 1;
            return;
        }
        self.held += note.len();
        self.notes.insert(entry);
    }

    /// Takes all checkpoints of a file of them, one behind the other.
    pub fn take_all(&mut self, text: &str) {
        for note in notes(text) {
            if let Some(said) = Checkpoint::read(&note) {
                self.take(&note, &said);
            }
        }
    }

    /// The keys that follow. Each note is looked at once.
    #[must_use]
    pub fn conclude(&self) -> Trusted {
        let mut trusted = Trusted { left_out: self.left_out, ..Trusted::default() };
        self.pinned.iter().for_each(|key| trusted.add(key.clone(), None));
        for (place, note) in &self.notes {
            let Some(Checkpoint { size, root, chain, next: Some(next), .. }) =
                Checkpoint::read(note)
            else {
                continue;
            };
            if trusted.judge(note, place) != Signature::Good {
                continue;
            }
            trusted.roots.entry(chain).or_default().entry(size).or_insert(root);
            if !trusted.has(&next) {
                trusted.inherited += 1;
                trusted.add(next, Some(place.clone()));
            }
        }
        trusted
    }
}

impl Trusted {
    fn add(&mut self, key: VerifyingKey, since: Option<Place>) {
        self.keys.entry(key.id()).or_default().push((key, since));
    }

    /// Whether that key is one of them.
    #[must_use]
    pub fn has(&self, key: &VerifyingKey) -> bool {
        self.keys.get(&key.id()).is_some_and(|keys| keys.iter().any(|(it, _)| it == key))
    }

    /// The place behind which that key may sign; `None` if it is pinned, or not trusted.
    #[must_use]
    pub fn since(&self, key: &VerifyingKey) -> Option<&Place> {
        let keys = self.keys.get(&key.id())?;
        keys.iter().find(|(it, _)| it == key)?.1.as_ref()
    }

    /// What successions say of that chain: the roots of its first events, by their number.
    #[must_use]
    pub fn roots(&self, chain: &str) -> Option<&BTreeMap<u64, Hash>> {
        self.roots.get(chain)
    }

    /// What the signatures of a note are worth that speaks of what is before `place`. A key speaks
    /// for its own host.
    #[must_use]
    pub fn judge(&self, note: &str, place: &Place) -> Signature {
        let mut best = Signature::UnknownKey;
        let Some(note) = Note::split(note) else { return best };
        for (name, id, signature) in note.signatures() {
            if name != origin(note.text()) {
                continue;
            }
            let keys = self.keys.get(&id).into_iter().flatten();
            for (key, since) in keys.filter(|(key, _)| key.name() == name) {
                let early = since.as_ref().is_some_and(|since| !place.is_behind(since));
                best = best.max(match (key.verifies(note.text(), &signature), early) {
                    (false, _) => Signature::Bad,
                    (true, true) => Signature::Early,
                    (true, false) => return Signature::Good,
                });
            }
        }
        best
    }

    /// Keys that are trusted since others vouch for them.
    #[must_use]
    pub const fn inherited(&self) -> u64 {
        self.inherited
    }

    /// Notes for which there was no room.
    #[must_use]
    pub const fn left_out(&self) -> u64 {
        self.left_out
    }
}

impl Place {
    /// Where a checkpoint stands.
    #[must_use]
    pub fn of(said: &Checkpoint) -> Self {
        let (host, run) = said.chain.rsplit_once('/').unwrap_or(("", &said.chain));
        Self { host: host.to_owned(), run: run.to_owned(), size: said.size }
    }

    /// When its chain began, in milliseconds since 1970, as the chain's name says.
    #[must_use]
    pub fn began_millis(&self) -> Option<u64> {
        Some(ulid::Ulid::from_string(&self.run).ok()?.timestamp_ms())
    }

    fn is_behind(&self, other: &Self) -> bool {
        self.host == other.host && self > other
    }
}

/// The notes of a file of them. A damaged one costs itself alone, since each begins with the name of
/// a host, as no other line does.
fn notes(text: &str) -> Vec<String> {
    let mut notes: Vec<String> = Vec::new();
    for line in text.lines() {
        if line.starts_with(ORIGIN) {
            notes.push(String::new());
        }
        if let Some(note) = notes.last_mut() {
            note.push_str(line);
            note.push('\n');
        }
    }
    notes
}

fn origin(note: &str) -> &str {
    note.lines().next().unwrap_or_default()
}

#[cfg(test)]
mod tests;
