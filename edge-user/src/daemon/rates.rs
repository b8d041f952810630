//! Rates over the last second, from two snapshots.

use std::collections::BTreeMap;
use std::time::Duration;

use edge_ebpf::abi::{AccountCounters, Allowance, Class};

use crate::detect::Snapshot;

/// Messages per second of one account and class.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[expect(clippy::struct_field_names, reason = "units end names")]
pub(super) struct ClassRates {
    /// Admitted, refused and observed.
    pub(super) offered_per_sec: f64,
    /// Admitted, and observed over a limit but passed.
    pub(super) admitted_per_sec: f64,
    /// Refused.
    pub(super) refused_per_sec: f64,
}

/// By account and class; what has no traffic is left out.
pub(super) type Rates = BTreeMap<String, BTreeMap<Class, ClassRates>>;

/// Rates of every account that is in both snapshots.
pub(super) fn rates(before: &Snapshot, after: &Snapshot, elapsed: Duration) -> Rates {
    let secs = elapsed.as_secs_f64();
    if secs <= 0.0 {
        return Rates::new();
    }
    let of_account = |(name, after): (&String, &crate::detect::AccountSnapshot)| {
        let before = before.accounts.get(name)?;
        let classes: BTreeMap<Class, ClassRates> = Class::ALL
            .iter()
            .map(|class| (*class, class_rates(&before.counters, &after.counters, *class, secs)))
            .filter(|(_, rates)| rates.offered_per_sec > 0.0)
            .collect();
        (!classes.is_empty()).then(|| (name.clone(), classes))
    };
    after.accounts.iter().filter_map(of_account).collect()
}

/// Messages that were counted between two readings. An account that was removed and came back starts from
/// nothing: then all that it has now is new.
pub(super) fn since(
    before: &AccountCounters,
    after: &AccountCounters,
    class: Class,
) -> [u64; Allowance::COUNT] {
    let (before, after) = (before.messages[class.index()], after.messages[class.index()]);
    let is_anew = before.iter().zip(&after).any(|(before, after)| before > after);
    if is_anew { after } else { std::array::from_fn(|index| after[index] - before[index]) }
}

#[expect(clippy::cast_precision_loss, reason = "messages of a second stay far below 2^53")]
fn class_rates(before: &AccountCounters, after: &AccountCounters, class: Class, secs: f64) -> ClassRates {
    let counts = since(before, after, class);
    let count = |allowance: Allowance| counts[allowance.index()] as f64 / secs;
    let (admitted, refused, observed) =
        (count(Allowance::Admitted), count(Allowance::Refused), count(Allowance::Observed));
    ClassRates {
        offered_per_sec: admitted + refused + observed,
        admitted_per_sec: admitted + observed,
        refused_per_sec: refused,
    }
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::detect::AccountSnapshot;

    fn counters(messages: [u64; Allowance::COUNT]) -> AccountCounters {
        let mut counters = AccountCounters::NOTHING;
        counters.messages[Class::SipInvite.index()] = messages;
        counters
    }

    fn snapshot(messages: [u64; Allowance::COUNT]) -> Snapshot {
        let account = AccountSnapshot { number: 1, counters: counters(messages) };
        Snapshot { accounts: BTreeMap::from([("acme".to_owned(), account)]), prefixes: None }
    }

    #[test]
    fn rates_are_differences_over_the_time_between() {
        let rates = rates(&snapshot([10, 0, 4, 0, 9]), &snapshot([30, 6, 8, 5, 99]), Duration::from_secs(2));
        let invite = rates["acme"][&Class::SipInvite];
        let expected = ClassRates { offered_per_sec: 15.0, admitted_per_sec: 12.0, refused_per_sec: 3.0 };
        assert_eq!(invite, expected, "exempt and repeated messages are no load on a limit");
        assert_eq!(rates["acme"].len(), 1, "classes without traffic are left out");
    }

    #[test]
    fn counters_that_started_anew_never_give_a_huge_rate() {
        assert_eq!(
            since(&counters([100, 5, 0, 0, 0]), &counters([3, 0, 0, 0, 0]), Class::SipInvite),
            [3, 0, 0, 0, 0]
        );
    }
}
