//! Prefixes of called numbers, and messages counted by them.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use super::spike::as_f64;

/// Prefixes that one account's counts hold; messages to the rest are counted in the total only.
const MOST_PREFIXES: usize = 1_000;

/// One to nine digits as a decimal number with a 1 before them, so that `044` and `44` differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(super) struct Prefix(u32);

impl Prefix {
    /// From digits; `None` for anything else, or more than nine of them.
    pub(super) fn parse(digits: &str) -> Option<Self> {
        let fits = (1..=9).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
        if fits { format!("1{digits}").parse().ok().map(Self) } else { None }
    }

    pub(super) const fn digits(self) -> u32 {
        self.0.ilog10()
    }

    /// The first digits of it; itself when it has no more.
    fn shortened(self, digits: u32) -> Self {
        Self(self.0 / 10_u32.pow(self.digits().saturating_sub(digits)))
    }

    pub(super) fn starts_with(self, start: Self) -> bool {
        self.digits() >= start.digits() && self.shortened(start.digits()) == start
    }
}

/// `+252612`.
impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "+{}", &self.0.to_string()[1..])
    }
}

impl From<Prefix> for String {
    fn from(prefix: Prefix) -> Self {
        prefix.to_string()
    }
}

impl TryFrom<String> for Prefix {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(text.trim_start_matches('+')).ok_or_else(|| format!("{text:?} is not a prefix"))
    }
}

/// Messages by prefix.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts {
    by_prefix: BTreeMap<Prefix, u64>,
    total: u64,
}

impl Counts {
    /// From what the kernel counted.
    pub(super) fn from_digits(digits: &BTreeMap<String, u64>) -> Self {
        let by_prefix =
            digits.iter().filter_map(|(digits, count)| Some((Prefix::parse(digits)?, *count))).collect();
        let mut counts = Self { by_prefix, total: digits.values().sum() };
        counts.bound();
        counts
    }

    pub(super) const fn total(&self) -> u64 {
        self.total
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Prefix, u64)> {
        self.by_prefix.iter().map(|(prefix, count)| (*prefix, *count))
    }

    pub(super) fn add(&mut self, other: &Self) {
        for (prefix, count) in other.iter() {
            *self.by_prefix.entry(prefix).or_default() += count;
        }
        self.total += other.total;
        self.bound();
    }

    /// Share of the messages that go to numbers that start with a prefix.
    pub(super) fn share(&self, of: Prefix) -> f64 {
        let count: u64 =
            self.iter().filter(|(prefix, _)| prefix.starts_with(of)).map(|(_, count)| count).sum();
        as_f64(count) / as_f64(self.total.max(1))
    }

    /// Shares of all prefixes with so many digits, those of longer ones added up.
    pub(super) fn shares(&self, digits: RangeInclusive<u32>) -> BTreeMap<Prefix, f64> {
        let mut sums: BTreeMap<Prefix, u64> = BTreeMap::new();
        for (prefix, count) in self.iter() {
            for digits in *digits.start()..=prefix.digits().min(*digits.end()) {
                *sums.entry(prefix.shortened(digits)).or_default() += count;
            }
        }
        let total = as_f64(self.total.max(1));
        sums.into_iter().map(|(prefix, count)| (prefix, as_f64(count) / total)).collect()
    }

    /// The prefixes with most messages, most first.
    pub(super) fn top(&self, most: usize) -> Vec<(Prefix, u64)> {
        let mut all: Vec<_> = self.iter().collect();
        all.sort_by_key(|(prefix, count)| (std::cmp::Reverse(*count), *prefix));
        all.truncate(most);
        all
    }

    fn bound(&mut self) {
        if self.by_prefix.len() > MOST_PREFIXES {
            self.by_prefix = self.top(MOST_PREFIXES).into_iter().collect();
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn a_prefix_keeps_its_leading_zeros_and_its_length() {
        for digits in ["0", "044", "44", "252612", "999999999"] {
            let prefix = Prefix::parse(digits).unwrap();
            assert_eq!(prefix.to_string(), format!("+{digits}"));
            assert_eq!(prefix.digits(), u32::try_from(digits.len()).unwrap());
        }
        for other in ["", "1234567890", "44x", "+44", "-1"] {
            assert_eq!(Prefix::parse(other), None, "{other:?}");
        }
    }

    #[test]
    fn longer_prefixes_add_up_to_the_shorter_ones_they_begin_with() {
        let digits = [("447911", 30), ("447922", 30), ("33612", 40), ("x", 100)];
        let counts = Counts::from_digits(&digits.map(|(digits, count)| (digits.to_owned(), count)).into());
        let shares = counts.shares(3..=6);
        let share = |digits| shares.get(&Prefix::parse(digits).unwrap()).copied();
        assert_eq!(share("447"), Some(0.3));
        assert_eq!(share("447911"), Some(0.15));
        assert_eq!(share("33612"), Some(0.2));
        assert_eq!(share("44"), None);
        assert!((counts.share(Prefix::parse("4479").unwrap()) - 0.3).abs() < 1e-9);
    }
}
