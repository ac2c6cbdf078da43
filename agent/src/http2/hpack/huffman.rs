//! The Huffman code of string literals (RFC 7541 §5.2, appendix B).
//!
//! In: encoded octets. Out: the string, appended to the caller's buffer. The code is canonical:
//! code words of one length are consecutive and ordered by symbol, shorter ones before longer
//! ones. So the 257 lengths are the whole code, and every table below is computed from them.

use thiserror::Error;

/// Lengths in bits of the code words of symbols 0 to 256; 256 is EOS (RFC 7541 appendix B).
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28,
    28, 28, 28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5,
    5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6,
    6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22,
    23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22,
    21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20,
    22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19,
    21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22,
    22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, 30,
];

/// Words up to this length are found by one look-up: it covers all that texts are made of.
const SHORT_BITS: u32 = 10;
/// The longest code word, in bits.
const LONGEST: usize = 30;
/// The same, to be compared with counts of bits.
const LONGEST_BITS: u32 = 30;
const EOS: u16 = 256;

/// Short words that are decoded in a step: as many as the bits of seven octets are enough for.
const GROUP: usize = 5;
const _: () = assert!(GROUP * SHORT_BITS as usize <= 56);

/// What a look-up by the next [`SHORT_BITS`] bits gives; a length of 0 stands for a longer word.
#[derive(Clone, Copy)]
struct Short {
    symbol: u8,
    len: u8,
}

/// The code words of one length.
#[derive(Clone, Copy)]
struct Row {
    /// The first word.
    first: u32,
    /// One past the last word, shifted to the top of 32 bits. Grows with the length.
    end: u64,
    /// Where the symbol of the first word stands in [`Tables::symbols`].
    offset: u32,
}

struct Tables {
    short: [Short; 1 << SHORT_BITS],
    rows: [Row; LONGEST + 1],
    /// Symbols in the order of their code words.
    symbols: [u16; LENGTHS.len()],
}

static TABLES: Tables = tables();

#[expect(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "evaluated by the compiler only, where an index out of bounds is a build error"
)]
const fn tables() -> Tables {
    let mut tables = Tables {
        short: [Short { symbol: 0, len: 0 }; 1 << SHORT_BITS],
        rows: [Row { first: 0, end: 0, offset: 0 }; LONGEST + 1],
        symbols: [0; LENGTHS.len()],
    };
    let (mut code, mut rank, mut len) = (0_u32, 0, 1);
    while len <= LONGEST {
        code <<= 1;
        tables.rows[len].first = code;
        tables.rows[len].offset = rank as u32;
        let mut symbol = 0;
        while symbol < LENGTHS.len() {
            if LENGTHS[symbol] as usize == len {
                fill_short(&mut tables.short, symbol as u8, len as u32, code);
                tables.symbols[rank] = symbol as u16;
                rank += 1;
                code += 1;
            }
            symbol += 1;
        }
        tables.rows[len].end = (code as u64) << (32 - len);
        len += 1;
    }
    tables
}

/// Enters a word under every value that begins with it.
#[expect(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "evaluated by the compiler only, where an index out of bounds is a build error"
)]
const fn fill_short(short: &mut [Short; 1 << SHORT_BITS], symbol: u8, len: u32, code: u32) {
    if len > SHORT_BITS {
        return;
    }
    let free = SHORT_BITS - len;
    let mut tail = 0;
    while tail < 1 << free {
        short[((code << free) | tail) as usize] = Short { symbol, len: len as u8 };
        tail += 1;
    }
}

/// Why a string is not Huffman-coded text (RFC 7541 §5.2).
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum HuffmanError {
    /// The EOS symbol occurs in the string.
    #[error("Huffman string contains EOS")]
    Eos,
    /// What follows the last symbol is not up to seven bits of ones.
    #[error("Huffman string has invalid padding")]
    Padding,
}

/// Appends the text of `input` to `out`: at most 8/5 of its length, the shortest word being five
/// bits long.
///
/// # Errors
/// If EOS occurs, or the padding is longer than seven bits or not all ones. What was decoded
/// until then stays in `out`.
pub fn decode(input: &[u8], out: &mut Vec<u8>) -> Result<(), HuffmanError> {
    out.reserve(input.len().saturating_mul(8) / 5);
    // The bits not yet decoded stand at the top of `bits`; there are `count` of them.
    let (mut rest, mut bits, mut count) = (input, 0_u64, 0_u32);
    // Several symbols a step, as long as there are bits for them in any case: tokens are long, and
    // are why this is where HTTP/2 spends its time.
    while let Some(octets) = rest.first_chunk::<8>() {
        // What does not fit is in the bits below `count`, and is added once more with the next ones.
        bits |= u64::from_be_bytes(*octets) >> count;
        let taken = (63 - count) / 8;
        count += 8 * taken;
        rest = rest.get(taken as usize..).unwrap_or_default();
        let (mut symbols, mut found) = ([0; GROUP], 0);
        for slot in &mut symbols {
            let Some((symbol, len)) = short_word((bits >> 32) as u32) else { break };
            *slot = symbol;
            found += 1;
            bits <<= len;
            count -= len;
        }
        if found == GROUP {
            out.extend_from_slice(&symbols);
            continue;
        }
        out.extend_from_slice(symbols.get(..found).unwrap_or_default());
        if count >= LONGEST_BITS {
            let (symbol, len) = long_word((bits >> 32) as u32);
            out.push(u8::try_from(symbol).map_err(|_| HuffmanError::Eos)?);
            bits <<= len;
            count -= len;
        }
    }
    let mut input = rest.iter();
    loop {
        while count < 56 {
            let Some(octet) = input.next() else { break };
            bits |= u64::from(*octet) << (56 - count);
            count += 8;
        }
        if count == 0 {
            return Ok(());
        }
        // Past the end stand ones, the beginning of EOS, so that padding completes no symbol.
        let window = ((bits | (u64::MAX >> count)) >> 32) as u32;
        let (symbol, len) = word(window);
        if len > count {
            return if count < 8 && window == u32::MAX {
                Ok(())
            } else {
                Err(HuffmanError::Padding)
            };
        }
        out.push(u8::try_from(symbol).map_err(|_| HuffmanError::Eos)?);
        bits <<= len;
        count -= len;
    }
}

/// The symbol whose code word begins `window`, and the word's length in bits.
fn word(window: u32) -> (u16, u32) {
    let short = short_word(window).map(|(symbol, len)| (u16::from(symbol), len));
    short.unwrap_or_else(|| long_word(window))
}

/// The same, if the word is of those that a look-up finds.
fn short_word(window: u32) -> Option<(u8, u32)> {
    let Short { symbol, len } = *TABLES.short.get((window >> (32 - SHORT_BITS)) as usize)?;
    (len > 0).then_some((symbol, u32::from(len)))
}

fn long_word(window: u32) -> (u16, u32) {
    let rows = TABLES.rows.iter().zip(0_u32..).skip(SHORT_BITS as usize + 1);
    for (row, len) in rows {
        if u64::from(window) < row.end {
            let rank = (window >> (32 - len)).wrapping_sub(row.first).wrapping_add(row.offset);
            return (TABLES.symbols.get(rank as usize).copied().unwrap_or(EOS), len);
        }
    }
    (EOS, 30)
}

#[cfg(test)]
mod tests {
    use proptest::{
        collection::vec,
        prelude::{any, prop_oneof},
        proptest,
        strategy::Strategy as _,
    };

    use super::*;

    /// Encodes by the code that [`LENGTHS`] stand for, one bit after the other.
    fn encode(text: &[u8]) -> Vec<u8> {
        let mut symbols: Vec<usize> = (0..LENGTHS.len()).collect();
        symbols.sort_by_key(|symbol| LENGTHS[*symbol]);
        let (mut words, mut code, mut before) = ([0_u32; 257], 0_u32, 0);
        for symbol in symbols {
            code <<= LENGTHS[symbol] - before;
            (words[symbol], before) = (code, LENGTHS[symbol]);
            code = code.wrapping_add(1);
        }
        let word = |byte: &u8| (words[usize::from(*byte)], LENGTHS[usize::from(*byte)]);
        let bits = text
            .iter()
            .map(word)
            .flat_map(|(word, len)| (0..len).rev().map(move |bit| (word >> bit) & 1 == 1));
        let bits: Vec<bool> = bits.collect();
        let octet = |bits: &[bool]| {
            let ones = bits.iter().copied().chain([true; 8]).take(8);
            ones.fold(0, |octet, bit| octet << 1 | u8::from(bit))
        };
        bits.chunks(8).map(octet).collect()
    }

    proptest! {
        /// Short words and long ones in any order, however many.
        #[test]
        fn what_was_encoded_is_decoded(
            text in vec(prop_oneof![6 => (b' '..=b'z').boxed(), 1 => any::<u8>().boxed()], 0..200),
        ) {
            let mut out = Vec::new();
            assert_eq!(decode(&encode(&text), &mut out), Ok(()));
            assert_eq!(out, text);
        }
    }
}
