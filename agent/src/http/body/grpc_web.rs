//! Calls by gRPC-Web, for browsers, which see no trailers: messages as gRPC has them, and a last one
//! that holds the trailers, told by the high bit of its flag. `-text` has all that in base64.
//!
//! In: content, split anywhere, and losses. Out: how many messages began, and the call's status, as
//! far as the trailers fit into [`TRAILERS_MAX`]. They are wiped: an application may add to them.

use std::fmt;

use super::grpc::Messages;
use crate::http::{length::trim_blanks, message::Fields, wiped::Wiped};

/// Most bytes that are kept of the trailers. What makes them long is a status's details, which stand
/// behind it in what servers send.
pub const TRAILERS_MAX: usize = 4 * 1024;

/// One direction of a call.
#[derive(Clone, Eq, PartialEq)]
pub struct Call {
    messages: Messages,
    /// Base64 under way, if the call is text.
    text: Option<Quantum>,
    trailers: Wiped,
    /// Nothing more is kept of them: there is no room, or bytes were lost.
    is_cut: bool,
}

impl Call {
    /// A call that begins, if these are a head's fields of one.
    #[must_use]
    pub fn of(fields: &Fields) -> Option<Self> {
        let subtype = fields.media_type()?.strip_prefix(b"application/grpc-web")?;
        let text = match subtype.strip_prefix(b"-text") {
            Some(b"" | [b'+', ..]) => Some(Quantum::default()),
            None if matches!(subtype, b"" | [b'+', ..]) => None,
            _ => return None,
        };
        let (messages, trailers) = (Messages::default(), Wiped::default());
        Some(Self { messages, text, trailers, is_cut: false })
    }

    /// The messages, trailers not among them.
    #[must_use]
    pub const fn messages(&self) -> Messages {
        self.messages
    }

    /// Takes the next bytes.
    pub fn take(&mut self, bytes: &[u8]) {
        let Self { messages, text, trailers, is_cut } = self;
        let mut keep = |octets: &[u8]| {
            let room = TRAILERS_MAX.saturating_sub(trailers.len());
            let kept = octets.get(..room).unwrap_or(octets);
            *is_cut |= kept.len() < octets.len();
            if trailers.capacity() == 0 && !kept.is_empty() {
                // A buffer that need not grow leaves nothing behind that is not wiped.
                trailers.reserve_exact(TRAILERS_MAX);
            }
            trailers.extend_from_slice(kept);
        };
        let Some(quantum) = text else { return messages.take_with(bytes, &mut keep) };
        for byte in bytes {
            if !messages.is_exact() {
                return;
            }
            match quantum.take(*byte) {
                Ok(None) => {}
                Ok(Some((octets, len))) => {
                    messages.take_with(octets.get(..len).unwrap_or_default(), &mut keep);
                }
                Err(NotBase64) => messages.give_up(),
            }
        }
    }

    /// Passes over `len` bytes that were lost.
    pub const fn lose(&mut self, len: u64) {
        self.is_cut |= self.messages.is_in_trailers();
        if self.text.is_some() {
            // Padding may stand anywhere, so that nobody knows how many octets they were.
            self.messages.give_up();
        } else {
            self.messages.lose(len);
        }
    }

    /// The call's status, if the trailers were seen to say it.
    #[must_use]
    pub fn status(&self) -> Option<u32> {
        let octets = self.trailers.as_slice();
        // A line that may go on says nothing.
        let is_open = self.is_cut || self.messages.is_in_trailers() || !self.messages.is_exact();
        let end = if is_open { memchr::memrchr(b'\n', octets)? } else { octets.len() };
        let mut lines = octets.get(..end)?.split(|byte| *byte == b'\n');
        let status = lines.find_map(|line| {
            let (name, value) = line.split_at_checked(memchr::memchr(b':', line)?)?;
            let is_status = trim_blanks(name).eq_ignore_ascii_case(b"grpc-status");
            value.strip_prefix(b":").filter(|_| is_status)
        })?;
        std::str::from_utf8(status).ok()?.trim().parse().ok()
    }

    /// Octets held.
    #[must_use]
    pub fn size(&self) -> usize {
        self.trailers.len()
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (messages, status) = (&self.messages, self.status());
        f.debug_struct("Call")
            .field("messages", messages)
            .field("status", &status)
            .finish_non_exhaustive()
    }
}

/// Up to four characters of base64 (RFC 4648 §4).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Quantum {
    bits: u32,
    digits: usize,
    padding: usize,
}

/// A character that has no place in base64.
struct NotBase64;

impl Quantum {
    /// Takes a character: the octets of a quantum that it completes, and how many of them count. After
    /// padding a new one begins, as servers encode piece by piece.
    fn take(&mut self, character: u8) -> Result<Option<([u8; 3], usize)>, NotBase64> {
        let digit = match character {
            b'A'..=b'Z' => character.wrapping_sub(b'A'),
            b'a'..=b'z' => character.wrapping_sub(b'a').wrapping_add(26),
            b'0'..=b'9' => character.wrapping_sub(b'0').wrapping_add(52),
            b'+' => 62,
            b'/' => 63,
            b'=' if self.digits >= 2 => 0,
            _ => return Err(NotBase64),
        };
        if character == b'=' {
            self.padding = self.padding.saturating_add(1);
        } else if self.padding > 0 {
            return Err(NotBase64);
        } else {
            self.digits = self.digits.saturating_add(1);
        }
        self.bits = (self.bits << 6) | u32::from(digit);
        if self.digits.saturating_add(self.padding) < 4 {
            return Ok(None);
        }
        let ([_, a, b, c], len) = (self.bits.to_be_bytes(), self.digits.saturating_sub(1));
        *self = Self::default();
        Ok(Some(([a, b, c], len)))
    }
}

#[cfg(test)]
mod tests;
