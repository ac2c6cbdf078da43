//! gzip (RFC 1952) and deflate (RFC 1950, and RFC 1951 as many send it, RFC 9110 §8.4.1.2).
//!
//! The output is the decoder's only window, so that nothing is left elsewhere.

use miniz_oxide::inflate::{
    TINFLStatus,
    core::{
        DecompressorOxide, decompress,
        inflate_flags::{TINFL_FLAG_PARSE_ZLIB_HEADER, TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF},
    },
};

use super::{End, Output, after};

/// Parts of a gzip header (RFC 1952 §2.3.1).
const FHCRC: u8 = 1 << 1;
const FEXTRA: u8 = 1 << 2;
const FNAME: u8 = 1 << 3;
const FCOMMENT: u8 = 1 << 4;

/// Octets behind the content: CRC and length.
const TRAILER: usize = 8;

pub(super) fn deflate(coded: &[u8], output: &mut Output) -> End {
    let is_zlib = match coded {
        [cmf, flags, ..] => {
            cmf & 0x0f == 8 && u16::from_be_bytes([*cmf, *flags]).is_multiple_of(31)
        }
        [] | [_] => false,
    };
    let (end, used) =
        inflate(coded, if is_zlib { TINFL_FLAG_PARSE_ZLIB_HEADER } else { 0 }, output);
    finished(end, after(coded, used))
}

/// One member or several (RFC 1952 §2.2).
pub(super) fn gzip(coded: &[u8], output: &mut Output) -> End {
    let mut rest = coded;
    loop {
        let content = match header(rest) {
            Header::Of(content) => content,
            Header::Cut => return End::Cut,
            Header::None => return End::Malformed,
        };
        let start = output.filled;
        let (end, used) = inflate(content, 0, output);
        if end != End::Whole {
            return end;
        }
        let Some((trailer, following)) = after(content, used).split_first_chunk::<TRAILER>() else {
            return End::Cut;
        };
        let [c0, c1, c2, c3, ..] = *trailer;
        let member = output.octets.get(start..output.filled).unwrap_or_default();
        if crc32fast::hash(member) != u32::from_le_bytes([c0, c1, c2, c3]) {
            return End::Malformed;
        }
        if following.is_empty() {
            return End::Whole;
        }
        rest = following;
    }
}

enum Header<'a> {
    /// There is one, and this follows.
    Of(&'a [u8]),
    /// It goes on beyond what there is.
    Cut,
    None,
}

fn header(bytes: &[u8]) -> Header<'_> {
    const START: [u8; 3] = [0x1f, 0x8b, 8];
    if !bytes.iter().zip(START).all(|(is, wanted)| *is == wanted) {
        return Header::None;
    }
    let Some(([_, _, _, flags, ..], mut rest)) = bytes.split_first_chunk::<10>() else {
        return Header::Cut;
    };
    if flags & FEXTRA != 0 {
        let Some((len, following)) = rest.split_first_chunk::<2>() else { return Header::Cut };
        let len = usize::from(u16::from_le_bytes(*len));
        let Some(following) = following.get(len..) else { return Header::Cut };
        rest = following;
    }
    for text in [FNAME, FCOMMENT] {
        if flags & text != 0 {
            let Some(end) = rest.iter().position(|byte| *byte == 0) else { return Header::Cut };
            rest = after(rest, end.saturating_add(1));
        }
    }
    if flags & FHCRC != 0 {
        let Some((_, following)) = rest.split_first_chunk::<2>() else { return Header::Cut };
        rest = following;
    }
    Header::Of(rest)
}

/// Undoes one stream: how it ended, and how many octets it took.
fn inflate(coded: &[u8], flags: u32, output: &mut Output) -> (End, usize) {
    let mut decoder = Box::<DecompressorOxide>::default();
    let flags = flags | TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF;
    let mut used = 0_usize;
    loop {
        let at = output.filled;
        let Some(room) = output.room() else { return (output.limit(), used) };
        let (status, read, written) = decompress(&mut decoder, after(coded, used), room, at, flags);
        used = used.saturating_add(read);
        output.fill(written);
        return match status {
            TINFLStatus::Done => (End::Whole, used),
            TINFLStatus::HasMoreOutput => continue,
            TINFLStatus::NeedsMoreInput | TINFLStatus::FailedCannotMakeProgress => (End::Cut, used),
            // Failures of each kind; the list is open.
            _ => (End::Malformed, used),
        };
    }
}

/// A stream that is whole only if nothing follows it: recipients differ in what they make of that.
pub(super) const fn finished(end: End, rest: &[u8]) -> End {
    match end {
        End::Whole if !rest.is_empty() => End::Malformed,
        end => end,
    }
}
