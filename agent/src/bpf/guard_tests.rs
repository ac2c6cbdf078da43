//! The embedded object, read as data: no uprobe program may end up on a private stack of the
//! kernel (see `guard.rs` of the kernel half).

use object::{Object as _, ObjectSection as _, ObjectSymbol as _, SymbolKind};

use super::load::OBJECT;
use crate::sandbox::protocol::Program;

/// A program with this much stack may be put on a private one.
const PRIVATE_STACK_BYTES: i32 = 64;

const CALL: u8 = 0x85;
const TAIL_CALL_HELPER: i32 = 12;
const FRAME_POINTER: u8 = 10;

/// One instruction of the BPF machine (RFC 9669 §3).
struct Instruction {
    opcode: u8,
    destination: u8,
    source: u8,
    offset: i32,
    immediate: i32,
}

fn decode(code: &[u8]) -> Vec<Instruction> {
    code.chunks_exact(8)
        .map(|raw| Instruction {
            opcode: raw[0],
            destination: raw[1] & 0xf,
            source: raw[1] >> 4,
            offset: i32::from(i16::from_le_bytes([raw[2], raw[3]])),
            immediate: i32::from_le_bytes([raw[4], raw[5], raw[6], raw[7]]),
        })
        .collect()
}

/// Deepest stack byte that is reached through the frame pointer or a copy of it.
fn stack_bytes(code: &[Instruction]) -> i32 {
    let mut copies = [false; 11];
    let mut deepest = 0;
    for instruction in code {
        let &Instruction { opcode, destination, source, offset, immediate } = instruction;
        match opcode {
            // r = r10
            0xbf => copies[usize::from(destination)] = source == FRAME_POINTER,
            // r += imm
            0x07 if copies[usize::from(destination)] => deepest = deepest.min(immediate),
            // Stores through r10, loads through r10.
            _ if destination == FRAME_POINTER || source == FRAME_POINTER => {
                deepest = deepest.min(offset);
            }
            _ => {}
        }
    }
    -deepest
}

/// Name, and code, of every program whose section begins with `prefix`.
fn programs(prefix: &str) -> Vec<(String, Vec<Instruction>)> {
    let object = object::File::parse(OBJECT).unwrap();
    let mut found = Vec::new();
    for section in object.sections().filter(|s| s.name().unwrap().starts_with(prefix)) {
        let code = section.data().unwrap();
        for symbol in object.symbols().filter(|s| s.section_index() == Some(section.index())) {
            if symbol.kind() == SymbolKind::Text && symbol.size() > 0 {
                let start = usize::try_from(symbol.address()).unwrap();
                let end = start + usize::try_from(symbol.size()).unwrap();
                found.push((symbol.name().unwrap().to_owned(), decode(&code[start..end])));
            }
        }
    }
    found
}

/// A tail call in the program itself also covers the subprograms that it calls: the kernel decides
/// for both together.
#[test]
fn every_uprobe_program_stays_on_the_kernel_stack() {
    let programs: Vec<_> = ["uprobe", "uretprobe"].into_iter().flat_map(programs).collect();
    assert_eq!(programs.len(), Program::ALL.len(), "programs of the object");
    for (name, code) in programs {
        let guarded = code
            .iter()
            .any(|i| i.opcode == CALL && i.source == 0 && i.immediate == TAIL_CALL_HELPER);
        let stack = stack_bytes(&code);
        assert!(guarded || stack < PRIVATE_STACK_BYTES, "{name} uses {stack} bytes of stack");
    }
}
