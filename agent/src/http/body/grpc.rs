//! Messages of a gRPC call (gRPC over HTTP/2, "Length-Prefixed-Message"): a flag, a length of four
//! bytes, and so many bytes. They are counted by their prefixes and not looked at.
//!
//! In: content, split anywhere, and losses. Out: how many messages began.

/// Bytes before each message: the compression flag and the length.
const PREFIX: usize = 5;

/// The messages of one direction.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Messages {
    count: u64,
    /// Bytes of the current message to come.
    left: u64,
    /// Bytes of the prefix so far.
    prefix: [u8; PREFIX],
    prefix_len: usize,
    /// Whether the current message is the trailers of gRPC-Web, in the clear.
    is_trailers: bool,
    /// Where messages begin is not known any more.
    is_lost: bool,
}

impl Messages {
    /// How many messages began; at least so many if [`Self::is_exact`] is false.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// Whether no message can have been missed.
    #[must_use]
    pub const fn is_exact(&self) -> bool {
        !self.is_lost
    }

    /// Takes the next bytes.
    pub fn take(&mut self, bytes: &[u8]) {
        self.take_with(bytes, &mut |_| {});
    }

    /// The same; what belongs to gRPC-Web's trailers goes to `trailers`.
    pub(super) fn take_with(&mut self, bytes: &[u8], trailers: &mut impl FnMut(&[u8])) {
        let mut rest = bytes;
        while !rest.is_empty() && !self.is_lost {
            let len = usize::try_from(self.left).unwrap_or(usize::MAX).min(rest.len());
            let (content, behind) = rest.split_at_checked(len).unwrap_or_default();
            self.left = self.left.saturating_sub(len as u64);
            if self.is_trailers {
                trailers(content);
            }
            let Some((byte, following)) = behind.split_first() else { return };
            if let Some(slot) = self.prefix.get_mut(self.prefix_len) {
                *slot = *byte;
            }
            self.prefix_len = self.prefix_len.saturating_add(1);
            rest = following;
            if self.prefix_len == PREFIX {
                self.begin();
            }
        }
    }

    /// Passes over `len` bytes that were lost.
    pub const fn lose(&mut self, len: u64) {
        match self.left.checked_sub(len) {
            Some(left) if self.prefix_len == 0 => self.left = left,
            _ => self.is_lost = true,
        }
    }

    /// Takes nothing more: where messages begin is not known.
    pub(super) const fn give_up(&mut self) {
        self.is_lost = true;
    }

    /// Whether the current message is gRPC-Web's trailers, and goes on.
    pub(super) const fn is_in_trailers(&self) -> bool {
        self.is_trailers && self.left > 0
    }

    fn begin(&mut self) {
        let [flag, l0, l1, l2, l3] = self.prefix;
        self.is_trailers = flag == 0x80;
        // The flag is 0 or 1, for compressed; in gRPC-Web, the high bit marks trailers.
        match flag {
            0 | 1 => self.count = self.count.saturating_add(1),
            0x80 | 0x81 => {}
            _ => self.is_lost = true,
        }
        self.left = u64::from(u32::from_be_bytes([l0, l1, l2, l3]));
        self.prefix_len = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(len: u8) -> Vec<u8> {
        [&[0, 0, 0, 0, len][..], &vec![7; usize::from(len)]].concat()
    }

    #[test]
    fn messages_are_counted_however_they_are_split() {
        let body = [message(3), message(0), message(200), message(1)].concat();
        for at_most in 1..body.len() {
            let mut messages = Messages::default();
            body.chunks(at_most).for_each(|piece| messages.take(piece));
            assert_eq!((messages.count(), messages.is_exact()), (4, true), "in {at_most}s");
        }
    }

    #[test]
    fn a_loss_within_a_message_misses_none_and_one_beyond_its_end_may() {
        let mut messages = Messages::default();
        messages.take(&message(9)[..7]);
        messages.lose(7);
        messages.take(&message(1));
        assert_eq!((messages.count(), messages.is_exact()), (2, true));
        messages.take(&message(9)[..7]);
        messages.lose(8);
        messages.take(&message(1));
        assert_eq!((messages.count(), messages.is_exact()), (3, false));
        let mut messages = Messages::default();
        messages.take(&[0, 0]);
        messages.lose(0);
        assert!(!messages.is_exact(), "a prefix was cut");
    }

    #[test]
    fn what_is_no_message_is_not_counted() {
        let mut messages = Messages::default();
        messages.take(b"<html>not a call</html>");
        assert_eq!((messages.count(), messages.is_exact()), (0, false));
        let mut messages = Messages::default();
        messages.take(&[&message(2)[..], &[0x80, 0, 0, 0, 1, b'x']].concat());
        assert_eq!((messages.count(), messages.is_exact()), (1, true));
    }
}
