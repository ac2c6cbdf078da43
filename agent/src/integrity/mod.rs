//! Tamper evidence. In: events as JSON, on their way to the spool. Out: the same events, each with
//! the hash of itself and of all before it; now and then a signed statement of how far the chain
//! has come; and for whoever has the events later, what is wrong with them.
//!
//! A chain is of one start of the agent. `hash_n = SHA-256("scopewatch/ev/v1" ‖ hash_(n-1) ‖
//! JCS(event without integrity))`, and the first `hash_(n-1)` is made of the chain's name. Chains
//! prove order and that nothing was changed after it was written. Who is root on the host can stop
//! the agent or feed it: nothing here tells of that.

pub mod canonical;
mod carried;
pub mod chain;
pub mod checkpoint;
pub mod merkle;
pub mod note;
pub mod succession;
pub mod verify;

#[cfg(test)]
mod tests;
