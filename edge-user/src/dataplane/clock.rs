//! The two clocks: people and the database reckon in wall-clock time, the kernel programs in `CLOCK_MONOTONIC`.

use std::time::Duration;

use jiff::Timestamp;

/// How far two conversions of the same moment may lie apart: the clocks are read one after the other, and the
/// wall clock is disciplined while the monotonic one is not.
const TOLERANCE_NS: u64 = 2_000_000_000;

/// Both clocks, read at the same moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clocks {
    /// Wall clock.
    pub wall: Timestamp,
    /// `CLOCK_MONOTONIC`, nanoseconds.
    pub monotonic_ns: u64,
}

impl Clocks {
    /// What the wall clock would say at a moment of the monotonic one, had nobody set it since.
    #[must_use]
    pub fn steady(&self, monotonic_ns: u64) -> Timestamp {
        let since = Duration::from_nanos(monotonic_ns.saturating_sub(self.monotonic_ns));
        self.wall.checked_add(since).unwrap_or(Timestamp::MAX)
    }

    /// The end of a measure as the kernel wants it; `u64::MAX` means never. What is over by now gives now.
    ///
    /// `installed` is what the kernel has for the same measure: kept if it means the same moment, so that
    /// asking twice changes nothing.
    #[must_use]
    pub fn until_ns(&self, expires_at: Option<Timestamp>, installed: Option<u64>) -> u64 {
        let Some(expires_at) = expires_at else { return u64::MAX };
        let left_ns = expires_at.duration_since(self.wall).as_nanos();
        let left_ns = u64::try_from(left_ns.max(0)).unwrap_or(u64::MAX);
        // u64::MAX would mean never.
        let wanted = self.monotonic_ns.saturating_add(left_ns).min(u64::MAX - 1);
        match installed {
            Some(installed) if installed != u64::MAX && installed.abs_diff(wanted) <= TOLERANCE_NS => {
                installed
            }
            _ => wanted,
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    fn clocks() -> Clocks {
        Clocks { wall: Timestamp::from_second(1_000_000).unwrap(), monotonic_ns: 5_000_000_000 }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn an_expiry_lies_as_far_ahead_on_both_clocks() {
        assert_eq!(clocks().until_ns(Some(at(1_000_060)), None), 65_000_000_000);
        assert_eq!(clocks().until_ns(Some(at(999_000)), None), 5_000_000_000, "over: now");
        assert_eq!(clocks().until_ns(None, Some(7)), u64::MAX);
    }

    #[test]
    fn the_steady_time_goes_on_from_the_wall_clock_as_the_monotonic_one_does() {
        assert_eq!(clocks().steady(5_000_000_000), at(1_000_000));
        assert_eq!(clocks().steady(3_605_000_000_000), at(1_003_600));
    }

    #[test]
    fn what_the_kernel_has_stays_if_it_means_the_same_moment() {
        assert_eq!(clocks().until_ns(Some(at(1_000_060)), Some(65_900_000_000)), 65_900_000_000);
        assert_eq!(clocks().until_ns(Some(at(1_000_060)), Some(70_000_000_000)), 65_000_000_000);
        assert_eq!(clocks().until_ns(Some(at(1_000_060)), Some(u64::MAX)), 65_000_000_000);
    }

    #[test]
    fn the_far_future_is_not_for_ever() {
        let clocks = Clocks { monotonic_ns: u64::MAX - 5, ..clocks() };
        assert_eq!(clocks.until_ns(Some(at(1_000_060)), None), u64::MAX - 1);
    }
}
