//! What an ELF file exports, and where in the file it is.
//!
//! In: bytes of a file, which may be hostile: `object` checks every read against the slice, and
//! nothing is allocated by a size that the file states. Out: [`Exports`].

use std::collections::BTreeMap;

use object::{
    Architecture, Object as _, ObjectSegment as _, ObjectSymbol as _, SymbolKind,
    read::elf::ElfFile64,
};
use serde::Serialize;

/// Why a file is not a library that can be probed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ElfError {
    /// Not ELF, or malformed.
    #[error("not a well-formed 64-bit ELF file")]
    Malformed,
    /// Compiled for another processor.
    #[error("not compiled for x86-64")]
    OtherArchitecture,
}

/// Functions that a file exports, of those that were asked for.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Exports {
    /// Build id as hex, where the linker left one.
    pub build_id: Option<String>,
    /// File offsets in bytes, by function name.
    pub functions: BTreeMap<&'static str, u64>,
}

/// Looks for the `wanted` functions among the file's dynamic symbols.
///
/// # Errors
/// The file is no x86-64 ELF file. A function that is not exported is simply not in the answer.
pub fn exports(bytes: &[u8], wanted: &[&'static str]) -> Result<Exports, ElfError> {
    let elf: ElfFile64<'_> = ElfFile64::parse(bytes).map_err(|_| ElfError::Malformed)?;
    if elf.architecture() != Architecture::X86_64 {
        return Err(ElfError::OtherArchitecture);
    }
    let build_id = elf.build_id().ok().flatten().map(hex);
    let mut functions = BTreeMap::new();
    for symbol in elf.dynamic_symbols() {
        if !symbol.is_definition() || symbol.kind() != SymbolKind::Text {
            continue;
        }
        let Ok(name) = symbol.name() else { continue };
        if let Some(&name) = wanted.iter().find(|&&wanted| wanted == name)
            && let Some(offset) = file_offset(&elf, symbol.address())
        {
            functions.insert(name, offset);
        }
    }
    Ok(Exports { build_id, functions })
}

/// Where in the file the byte that is mapped at `address` lies.
fn file_offset(elf: &ElfFile64<'_>, address: u64) -> Option<u64> {
    elf.segments().find_map(|segment| {
        let (start, len) = segment.file_range();
        let within = address.checked_sub(segment.address())?;
        (within < len).then(|| start.checked_add(within)).flatten()
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use proptest::{
        collection::vec,
        prelude::{ProptestConfig, any, proptest},
    };

    use super::*;

    fn libssl() -> Vec<u8> {
        std::fs::read("/usr/lib/x86_64-linux-gnu/libssl.so.3").unwrap()
    }

    #[test]
    fn finds_exported_functions_of_the_systems_library() {
        let exports =
            exports(&libssl(), &["SSL_read", "SSL_write_ex", "no_such_function"]).unwrap();
        assert_eq!(exports.functions.len(), 2);
        assert!(exports.build_id.is_some_and(|id| id.len() == 40));
    }

    #[test]
    fn refuses_what_is_not_elf() {
        assert_eq!(exports(b"#!/bin/sh\n", &["SSL_read"]), Err(ElfError::Malformed));
        assert_eq!(exports(&[], &["SSL_read"]), Err(ElfError::Malformed));
    }

    #[test]
    fn truncated_libraries_never_panic() {
        let whole = libssl();
        for len in (0..whole.len()).step_by(whole.len() / 97) {
            let _ = exports(&whole[..len], &["SSL_read"]);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn damaged_libraries_never_panic(damage in vec((0usize..8192, any::<u8>()), 1..40)) {
            let mut bytes = libssl();
            for (at, byte) in damage {
                bytes[at] = byte;
            }
            let _ = exports(&bytes, &["SSL_read"]);
        }
    }
}
