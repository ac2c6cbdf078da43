//! Files that somebody else wrote: executables, memory maps, configuration, keys.

use std::sync::LazyLock;

use scopewatch::{
    binary::{
        code::Function,
        examine::examine,
        site::{Needs, best, first, site as proved},
        source::Source,
        values::transfers,
    },
    config::{compiled, raw},
    discover::maps as process_maps,
    token::subject::SubjectKey,
};

use sha2::{Digest as _, Sha256};

use crate::unhex;

/// Any file: every place that would be probed lies in it.
pub fn elf(input: &[u8]) {
    let Ok(seen) = examine(Source::Whole(input)) else { return };
    let within = |offset: u64| assert!(offset < input.len() as u64, "a probe outside of the file");
    if let Ok(plan) = &seen.call_path {
        plan.points().iter().for_each(|point| within(point.offset));
    }
    if let Ok(step) = &seen.key_site {
        within(step.site.offset);
    }
    assert!(!seen.to_string().is_empty());
    serde_json::to_string(&seen).expect("an examination is JSON");
}

pub fn elf_seeds() -> Vec<Vec<u8>> {
    vec![LIBRARY.clone(), LIBRARY[..200].to_vec()]
}

/// A library that exports `SSL_read` and `EVP_KDF_derive`, as small as one can be: a header, three
/// sections behind each other (symbols, names, code), and the tables that describe them.
static LIBRARY: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let names = b"\0SSL_read\0SSL_write\0SSL_free\0EVP_KDF_derive\0";
    let code = unhex(
        "4885ff740b48837f1000740431c0c390b8ffffffffc35548 89e55dc3".replace(' ', "").as_str(),
    );
    let (text, strings) = (0x200_u64, 0x300_u64);
    let (symbols, sections) = (0x380_u64, 0x480_u64);
    let mut file = unhex("7f454c4602010100000000000000000003003e0001000000");
    let word = |file: &mut Vec<u8>, value: u64| file.extend(value.to_le_bytes());
    [0, 0x40, sections].into_iter().for_each(|value| word(&mut file, value));
    file.extend(unhex("00000000400038000100400004000000"));
    // One loadable, executable segment that maps the file as it is.
    file.extend(unhex("0100000005000000"));
    [0, 0, 0, 0x700, 0x700, 0x1000].into_iter().for_each(|value| word(&mut file, value));
    file.resize(text as usize, 0);
    file.extend(&code);
    file.resize(strings as usize, 0);
    file.extend(names);
    file.resize(symbols as usize, 0);
    file.resize(file.len() + 24, 0);
    for (name, at, size) in [(1_u32, 0, 16), (10, 0, 16), (20, 22, 6), (29, 0, 22)] {
        file.extend(name.to_le_bytes());
        file.extend([0x12, 0, 3, 0]);
        word(&mut file, text + at);
        word(&mut file, size);
    }
    file.resize(sections as usize, 0);
    let mut section = |kind: u32, flags: u64, at: u64, size: u64, link: u32, each: u64| {
        file.extend(0_u32.to_le_bytes());
        file.extend(kind.to_le_bytes());
        [flags, at, at, size].into_iter().for_each(|value| word(&mut file, value));
        file.extend(link.to_le_bytes());
        file.extend(1_u32.to_le_bytes());
        [8, each].into_iter().for_each(|value| word(&mut file, value));
    };
    section(0, 0, 0, 0, 0, 0);
    section(11, 2, symbols, 5 * 24, 2, 24);
    section(3, 2, strings, names.len() as u64, 0, 0);
    section(1, 6, text, code.len() as u64, 0, 0);
    file.resize(0x700, 0);
    file
});

/// Any machine code: a site is one of its instructions' first bytes.
pub fn site(input: &[u8]) {
    let Some((choice, bytes)) = input.split_first() else { return };
    let function = Function { address: 0x1000, offset: 0x200, bytes };
    let needs =
        Needs { arguments: usize::from(choice & 7).min(6), return_address: choice & 8 != 0 };
    for site in [proved(&function, needs), best(&function, needs)].into_iter().flatten() {
        assert_eq!(site.offset, 0x200 + site.distance);
        let starts = function.instructions().map_while(Result::ok).map(|each| each.distance);
        assert!(starts.take_while(|at| *at <= site.distance).any(|at| at == site.distance));
    }
    if let Err(why) = proved(&function, needs) {
        let _ = first(&function, why);
    }
    assert!(transfers(&function).len() <= bytes.len());
}

pub fn site_seeds() -> Vec<Vec<u8>> {
    let files = [
        include_str!("../../tests/corpora/sites/debian11-libcrypto.txt"),
        include_str!("../../tests/corpora/sites/debian13-libcrypto.txt"),
        include_str!("../../tests/corpora/sites/debian12-libssl.txt"),
        include_str!("../../tests/corpora/sites/debian-sid-libssl.txt"),
    ];
    let codes = files.iter().flat_map(|text| text.lines()).filter_map(|line| {
        let code = unhex(line.strip_prefix("text ")?.rsplit(' ').next()?);
        (code.len() > 20).then(|| [vec![0x0e], code].concat())
    });
    codes.take(12).collect()
}

/// A process's map of its memory, line by line.
pub fn maps(input: &[u8]) {
    for line in String::from_utf8_lossy(input).lines() {
        if let Some(mapping) = process_maps::parse(line) {
            assert!(mapping.path.starts_with('/') && !mapping.range.contains(' '));
            assert!(mapping.path.len() <= line.len());
        }
    }
}

pub fn maps_seeds() -> Vec<Vec<u8>> {
    vec![
        b"7f0000000000-7f0000001000 r-xp 00001000 fd:01 1234   /usr/lib/libssl.so.3\n".to_vec(),
        b"7f0-7f1 r-xp 00000000 00:2f 9 /a b/libcrypto-01.so.1.1 (deleted)\n0-1 rw-p 0 0 0"
            .to_vec(),
    ]
}

/// A configuration: what is accepted is within its bounds.
pub fn config(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let Ok(literal) = raw::parse(text) else { return };
    let Ok(config) = compiled::compile(literal) else { return };
    assert!(config.ring_bytes.is_power_of_two() && config.ring_bytes >= 65_536);
    assert!((1..=64).contains(&config.workers) && config.connections_per_worker > 0);
}

pub fn config_seeds() -> Vec<Vec<u8>> {
    vec![
        b"capture:\n  ring_bytes: 65536\n  path: call\n  workers: 2\n".to_vec(),
        b"flow: {max_connections: 16, idle_seconds: 1}\nprivacy:\n  subject: pseudonym\n".to_vec(),
    ]
}

/// A subject key: one that is accepted is written as it was read, and forgets whom it is told to, and
/// nobody else.
pub fn subject_key(input: &[u8]) {
    // A checksum would keep all that is made up out; it is made to fit.
    let body = input.strip_prefix(KEY_BEGINS).unwrap_or(input);
    let mut bytes = [KEY_BEGINS, body].concat();
    bytes.extend(Sha256::digest(&bytes));
    for bytes in [input, &bytes] {
        let Ok(mut key) = SubjectKey::decode(bytes) else { continue };
        assert_eq!(*key.encode(), bytes);
        let bob = key.pseudonym("bob");
        let was_known = key.pseudonym("alice").is_some();
        assert_eq!(key.forget("alice"), was_known);
        assert_eq!((key.pseudonym("alice"), key.pseudonym("bob")), (None, bob));
        let again = SubjectKey::decode(&key.encode());
        // Where it was the last leaf of all, nothing is left to write.
        assert!(again.is_ok() || key.encoded_len() < KEY_BEGINS.len() + 41);
    }
}

const KEY_BEGINS: &[u8] = b"scopewatch/subject-key/v1\n";

pub fn subject_key_seeds() -> Vec<Vec<u8>> {
    let mut key = SubjectKey::new([7; 32].into());
    let whole = key.encode().to_vec();
    key.forget("alice");
    let sum = |bytes: &[u8]| bytes[..bytes.len() - 32].to_vec();
    vec![sum(&whole), sum(&key.encode()), whole]
}
