//! Sequence numbers count modulo 2³² (RFC 9293 §3.4); streams are longer. Out of this module come
//! 64-bit offsets into the stream, which never wrap.

/// How far `to` is ahead of `from`, negative if behind. Numbers half the space apart are taken for
/// behind: TCP's windows are smaller (RFC 7323 §2.3: at most 2³⁰ bytes), so real ones never are.
#[must_use]
pub const fn distance(from: u32, to: u32) -> i32 {
    to.wrapping_sub(from).cast_signed()
}

/// Where one direction of one connection lies in the sequence space.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SequenceSpace {
    first: u32,
}

impl SequenceSpace {
    /// The space of a stream whose first byte (offset 0) has the sequence number `first`.
    #[must_use]
    pub const fn starting_at(first: u32) -> Self {
        Self { first }
    }

    /// Sequence number of the byte at offset 0.
    #[must_use]
    pub const fn first(self) -> u32 {
        self.first
    }

    /// Sequence number of the byte at `offset`.
    #[must_use]
    pub const fn seq(self, offset: u64) -> u32 {
        self.first.wrapping_add((offset & 0xffff_ffff) as u32)
    }

    /// The offset with the sequence number `seq` that is nearest to `near`; `None` if that lies
    /// before the start of the stream.
    #[must_use]
    pub const fn offset(self, seq: u32, near: u64) -> Option<u64> {
        near.checked_add_signed(distance(self.seq(near), seq) as i64)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};

    use super::{SequenceSpace, distance};

    #[test]
    fn distance_wraps() {
        let table = [
            (0, 0, 0),
            (5, 7, 2),
            (7, 5, -2),
            (u32::MAX, 0, 1),
            (0, u32::MAX, -1),
            (u32::MAX - 9, 10, 20),
            (0, 1 << 31, i32::MIN),
        ];
        for (from, to, expected) in table {
            assert_eq!(distance(from, to), expected, "from {from} to {to}");
        }
    }

    #[test]
    fn numbers_before_the_start_have_no_offset() {
        let space = SequenceSpace::starting_at(0);
        assert_eq!(space.offset(u32::MAX, 0), None);
        assert_eq!(space.offset(u32::MAX, 1 << 32), Some((1 << 32) - 1));
    }

    proptest! {
        #[test]
        fn offsets_survive_the_wrap_anywhere(
            first: u32,
            near in 0_u64..1 << 40,
            ahead in -(1_i64 << 31) + 1..1 << 31,
        ) {
            let space = SequenceSpace::starting_at(first);
            let Some(offset) = near.checked_add_signed(ahead) else { return Ok(()) };
            assert_eq!(space.offset(space.seq(offset), near), Some(offset));
        }

        #[test]
        fn distance_is_antisymmetric(from in any::<u32>(), ahead in 1_u32..1 << 31) {
            let to = from.wrapping_add(ahead);
            assert_eq!(distance(from, to), -distance(to, from));
        }
    }
}
