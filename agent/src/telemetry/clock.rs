//! What the kernel says of the host's clock (adjtimex(2)): whether something keeps it right, and by
//! how much it may be wrong. Expiry is judged by this clock.

#![expect(unsafe_code, reason = "adjtimex(2), which no library that is used wraps")]

use std::fmt;

use serde::Serialize;

/// The clock as the kernel sees it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub struct Discipline {
    /// Whether something keeps it right.
    pub synchronised: bool,
    /// By how many microseconds it may be wrong, as whoever keeps it right says.
    pub max_error_micros: u64,
}

impl fmt::Display for Discipline {
    /// As checkpoints have it: `synchronised 900us`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = if self.synchronised { "synchronised" } else { "unsynchronised" };
        write!(f, "{state} {}us", self.max_error_micros)
    }
}

/// Asks the kernel; `None` where it does not tell.
#[must_use]
pub fn discipline() -> Option<Discipline> {
    // SAFETY: all bytes zero is a `timex`, whose `modes` of zero asks and sets nothing.
    let mut state: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: the structure is ours, and as large as the call expects.
    if unsafe { libc::adjtimex(&raw mut state) } < 0 {
        return None;
    }
    let synchronised = state.status & libc::STA_UNSYNC == 0;
    Some(Discipline { synchronised, max_error_micros: u64::try_from(state.maxerror).unwrap_or(0) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_tells() {
        let found = discipline().unwrap();
        // An unsynchronised clock's error grows to the kernel's bound of 16 seconds.
        assert!(found.max_error_micros <= 16_000_000, "{found:?}");
    }
}
