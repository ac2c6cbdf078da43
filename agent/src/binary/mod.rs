//! Stage 1, what to probe: which TLS library a file is, where its functions are, and the plan.
//!
//! In: bytes of files, which are hostile input. Out: [`plan::AttachPlan`]s, and the place for key
//! programs. Pure but for `file`, `source` and `exports`.
//!
//! - `file`, `source`: a file opened once, and its bytes
//! - `exports`: whether an executable is worth a look
//! - `elf`: what it exports, and its code
//! - `code`: functions, instructions, where calls lead
//! - `site`: the cheapest safe place in a function
//! - `values`, `internal`: the function behind exported wrappers
//! - `plan`, `keysite`: which probes, where, and why
//! - `examine`: everything about one file, for people

pub mod code;
pub mod elf;
pub mod examine;
pub mod exports;
pub mod file;
#[cfg(test)]
mod fixture;
pub mod internal;
pub mod keysite;
pub mod plan;
pub mod site;
pub mod source;
pub mod values;
