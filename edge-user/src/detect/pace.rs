//! How often an open alert says something new.

use jiff::Timestamp;

/// Wait before the first update by time; it doubles with each, so that an attack of hours is not hundreds of
/// messages.
const FIRST_WAIT_SECS: f64 = 10.0;
const LONGEST_WAIT_SECS: f64 = 320.0;
/// An update by time wants the value to differ by this part from what was last reported.
const CHANGE: f64 = 0.1;
/// A new peak this much higher is reported at once.
const GROWTH: f64 = 1.5;

/// What was reported of one open alert, and when.
#[derive(Debug)]
pub(super) struct Pace {
    reported: f64,
    peak_reported: f64,
    highest_since: f64,
    at: Timestamp,
    wait_secs: f64,
}

impl Pace {
    /// An alert that opens with this value.
    pub(super) const fn new(value: f64, now: Timestamp) -> Self {
        Self {
            reported: value,
            peak_reported: value,
            highest_since: 0.0,
            at: now,
            wait_secs: FIRST_WAIT_SECS,
        }
    }

    /// Takes a value; answers with the one to report if it is time: the highest since the last report, so that
    /// no peak is lost between two of them.
    pub(super) fn take(&mut self, value: f64, now: Timestamp) -> Option<f64> {
        self.highest_since = self.highest_since.max(value);
        let waited_secs = now.duration_since(self.at).as_secs_f64();
        if waited_secs < 0.0 {
            self.at = now; // The clock was set back.
        }
        let grown = self.highest_since >= self.peak_reported * GROWTH;
        let changed = (self.highest_since - self.reported).abs() >= self.reported * CHANGE;
        let due = changed && waited_secs >= self.wait_secs;
        if !grown && !due {
            return None;
        }
        if !grown {
            self.wait_secs = (self.wait_secs * 2.0).min(LONGEST_WAIT_SECS);
        }
        self.at = now;
        self.reported = self.highest_since;
        self.peak_reported = self.peak_reported.max(self.highest_since);
        Some(std::mem::take(&mut self.highest_since))
    }

    /// The value to close with: the highest since the last report, or that one.
    pub(super) fn last(&self) -> f64 {
        if self.highest_since > 0.0 { self.highest_since } else { self.reported }
    }
}
