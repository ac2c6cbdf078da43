//! Export over OTLP: against a server that follows a script, so that every answer of the protocol
//! and every failure of a network comes at a known moment, and against a real receiver.
//!
//! In: events, by way of a spool on disk and the sink's own thread, as in the agent. Out: which of
//! them arrived, how often, and what the spool says of the others.

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on says where"
)]

mod endurance;
mod failures;
mod refusals;
mod rotel;
mod run;
mod server;
mod takes;
