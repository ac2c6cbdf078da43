//! Header blocks to fields (RFC 7541 §3 and §6).
//!
//! In: whole header blocks of one direction, in order. Out: their fields, handed to a closure
//! that copies what it keeps. Strings without Huffman code are lent from the block itself.

use thiserror::Error;
use zeroize::Zeroizing;

use super::{
    Field,
    huffman::{self, HuffmanError},
    table::{Entry, Table},
};

/// Most that the fields of one block may come to, in octets as RFC 9113 §6.5.2 counts them
/// (`SETTINGS_MAX_HEADER_LIST_SIZE`: name, value and 32 each). Servers accept 8 to 64 KiB; a
/// block of one octet per field can ask for thousands of times its size.
pub const LIST_SIZE_MAX: usize = 128 * 1024;

/// What a field counts beyond its strings (RFC 9113 §6.5.2).
const FIELD_OVERHEAD: usize = 32;

/// Octets that each of the two scratch buffers keeps from one block to the next.
pub const SCRATCH_KEPT: usize = 4096;

/// Why a header block did not give all its fields. What was decoded until then is true.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum DecodeError {
    /// The block ends within a field.
    #[error("header block ends within a field")]
    Truncated,
    /// An integer is larger than any valid one (RFC 7541 §5.1).
    #[error("integer in header block is too large")]
    Integer,
    /// A string is not what its Huffman flag says.
    #[error("string in header block is malformed")]
    Huffman(#[from] HuffmanError),
    /// Index 0 (RFC 7541 §6.1).
    #[error("header block refers to index 0")]
    ZeroIndex,
    /// A table size update after a field (RFC 7541 §4.2).
    #[error("table size update within a header block")]
    LateResize,
    /// More than [`LIST_SIZE_MAX`]: fields were withheld, but the table is exact.
    #[error("header list is too large")]
    ListSize,
}

/// Decoder of one direction's header blocks. Starts with the empty table of a new connection;
/// after [`Decoder::forget`] it is one that joined late.
#[derive(Default)]
pub struct Decoder {
    table: Table,
    capped: u64,
    scratch: Scratch,
}

/// Where Huffman strings are decoded to. Wiped on drop: they may be credentials.
#[derive(Default)]
struct Scratch {
    name: Zeroizing<Vec<u8>>,
    value: Zeroizing<Vec<u8>>,
}

impl Scratch {
    /// What one long string took is not kept.
    fn shrink(&mut self) {
        for string in [&mut self.name, &mut self.value] {
            string.clear();
            string.shrink_to(SCRATCH_KEPT);
        }
    }
}

impl Decoder {
    /// Hands the fields of a whole header block to `sink`, in order.
    ///
    /// # Errors
    /// If the block is malformed; then the table starts from scratch, since nobody knows what the
    /// rest of the block would have inserted. If it is too large, which leaves the table exact.
    pub fn decode(
        &mut self,
        block: &[u8],
        sink: &mut impl FnMut(Field<'_>),
    ) -> Result<(), DecodeError> {
        let mut left = LIST_SIZE_MAX;
        let outcome = self.decode_fields(block, &mut |field| {
            left = left.saturating_sub(field.size());
            if left > 0 {
                sink(field);
            }
        });
        self.scratch.shrink();
        if outcome.is_err() {
            self.table.forget();
        }
        outcome.and(if left > 0 { Ok(()) } else { Err(DecodeError::ListSize) })
    }

    /// Starts from scratch: blocks were missed.
    pub fn forget(&mut self) {
        self.table.forget();
    }

    /// Octets that the table and the scratch space hold.
    #[must_use]
    pub fn buffered(&self) -> usize {
        let Scratch { name, value } = &self.scratch;
        self.table.size().saturating_add(name.capacity()).saturating_add(value.capacity())
    }

    /// How many size updates asked for more than is kept.
    #[must_use]
    pub const fn capped(&self) -> u64 {
        self.capped
    }

    fn decode_fields(
        &mut self,
        block: &[u8],
        sink: &mut impl FnMut(Field<'_>),
    ) -> Result<(), DecodeError> {
        let mut reader = Reader { rest: block };
        let mut first = true;
        while let Some(octet) = reader.rest.first().copied() {
            match Representation::of(octet) {
                Representation::Indexed => {
                    let index = reader.integer(7)?;
                    sink(self.table.get(index).ok_or(DecodeError::ZeroIndex)?);
                }
                Representation::Resize if first => {
                    self.capped += u64::from(self.table.resize(reader.integer(5)?));
                    continue;
                }
                Representation::Resize => return Err(DecodeError::LateResize),
                Representation::Indexing => {
                    let field = reader.literal(6, &self.table, &mut self.scratch)?;
                    sink(field);
                    let entry = Entry::new(field.name, field.value.unwrap_or_default());
                    self.table.insert(entry);
                }
                Representation::Plain { never_indexed } => {
                    let field = reader.literal(4, &self.table, &mut self.scratch)?;
                    sink(Field { never_indexed, ..field });
                }
            }
            first = false;
        }
        Ok(())
    }
}

impl Field<'_> {
    fn size(&self) -> usize {
        let strings = self.name.map_or(0, <[u8]>::len) + self.value.map_or(0, <[u8]>::len);
        strings.saturating_add(FIELD_OVERHEAD)
    }
}

/// How a field is represented (RFC 7541 §6), told by the first bits.
enum Representation {
    /// §6.1
    Indexed,
    /// §6.2.1
    Indexing,
    /// §6.2.2 and §6.2.3
    Plain { never_indexed: bool },
    /// §6.3
    Resize,
}

impl Representation {
    const fn of(octet: u8) -> Self {
        match octet {
            0x80.. => Self::Indexed,
            0x40.. => Self::Indexing,
            0x20.. => Self::Resize,
            0x10.. => Self::Plain { never_indexed: true },
            _ => Self::Plain { never_indexed: false },
        }
    }
}

struct Reader<'block> {
    rest: &'block [u8],
}

impl<'block> Reader<'block> {
    /// A literal field, whose name is an index of `prefix` bits or, if that is 0, a string.
    fn literal<'a>(
        &mut self,
        prefix: u32,
        table: &'a Table,
        scratch: &'a mut Scratch,
    ) -> Result<Field<'a>, DecodeError>
    where
        'block: 'a,
    {
        let name = match self.integer(prefix)? {
            0 => Some(self.string(&mut scratch.name)?),
            index => table.get(index).and_then(|field| field.name),
        };
        Ok(Field { name, value: Some(self.string(&mut scratch.value)?), never_indexed: false })
    }

    fn octet(&mut self) -> Result<u8, DecodeError> {
        let (octet, rest) = self.rest.split_first().ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(*octet)
    }

    /// An integer whose first `prefix` bits are the low bits of the next octet (RFC 7541 §5.1).
    /// Four further octets reach 2^28, above everything that fits into a block.
    fn integer(&mut self, prefix: u32) -> Result<usize, DecodeError> {
        let mask = (1_usize << prefix) - 1;
        let mut value = usize::from(self.octet()?) & mask;
        if value < mask {
            return Ok(value);
        }
        for shift in [0, 7, 14, 21] {
            let octet = self.octet()?;
            value += usize::from(octet & 0x7f) << shift;
            if octet & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(DecodeError::Integer)
    }

    /// A string literal (RFC 7541 §5.2), decoded into `scratch` if it is Huffman-coded.
    fn string<'a>(&mut self, scratch: &'a mut Vec<u8>) -> Result<&'a [u8], DecodeError>
    where
        'block: 'a,
    {
        let is_huffman = self.rest.first().is_some_and(|octet| octet & 0x80 != 0);
        let len = self.integer(7)?;
        let (string, rest) = self.rest.split_at_checked(len).ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        if !is_huffman {
            return Ok(string);
        }
        scratch.clear();
        huffman::decode(string, scratch)?;
        Ok(scratch)
    }
}
