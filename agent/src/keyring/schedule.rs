//! When to fetch a key set. In: what was fetched, and which keys were missing. Out: whether a fetch
//! is due. Whoever sends tokens cannot make the agent fetch more often than every [`COOLDOWN`], nor
//! twice for the same unknown key within [`FRESH`].

use std::{
    num::NonZeroUsize,
    time::{Duration, Instant},
};

use lru::LruCache;

/// How long a set is as good as new, if its server does not say.
pub(super) const FRESH: Duration = Duration::from_secs(600);
/// Bounds for what its server says: a set of a second would be a flood, and one of a year a key
/// that cannot be revoked.
const FRESH_BOUNDS: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(3600));
/// Least time between two fetches from one address.
pub(super) const COOLDOWN: Duration = Duration::from_secs(30);
/// Unknown keys that are remembered for an address; ids are at most 512 bytes long.
const MAX_UNKNOWN: NonZeroUsize = NonZeroUsize::new(256).unwrap();

/// When an address is to be asked.
pub(super) struct Schedule {
    due: Instant,
    last: Option<Instant>,
    /// Keys that were missed, and since when that is known.
    unknown: LruCache<String, Instant>,
}

impl Schedule {
    /// Due at once.
    pub fn new(now: Instant) -> Self {
        Self { due: now, last: None, unknown: LruCache::new(MAX_UNKNOWN) }
    }

    pub fn is_due(&self, now: Instant) -> bool {
        now >= self.due
    }

    /// A token names a key that is not in the set.
    pub fn miss(&mut self, key_id: Option<&str>, now: Instant) {
        let key_id = key_id.unwrap_or_default();
        let known = self.unknown.get(key_id);
        if known.is_some_and(|since| now.saturating_duration_since(*since) < FRESH) {
            return;
        }
        self.unknown.push(key_id.to_owned(), now);
        let earliest = self.last.map_or(now, |last| last + COOLDOWN).max(now);
        self.due = self.due.min(earliest);
    }

    /// A set was fetched; its server says that it is fresh for `max_age`.
    pub fn fetched(&mut self, max_age: Option<Duration>, now: Instant) {
        let (least, most) = FRESH_BOUNDS;
        self.last = Some(now);
        self.due = now + max_age.unwrap_or(FRESH).clamp(least, most);
    }

    /// No set could be fetched.
    pub fn failed(&mut self, now: Instant) {
        self.last = Some(now);
        self.due = now + COOLDOWN;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_set_is_fetched_when_it_is_no_longer_fresh() {
        let start = Instant::now();
        let mut schedule = Schedule::new(start);
        assert!(schedule.is_due(start));
        for (said, fresh) in [(None, 600), (Some(300), 300), (Some(0), 60), (Some(99_999), 3600)] {
            schedule.fetched(said.map(Duration::from_secs), start);
            assert!(!schedule.is_due(start + SECOND * (fresh - 1)), "{said:?}");
            assert!(schedule.is_due(start + SECOND * fresh), "{said:?}");
        }
        schedule.failed(start);
        assert!(!schedule.is_due(start + SECOND * 29) && schedule.is_due(start + SECOND * 30));
    }

    #[test]
    fn unknown_keys_have_it_fetched_but_never_in_a_flood() {
        let start = Instant::now();
        let mut schedule = Schedule::new(start);
        schedule.fetched(None, start);
        // A key that is new: after the cooldown.
        schedule.miss(Some("new"), start + SECOND);
        assert!(!schedule.is_due(start + SECOND * 29) && schedule.is_due(start + SECOND * 30));
        let again = start + SECOND * 30;
        schedule.fetched(None, again);
        // It is still not there: it is not asked for again, until it may have come.
        schedule.miss(Some("new"), again + SECOND * 100);
        assert!(!schedule.is_due(again + SECOND * 200));
        schedule.miss(Some("other"), again + SECOND * 100);
        assert!(schedule.is_due(again + SECOND * 100));
        schedule.fetched(None, again + SECOND * 100);
        // A thousand of them: one fetch a cooldown.
        let fetches = (0..1000).filter(|number| {
            let now = again + SECOND * 100 + Duration::from_millis(100) * *number;
            schedule.miss(Some(&format!("random-{number}")), now);
            let due = schedule.is_due(now);
            if due {
                schedule.fetched(None, now);
            }
            due
        });
        assert_eq!(fetches.count(), 3);
        assert_eq!(schedule.unknown.len(), MAX_UNKNOWN.get());
    }
}
