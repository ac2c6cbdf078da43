//! A process as it is named in events.

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;

/// What was known of a process when its first connection was seen. Ids are those of the initial
/// pid namespace.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Process {
    /// Process id.
    pub pid: u32,
    /// When the process started; with the pid it names a process uniquely for this boot.
    pub started: Option<Timestamp>,
    /// Short name, as `ps -o comm` shows it.
    pub comm: String,
    /// Path of the executable, in the process's own mount namespace.
    pub exe: Option<String>,
    /// systemd unit, from the cgroup path.
    pub unit: Option<String>,
    /// Container id (64 hex digits), from the cgroup path.
    pub container: Option<String>,
    /// cgroup path, v2 where the host has it.
    pub cgroup: Option<String>,
}

impl Process {
    /// A process of which only the id is known.
    #[must_use]
    pub const fn unknown(pid: u32) -> Self {
        Self {
            pid,
            started: None,
            comm: String::new(),
            exe: None,
            unit: None,
            container: None,
            cgroup: None,
        }
    }
}
