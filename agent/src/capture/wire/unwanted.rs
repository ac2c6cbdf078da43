//! Bodies that nobody reads: their records are left unopened, and of long ones the kernel half is
//! asked to tell headers only.

use scopewatch_common::Way;

use super::{Wire, flow::sender};
use crate::{
    capture::{Skip, unread::MIN_UNWANTED},
    wire::FlowId,
};

/// Most that it is asked to pass over at once, in bytes: sequence numbers must stay unambiguous.
const MAX_UNWANTED: u64 = 1 << 30;

/// A part of a stream that the kernel half need not copy: nothing but data comes before it ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Unwanted {
    /// The socket at which the stream is seen.
    pub cookie: u64,
    /// Which way it goes there.
    pub way: Way,
    /// Sequence number of the first byte that may be wanted again.
    pub end: u32,
}

impl Wire {
    /// Leaves unopened what need not be told; whether the session is one of the wire path's.
    pub fn skip(&mut self, skip: Skip) -> bool {
        let Skip { session, direction, until, .. } = skip;
        let Some(flow) = self.flows.get_mut(&FlowId(session.object)) else { return false };
        let Some(observed) = flow.observed.filter(|observed| observed.session == session) else {
            return false;
        };
        // What carries another session, or may yet, is read for that one.
        if flow.tunnel.is_some() {
            return true;
        }
        // Seen from side A, as seeing from an end and back is the same.
        let direction = observed.sees(direction);
        let from = sender(direction);
        let told = observed.lost.of(from).saturating_add(flow.told.of(from));
        flow.tls.skip(direction, until.saturating_sub(told));
        let (cookie, received) = flow.seen_at.of(from);
        // A stream with a hole is told of in full, with its acknowledgements.
        if let Some((ahead, bytes)) = flow.tls.unwanted(direction)
            && bytes >= MIN_UNWANTED
            && !self.acks.contains_key(&FlowId(session.object))
            && let Some(start) = self.table.sequence(FlowId(session.object), from, ahead)
        {
            // A record is longer than its data: those that end before this hold nothing else.
            let bytes = u32::try_from(bytes.min(MAX_UNWANTED)).unwrap_or(u32::MAX);
            let way = if received { Way::In } else { Way::Out };
            self.unwanted.push(Unwanted { cookie, way, end: start.wrapping_add(bytes) });
        }
        true
    }

    /// What the kernel half need not copy, since the last call.
    pub fn unwanted(&mut self) -> impl Iterator<Item = Unwanted> {
        self.unwanted.drain(..)
    }
}
