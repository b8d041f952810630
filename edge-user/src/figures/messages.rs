//! What the records of messages add up to.

use std::collections::BTreeMap;
use std::time::Duration;

use super::milliseconds;
use crate::api::types::MessageStats;

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageOutcome {
    /// The server took it.
    Accepted,
    /// The server answered with another status than `ESME_ROK`.
    Rejected,
    /// Edge refused it; the server never saw it.
    Refused,
}

impl MessageOutcome {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Accepted, Self::Rejected, Self::Refused];

    /// What a response of this `command_status` means.
    #[must_use]
    pub const fn of(status: u32, is_refused: bool) -> Self {
        match (is_refused, status) {
            (true, _) => Self::Refused,
            (false, 0) => Self::Accepted,
            (false, _) => Self::Rejected,
        }
    }

    /// In one word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Rejected => "rejected",
            Self::Refused => "refused",
        }
    }

    /// The outcome of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|outcome| outcome.name() == name)
    }
}

/// What records of one account add up to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MessageFigures {
    /// Messages that the server took.
    pub accepted: u64,
    /// Messages that it did not take, by `command_status`.
    pub rejected: BTreeMap<u32, u64>,
    /// Messages that Edge refused.
    pub refused: u64,
    /// From a message to the server's response; without those that Edge refused.
    pub times: ResponseTimes,
}

impl MessageFigures {
    /// Takes one more record in.
    pub fn add(&mut self, outcome: MessageOutcome, status: u32, latency: Duration) {
        match outcome {
            MessageOutcome::Accepted => self.accepted += 1,
            MessageOutcome::Rejected => *self.rejected.entry(status).or_default() += 1,
            MessageOutcome::Refused => {
                self.refused += 1;
                return;
            }
        }
        self.times.add(latency);
    }

    /// The figures as they are shown.
    #[must_use]
    pub fn stats(&self, account: &str) -> MessageStats {
        let rejected: u64 = self.rejected.values().sum();
        let at_most = |percent| self.times.percentile(percent).map(milliseconds);
        MessageStats {
            account: account.to_owned(),
            records: self.accepted + rejected + self.refused,
            accepted: self.accepted,
            rejected: self.rejected.iter().map(|(status, count)| (status_text(*status), *count)).collect(),
            refused: self.refused,
            p50_ms: at_most(50),
            p90_ms: at_most(90),
            p99_ms: at_most(99),
            max_ms: (self.times.count > 0).then(|| milliseconds(self.times.max)),
        }
    }
}

/// Bits of a time that are kept below its highest one: 1 of 64 parts, 1.6 %.
const KEPT_BITS: u32 = 6;

/// Times of responses: as the buckets that are exposed, and finely, for percentiles.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ResponseTimes {
    /// How many.
    pub count: u64,
    /// All of them together.
    pub sum: Duration,
    /// The longest.
    pub max: Duration,
    /// By the first of [`Self::BOUNDS`] that they do not go beyond; the last is of those beyond all.
    pub buckets: [u64; Self::BOUNDS.len() + 1],
    /// By microseconds, with [`KEPT_BITS`] below the highest.
    fine: BTreeMap<u64, u64>,
}

impl ResponseTimes {
    /// Upper bounds of the buckets.
    pub const BOUNDS: [Duration; 14] = [
        Duration::from_millis(1),
        Duration::from_micros(2_500),
        Duration::from_millis(5),
        Duration::from_millis(10),
        Duration::from_millis(25),
        Duration::from_millis(50),
        Duration::from_millis(100),
        Duration::from_millis(250),
        Duration::from_millis(500),
        Duration::from_secs(1),
        Duration::from_millis(2_500),
        Duration::from_secs(5),
        Duration::from_secs(10),
        Duration::from_secs(30),
    ];

    fn add(&mut self, time: Duration) {
        self.count += 1;
        self.sum += time;
        self.max = self.max.max(time);
        let bucket = Self::BOUNDS.partition_point(|bound| *bound < time);
        if let Some(count) = self.buckets.get_mut(bucket) {
            *count += 1;
        }
        let us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        *self.fine.entry(rounded_up(us)).or_default() += 1;
    }

    /// The time that `percent` of them do not go beyond, at most 1.6 % too long.
    #[must_use]
    pub fn percentile(&self, percent: u64) -> Option<Duration> {
        let wanted = (self.count * percent).div_ceil(100).max(1);
        let mut seen = 0;
        let (us, _) = self.fine.iter().find(|(_, count)| {
            seen += **count;
            seen >= wanted
        })?;
        Some(Duration::from_micros(*us).min(self.max))
    }

    /// Their sum in seconds, and each bucket with its upper bound in seconds; infinity is `f64::MAX`.
    #[must_use]
    pub fn in_seconds(&self) -> (f64, Vec<(f64, u64)>) {
        let bounds = Self::BOUNDS.iter().map(Duration::as_secs_f64).chain([f64::MAX]);
        (self.sum.as_secs_f64(), bounds.zip(self.buckets).collect())
    }
}

/// The longest time that is told from this one no more.
const fn rounded_up(us: u64) -> u64 {
    let lost_bits = (u64::BITS - us.leading_zeros()).saturating_sub(KEPT_BITS + 1);
    us | ((1 << lost_bits) - 1)
}

/// The name of a `command_status` (SMPP 3.4, 5.1.3).
#[must_use]
pub fn status_name(status: u32) -> Option<&'static str> {
    let index = STATUSES.binary_search_by_key(&status, |(status, _)| *status).ok()?;
    STATUSES.get(index).map(|(_, name)| *name)
}

/// Its name, or its number as SMPP writes it.
#[must_use]
pub fn status_text(status: u32) -> String {
    status_name(status).map_or_else(|| format!("0x{status:08x}"), ToOwned::to_owned)
}

/// By number.
const STATUSES: &[(u32, &str)] = &[
    (0x00, "ESME_ROK"),
    (0x01, "ESME_RINVMSGLEN"),
    (0x02, "ESME_RINVCMDLEN"),
    (0x03, "ESME_RINVCMDID"),
    (0x04, "ESME_RINVBNDSTS"),
    (0x05, "ESME_RALYBND"),
    (0x06, "ESME_RINVPRTFLG"),
    (0x07, "ESME_RINVREGDLVFLG"),
    (0x08, "ESME_RSYSERR"),
    (0x0a, "ESME_RINVSRCADR"),
    (0x0b, "ESME_RINVDSTADR"),
    (0x0c, "ESME_RINVMSGID"),
    (0x0d, "ESME_RBINDFAIL"),
    (0x0e, "ESME_RINVPASWD"),
    (0x0f, "ESME_RINVSYSID"),
    (0x11, "ESME_RCANCELFAIL"),
    (0x13, "ESME_RREPLACEFAIL"),
    (0x14, "ESME_RMSGQFUL"),
    (0x15, "ESME_RINVSERTYP"),
    (0x33, "ESME_RINVNUMDESTS"),
    (0x34, "ESME_RINVDLNAME"),
    (0x40, "ESME_RINVDESTFLAG"),
    (0x42, "ESME_RINVSUBREP"),
    (0x43, "ESME_RINVESMCLASS"),
    (0x44, "ESME_RCNTSUBDL"),
    (0x45, "ESME_RSUBMITFAIL"),
    (0x48, "ESME_RINVSRCTON"),
    (0x49, "ESME_RINVSRCNPI"),
    (0x50, "ESME_RINVDSTTON"),
    (0x51, "ESME_RINVDSTNPI"),
    (0x53, "ESME_RINVSYSTYP"),
    (0x54, "ESME_RINVREPFLAG"),
    (0x55, "ESME_RINVNUMMSGS"),
    (0x58, "ESME_RTHROTTLED"),
    (0x61, "ESME_RINVSCHED"),
    (0x62, "ESME_RINVEXPIRY"),
    (0x63, "ESME_RINVDFTMSGID"),
    (0x64, "ESME_RX_T_APPN"),
    (0x65, "ESME_RX_P_APPN"),
    (0x66, "ESME_RX_R_APPN"),
    (0x67, "ESME_RQUERYFAIL"),
    (0xc0, "ESME_RINVOPTPARSTREAM"),
    (0xc1, "ESME_ROPTPARNOTALLWD"),
    (0xc2, "ESME_RINVPARLEN"),
    (0xc3, "ESME_RMISSINGOPTPARAM"),
    (0xc4, "ESME_RINVOPTPARAMVAL"),
    (0xfe, "ESME_RDELIVERYFAILURE"),
    (0xff, "ESME_RUNKNOWNERR"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_add_up_and_what_edge_refused_has_no_time() {
        let mut figures = MessageFigures::default();
        let ms = Duration::from_millis;
        figures.add(MessageOutcome::Accepted, 0, ms(20));
        figures.add(MessageOutcome::Rejected, 0x58, ms(30));
        figures.add(MessageOutcome::Rejected, 0x400, ms(40));
        figures.add(MessageOutcome::Refused, 0x58, ms(5_000));
        let stats = figures.stats("acme");
        assert_eq!((stats.records, stats.accepted, stats.refused), (4, 1, 1));
        let rejected = [("0x00000400".to_owned(), 1), ("ESME_RTHROTTLED".to_owned(), 1)];
        assert_eq!(stats.rejected, BTreeMap::from(rejected));
        assert_eq!(stats.max_ms, Some(40.0));
        assert_eq!(figures.times.sum, ms(90));
        let none = MessageFigures::default().stats("acme");
        assert_eq!((none.p50_ms, none.p90_ms, none.p99_ms, none.max_ms), (None, None, None, None));
    }

    #[test]
    fn percentiles_are_those_of_the_sorted_times_but_for_the_grain() {
        let mut times = ResponseTimes::default();
        let mut sorted: Vec<u64> = (0..1_000_u64).map(|n| n * n * 37 % 900_001 + n).collect();
        for us in &sorted {
            times.add(Duration::from_micros(*us));
        }
        sorted.sort_unstable();
        for percent in [1, 50, 90, 99, 100] {
            let exact = sorted[usize::try_from(percent * 10 - 1).unwrap_or_default()];
            let found = times.percentile(percent).map_or(0, |time| time.as_micros());
            let (exact, found) = (u128::from(exact), found);
            assert!(found >= exact && found <= exact + exact / 64, "p{percent}: {found} for {exact}");
        }
        assert_eq!(times.percentile(100), Some(times.max));
        let mut one = ResponseTimes::default();
        one.add(Duration::from_micros(12_345));
        assert_eq!(one.percentile(50), Some(Duration::from_micros(12_345)));
    }

    #[test]
    fn the_grain_grows_with_the_time_and_the_longest_still_fits() {
        for (us, rounded) in [(0, 0), (1, 1), (127, 127), (128, 129), (130, 131), (u64::MAX, u64::MAX)] {
            assert_eq!(rounded_up(us), rounded, "{us}");
        }
    }

    #[test]
    fn a_bucket_ends_with_its_bound() {
        let mut times = ResponseTimes::default();
        for us in [1, 1_000, 1_001, 30_000_000, 30_000_001] {
            times.add(Duration::from_micros(us));
        }
        let (sum, buckets) = times.in_seconds();
        assert!((sum - 60.002_003).abs() < 1e-9, "{sum}");
        assert_eq!(buckets.first(), Some(&(0.001, 2)));
        assert_eq!(buckets.get(1), Some(&(0.0025, 1)));
        assert_eq!(buckets.get(13), Some(&(30.0, 1)));
        assert_eq!(buckets.last(), Some(&(f64::MAX, 1)));
    }

    #[test]
    fn statuses_are_in_order_and_those_without_a_name_are_numbers() {
        assert!(STATUSES.is_sorted_by_key(|(status, _)| *status));
        assert_eq!(status_name(0x58), Some("ESME_RTHROTTLED"));
        assert_eq!((status_name(0x09), status_text(0x0400).as_str()), (None, "0x00000400"));
        for refusal in edge_ebpf::abi::RefusalStatus::ALL {
            assert!(STATUSES.iter().any(|(_, name)| *name == refusal.name()), "{refusal:?}");
        }
    }
}
