//! The meter: GCRA, the generic cell rate algorithm (ITU-T I.371, virtual scheduling), in one `u64` a bucket.
//!
//! The state is the theoretical arrival time (TAT): when the bucket would be full again. A message conforms if
//! charging it keeps the TAT no further than the burst ahead of now. Rate and burst come from the policy, so a
//! limit changes without touching the state.
//!
//! This module is the arithmetic. Exactness over CPUs comes from the caller's compare-exchange on the state.

use crate::abi::Limit;
use crate::verifier::unlinked;

/// What the bucket should hold after a message, or that the message does not conform.
///
/// `cost` is the number of messages (SMPP PDUs in a segment). A message that costs more than the whole burst
/// conforms only to a full bucket and leaves it in debt: a segment with more PDUs than the burst would
/// otherwise never pass and its connection stand still. Admitted in any time `t` is therefore at most
/// `max(burst, largest cost) + rate x t`.
///
/// `None`: does not conform, the bucket stays as it is. A limit of [`Limit::NONE`] always conforms.
#[must_use]
#[inline(always)]
pub fn charge(tat_ns: u64, limit: Limit, cost: u32, now_ns: u64) -> Option<u64> {
    if limit.interval_ns == 0 {
        return Some(tat_ns);
    }
    let (now_ns, burst_ns) = (unlinked(now_ns), unlinked(limit.burst_ns));
    // At most 2^32 x 2^64: saturates; then nothing conforms, which is what such a limit says.
    let increment_ns = price_ns(limit, cost);
    let start_ns = if tat_ns > now_ns { tat_ns } else { now_ns };
    let next_ns = start_ns.saturating_add(increment_ns);
    let ahead_ns = next_ns - now_ns;
    if ahead_ns <= burst_ns {
        return Some(next_ns);
    }
    // Larger than the burst: only to a full bucket, and never if nothing may pass at all.
    if increment_ns > burst_ns && burst_ns != 0 && tat_ns <= now_ns {
        return Some(next_ns);
    }
    None
}

/// What the bucket should hold after messages that do not conform and pass all the same. They are owed, up to one burst:
/// so much longer it takes until the bucket has room again, and no longer.
#[must_use]
#[inline(always)]
pub const fn owe(tat_ns: u64, limit: Limit, cost: u32, now_ns: u64) -> u64 {
    let start_ns = if tat_ns > now_ns { tat_ns } else { now_ns };
    let next_ns = start_ns.saturating_add(price_ns(limit, cost));
    let most_ns = now_ns.saturating_add(limit.burst_ns).saturating_add(limit.burst_ns);
    if next_ns < most_ns {
        next_ns
    } else if tat_ns > most_ns {
        tat_ns
    } else {
        most_ns
    }
}

/// What `cost` messages cost, saturating. Written out because BPF has no 128-bit product to tell an overflow by.
#[must_use]
#[inline(always)]
pub const fn price_ns(limit: Limit, cost: u32) -> u64 {
    if cost == 1 {
        return limit.interval_ns;
    }
    let high = (limit.interval_ns >> 32) * cost as u64;
    let low = (limit.interval_ns & 0xffff_ffff) * cost as u64;
    // Both products are below 2^64: 32 bits times 32 bits.
    if high >> 32 != 0 { u64::MAX } else { (high << 32).saturating_add(low) }
}

#[cfg(test)]
#[expect(clippy::expect_used, reason = "a test that cannot go on panics where it stands")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND_NS: u64 = 1_000_000_000;

    fn limit(per_second: u64, burst: u64) -> Limit {
        let interval_ns = SECOND_NS / per_second;
        Limit { interval_ns, burst_ns: burst * interval_ns }
    }

    #[test]
    fn a_full_bucket_admits_exactly_its_burst() {
        let limit = limit(20, 40);
        let now = 5 * SECOND_NS;
        let mut tat = 0;
        let mut admitted = 0;
        while let Some(next) = charge(tat, limit, 1, now) {
            tat = next;
            admitted += 1;
        }
        assert_eq!(admitted, 40);
    }

    #[test]
    fn over_ten_seconds_a_limit_admits_burst_plus_rate() {
        let limit = limit(20, 40);
        let start = 7 * SECOND_NS;
        let (mut tat, mut admitted) = (0, 0);
        for millisecond in 0..=10_000 {
            if let Some(next) = charge(tat, limit, 1, start + millisecond * 1_000_000) {
                tat = next;
                admitted += 1;
            }
        }
        assert_eq!(admitted, 40 + 200);
    }

    #[test]
    fn no_limit_admits_and_leaves_the_bucket_alone() {
        assert_eq!(charge(77, Limit::NONE, 1, 5), Some(77));
    }

    #[test]
    fn a_rate_of_zero_admits_nothing() {
        assert_eq!(charge(0, Limit::NOTHING, 1, SECOND_NS), None);
    }

    #[test]
    fn a_cost_above_the_burst_needs_a_full_bucket_and_is_owed() {
        let limit = limit(10, 5);
        let now = 9 * SECOND_NS;
        let tat = charge(0, limit, 12, now).expect("full bucket");
        assert_eq!(tat, now + 12 * limit.interval_ns);
        assert_eq!(charge(tat, limit, 1, now), None);
        assert_eq!(charge(tat, limit, 12, now + 11 * limit.interval_ns), None);
        assert!(charge(tat, limit, 12, now + 12 * limit.interval_ns).is_some());
    }

    proptest! {
        #[test]
        fn never_more_than_burst_plus_rate_whatever_the_arrivals(
            per_second in 1_u64..100_000,
            burst in 1_u64..1_000,
            gaps in proptest::collection::vec(0_u64..50_000_000, 1..400),
        ) {
            let limit = limit(per_second, burst);
            let start = SECOND_NS;
            let (mut now, mut tat, mut admitted) = (start, 0, 0_u64);
            for gap in gaps {
                now += gap;
                if let Some(next) = charge(tat, limit, 1, now) {
                    tat = next;
                    admitted += 1;
                }
            }
            prop_assert!(admitted <= burst + (now - start) / limit.interval_ns + 1);
        }

        #[test]
        fn the_price_is_the_saturated_product(interval_ns: u64, cost: u32) {
            let limit = Limit { interval_ns, burst_ns: 0 };
            prop_assert_eq!(price_ns(limit, cost), interval_ns.saturating_mul(u64::from(cost)));
        }

        #[test]
        fn hostile_numbers_never_overflow(tat: u64, interval_ns: u64, burst_ns: u64, cost: u32, now: u64) {
            let _ = charge(tat, Limit { interval_ns, burst_ns }, cost, now);
        }
    }
}
