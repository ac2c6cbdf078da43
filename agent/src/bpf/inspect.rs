//! What the kernel's verifier makes of each program, for `doctor --programs`.
//!
//! In: the embedded object. Out: one [`Inspected`] for each of its programs. Nothing is attached.

use std::fmt;

use aya::{
    Btf as AyaBtf, Ebpf,
    programs::{ProgramError, ProgramInfo},
};
use serde::Serialize;

use crate::{
    bpf::{
        BpfError,
        load::{Options, open},
        program,
    },
    sandbox::protocol::Program,
};

/// Programs beside those that attach to libraries.
const OTHERS: [&str; 13] = [
    "packet_in",
    "packet_out",
    "frame_in",
    "frame_out",
    "sched_process_exec",
    "sched_process_exit",
    "sock_send_length",
    "sock_recv_length",
    "enter_tcp_sendmsg",
    "enter_tcp_recvmsg",
    "probe_tcp_sendmsg",
    "probe_tcp_recvmsg",
    "sys_enter",
];

/// Lines of the verifier's log that are told: the last ones say what was wrong.
const LOG_LINES: usize = 8;

/// A program, and what became of it.
#[derive(Clone, Debug, Serialize)]
pub struct Inspected {
    /// Its name in the object.
    pub name: &'static str,
    /// What the kernel said.
    #[serde(flatten)]
    pub verdict: Verdict,
}

/// What the kernel says of a program.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Verdict {
    /// It may run.
    Accepted {
        /// Instructions that the verifier looked at, where the kernel tells (Linux 5.16).
        verified: Option<u32>,
        /// Instructions that it has.
        instructions: Option<u32>,
    },
    /// What it attaches to does not exist on this kernel.
    Absent,
    /// It may not run.
    Refused {
        /// The verifier's last words.
        reason: String,
    },
}

/// Loads every program by itself.
///
/// # Errors
/// The object's maps cannot be made, or the kernel has no type information.
pub fn programs(options: Options<'_>) -> Result<Vec<Inspected>, BpfError> {
    let (mut ebpf, btf) = open(options)?;
    let names = Program::ALL.map(Program::name).into_iter().chain(OTHERS);
    Ok(names.map(|name| Inspected { name, verdict: verdict(&mut ebpf, name, &btf) }).collect())
}

fn verdict(ebpf: &mut Ebpf, name: &'static str, btf: &AyaBtf) -> Verdict {
    match program::load(ebpf, name, btf) {
        Ok(()) => {
            let info = ebpf.program(name).and_then(|program| program.info().ok());
            // Eight bytes each (RFC 9669 §3).
            let instructions = info.as_ref().and_then(ProgramInfo::size_translated);
            let verified = info.and_then(|info| info.verified_instruction_count());
            Verdict::Accepted { verified, instructions: instructions.map(|bytes| bytes / 8) }
        }
        Err(BpfError::Program { source, .. }) if matches!(*source, ProgramError::Btf(_)) => {
            Verdict::Absent
        }
        Err(BpfError::Program { source, .. }) => Verdict::Refused { reason: words(&source) },
        Err(error) => Verdict::Refused { reason: error.to_string() },
    }
}

fn words(error: &ProgramError) -> String {
    let text = error.to_string();
    let lines: Vec<&str> = text.lines().collect();
    let from = lines.len().saturating_sub(LOG_LINES);
    lines.get(from..).unwrap_or_default().join(" | ")
}

impl fmt::Display for Inspected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, verdict } = self;
        match verdict {
            Verdict::Accepted { verified, instructions } => {
                write!(f, "accepted  {name:<22}  ")?;
                if let Some(instructions) = instructions {
                    write!(f, "{instructions} instructions")?;
                }
                verified.map_or(Ok(()), |verified| write!(f, ", {verified} verified"))
            }
            Verdict::Absent => write!(f, "absent    {name:<22}  nothing to attach it to"),
            Verdict::Refused { reason } => write!(f, "REFUSED   {name:<22}  {reason}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use object::{Object as _, ObjectSection as _, ObjectSymbol as _, SymbolKind};

    use super::*;
    use crate::bpf::load::OBJECT;

    #[test]
    fn every_program_of_the_object_is_inspected() {
        let object = object::File::parse(OBJECT).unwrap();
        // What programs share is in the plain section.
        let shared = object.section_by_name(".text").map(|section| section.index());
        let is_program = |symbol: &object::Symbol<'_, '_>| {
            symbol.kind() == SymbolKind::Text
                && symbol.section_index().is_some()
                && symbol.section_index() != shared
                && symbol.is_global()
        };
        let symbols = object.symbols().filter(is_program);
        let mut found: Vec<String> =
            symbols.map(|symbol| symbol.name().unwrap().to_owned()).collect();
        let mut known: Vec<String> =
            Program::ALL.map(Program::name).into_iter().chain(OTHERS).map(str::to_owned).collect();
        found.sort();
        known.sort();
        assert_eq!(known, found);
    }
}
