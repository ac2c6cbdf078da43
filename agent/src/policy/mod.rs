//! Stage 6: was a call allowed, by the policy that the operator wrote? In: the policy's text, and
//! [`call::Call`]s. Out: [`judgement::Judgement`]s: allow, deny with reasons, or indeterminate.
//!
//! Pure: files are read by [`crate::config::policyfile`], time comes with the call. What was not
//! seen is never claimed to be absent. Rules name the line that they are written in.

pub mod call;
pub mod claim;
pub mod compile;
pub mod compiled;
pub mod diff;
pub mod error;
pub mod evaluate;
pub mod glob;
pub mod judgement;
pub mod openapi;
pub mod outcome;
pub mod path;
pub mod place;
pub mod proxy;
pub mod raw;
pub mod reason;
mod requirement;
pub mod router;
pub mod select;
pub mod template;
pub mod volume;
