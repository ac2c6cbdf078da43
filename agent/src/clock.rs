//! Points in time, as data. Stages 4 to 6 never read a clock: they are handed [`Timestamp`]s that
//! the capture stage derived from the kernel's stamps.

use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

/// Nanoseconds per second.
pub const NANOS_PER_SEC: u64 = 1_000_000_000;

/// A point in wall-clock time: nanoseconds since the Unix epoch, good until the year 2554.
#[derive(
    Clone, Copy, Debug, Default, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize,
)]
#[serde(transparent)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// Whole seconds since the Unix epoch, as JWT's `NumericDate` counts them (RFC 7519 §2).
    #[must_use]
    pub const fn as_secs(self) -> u64 {
        self.0 / NANOS_PER_SEC
    }

    /// Milliseconds since the Unix epoch.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0 / 1_000_000
    }

    /// Nanoseconds from `earlier` to `self`, zero if `earlier` is later: clocks may step.
    #[must_use]
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// The moment `nanos` nanoseconds later, saturating.
    #[must_use]
    pub const fn plus(self, nanos: u64) -> Self {
        Self(self.0.saturating_add(nanos))
    }

    /// RFC 3339 in UTC with microseconds, such as `2026-11-22T10:04:31.118204Z`. A stamp beyond
    /// jiff's range (the year 9999) cannot occur: `u64` nanoseconds end in 2554.
    #[must_use]
    pub fn to_rfc3339(self) -> String {
        jiff::Timestamp::from_nanosecond(i128::from(self.0))
            .map_or_else(|_| String::new(), |stamp| format!("{stamp:.6}"))
    }

    /// Reads what [`Self::to_rfc3339`] writes, in any offset; `None` for what is no RFC 3339 time
    /// or lies outside the range.
    #[must_use]
    pub fn from_rfc3339(text: &str) -> Option<Self> {
        let stamp: jiff::Timestamp = text.parse().ok()?;
        u64::try_from(stamp.as_nanosecond()).ok().map(Self)
    }

    /// Time of day in UTC with milliseconds, for people at a terminal.
    #[must_use]
    pub fn to_time_of_day(self) -> String {
        jiff::Timestamp::from_nanosecond(i128::from(self.0)).map_or_else(
            |_| String::new(),
            |stamp| stamp.to_zoned(TimeZone::UTC).strftime("%H:%M:%S%.3f").to_string(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_rfc3339_in_utc_with_microseconds() {
        let stamp = Timestamp(1_795_341_871_118_204_999);
        assert_eq!(stamp.to_rfc3339(), "2026-11-22T10:04:31.118204Z");
        assert_eq!(stamp.to_time_of_day(), "10:04:31.118");
        let read = Timestamp::from_rfc3339("2026-11-22T10:04:31.118204Z");
        assert_eq!(read, Some(Timestamp(1_795_341_871_118_204_000)));
        assert_eq!(Timestamp::from_rfc3339("1969-12-31T23:59:59Z"), None);
        assert_eq!(Timestamp::from_rfc3339("yesterday"), None);
    }

    #[test]
    fn a_clock_that_steps_back_gives_no_negative_duration() {
        assert_eq!(Timestamp(5).since(Timestamp(9)), 0);
    }
}
