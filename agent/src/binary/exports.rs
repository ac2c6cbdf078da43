//! Whether an executable exports a function, asked of its hash table alone.
//!
//! In: any file, by positioned reads of a few hundred bytes each; nothing is allocated by a size
//! that the file states. Out: yes or no; a malformed file exports nothing. An ordinary executable
//! is done with after four small reads, however long it is.

use std::{fs::File, os::unix::fs::FileExt as _};

/// Program headers that are looked at: executables have a dozen.
const MAX_HEADERS: u16 = 64;

/// Entries of the dynamic section that are looked at: executables have some thirty.
const MAX_DYNAMIC: usize = 128;

/// Symbols of one bucket that are looked at: linkers aim at two.
const MAX_CHAIN: u64 = 256;

/// Longest name that is compared, in bytes.
const MAX_NAME: usize = 64;

// Sizes in bytes (ELF-64 object file format).
const HEADER: usize = 64;
const PROGRAM_HEADER: usize = 56;
const SYMBOL: u64 = 24;
const DYNAMIC: usize = 16;

const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const DT_STRTAB: u64 = 5;
const DT_SYMTAB: u64 = 6;
const DT_GNU_HASH: u64 = 0x6fff_fef5;

/// Whether the file exports one of `names`. Only files with a GNU hash table are asked: every
/// linker for Linux has written one since 2010, but for Go's, which exports nothing.
#[must_use]
pub fn any(file: &File, names: &[&str]) -> bool {
    Table::open(file).is_some_and(|table| names.iter().any(|name| table.has(name).is_some()))
}

/// What is mapped where.
struct Load {
    address: u64,
    len: u64,
    offset: u64,
}

/// The table of exported symbols.
struct Table<'file> {
    file: &'file File,
    loads: Vec<Load>,
    strings: u64,
    symbols: u64,
    buckets: u32,
    first: u32,
    bloom_words: u32,
    bloom_shift: u32,
    /// Address of the Bloom filter, behind which lie buckets and chains.
    bloom: u64,
}

impl<'file> Table<'file> {
    fn open(file: &'file File) -> Option<Self> {
        let header: [u8; HEADER] = read(file, 0)?;
        // 64 bits, little-endian, x86-64.
        let known = header.starts_with(b"\x7fELF\x02\x01") && header.get(18..20)? == [62, 0];
        let count = u16::from_le_bytes(part(&header, 56)?).min(MAX_HEADERS);
        let start = u64::from_le_bytes(part(&header, 32)?);
        let (mut loads, mut dynamic) = (Vec::new(), None);
        for index in 0..u64::from(if known { count } else { 0 }) {
            let at = start.checked_add(index * u64::try_from(PROGRAM_HEADER).ok()?)?;
            let each: [u8; PROGRAM_HEADER] = read(file, at)?;
            let number = |at| Some(u64::from_le_bytes(part(&each, at)?));
            let (offset, address, len) = (number(8)?, number(16)?, number(32)?);
            match u32::from_le_bytes(part(&each, 0)?) {
                PT_LOAD => loads.push(Load { address, len, offset }),
                PT_DYNAMIC => dynamic = Some((offset, len)),
                _ => {}
            }
        }
        let mut found = [0; 3];
        let (offset, len) = dynamic?;
        let mut bytes = vec![0; usize::try_from(len).ok()?.min(MAX_DYNAMIC * DYNAMIC)];
        file.read_exact_at(&mut bytes, offset).ok()?;
        for entry in bytes.chunks_exact(DYNAMIC) {
            let value = u64::from_le_bytes(part(entry, 8)?);
            match u64::from_le_bytes(part(entry, 0)?) {
                DT_STRTAB => found[0] = value,
                DT_SYMTAB => found[1] = value,
                DT_GNU_HASH => found[2] = value,
                _ => {}
            }
        }
        let [strings, symbols, hash] = found;
        let mut table = Self {
            file,
            loads,
            strings,
            symbols,
            buckets: 0,
            first: 0,
            bloom_words: 0,
            bloom_shift: 0,
            bloom: hash.checked_add(16)?,
        };
        let head: [u8; 16] = table.at(hash)?;
        table.buckets = u32::from_le_bytes(part(&head, 0)?);
        table.first = u32::from_le_bytes(part(&head, 4)?);
        table.bloom_words = u32::from_le_bytes(part(&head, 8)?);
        table.bloom_shift = u32::from_le_bytes(part(&head, 12)?);
        Some(table)
    }

    /// Looks `name` up as the dynamic linker does.
    fn has(&self, name: &str) -> Option<()> {
        let hash = gnu_hash(name);
        let word = u64::from(hash / 64).checked_rem(self.bloom_words.into())?;
        let word = u64::from_le_bytes(self.at(self.bloom.checked_add(word * 8)?)?);
        let bits = (1_u64 << (hash % 64)) | (1 << (hash.checked_shr(self.bloom_shift)? % 64));
        if word & bits != bits {
            return None;
        }
        let buckets = self.bloom.checked_add(u64::from(self.bloom_words) * 8)?;
        let bucket = u64::from(hash.checked_rem(self.buckets)?);
        let index = u32::from_le_bytes(self.at(buckets.checked_add(bucket * 4)?)?);
        let chains = buckets.checked_add(u64::from(self.buckets) * 4)?;
        for step in 0..MAX_CHAIN {
            let behind_first = u64::from(index.checked_sub(self.first)?) + step;
            let value = u32::from_le_bytes(self.at(chains.checked_add(behind_first * 4)?)?);
            if value | 1 == hash | 1 && self.is_called(u64::from(index) + step, name).is_some() {
                return Some(());
            }
            if value & 1 == 1 {
                return None;
            }
        }
        None
    }

    /// Whether the symbol of that index has that name.
    fn is_called(&self, index: u64, name: &str) -> Option<()> {
        let symbol: [u8; 4] = self.at(self.symbols.checked_add(index * SYMBOL)?)?;
        let at = self.offset(self.strings.checked_add(u32::from_le_bytes(symbol).into())?)?;
        let mut buffer = [0; MAX_NAME];
        let bytes = buffer.get_mut(..=name.len())?;
        self.file.read_exact_at(bytes, at).ok()?;
        (bytes.strip_prefix(name.as_bytes())? == [0]).then_some(())
    }

    fn at<const LEN: usize>(&self, address: u64) -> Option<[u8; LEN]> {
        read(self.file, self.offset(address)?)
    }

    fn offset(&self, address: u64) -> Option<u64> {
        self.loads.iter().find_map(|load| {
            let within = address.checked_sub(load.address)?;
            (within < load.len).then(|| load.offset.checked_add(within))?
        })
    }
}

/// The hash of a name in GNU hash tables.
fn gnu_hash(name: &str) -> u32 {
    name.bytes().fold(5381, |hash: u32, byte| hash.wrapping_mul(33).wrapping_add(byte.into()))
}

fn read<const LEN: usize>(file: &File, at: u64) -> Option<[u8; LEN]> {
    let mut bytes = [0; LEN];
    file.read_exact_at(&mut bytes, at).ok()?;
    Some(bytes)
}

fn part<const LEN: usize>(bytes: &[u8], at: usize) -> Option<[u8; LEN]> {
    bytes.get(at..)?.first_chunk().copied()
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use proptest::{
        collection::vec,
        prelude::{ProptestConfig, any as arbitrary},
        proptest,
    };

    use super::*;

    const LIBRARY: &str = "/usr/lib/x86_64-linux-gnu/libssl.so.3";

    fn check(path: &str, names: &[&str], expected: bool) {
        assert_eq!(any(&File::open(path).unwrap(), names), expected, "{path}: {names:?}");
    }

    #[test]
    fn finds_what_is_exported_and_nothing_else() {
        check(LIBRARY, &["SSL_read"], true);
        check(LIBRARY, &["no_such", "SSL_write_ex"], true);
        // Imported, and a part of a name that is exported.
        check(LIBRARY, &["EVP_KDF_derive", "SSL_rea", "SSL_read_"], false);
        check("/usr/bin/env", &["SSL_read"], false);
        check("/etc/passwd", &["SSL_read"], false);
        check("/dev/null", &["SSL_read"], false);
    }

    #[test]
    fn agrees_with_the_whole_table_on_every_name() {
        let bytes = std::fs::read(LIBRARY).unwrap();
        let wanted = ["SSL_read", "SSL_free", "SSL_clear", "TLS_method", "SSL_nothing"];
        let library = crate::binary::elf::Library::parse(&bytes, &wanted).unwrap();
        for name in wanted {
            check(LIBRARY, &[name], library.exports(name));
        }
    }

    #[test]
    fn ordinary_executables_take_next_to_no_time() {
        let files: Vec<_> = std::fs::read_dir("/usr/bin").unwrap().flatten().take(200).collect();
        let files: Vec<_> = files.iter().filter_map(|each| File::open(each.path()).ok()).collect();
        let start = std::time::Instant::now();
        let found = files.iter().filter(|file| any(file, &["SSL_read", "EVP_KDF_derive"])).count();
        let each = start.elapsed() / u32::try_from(files.len()).unwrap();
        println!("{} executables, {found} with OpenSSL, {each:?} each", files.len());
        assert!(each < std::time::Duration::from_millis(5), "{each:?} each");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn damaged_files_never_panic(damage in vec((0usize..32_768, arbitrary::<u8>()), 1..60)) {
            let mut bytes = std::fs::read(LIBRARY).unwrap();
            for (at, byte) in damage {
                bytes[at] = byte;
            }
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&bytes).unwrap();
            let _ = any(&file, &["SSL_read", "EVP_KDF_derive"]);
        }
    }
}
