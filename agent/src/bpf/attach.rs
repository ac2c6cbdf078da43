//! Uprobes on a file: all of a request's points, or none.
//!
//! Probes are inode-wide where they can be: one attachment serves every process and container that
//! maps the file, and costs nothing on context switches. Process-scoped ones do, so they serve only
//! as long as a process holds connections that are older than the agent.

#![expect(unsafe_code, reason = "a fork, whose child lets go of the probes")]

use std::{
    collections::HashMap,
    fs, io,
    num::NonZeroU32,
    os::fd::{AsRawFd as _, IntoRawFd as _, OwnedFd},
    path::PathBuf,
};

use aya::programs::uprobe::{UProbeLink, UProbeScope};
use nix::{
    fcntl::OFlag,
    unistd::{ForkResult, fork, pipe2},
};

use crate::{
    bpf::load::{Kernel, program_error, uprobe},
    failure::chain,
    sandbox::protocol::{AttachmentId, Inode, Point, Refusal},
};

/// Places in one file. The widest plan (OpenSSL 3.3 and newer) has 15.
pub const MAX_POINTS: usize = 64;

/// Probes in place, by attachment.
#[derive(Default)]
pub struct Attachments {
    links: HashMap<AttachmentId, Vec<UProbeLink>>,
    last_id: u64,
}

impl Attachments {
    /// Attaches every point to the file, which must be `inode`.
    ///
    /// # Errors
    /// It is another file, too many points are named, or the kernel refuses one; then none stays.
    pub fn attach(
        &mut self,
        kernel: &mut Kernel,
        file: &OwnedFd,
        inode: Inode,
        points: &[Point],
        process: Option<NonZeroU32>,
    ) -> Result<AttachmentId, Refusal> {
        if points.len() > MAX_POINTS {
            return Err(Refusal::TooMany { asked: points.len(), limit: MAX_POINTS });
        }
        check_inode(file, inode)?;
        // The kernel resolves the descriptor's link to the very file that was opened, whatever
        // its path names by now.
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        let mut links = Vec::with_capacity(points.len());
        for &point in points {
            links.push(attach_one(kernel, &path, point, process)?);
        }
        self.last_id += 1;
        let id = AttachmentId(self.last_id);
        self.links.insert(id, links);
        Ok(id)
    }

    /// Removes the probes of one file, and waits until the kernel has done so.
    ///
    /// # Errors
    /// There is no such attachment.
    pub fn detach(&mut self, id: AttachmentId) -> Result<(), Refusal> {
        self.links.remove(&id).map(drop).ok_or(Refusal::Unknown)
    }

    /// Lets go of every probe at once. The kernel removes them one after another, some 80 ms each,
    /// and whoever closes a descriptor waits for it: see [`leave_to_child`].
    pub fn release_all(&mut self) {
        leave_to_child();
        self.links.clear();
    }
}

fn attach_one(
    kernel: &mut Kernel,
    path: &str,
    point: Point,
    process: Option<NonZeroU32>,
) -> Result<UProbeLink, Refusal> {
    let refuse =
        |cause: String| Refusal::Kernel { program: point.program, offset: point.offset, cause };
    let program =
        uprobe(&mut kernel.ebpf, point.program).map_err(|error| refuse(error.to_string()))?;
    let scope = process.map_or(UProbeScope::AllProcesses, UProbeScope::OneProcess);
    let link = program
        .attach(point.offset, path, scope)
        .and_then(|id| program.take_link(id))
        .map_err(|error| program_error(point.program.name(), error));
    link.map_err(|error| refuse(chain(&error)))
}

fn check_inode(file: &OwnedFd, expected: Inode) -> Result<(), Refusal> {
    let found = nix::sys::stat::fstat(file).map_or(Inode { device: 0, number: 0 }, |stat| Inode {
        device: stat.st_dev,
        number: stat.st_ino,
    });
    if found == expected { Ok(()) } else { Err(Refusal::OtherFile { found, expected }) }
}

/// Starts a child that holds the probes' descriptors too, and waits for the agent's end: its own
/// end is what waits for the kernel then. Without a child (processes are short) the agent waits.
fn leave_to_child() {
    // The agent keeps the writing end until it ends, however it ends: then the child reads that.
    let Ok((until_end, agent_end)) = pipe2(OFlag::O_CLOEXEC) else { return };
    let others = other_descriptors(&until_end).unwrap_or_default();
    // SAFETY: the child makes only calls that are safe between fork and exec: no allocation or
    // freeing, no locks, no return.
    match unsafe { fork() } {
        // SAFETY: plain system calls on descriptors of the child's own.
        Ok(ForkResult::Child) => unsafe {
            for fd in &others {
                libc::close(*fd);
            }
            let mut byte = 0_u8;
            while libc::read(until_end.as_raw_fd(), (&raw mut byte).cast(), 1) < 0 {}
            libc::_exit(0)
        },
        Ok(ForkResult::Parent { .. }) => drop(agent_end.into_raw_fd()),
        Err(error) => tracing::debug!(%error, "no child to detach"),
    }
}

/// Open descriptors but for the probes' and `kept`: a reader of the agent's output shall not have
/// to wait for the child.
fn other_descriptors(kept: &OwnedFd) -> io::Result<Vec<i32>> {
    let entries = fs::read_dir("/proc/self/fd")?;
    let is_probe = |path: PathBuf| {
        fs::read_link(path).is_ok_and(|to| {
            matches!(to.to_str(), Some("anon_inode:bpf_link" | "anon_inode:[perf_event]"))
        })
    };
    Ok(entries
        .flatten()
        .filter(|entry| !is_probe(entry.path()))
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|&fd| fd != kept.as_raw_fd())
        .collect())
}
