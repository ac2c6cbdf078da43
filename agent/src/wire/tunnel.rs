//! A session within a session: a client that speaks TLS to a proxy asks it by CONNECT to pass bytes
//! on, and speaks TLS through it to whom it means.
//!
//! In: plaintext of the outer session, both directions in the order in which they passed. Out: the
//! same from the first hello of the inner one on. What begins otherwise is looked at no further than
//! the beginning of a connection is: at most [`gate`](super::gate)'s bound of a dialogue.

use crate::{
    flow::chunk::Payload,
    wire::{
        Side,
        classify::Protocol,
        gate::{Gate, Start},
        ledger::Counters,
    },
};

/// Looks for the inner session of one outer one.
#[derive(Debug)]
pub struct Tunnel(Gate);

impl Default for Tunnel {
    fn default() -> Self {
        Self(Gate::new(Start::Syn))
    }
}

impl Tunnel {
    /// Takes plaintext that `from` sent, its loss or its end; hands on what is of the inner session.
    pub fn pass(&mut self, from: Side, payload: Payload, emit: &mut impl FnMut(Payload)) {
        // An overflow is no loss here: there was no inner session.
        let counters = &mut Counters::default();
        self.0.pass(from, 0, payload, counters, &mut |_, payload| emit(payload));
    }

    /// Whether there is an inner session, or may be one yet.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        matches!(self.0.protocol(), Protocol::Undecided | Protocol::Tls)
    }
}
