//! What an ELF file is, what it exports, and its code.
//!
//! In: a file's bytes, which may be hostile: every read is checked against the slice, nothing is
//! allocated by a size that the file states, and the tables are read up to a bound. Out:
//! [`Library`], plain data.

use std::collections::BTreeMap;

use object::{
    Architecture, Endianness, Object as _, ObjectSection as _, ReadRef as _, RelocationFlags,
    RelocationTarget,
    elf::{
        FileHeader64, PF_X, PT_LOAD, ProgramHeader64, R_X86_64_GLOB_DAT, R_X86_64_JUMP_SLOT,
        SHN_UNDEF, STT_FUNC,
    },
    read::elf::{ElfFile64, ProgramHeader as _, SectionHeader as _, Sym as _, SymbolTable},
};

use crate::binary::{
    code::{Code, Function, Linked, Segment},
    source::Source,
};

/// Dynamic symbols that are read. Node's executable, the widest known, has 75,000.
const MAX_SYMBOLS: usize = 1 << 18;

/// Dynamic relocations that are read: libcrypto has 15,000.
const MAX_RELOCATIONS: usize = 1 << 18;

/// Executable segments that are read: linkers write one, or one for each alignment.
const MAX_SEGMENTS: usize = 16;

/// Bytes of a function that are read of a file that is not read whole.
const MAX_WINDOW: u64 = 64 * 1024;

/// Longest version text, in bytes; what goes on is cut.
const MAX_VERSION: usize = 64;

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

/// A library, or an executable that exports a library's functions.
#[derive(Clone, Debug, Default)]
pub struct Library<'data> {
    /// Build id as hex, where the linker left one.
    pub build_id: Option<String>,
    /// OpenSSL's text about its version, printable ASCII, where the file holds it.
    pub version: Option<String>,
    /// Address and size in bytes of exported functions, of those that were asked for.
    pub exports: BTreeMap<&'static str, (u64, u64)>,
    /// Its machine code.
    pub code: Code<'data>,
}

impl<'data> Library<'data> {
    /// Reads a file, looking for the `wanted` functions.
    ///
    /// # Errors
    /// The file is no x86-64 ELF file. A function that is not exported is simply not there.
    pub fn parse(
        source: impl Into<Source<'data>>,
        wanted: &[&'static str],
    ) -> Result<Self, ElfError> {
        let elf: Elf<'_> = ElfFile64::parse(source.into()).map_err(|_| ElfError::Malformed)?;
        if elf.architecture() != Architecture::X86_64 {
            return Err(ElfError::OtherArchitecture);
        }
        let (exports, starts) = functions(&elf, wanted);
        let segments = match elf.data() {
            Source::Whole(_) => segments(&elf),
            Source::Pieces(_) => windows(&elf, &exports, &starts),
        };
        Ok(Self {
            build_id: elf.build_id().ok().flatten().map(hex),
            version: version(&elf),
            exports,
            code: Code { segments, starts, slots: slots(&elf) },
        })
    }

    /// An exported function. None where it is not exported, or not in the file's code.
    #[must_use]
    pub fn function(&self, name: &str) -> Option<Function<'data>> {
        let &(address, size) = self.exports.get(name)?;
        self.code.function(address, size)
    }

    /// Whether a function is exported.
    #[must_use]
    pub fn exports(&self, name: &str) -> bool {
        self.exports.contains_key(name)
    }
}

type Elf<'data> = ElfFile64<'data, Endianness, Source<'data>>;
type Symbols<'data> = SymbolTable<'data, FileHeader64<Endianness>, Source<'data>>;

/// The wanted functions, and where any exported function begins.
fn functions(
    elf: &Elf<'_>,
    wanted: &[&'static str],
) -> (BTreeMap<&'static str, (u64, u64)>, Vec<u64>) {
    let (endian, symbols) = (elf.endian(), elf.elf_dynamic_symbol_table());
    let names = elf.elf_section_table().section(symbols.string_section());
    let names = names.and_then(|section| section.data(endian, elf.data())).unwrap_or_default();
    let mut exports = BTreeMap::new();
    let mut starts = Vec::new();
    for symbol in symbols.iter().take(MAX_SYMBOLS) {
        if symbol.st_shndx(endian) == SHN_UNDEF || symbol.st_type() != STT_FUNC {
            continue;
        }
        let place = (symbol.st_value(endian), symbol.st_size(endian));
        starts.push(place.0);
        if let Some(name) = name(names, symbol.st_name(endian), wanted) {
            exports.entry(name).or_insert(place);
        }
    }
    starts.sort_unstable();
    (exports, starts)
}

/// Which of the `wanted` names stands at `at`. Compares in place: a hostile table may have no end
/// of a name in megabytes, and as many symbols that look for it.
fn name(names: &[u8], at: u32, wanted: &[&'static str]) -> Option<&'static str> {
    let from = names.get(usize::try_from(at).ok()?..)?;
    let is_here = |name: &&&str| {
        from.strip_prefix(name.as_bytes()).is_some_and(|rest| rest.first() == Some(&0))
    };
    wanted.iter().find(is_here).copied()
}

fn segments<'data>(elf: &Elf<'data>) -> Vec<Segment<'data>> {
    let endian = elf.endian();
    executable(elf)
        .filter_map(|header| {
            let bytes = header.data(endian, elf.data()).ok()?;
            Some(Segment {
                address: header.p_vaddr(endian),
                offset: header.p_offset(endian),
                bytes,
            })
        })
        .collect()
}

fn executable<'elf>(elf: &'elf Elf<'_>) -> impl Iterator<Item = &'elf ProgramHeader64<Endianness>> {
    let endian = elf.endian();
    let is_code = move |header: &&ProgramHeader64<Endianness>| {
        header.p_type(endian) == PT_LOAD && header.p_flags(endian) & PF_X != 0
    };
    elf.elf_program_headers().iter().filter(is_code).take(MAX_SEGMENTS)
}

/// The code of the exported functions alone. What is behind them is not seen: they are probed
/// themselves then.
fn windows<'data>(
    elf: &Elf<'data>,
    exports: &BTreeMap<&'static str, (u64, u64)>,
    starts: &[u64],
) -> Vec<Segment<'data>> {
    let endian = elf.endian();
    let window = |&(address, size): &(u64, u64)| {
        let next = starts.get(starts.partition_point(|&start| start <= address));
        let unsized_len = || next.map_or(MAX_WINDOW, |next| next.saturating_sub(address));
        let len = if size == 0 { unsized_len() } else { size };
        executable(elf).find_map(|header| {
            let within = address.checked_sub(header.p_vaddr(endian))?;
            let rest = header.p_filesz(endian).checked_sub(within)?;
            let offset = header.p_offset(endian).checked_add(within)?;
            let bytes = elf.data().read_bytes_at(offset, len.min(rest).min(MAX_WINDOW)).ok()?;
            (!bytes.is_empty()).then_some(Segment { address, offset, bytes })
        })
    };
    exports.values().filter_map(window).collect()
}

/// What the dynamic linker will write into the linkage table.
fn slots(elf: &Elf<'_>) -> BTreeMap<u64, Linked> {
    let symbols = elf.elf_dynamic_symbol_table();
    let relocations = elf.dynamic_relocations().into_iter().flatten().take(MAX_RELOCATIONS);
    relocations
        .filter_map(|(slot, relocation)| {
            let RelocationFlags::Elf { r_type: R_X86_64_JUMP_SLOT | R_X86_64_GLOB_DAT } =
                relocation.flags()
            else {
                return None;
            };
            Some((slot, linked(symbols, elf.endian(), relocation.target())?))
        })
        .collect()
}

fn linked(symbols: &Symbols<'_>, endian: Endianness, target: RelocationTarget) -> Option<Linked> {
    let RelocationTarget::Symbol(index) = target else { return None };
    let symbol = symbols.symbol(index).ok()?;
    let here = symbol.st_shndx(endian) != SHN_UNDEF;
    Some(if here { Linked::Here(symbol.st_value(endian)) } else { Linked::Elsewhere })
}

/// The text `OpenSSL 3.0.22 25 Aug 2026` among the file's constants: at least the three numbers
/// must be there, as messages name OpenSSL too.
fn version(elf: &Elf<'_>) -> Option<String> {
    let (start, len) = elf.section_by_name(".rodata")?.file_range()?;
    elf.data().search(start..start.checked_add(len)?, MAX_VERSION, version_in)
}

fn version_in(constants: &[u8]) -> Option<String> {
    memchr::memmem::find_iter(constants, b"OpenSSL ").find_map(|at| {
        let rest = constants.get(at..)?;
        let rest = rest.get(..MAX_VERSION).unwrap_or(rest);
        let text = rest.split(|byte| !matches!(byte, b' '..=b'~')).next()?;
        let number = text.strip_prefix(b"OpenSSL ")?.split(|&byte| byte == b' ').next()?;
        let mut parts = number.split(|&byte| byte == b'.');
        let is_number = |part: &&[u8]| part.first().is_some_and(u8::is_ascii_digit);
        let known = parts.by_ref().take(3).filter(is_number).count() == 3 && parts.next().is_none();
        known.then(|| String::from_utf8_lossy(text).into_owned())
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use proptest::{
        collection::vec,
        prelude::{ProptestConfig, any},
        proptest,
    };

    use super::*;

    fn read(name: &str) -> Vec<u8> {
        std::fs::read(format!("/usr/lib/x86_64-linux-gnu/{name}")).unwrap()
    }

    #[test]
    fn finds_exported_functions_of_the_systems_library() {
        let bytes = read("libssl.so.3");
        let wanted = ["SSL_read", "SSL_write_ex", "no_such_function"];
        let library = Library::parse(&bytes, &wanted).unwrap();
        assert_eq!(library.exports.len(), 2);
        assert!(library.build_id.as_ref().is_some_and(|id| id.len() == 40));
        let function = library.function("SSL_read").unwrap();
        let offset = usize::try_from(function.offset).unwrap();
        assert_eq!(bytes[offset..offset + function.bytes.len()], *function.bytes);
        assert!(function.bytes.len() < 4096 && library.function("no_such_function").is_none());
    }

    #[test]
    fn knows_where_the_linkage_table_leads() {
        let bytes = read("libssl.so.3");
        let library = Library::parse(&bytes, &["SSL_read"]).unwrap();
        let slots = &library.code.slots;
        assert!(slots.values().any(|&linked| linked == Linked::Elsewhere));
        assert!(slots.values().any(|&linked| matches!(linked, Linked::Here(_))));
    }

    #[test]
    fn tells_the_version_where_it_stands() {
        let bytes = read("libcrypto.so.3");
        let version = Library::parse(&bytes, &[]).unwrap().version.unwrap();
        assert!(version.starts_with("OpenSSL 3."), "{version}");
        assert_eq!(Library::parse(&read("libssl.so.3"), &[]).unwrap().version, None);
    }

    #[test]
    fn a_file_read_by_piece_shows_the_same_functions() {
        use crate::binary::source::Pieces;
        let path = "/usr/lib/x86_64-linux-gnu/libcrypto.so.3";
        let (wanted, bytes) = (["EVP_KDF_derive", "EVP_PKEY_CTX_ctrl"], read("libcrypto.so.3"));
        let pieces = Pieces::new(std::fs::File::open(path).unwrap()).unwrap();
        let (whole, by_piece) = (
            Library::parse(&bytes, &wanted).unwrap(),
            Library::parse(Source::Pieces(&pieces), &wanted).unwrap(),
        );
        assert_eq!((&whole.exports, &whole.version), (&by_piece.exports, &by_piece.version));
        for name in wanted {
            let [one, other] = [&whole, &by_piece].map(|each| each.function(name).unwrap());
            assert_eq!((one.offset, one.bytes), (other.offset, other.bytes), "{name}");
        }
    }

    #[test]
    fn refuses_what_is_not_elf() {
        for bytes in [b"#!/bin/sh\n".as_slice(), &[]] {
            assert_eq!(Library::parse(bytes, &[]).unwrap_err(), ElfError::Malformed);
        }
    }

    #[test]
    fn truncated_libraries_never_panic() {
        let whole = read("libssl.so.3");
        for len in (0..whole.len()).step_by(whole.len() / 97) {
            let _ = Library::parse(&whole[..len], &["SSL_read"]);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn damaged_libraries_never_panic(damage in vec((0usize..8192, any::<u8>()), 1..40)) {
            let mut bytes = read("libssl.so.3");
            for (at, byte) in damage {
                bytes[at] = byte;
            }
            if let Ok(library) = Library::parse(&bytes, &["SSL_read"]) {
                let _ = library.function("SSL_read").map(|function| function.instructions().count());
            }
        }
    }
}
