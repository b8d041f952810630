//! What the records of calls and of messages add up to, and the figures that the trade makes of that. Pure.

mod messages;

use std::collections::BTreeMap;
use std::time::Duration;

use edge_ebpf::abi::{CallCause, CallRecord};

pub use self::messages::{MessageFigures, MessageOutcome, ResponseTimes, status_name, status_text};
use crate::api::types::CallStats;

/// An answered call of less is short: of robots and of numbers that only shall ring.
pub const SHORT: Duration = Duration::from_secs(6);

/// What records of one account add up to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CallFigures {
    /// Calls by [`CallCause`], in its order.
    pub by_cause: BTreeMap<String, u64>,
    /// Calls that were answered.
    pub answered: u64,
    /// From answer to end.
    pub talk: Duration,
    /// Answered calls of less than six seconds.
    pub short: u64,
    /// Calls that rang or were answered.
    pub rung: u64,
    /// From INVITE to ringing (post-dial delay), of those that rang or were answered.
    pub dial_delay: Duration,
}

/// Causes of calls that the network carried, whatever the people did (ITU-T E.425): a caller who gives up and a callee
/// who is busy are no fault of it.
const CARRIED: [CallCause; 5] = [
    CallCause::Completed,
    CallCause::Cancelled,
    CallCause::Busy,
    CallCause::ExpiredAnswered,
    CallCause::Dropped,
];
/// Causes of calls that never reached the server.
const REFUSED: [CallCause; 4] = [
    CallCause::RefusedRate,
    CallCause::RefusedCalls,
    CallCause::RefusedSuspended,
    CallCause::RefusedCallerId,
];

impl CallFigures {
    /// Takes one more record in.
    pub fn add(&mut self, record: &CallRecord) {
        *self.by_cause.entry(cause(record.cause).to_owned()).or_default() += 1;
        let between = |from: u64, to: u64| Duration::from_nanos(to.saturating_sub(from));
        if record.answer_ns != 0 {
            let talk = between(record.answer_ns, record.end_ns);
            self.answered += 1;
            self.talk += talk;
            self.short += u64::from(talk < SHORT);
        }
        let heard_ns = if record.ring_ns == 0 { record.answer_ns } else { record.ring_ns };
        if heard_ns != 0 {
            self.rung += 1;
            self.dial_delay += between(record.setup_ns, heard_ns);
        }
    }

    /// The figures that the trade speaks of.
    #[must_use]
    pub fn stats(&self, account: &str) -> CallStats {
        let of = |causes: &[CallCause]| {
            causes.iter().filter_map(|cause| self.by_cause.get(cause.name())).sum::<u64>()
        };
        let refused = of(&REFUSED);
        let attempts = self.by_cause.values().sum::<u64>() - refused;
        CallStats {
            account: account.to_owned(),
            attempts,
            answered: self.answered,
            refused,
            asr: over(self.answered, attempts),
            ner: over(of(&CARRIED), attempts),
            acd_secs: each(self.talk, self.answered),
            short_share: over(self.short, self.answered),
            pdd_secs: each(self.dial_delay, self.rung),
            causes: self.by_cause.clone(),
        }
    }
}

fn over(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| as_f64(part) / as_f64(whole))
}

fn each(time: Duration, count: u64) -> Option<f64> {
    (count > 0).then(|| time.as_secs_f64() / as_f64(count))
}

/// A time in milliseconds, to the microsecond.
#[must_use]
pub fn milliseconds(time: Duration) -> f64 {
    u64::try_from(time.as_micros()).map_or(f64::MAX, as_f64) / 1e3
}

#[expect(clippy::cast_precision_loss, reason = "shares, averages and times, for people to read")]
const fn as_f64(count: u64) -> f64 {
    count as f64
}

/// The name of a [`CallCause`] by its number.
#[must_use]
pub fn cause(index: u32) -> &'static str {
    usize::try_from(index).ok().and_then(CallCause::from_index).map_or("unknown", CallCause::name)
}

#[cfg(test)]
mod tests {
    use zerocopy::FromZeros as _;

    use super::*;

    const SECOND_NS: u64 = 1_000_000_000;

    fn record() -> CallRecord {
        CallRecord {
            setup_ns: 100 * SECOND_NS,
            ring_ns: 102 * SECOND_NS,
            answer_ns: 105 * SECOND_NS,
            end_ns: 110 * SECOND_NS,
            cause: CallCause::Completed as u32,
            ..CallRecord::new_zeroed()
        }
    }

    #[test]
    fn figures_add_up_and_calls_that_were_never_heard_count_no_delay() {
        let mut figures = CallFigures::default();
        figures.add(&record());
        let refused =
            CallRecord { ring_ns: 0, answer_ns: 0, cause: CallCause::RefusedCalls as u32, ..record() };
        figures.add(&refused);
        assert_eq!(
            figures.by_cause,
            BTreeMap::from([("completed".to_owned(), 1), ("refused_calls".to_owned(), 1)])
        );
        assert_eq!((figures.answered, figures.short, figures.rung), (1, 1, 1));
        assert_eq!((figures.talk.as_secs(), figures.dial_delay.as_secs()), (5, 2));
        let failed = CallRecord { ring_ns: 0, answer_ns: 0, cause: CallCause::Failed as u32, ..record() };
        figures.add(&failed);
        let stats = figures.stats("acme");
        assert_eq!((stats.attempts, stats.answered, stats.refused), (2, 1, 1));
        let never_sent: Vec<_> =
            CallCause::ALL.iter().filter(|it| it.name().starts_with("refused_")).collect();
        assert!(never_sent.iter().all(|cause| REFUSED.contains(cause)), "{never_sent:?}");
        assert_eq!((stats.asr, stats.ner), (Some(0.5), Some(0.5)));
        assert_eq!((stats.acd_secs, stats.short_share, stats.pdd_secs), (Some(5.0), Some(1.0), Some(2.0)));
        let none = CallFigures::default().stats("acme");
        assert_eq!((none.asr, none.acd_secs, none.pdd_secs), (None, None, None));
    }
}
