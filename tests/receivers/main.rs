//! Export as syslog to real receivers: rsyslog and syslog-ng, on the configurations of
//! `packaging/siem`.
//!
//! In: events, by way of a spool on disk and the sink's own thread, as in the agent. Out: what the
//! receivers wrote to their files, compared with what was sent, and what the spool says of the rest.

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on says where"
)]

mod failures;
mod fields;
mod payloads;
mod refusals;
mod run;
