//! Programs of the kernel half by their names, whatever their types: loaded, attached, let go.

use aya::{Btf as AyaBtf, Ebpf, programs::Program};

use crate::bpf::{BpfError, load::program_error};

/// What stands before the kernel function's name in the names of programs that attach to one: two
/// programs of one object cannot have the same name.
const PREFIXES: [&str; 2] = ["enter_", "probe_"];

/// Loads a program: the kernel verifies it.
///
/// # Errors
/// The kernel refuses it, or has no such tracepoint or function.
pub(in crate::bpf) fn load(
    ebpf: &mut Ebpf,
    name: &'static str,
    btf: &AyaBtf,
) -> Result<(), BpfError> {
    let loaded = match ebpf.program_mut(name).ok_or(BpfError::Missing(name))? {
        Program::UProbe(program) => program.load(),
        Program::KProbe(program) => program.load(),
        Program::CgroupSkb(program) => program.load(),
        Program::SchedClassifier(program) => program.load(),
        Program::BtfTracePoint(program) => program.load(target(name), btf),
        Program::FEntry(program) => program.load(target(name), btf),
        _ => return Err(BpfError::Missing(name)),
    };
    loaded.map_err(|error| program_error(name, error))
}

/// Attaches a loaded program to the tracepoint or kernel function that its name tells.
///
/// # Errors
/// The kernel refuses.
pub(in crate::bpf) fn attach(ebpf: &mut Ebpf, name: &'static str) -> Result<(), BpfError> {
    let attached = match ebpf.program_mut(name).ok_or(BpfError::Missing(name))? {
        Program::BtfTracePoint(program) => program.attach().map(drop),
        Program::FEntry(program) => program.attach().map(drop),
        Program::KProbe(program) => program.attach(target(name), 0).map(drop),
        _ => return Err(BpfError::Missing(name)),
    };
    attached.map_err(|error| program_error(name, error))
}

/// Detaches and unloads a program; nothing if it is not loaded.
pub(in crate::bpf) fn unload(ebpf: &mut Ebpf, name: &'static str) {
    let unloaded = match ebpf.program_mut(name) {
        Some(Program::BtfTracePoint(program)) => program.unload(),
        Some(Program::FEntry(program)) => program.unload(),
        Some(Program::KProbe(program)) => program.unload(),
        _ => return,
    };
    if let Err(error) = unloaded {
        tracing::debug!(name, %error, "not unloaded");
    }
}

fn target(name: &'static str) -> &'static str {
    PREFIXES.iter().find_map(|prefix| name.strip_prefix(prefix)).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_names_the_function_that_it_attaches_to() {
        assert_eq!(target("enter_tcp_sendmsg"), "tcp_sendmsg");
        assert_eq!(target("probe_tcp_recvmsg"), "tcp_recvmsg");
        assert_eq!(target("sock_send_length"), "sock_send_length");
    }
}
