//! `Content-Length` (RFC 9110 §8.6, RFC 9112 §6.3): one number, however often it is said.

use thiserror::Error;

use super::anomaly::{Anomaly, AnomalySet};

/// All `Content-Length`s of a head.
#[derive(Clone, Copy, Debug, Default)]
pub struct Length {
    /// How many values there are.
    values: u32,
    first: Option<u64>,
    conflicts: bool,
    is_bad: bool,
}

impl Length {
    /// Takes the value of one field.
    pub fn add(&mut self, value: &[u8]) {
        for element in value.split(|byte| *byte == b',') {
            self.values = self.values.saturating_add(1);
            match number(trim_blanks(element)) {
                None => self.is_bad = true,
                Some(len) => self.conflicts |= *self.first.get_or_insert(len) != len,
            }
        }
    }

    /// Says what is odd about the values.
    pub const fn judge(&self, anomalies: &mut AnomalySet) {
        anomalies.add_if(self.is_bad, Anomaly::BadContentLength);
        anomalies.add_if(self.conflicts, Anomaly::ConflictingContentLength);
        let repeats = self.values > 1 && !self.conflicts && !self.is_bad;
        anomalies.add_if(repeats, Anomaly::DuplicateContentLength);
    }

    /// The length, if there is one.
    ///
    /// # Errors
    /// If recipients may read the values differently.
    pub const fn value(&self) -> Result<Option<u64>, NotALength> {
        if self.is_bad || self.conflicts { Err(NotALength) } else { Ok(self.first) }
    }
}

/// The `Content-Length`s of a head name no number, or several.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("content-length is none, or several that differ")]
pub struct NotALength;

/// Without the whitespace that RFC 9110 §5.6.3 allows around an element, and no other: a coding
/// after a form feed is an attempt to be read in two ways.
#[must_use]
pub fn trim_blanks(mut element: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = element {
        element = rest;
    }
    element
}

/// `1*DIGIT`, without the sign that `str::parse` would accept.
fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |sum, byte| {
        let digit = byte.is_ascii_digit().then(|| byte.wrapping_sub(b'0'))?;
        sum.checked_mul(10)?.checked_add(u64::from(digit))
    })
}
