//! Where in a function a probe costs least, x86-64.
//!
//! In: the bytes of a function, and what the probe's program reads. Out: a [`Site`], proved from
//! the bytes alone, or the reason why there is none; then [`first`] is the place.
//!
//! A probe costs a tenth where the kernel can emulate the instruction beneath it. From the
//! function's start the straight line is decoded for as long as everything that the program reads
//! is still where the caller put it. What is not seen: jumps into that line by a table or from
//! another function; they could only make the program miss or repeat a call, never break the
//! process, since every site is an instruction boundary.

use std::fmt;

use iced_x86::{FlowControl, InstructionInfoFactory, OpAccess, Register};
use serde::{Serialize, Serializer};

use crate::binary::code::{Decoded, Function, Undecodable};

/// Instructions of the straight line that are looked at. Compilers move arguments away long before.
const MAX_LINE: usize = 64;

/// Instructions of a function that are searched for jumps into the line. `SSL_free`, the longest
/// that is probed, has 300.
const MAX_INSTRUCTIONS: usize = 16_384;

/// Registers of the first six arguments (System V ABI, AMD64 supplement, 3.2.3).
pub(in crate::binary) const ARGUMENTS: [Register; 6] =
    [Register::RDI, Register::RSI, Register::RDX, Register::RCX, Register::R8, Register::R9];

/// What a program reads at its probe.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Needs {
    /// How many arguments, at most six: those in registers.
    pub arguments: usize,
    /// Whether the stack pointer must be at the return address: so it must be for a return probe,
    /// and for programs that know a call by its stack pointer.
    pub return_address: bool,
}

impl Needs {
    /// What the kernel needs to probe the function's return.
    pub const RETURN: Self = Self { arguments: 0, return_address: true };
}

/// What a hit costs the probed process; figures stand in `docs/probes.md`.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CostClass {
    /// The kernel carries the instruction out itself: one trap.
    Emulated,
    /// The same, right behind an `endbr64`.
    EmulatedAfterEndbr,
    /// A five-byte nop: a call in place of a trap where the kernel can (6.18 and newer), stepped
    /// over on older ones.
    OptimisedNop,
    /// The kernel copies the instruction elsewhere and steps over it: two traps.
    SingleStepped,
}

impl fmt::Display for CostClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Emulated => "emulated",
            Self::EmulatedAfterEndbr => "emulated, behind endbr64",
            Self::OptimisedNop => "optimised nop",
            Self::SingleStepped => "single-stepped",
        })
    }
}

/// A place for a probe: always an instruction boundary.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Site {
    /// Offset in the file, in bytes.
    pub offset: u64,
    /// Bytes between the function's start and the site.
    pub distance: u64,
    /// The instruction there.
    pub instruction: String,
    /// What a hit costs.
    pub cost: CostClass,
    /// Why this place.
    #[serde(serialize_with = "as_text")]
    pub reason: Reason,
}

/// Why a site was chosen.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Reason {
    /// The proof succeeded.
    #[error("cheapest place where everything that the program reads is still in place")]
    Proved,
    /// It did not; every function may be probed where it begins.
    #[error("where the function begins, as no cheaper place was proved: {0}")]
    First(NoSite),
}

/// Why no site was proved. Distances count bytes from the function's start.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NoSite {
    /// The bytes are no instruction, or end within one.
    #[error("there is no whole instruction at +{0:#x}")]
    Undecodable(u64),
    /// An argument is overwritten before any instruction that the kernel emulates.
    #[error("an argument is overwritten at +{0:#x}")]
    ArgumentOverwritten(u64),
    /// The stack pointer leaves the return address before any such instruction.
    #[error("the stack pointer is moved at +{0:#x}")]
    StackMoved(u64),
    /// The straight line ends without one.
    #[error("the straight line ends at +{0:#x}")]
    LineEnds(u64),
    /// The function is entered between its start and the site.
    #[error("the jump at +{0:#x} enters before the cheaper place")]
    Entered(u64),
    /// The straight line, or the function, is longer than anything that is looked at.
    #[error("it is too long to be searched")]
    TooLong,
}

impl From<Undecodable> for NoSite {
    fn from(Undecodable(distance): Undecodable) -> Self {
        Self::Undecodable(distance)
    }
}

/// The cheapest place at which everything that `needs` names is as it was at the call.
///
/// # Errors
/// None was proved; see [`NoSite`].
pub fn site(function: &Function<'_>, needs: Needs) -> Result<Site, NoSite> {
    let (line, end) = straight_line(function, needs);
    let cost = |decoded: &Decoded<'_>| cost_of(decoded.bytes);
    let emulated = line.iter().find(|each| cost(each) == CostClass::Emulated);
    let optimised = || line.iter().find(|each| cost(each) == CostClass::OptimisedNop);
    let found = emulated.or_else(optimised).ok_or(end)?;
    refuse_if_entered(function, found.distance)?;
    let marked = line.first().is_some_and(Decoded::is_landing_mark);
    let cost = match cost(found) {
        CostClass::Emulated if marked => CostClass::EmulatedAfterEndbr,
        cost => cost,
    };
    Ok(place(function, found, cost, Reason::Proved))
}

/// The function's first instruction, for want of a better place.
///
/// # Errors
/// There is no instruction.
pub fn first(function: &Function<'_>, why: NoSite) -> Result<Site, NoSite> {
    let first = function.instructions().next().ok_or(NoSite::Undecodable(0))??;
    Ok(place(function, &first, cost_of(first.bytes), Reason::First(why)))
}

/// The cheapest proved place, or else the first instruction.
///
/// # Errors
/// There is no instruction.
pub fn best(function: &Function<'_>, needs: Needs) -> Result<Site, NoSite> {
    site(function, needs).or_else(|why| first(function, why))
}

fn place(function: &Function<'_>, at: &Decoded<'_>, cost: CostClass, reason: Reason) -> Site {
    Site {
        offset: function.offset.saturating_add(at.distance),
        distance: at.distance,
        instruction: at.text(),
        cost,
        reason,
    }
}

/// Instructions before which all that is needed is still in place, and why the last is the last.
fn straight_line<'data>(function: &Function<'data>, needs: Needs) -> (Vec<Decoded<'data>>, NoSite) {
    let mut line = Vec::new();
    for decoded in function.instructions() {
        let decoded = match decoded {
            Ok(_) if line.len() == MAX_LINE => return (line, NoSite::TooLong),
            Ok(decoded) => decoded,
            Err(undecodable) => return (line, undecodable.into()),
        };
        line.push(decoded);
        if let Some(end) = ends_line(&decoded, needs) {
            return (line, end);
        }
    }
    let end = u64::try_from(function.bytes.len()).unwrap_or(u64::MAX);
    (line, NoSite::Undecodable(end))
}

/// Whether the straight line, or what is needed, ends with this instruction.
fn ends_line(decoded: &Decoded<'_>, needs: Needs) -> Option<NoSite> {
    if decoded.instruction.flow_control() != FlowControl::Next {
        return Some(NoSite::LineEnds(decoded.distance));
    }
    let arguments = ARGUMENTS.get(..needs.arguments).unwrap_or(&ARGUMENTS);
    written(decoded).into_iter().find_map(|register| {
        if arguments.contains(&register) {
            return Some(NoSite::ArgumentOverwritten(decoded.distance));
        }
        let moves = needs.return_address && register == Register::RSP;
        moves.then_some(NoSite::StackMoved(decoded.distance))
    })
}

/// Registers that an instruction writes or may write, each by its widest name.
pub(in crate::binary) fn written(decoded: &Decoded<'_>) -> Vec<Register> {
    let mut factory = InstructionInfoFactory::new();
    let used = factory.info(&decoded.instruction).used_registers().iter();
    used.filter(|used| {
        !matches!(used.access(), OpAccess::None | OpAccess::Read | OpAccess::CondRead)
    })
    .map(|used| used.register().full_register())
    .collect()
}

/// What a probe on this instruction costs. By its encoding, as the kernel decides it
/// (`arch/x86/kernel/uprobes.c`): with a prefix, the same instruction is not emulated, or refused.
const fn cost_of(encoding: &[u8]) -> CostClass {
    match encoding {
        // push r64, r8 to r15 by REX.B; nop
        [0x50..=0x57] | [0x41, 0x50..=0x57] | [0x90] => CostClass::Emulated,
        // jmp and conditional jumps, short; then jmp, call and conditional jumps, near
        [0xeb | 0x70..=0x7f, _] | [0xe8 | 0xe9, _, _, _, _] | [0x0f, 0x80..=0x8f, _, _, _, _] => {
            CostClass::Emulated
        }
        [0x0f, 0x1f, 0x44, 0x00, 0x00] => CostClass::OptimisedNop,
        _ => CostClass::SingleStepped,
    }
}

/// Fails if any jump of the function lands behind its start and no further than `distance`: then
/// the site would be reached without the start.
fn refuse_if_entered(function: &Function<'_>, distance: u64) -> Result<(), NoSite> {
    if distance == 0 {
        return Ok(());
    }
    let mut instructions = function.instructions();
    for decoded in instructions.by_ref().take(MAX_INSTRUCTIONS) {
        let decoded = decoded?;
        let target = decoded.target().and_then(|target| target.checked_sub(function.address));
        if target.is_some_and(|target| (1..=distance).contains(&target)) {
            return Err(NoSite::Entered(decoded.distance));
        }
    }
    instructions.next().map_or(Ok(()), |_| Err(NoSite::TooLong))
}

/// Serialises by `Display`.
pub(in crate::binary) fn as_text<T: fmt::Display, S: Serializer>(
    value: &T,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

#[cfg(test)]
mod tests;
