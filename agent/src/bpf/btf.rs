//! Where a field lies within a structure of the running kernel, from `/sys/kernel/btf/vmlinux`
//! (layout: the kernel's `Documentation/bpf/btf.rst`).
//!
//! In: the raw type information. Out: byte offsets. aya parses BTF too but keeps members to
//! itself, and the kernel half has no relocations of its own.

use std::{fs, io, path::Path};

/// Where the kernel publishes its own types.
pub const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

/// Typedefs and anonymous members are followed this deep: the kernel nests two or three levels.
const MAX_DEPTH: u32 = 16;

const MAGIC: u16 = 0xeb9f;
const KIND_INT: u32 = 1;
const KIND_ARRAY: u32 = 3;
const KIND_STRUCT: u32 = 4;
const KIND_UNION: u32 = 5;
const KIND_ENUM: u32 = 6;
const KIND_TYPEDEF: u32 = 8;
const KIND_VOLATILE: u32 = 9;
const KIND_CONST: u32 = 10;
const KIND_FUNC: u32 = 12;
const KIND_FUNC_PROTO: u32 = 13;
const KIND_VAR: u32 = 14;
const KIND_DATASEC: u32 = 15;
const KIND_DECL_TAG: u32 = 17;
const KIND_ENUM64: u32 = 19;

/// Why type information could not be used.
#[derive(Debug, thiserror::Error)]
pub enum BtfError {
    /// The file is absent or unreadable.
    #[error("cannot read {VMLINUX}")]
    Read(#[source] io::Error),
    /// The content is not what the format says.
    #[error("{VMLINUX} is malformed")]
    Malformed,
}

/// The kernel's types.
pub struct Btf {
    data: Vec<u8>,
    strings: usize,
    /// Start of each type's record within `data`, by type id less one.
    types: Vec<usize>,
}

impl Btf {
    /// Reads the running kernel's types.
    ///
    /// # Errors
    /// The file is absent (a kernel without `CONFIG_DEBUG_INFO_BTF`), unreadable or malformed.
    pub fn of_kernel() -> Result<Self, BtfError> {
        let data = fs::read(Path::new(VMLINUX)).map_err(BtfError::Read)?;
        Self::parse(data).ok_or(BtfError::Malformed)
    }

    /// Indexes raw type information of this machine's byte order.
    fn parse(data: Vec<u8>) -> Option<Self> {
        if u16::from_ne_bytes(data.get(..2)?.try_into().ok()?) != MAGIC {
            return None;
        }
        let header = word(&data, 4)? as usize;
        let start = header.checked_add(word(&data, 8)? as usize)?;
        let end = start.checked_add(word(&data, 12)? as usize)?;
        let strings = header.checked_add(word(&data, 16)? as usize)?;
        let mut types = Vec::new();
        let mut at = start;
        while at < end {
            types.push(at);
            at = at.checked_add(12)?.checked_add(extra(word(&data, at.checked_add(4)?)?)?)?;
        }
        Some(Self { data, strings, types })
    }

    /// Offset in bytes of `member` within `structure`, anonymous members looked into. `None` where
    /// the kernel has no such structure or member.
    #[must_use]
    pub fn offset_of(&self, structure: &str, member: &str) -> Option<u32> {
        let id = self.find(KIND_STRUCT, structure)?;
        self.member(id, member, 0).map(|bits| bits / 8)
    }

    /// Whether the kernel has the tracepoint `name` for programs with typed arguments.
    #[must_use]
    pub fn has_tracepoint(&self, name: &str) -> bool {
        self.find(KIND_TYPEDEF, &format!("btf_trace_{name}")).is_some()
    }

    /// Whether the kernel has a function of this name that tells its type.
    #[must_use]
    pub fn has_function(&self, name: &str) -> bool {
        self.find(KIND_FUNC, name).is_some()
    }

    fn find(&self, kind: u32, name: &str) -> Option<usize> {
        self.types.iter().copied().find(|&at| {
            word(&self.data, at + 4).is_some_and(|info| kind_of(info) == kind)
                && self.name(at) == Some(name.as_bytes())
        })
    }

    /// Offset in bits of a member, searched in the structure whose record is at `at`.
    fn member(&self, at: usize, name: &str, depth: u32) -> Option<u32> {
        if depth > MAX_DEPTH {
            return None;
        }
        let info = word(&self.data, at.checked_add(4)?)?;
        for index in 0..(info & 0xffff) as usize {
            let member = at.checked_add(12)?.checked_add(index.checked_mul(12)?)?;
            // With the kind flag the upper byte is a bit field's width.
            let raw = word(&self.data, member.checked_add(8)?)?;
            let bits = if info >> 31 == 1 { raw & 0x00ff_ffff } else { raw };
            let found = self.name(member)?;
            if found == name.as_bytes() {
                return Some(bits);
            }
            if found.is_empty()
                && let Some(inner) = self.structure(word(&self.data, member.checked_add(4)?)?)
                && let Some(rest) = self.member(inner, name, depth + 1)
            {
                return bits.checked_add(rest);
            }
        }
        None
    }

    /// The structure or union that a type id ends in, qualifiers and typedefs followed.
    fn structure(&self, mut id: u32) -> Option<usize> {
        for _ in 0..MAX_DEPTH {
            let at = *self.types.get(id.checked_sub(1)? as usize)?;
            match kind_of(word(&self.data, at + 4)?) {
                KIND_STRUCT | KIND_UNION => return Some(at),
                KIND_TYPEDEF | KIND_VOLATILE | KIND_CONST => id = word(&self.data, at + 8)?,
                _ => return None,
            }
        }
        None
    }

    fn name(&self, at: usize) -> Option<&[u8]> {
        let start = self.strings.checked_add(word(&self.data, at)? as usize)?;
        self.data.get(start..)?.split(|&byte| byte == 0).next()
    }
}

const fn kind_of(info: u32) -> u32 {
    (info >> 24) & 0x1f
}

/// Bytes that follow a type's common part.
fn extra(info: u32) -> Option<usize> {
    let count = (info & 0xffff) as usize;
    match kind_of(info) {
        KIND_INT | KIND_VAR | KIND_DECL_TAG => Some(4),
        KIND_ARRAY => Some(12),
        KIND_STRUCT | KIND_UNION | KIND_DATASEC | KIND_ENUM64 => count.checked_mul(12),
        KIND_ENUM | KIND_FUNC_PROTO => count.checked_mul(8),
        _ => Some(0),
    }
}

fn word(data: &[u8], at: usize) -> Option<u32> {
    let bytes = data.get(at..at.checked_add(4)?)?;
    Some(u32::from_ne_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Types: 1 `struct net { int ns; }`, 2 anonymous union {a at 0, b at 0},
    /// 3 `struct sock { u32 x; <anonymous 2> at 64 bits; }`, 4 `typedef btf_trace_probe`,
    /// 5 the function `ask`.
    fn sample() -> Vec<u8> {
        let strings = b"\0net\0ns\0a\0b\0sock\0x\0btf_trace_probe\0ask\0";
        let name = |s: &str| {
            let s = format!("\0{s}\0");
            let at = strings.windows(s.len()).position(|w| w == s.as_bytes()).unwrap();
            u32::try_from(at + 1).unwrap()
        };
        let mut types: Vec<u32> = Vec::new();
        types.extend([name("net"), KIND_STRUCT << 24 | 1, 4, name("ns"), 0, 32]);
        types.extend([0, KIND_UNION << 24 | 2, 4, name("a"), 0, 0, name("b"), 0, 16]);
        types.extend([name("sock"), KIND_STRUCT << 24 | 2, 12, name("x"), 0, 0, 0, 2, 64]);
        types.extend([name("btf_trace_probe"), KIND_TYPEDEF << 24, 0]);
        types.extend([name("ask"), KIND_FUNC << 24, 0]);
        let types: Vec<u8> = types.iter().flat_map(|w| w.to_ne_bytes()).collect();
        let len = u32::try_from(types.len()).unwrap();
        let mut data = MAGIC.to_ne_bytes().to_vec();
        data.extend([1, 0]);
        for word in [24, 0, len, len, u32::try_from(strings.len()).unwrap()] {
            data.extend(word.to_ne_bytes());
        }
        data.extend(types);
        data.extend(strings);
        data
    }

    #[test]
    fn finds_members_also_within_anonymous_ones() {
        let btf = Btf::parse(sample()).unwrap();
        assert_eq!(btf.offset_of("net", "ns"), Some(4));
        assert_eq!(btf.offset_of("sock", "x"), Some(0));
        assert_eq!(btf.offset_of("sock", "b"), Some(10));
        assert_eq!(btf.offset_of("sock", "absent"), None);
        assert_eq!(btf.offset_of("absent", "x"), None);
        assert!(btf.has_tracepoint("probe"));
        assert!(!btf.has_tracepoint("other"));
        assert!(btf.has_function("ask") && !btf.has_function("net"));
    }

    #[test]
    fn truncated_type_information_is_refused_or_finds_nothing_but_never_panics() {
        let whole = sample();
        for len in 0..whole.len() {
            if let Some(btf) = Btf::parse(whole[..len].to_vec()) {
                let _ = btf.offset_of("sock", "b");
            }
        }
    }
}
