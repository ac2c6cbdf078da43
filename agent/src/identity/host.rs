//! The host on which events are captured.

use std::fs;

use serde::{Deserialize, Serialize};

/// Names of a host, as they stand in every event.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Host {
    /// machine-id(5), or empty where there is none.
    pub id: String,
    /// Host name.
    pub name: String,
    /// Changes at every boot.
    pub boot_id: String,
}

impl Host {
    /// This host.
    #[must_use]
    pub fn local() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        Self {
            id: read("/etc/machine-id"),
            name: read("/proc/sys/kernel/hostname"),
            boot_id: read("/proc/sys/kernel/random/boot_id"),
        }
    }
}
