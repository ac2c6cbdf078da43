//! All connections of the host, by their addresses and the network namespace that has them.
//!
//! In: segments of any socket. Out: chunks of the flows that matter. The kernel's cookies are no
//! key: a listener's stands in for its new sockets, and a pair of virtual interfaces shows one
//! connection at two sockets. Seen twice, a byte is dropped, because its offset has passed.

use std::{
    collections::{BTreeSet, HashMap, hash_map::RandomState},
    mem,
};

use lru::LruCache;

use crate::{
    clock::Timestamp,
    wire::{
        FlowId, Side, WireChunk,
        classify::Protocol,
        flow::{Birth, Fit, Flow, Sink},
        gate::Start,
        ledger::{Counters, Ledger},
        segment::{FlowKey, Segment},
    },
};

/// Memory that an idle flow takes in a table, in bytes, allocator and indexes included. The
/// default number of flows takes 64 MB so, and what waits as much again.
pub const FLOW_COST: usize = 640;

/// How much a table may hold.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Flows, closed ones included; at least one is kept. Each takes [`FLOW_COST`] bytes.
    pub flows: usize,
    /// Bytes that wait behind holes in all flows together, bookkeeping included.
    pub held_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { flows: 100_000, held_bytes: 64 << 20 }
    }
}

/// What is known of the flow that a segment belongs to, after the segment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Seen {
    /// The flow.
    pub flow: FlowId,
    /// What it carries.
    pub protocol: Protocol,
}

/// Bytes that are ready as they were captured: the payload of a segment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Passed {
    /// The flow.
    pub flow: FlowId,
    /// Who sent them.
    pub from: Side,
    /// Position of the first in the stream.
    pub offset: u64,
}

/// All connections, bounded by [`Limits`].
#[derive(Debug)]
pub struct FlowTable {
    limits: Limits,
    ledger: Ledger,
    /// By undirected key. The hash is keyed: remote hosts choose addresses and ports.
    flows: LruCache<FlowKey, Flow, RandomState>,
    keys: HashMap<FlowId, FlowKey>,
    /// Flows to look after, at most one entry each.
    agenda: BTreeSet<(Timestamp, FlowId)>,
    last_id: u64,
}

impl FlowTable {
    /// An empty table.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            ledger: Ledger::new(limits.held_bytes),
            flows: LruCache::unbounded_with_hasher(RandomState::new()),
            keys: HashMap::new(),
            agenda: BTreeSet::new(),
            last_id: 0,
        }
    }

    /// Takes a segment whose payload is the very next of an open stream, which nearly all are:
    /// nothing is copied. `None` where [`FlowTable::push`] has to look closer.
    pub fn pass(&mut self, segment: &Segment<'_>) -> Option<Passed> {
        let key = segment.key.undirected();
        let flow = self.flows.peek_mut(&key)?;
        let (from, offset) = flow.pass(segment)?;
        let id = flow.id();
        self.flows.promote(&key);
        self.ledger.counters.segments += 1;
        Some(Passed { flow: id, from, offset })
    }

    /// Takes a segment and appends to `out` what became ready. `None` if it belongs to no flow.
    pub fn push(&mut self, segment: &Segment<'_>, out: &mut Vec<WireChunk>) -> Option<Seen> {
        self.ledger.counters.segments += 1;
        if segment.key.source == segment.key.destination {
            // A socket connected to itself: which way a byte goes can't be told.
            self.ledger.counters.malformed_segments += 1;
            return None;
        }
        let key = segment.key.undirected();
        match self.flows.peek_mut(&key).map(|flow| flow.fit(segment)) {
            Some(Fit::Same) => {}
            Some(Fit::Odd) => {
                self.ledger.counters.odd_handshakes += 1;
                return None;
            }
            Some(Fit::Successor(birth)) => {
                self.ledger.counters.ports_reused += 1;
                self.remove(key, segment.at, out);
                self.insert(key, birth, segment.at, out);
            }
            None => {
                let Some(birth) = Birth::of(segment) else {
                    self.ledger.counters.stray_segments += 1;
                    return None;
                };
                self.insert(key, birth, segment.at, out);
            }
        }
        self.deliver(key, segment, out)
    }

    /// Gives up holes that are too old, and forgets flows that closed long ago. Call about once a
    /// second.
    pub fn expire(&mut self, now: Timestamp, out: &mut Vec<WireChunk>) {
        let later = self.agenda.split_off(&(now.plus(1), FlowId(0)));
        for (_, id) in mem::replace(&mut self.agenda, later) {
            let Some(key) = self.keys.get(&id).copied() else { continue };
            let Some(flow) = self.flows.peek_mut(&key) else { continue };
            flow.scheduled = None;
            if flow.is_closed() && flow.due().is_some_and(|due| due <= now) {
                self.remove(key, now, out);
                continue;
            }
            flow.expire(now, &mut Sink { at: now, ledger: &mut self.ledger, out });
            schedule(flow, &mut self.agenda);
        }
    }

    /// Sequence number of the byte of `side` that lies `ahead` of the next one to be yielded.
    #[must_use]
    pub fn sequence(&self, flow: FlowId, side: Side, ahead: i64) -> Option<u32> {
        self.flow(flow)?.sequence(side, ahead)
    }

    /// Forgets a flow without yielding anything: another one yields the same.
    pub fn forget(&mut self, flow: FlowId) {
        if let Some(key) = self.keys.get(&flow).copied() {
            self.remove(key, Timestamp::default(), &mut Vec::new());
        }
    }

    /// The flow that has these ends, in either direction.
    #[must_use]
    pub fn find(&self, key: FlowKey) -> Option<FlowId> {
        self.flows.peek(&key.undirected()).map(Flow::id)
    }

    /// A flow that is still in the table.
    #[must_use]
    pub fn flow(&self, id: FlowId) -> Option<&Flow> {
        self.flows.peek(self.keys.get(&id)?)
    }

    /// Flows in the table.
    #[must_use]
    pub fn len(&self) -> usize {
        self.flows.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.flows.is_empty()
    }

    /// Bytes that wait behind holes, bookkeeping included; at most [`Limits::held_bytes`].
    #[must_use]
    pub const fn held(&self) -> usize {
        self.ledger.held()
    }

    /// What happened so far.
    #[must_use]
    pub const fn counters(&self) -> &Counters {
        &self.ledger.counters
    }

    fn deliver(
        &mut self,
        key: FlowKey,
        segment: &Segment<'_>,
        out: &mut Vec<WireChunk>,
    ) -> Option<Seen> {
        let flow = self.flows.peek_mut(&key)?;
        flow.push(segment, &mut Sink { at: segment.at, ledger: &mut self.ledger, out });
        schedule(flow, &mut self.agenda);
        let seen = Seen { flow: flow.id(), protocol: flow.protocol() };
        if flow.is_closed() {
            self.flows.demote(&key);
        } else if segment.wire_len > 0 {
            // Only payload earns a place: a flood of SYNs mustn't drive out real connections.
            self.flows.promote(&key);
        }
        Some(seen)
    }

    /// Adds a flow as the first to go; its payload will promote it.
    fn insert(&mut self, key: FlowKey, birth: Birth, at: Timestamp, out: &mut Vec<WireChunk>) {
        while self.flows.len() >= self.limits.flows.max(1) {
            let Some((oldest, flow)) = self.flows.peek_lru() else { break };
            self.ledger.counters.flows_evicted += u64::from(!flow.is_closed());
            let oldest = *oldest;
            self.remove(oldest, at, out);
        }
        if birth.start != Start::Syn {
            self.ledger.counters.flows_joined_late += 1;
        } else {
            self.ledger.counters.flows_opened += 1;
        }
        self.last_id += 1;
        let id = FlowId(self.last_id);
        self.keys.insert(id, key);
        self.flows.put(key, Flow::new(id, birth));
        self.flows.demote(&key);
    }

    /// Ends a flow, if it hasn't, and forgets it.
    fn remove(&mut self, key: FlowKey, at: Timestamp, out: &mut Vec<WireChunk>) {
        let Some(mut flow) = self.flows.pop(&key) else { return };
        flow.close(&mut Sink { at, ledger: &mut self.ledger, out });
        self.keys.remove(&flow.id());
        if let Some(scheduled) = flow.scheduled {
            self.agenda.remove(&(scheduled, flow.id()));
        }
    }
}

/// Puts a flow on the agenda, unless it is: an early visit only looks and goes.
fn schedule(flow: &mut Flow, agenda: &mut BTreeSet<(Timestamp, FlowId)>) {
    if flow.scheduled.is_none()
        && let Some(due) = flow.due()
    {
        agenda.insert((due, flow.id()));
        flow.scheduled = Some(due);
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
