//! The one place of the daemon that reads clocks; everything else is told the time.

use jiff::{SignedDuration, Timestamp};
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

/// How far the wall clock is from where it would be had nobody set it.
#[derive(Debug, Default)]
pub(super) struct Drift(SignedDuration);

impl Drift {
    /// By how much the clock was set since the last look. Less than [`SET`] is the clock being disciplined, until it adds
    /// up to that.
    pub(super) fn look(&mut self, wall: Timestamp, steady: Timestamp) -> Option<SignedDuration> {
        let by = wall.duration_since(steady) - self.0;
        if by.abs() < SET {
            return None;
        }
        self.0 += by;
        Some(by)
    }
}

/// What is told of as a clock that was set.
const SET: SignedDuration = SignedDuration::from_secs(10);

/// The kernel programs' clock. It cannot fail on Linux (`clock_gettime(2)`); 0 would only mean that everything
/// lies ahead.
pub(super) fn monotonic_ns() -> u64 {
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(0, |time| {
        let secs = u64::try_from(time.tv_sec()).unwrap_or(0);
        let nanos = u64::try_from(time.tv_nsec()).unwrap_or(0);
        secs.saturating_mul(1_000_000_000).saturating_add(nanos)
    })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_clock_that_is_set_is_told_of_once_and_one_that_is_disciplined_is_not() {
        let day = SignedDuration::from_hours(24);
        let mut drift = Drift::default();
        assert_eq!(drift.look(at(100_000), at(100_000)), None);
        assert_eq!(drift.look(at(100_004), at(100_001)), None);
        assert_eq!(drift.look(at(100_002) - day, at(100_002)), Some(-day));
        assert_eq!(drift.look(at(100_003) - day, at(100_003)), None);
        assert_eq!(drift.look(at(100_004), at(100_004)), Some(day));
        assert_eq!(drift.look(at(100_005), at(100_005)), None);
    }
}
