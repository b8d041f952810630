//! Whether the slots that are counted are the entries that hold them. Pure.
//!
//! 1. The kernel counts slots in one word an account and trunk, and keeps an entry a call. Both change while the
//!    entries are walked, so that one look proves nothing: it bounds the difference. What came during the walk may or
//!    may not have been seen, and so for what went: the difference lies between `counted - held - went` and
//!    `counted - held + came`.
//! 2. A real difference stays what it is; that of a race does not. So the bounds of successive looks are cut with one
//!    another, and only what excludes zero in [`LOOKS`] looks is drift.
//! 3. What is put right is the bound nearest to zero: never more than was proven.

use std::collections::BTreeMap;

/// Looks in a row that have to agree.
const LOOKS: u32 = 3;

/// Whose slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Holder {
    /// The account of this number.
    Account(u32),
    /// The trunk of this number.
    Trunk(u32),
}

/// One look at one holder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// Slots counted before the walk; a count that fell below zero is negative.
    pub counted: i64,
    /// Slots of the entries that the walk met.
    pub held: i64,
    /// Calls that took a slot during the walk.
    pub came: i64,
    /// Calls that gave one back during the walk.
    pub went: i64,
}

/// What the looks so far say.
#[derive(Debug, Default)]
pub struct Drifts {
    suspects: BTreeMap<Holder, Suspect>,
}

#[derive(Clone, Copy, Debug)]
struct Suspect {
    least: i64,
    most: i64,
    looks: u32,
}

impl Drifts {
    /// Takes the looks of one walk; answers with slots counted beyond the entries (below zero: too few) of each
    /// holder where that is proven. Those are taken as put right.
    pub fn step(&mut self, looks: impl IntoIterator<Item = (Holder, Look)>) -> Vec<(Holder, i64)> {
        let mut suspects = BTreeMap::new();
        let mut proven = Vec::new();
        for (holder, look) in looks {
            let beyond = look.counted.saturating_sub(look.held);
            let fresh = Suspect {
                least: beyond.saturating_sub(look.went),
                most: beyond.saturating_add(look.came),
                looks: 1,
            };
            let cut = self.suspects.get(&holder).and_then(|before| before.cut_with(&fresh));
            let suspect = cut.unwrap_or(fresh);
            if suspect.least <= 0 && suspect.most >= 0 {
                continue;
            }
            if suspect.looks < LOOKS {
                suspects.insert(holder, suspect);
            } else {
                proven.push((holder, if suspect.least > 0 { suspect.least } else { suspect.most }));
            }
        }
        self.suspects = suspects;
        proven
    }

    /// Holders whose last looks excluded that count and entries agree, not yet often enough.
    #[must_use]
    pub fn suspects(&self) -> usize {
        self.suspects.len()
    }
}

impl Suspect {
    /// What both allow; `None` where they contradict each other: then the difference has changed.
    fn cut_with(&self, fresh: &Self) -> Option<Self> {
        let (least, most) = (self.least.max(fresh.least), self.most.min(fresh.most));
        (least <= most).then_some(Self { least, most, looks: self.looks + 1 })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ACME: Holder = Holder::Account(1);

    fn quiet(counted: i64, held: i64) -> Look {
        Look { counted, held, came: 0, went: 0 }
    }

    #[test]
    fn a_difference_that_lasts_is_drift_with_the_third_look() {
        let mut drifts = Drifts::default();
        assert_eq!(drifts.step([(ACME, quiet(7, 5))]), []);
        assert_eq!(drifts.step([(ACME, quiet(9, 7))]), []);
        assert_eq!(drifts.suspects(), 1);
        assert_eq!(drifts.step([(ACME, quiet(8, 6))]), [(ACME, 2)]);
        assert_eq!(drifts.suspects(), 0, "it counts as put right");
    }

    #[test]
    fn a_count_below_zero_is_drift_too() {
        let mut drifts = Drifts::default();
        let looks = [(Holder::Trunk(3), quiet(-2, 1))];
        assert_eq!((drifts.step(looks), drifts.step(looks)), (vec![], vec![]));
        assert_eq!(drifts.step(looks), [(Holder::Trunk(3), -3)]);
    }

    #[test]
    fn what_differs_otherwise_each_time_is_a_race() {
        let mut drifts = Drifts::default();
        for beyond in [1, -1, 2, 0, 1, 1, 3, -2, 1, 1] {
            assert_eq!(drifts.step([(ACME, quiet(10 + beyond, 10))]), [], "{beyond}");
        }
    }

    #[test]
    fn what_calls_during_the_walk_can_explain_is_no_drift_and_the_rest_is() {
        let mut drifts = Drifts::default();
        let busy = Look { counted: 103, held: 100, came: 8, went: 5 };
        for _ in 0..10 {
            assert_eq!(drifts.step([(ACME, busy)]), []);
        }
        let proven = Look { counted: 109, held: 100, came: 8, went: 5 };
        drifts.step([(ACME, proven)]);
        drifts.step([(ACME, proven)]);
        assert_eq!(drifts.step([(ACME, proven)]), [(ACME, 4)], "no more than what is sure");
    }

    proptest! {
        /// However calls come and go during the walks, a count that is right is never called wrong, and one that is
        /// wrong is never corrected beyond what it is wrong by.
        #[test]
        fn no_race_is_taken_for_drift(
            drift in -3_i64..=3,
            walks in prop::collection::vec((0_i64..50, 0_i64..20, 0_i64..20, 0.0..=1.0_f64, 0.0..=1.0_f64), 1..20),
        ) {
            let mut drifts = Drifts::default();
            for (held_before, came, went, came_seen, went_seen) in walks {
                let went = went.min(held_before + came);
                #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "below 21")]
                let part = |of: i64, share: f64| (of as f64 * share) as i64;
                let held = held_before + part(came, came_seen) - part(went, went_seen).min(held_before);
                let look = Look { counted: held_before + drift, held, came, went };
                for (_, proven) in drifts.step([(ACME, look)]) {
                    prop_assert!(proven.signum() == drift.signum() && proven.abs() <= drift.abs(), "{proven}");
                }
            }
        }
    }
}
