//! What registers hold along a function's straight line, as far as it can be told for certain.
//!
//! In: decoded instructions. Out: every call that the line makes, and what was in the registers.
//! Memory is not followed: what was spilled and loaded again is unknown.

use iced_x86::{FlowControl, Mnemonic, OpKind, Register};

use crate::binary::{
    code::{Decoded, Function},
    site::{ARGUMENTS, written},
};

/// Instructions of a wrapper that are followed. OpenSSL's make their call within twenty.
const MAX_LINE: usize = 64;

/// What a register holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Value {
    /// The function's argument of that number, from 0, whole.
    Argument(usize),
    /// The low half of that argument, extended.
    Extended(usize),
    /// An address within the function's own stack frame.
    Frame,
    /// Zero.
    Zero,
    /// Anything.
    Unknown,
}

/// The sixteen general registers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Registers([Value; 16]);

/// Registers that a call may change (System V ABI, AMD64 supplement, 3.2.1).
const CALL_CHANGES: [Register; 9] = [
    Register::RAX,
    Register::RCX,
    Register::RDX,
    Register::RSI,
    Register::RDI,
    Register::R8,
    Register::R9,
    Register::R10,
    Register::R11,
];

impl Registers {
    /// Registers as they are when a function is called.
    fn at_call() -> Self {
        let mut registers = Self([Value::Unknown; 16]);
        for (number, register) in ARGUMENTS.into_iter().enumerate() {
            registers.set(register, Value::Argument(number));
        }
        registers.set(Register::RSP, Value::Frame);
        registers
    }

    /// What the callee will find as its first arguments.
    #[must_use]
    pub fn arguments(&self) -> [Value; 6] {
        ARGUMENTS.map(|register| self.of(register))
    }

    fn of(&self, register: Register) -> Value {
        let whole = register.full_register();
        let known = whole.is_gpr64().then(|| self.0.get(whole.number()));
        known.flatten().copied().unwrap_or(Value::Unknown)
    }

    fn set(&mut self, register: Register, value: Value) {
        let whole = register.full_register();
        if whole.is_gpr64()
            && let Some(slot) = self.0.get_mut(whole.number())
        {
            *slot = value;
        }
    }

    /// Carries an instruction out.
    fn step(&mut self, decoded: &Decoded<'_>) {
        let result = self.result(decoded);
        let frame_kept = matches!(
            decoded.instruction.mnemonic(),
            Mnemonic::Push | Mnemonic::Pop | Mnemonic::Sub | Mnemonic::Add | Mnemonic::And
        );
        for register in written(decoded) {
            if register != Register::RSP || !frame_kept {
                self.set(register, Value::Unknown);
            }
        }
        if decoded.instruction.op0_kind() == OpKind::Register && result != Value::Unknown {
            self.set(decoded.instruction.op0_register(), result);
        }
    }

    /// What the first operand, a register, will hold.
    fn result(&self, decoded: &Decoded<'_>) -> Value {
        let instruction = &decoded.instruction;
        let (to, from) = (instruction.op0_register(), instruction.op1_register());
        let (is_whole, is_half) = (to.is_gpr64(), to.is_gpr32());
        let low_half = |value| match value {
            Value::Argument(number) | Value::Extended(number) => Value::Extended(number),
            Value::Zero => Value::Zero,
            Value::Frame | Value::Unknown => Value::Unknown,
        };
        match (instruction.mnemonic(), instruction.op1_kind()) {
            (Mnemonic::Mov, OpKind::Register) if is_whole => self.of(from),
            (Mnemonic::Mov, OpKind::Register) if is_half => low_half(self.of(from)),
            (Mnemonic::Movsxd, OpKind::Register) if is_whole => low_half(self.of(from)),
            (Mnemonic::Xor | Mnemonic::Sub, OpKind::Register)
                if to == from && (is_whole || is_half) =>
            {
                Value::Zero
            }
            (Mnemonic::Mov, OpKind::Immediate32 | OpKind::Immediate32to64)
                if instruction.immediate32() == 0 && (is_whole || is_half) =>
            {
                Value::Zero
            }
            (Mnemonic::Lea, OpKind::Memory)
                if is_whole
                    && instruction.memory_index() == Register::None
                    && self.of(instruction.memory_base()) == Value::Frame =>
            {
                Value::Frame
            }
            _ => Value::Unknown,
        }
    }
}

/// A direct call of the straight line, or the jump out of the function that ends it.
#[derive(Clone, Copy, Debug)]
pub struct Transfer {
    /// Address to which it goes; an entry of the linkage table is not resolved.
    pub target: u64,
    /// What the registers hold as it goes.
    pub registers: Registers,
}

/// Direct calls along the line from the function's start on which no conditional jump is taken.
#[must_use]
pub fn transfers(function: &Function<'_>) -> Vec<Transfer> {
    let mut registers = Registers::at_call();
    let mut transfers = Vec::new();
    for decoded in function.instructions().map_while(Result::ok).take(MAX_LINE) {
        match decoded.instruction.flow_control() {
            FlowControl::Next | FlowControl::ConditionalBranch => registers.step(&decoded),
            FlowControl::Call | FlowControl::IndirectCall => {
                transfers.extend(decoded.target().map(|target| Transfer { target, registers }));
                for register in CALL_CHANGES {
                    registers.set(register, Value::Unknown);
                }
            }
            FlowControl::UnconditionalBranch => {
                let out = decoded.target().filter(|&target| !function.holds(target));
                transfers.extend(out.map(|target| Transfer { target, registers }));
                break;
            }
            _ => break,
        }
    }
    transfers
}
