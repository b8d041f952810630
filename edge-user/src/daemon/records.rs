//! Call records: what the kernel tells of calls that are over as rows, and what they add up to.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;

use super::calls::trunk_of;
use super::clock;
use super::state::Daemon;
use super::waiting::{Waiting, kept};
use crate::api::types::CallRow;
use crate::config::{Numbers, UNKNOWN_ACCOUNT};
use crate::dataplane::Clocks;
use crate::figures::{CallFigures, cause};
use edge_ebpf::abi::{CallRecord, EndedBy, Number};

/// Records on their way, and what they add up to.
#[derive(Debug, Default)]
pub(super) struct Records {
    pub(super) waiting: Waiting<CallRow>,
    /// By account, since the daemon's start.
    pub(super) figures: BTreeMap<String, CallFigures>,
}

impl Daemon {
    pub(super) fn take_records(&self, batch: &[CallRecord]) {
        let clocks = clock::clocks();
        let mut state = self.state();
        let numbers = state.config.records.numbers;
        let (names, trunks) = (state.names(), state.trunk_names());
        for record in batch {
            let account = names.get(&record.account).map_or(UNKNOWN_ACCOUNT, String::as_str);
            let trunk = trunk_of(&trunks, record.trunk).unwrap_or_default();
            state.records.add(row(record, account, trunk, numbers, &clocks), record);
        }
    }
}

impl Records {
    fn add(&mut self, row: CallRow, record: &CallRecord) {
        self.figures.entry(row.account.clone()).or_default().add(record);
        self.waiting.push(row);
    }
}

fn row(record: &CallRecord, account: &str, trunk: String, numbers: Numbers, clocks: &Clocks) -> CallRow {
    let at = |ns: u64| clocks.wall_at(ns);
    let maybe = |ns: u64| (ns != 0).then(|| at(ns));
    let ended_by = usize::try_from(record.ended_by).ok().and_then(EndedBy::from_index);
    CallRow {
        seq: 0,
        account: account.to_owned(),
        trunk,
        source: Ipv6Addr::from(record.source).to_canonical().to_string(),
        from: shown(&record.from, numbers),
        to: shown(&record.to, numbers),
        setup_at: at(record.setup_ns),
        ring_at: maybe(record.ring_ns),
        answer_at: maybe(record.answer_ns),
        end_at: at(record.end_ns),
        status: record.status,
        cause: cause(record.cause).to_owned(),
        ended_by: ended_by.map_or("unknown", EndedBy::name).to_owned(),
    }
}

/// As much of a number as may be kept; the prefix is what fraud is seen by.
pub(super) fn shown(number: &Number, numbers: Numbers) -> String {
    let digits: String =
        number.iter().take_while(|digit| digit.is_ascii_digit()).map(|digit| char::from(*digit)).collect();
    kept(&digits, numbers)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use edge_ebpf::abi::CallCause;
    use jiff::Timestamp;

    use super::*;

    const SECOND_NS: u64 = 1_000_000_000;

    fn number(digits: &str) -> Number {
        let mut number = [0; edge_ebpf::abi::NUMBER_DIGITS];
        number[..digits.len()].copy_from_slice(digits.as_bytes());
        number
    }

    fn record() -> CallRecord {
        CallRecord {
            account: 1,
            trunk: 0,
            source: std::net::Ipv4Addr::new(203, 0, 113, 7).to_ipv6_mapped().octets(),
            from: number("441632960123"),
            to: number("112"),
            setup_ns: 100 * SECOND_NS,
            ring_ns: 102 * SECOND_NS,
            answer_ns: 105 * SECOND_NS,
            end_ns: 110 * SECOND_NS,
            status: 200,
            cause: CallCause::Completed as u32,
            ended_by: EndedBy::Callee as u32,
            reserved: 0,
        }
    }

    #[test]
    fn a_record_becomes_a_row_in_wall_clock_time() {
        let clocks = Clocks { wall: Timestamp::from_second(1_000).unwrap(), monotonic_ns: 120 * SECOND_NS };
        let row = row(&record(), "acme", "london".to_owned(), Numbers::Masked, &clocks);
        assert_eq!((row.from.as_str(), row.to.as_str()), ("44163296xxxx", "xxx"));
        assert_eq!((row.setup_at.as_second(), row.end_at.as_second()), (980, 990));
        assert_eq!(row.ring_at.unwrap().as_second(), 982);
        assert_eq!((row.cause.as_str(), row.ended_by.as_str()), ("completed", "callee"));
        assert_eq!(row.source, "203.0.113.7");
    }
}
