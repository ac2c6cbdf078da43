//! What the rest of the agent may ask of the broker: a short, fixed list of typed requests.

use std::{fmt, num::NonZeroU32, os::fd::OwnedFd};

use serde::{Deserialize, Serialize};

/// A request to the broker.
#[derive(Debug)]
pub enum Request {
    /// Probe a file at the given places. Answered by [`Reply::Attached`].
    Attach {
        /// The file, opened by whoever found it; the broker checks that it still is `inode`.
        file: OwnedFd,
        /// Identity of the file for which the places were computed.
        inode: Inode,
        /// Where to attach what. All attach, or none stays attached.
        points: Vec<Point>,
        /// The only process that is probed; `None` for all, now and later.
        process: Option<NonZeroU32>,
    },
    /// Remove the probes of one file. Answered by [`Reply::Done`].
    Detach(AttachmentId),
    /// Read the kernel half's counters. Answered by [`Reply::Counters`].
    Counters,
    /// Let go of everything and end. Answered by [`Reply::Counters`]; the kernel removes the
    /// probes within a second or two.
    Stop,
}

/// The broker's answer.
#[derive(Debug)]
pub enum Reply {
    /// The probes are in place.
    Attached(AttachmentId),
    /// Counter totals over all CPUs, in the order of `Counter::ALL`.
    Counters(Vec<u64>),
    /// The request was carried out.
    Done,
    /// The request was refused or failed; nothing was changed.
    Refused(Refusal),
}

/// Why the broker did not carry out a request.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// The descriptor is not the file for which the places were computed.
    #[error("the file is not the one that was examined: it is {found}, expected {expected}")]
    OtherFile {
        /// What the descriptor refers to.
        found: Inode,
        /// What the request named.
        expected: Inode,
    },
    /// The kernel did not take a probe.
    #[error("the kernel refused {program} at offset {offset:#x}: {cause}")]
    Kernel {
        /// The program that was to be attached.
        program: Program,
        /// File offset of the place.
        offset: u64,
        /// The kernel's word for it.
        cause: String,
    },
    /// More points than any library has functions of interest.
    #[error("{asked} places were named, at most {limit} are allowed")]
    TooMany {
        /// Points in the request.
        asked: usize,
        /// The bound.
        limit: usize,
    },
    /// No such attachment.
    #[error("there is no such attachment")]
    Unknown,
    /// The broker has ended.
    #[error("the broker has ended")]
    Gone,
}

/// Names the probes of one file until they are detached.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct AttachmentId(pub u64);

/// Identity of a file on this host.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Inode {
    /// Device number, as `stat` gives it.
    pub device: u64,
    /// Inode number on that device.
    pub number: u64,
}

impl fmt::Display for Inode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (major, minor) = (libc::major(self.device), libc::minor(self.device));
        write!(f, "inode {} on device {major}:{minor}", self.number)
    }
}

/// A place in a file and the program to attach there.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub struct Point {
    /// Offset in the file, in bytes.
    pub offset: u64,
    /// What to attach.
    pub program: Program,
}

/// A way to see which socket a thread uses. Kernels have some of them.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Sight {
    /// Tracepoints where sockets send and receive (Linux 6.4).
    Tracepoints,
    /// The kernel's functions for TCP, patched where they begin.
    Functions,
    /// The same functions, by breakpoints.
    Kprobes,
    /// System calls on descriptors. Every system call of the host gets slower by a little.
    SystemCalls,
}

impl Sight {
    /// Every way, the best first.
    pub const ALL: [Self; 4] =
        [Self::Tracepoints, Self::Functions, Self::Kprobes, Self::SystemCalls];

    /// Its name for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tracepoints => "tracepoints of sockets",
            Self::Functions => "functions of TCP",
            Self::Kprobes => "kprobes on TCP",
            Self::SystemCalls => "system calls",
        }
    }
}

/// A place at which packets are seen. A host has one of them, or none.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Tap {
    /// The root of the cgroup v2 hierarchy: the sockets of all processes, in any network namespace.
    Cgroup,
    /// TCX at each interface (Linux 6.6): the sockets of the agent's own network namespace.
    Tcx,
}

impl Tap {
    /// Every place, the best first.
    pub const ALL: [Self; 2] = [Self::Cgroup, Self::Tcx];

    /// Its name for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cgroup => "the root cgroup",
            Self::Tcx => "the interfaces of the agent's network namespace, by TCX",
        }
    }
}

/// Programs of the kernel half that attach to functions of libraries.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Program {
    /// Entry of `SSL_read`.
    SslRead,
    /// Entry of `SSL_read_ex`.
    SslReadEx,
    /// Entry of `SSL_write`.
    SslWrite,
    /// Entry of `SSL_write_ex`.
    SslWriteEx,
    /// Entry of `SSL_write_ex2`.
    SslWriteEx2,
    /// Return of any of the above.
    SslReturn,
    /// Entry of `SSL_free` or `SSL_clear`.
    SslFree,
    /// Entry of `SSL_shutdown`.
    SslShutdown,
    /// Entry of `SSL_do_handshake`.
    SslDoHandshake,
    /// Entry of `EVP_KDF_derive`.
    EvpKdfDerive,
    /// Entry of `EVP_PKEY_CTX_ctrl`.
    EvpPkeyCtxCtrl,
}

impl Program {
    /// Every program, in no order that matters.
    pub const ALL: [Self; 11] = [
        Self::SslRead,
        Self::SslReadEx,
        Self::SslWrite,
        Self::SslWriteEx,
        Self::SslWriteEx2,
        Self::SslReturn,
        Self::SslFree,
        Self::SslShutdown,
        Self::SslDoHandshake,
        Self::EvpKdfDerive,
        Self::EvpPkeyCtxCtrl,
    ];

    /// Name of the program in the kernel half's object.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::SslRead => "ssl_read",
            Self::SslReadEx => "ssl_read_ex",
            Self::SslWrite => "ssl_write",
            Self::SslWriteEx => "ssl_write_ex",
            Self::SslWriteEx2 => "ssl_write_ex2",
            Self::SslReturn => "ssl_return",
            Self::SslFree => "ssl_free",
            Self::SslShutdown => "ssl_shutdown",
            Self::SslDoHandshake => "ssl_do_handshake",
            Self::EvpKdfDerive => "evp_kdf_derive",
            Self::EvpPkeyCtxCtrl => "evp_pkey_ctx_ctrl",
        }
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
