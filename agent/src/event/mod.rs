//! Stage 7's input: audit events. In: observations. Out: one [`model::Event`] each, and its
//! encodings: [`json`] for machines, [`human`] for people.
//!
//! Pure, and the same for the same observation: replaying a recording gives the same events, with
//! the same uids.

pub mod access;
pub mod control;
pub mod docs;
mod group;
pub mod handshake;
pub mod human;
pub mod json;
pub mod mapping;
pub mod model;
pub mod notice;
pub mod shared;
pub mod verdict;
pub mod volume;

#[cfg(test)]
pub(crate) mod sample;
#[cfg(test)]
mod tests;
