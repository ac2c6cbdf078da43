//! zstd (RFC 8878), with windows as large as a content coding may have (RFC 9659).
//!
//! What the decoder holds for itself is not wiped: ruzstd allocates its window as it likes, lends it to
//! nobody, and frees what it outgrew; it takes no allocator.

use ruzstd::decoding::{
    BlockDecodingStrategy, FrameDecoder,
    errors::{FrameDecoderError, ReadFrameHeaderError},
};

use super::{End, Output, after};

/// Largest window of a content coding (RFC 9659 §3).
const WINDOW_MAX: u64 = 8 * 1024 * 1024;

/// One frame or several.
pub(super) fn decode(coded: &[u8], output: &mut Output) -> End {
    let mut rest = coded;
    while !rest.is_empty() {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(WINDOW_MAX);
        match decoder.init(&mut rest) {
            Ok(()) => {}
            Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                length,
                ..
            })) => {
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                if length > rest.len() {
                    return End::Cut;
                }
                rest = after(rest, length);
                continue;
            }
            Err(FrameDecoderError::WindowSizeTooBig { .. }) => return End::TooLarge,
            Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::BadMagicNumber(
                _,
            ))) => return End::Malformed,
            Err(_) if rest.is_empty() => return End::Cut,
            Err(_) => return End::Malformed,
        }
        // One octet more than there is room for tells that there are too many.
        let wanted = output.left().saturating_add(1);
        match decoder.decode_blocks(&mut rest, BlockDecodingStrategy::UptoBytes(wanted)) {
            Ok(true) if decoder.can_collect() <= output.left() => {}
            Ok(_) => return output.limit(),
            Err(_) if rest.is_empty() => return End::Cut,
            Err(_) => return End::Malformed,
        }
        if !collect(&mut decoder, output) {
            return End::Malformed;
        }
    }
    End::Whole
}

/// Takes what the decoder has of a finished frame, for which there is room; whether it could.
fn collect(decoder: &mut FrameDecoder, output: &mut Output) -> bool {
    while decoder.can_collect() > 0 {
        let at = output.filled;
        let Some(room) = output.room().and_then(|room| room.get_mut(at..)) else { return false };
        match std::io::Read::read(decoder, room) {
            Ok(0) | Err(_) => return false,
            Ok(written) => output.fill(written),
        }
    }
    true
}
