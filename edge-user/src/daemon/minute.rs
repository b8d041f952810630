//! The per-minute history: what was counted between two starts of minutes.

use std::collections::BTreeMap;

use edge_ebpf::abi::{AccountCounters, Class};
use jiff::Timestamp;

use super::rates::since;
use crate::detect::Snapshot;
use crate::store::HistoryRow;

/// Start of the minute that a moment falls in.
pub(super) fn start_of(at: Timestamp) -> Timestamp {
    let second = at.as_second();
    Timestamp::from_second(second - second.rem_euclid(60)).unwrap_or(at)
}

/// Counters of a snapshot, by account.
pub(super) fn counters(snapshot: &Snapshot) -> BTreeMap<String, AccountCounters> {
    snapshot.accounts.iter().map(|(name, account)| (name.clone(), account.counters)).collect()
}

/// Rows of the minute that began at `start` with the counters `before`; rows without any message are left out.
/// An account that was added meanwhile counts from nothing.
pub(super) fn rows(
    start: Timestamp,
    before: &BTreeMap<String, AccountCounters>,
    now: &Snapshot,
) -> Vec<HistoryRow> {
    let mut rows = Vec::new();
    for (name, account) in &now.accounts {
        for class in Class::ALL {
            let messages = match before.get(name) {
                Some(before) => since(before, &account.counters, *class),
                None => account.counters.messages[class.index()],
            };
            if messages.iter().any(|count| *count > 0) {
                let (account, class) = (name.clone(), class.name().to_owned());
                rows.push(HistoryRow { at: start, account, class, messages });
            }
        }
    }
    rows
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {

    use super::*;
    use crate::detect::AccountSnapshot;

    fn snapshot(accounts: &[(&str, u64)]) -> Snapshot {
        let account = |(name, admitted): &(&str, u64)| {
            let mut counters = AccountCounters::NOTHING;
            counters.messages[Class::SmppSubmit.index()][0] = *admitted;
            ((*name).to_owned(), AccountSnapshot { number: 1, counters })
        };
        Snapshot { accounts: accounts.iter().map(account).collect(), prefixes: None }
    }

    #[test]
    fn a_minute_starts_at_its_second_zero() {
        let at = Timestamp::from_millisecond(1_700_000_059_999).unwrap();
        assert_eq!(start_of(at).as_second() % 60, 0);
        assert_eq!(start_of(at).as_second(), 1_700_000_040);
    }

    #[test]
    fn only_what_was_counted_within_the_minute_becomes_a_row() {
        let before = counters(&snapshot(&[("acme", 10), ("quiet", 3)]));
        let rows = rows(Timestamp::UNIX_EPOCH, &before, &snapshot(&[("acme", 15), ("new", 4), ("quiet", 3)]));
        let facts: Vec<_> =
            rows.iter().map(|row| (row.account.as_str(), row.class.as_str(), row.messages[0])).collect();
        assert_eq!(facts, [("acme", "smpp.submit", 5), ("new", "smpp.submit", 4)]);
    }
}
