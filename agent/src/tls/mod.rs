//! Stage 3, wire path: ciphertext of one connection and session secrets in, plaintext out.
//!
//! In: ordered ciphertext of both directions, with gaps, as `wire/` reassembles it; secrets that
//! probes saw processes derive. Out: application data with explicit gaps, and what the handshake
//! tells: names, versions, certificates, and who derived the keys. The modules, in the order in
//! which data flows:
//!
//! - [`record`] cuts records from ciphertext; [`handshake`], [`hello`], [`ja4`] and
//!   [`certificate`] read what is in clear;
//! - [`secret`] is what a probe hit shows, [`pool`] keeps hits until a flow asks for them;
//! - [`suite`] and [`schedule`] turn a secret into keys, [`protect`] opens one record with them;
//! - `lane` keeps one direction's place, [`open`] drives both, `greet` takes the handshake's
//!   steps, `authentication` judges what a client shows of itself, [`unlock`] tries what is offered, `tls13` and `tls12` know the two key schedules;
//!   [`output`] is what comes out.
//!
//! Invariants: nothing here reads a clock, a file or a socket. Secrets do not leave this module,
//! are wiped on drop and have no `Debug`. A tag or MAC proves every byte of plaintext, so that a
//! decoy can only fail to open. Everything that peers can make grow has a bound, and loss is data.

mod authentication;
pub mod certificate;
mod greet;
pub mod handshake;
pub mod hello;
pub mod ja4;
mod lane;
pub mod open;
pub mod output;
pub mod pool;
pub mod protect;
pub mod reader;
pub mod record;
pub mod schedule;
pub mod secret;
pub mod suite;
#[cfg(test)]
pub(crate) mod tests;
mod tls12;
mod tls13;
pub mod unlock;
