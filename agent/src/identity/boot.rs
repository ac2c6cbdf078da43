//! The boot clock, by which the kernel half stamps records and the kernel the start of processes.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// Now, in nanoseconds since boot; `None` if the clock cannot be read.
#[must_use]
pub fn boot_nanos() -> Option<u64> {
    now_nanos(ClockId::CLOCK_BOOTTIME)
}

/// Nanoseconds from the epoch of the wall clock to boot, as far as the two agree now.
#[must_use]
pub fn boot_to_wall() -> Option<u64> {
    let (wall, boot) = now_nanos(ClockId::CLOCK_REALTIME).zip(boot_nanos())?;
    Some(wall.saturating_sub(boot))
}

fn now_nanos(clock: ClockId) -> Option<u64> {
    let duration: Duration = clock_gettime(clock).ok()?.into();
    u64::try_from(duration.as_nanos()).ok()
}
