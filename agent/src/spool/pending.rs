//! Records that wait to be written. In: payloads, made where they wait. Out: the frames of a segment,
//! once it is known which.

use crate::spool::segment::{self, FRAME_BYTES, MAX_PAYLOAD};

/// Records of one lane, in the order of their numbers.
#[derive(Debug, Default)]
pub(super) struct Pending {
    /// Their frames, one behind the other, with heads that the segment has yet to give.
    frames: Vec<u8>,
    /// Number and length of each.
    records: Vec<(u64, usize)>,
}

impl Pending {
    /// Takes a record whose payload `write` appends to what it is given; `false` if no frame can hold
    /// it: it is empty or too long.
    ///
    /// # Errors
    /// Those of `write`: there is no record then.
    pub fn push<E>(
        &mut self,
        number: u64,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<bool, E> {
        let start = self.frames.len();
        self.frames.extend_from_slice(&segment::NO_HEAD);
        let written = write(&mut self.frames);
        let length = self.frames.len().saturating_sub(start + FRAME_BYTES);
        let fits = (1..=MAX_PAYLOAD).contains(&length);
        if written.is_ok() && fits {
            self.records.push((number, length));
        } else {
            self.frames.truncate(start);
        }
        written.map(|()| fits)
    }

    /// Numbers of the first and the last; `None` if there are none.
    pub fn range(&self) -> Option<(u64, u64)> {
        Some((self.records.first()?.0, self.records.last()?.0))
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.records.len() as u64
    }

    /// Bytes of their frames.
    pub fn bytes(&self) -> u64 {
        self.frames.len() as u64
    }

    /// Their frames, as those of a segment whose checksums start from `seed`.
    pub fn frames(&mut self, seed: u32) -> &[u8] {
        let mut rest = self.frames.as_mut_slice();
        for (number, length) in &self.records {
            let Some((frame, after)) = rest.split_at_mut_checked(FRAME_BYTES + length) else {
                break;
            };
            segment::give_head(frame, seed, *number);
            rest = after;
        }
        &self.frames
    }

    /// Forgets them, and keeps the space.
    pub fn clear(&mut self) {
        self.frames.clear();
        self.records.clear();
    }
}
