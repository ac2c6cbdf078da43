//! One direction of a connection: captured pieces at their stream offsets become payloads in
//! stream order.
//!
//! In: each captured call's offset, bytes and uncaptured rest. Out: [`Payload`]s. Every offset is
//! accounted for exactly once, as a byte or within a gap: what was seen already is dropped, also
//! if it was seen as a gap, because gaps are told as soon as they are known.

use super::chunk::Payload;

/// Position in one direction of a connection.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stream {
    /// Offset of the first byte that is not accounted for.
    next: u64,
}

impl Stream {
    /// A direction of which nothing was seen. If its first piece is not at offset 0, the start was
    /// missed, and a gap says so.
    #[must_use]
    pub const fn new() -> Self {
        Self { next: 0 }
    }

    /// Offset of the first byte that is not accounted for.
    #[must_use]
    pub const fn next_offset(&self) -> u64 {
        self.next
    }

    /// Takes `bytes` that start at `offset`, followed by `lost_after` bytes that were not
    /// captured; gives what is new of them, in stream order: at most a gap, bytes, and a gap.
    pub fn push<'a>(
        &mut self,
        offset: u64,
        lost_after: u64,
        bytes: &'a [u8],
    ) -> impl Iterator<Item = Payload<&'a [u8]>> + use<'a> {
        let bytes_end = offset.saturating_add(bytes.len() as u64);
        let end = bytes_end.saturating_add(lost_after);
        let gap_before = offset.saturating_sub(self.next);
        let seen = self.next.saturating_sub(offset);
        let new = usize::try_from(seen).ok().and_then(|seen| bytes.get(seen..)).unwrap_or_default();
        let gap_after = end.saturating_sub(self.next.max(bytes_end));
        self.next = self.next.max(end);
        [
            (gap_before > 0).then_some(Payload::Gap(gap_before)),
            (!new.is_empty()).then_some(Payload::Bytes(new)),
            (gap_after > 0).then_some(Payload::Gap(gap_after)),
        ]
        .into_iter()
        .flatten()
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::any, prop_assert_eq, proptest};

    use super::*;

    /// Pushes (offset, lost after, bytes) in turn and renders what comes out, gaps as `[n]`.
    fn check(pieces: &[(u64, u64, &'static str)], expected: &str) {
        let mut stream = Stream::new();
        let rendered: String = pieces
            .iter()
            .flat_map(|(offset, lost, bytes)| stream.push(*offset, *lost, bytes.as_bytes()))
            .map(|payload| match payload {
                Payload::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
                Payload::Gap(len) => format!("[{len}]"),
                Payload::End => "$".to_owned(),
            })
            .collect();
        assert_eq!(rendered, expected);
    }

    #[test]
    fn consecutive_pieces_pass_through() {
        check(&[(0, 0, "ab"), (2, 0, "cd")], "abcd");
    }

    #[test]
    fn a_first_piece_beyond_offset_zero_tells_that_the_start_was_missed() {
        check(&[(7, 0, "ab")], "[7]ab");
    }

    #[test]
    fn a_skipped_offset_is_a_gap() {
        check(&[(0, 0, "ab"), (5, 0, "cd")], "ab[3]cd");
    }

    #[test]
    fn an_uncaptured_rest_is_a_gap_after_the_bytes() {
        check(&[(0, 3, "ab"), (5, 0, "cd")], "ab[3]cd");
        check(&[(0, 3, "ab"), (6, 0, "cd")], "ab[3][1]cd");
        check(&[(0, 4, "")], "[4]");
    }

    #[test]
    fn what_was_seen_is_dropped() {
        check(&[(0, 0, "abcd"), (0, 0, "abcd")], "abcd");
        check(&[(0, 0, "abcd"), (2, 0, "cdef")], "abcdef");
        check(&[(0, 0, "abcd"), (1, 5, "bc")], "abcd[4]");
        check(&[(0, 4, "ab"), (3, 0, "defg")], "ab[4]g");
    }

    #[test]
    fn offsets_at_the_end_of_the_number_range_do_not_wrap() {
        check(&[(u64::MAX, u64::MAX, "ab"), (0, 0, "x")], "[18446744073709551615]ab");
    }

    proptest! {
        #[test]
        fn overlapping_pieces_give_the_original_bytes(
            original in vec(any::<u8>(), 0..64),
            steps in vec((0_usize..12, 0_usize..6), 0..24),
        ) {
            let mut stream = Stream::new();
            let mut rebuilt = Vec::new();
            let mut reached = 0_usize;
            for (len, back) in steps {
                let start = reached.saturating_sub(back);
                let end = (start + len).min(original.len());
                let piece = &original[start..end.max(start)];
                reached = reached.max(end);
                for payload in stream.push(start as u64, 0, piece) {
                    match payload {
                        Payload::Bytes(bytes) => rebuilt.extend_from_slice(bytes),
                        Payload::Gap(_) | Payload::End => panic!("nothing is missing"),
                    }
                }
            }
            prop_assert_eq!(&rebuilt, &original[..reached]);
        }

        #[test]
        fn every_offset_is_accounted_for_once(
            pieces in vec((0_u64..100, 0_u64..10, 0_usize..20), 0..24),
        ) {
            let original: Vec<u8> = (0..=u8::MAX).collect();
            let mut stream = Stream::new();
            let mut position = 0_usize;
            for (offset, lost_after, len) in pieces {
                let start = usize::try_from(offset).unwrap();
                let piece = &original[start..start + len];
                for payload in stream.push(offset, lost_after, piece) {
                    match payload {
                        Payload::Bytes(bytes) => {
                            prop_assert_eq!(bytes, &original[position..position + bytes.len()]);
                            position += bytes.len();
                        }
                        Payload::Gap(len) => position += usize::try_from(len).unwrap(),
                        Payload::End => panic!("nothing ended"),
                    }
                }
                prop_assert_eq!(position as u64, stream.next_offset());
            }
        }
    }
}
