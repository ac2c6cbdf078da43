//! The bytes of a segment. In: records, or bytes that a disk gave back. Out: bytes, or the records
//! that are whole. Pure; reads anything without panicking and without taking more than it is given.

use crc32fast::Hasher;

use crate::spool::Lane;

/// Length of a header, in bytes.
pub const HEADER_BYTES: usize = 52;
/// What stands before a payload, in bytes.
pub const FRAME_BYTES: usize = 16;
/// Longest payload, in bytes: over ten times the longest event, and what a reader makes room for.
pub const MAX_PAYLOAD: usize = 1024 * 1024;

const MAGIC: [u8; 8] = *b"SWSPOOL1";

/// Names one start of the agent.
pub type RunName = [u8; 16];

/// What a segment says of itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Header {
    /// What becomes of its records when there is no room.
    pub lane: Lane,
    /// Number of its first record.
    pub first: u64,
    /// The start of the agent that wrote it.
    pub run: RunName,
    /// Number of that run's first record.
    pub base: u64,
}

impl Header {
    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let lane = match self.lane {
            Lane::Bulk => 0_u8,
            Lane::Kept => 1,
        };
        let mut bytes = Vec::with_capacity(HEADER_BYTES);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&[lane, 0, 0, 0, 0, 0, 0, 0]);
        bytes.extend_from_slice(&self.first.to_le_bytes());
        bytes.extend_from_slice(&self.run);
        bytes.extend_from_slice(&self.base.to_le_bytes());
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
        bytes.try_into().unwrap_or([0; HEADER_BYTES])
    }

    /// Reads a header; `None` if it is none, or damaged.
    #[must_use]
    pub fn decode(bytes: &[u8; HEADER_BYTES]) -> Option<Self> {
        let mut rest = bytes.as_slice();
        let magic = take::<8>(&mut rest)?;
        let [lane, zeros @ ..] = take::<8>(&mut rest)?;
        let first = u64::from_le_bytes(take(&mut rest)?);
        let run = take(&mut rest)?;
        let base = u64::from_le_bytes(take(&mut rest)?);
        let (body, _) = bytes.split_last_chunk::<4>()?;
        let whole = crc32fast::hash(body) == u32::from_le_bytes(take(&mut rest)?);
        let lane = match lane {
            0 => Lane::Bulk,
            1 => Lane::Kept,
            _ => return None,
        };
        let known = magic == MAGIC && zeros == [0; 7];
        (whole && known).then_some(Self { lane, first, run, base })
    }

    /// What the checksums of its frames start from.
    #[must_use]
    pub fn seed(&self) -> u32 {
        self.encode().last_chunk().map_or(0, |crc| u32::from_le_bytes(*crc))
    }

    /// The name of its file.
    #[must_use]
    pub fn file_name(&self) -> String {
        format!("{}-{:020}.seg", self.lane.name(), self.first)
    }
}

/// Whether a file of this name may be a segment.
#[must_use]
pub fn is_segment(name: &str) -> bool {
    let stem = name.strip_suffix(".seg").and_then(|stem| stem.split_once('-'));
    stem.is_some_and(|(lane, digits)| {
        Lane::ALL.iter().any(|each| each.name() == lane)
            && digits.len() == 20
            && digits.bytes().all(|byte| byte.is_ascii_digit())
    })
}

/// What stands at the beginning of some bytes of a segment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Frame<'a> {
    /// A whole record.
    Record {
        /// Its number.
        number: u64,
        /// What was put in.
        payload: &'a [u8],
    },
    /// Nothing wrong so far, but at least so many bytes are needed.
    Short(usize),
    /// Not what was written.
    Damaged,
}

/// What stands before a payload until [`give_head`].
pub const NO_HEAD: [u8; FRAME_BYTES] = [0; FRAME_BYTES];

/// Writes the head of a frame that has its payload already, which is neither empty nor longer than
/// [`MAX_PAYLOAD`].
pub fn give_head(frame: &mut [u8], seed: u32, number: u64) {
    let Some((head, payload)) = frame.split_first_chunk_mut::<FRAME_BYTES>() else { return };
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    let checksum = checksum(seed, length, number, payload);
    let head_of = u128::from(length) | u128::from(checksum) << 32 | u128::from(number) << 64;
    *head = head_of.to_le_bytes();
}

/// Appends a frame to `out`, as [`give_head`] makes it.
pub fn append(out: &mut Vec<u8>, seed: u32, number: u64, payload: &[u8]) {
    let mut frame = [&NO_HEAD, payload].concat();
    give_head(&mut frame, seed, number);
    out.extend_from_slice(&frame);
}

/// Reads the frame at the beginning of `bytes`. A whole one has a number of at least `least`.
#[must_use]
pub fn frame(bytes: &[u8], seed: u32, least: u64) -> Frame<'_> {
    let Some((head, rest)) = bytes.split_first_chunk::<FRAME_BYTES>() else {
        return Frame::Short(FRAME_BYTES);
    };
    let mut head = head.as_slice();
    let fields = (take::<4>(&mut head), take::<4>(&mut head), take::<8>(&mut head));
    let (Some(length), Some(crc), Some(number)) = fields else { return Frame::Damaged };
    let length = u32::from_le_bytes(length);
    let number = u64::from_le_bytes(number);
    let bytes = usize::try_from(length).unwrap_or(usize::MAX);
    if !(1..=MAX_PAYLOAD).contains(&bytes) || number < least || number == u64::MAX {
        return Frame::Damaged;
    }
    let Some(payload) = rest.get(..bytes) else { return Frame::Short(FRAME_BYTES + bytes) };
    if checksum(seed, length, number, payload) != u32::from_le_bytes(crc) {
        return Frame::Damaged;
    }
    Frame::Record { number, payload }
}

fn checksum(seed: u32, length: u32, number: u64, payload: &[u8]) -> u32 {
    let mut hasher = Hasher::new_with_initial(seed);
    hasher.update(&length.to_le_bytes());
    hasher.update(&number.to_le_bytes());
    hasher.update(payload);
    hasher.finalize()
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, after) = rest.split_first_chunk::<N>()?;
    *rest = after;
    Some(*taken)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop, proptest};

    use super::*;

    const HEADER: Header = Header { lane: Lane::Kept, first: 7, run: [3; 16], base: 5 };

    #[test]
    fn a_header_is_what_the_page_says() {
        let bytes = HEADER.encode();
        let expected = [
            b"SWSPOOL1".as_slice(),
            &[1, 0, 0, 0, 0, 0, 0, 0],
            &[7, 0, 0, 0, 0, 0, 0, 0],
            &[3; 16],
            &[5, 0, 0, 0, 0, 0, 0, 0],
        ]
        .concat();
        assert_eq!(bytes[..48], expected);
        assert_eq!(Header::decode(&bytes), Some(HEADER));
        assert_eq!(HEADER.file_name(), "kept-00000000000000000007.seg");
        assert!(is_segment(&HEADER.file_name()));
        for other in ["ledger", "kept-7.seg", "kept-0000000000000000000x.seg", "other-7.seg"] {
            assert!(!is_segment(other), "{other}");
        }
    }

    #[test]
    fn any_flipped_bit_of_a_header_is_found() {
        for bit in 0..HEADER_BYTES * 8 {
            let mut bytes = HEADER.encode();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Header::decode(&bytes), None, "bit {bit}");
        }
    }

    #[test]
    fn frames_of_another_segment_are_not_taken() {
        let mut bytes = Vec::new();
        append(&mut bytes, HEADER.seed(), 9, b"payload");
        let record = Frame::Record { number: 9, payload: b"payload" };
        assert_eq!(frame(&bytes, HEADER.seed(), 9), record);
        assert_eq!(frame(&bytes, HEADER.seed(), 10), Frame::Damaged);
        let other = Header { run: [4; 16], ..HEADER };
        assert_eq!(frame(&bytes, other.seed(), 9), Frame::Damaged);
    }

    proptest! {
        #[test]
        fn frames_come_back_and_no_flipped_bit_passes(
            payload in prop::collection::vec(any::<u8>(), 1..300),
            number in 0..u64::MAX,
            seed in any::<u32>(),
            bit in any::<prop::sample::Index>(),
        ) {
            let mut bytes = Vec::new();
            append(&mut bytes, seed, number, &payload);
            assert_eq!(frame(&bytes, seed, 0), Frame::Record { number, payload: &payload });
            for cut in [1, bytes.len() / 2, bytes.len() - 1] {
                let Frame::Short(needed) = frame(&bytes[..cut], seed, 0) else { panic!("cut") };
                assert!(needed > cut && needed <= bytes.len());
            }
            let bit = bit.index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(!matches!(frame(&bytes, seed, 0), Frame::Record { .. }), "bit {bit}");
        }
    }
}
