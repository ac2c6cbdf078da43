//! Ciphertext at the socket: the programs on the root cgroup, and what the kernel half is told of
//! each socket.

use std::{fs, os::fd::OwnedFd, path::PathBuf};

use aya::{
    Ebpf, Pod,
    maps::{Array, HashMap, MapData},
    programs::{CgroupSkb, CgroupSkbAttachType, links::CgroupAttachMode},
};
use scopewatch_common::{Capture, Session, session_stream_key, stream_key};

use crate::{
    bpf::{BpfError, load::program_error},
    capture::{SessionKey, unread::Unread, wire::Unwanted},
};

/// The kernel half's tables of sockets.
pub struct Decisions {
    captures: HashMap<MapData, u64, u32>,
    skips: HashMap<MapData, u64, u32>,
    unread: HashMap<MapData, [u64; 3], u64>,
}

impl Decisions {
    pub(in crate::bpf) fn of(ebpf: &mut Ebpf) -> Result<Self, BpfError> {
        Ok(Self {
            captures: table(ebpf, "DECISIONS")?,
            skips: table(ebpf, "SKIPS")?,
            unread: table(ebpf, "UNREAD")?,
        })
    }

    /// Says what to do with the segments of a socket from now on. A table that is full forgets
    /// what was used longest ago; a decision that cannot be written costs work, nothing else.
    pub fn decide(&mut self, cookie: u64, capture: Capture) {
        if let Err(error) = self.captures.insert(cookie, capture as u32, 0) {
            tracing::debug!(cookie, %error, "decision not written");
        }
    }

    /// Says what need not be copied of a stream from now on.
    pub fn skip(&mut self, unwanted: &Unwanted) {
        let Unwanted { cookie, way, end } = *unwanted;
        match self.skips.insert(stream_key(cookie, way), end, 0) {
            Ok(()) => self.decide(cookie, Capture::TlsSkips),
            Err(error) => tracing::debug!(cookie, %error, "nothing will be passed over"),
        }
    }

    /// Says what need not be copied of a session's calls from now on.
    pub fn leave(&mut self, unread: &Unread) {
        let Unread { session: SessionKey { pid, object, generation }, way, until } = *unread;
        let key = session_stream_key(Session { object, generation }, pid, way);
        if let Err(error) = self.unread.insert(key, until, 0) {
            tracing::debug!(pid, %error, "nothing will be passed over");
        }
    }
}

fn table<K: Pod, V: Pod>(
    ebpf: &mut Ebpf,
    map: &'static str,
) -> Result<HashMap<MapData, K, V>, BpfError> {
    let taken = ebpf.take_map(map).ok_or(BpfError::Missing(map))?;
    HashMap::try_from(taken).map_err(|source| BpfError::Map { map, source: Box::new(source) })
}

/// Tells the kernel half on which ports HTTP without TLS is captured: one bit for each.
///
/// # Errors
/// The map cannot be written.
pub(in crate::bpf) fn list_plain_ports(ebpf: &mut Ebpf, ports: &[u16]) -> Result<(), BpfError> {
    let error = |source| BpfError::Map { map: "PLAIN_PORTS", source: Box::new(source) };
    let map = ebpf.map_mut("PLAIN_PORTS").ok_or(BpfError::Missing("map PLAIN_PORTS"))?;
    let mut listed: Array<_, u64> = Array::try_from(map).map_err(error)?;
    for &port in ports {
        let word = u32::from(port) / u64::BITS;
        let before = listed.get(&word, 0).map_err(error)?;
        let bit = 1 << (u32::from(port) % u64::BITS);
        listed.set(word, before | bit, 0).map_err(error)?;
    }
    Ok(())
}

/// Attaches the packet programs to the root of the cgroup v2 hierarchy, beside whatever is there.
///
/// # Errors
/// The host has no cgroup v2 hierarchy, or the kernel refuses; with the reason as one line.
pub(in crate::bpf) fn attach(ebpf: &mut Ebpf) -> Result<(), String> {
    let root = root_cgroup().ok_or("no cgroup v2 hierarchy is mounted")?;
    let root: OwnedFd = fs::File::open(&root)
        .map_err(|error| format!("cannot open {}: {error}", root.display()))?
        .into();
    for (name, direction) in
        [("packet_in", CgroupSkbAttachType::Ingress), ("packet_out", CgroupSkbAttachType::Egress)]
    {
        attach_one(ebpf, name, direction, &root).map_err(|error| crate::failure::chain(&error))?;
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
