//! Machine code of an ELF file: where it is mapped, the bytes of its functions, instructions, and
//! where calls lead.
//!
//! In: executable segments, which may hold anything. Out: [`Function`]s and [`Decoded`]
//! instructions. Every read is checked against the slice; nothing is followed, only decoded, and
//! decoding always moves forward.

use std::collections::BTreeMap;

use iced_x86::{Decoder, DecoderOptions, FastFormatter, FlowControl, Instruction, OpKind};

/// A piece of executable memory that is backed by the file.
#[derive(Clone, Copy, Debug)]
pub struct Segment<'data> {
    /// Address of its first byte, as linked.
    pub address: u64,
    /// Where that byte lies in the file.
    pub offset: u64,
    /// Its bytes.
    pub bytes: &'data [u8],
}

/// Where a call or jump by way of the linkage table ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Linked {
    /// In a function of this file, at that address, unless another file interposes it.
    Here(u64),
    /// In another file.
    Elsewhere,
}

/// The executable part of a file.
#[derive(Clone, Debug, Default)]
pub struct Code<'data> {
    /// Executable segments, in the order of the file's headers.
    pub segments: Vec<Segment<'data>>,
    /// Addresses at which functions are known to begin, ascending.
    pub starts: Vec<u64>,
    /// Slots of the linkage table, by address, as relocations will fill them.
    pub slots: BTreeMap<u64, Linked>,
}

impl<'data> Code<'data> {
    /// The function at `address`, of `size` bytes, or where that is zero, up to the next start of
    /// a function. None where no executable segment of the file holds all of it.
    #[must_use]
    pub fn function(&self, address: u64, size: u64) -> Option<Function<'data>> {
        let segment = self.segments.iter().find(|segment| segment.rest(address).is_some())?;
        let rest = segment.rest(address)?;
        let within = address.checked_sub(segment.address)?;
        let next = self.starts.partition_point(|&start| start <= address);
        let bytes = match (size, self.starts.get(next)) {
            (0, None) => rest,
            (0, Some(next)) => {
                let bound = usize::try_from(next.checked_sub(address)?).ok()?;
                rest.get(..bound).unwrap_or(rest)
            }
            (size, _) => rest.get(..usize::try_from(size).ok()?)?,
        };
        Some(Function { address, offset: segment.offset.checked_add(within)?, bytes })
    }

    /// Where `stub`, an entry of the procedure linkage table, leads. None where no stub is there.
    #[must_use]
    pub fn stub(&self, stub: u64) -> Option<Linked> {
        let rest = self.segments.iter().find_map(|segment| segment.rest(stub))?;
        let stub = Function { address: stub, offset: 0, bytes: rest };
        let jump = stub.instructions().flatten().find(|each| !each.is_landing_mark())?;
        if jump.instruction.flow_control() != FlowControl::IndirectBranch {
            return None;
        }
        self.slot(&jump)
    }

    /// Where an indirect call or jump leads, if it is by way of the linkage table.
    #[must_use]
    pub fn slot(&self, indirect: &Decoded<'_>) -> Option<Linked> {
        let by_memory = indirect.instruction.op0_kind() == OpKind::Memory
            && indirect.instruction.is_ip_rel_memory_operand();
        let address = by_memory.then(|| indirect.instruction.ip_rel_memory_address())?;
        self.slots.get(&address).copied()
    }
}

impl<'data> Segment<'data> {
    /// Bytes from `address` on; none beyond the segment, and never empty.
    fn rest(&self, address: u64) -> Option<&'data [u8]> {
        let within = usize::try_from(address.checked_sub(self.address)?).ok()?;
        self.bytes.get(within..).filter(|rest| !rest.is_empty())
    }
}

/// The bytes of one function.
#[derive(Clone, Copy, Debug)]
pub struct Function<'data> {
    /// Address of its first instruction, as linked.
    pub address: u64,
    /// Where that instruction lies in the file, in bytes.
    pub offset: u64,
    /// Its bytes. May reach into what follows it where its size is not known.
    pub bytes: &'data [u8],
}

/// There is no instruction, or not all of it, this many bytes after the function's start.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Undecodable(pub u64);

impl<'data> Function<'data> {
    /// Its instructions in the order of addresses, up to the first that cannot be decoded.
    pub fn instructions(&self) -> impl Iterator<Item = Result<Decoded<'data>, Undecodable>> {
        let Self { address, bytes, .. } = *self;
        let mut decoder = Decoder::with_ip(64, bytes, address, DecoderOptions::NONE);
        let mut failed = false;
        std::iter::from_fn(move || {
            if failed || !decoder.can_decode() {
                return None;
            }
            let start = decoder.position();
            let instruction = decoder.decode();
            let bytes = bytes.get(start..decoder.position()).unwrap_or_default();
            let distance = instruction.ip().wrapping_sub(address);
            failed = instruction.is_invalid() || bytes.is_empty();
            Some(if failed {
                Err(Undecodable(distance))
            } else {
                Ok(Decoded { distance, bytes, instruction })
            })
        })
    }

    /// Whether `address` is one of its bytes.
    #[must_use]
    pub fn holds(&self, address: u64) -> bool {
        let within = address.checked_sub(self.address).and_then(|n| usize::try_from(n).ok());
        within.is_some_and(|within| within < self.bytes.len())
    }
}

/// An instruction of a function.
#[derive(Clone, Copy, Debug)]
pub struct Decoded<'data> {
    /// Bytes between the function's start and this instruction.
    pub distance: u64,
    /// Its encoding.
    pub bytes: &'data [u8],
    /// What it does.
    pub instruction: Instruction,
}

impl Decoded<'_> {
    /// Whether it is `endbr64`, which only marks where indirect calls may land.
    #[must_use]
    pub fn is_landing_mark(&self) -> bool {
        self.bytes == [0xf3, 0x0f, 0x1e, 0xfa]
    }

    /// Address of a direct jump or call; none for anything else.
    #[must_use]
    pub fn target(&self) -> Option<u64> {
        let is_near = matches!(self.instruction.op0_kind(), OpKind::NearBranch64);
        is_near.then(|| self.instruction.near_branch64())
    }

    /// Its text, as a disassembler prints it.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        let mut formatter = FastFormatter::new();
        formatter.options_mut().set_uppercase_hex(false);
        formatter.options_mut().set_use_hex_prefix(true);
        formatter.format(&self.instruction, &mut text);
        text
    }
}
