//! The first bytes of a body.
//!
//! In: content. Out: at most [`SAMPLE_MAX`] bytes of it, as they were sent. They may be tokens:
//! there is no way to print them, and they are wiped on drop.

use std::fmt;

use crate::http::{operation::Protocol, wiped::Wiped};

/// Most bytes kept of one body. Token and introspection answers with many claims, discovery
/// documents and key sets stay below it.
pub const SAMPLE_MAX: usize = 32 * 1024;

/// What a body is read for.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Purpose {
    /// What a call to an authorization server teaches about tokens.
    #[default]
    AuthorizationServer,
    /// A credential in a form (RFC 6750 §2.2).
    Form,
    /// The operation that a request names.
    Operation(Protocol),
}

/// The first bytes of a body.
#[derive(Clone, Default, Eq, PartialEq)]
pub struct Sample {
    purpose: Purpose,
    bytes: Wiped,
    /// The body goes on beyond them.
    is_cut: bool,
}

impl Sample {
    /// Nothing yet, of a body that is read for `purpose`.
    #[must_use]
    pub fn new(purpose: Purpose) -> Self {
        Self { purpose, bytes: Wiped::default(), is_cut: false }
    }

    /// What the body is read for.
    #[must_use]
    pub const fn purpose(&self) -> Purpose {
        self.purpose
    }

    /// Takes the next bytes, as far as there is room.
    pub fn take(&mut self, bytes: &[u8]) {
        if self.is_cut {
            return;
        }
        let room = SAMPLE_MAX.saturating_sub(self.bytes.len());
        let taken = bytes.get(..room).unwrap_or(bytes);
        self.is_cut = taken.len() < bytes.len();
        let wanted = self.bytes.len().saturating_add(taken.len());
        if wanted > self.bytes.capacity() {
            self.bytes.move_to(wanted.next_power_of_two().min(SAMPLE_MAX).max(wanted));
        }
        self.bytes.extend_from_slice(taken);
    }

    /// Takes nothing more: bytes were lost.
    pub const fn cut(&mut self) {
        self.is_cut = true;
    }

    /// Whether more bytes will be taken.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        !self.is_cut
    }

    /// Whether the sample is the whole body, provided that the message was seen to its end.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        !self.is_cut
    }

    /// The bytes, with their content coding; see [`decode`](super::coding::decode).
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Octets held.
    #[must_use]
    pub fn size(&self) -> usize {
        self.bytes.len()
    }
}

impl fmt::Debug for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sample({} bytes, cut: {})", self.bytes.len(), self.is_cut)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_much_is_kept_as_the_limit_says_and_no_more() {
        let mut sample = Sample::new(Purpose::Form);
        sample.take(&[1; SAMPLE_MAX - 1]);
        assert!(sample.is_open() && sample.is_whole());
        sample.take(&[2]);
        assert!(sample.is_open() && sample.bytes().len() == SAMPLE_MAX);
        sample.take(&[3]);
        assert_eq!((sample.bytes().len(), sample.is_whole()), (SAMPLE_MAX, false));
    }

    #[test]
    fn nothing_is_taken_after_a_loss() {
        let mut sample = Sample::new(Purpose::Form);
        sample.take(b"ab");
        sample.cut();
        sample.take(b"cd");
        assert_eq!((sample.bytes(), sample.is_open()), (b"ab".as_slice(), false));
    }

    #[test]
    fn a_sample_does_not_print_what_it_holds() {
        let mut sample = Sample::new(Purpose::Form);
        sample.take(b"access_token=canary");
        assert_eq!(format!("{sample:?}"), "Sample(19 bytes, cut: false)");
    }
}
