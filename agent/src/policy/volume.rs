//! How much of a route's calls events tell. In: `volume:` of a route. Out: the same, for whoever
//! writes events (`event/volume.rs`). What deserves attention is always told in full.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::policy::place::Seconds;

/// `volume:`
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum Volume {
    /// Each call has an event.
    #[default]
    Full,
    /// One in so many calls has one, 2 to 1,000,000.
    Sampled(u32),
    /// Calls that are alike have one together, at the end of this time, 1 second to 1 hour.
    Aggregate(Seconds),
}

impl Volume {
    /// What is wrong with it, if it is out of its bounds.
    #[must_use]
    pub const fn problem(self) -> Option<&'static str> {
        match self {
            Self::Sampled(0..2 | 1_000_001..) => Some("`volume.sampled` is 2 to 1000000"),
            Self::Aggregate(Seconds(0 | 3601..)) => Some("`volume.aggregate` is 1s to 1h"),
            _ => None,
        }
    }
}
