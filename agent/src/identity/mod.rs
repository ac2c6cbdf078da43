//! Who made or served the call: the process, and what it belongs to.
//!
//! In: a process id. Out: a [`process::Process`], by way of an [`Enricher`].

pub mod boot;
pub mod cgroup;
pub mod host;
pub mod process;
pub mod procfs;

use process::Process;

/// Knows processes.
pub trait Enricher {
    /// Who `pid` is; `None` if it is gone.
    fn process(&self, pid: u32) -> Option<Process>;
}
