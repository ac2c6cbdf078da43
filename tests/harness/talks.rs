//! HTTP connections as bytes, made by chance: valid ones, and what damage makes of them.
//!
//! In: [`Dice`]. Out: [`Talk`]s, what both ends send in the order in which it passes. The same
//! dice make the same talk, so that a failure is named by one number, or by a fuzzer's input.

pub mod damage;
pub mod flood;
pub mod http1;
pub mod http2;

/// Which end sends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum End {
    /// The end that asks.
    Client,
    /// The end that answers.
    Server,
}

impl End {
    /// The other end.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}

/// Something that passes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Piece {
    /// Bytes, sent by that end.
    Bytes(End, Vec<u8>),
    /// This many bytes of that end are not seen, `u64::MAX` for an unknown number.
    Gap(End, u64),
    /// That end sends nothing more.
    Close(End),
}

/// A connection.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Talk {
    /// What passes, in order.
    pub pieces: Vec<Piece>,
    /// Requests in it.
    pub requests: usize,
    /// Whether each is answered and nothing is odd about any.
    pub is_plain: bool,
}

impl Talk {
    fn say(&mut self, end: End, bytes: Vec<u8>) {
        self.pieces.push(Piece::Bytes(end, bytes));
    }

    /// Bytes in it.
    #[must_use]
    pub fn len(&self) -> usize {
        let len = |piece: &Piece| match piece {
            Piece::Bytes(_, bytes) => bytes.len(),
            Piece::Gap(..) | Piece::Close(_) => 0,
        };
        self.pieces.iter().map(len).sum()
    }

    /// Whether it has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A valid connection of either version.
#[must_use]
pub fn talk(dice: &mut Dice) -> Talk {
    if dice.below(2) == 0 { http1::talk(dice) } else { http2::talk(dice) }
}

/// Numbers by chance: from a seed without end, or from given bytes and then zeros.
#[derive(Clone, Debug)]
pub struct Dice {
    source: Source,
}

#[derive(Clone, Debug)]
enum Source {
    Seed(u64),
    Bytes(std::vec::IntoIter<u8>),
}

impl Dice {
    /// Dice that a seed determines.
    #[must_use]
    pub const fn seeded(seed: u64) -> Self {
        Self { source: Source::Seed(seed) }
    }

    /// Dice that show what `bytes` hold.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self { source: Source::Bytes(Vec::from(bytes).into_iter()) }
    }

    /// Whether given bytes are used up.
    #[must_use]
    pub fn is_exhausted(&self) -> bool {
        matches!(&self.source, Source::Bytes(rest) if rest.len() == 0)
    }

    /// What is left of given bytes.
    #[must_use]
    pub fn rest(self) -> Vec<u8> {
        match self.source {
            Source::Seed(_) => Vec::new(),
            Source::Bytes(rest) => rest.collect(),
        }
    }

    /// A number below `end`, 0 if there is none.
    pub fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end).unwrap_or(u64::MAX);
        let width = match end {
            0..=0x100 => 1,
            0x101..=0x1_0000 => 2,
            _ => 4,
        };
        let number = self.number(width).checked_rem(end).unwrap_or(0);
        usize::try_from(number).unwrap_or(0)
    }

    /// True once in `times`; never where given bytes are used up.
    pub fn one_in(&mut self, times: usize) -> bool {
        self.below(times).saturating_add(1) == times
    }

    /// One of `items`.
    pub fn pick<'items, T: ?Sized>(&mut self, items: &'items [&'items T]) -> Option<&'items T> {
        items.get(self.below(items.len())).copied()
    }

    /// A byte.
    pub fn byte(&mut self) -> u8 {
        self.number(1).to_le_bytes()[0]
    }

    /// Bytes, as many as `len` says.
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.byte()).collect()
    }

    /// A range within `len`, empty only if that is 0, and mostly short.
    pub fn range(&mut self, len: usize) -> std::ops::Range<usize> {
        let start = self.below(len);
        let most = if self.one_in(4) { len } else { 64 };
        let end = start.saturating_add(1).saturating_add(self.below(most));
        start..end.min(len)
    }

    fn number(&mut self, width: usize) -> u64 {
        match &mut self.source {
            // SplitMix64: every seed gives a good sequence.
            Source::Seed(state) => {
                *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let mut z = *state;
                z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                z ^ (z >> 31)
            }
            Source::Bytes(rest) => {
                rest.by_ref().take(width).fold(0, |number, byte| number << 8 | u64::from(byte))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dice_of_bytes_show_them_and_then_zeros() {
        let mut dice = Dice::of(&[7, 1, 2]);
        assert_eq!((dice.below(10), dice.below(1000), dice.is_exhausted()), (7, 258, true));
        assert_eq!((dice.below(10), dice.one_in(3), dice.below(0)), (0, false, 0));
    }

    #[test]
    fn a_seed_names_a_talk() {
        let made: Vec<Talk> = (0..40).map(|seed| talk(&mut Dice::seeded(seed))).collect();
        let again: Vec<Talk> = (0..40).map(|seed| talk(&mut Dice::seeded(seed))).collect();
        assert_eq!(made, again);
        assert!(made.iter().all(|talk| !talk.is_empty() && talk.requests > 0));
        assert_ne!(made[0], made[1]);
    }
}
