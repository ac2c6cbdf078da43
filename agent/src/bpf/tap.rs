//! Ciphertext at the socket: where packets are seen, the best place first.
//!
//! In: the loaded object, and the place that was asked for, if any. Out: the place that is used, and
//! why others are not.

use std::{fs, os::fd::OwnedFd, path::PathBuf};

use aya::{
    Ebpf,
    programs::{CgroupSkb, CgroupSkbAttachType, links::CgroupAttachMode},
};

use crate::{
    bpf::{
        BpfError,
        interfaces::Interfaces,
        load::{program_error, reason},
    },
    sandbox::protocol::Tap,
};

/// The place that was taken, and what kept the agent from better ones.
#[derive(Clone, Debug, Default)]
pub struct Tapped {
    /// `None` where there is none: then all connections are captured by calls.
    pub tap: Option<Tap>,
    /// Places that were tried before, each with the reason why it is none.
    pub refused: Vec<(Tap, String)>,
}

impl Tapped {
    /// Why no better place was taken, in one line; empty if the best was.
    #[must_use]
    pub fn reason(&self) -> String {
        let reasons: Vec<&str> = self.refused.iter().map(|(_, reason)| reason.as_str()).collect();
        reasons.join("; ")
    }

    /// Logs where packets are seen; `listed` says whether HTTP without TLS is to be.
    pub fn log(&self, listed: bool) {
        let reason = self.reason();
        match self.tap {
            Some(tap @ Tap::Cgroup) => tracing::debug!(at = tap.name(), "packets are seen"),
            Some(tap @ Tap::Tcx) => {
                tracing::warn!(at = tap.name(), reason, "packets are seen of one namespace alone");
            }
            None => {
                tracing::warn!(reason, "ciphertext is not seen: calls are probed instead");
                if listed {
                    tracing::warn!(
                        "capture.plain_http.ports: nothing of it is seen without packets"
                    );
                }
            }
        }
    }
}

/// Has packets be seen at the best place that the host has, or at the one that is `wanted`.
pub(in crate::bpf) fn attach(ebpf: &mut Ebpf, wanted: Option<Tap>) -> (Tapped, Option<Interfaces>) {
    let mut tapped = Tapped::default();
    for tap in Tap::ALL.into_iter().filter(|tap| wanted.is_none_or(|it| it == *tap)) {
        let attached = match tap {
            Tap::Cgroup => at_root_cgroup(ebpf).map(|()| None),
            Tap::Tcx => Interfaces::attach(ebpf).map(Some),
        };
        match attached {
            Ok(interfaces) => {
                tapped.tap = Some(tap);
                return (tapped, interfaces);
            }
            Err(reason) => tapped.refused.push((tap, reason)),
        }
    }
    (tapped, None)
}

/// Attaches the packet programs to the root of the cgroup v2 hierarchy, beside whatever is there.
///
/// # Errors
/// The host has no cgroup v2 hierarchy, or the kernel refuses; with the reason as one line.
fn at_root_cgroup(ebpf: &mut Ebpf) -> Result<(), String> {
    let root = root_cgroup().ok_or("no cgroup v2 hierarchy is mounted")?;
    let root: OwnedFd = fs::File::open(&root)
        .map_err(|error| format!("cannot open {}: {error}", root.display()))?
        .into();
    for (name, direction) in
        [("packet_in", CgroupSkbAttachType::Ingress), ("packet_out", CgroupSkbAttachType::Egress)]
    {
        attach_one(ebpf, name, direction, &root).map_err(|error| reason(&error))?;
    }
    Ok(())
}

fn attach_one(
    ebpf: &mut Ebpf,
    name: &'static str,
    direction: CgroupSkbAttachType,
    root: &OwnedFd,
) -> Result<(), BpfError> {
    let program = ebpf.program_mut(name).ok_or(BpfError::Missing(name))?;
    let program: &mut CgroupSkb = program.try_into().map_err(|error| program_error(name, error))?;
    program.load().map_err(|error| program_error(name, error))?;
    // aya passes the mode on as flags of the link, of which the kernel knows none: links are
    // always together with others.
    program
        .attach(root, direction, CgroupAttachMode::Single)
        .map(drop)
        .map_err(|error| program_error(name, error))
}

/// Mount point of the cgroup v2 hierarchy, which under the hybrid layout is not the usual one.
pub(in crate::bpf) fn root_cgroup() -> Option<PathBuf> {
    mounted_in(&fs::read_to_string("/proc/self/mounts").ok()?)
}

/// Where a table of mounts has the cgroup v2 hierarchy (proc_pid_mounts(5)).
fn mounted_in(mounts: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let mut fields = line.split(' ');
        let path = fields.nth(1)?;
        (fields.next()? == "cgroup2").then(|| PathBuf::from(path))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hierarchy_is_found_by_its_kind_wherever_it_is_mounted() {
        let old =
            "tmpfs /sys/fs/cgroup tmpfs ro 0 0\ncgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\n";
        assert_eq!(mounted_in(old), None);
        let hybrid = format!("{old}cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n");
        assert_eq!(mounted_in(&hybrid), Some("/sys/fs/cgroup/unified".into()));
        let new = "none /sys/fs/cgroup cgroup2 rw 0 0\n";
        assert_eq!(mounted_in(new), Some("/sys/fs/cgroup".into()));
    }
}
