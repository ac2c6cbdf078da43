//! Stage 1, what to probe: which TLS library a file is, where its functions are, and the plan.
//!
//! In: bytes of files, which are hostile input. Out: [`plan::AttachPlan`]s. Pure but for `file`.

pub mod elf;
pub mod file;
pub mod plan;
