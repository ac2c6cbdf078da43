//! Configuration in two steps: [`raw`] is what the operator wrote, [`compiled`] is what it means.
//! Neither opens anything that it names; [`keyfile`]
//! does, and [`policyfile`] reads policies.

pub mod compiled;
pub mod error;
pub mod export;
pub mod keyfile;
pub mod policyfile;
pub mod raw;
pub mod rulebook;
pub mod status;
