//! What this kernel and this process can do. Features are probed, versions only printed.
//!
//! Out: [`Capabilities`], plain data for `doctor`, `status` and the planner.

use std::{fmt, fs, path::Path};

use aya::{maps::MapType, programs::ProgramType, sys};
use serde::Serialize;

use crate::bpf::{
    btf::{Btf, VMLINUX},
    canary::ReturnProbes,
    inspect::{Inspected, Verdict},
    sight::{Surveyed, Taken},
    tap::{self, Tapped},
};
use crate::sandbox::protocol::{Sight, Tap};

/// Bits of `CapEff` (linux/capability.h).
const CAP_SYS_ADMIN: u64 = 1 << 21;
const CAP_PERFMON: u64 = 1 << 38;
const CAP_BPF: u64 = 1 << 39;

/// One capability, found or not, and what that means for the operator.
#[derive(Clone, Debug, Serialize)]
pub struct Capability {
    /// What was looked for.
    pub name: &'static str,
    /// Whether it is there.
    pub found: bool,
    /// Whether the agent cannot run without it.
    pub required: bool,
    /// What its presence or absence means.
    pub meaning: String,
}

/// Everything that was looked for, in the order in which it matters.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Capabilities {
    /// Kernel release, for people: nothing is decided by it.
    pub kernel: String,
    /// One row each.
    pub rows: Vec<Capability>,
    /// What the verifier makes of each program, where that was asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub programs: Vec<Inspected>,
}

impl Capabilities {
    /// Looks for everything that does not need a loaded program.
    #[must_use]
    pub fn probe() -> Self {
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let rows = vec![
            architecture(),
            privilege(),
            type_information(),
            ring_buffer(),
            uprobes(),
            return_probes_by_type(),
            tracepoints(
                "exec notification",
                &["sched_process_exec", "sched_process_exit"],
                "new processes are seen at once",
                "new processes are seen only at the next scan, so short-lived ones with libraries of their own may be missed",
            ),
            packets(tap::root_cgroup().as_deref()),
            map_files(),
            lockdown(),
        ];
        Self { kernel: kernel.trim().to_owned(), rows, programs: Vec::new() }
    }

    /// Adds what sending a child ahead told about return probes.
    pub fn add_return_probes(&mut self, outcome: ReturnProbes) {
        self.rows.push(Capability {
            name: "safe return probes",
            found: outcome == ReturnProbes::Safe,
            required: true,
            meaning: outcome.meaning().to_owned(),
        });
    }

    /// Adds how it is seen which socket a thread uses, and how it could be.
    pub fn add_sockets(&mut self, taken: &Taken, surveyed: &[Surveyed]) {
        let meaning = taken.sight.map_or_else(
            || "connections have no addresses on this kernel".to_owned(),
            |sight| format!("connections have addresses, by {}", sight.name()),
        );
        let (name, required) = ("socket binding", false);
        self.rows.push(Capability { name, found: taken.sight.is_some(), required, meaning });
        for (sight, tried) in surveyed {
            let (found, meaning) = match tried {
                Ok(()) if taken.sight == Some(*sight) => (true, "used".to_owned()),
                Ok(()) => (true, "could be used".to_owned()),
                Err(reason) => (false, reason.clone()),
            };
            self.rows.push(Capability { name: row_name(*sight), found, required, meaning });
        }
    }

    /// Adds where packets are seen, and if nowhere, why.
    pub fn add_packets(&mut self, packets: &Tapped) {
        let reason = packets.reason();
        let meaning = match packets.tap {
            Some(Tap::Cgroup) => "new connections are captured by their secrets and ciphertext, which is seen at the root cgroup".to_owned(),
            Some(Tap::Tcx) => format!("{reason}: new connections of this network namespace are captured by their secrets and ciphertext, which is seen at its interfaces by TCX; those of other namespaces by calls"),
            None => format!("{reason}: all connections are captured by calls"),
        };
        let found = packets.tap.is_some();
        self.rows.push(Capability { name: "ciphertext", found, required: false, meaning });
    }

    /// Adds what the verifier makes of each program. One that it refuses is a missing capability.
    pub fn add_programs(&mut self, programs: Vec<Inspected>) {
        for program in &programs {
            if let Verdict::Refused { reason } = &program.verdict {
                self.add_load_failure(format!("{}: {reason}", program.name));
            }
        }
        self.programs = programs;
    }

    /// Adds that the kernel refused the programs.
    pub fn add_load_failure(&mut self, reason: String) {
        let name = "programs load";
        self.rows.push(Capability { name, found: false, required: true, meaning: reason });
    }

    /// The first required capability that is missing.
    #[must_use]
    pub fn first_missing(&self) -> Option<&Capability> {
        self.rows.iter().find(|row| row.required && !row.found)
    }
}

impl fmt::Display for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "kernel {}", self.kernel)?;
        for Capability { name, found, required, meaning } in &self.rows {
            let mark = match (found, required) {
                (true, _) => "found  ",
                (false, true) => "MISSING",
                (false, false) => "absent ",
            };
            writeln!(f, "{mark}  {name:<22}  {meaning}")?;
        }
        for program in &self.programs {
            writeln!(f, "{program}")?;
        }
        Ok(())
    }
}

/// Name of the row that tells whether the kernel has this way to see sockets.
const fn row_name(sight: Sight) -> &'static str {
    match sight {
        Sight::Tracepoints => "sockets: tracepoints",
        Sight::Functions => "sockets: functions",
        Sight::Kprobes => "sockets: kprobes",
        Sight::SystemCalls => "sockets: system calls",
    }
}

fn row(name: &'static str, required: bool, found: bool, yes: &str, no: &str) -> Capability {
    let meaning = if found { yes } else { no }.to_owned();
    Capability { name, found, required, meaning }
}

fn architecture() -> Capability {
    row(
        "x86-64",
        true,
        cfg!(target_arch = "x86_64"),
        "this processor is supported",
        "only x86-64 is supported so far: there are no probes for this processor yet",
    )
}

fn privilege() -> Capability {
    let effective = fs::read_to_string("/proc/self/status").ok().and_then(|status| {
        let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
        u64::from_str_radix(line.trim(), 16).ok()
    });
    let effective = effective.unwrap_or(0);
    // Kernels with the fix of CVE-2025-38466 want CAP_SYS_ADMIN for uprobes by perf.
    let split = CAP_BPF | CAP_PERFMON;
    let found = effective & CAP_SYS_ADMIN != 0;
    let no = if effective & split == split {
        "CAP_BPF and CAP_PERFMON are held, but attaching uprobes takes CAP_SYS_ADMIN on current kernels: run it as root"
    } else {
        "loading and attaching takes CAP_SYS_ADMIN: run it as root, or with the capabilities of the packaged unit"
    };
    row("privilege", true, found, "CAP_SYS_ADMIN is held", no)
}

fn type_information() -> Capability {
    row(
        "kernel types (BTF)",
        true,
        Path::new(VMLINUX).exists(),
        "field offsets of this kernel are known",
        "/sys/kernel/btf/vmlinux is absent: the kernel needs CONFIG_DEBUG_INFO_BTF (mainline 5.10 and newer distributions have it)",
    )
}

fn ring_buffer() -> Capability {
    row(
        "BPF ring buffer",
        true,
        sys::is_map_supported(MapType::RingBuf).unwrap_or(false),
        "records can leave the kernel",
        "this kernel has no BPF ring buffer, or refuses BPF to this process: Linux 5.10 or newer, and privilege, are needed",
    )
}

fn uprobes() -> Capability {
    let pmu = Path::new("/sys/bus/event_source/devices/uprobe/type").exists();
    let programs = sys::is_program_supported(ProgramType::KProbe).unwrap_or(false);
    row(
        "uprobes",
        true,
        pmu && programs,
        "functions of libraries can be probed",
        "the kernel offers no uprobes to this process: CONFIG_UPROBE_EVENTS and privilege are needed",
    )
}

fn return_probes_by_type() -> Capability {
    row(
        "uretprobes",
        true,
        Path::new("/sys/bus/event_source/devices/uprobe/format/retprobe").exists(),
        "returns of functions can be probed",
        "the kernel offers no return probes, by which results of calls are read",
    )
}

fn tracepoints(name: &'static str, wanted: &[&str], yes: &str, no: &str) -> Capability {
    let found = Btf::of_kernel()
        .is_ok_and(|btf| wanted.iter().all(|tracepoint| btf.has_tracepoint(tracepoint)));
    row(name, false, found, yes, no)
}

/// Whether packets can be read: at the root of the cgroup v2 hierarchy, which is mounted at `root`.
fn packets(root: Option<&Path>) -> Capability {
    let yes = root.map(|root| {
        format!("packets of every process and container are read at {}", root.display())
    });
    row(
        "cgroup v2",
        false,
        root.is_some(),
        yes.as_deref().unwrap_or_default(),
        "no cgroup v2 hierarchy is mounted, so packets are seen at interfaces at best: the row ciphertext says how (mount -t cgroup2 none DIRECTORY for all of the host)",
    )
}

fn map_files() -> Capability {
    row(
        "mapped files",
        false,
        fs::read_dir("/proc/self/map_files").is_ok_and(|mut files| files.next().is_some()),
        "libraries of containers and replaced files are opened through /proc/PID/map_files",
        "/proc/PID/map_files is closed to this process: replaced libraries stay unseen",
    )
}

fn lockdown() -> Capability {
    let mode = fs::read_to_string("/sys/kernel/security/lockdown").unwrap_or_default();
    row(
        "no kernel lockdown",
        false,
        !mode.contains("[confidentiality]"),
        "kernel memory may be read",
        "the kernel is locked down for confidentiality, which refuses programs that read memory",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_cgroup_v2_the_consequence_is_told_and_nothing_refused() {
        let absent = packets(None);
        assert!(
            !absent.found && !absent.required && absent.meaning.contains("at interfaces at best")
        );
        let mounted = packets(Some(Path::new("/sys/fs/cgroup/unified")));
        assert!(mounted.found && mounted.meaning.ends_with("/sys/fs/cgroup/unified"));
    }

    #[test]
    fn the_place_where_packets_are_seen_is_told_and_why_it_is_no_better_one() {
        let check = |tap, found, meaning: &str| {
            let refused = vec![(Tap::Cgroup, "none is mounted".to_owned())];
            let refused = if tap == Some(Tap::Cgroup) { Vec::new() } else { refused };
            let mut capabilities = Capabilities::default();
            capabilities.add_packets(&Tapped { tap, refused });
            let row = &capabilities.rows[0];
            assert_eq!(row.found, found);
            assert!(row.meaning.contains(meaning), "{}", row.meaning);
        };
        check(Some(Tap::Cgroup), true, "seen at the root cgroup");
        check(Some(Tap::Tcx), true, "none is mounted: new connections of this network namespace");
        check(None, false, "none is mounted: all connections are captured by calls");
    }

    #[test]
    fn the_way_to_see_sockets_is_told_with_those_that_could_be_used() {
        let taken = Taken {
            sight: Some(Sight::Functions),
            refused: vec![(Sight::Tracepoints, "no such tracepoint".to_owned())],
        };
        let surveyed = Sight::ALL.map(|sight| match sight {
            Sight::Tracepoints => (sight, Err("no such tracepoint".to_owned())),
            _ => (sight, Ok(())),
        });
        let mut capabilities = Capabilities::default();
        capabilities.add_sockets(&taken, &surveyed);
        let told: Vec<_> = capabilities.rows.iter().map(|row| (row.found, &*row.meaning)).collect();
        let expected = [
            (true, "connections have addresses, by functions of TCP"),
            (false, "no such tracepoint"),
            (true, "used"),
            (true, "could be used"),
            (true, "could be used"),
        ];
        assert_eq!(told, expected);
        assert!(capabilities.first_missing().is_none());
    }

    #[test]
    fn a_kernel_without_any_way_to_see_sockets_still_does() {
        let mut capabilities = Capabilities::default();
        capabilities.add_sockets(&Taken::default(), &[]);
        assert!(!capabilities.rows[0].found && capabilities.first_missing().is_none());
    }

    #[test]
    fn a_refused_program_is_a_missing_requirement_and_an_absent_one_is_not() {
        let check = |verdict, missing| {
            let mut capabilities = Capabilities::default();
            capabilities.add_programs(vec![Inspected { name: "sys_enter", verdict }]);
            assert_eq!(capabilities.first_missing().is_some(), missing, "{capabilities}");
        };
        check(Verdict::Absent, false);
        check(Verdict::Accepted { verified: Some(7), instructions: Some(5) }, false);
        check(Verdict::Refused { reason: "R1 min value is negative".to_owned() }, true);
    }

    #[test]
    fn a_missing_requirement_is_named_and_a_missing_extra_is_not() {
        let rows = vec![
            row("extra", false, false, "", "no extra"),
            row("needed", true, false, "", "no needed"),
        ];
        let capabilities = Capabilities { rows, ..Capabilities::default() };
        assert_eq!(capabilities.first_missing().unwrap().name, "needed");
        let printed = capabilities.to_string();
        assert!(printed.contains("absent   extra") && printed.contains("MISSING  needed"));
    }
}
