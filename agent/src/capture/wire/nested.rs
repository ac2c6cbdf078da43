//! Sessions within sessions: what a client says to a server through a proxy to which it speaks TLS,
//! too.
//!
//! In: plaintext of outer sessions. Out: a flow for each inner one, fed with that plaintext, which is
//! from then on a connection like any other. It has the addresses of the connection that carries it;
//! whoever uses that connection's sockets is an end of it only if it derived its keys. One session
//! lies within another, and none within that.
//!
//! A proxy that is on this host passes the inner session's bytes on, on a connection of their own.
//! That one's addresses are those of the session, so it is told from there if it is not too late.

use bytes::Bytes;

use super::{
    Wire,
    flow::{Ends, Flow, Outer, sender, sent_by},
};
use crate::{
    capture::CaptureEvent,
    clock::Timestamp,
    flow::chunk::{Direction, Payload},
    tls::output::Output,
    wire::{FlowId, Side},
};

/// Tells the ids of inner sessions from those that the flow table counts up.
const NESTED: u64 = 1 << 63;

/// The id of the session within another.
pub(super) const fn within(outer: FlowId) -> FlowId {
    FlowId(outer.0 | NESTED)
}

/// A piece of an outer session's plaintext.
pub(super) struct Carried {
    at: Timestamp,
    from: Side,
    payload: Payload,
}

impl Carried {
    /// What an output says of the plaintext.
    pub fn by(output: &Output) -> Option<Self> {
        let (direction, at, payload) = match output {
            Output::Data { direction, at, bytes, .. } => {
                (direction, at, Payload::Bytes(bytes.clone()))
            }
            Output::Skipped { direction, at, bytes, .. } => (direction, at, Payload::Gap(*bytes)),
            Output::Gap { direction, at, at_most: _ } => (direction, at, Payload::Gap(u64::MAX)),
            Output::Closed { direction, at, clean: _ } => (direction, at, Payload::End),
            Output::Offered(_)
            | Output::Negotiated(_)
            | Output::Certificate { .. }
            | Output::Uncertified(_)
            | Output::Resumable { .. }
            | Output::Resumed(_)
            | Output::Alert { .. } => return None,
        };
        Some(Self { at: *at, from: sender(*direction), payload })
    }
}

impl Wire {
    /// Hands plaintext of `outer` on to the session within it, which it may begin.
    pub(super) fn descend(
        &mut self,
        outer: FlowId,
        mut carried: Vec<Carried>,
        out: &mut Vec<CaptureEvent<Bytes>>,
    ) {
        // What was opened at once, after its secret had come, is in order only within each direction.
        carried.sort_by_key(|piece| piece.at);
        for Carried { at, from, payload } in carried {
            let Some(flow) = self.flows.get_mut(&outer) else { return };
            let Some(tunnel) = &mut flow.tunnel else { return };
            let mut inner = Vec::new();
            tunnel.pass(from, payload, &mut |payload| inner.push(payload));
            if !tunnel.is_open() {
                flow.tunnel = None;
                return;
            }
            for payload in inner {
                self.feed_nested(outer, (at, from), &payload, out);
            }
        }
    }

    fn feed_nested(
        &mut self,
        outer: FlowId,
        (at, from): (Timestamp, Side),
        payload: &Payload,
        out: &mut Vec<CaptureEvent<Bytes>>,
    ) {
        let id = within(outer);
        if !self.flows.contains_key(&id) {
            let begun = self.flows.get(&outer).and_then(|flow| nested(outer, flow, at));
            self.flows.extend(begun.map(|flow| (id, flow)));
        }
        let Some(flow) = self.flows.get_mut(&id) else { return };
        match payload {
            Payload::Bytes(bytes) => flow.tls.feed(sent_by(from), at, bytes),
            Payload::Gap(missing) => flow.tls.gap(sent_by(from), at, *missing),
            Payload::End => flow.tls.end(sent_by(from), at),
        }
        self.advance(id, at, out);
    }

    /// Ends the session within `outer`, which is over. What waits for a secret waits on, as it does on
    /// a connection that has ended.
    pub(super) fn end_nested(
        &mut self,
        outer: FlowId,
        at: Timestamp,
        out: &mut Vec<CaptureEvent<Bytes>>,
    ) {
        let id = within(outer);
        let Some(flow) = self.flows.get_mut(&id) else { return };
        for direction in [Direction::Outbound, Direction::Inbound] {
            flow.tls.end(direction, at);
        }
        self.advance(id, at, out);
    }

    /// Looks into `inner`'s outer session no longer: it has ended, or is told elsewhere.
    pub(super) fn close_tunnel(&mut self, inner: &Flow) {
        if let Some(Outer { flow, .. }) = inner.outer
            && let Some(outer) = self.flows.get_mut(&flow)
        {
            outer.tunnel = None;
        }
    }

    /// Whether the session that `first` claimed is rather told by `other`: on a connection of its
    /// own, as long as nothing of it was told.
    pub(super) fn yields(&self, first: FlowId, other: FlowId) -> bool {
        let is_nested = |flow: &&Flow| flow.outer.is_some();
        let first = self.flows.get(&first).filter(is_nested);
        first.is_some_and(|flow| flow.observed.is_none())
            && self.flows.get(&other).filter(is_nested).is_none()
    }
}

/// The session within `carrier`, called `outer`; `None` once that carries none any more.
fn nested(outer: FlowId, carrier: &Flow, begun: Timestamp) -> Option<Flow> {
    carrier.tunnel.as_ref()?;
    let cookie = carrier.cookies.first().copied().unwrap_or(0);
    Some(Flow {
        // Its server is beyond the end of what carries it.
        local: Ends { a: carrier.local.a, b: false },
        seen_at: carrier.seen_at,
        tunnel: None,
        outer: Some(Outer { flow: outer, cookie }),
        ..Flow::new(carrier.key, begun)
    })
}
