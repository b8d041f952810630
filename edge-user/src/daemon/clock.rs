//! The one place of the daemon that reads clocks; everything else is told the time.

use jiff::Timestamp;
use nix::time::{ClockId, clock_gettime};

use crate::dataplane::Clocks;

/// The wall clock.
pub(super) fn now() -> Timestamp {
    Timestamp::now()
}

/// Both clocks.
pub(super) fn clocks() -> Clocks {
    Clocks { wall: now(), monotonic_ns: monotonic_ns() }
}

/// The kernel programs' clock. It cannot fail on Linux (`clock_gettime(2)`); 0 would only mean that everything
/// lies ahead.
pub(super) fn monotonic_ns() -> u64 {
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(0, |time| {
        let secs = u64::try_from(time.tv_sec()).unwrap_or(0);
        let nanos = u64::try_from(time.tv_nsec()).unwrap_or(0);
        secs.saturating_mul(1_000_000_000).saturating_add(nanos)
    })
}
