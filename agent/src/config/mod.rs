//! Configuration in two steps: [`raw`] is what the operator wrote, [`compiled`] is what it means.
//! Neither opens anything that it names; [`keyfile`] does.

pub mod compiled;
pub mod error;
pub mod export;
pub mod keyfile;
pub mod raw;
