//! Libraries of other releases, for tests: the functions that matter, with their provenance. What
//! the lines mean is told by `tests/corpora/sites/extract.py`, which makes them.

use crate::binary::{
    code::{Code, Linked, Segment},
    elf::Library,
    keysite,
    plan::OPENSSL,
};

/// `(name, text)` of every fixture.
pub const ALL: [(&str, &str); 9] = [
    ("debian11-libssl", include_str!("../../../tests/corpora/sites/debian11-libssl.txt")),
    ("debian12-libssl", include_str!("../../../tests/corpora/sites/debian12-libssl.txt")),
    ("debian13-libssl", include_str!("../../../tests/corpora/sites/debian13-libssl.txt")),
    ("debian-sid-libssl", include_str!("../../../tests/corpora/sites/debian-sid-libssl.txt")),
    ("debian11-libcrypto", include_str!("../../../tests/corpora/sites/debian11-libcrypto.txt")),
    ("debian12-libcrypto", include_str!("../../../tests/corpora/sites/debian12-libcrypto.txt")),
    ("debian13-libcrypto", include_str!("../../../tests/corpora/sites/debian13-libcrypto.txt")),
    ("debian-sid-libcrypto", include_str!("../../../tests/corpora/sites/debian-sid-libcrypto.txt")),
    ("node20", include_str!("../../../tests/corpora/sites/node20.txt")),
];

/// The library of that name. Its code is leaked: tests end soon.
pub fn library(name: &str) -> Library<'static> {
    let (_, text) = ALL.iter().find(|(each, _)| *each == name).unwrap();
    let mut library = Library::default();
    let Code { segments, starts, slots } = &mut library.code;
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        match words.as_slice() {
            ["#", provenance @ ..] => {
                library.build_id = provenance.last().map(|&id| id.to_owned());
            }
            ["version", ..] => library.version = line.strip_prefix("version ").map(str::to_owned),
            ["export", name, address, size] => {
                starts.push(number(address));
                if let Some(name) = known(name) {
                    library.exports.insert(name, (number(address), number(size)));
                }
            }
            ["start", address] => starts.push(number(address)),
            ["slot", address, "elsewhere"] => {
                slots.insert(number(address), Linked::Elsewhere);
            }
            ["slot", address, "here", target] => {
                slots.insert(number(address), Linked::Here(number(target)));
            }
            ["text", address, offset, hex] => segments.push(Segment {
                address: number(address),
                offset: number(offset),
                bytes: bytes(hex).leak(),
            }),
            other => panic!("{name}: {other:?}"),
        }
    }
    starts.sort_unstable();
    library
}

/// Bytes of hexadecimal digits; blanks between them do not matter.
pub fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<char> = hex.chars().filter(|digit| !digit.is_whitespace()).collect();
    let byte = |pair: &[char]| u8::from_str_radix(&pair.iter().collect::<String>(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

fn number(hex: &str) -> u64 {
    u64::from_str_radix(hex, 16).unwrap()
}

fn known(name: &str) -> Option<&'static str> {
    let names = OPENSSL.iter().map(|(each, _)| *each).chain(keysite::FUNCTIONS);
    names.into_iter().find(|each| *each == name)
}
