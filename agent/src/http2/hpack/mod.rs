//! Header compression (RFC 7541), seen from outside: header blocks in, fields out.
//!
//! One [`Decoder`] follows the blocks of one direction. It may join late or lose blocks: what it
//! cannot know comes out as a field without name or value, never as another field's.

mod decode;
mod huffman;
mod table;
#[cfg(test)]
mod tests;

pub use decode::{DecodeError, Decoder, LIST_SIZE_MAX, SCRATCH_KEPT};
pub use huffman::HuffmanError;
pub use table::SIZE_MAX as TABLE_SIZE_MAX;

/// A field of a header block. What is `None` was on the wire before we watched, or was lost.
#[derive(Clone, Copy, Default, Eq, PartialEq)]
pub struct Field<'a> {
    /// Name as sent: lower case in valid HTTP/2.
    pub name: Option<&'a [u8]>,
    /// Value; may hold credentials.
    pub value: Option<&'a [u8]>,
    /// Whether the sender forbids to index it (RFC 7541 §6.2.3), as it should for credentials.
    pub never_indexed: bool,
}

impl<'a> Field<'a> {
    const fn known(name: &'a [u8], value: &'a [u8]) -> Self {
        Self { name: Some(name), value: Some(value), never_indexed: false }
    }
}
