//! Content codings of a sample (RFC 9110 §8.4), undone: gzip, deflate, br and zstd, also several
//! upon each other.
//!
//! In: the bytes of a body as they were sent, perhaps cut off, and its head. Out: [`Decoded`], and
//! whether that is all. Output is bounded, in all and by how much of it a byte makes; what goes
//! beyond is left. Buffers are wiped: of zstd the decoder's own is not, which lives for the call.

mod brotli;
mod inflate;
mod zstd;

use zeroize::Zeroizing;

use super::Sample;
use crate::{
    http::{length::trim_blanks, message::Fields},
    text::Cuts,
};

/// Most codings upon each other. Two occur where a proxy compresses again; each more multiplies
/// what a byte may cost.
pub const CODINGS_MAX: usize = 3;

/// Most octets that a coding is undone to: a sample of JSON at four to eight times its size.
pub const DECODED_MAX: usize = 256 * 1024;

/// Most octets that one octet makes. JSON stays below 30; deflate allows 1032, br and zstd have no
/// bound.
pub const RATIO_MAX: usize = 100;

/// Octets that the ratio does not count for: it says nothing about short input.
const RATIO_FREE: usize = 4 * 1024;

/// A body without its codings.
pub struct Decoded<'a> {
    octets: Octets<'a>,
    end: End,
}

enum Octets<'a> {
    AsSent(&'a [u8]),
    Undone(Zeroizing<Vec<u8>>),
}

/// How the undoing of a coding ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum End {
    /// With the body.
    Whole,
    /// Before it: the rest was not captured.
    Cut,
    /// The coding is not known, or there are more than [`CODINGS_MAX`].
    Unknown,
    /// The bytes are none of the coding from there on.
    Malformed,
    /// At [`DECODED_MAX`], or at a window larger than the coding may have.
    TooLarge,
    /// At [`RATIO_MAX`].
    Bomb,
}

impl Decoded<'_> {
    /// The octets, as far as they could be had.
    #[must_use]
    pub fn octets(&self) -> &[u8] {
        match &self.octets {
            Octets::AsSent(octets) => octets,
            Octets::Undone(octets) => octets,
        }
    }

    /// Whether they are all, provided that the message was seen to its end.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.end == End::Whole
    }

    /// How it ended.
    #[must_use]
    pub const fn end(&self) -> End {
        self.end
    }
}

/// Undoes the codings that `fields` declare for `sample`, in the order in which they were not
/// applied. A limit that is hit is counted in `cuts`.
#[must_use]
pub fn decode<'a>(sample: &'a Sample, fields: &Fields, cuts: &mut Cuts) -> Decoded<'a> {
    let decoded = undo(sample, fields);
    match decoded.end {
        End::TooLarge => cuts.contents_too_large = cuts.contents_too_large.saturating_add(1),
        End::Bomb => cuts.content_bombs = cuts.content_bombs.saturating_add(1),
        End::Whole | End::Cut | End::Unknown | End::Malformed => {}
    }
    decoded
}

fn undo<'a>(sample: &'a Sample, fields: &Fields) -> Decoded<'a> {
    let mut octets = Octets::AsSent(sample.bytes());
    let mut end = if sample.is_whole() { End::Whole } else { End::Cut };
    let Some(codings) = codings(fields) else {
        return Decoded { octets: Octets::AsSent(&[]), end: End::Unknown };
    };
    for coding in codings.iter().rev() {
        let coded = match &octets {
            Octets::AsSent(octets) => octets,
            Octets::Undone(octets) => octets.as_slice(),
        };
        // Nothing was sent, not even the end of the coding: an answer to HEAD, say.
        if coded.is_empty() {
            break;
        }
        let mut output = Output::of(coded.len());
        let undone = match coding {
            Coding::Gzip => inflate::gzip(coded, &mut output),
            Coding::Deflate => inflate::deflate(coded, &mut output),
            Coding::Brotli => brotli::decode(coded, &mut output),
            Coding::Zstd => zstd::decode(coded, &mut output),
        };
        // What ended one coding early, ends those below it.
        end = match (end, undone) {
            (End::Whole, undone) => undone,
            (before, End::Whole | End::Cut) => before,
            (End::Cut, undone) => undone,
            (before, _) => before,
        };
        octets = Octets::Undone(output.finish());
    }
    Decoded { octets, end }
}

#[derive(Clone, Copy)]
enum Coding {
    Gzip,
    Deflate,
    Brotli,
    Zstd,
}

/// The codings in the order in which they were applied; `None` if one is not known, or there are
/// too many.
fn codings(fields: &Fields) -> Option<Vec<Coding>> {
    let mut codings = Vec::new();
    let elements = fields.all("content-encoding").flat_map(|value| value.split(|b| *b == b','));
    for element in elements {
        let name = String::from_utf8_lossy(trim_blanks(element)).to_ascii_lowercase();
        let coding = match name.as_str() {
            "" | "identity" => continue,
            "gzip" | "x-gzip" => Coding::Gzip,
            "deflate" => Coding::Deflate,
            "br" => Coding::Brotli,
            "zstd" => Coding::Zstd,
            _ => return None,
        };
        if codings.len() >= CODINGS_MAX {
            return None;
        }
        codings.push(coding);
    }
    Some(codings)
}

/// Where a decoder writes: wiped memory that grows up to a bound.
struct Output {
    octets: Zeroizing<Vec<u8>>,
    filled: usize,
    bound: usize,
}

impl Output {
    /// For what `coded` octets may become.
    fn of(coded: usize) -> Self {
        let by_ratio = coded.saturating_mul(RATIO_MAX).max(RATIO_FREE);
        Self { octets: Zeroizing::default(), filled: 0, bound: by_ratio.min(DECODED_MAX) }
    }

    /// All memory, the first [`Self::filled`] octets of which are written, with room for more;
    /// `None` at the bound.
    fn room(&mut self) -> Option<&mut [u8]> {
        if self.filled >= self.octets.len() {
            let len = self.octets.len().saturating_mul(2).max(4096).min(self.bound);
            if len <= self.filled {
                return None;
            }
            // A new buffer, since one that grows in place leaves its old memory unwiped.
            let mut larger = Zeroizing::new(vec![0; len]);
            for (to, from) in larger.iter_mut().zip(self.octets.iter()) {
                *to = *from;
            }
            self.octets = larger;
        }
        Some(&mut self.octets)
    }

    fn fill(&mut self, written: usize) {
        self.filled = self.filled.saturating_add(written).min(self.octets.len());
    }

    /// Octets that may still be written.
    const fn left(&self) -> usize {
        self.bound.saturating_sub(self.filled)
    }

    /// Why there is no more room.
    const fn limit(&self) -> End {
        if self.bound < DECODED_MAX { End::Bomb } else { End::TooLarge }
    }

    fn finish(mut self) -> Zeroizing<Vec<u8>> {
        self.octets.truncate(self.filled);
        self.octets
    }
}

/// `octets` after their first `used`.
fn after(octets: &[u8], used: usize) -> &[u8] {
    octets.get(used..).unwrap_or_default()
}

#[cfg(test)]
mod tests;
