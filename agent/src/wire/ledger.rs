//! What all flows of a table share: the counters, and the budget of bytes that may wait.

/// Declares [`Counters`] together with the names under which they appear in metrics.
macro_rules! counters {
    ($($(#[$doc:meta])+ $name:ident,)+) => {
        /// Every overflow and oddity of the wire path, counted since the start.
        #[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
        pub struct Counters {
            $($(#[$doc])+ pub $name: u64,)+
        }

        impl Counters {
            /// Every counter with its name, in the order of declaration.
            pub fn each(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name),)+].into_iter()
            }
        }
    };
}

counters! {
    /// Segments pushed.
    segments,
    /// Segments of connections that aren't in the table and can't be joined by them.
    stray_segments,
    /// Segments with an impossible length, or from an endpoint to itself.
    malformed_segments,
    /// Segments of flows that carry nothing of interest.
    ignored_segments,
    /// Segments that arrived before an earlier part of their stream.
    reordered_segments,
    /// Keep-alive and zero-window probes (RFC 9293 §3.8.4, §3.8.6.1).
    probes,
    /// Payload bytes seen again: retransmissions, and one packet seen on several interfaces.
    duplicate_bytes,
    /// Segments that overlapped waiting bytes and differed from them. The first copy won.
    conflicting_overlaps,
    /// Segments too far ahead to be real, dropped.
    beyond_window,
    /// Segments with payload after the end of their stream, dropped.
    after_end,
    /// Acknowledgements of bytes that nobody was seen to send.
    acks_of_unsent,
    /// FINs that later bytes proved wrong.
    void_fins,
    /// RSTs with a sequence number that their receiver would refuse (RFC 5961 §3.2).
    refused_resets,
    /// SYNs and SYN-ACKs that fit no connection.
    odd_handshakes,
    /// Flows that began with a SYN or SYN-ACK.
    flows_opened,
    /// Flows joined in the middle.
    flows_joined_late,
    /// Flows that took the ports of another that was still in the table.
    ports_reused,
    /// Flows that a FIN in both directions or an RST ended.
    flows_closed,
    /// Flows dropped while open because the table was full.
    flows_evicted,
    /// Holes given up because the flow held too many bytes behind them.
    flow_overflows,
    /// Holes given up because all flows together held too many bytes.
    table_overflows,
    /// Flows ignored because they stayed undecided for too long.
    undecided_overflows,
    /// Bytes missing that the receiver acknowledged: they were on the wire, and we lost them.
    gap_acked_bytes,
    /// Bytes missing that the kernel half saw but didn't copy.
    gap_uncaptured_bytes,
    /// Bytes missing when a hole was given up to an overflow.
    gap_overflow_bytes,
    /// Bytes missing when a hole had waited for too long.
    gap_expired_bytes,
    /// Bytes missing when the flow ended.
    gap_ended_bytes,
}

/// Why bytes of a stream are missing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum GapCause {
    /// The receiver acknowledged them.
    Acked,
    /// They were seen but not copied.
    Uncaptured,
    /// Too many bytes waited behind them.
    Overflow,
    /// They were missing for too long.
    Expired,
    /// The flow ended.
    Ended,
}

/// The account of one table.
#[derive(Debug)]
pub struct Ledger {
    /// What happened so far.
    pub counters: Counters,
    held: usize,
    limit: usize,
}

impl Ledger {
    /// An account whose flows may together hold `limit` bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { counters: Counters::default(), held: 0, limit }
    }

    /// Bytes held by all flows, bookkeeping included.
    #[must_use]
    pub const fn held(&self) -> usize {
        self.held
    }

    /// Takes `cost` bytes from the budget, or leaves it as it is and returns false.
    #[must_use]
    pub fn reserve(&mut self, cost: usize) -> bool {
        match self.held.checked_add(cost) {
            Some(held) if held <= self.limit => {
                self.held = held;
                true
            }
            _ => false,
        }
    }

    /// Gives reserved bytes back.
    pub fn release(&mut self, cost: usize) {
        self.held = self.held.saturating_sub(cost);
    }

    /// Counts missing bytes.
    pub fn count_gap(&mut self, cause: GapCause, bytes: u64) {
        let counter = match cause {
            GapCause::Acked => &mut self.counters.gap_acked_bytes,
            GapCause::Uncaptured => &mut self.counters.gap_uncaptured_bytes,
            GapCause::Overflow => &mut self.counters.gap_overflow_bytes,
            GapCause::Expired => &mut self.counters.gap_expired_bytes,
            GapCause::Ended => &mut self.counters.gap_ended_bytes,
        };
        *counter = counter.saturating_add(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::Ledger;

    #[test]
    fn a_full_budget_refuses() {
        let mut ledger = Ledger::new(10);
        assert!(ledger.reserve(7));
        assert!(!ledger.reserve(4));
        assert!(ledger.reserve(3));
        ledger.release(5);
        assert_eq!(ledger.held(), 5);
    }

    #[test]
    fn counters_have_distinct_names() {
        let names: std::collections::BTreeSet<_> =
            Ledger::new(0).counters.each().map(|(name, _)| name).collect();
        assert_eq!(names.len(), Ledger::new(0).counters.each().count());
    }
}
