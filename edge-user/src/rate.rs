//! The one rate syntax of configuration, command line and API.
//!
//! ```text
//! rate  = "unlimited" | pace
//! pace  = count "/" unit [ "burst" count ]
//! unit  = "s" | "min" | "hour" | "day"
//! ```
//!
//! `20/s burst 40` admits 40 messages at once and 20 a second for ever; `0/s` refuses everything. Without
//! `burst`, the burst is what the rate earns in one second, and at least 1: `600/min` means
//! `600/min burst 10`. A quota that may be spent at once says so: `250/day burst 250`.
//!
//! A rate over the whole of any window `t` admits at most `burst + rate * t` messages.

use std::fmt;
use std::str::FromStr;

use edge_ebpf::abi::Limit;
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The longest a bucket may take to fill. It bounds `burst x interval` to 3.2e16 ns, so that the meter's sum
/// of now, burst and interval stays below 2^63 ns for 290 years of uptime.
const MAX_FILL_NS: u64 = 366 * Per::Day.nanos();

/// How many messages may pass, or all, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rate {
    /// `unlimited`.
    Unlimited,
    /// `0/s`: refuse everything.
    Nothing,
    /// Everything between.
    Paced(Pace),
}

/// A count per unit of time, with a burst. Always between 1 a day and 1,000,000,000 a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pace {
    count: u64,
    per: Per,
    burst: u64,
}

/// The unit of time of a [`Pace`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Per {
    /// `s`.
    Second,
    /// `min`.
    Minute,
    /// `hour`.
    Hour,
    /// `day`, 24 hours.
    Day,
}

/// Why a text is not a rate. Each message says what would be one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RateError {
    /// No count and unit at all.
    #[error("`{0}` is not a rate; write for example `20/s burst 40`, `600/min`, `unlimited` or `0/s`")]
    Shape(String),
    /// The count is not a whole number.
    #[error(
        "`{0}` is not a whole number of messages; write for example `20/s` (or `90/min` for 1.5 a second)"
    )]
    Count(String),
    /// The unit is none of the four.
    #[error("`{0}` is not a unit of time; the units are `s`, `min`, `hour` and `day`, as in `600/min`")]
    Unit(String),
    /// Something other than `burst N` follows.
    #[error("`{0}` cannot follow a rate; only `burst N` can, as in `20/s burst 40`")]
    Tail(String),
    /// The burst is 0.
    #[error("a burst of 0 would admit nothing; leave the burst out, or write `0/s` to refuse everything")]
    EmptyBurst,
    /// More than the meter can tell apart.
    #[error(
        "{count}/{per} is not between 1 a day and 1,000,000,000 a second; write `unlimited` for no limit"
    )]
    TooFast {
        /// As written.
        count: u64,
        /// As written.
        per: Per,
    },
    /// The bucket would take more than 366 days to fill.
    #[error(
        "a burst of {burst} takes more than 366 days to earn at {count}/{per}; the highest burst here is {most}"
    )]
    BurstTooLong {
        /// As written.
        burst: u64,
        /// As written.
        count: u64,
        /// As written.
        per: Per,
        /// What would do.
        most: u64,
    },
}

impl Rate {
    /// The form that the meter wants. The interval is rounded up, so that a limit is never exceeded; above
    /// 30,000 a second the rounding shows: by less than 0.01 % at 100,000/s, 0.1 % at 1,000,000/s.
    #[must_use]
    pub const fn to_limit(self) -> Limit {
        match self {
            Self::Unlimited => Limit::NONE,
            Self::Nothing => Limit::NOTHING,
            Self::Paced(pace) => {
                let interval_ns = pace.interval_ns();
                // Cannot overflow: `Pace::holds` keeps the product within MAX_FILL_NS.
                Limit { interval_ns, burst_ns: pace.burst * interval_ns }
            }
        }
    }

    /// A rate whose [`Self::to_limit`] is this limit, in the smallest unit that says it exactly; for a limit
    /// that no rate makes, the nearest per day.
    #[must_use]
    pub fn from_limit(limit: Limit) -> Self {
        match limit {
            Limit { interval_ns: 0, .. } => Self::Unlimited,
            Limit { interval_ns: u64::MAX, .. } => Self::Nothing,
            Limit { interval_ns, burst_ns } => {
                let burst = (burst_ns / interval_ns).max(1);
                // Of all counts with this interval, the smallest: P/n <= i, so n = ceil(P / i).
                let count_in = |per: Per| per.nanos().div_ceil(interval_ns);
                let per = Per::ALL
                    .into_iter()
                    .find(|per| per.nanos().div_ceil(count_in(*per)) == interval_ns)
                    .unwrap_or(Per::Day);
                Self::Paced(Pace { count: count_in(per), per, burst })
            }
        }
    }

    /// Messages per second; `None` when unlimited.
    #[must_use]
    pub fn per_sec(self) -> Option<f64> {
        match self {
            Self::Unlimited => None,
            Self::Nothing => Some(0.0),
            Self::Paced(pace) => Some(pace.per_sec()),
        }
    }

    /// A rate for tables of constants; what is out of range does not compile.
    pub(crate) const fn known(count: u64, per: Per, burst: u64) -> Self {
        let pace = Pace { count, per, burst };
        assert!(pace.holds(), "a constant rate is out of range");
        Self::Paced(pace)
    }
}

impl Pace {
    /// `count` messages a unit of time, `burst` at once; without it, what one second earns and at least 1.
    pub fn new(count: u64, per: Per, burst: Option<u64>) -> Result<Self, RateError> {
        let pace = Self { count, per, burst: burst.unwrap_or(count.div_ceil(per.secs())) };
        if pace.holds() {
            Ok(pace)
        } else if count == 0 || count > per.nanos() {
            Err(RateError::TooFast { count, per })
        } else if pace.burst == 0 {
            Err(RateError::EmptyBurst)
        } else {
            Err(RateError::BurstTooLong {
                burst: pace.burst,
                count,
                per,
                most: MAX_FILL_NS / pace.interval_ns(),
            })
        }
    }

    /// Messages a unit of time, at least 1.
    #[must_use]
    pub const fn count(self) -> u64 {
        self.count
    }

    /// The unit of time.
    #[must_use]
    pub const fn per(self) -> Per {
        self.per
    }

    /// Messages at once, at least 1.
    #[must_use]
    pub const fn burst(self) -> u64 {
        self.burst
    }

    /// Messages per second.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "counts stay below 8.64e13, which f64 holds exactly")]
    pub fn per_sec(self) -> f64 {
        self.count as f64 / self.per.secs() as f64
    }

    /// Whether the interval is at least 1 ns and the bucket fills within [`MAX_FILL_NS`].
    const fn holds(self) -> bool {
        // The first two keep `interval_ns` from dividing by zero and from being zero.
        self.count > 0
            && self.count <= self.per.nanos()
            && self.burst > 0
            && self.burst <= MAX_FILL_NS / self.interval_ns()
    }

    /// Nanoseconds that one message costs, rounded up, 1 to 8.64e13.
    const fn interval_ns(self) -> u64 {
        self.per.nanos().div_ceil(self.count)
    }
}

impl Per {
    /// Shortest first.
    pub const ALL: [Self; 4] = [Self::Second, Self::Minute, Self::Hour, Self::Day];

    /// Its length in seconds.
    #[must_use]
    pub const fn secs(self) -> u64 {
        match self {
            Self::Second => 1,
            Self::Minute => 60,
            Self::Hour => 3_600,
            Self::Day => 86_400,
        }
    }

    /// Its length in nanoseconds, at most 8.64e13.
    #[must_use]
    pub const fn nanos(self) -> u64 {
        self.secs() * 1_000_000_000
    }

    /// As it is written.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Second => "s",
            Self::Minute => "min",
            Self::Hour => "hour",
            Self::Day => "day",
        }
    }
}

impl fmt::Display for Per {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Canonical: the burst is always said, since it is always in force.
impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unlimited => f.pad("unlimited"),
            Self::Nothing => f.pad("0/s"),
            Self::Paced(pace) => f.pad(&pace.to_string()),
        }
    }
}

impl fmt::Display for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{} burst {}", self.count, self.per, self.burst)
    }
}

impl FromStr for Rate {
    type Err = RateError;

    fn from_str(text: &str) -> Result<Self, RateError> {
        let mut words = text.split_whitespace();
        let pace = words.next().ok_or_else(|| RateError::Shape(text.to_owned()))?;
        if pace == "unlimited" {
            return match words.next() {
                None => Ok(Self::Unlimited),
                Some(_) => Err(RateError::Shape(text.to_owned())),
            };
        }
        let (count, unit) = pace.split_once('/').ok_or_else(|| RateError::Shape(text.to_owned()))?;
        let count = whole(count)?;
        let per = Per::ALL
            .into_iter()
            .find(|per| per.name() == unit)
            .ok_or_else(|| RateError::Unit(unit.to_owned()))?;
        let tail: Vec<&str> = words.collect();
        let burst = match tail.as_slice() {
            [] => None,
            ["burst", burst] => Some(whole(burst)?),
            other => return Err(RateError::Tail(other.join(" "))),
        };
        match (count, burst) {
            (0, None) => Ok(Self::Nothing),
            (0, Some(_)) => Err(RateError::Tail(tail.join(" "))),
            (count, burst) => Pace::new(count, per, burst).map(Self::Paced),
        }
    }
}

fn whole(digits: &str) -> Result<u64, RateError> {
    // `u64::from_str` would take a leading `+`.
    if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        digits.parse().map_err(|_| RateError::Count(digits.to_owned()))
    } else {
        Err(RateError::Count(digits.to_owned()))
    }
}

impl Serialize for Rate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl Visitor<'_> for Text {
            type Value = Rate;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a rate in quotes, such as \"20/s burst 40\"")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Rate, E> {
                text.parse().map_err(E::custom)
            }
        }

        deserializer.deserialize_str(Text)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rate(text: &str) -> Rate {
        text.parse().unwrap()
    }

    fn refusal(text: &str) -> String {
        text.parse::<Rate>().unwrap_err().to_string()
    }

    #[test]
    fn every_documented_form_is_read() {
        assert_eq!(
            rate("20/s burst 40").to_limit(),
            Limit { interval_ns: 50_000_000, burst_ns: 2_000_000_000 }
        );
        assert_eq!(rate("600/min").to_limit(), Limit { interval_ns: 100_000_000, burst_ns: 1_000_000_000 });
        assert_eq!(rate("250/day").to_limit().interval_ns, 345_600_000_000);
        assert_eq!(rate("unlimited").to_limit(), Limit::NONE);
        assert_eq!(rate("0/s").to_limit(), Limit::NOTHING);
        assert_eq!(rate("0/day"), Rate::Nothing);
        assert_eq!(rate("  20/s   burst  40 "), rate("20/s burst 40"));
    }

    #[test]
    fn without_a_burst_it_is_what_one_second_earns_and_at_least_one() {
        for (text, full) in [
            ("20/s", "20/s burst 20"),
            ("600/min", "600/min burst 10"),
            ("10000/hour", "10000/hour burst 3"),
            ("250/day", "250/day burst 1"),
        ] {
            assert_eq!(rate(text).to_string(), full);
        }
    }

    #[test]
    fn a_refusal_says_what_to_write_instead() {
        assert!(refusal("").contains("20/s burst 40"));
        assert!(refusal("20").contains("20/s burst 40"));
        assert!(refusal("20/sec").contains("`s`, `min`, `hour` and `day`"));
        assert!(refusal("1.5/s").contains("90/min"));
        assert!(refusal("-1/s").contains("`-1` is not a whole number"));
        assert!(refusal("+1/s").contains("`+1` is not a whole number"));
        assert!(refusal("20/s burst").contains("burst N"));
        assert!(refusal("20/s bursts 4").contains("burst N"));
        assert!(refusal("20/s burst 0").contains("0/s"));
        assert!(refusal("0/s burst 5").contains("burst 5"));
        assert!(refusal("unlimited burst 5").contains("unlimited"));
        assert!(refusal("1000000001/s").contains("unlimited"));
        assert!(refusal("1/day burst 367").contains("highest burst here is 366"));
        assert!(refusal("99999999999999999999/s").contains("whole number"));
    }

    #[test]
    fn a_number_in_place_of_a_rate_is_refused_with_an_example() {
        let error = serde_json::from_str::<Rate>("20").unwrap_err().to_string();
        assert!(error.contains("\"20/s burst 40\""), "{error}");
    }

    #[test]
    fn a_limit_that_no_rate_makes_is_shown_by_its_nearest() {
        assert_eq!(
            Rate::from_limit(Limit { interval_ns: u64::MAX - 1, burst_ns: 0 }).to_string(),
            "1/day burst 1"
        );
        assert_eq!(Rate::from_limit(Limit::NONE), Rate::Unlimited);
        assert_eq!(Rate::from_limit(Limit::NOTHING), Rate::Nothing);
    }

    fn any_pace() -> impl Strategy<Value = Rate> {
        (0usize..4, any::<u64>(), any::<u64>(), 0u32..40, 0u32..50).prop_filter_map(
            "the burst is within 366 days",
            |(unit, count, burst, count_shift, burst_shift)| {
                let per = Per::ALL[unit];
                let count = ((count >> count_shift) % per.nanos()) + 1;
                let burst = (burst >> 14 >> burst_shift).max(1);
                Pace::new(count, per, Some(burst))
                    .or_else(|_| Pace::new(count, per, None))
                    .ok()
                    .map(Rate::Paced)
            },
        )
    }

    proptest! {
        #[test]
        fn text_comes_back(rate in any_pace()) {
            prop_assert_eq!(rate.to_string().parse::<Rate>().unwrap(), rate);
            let json = serde_json::to_string(&rate).unwrap();
            prop_assert_eq!(serde_json::from_str::<Rate>(&json).unwrap(), rate);
        }

        #[test]
        fn a_limit_comes_back_and_never_admits_more_than_was_written(rate in any_pace()) {
            let limit = rate.to_limit();
            prop_assert_eq!(Rate::from_limit(limit).to_limit(), limit);
            let Rate::Paced(pace) = rate else { unreachable!() };
            prop_assert!(u128::from(limit.interval_ns) * u128::from(pace.count()) >= u128::from(pace.per().nanos()));
            prop_assert!((limit.interval_ns - 1) * pace.count() < pace.per().nanos());
            prop_assert!(limit.burst_ns <= MAX_FILL_NS);
        }

        #[test]
        fn up_to_thirty_thousand_a_second_the_very_rate_comes_back(count in 1u64..30_000, burst in 1u64..1_000_000) {
            let rate = Rate::Paced(Pace::new(count, Per::Second, Some(burst)).unwrap());
            prop_assert_eq!(Rate::from_limit(rate.to_limit()), rate);
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,40}|[0-9]{1,22}/(s|min|hour|day)( burst [0-9]{1,22})?") {
            let _ = text.parse::<Rate>();
        }
    }
}
