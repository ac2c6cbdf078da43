//! How the agent is doing, for whoever runs it.
//!
//! In: what each stage says of itself, onto the [`board`]. Out: `/metrics`, `/healthz` and
//! `/status` by the [`server`], and the events `agent.health`. Nothing of what was captured passes
//! here: numbers, names of processes and sinks, and reasons.

pub mod board;
pub mod clock;
mod health;
mod metrics;
pub mod server;
mod status;

pub use self::health::health;
