//! Configuration in two steps: [`raw`] is what the operator wrote, [`compiled`] is what it means.
//! Neither opens anything that it names; [`keyfile`], [`signingfile`] and
//! [`subjectfile`] do, and [`policyfile`] reads policies.

pub mod compiled;
pub mod error;
pub mod export;
pub mod keyfile;
pub mod policyfile;
pub mod raw;
pub mod rulebook;
pub mod signingfile;
mod stamp;
pub mod status;
pub mod subjectfile;
