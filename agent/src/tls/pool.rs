//! The secrets that were seen, until a flow asks for them.
//!
//! In: hits of every process of the host, decoys among them, in order of time. Out: the hits that
//! share an index with a flow, or the fresh ones that have none. The pool is bounded in number and
//! age, and what leaves it is wiped. Time is passed in.

use std::collections::{HashMap, VecDeque};

use super::secret::{Index, Need, Origin, SecretHit};
use crate::clock::{NANOS_PER_SEC, Timestamp};

/// Hits held: ten seconds of 3,000 handshakes per second, two hits each. Some 300 bytes apiece.
pub const MAX_HITS: usize = 1 << 16;

/// Age at which a hit is dropped, in nanoseconds. Secret and ciphertext come from one ring; only
/// early data and slow clients let a secret wait, and no longer than a handshake's timeout.
pub const MAX_AGE: u64 = 30 * NANOS_PER_SEC;

/// Hits under one index: both ends, a few labels each. Whoever knows an index is an end of the
/// connection, so crowding one out blinds nobody else.
pub const MAX_PER_INDEX: usize = 16;

/// Hits without an index that are tried on a flow: each costs an AEAD open per waiting flow.
pub const MAX_TRIAL: usize = 256;

/// What became of hits, for metrics.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct PoolCounters {
    /// Hits kept.
    pub kept: u64,
    /// Hits dropped for lack of room, in the pool, under their index, or in the trial list.
    pub evicted: u64,
    /// Hits dropped because nobody asked for them in time.
    pub aged: u64,
    /// Hits that showed nothing new.
    pub duplicate: u64,
}

/// Number of a hit: ascending in the order of arrival, from 1.
pub type HitId = u64;

/// The hits of a host.
pub struct SecretPool {
    /// Hits in order of arrival; the first has the number `first`.
    hits: VecDeque<SecretHit>,
    first: HitId,
    by_index: HashMap<Index, VecDeque<HitId>>,
    trial: VecDeque<HitId>,
    counters: PoolCounters,
}

impl SecretPool {
    /// An empty pool.
    #[must_use]
    pub fn new() -> Self {
        Self {
            hits: VecDeque::new(),
            first: 1,
            by_index: HashMap::new(),
            trial: VecDeque::new(),
            counters: PoolCounters::default(),
        }
    }

    /// Keeps a hit, unless its process has shown the same before; drops what is too old by
    /// `hit.at`, and the oldest if there is no room.
    pub fn insert(&mut self, hit: SecretHit) {
        self.expire(hit.at);
        if self.knows(&hit) {
            self.counters.duplicate = self.counters.duplicate.saturating_add(1);
            return;
        }
        if self.hits.len() >= MAX_HITS {
            self.drop_oldest();
            self.counters.evicted = self.counters.evicted.saturating_add(1);
        }
        let id = self.latest().saturating_add(1);
        let mut indexed = false;
        for index in hit.shown.indexes() {
            indexed = true;
            let ids = self.by_index.entry(index).or_default();
            ids.push_back(id);
            if ids.len() > MAX_PER_INDEX {
                ids.pop_front();
                self.counters.evicted = self.counters.evicted.saturating_add(1);
            }
        }
        if !indexed {
            self.trial.push_back(id);
            if self.trial.len() > MAX_TRIAL {
                self.trial.pop_front();
                self.counters.evicted = self.counters.evicted.saturating_add(1);
            }
        }
        self.hits.push_back(hit);
        self.counters.kept = self.counters.kept.saturating_add(1);
    }

    /// Drops the hits that are older than [`MAX_AGE`] at `now`.
    pub fn expire(&mut self, now: Timestamp) {
        while self.hits.front().is_some_and(|hit| now.since(hit.at) > MAX_AGE) {
            self.drop_oldest();
            self.counters.aged = self.counters.aged.saturating_add(1);
        }
    }

    /// Hits newer than number `after` that may be what `need` asks for: first those under its
    /// indexes, in its order, then the trial list if the need allows it.
    pub fn candidates(
        &self,
        need: &Need,
        after: HitId,
    ) -> impl Iterator<Item = (HitId, &SecretHit)> {
        let indexed = need.indexes.iter().filter_map(|index| self.by_index.get(index)).flatten();
        let trial = self.trial.iter().filter(|_| need.trial);
        indexed
            .chain(trial)
            .filter(move |id| **id > after)
            .filter_map(|id| Some((*id, self.hit(*id)?)))
            .filter(|(_, hit)| hit.shown.stage() == need.stage)
    }

    /// Everyone who derived a secret under this index: the ends of the connection that are on
    /// this host, or pretend to be.
    pub fn origins(&self, index: &Index) -> impl Iterator<Item = Origin> {
        let ids = self.by_index.get(index).into_iter().flatten();
        ids.filter_map(|id| self.hit(*id)).map(|hit| hit.origin)
    }

    /// Number of the newest hit, to ask only for newer ones next time.
    #[must_use]
    pub fn latest(&self) -> HitId {
        self.first.saturating_add(self.hits.len() as u64).saturating_sub(1)
    }

    /// Hits held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.hits.len()
    }

    /// Whether none is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.hits.is_empty()
    }

    /// What became of all hits so far.
    #[must_use]
    pub const fn counters(&self) -> PoolCounters {
        self.counters
    }

    fn hit(&self, id: HitId) -> Option<&SecretHit> {
        self.hits.get(usize::try_from(id.checked_sub(self.first)?).ok()?)
    }

    fn knows(&self, hit: &SecretHit) -> bool {
        let index = hit.shown.indexes().next();
        let ids = match &index {
            Some(index) => self.by_index.get(index),
            None => Some(&self.trial),
        };
        ids.into_iter().flatten().filter_map(|id| self.hit(*id)).any(|known| {
            known.origin.pid == hit.origin.pid && known.shown.same_knowledge(&hit.shown)
        })
    }

    fn drop_oldest(&mut self) {
        let Some(hit) = self.hits.pop_front() else { return };
        let id = self.first;
        self.first = self.first.saturating_add(1);
        for index in hit.shown.indexes() {
            let Some(ids) = self.by_index.get_mut(&index) else { continue };
            ids.retain(|other| *other != id);
            if ids.is_empty() {
                self.by_index.remove(&index);
            }
        }
        if self.trial.front() == Some(&id) {
            self.trial.pop_front();
        }
    }
}

impl Default for SecretPool {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::{MAX_AGE, MAX_HITS, MAX_TRIAL, SecretPool};
    use crate::{
        clock::Timestamp,
        tls::secret::{Index, Label, Need, Origin, Random, Secret, SecretHit, Shown, Stage},
    };

    fn hit(at: u64, pid: u32, random: Option<Random>, byte: u8) -> SecretHit {
        let secret = Secret::new(&[byte; 32]).unwrap();
        let label = Label::ServerHandshake;
        let shown = Shown::Traffic { label, secret, client_random: random };
        SecretHit {
            at: Timestamp(at),
            origin: Origin { pid, tid: pid, cgroup: 0, netns: 0 },
            shown,
        }
    }

    fn need(random: Random) -> Need {
        Need { stage: Stage::Handshake, indexes: vec![Index::ClientRandom(random)], trial: true }
    }

    #[test]
    fn a_flow_finds_its_own_hits_and_the_unindexed_ones() {
        let mut pool = SecretPool::new();
        pool.insert(hit(1, 1, Some([1; 32]), 1));
        pool.insert(hit(2, 1, Some([2; 32]), 2));
        pool.insert(hit(3, 1, None, 3));
        let found =
            |after| pool.candidates(&need([2; 32]), after).map(|(id, _)| id).collect::<Vec<_>>();
        assert_eq!(found(0), [2, 3]);
        assert_eq!(found(2), [3]);
        assert!(found(pool.latest()).is_empty());
        let other = Need { stage: Stage::Master, ..need([2; 32]) };
        assert_eq!(pool.candidates(&other, 0).count(), 0);
    }

    #[test]
    fn both_ends_are_kept_and_repetitions_are_not() {
        let mut pool = SecretPool::new();
        for pid in [7, 8, 7] {
            pool.insert(hit(1, pid, Some([1; 32]), 1));
        }
        let pids = pool.origins(&Index::ClientRandom([1; 32])).map(|origin| origin.pid);
        assert_eq!(pids.collect::<Vec<_>>(), [7, 8]);
        assert_eq!(pool.counters().duplicate, 1);
    }

    #[test]
    fn old_hits_leave_with_their_indexes() {
        let mut pool = SecretPool::new();
        pool.insert(hit(1, 1, Some([1; 32]), 1));
        pool.insert(hit(2, 1, None, 2));
        pool.expire(Timestamp(3 + MAX_AGE));
        assert!(pool.is_empty() && pool.by_index.is_empty() && pool.trial.is_empty());
        assert_eq!(pool.counters().aged, 2);
    }

    #[test]
    fn the_pool_is_bounded() {
        let mut pool = SecretPool::new();
        for number in 0..u32::try_from(MAX_HITS).unwrap() + 10 {
            let mut random = [0; 32];
            random[..4].copy_from_slice(&number.to_be_bytes());
            pool.insert(hit(1, 1, Some(random), 1));
        }
        assert_eq!((pool.len(), pool.by_index.len()), (MAX_HITS, MAX_HITS));
        assert_eq!(pool.counters().evicted, 10);
        let mut pool = SecretPool::new();
        for pid in 0..u32::try_from(MAX_TRIAL).unwrap() + 10 {
            pool.insert(hit(1, pid, None, 1));
        }
        assert_eq!(pool.trial.len(), MAX_TRIAL);
    }
}
