//! The embedded object, loaded: maps made, programs verified, host-wide tracepoints attached.
//!
//! In: the size of the ring, what the kernel can do. Out: [`Kernel`], to which the broker attaches
//! uprobes, and the ring for the drain thread.

use std::{fs, os::unix::fs::MetadataExt as _};

use aya::{
    Btf as AyaBtf, Ebpf, EbpfLoader, include_bytes_aligned,
    maps::{MapData, PerCpuArray},
    programs::UProbe,
};
use aya_log::EbpfLogger;
use scopewatch_common::Counter;

use crate::{
    bpf::{
        BpfError,
        btf::Btf,
        interfaces::Interfaces,
        program,
        ring::Ring,
        sight::{self, Surveyed, Taken},
        socket::{self, Decisions},
        tap::{self, Tapped},
    },
    failure::chain,
    sandbox::protocol::{Program, Sight, Tap},
};

/// The kernel half, as built by `build.rs`.
pub(in crate::bpf) static OBJECT: &[u8] =
    include_bytes_aligned!(concat!(env!("OUT_DIR"), "/scopewatch-ebpf"));

/// Marks a field that this kernel lacks: a read at this offset faults softly, and the kernel half
/// goes on without the value.
const NO_SUCH_FIELD: u32 = u32::MAX;

/// Globals of the kernel half, with the structure and field of the kernel whose offset they take.
const OFFSETS: [(&str, &str, &str); 23] = [
    ("SOCK_FAMILY", "sock_common", "skc_family"),
    ("SOCK_PROTOCOL", "sock", "sk_protocol"),
    ("SOCK_LOCAL_PORT", "sock_common", "skc_num"),
    ("SOCK_REMOTE_PORT", "sock_common", "skc_dport"),
    ("SOCK_LOCAL_V4", "sock_common", "skc_rcv_saddr"),
    ("SOCK_REMOTE_V4", "sock_common", "skc_daddr"),
    ("SOCK_LOCAL_V6", "sock_common", "skc_v6_rcv_saddr"),
    ("SOCK_REMOTE_V6", "sock_common", "skc_v6_daddr"),
    ("SOCK_NET", "sock_common", "skc_net"),
    ("SOCK_COOKIE", "sock_common", "skc_cookie"),
    ("SOCK_STATE", "sock_common", "skc_state"),
    ("TCP_BYTES_RECEIVED", "tcp_sock", "bytes_received"),
    ("TCP_RCV_NXT", "tcp_sock", "rcv_nxt"),
    ("REGS_FIRST_ARGUMENT", "pt_regs", "di"),
    ("TASK_NSPROXY", "task_struct", "nsproxy"),
    ("NSPROXY_NET", "nsproxy", "net_ns"),
    ("TASK_FILES", "task_struct", "files"),
    ("FILES_TABLE", "files_struct", "fdt"),
    ("TABLE_FILES", "fdtable", "fd"),
    ("FILE_PRIVATE", "file", "private_data"),
    ("SOCKET_FILE", "socket", "file"),
    ("SOCKET_SOCK", "socket", "sk"),
    ("BINPRM_FILENAME", "linux_binprm", "filename"),
];

/// The kernel's function behind the helper by which typed programs ask for a socket's cookie.
const COOKIE_FUNCTION: &str = "bpf_get_socket_ptr_cookie";

/// How to load the kernel half.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    /// Size of the ring in bytes: a power of two, at least a page.
    pub ring_bytes: u32,
    /// Servers' ports on which HTTP without TLS is captured.
    pub plain_ports: &'a [u16],
    /// Let the kernel half say what it does, through `log`.
    pub kernel_log: bool,
    /// How to see which socket a thread uses; `None` for the best that the kernel has.
    pub sockets: Option<Sight>,
    /// Where to see packets; `None` for the best place that the host has.
    pub packets: Option<Tap>,
}

/// The loaded kernel half. Dropping it detaches everything.
pub struct Kernel {
    pub(in crate::bpf) ebpf: Ebpf,
    btf: AyaBtf,
    counters: PerCpuArray<MapData, [u64; Counter::ALL.len()]>,
    logger: Option<EbpfLogger<&'static dyn log::Log>>,
    /// Tracepoints that this kernel does not have, with the reason.
    pub missing: Vec<(&'static str, String)>,
    /// How it is seen which socket a thread uses.
    pub sockets: Taken,
    /// Where packets are seen.
    pub packets: Tapped,
    /// The interfaces at which they are, if it is there.
    interfaces: Option<Interfaces>,
}

/// What the drain thread holds of the kernel half.
pub struct Channels {
    /// Records on their way out.
    pub ring: Ring,
    /// What to do with each socket's segments.
    pub decisions: Decisions,
}

impl Kernel {
    /// Loads the object, verifies every program and attaches the host-wide tracepoints. A
    /// tracepoint that the kernel lacks is noted in `missing` and done without.
    ///
    /// # Errors
    /// The kernel refuses the maps or a uprobe program, or has no type information.
    pub fn load(options: Options<'_>) -> Result<(Self, Channels), BpfError> {
        let (mut ebpf, btf) = open(options)?;
        let logger = if options.kernel_log { EbpfLogger::init(&mut ebpf).ok() } else { None };
        for uprobe in Program::ALL {
            program::load(&mut ebpf, uprobe.name(), &btf)?;
        }
        let missing = attach_tracepoints(&mut ebpf, &btf);
        socket::list_plain_ports(&mut ebpf, options.plain_ports)?;
        let sockets = sight::attach(&mut ebpf, &btf, options.sockets);
        let (packets, interfaces) = tap::attach(&mut ebpf, options.packets);
        let decisions = Decisions::of(&mut ebpf)?;

        let ring = Ring::of(&mut ebpf)?;
        let counters = ebpf.take_map("COUNTERS").ok_or(BpfError::Missing("map COUNTERS"))?;
        let counters =
            PerCpuArray::try_from(counters).map_err(|error| map_error("COUNTERS", error))?;
        let kernel = Self { ebpf, btf, counters, logger, missing, sockets, packets, interfaces };
        Ok((kernel, Channels { ring, decisions }))
    }

    /// Totals over all CPUs, in the order of [`Counter::ALL`].
    ///
    /// # Errors
    /// The map cannot be read.
    pub fn counters(&self) -> Result<Vec<u64>, BpfError> {
        let per_cpu = self.counters.get(&0, 0).map_err(|error| map_error("COUNTERS", error))?;
        let mut totals = vec![0; Counter::ALL.len()];
        for counters in per_cpu.iter() {
            for (total, value) in totals.iter_mut().zip(counters) {
                *total += value;
            }
        }
        Ok(totals)
    }

    /// Which ways to see sockets the kernel has, beside the one that is used.
    #[must_use]
    pub fn survey(&mut self) -> Vec<Surveyed> {
        sight::survey(&mut self.ebpf, &self.btf, &self.sockets)
    }

    /// Whether interfaces come and go at which packets are seen.
    #[must_use]
    pub const fn has_interfaces(&self) -> bool {
        self.interfaces.is_some()
    }

    /// Looks at interfaces that have come since, where packets are seen there.
    pub fn follow_interfaces(&mut self) {
        if let Some(interfaces) = &mut self.interfaces {
            interfaces.follow(&mut self.ebpf);
        }
    }

    /// Whether the kernel half was asked to log.
    #[must_use]
    pub const fn logs(&self) -> bool {
        self.logger.is_some()
    }

    /// Passes on what the kernel half logged since the last call.
    pub fn flush_log(&mut self) {
        if let Some(logger) = &mut self.logger {
            logger.flush();
        }
    }
}

/// Makes the maps and sets what the programs are told of the kernel. Nothing is verified yet.
pub(in crate::bpf) fn open(options: Options<'_>) -> Result<(Ebpf, AyaBtf), BpfError> {
    let btf = Btf::of_kernel()?;
    let offsets = offsets(&btf);
    let cookie_helper = u8::from(btf.has_function(COOKIE_FUNCTION));
    let log_level = if options.kernel_log { aya_log::Level::Debug as u8 } else { 0 };
    let mut loader = EbpfLoader::new();
    loader.map_max_entries("EVENTS", options.ring_bytes);
    for (global, offset) in &offsets {
        loader.override_global(global, offset, true);
    }
    let captures_plain = u32::from(!options.plain_ports.is_empty());
    let own_netns = own_netns();
    loader.override_global("OWN_NETNS", &own_netns, true);
    loader.override_global("COOKIE_HELPER", &cookie_helper, true);
    loader.override_global("PLAIN_HTTP", &captures_plain, true);
    loader.override_global(aya_log::LEVEL, &log_level, true);
    let ebpf = loader.load(OBJECT).map_err(|error| BpfError::Load(Box::new(error)))?;
    let btf = AyaBtf::from_sys_fs().map_err(|_| BpfError::Missing("kernel type information"))?;
    Ok((ebpf, btf))
}

/// The loaded uprobe program of that name.
pub(in crate::bpf) fn uprobe(ebpf: &mut Ebpf, program: Program) -> Result<&mut UProbe, BpfError> {
    let found = ebpf.program_mut(program.name()).ok_or(BpfError::Missing(program.name()))?;
    found.try_into().map_err(|error| program_error(program.name(), error))
}

pub(in crate::bpf) fn program_error(
    program: &'static str,
    source: aya::programs::ProgramError,
) -> BpfError {
    BpfError::Program { program, source: Box::new(source) }
}

pub(in crate::bpf) fn map_error(map: &'static str, source: aya::maps::MapError) -> BpfError {
    BpfError::Map { map, source: Box::new(source) }
}

/// Inode number of the agent's network namespace, which has 32 bits; 0 if it is not told.
fn own_netns() -> u32 {
    let number = fs::metadata("/proc/self/ns/net").map_or(0, |namespace| namespace.ino());
    u32::try_from(number).unwrap_or(0)
}

fn offsets(btf: &Btf) -> Vec<(&'static str, u32)> {
    let plain = OFFSETS.iter().map(|&(global, structure, field)| {
        (global, btf.offset_of(structure, field).unwrap_or(NO_SUCH_FIELD))
    });
    // The number lies in the namespace's common part.
    let inum = btf
        .offset_of("net", "ns")
        .zip(btf.offset_of("ns_common", "inum"))
        .map_or(NO_SUCH_FIELD, |(ns, inum)| ns + inum);
    plain.chain([("NET_INUM", inum)]).collect()
}

/// Loads and attaches each tracepoint; those that the kernel lacks, with the reason.
fn attach_tracepoints(ebpf: &mut Ebpf, btf: &AyaBtf) -> Vec<(&'static str, String)> {
    let mut missing = Vec::new();
    for name in ["sched_process_exec", "sched_process_exit"] {
        if let Err(error) =
            program::load(ebpf, name, btf).and_then(|()| program::attach(ebpf, name))
        {
            missing.push((name, reason(&error)));
        }
    }
    missing
}

/// What went wrong, by the first line: verifier logs run to thousands.
pub(in crate::bpf) fn reason(error: &BpfError) -> String {
    chain(error).lines().next().unwrap_or_default().to_owned()
}
