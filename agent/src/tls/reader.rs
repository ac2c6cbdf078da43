//! A cursor over bytes that a peer chose. Every step is checked, and a step that finds too little
//! names the structure that was short.

use thiserror::Error;

/// Why bytes are not the structure that they claim to be.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum Malformed {
    /// The named structure needs more bytes than there are.
    #[error("{0} is cut short")]
    Short(&'static str),
    /// The named structure is followed by bytes that do not belong to it.
    #[error("{0} has bytes left over")]
    Trailing(&'static str),
    /// The named structure has a length or value outside its bounds.
    #[error("{0} is out of bounds")]
    Bounds(&'static str),
}

/// A cursor that only moves forward.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// A cursor at the start of `bytes`.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Whether nothing is left.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// What is left, without moving.
    #[must_use]
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The next `length` bytes.
    ///
    /// # Errors
    /// [`Malformed::Short`] of `what` if fewer are left; the cursor stays.
    pub fn take(&mut self, length: usize, what: &'static str) -> Result<&'a [u8], Malformed> {
        let (head, rest) = self.rest.split_at_checked(length).ok_or(Malformed::Short(what))?;
        self.rest = rest;
        Ok(head)
    }

    /// The next `N` bytes as an array.
    ///
    /// # Errors
    /// [`Malformed::Short`] of `what` if fewer are left.
    pub fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], Malformed> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or(Malformed::Short(what))?;
        self.rest = rest;
        Ok(*head)
    }

    /// One byte.
    ///
    /// # Errors
    /// [`Malformed::Short`] of `what`.
    pub fn u8(&mut self, what: &'static str) -> Result<u8, Malformed> {
        self.array::<1>(what).map(|[byte]| byte)
    }

    /// Two bytes, big-endian.
    ///
    /// # Errors
    /// [`Malformed::Short`] of `what`.
    pub fn u16(&mut self, what: &'static str) -> Result<u16, Malformed> {
        self.array(what).map(u16::from_be_bytes)
    }

    /// Three bytes, big-endian.
    ///
    /// # Errors
    /// [`Malformed::Short`] of `what`.
    pub fn u24(&mut self, what: &'static str) -> Result<u32, Malformed> {
        self.array(what).map(|[high, middle, low]| u32::from_be_bytes([0, high, middle, low]))
    }

    /// A vector behind a length of one byte (RFC 8446 §3.4).
    ///
    /// # Errors
    /// [`Malformed::Short`] of `what`.
    pub fn vector8(&mut self, what: &'static str) -> Result<&'a [u8], Malformed> {
        let length = self.u8(what)?;
        self.take(usize::from(length), what)
    }

    /// A vector behind a length of two bytes.
    ///
    /// # Errors
    /// [`Malformed::Short`] of `what`.
    pub fn vector16(&mut self, what: &'static str) -> Result<&'a [u8], Malformed> {
        let length = self.u16(what)?;
        self.take(usize::from(length), what)
    }

    /// A vector behind a length of three bytes.
    ///
    /// # Errors
    /// [`Malformed::Short`] of `what`.
    pub fn vector24(&mut self, what: &'static str) -> Result<&'a [u8], Malformed> {
        let length = self.u24(what)?;
        self.take(usize::try_from(length).map_err(|_| Malformed::Bounds(what))?, what)
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// [`Malformed::Trailing`] of `what` if bytes are left.
    pub const fn finish(self, what: &'static str) -> Result<(), Malformed> {
        if self.rest.is_empty() { Ok(()) } else { Err(Malformed::Trailing(what)) }
    }
}

#[cfg(test)]
mod tests {
    use super::{Malformed, Reader};

    #[test]
    fn a_short_structure_is_named_and_the_cursor_stays() {
        let mut reader = Reader::new(&[0, 2, 7]);
        assert_eq!(reader.vector16("list"), Err(Malformed::Short("list")));
        let mut reader = Reader::new(&[0, 1, 7, 9]);
        assert_eq!(reader.vector16("list"), Ok(&[7][..]));
        assert_eq!(reader.u16("tail"), Err(Malformed::Short("tail")));
        assert_eq!(reader.finish("tail"), Err(Malformed::Trailing("tail")));
    }
}
