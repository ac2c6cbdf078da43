//! Processes as `/proc` tells of them (proc(5)).

use std::{
    fs::{self, File},
    io::Read as _,
    path::Path,
};

use nix::unistd::{SysconfVar, sysconf};

use crate::{
    clock::{NANOS_PER_SEC, Timestamp},
    identity::{Enricher, boot::boot_to_wall, cgroup, process::Process},
};

/// Longest file that is read here; the kernel writes far less.
const MAX_READ: u64 = 64 * 1024;

/// Reads `/proc`.
pub struct Procfs {
    ticks_per_second: u64,
    boot: Timestamp,
}

impl Procfs {
    /// Learns the host's tick rate and time of boot.
    #[must_use]
    pub fn new() -> Self {
        let ticks = sysconf(SysconfVar::CLK_TCK).ok().flatten().unwrap_or(100);
        let boot = boot_to_wall().unwrap_or(0);
        Self { ticks_per_second: u64::try_from(ticks).unwrap_or(100).max(1), boot: Timestamp(boot) }
    }

    /// Start time from field 22 of `stat`, which counts ticks since boot.
    fn started(&self, stat: &str) -> Option<Timestamp> {
        // The name in field 2 may hold spaces and parentheses: count from its last one.
        let (_, rest) = stat.rsplit_once(") ")?;
        let ticks: u64 = rest.split_ascii_whitespace().nth(19)?.parse().ok()?;
        let nanos =
            u128::from(ticks) * u128::from(NANOS_PER_SEC) / u128::from(self.ticks_per_second);
        Some(self.boot.plus(u64::try_from(nanos).ok()?))
    }
}

impl Default for Procfs {
    fn default() -> Self {
        Self::new()
    }
}

impl Enricher for Procfs {
    fn process(&self, pid: u32) -> Option<Process> {
        let dir = Path::new("/proc").join(pid.to_string());
        let stat = read(&dir.join("stat"))?;
        let comm = stat.split_once('(').and_then(|(_, rest)| rest.rsplit_once(')'))?.0.to_owned();
        let exe = fs::read_link(dir.join("exe")).ok();
        let membership = read(&dir.join("cgroup")).map(|text| cgroup::parse(&text));
        let cgroup::Membership { path, unit, container } = membership.unwrap_or_default();
        Some(Process {
            pid,
            started: self.started(&stat),
            comm,
            exe: exe.map(|path| path.to_string_lossy().into_owned()),
            unit,
            container,
            cgroup: path,
        })
    }
}

fn read(path: &Path) -> Option<String> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(MAX_READ).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_a_running_process() {
        let process = Procfs::new().process(std::process::id()).unwrap();
        let exe = std::env::current_exe().unwrap();
        assert_eq!(process.exe.as_deref(), exe.to_str());
        assert!(!process.comm.is_empty());
        assert!(process.started.is_some_and(|started| started.as_secs() > 1_600_000_000));
    }

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let procfs = Procfs { ticks_per_second: 100, boot: Timestamp(NANOS_PER_SEC) };
        let stat = "7 (a) b) (c) S 1 1 1 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 250 1 1";
        assert_eq!(procfs.started(stat), Some(Timestamp(3_500_000_000)));
    }

    #[test]
    fn a_process_that_is_gone_is_none() {
        assert_eq!(Procfs::new().process(u32::MAX), None);
    }
}
