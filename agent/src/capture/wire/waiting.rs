//! Connections that wait for a secret, by what it will be indexed by.
//!
//! In: what a connection waits for, and since when. Out: the connections that a secret may open,
//! and those that have waited too long or must make room, the longest waiting first.

use std::collections::{BTreeSet, HashMap, HashSet};

use crate::{
    clock::{NANOS_PER_SEC, Timestamp},
    tls::secret::{Index, Shown},
    wire::FlowId,
};

/// How long a connection may wait for a secret. Both come from one ring, so a secret that is not
/// there by then will not come: its library has no key site.
pub(super) const PATIENCE: u64 = 5 * NANOS_PER_SEC;

/// Connections that may wait at once: [`PATIENCE`] of 3,000 new ones a second that no secret opens.
pub(super) const MAX_WAITING: usize = 16 * 1024;

/// What one connection waits for.
#[derive(Debug)]
pub(super) struct Wait {
    since: Timestamp,
    indexes: Vec<Index>,
}

/// All that wait.
#[derive(Default)]
pub(super) struct Waiting {
    by_index: HashMap<Index, HashSet<FlowId>>,
    since: BTreeSet<(Timestamp, FlowId)>,
}

impl Waiting {
    /// Lists a connection. `before` is how it was listed until now: who goes on waiting, for
    /// something else perhaps, has waited since then.
    pub fn list(
        &mut self,
        flow: FlowId,
        before: Option<Wait>,
        now: Timestamp,
        indexes: Vec<Index>,
    ) -> Wait {
        let since = before.as_ref().map_or(now, |wait| wait.since);
        self.strike(flow, before);
        for index in &indexes {
            self.by_index.entry(*index).or_default().insert(flow);
        }
        self.since.insert((since, flow));
        Wait { since, indexes }
    }

    /// Takes a connection off the list.
    pub fn strike(&mut self, flow: FlowId, wait: Option<Wait>) {
        let Some(Wait { since, indexes }) = wait else { return };
        self.since.remove(&(since, flow));
        for index in indexes {
            if let Some(flows) = self.by_index.get_mut(&index) {
                flows.remove(&flow);
                if flows.is_empty() {
                    self.by_index.remove(&index);
                }
            }
        }
    }

    /// Connections that what is shown may open, the oldest first.
    pub fn for_secret(&self, shown: &Shown) -> BTreeSet<FlowId> {
        shown.indexes().filter_map(|index| self.by_index.get(&index)).flatten().copied().collect()
    }

    /// The connection that has waited longest, if that is longer than [`PATIENCE`].
    pub fn stale(&self, now: Timestamp) -> Option<FlowId> {
        self.since.first().filter(|(since, _)| now.since(*since) > PATIENCE).map(|(_, flow)| *flow)
    }

    /// The connection that has waited longest.
    pub fn longest(&self) -> Option<FlowId> {
        self.since.first().map(|(_, flow)| *flow)
    }

    /// Connections that wait.
    pub fn len(&self) -> usize {
        self.since.len()
    }

    /// What is waited for.
    #[cfg(test)]
    pub fn indexes(&self) -> usize {
        self.by_index.len()
    }
}
