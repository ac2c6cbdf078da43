//! Uprobes on a file: all of a request's points, or none.
//!
//! Probes are inode-wide: one attachment serves every process and container that maps the file,
//! and processes that nobody is interested in do not pay on each context switch as they would for
//! process-scoped ones.

#![expect(unsafe_code, reason = "a fork, whose child lets go of the probes")]

use std::{
    collections::HashMap,
    fs, io,
    os::fd::{AsRawFd as _, OwnedFd},
};

use aya::programs::uprobe::{UProbeLink, UProbeScope};
use nix::unistd::{ForkResult, fork};

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
            links.push(attach_one(kernel, &path, point)?);
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

fn attach_one(kernel: &mut Kernel, path: &str, point: Point) -> Result<UProbeLink, Refusal> {
    let refuse =
        |cause: String| Refusal::Kernel { program: point.program, offset: point.offset, cause };
    let program =
        uprobe(&mut kernel.ebpf, point.program).map_err(|error| refuse(error.to_string()))?;
    let link = program
        .attach(point.offset, path, UProbeScope::AllProcesses)
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

/// Starts a child that holds the probes' descriptors too, and nothing else. It dies with the
/// calling thread, and it is its end that waits for the kernel: the agent's does not. Without a
/// child (processes are short) the agent waits itself.
fn leave_to_child() {
    let others = other_descriptors().unwrap_or_default();
    // SAFETY: the child makes only calls that are safe between fork and exec: no allocation, no
    // locks, no return.
    match unsafe { fork() } {
        // SAFETY: plain system calls, as said above.
        Ok(ForkResult::Child) => unsafe {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            for fd in others {
                libc::close(fd);
            }
            loop {
                libc::pause();
            }
        },
        Ok(ForkResult::Parent { .. }) => {}
        Err(error) => tracing::debug!(%error, "no child to detach"),
    }
}

/// Open descriptors that are no probes: a reader of the agent's output shall not wait for the
/// child to end.
fn other_descriptors() -> io::Result<Vec<i32>> {
    let entries = fs::read_dir("/proc/self/fd")?;
    Ok(entries
        .flatten()
        .filter(|entry| {
            fs::read_link(entry.path()).is_ok_and(|to| {
                !matches!(to.to_str(), Some("anon_inode:bpf_link" | "anon_inode:[perf_event]"))
            })
        })
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect())
}
