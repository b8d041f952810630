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
pub(super) struct Drift {
    by: SignedDuration,
    /// How far it was set forward of late, and when, by the clock that nobody sets. It may be a mistake, and what is lifted
    /// or forgotten for it would not come back.
    doubted: Option<(SignedDuration, Timestamp)>,
}

impl Drift {
    /// By how much the clock was set since the last look. Less than [`SET`] is the clock being disciplined, until it adds
    /// up to that.
    pub(super) fn look(&mut self, wall: Timestamp, steady: Timestamp) -> Option<SignedDuration> {
        let by = wall.duration_since(steady) - self.by;
        if by.abs() < SET {
            return None;
        }
        self.by += by;
        let (doubted, since) = self.doubted.unwrap_or_default();
        let since = if by.is_positive() { steady } else { since };
        self.doubted = Some((doubted + by, since)).filter(|(doubted, _)| *doubted >= SET);
        Some(by)
    }

    /// Whether the time that the clock was set forward to has held for long enough to be believed, from now on.
    pub(super) fn has_held(&mut self, steady: Timestamp) -> bool {
        self.doubted.take_if(|(_, since)| steady.duration_since(*since) >= HELD).is_some()
    }

    /// Whether the time is not believed yet.
    pub(super) const fn is_doubted(&self) -> bool {
        self.doubted.is_some()
    }

    /// The time to end things by: that of the wall clock, less what it was set forward and has not held yet.
    pub(super) fn believed(&self, wall: Timestamp) -> Timestamp {
        let (doubted, _) = self.doubted.unwrap_or_default();
        wall.checked_sub(doubted).unwrap_or(wall)
    }
}

/// How long a time that the clock was set forward to has to hold.
const HELD: SignedDuration = SignedDuration::from_mins(1);
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

    #[test]
    fn a_clock_that_is_set_forward_is_believed_once_it_has_held_and_not_if_it_returns() {
        let day = SignedDuration::from_hours(24);
        let mut drift = Drift::default();
        assert_eq!(drift.look(at(1_000) + day, at(1_000)), Some(day));
        assert_eq!((drift.believed(at(1_001) + day), drift.is_doubted()), (at(1_001), true));
        assert!(!drift.has_held(at(1_059)));
        assert_eq!(drift.look(at(1_059), at(1_059)), Some(-day));
        assert_eq!((drift.believed(at(1_059)), drift.is_doubted()), (at(1_059), false));
        assert!(!drift.has_held(at(2_000)));

        assert_eq!(drift.look(at(3_000) + day, at(3_000)), Some(day));
        assert!(drift.has_held(at(3_060)) && !drift.has_held(at(3_061)), "once");
        assert_eq!(drift.believed(at(3_060) + day), at(3_060) + day);
        assert_eq!(drift.look(at(4_000), at(4_000)), Some(-day));
        assert_eq!(drift.believed(at(4_000)), at(4_000), "back is believed at once: nothing ends too early");
    }
}
