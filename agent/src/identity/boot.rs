//! The clocks. By the boot clock the kernel half stamps records, and the kernel the start of
//! processes; by the wall clock events are told.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use crate::clock::Timestamp;

/// Now, in nanoseconds since boot; `None` if the clock cannot be read.
#[must_use]
pub fn boot_nanos() -> Option<u64> {
    now_nanos(ClockId::CLOCK_BOOTTIME)
}

/// Nanoseconds from the epoch of the wall clock to boot, as far as the two agree now.
#[must_use]
pub fn boot_to_wall() -> Option<u64> {
    let (wall, boot) = wall_nanos().zip(boot_nanos())?;
    Some(wall.saturating_sub(boot))
}

/// Now by the wall clock, in nanoseconds since the Unix epoch; `None` if it cannot be read.
#[must_use]
pub fn wall_nanos() -> Option<u64> {
    now_nanos(ClockId::CLOCK_REALTIME)
}

fn now_nanos(clock: ClockId) -> Option<u64> {
    let duration: Duration = clock_gettime(clock).ok()?.into();
    u64::try_from(duration.as_nanos()).ok()
}

/// This moment by the host's clock: for what the agent says of itself.
#[must_use]
pub fn now() -> Timestamp {
    wall_nanos().map_or_else(Timestamp::default, Timestamp)
}
