//! Small pieces of text that several verbs write.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{Timestamp, Unit};

/// A time in UTC, to the second: `2026-03-01T12:00:00Z`.
pub(crate) fn time(at: Timestamp) -> String {
    at.round(Unit::Second).unwrap_or(at).to_string()
}

/// When something lifts itself.
pub(crate) fn expiry(expires_at: Option<Timestamp>) -> String {
    expires_at.map_or_else(|| "never".to_owned(), time)
}

/// The time from one moment to another, to the second: `3h 12m 5s`; `0s` when it has not come yet.
pub(crate) fn between(from: Timestamp, to: Timestamp) -> String {
    let secs = u64::try_from(to.as_second() - from.as_second()).unwrap_or(0);
    humantime::format_duration(Duration::from_secs(secs)).to_string()
}

/// A time in seconds: `3h 12m 5s`.
pub(crate) fn secs(secs: u64) -> String {
    humantime::format_duration(Duration::from_secs(secs)).to_string()
}

/// A share of 1, in percent.
pub(crate) fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// A value of something per second, or a dash.
pub(crate) fn per_sec(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.1}"))
}

/// The text, or a dash where there is none.
pub(crate) fn or_dash(text: &str) -> String {
    if text.is_empty() { "-".to_owned() } else { text.to_owned() }
}

/// A time in milliseconds, or a dash.
pub(crate) fn milliseconds(time: Option<f64>) -> String {
    time.map_or_else(|| "-".to_owned(), |ms| format!("{ms:.1} ms"))
}

/// `admitted 100, refused 7`, or a dash.
pub(crate) fn counts(counts: &BTreeMap<String, u64>) -> String {
    if counts.is_empty() {
        return "-".to_owned();
    }
    let words: Vec<String> = counts.iter().map(|(name, count)| format!("{name} {count}")).collect();
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_between_are_told_in_words_and_never_negative() -> Result<(), jiff::Error> {
        let noon: Timestamp = "2026-03-01T12:00:00.9Z".parse()?;
        let later: Timestamp = "2026-03-01T15:12:05Z".parse()?;
        assert_eq!(between(noon, later), "3h 12m 5s");
        assert_eq!(between(later, noon), "0s");
        assert_eq!(time(later), "2026-03-01T15:12:05Z");
        Ok(())
    }
}
