//! Stage 3, wire path: TCP segments of all sockets of the host become ordered byte streams.
//!
//! In: [`segment::Segment`]s in the order in which the kernel half saw them, bare acknowledgements
//! while they are asked for (they tell a lost segment from a late one). Out: [`WireChunk`]s of the flows that carry
//! TLS or HTTP, and [`table::Seen`] for every segment, from which the kernel half learns what it
//! need not send. `tls/` opens what comes out.
//!
//! Invariants:
//! - Within one direction of a flow, chunks come in order and without overlap: each `offset` is the
//!   end of the chunk before. The first is where the protocol begins, behind any PROXY header or
//!   STARTTLS dialogue. Each direction of a flow that yielded anything ends with one
//!   [`Payload::End`], also when the flow is evicted.
//! - Missing bytes are a gap of exactly their number; a byte is yielded once, its first copy.
//! - One end of a connection can't make us lose what the other sends: a new connection, an end, a
//!   jump ahead need the word of both, or numbers that the other end would accept.
//! - Packets are hostile: nothing here panics, and memory is bounded by [`table::Limits`] alone.
//! - No clock and no input or output: time comes with the segments.

use crate::{clock::Timestamp, flow::chunk::Payload};

pub mod segment;
// segment to flow
pub mod table;
// flow to two streams
pub mod flow;
// segments of one direction to payloads in order
pub mod reassembly;
pub mod sequence;
// payloads to chunks worth reading
pub mod classify;
mod gate;
pub mod proxy;
pub mod tunnel;
// what all of them count
pub mod ledger;

#[cfg(test)]
mod testing;

/// One flow among all that a table ever had; never used again.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct FlowId(pub u64);

/// An end of a connection.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Side {
    /// Who opened the connection; if nobody saw that, who sent the first bytes that were seen.
    A,
    /// The other end.
    B,
}

impl Side {
    /// The end at the other side.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }
}

/// A piece of one direction of a flow, in stream order.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct WireChunk {
    /// When the piece was complete: the time of the segment that made it so.
    pub at: Timestamp,
    /// Whose bytes.
    pub flow: FlowId,
    /// Who sent them.
    pub from: Side,
    /// Position in the stream, in bytes from the first that was or could have been seen.
    pub offset: u64,
    /// The bytes, their absence, or the end.
    pub payload: Payload,
}

/// Bytes of the stream that a payload stands for.
fn extent(payload: &Payload) -> u64 {
    match payload {
        Payload::Bytes(bytes) => bytes.len() as u64,
        Payload::Gap(missing) => *missing,
        Payload::End => 0,
    }
}
