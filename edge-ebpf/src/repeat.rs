//! Retransmissions: which SIP requests were admitted a short while ago.
//!
//! A set holds four fingerprints (one cache line). Forgetting one costs that request's retransmission its free
//! passage, nothing else.

use crate::abi::{REPEAT_WAYS, Repeat, RepeatSet};
use crate::verifier::zero;

/// Retransmissions that travel free. A client over UDP sends a request eleven times at most (timer E until
/// timer F, RFC 3261 17.1.2.2; an INVITE seven times, timer A until timer B, 17.1.1.2). What comes more often
/// is no retransmission but a flood in disguise, and is charged like a new request.
pub const FREE_REPEATS: u64 = 10;

/// The bits of a stamp that count repeats; the rest is the time.
const COUNT_MASK: u64 = 15;

/// The index of a fingerprint's set; `sets` is a power of two.
#[must_use]
#[inline(always)]
pub const fn set_of(fingerprint: u64, sets: u32) -> u32 {
    (fingerprint >> 32) as u32 & (sets - 1)
}

/// The bits of a fingerprint that say what became of the request: 0 admitted, else the [`Code`] of the answer.
///
/// [`Code`]: crate::wire::sip::Code
pub const MARK_MASK: u64 = 7;

/// A hash as a fingerprint: without a mark, and not 0, which is an empty place in the table.
#[must_use]
#[inline(always)]
pub const fn as_fingerprint(hash: u64) -> u64 {
    let hash = hash & !MARK_MASK;
    if hash == 0 { MARK_MASK + 1 } else { hash }
}

/// The mark of a request that was judged within the window, if this is a repeat of it that is treated alike; counts
/// it.
#[inline(always)]
pub fn find(set: &mut RepeatSet, fingerprint: u64, window_ns: u64, now_ns: u64) -> Option<u64> {
    for way in 0..REPEAT_WAYS {
        let Repeat { fingerprint: held, stamp } = set.ways[way];
        if held ^ fingerprint <= MARK_MASK && held != 0 {
            let age_ns = now_ns.saturating_sub(stamp & !COUNT_MASK);
            if age_ns >= window_ns || stamp & COUNT_MASK >= FREE_REPEATS {
                return None;
            }
            set.ways[way].stamp = stamp + 1;
            return Some(held & MARK_MASK);
        }
    }
    None
}

/// Remembers a request that was judged (its fingerprint with its mark), in its own place, an empty one or the oldest.
#[inline(always)]
pub fn remember(set: &mut RepeatSet, fingerprint: u64, now_ns: u64) {
    let mut oldest_stamp = u64::MAX;
    let mut place = 0;
    for way in 0..REPEAT_WAYS {
        let Repeat { fingerprint: held, stamp } = set.ways[way];
        // Its own place is taken before all others, hence as old as can be.
        let stamp = if held ^ fingerprint <= MARK_MASK { 0 } else { stamp };
        if stamp < oldest_stamp {
            oldest_stamp = stamp;
            place = way;
        }
    }
    // A loop over constants, so that no computed index has to be proven to the verifier.
    for way in 0..REPEAT_WAYS {
        if way == place {
            set.ways[way] = Repeat { fingerprint, stamp: now_ns & !COUNT_MASK };
        }
    }
}

/// Whether a fingerprint was remembered within the window; forgets it.
#[inline(always)]
pub fn take(set: &mut RepeatSet, fingerprint: u64, window_ns: u64, now_ns: u64) -> bool {
    for way in 0..REPEAT_WAYS {
        let Repeat { fingerprint: held, stamp } = set.ways[way];
        if held == fingerprint {
            zero(&mut set.ways[way].fingerprint);
            zero(&mut set.ways[way].stamp);
            return now_ns.saturating_sub(stamp) < window_ns;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_repeat(set: &mut RepeatSet, request: u64, window_ns: u64, now_ns: u64) -> bool {
        find(set, request << 3, window_ns, now_ns).is_some()
    }

    fn admit(set: &mut RepeatSet, request: u64, now_ns: u64) {
        remember(set, request << 3, now_ns);
    }

    const WINDOW_NS: u64 = 32_000_000_000;
    const EMPTY: RepeatSet = RepeatSet { ways: [Repeat { fingerprint: 0, stamp: 0 }; REPEAT_WAYS] };

    #[test]
    fn only_what_was_admitted_is_a_repeat() {
        let mut set = EMPTY;
        assert!(!is_repeat(&mut set, 5, WINDOW_NS, 1_000));
        admit(&mut set, 5, 1_000);
        assert!(is_repeat(&mut set, 5, WINDOW_NS, 1_500));
        assert!(!is_repeat(&mut set, 6, WINDOW_NS, 1_500));
    }

    #[test]
    fn a_repeat_is_free_within_the_window_and_ten_times() {
        let mut set = EMPTY;
        admit(&mut set, 5, 1_000);
        assert!(!is_repeat(&mut set, 5, WINDOW_NS, 1_000 + WINDOW_NS));
        for _ in 0..FREE_REPEATS {
            assert!(is_repeat(&mut set, 5, WINDOW_NS, 2_000));
        }
        assert!(!is_repeat(&mut set, 5, WINDOW_NS, 2_000));
        admit(&mut set, 5, 3_000);
        assert!(is_repeat(&mut set, 5, WINDOW_NS, 3_000));
    }

    #[test]
    fn the_oldest_of_four_gives_way() {
        let mut set = EMPTY;
        for (request, at) in [(1, 100), (2, 200), (3, 300), (4, 400), (5, 500)] {
            admit(&mut set, request, at);
        }
        let held: Vec<bool> = (1..=5).map(|request| is_repeat(&mut set, request, WINDOW_NS, 600)).collect();
        assert_eq!(held, [false, true, true, true, true]);
    }

    #[test]
    fn a_request_has_one_place() {
        let mut set = EMPTY;
        for at in [100, 200, 300] {
            admit(&mut set, 7, at);
        }
        assert_eq!(set.ways.iter().filter(|way| way.fingerprint == 7 << 3).count(), 1);
    }

    #[test]
    fn what_is_taken_is_taken_once_and_within_the_window() {
        let mut set = EMPTY;
        for request in 1..=4 {
            remember(&mut set, request << 3, 1_000 * request);
        }
        assert!(!take(&mut set, 5 << 3, WINDOW_NS, 5_000));
        assert!(take(&mut set, 4 << 3, WINDOW_NS, 5_000));
        assert!(!take(&mut set, 4 << 3, WINDOW_NS, 5_000));
        remember(&mut set, 5 << 3, 5_000);
        assert!(take(&mut set, 1 << 3, WINDOW_NS, 5_000), "the place that was left free is taken first");
        assert!(!take(&mut set, 2 << 3, WINDOW_NS, 2_000 + WINDOW_NS));
    }

    #[test]
    fn what_was_refused_is_told_from_what_was_admitted() {
        let mut set = EMPTY;
        remember(&mut set, 5 << 3 | 2, 100);
        assert_eq!(find(&mut set, 5 << 3, WINDOW_NS, 200), Some(2));
        remember(&mut set, 5 << 3, 300);
        assert_eq!(find(&mut set, 5 << 3, WINDOW_NS, 400), Some(0));
    }
}
