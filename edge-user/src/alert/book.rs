//! The book of open alerts: gives a finding its identity and history, from opened to resolved.

use std::collections::BTreeMap;

use jiff::Timestamp;
use uuid::{NoContext, Uuid};

use super::{Alert, Finding, Key, Phase, Signal};

/// Alerts that may be open at once. Far above what detectors with floors open; a bound against a fault that
/// opens one a second for ever.
pub const MAX_OPEN: usize = 10_000;

/// Open alerts by rule, account and subject.
#[derive(Debug, Default)]
pub struct Book {
    open: BTreeMap<Key, Alert>,
    not_opened: u64,
}

impl Book {
    /// Starts from the alerts that were open when the daemon last stopped
    /// ([`crate::store::Store::open_alerts`]), so that they keep their ids.
    #[must_use]
    pub fn new(open: Vec<Alert>) -> Self {
        Self { open: open.into_iter().map(|alert| (alert.finding.key(), alert)).collect(), not_opened: 0 }
    }

    /// Takes signals into the book and answers with the alerts as they now stand, one a signal that changed
    /// something: these are to be stored and delivered.
    ///
    /// `describe` says what Edge did about a finding ([`Alert::action`]). A signal to open what is open counts
    /// as an update; one to update or resolve what is not open is ignored, since nobody was told of it.
    pub fn step(
        &mut self,
        signals: Vec<Signal>,
        now: Timestamp,
        describe: impl Fn(&Finding) -> String,
    ) -> Vec<Alert> {
        signals.into_iter().filter_map(|signal| self.take(signal, now, &describe)).collect()
    }

    /// Alerts open now.
    #[must_use]
    pub fn open(&self) -> impl ExactSizeIterator<Item = &Alert> {
        self.open.values()
    }

    /// Findings that were not opened because [`MAX_OPEN`] alerts were open already.
    #[must_use]
    pub const fn not_opened(&self) -> u64 {
        self.not_opened
    }

    fn take(
        &mut self,
        signal: Signal,
        now: Timestamp,
        describe: impl Fn(&Finding) -> String,
    ) -> Option<Alert> {
        let key = signal.finding().key();
        match signal {
            Signal::Resolve(mut finding) => {
                let alert = self.open.remove(&key)?;
                // What was seen while it was on; afterwards others send most.
                finding.evidence.clone_from(&alert.finding.evidence);
                Some(advance(alert, finding, Phase::Resolved, now, describe))
            }
            Signal::Open(finding) | Signal::Update(finding) if self.open.contains_key(&key) => {
                let alert = self.open.remove(&key)?;
                let alert = advance(alert, finding, Phase::Updated, now, describe);
                self.open.insert(key, alert.clone());
                Some(alert)
            }
            Signal::Open(_) if self.open.len() >= MAX_OPEN => {
                self.not_opened += 1;
                None
            }
            Signal::Open(finding) => {
                let alert = Alert {
                    id: new_id(now),
                    phase: Phase::Opened,
                    peak: finding.observed,
                    opened_at: now,
                    at: now,
                    action: describe(&finding),
                    finding,
                };
                self.open.insert(key, alert.clone());
                Some(alert)
            }
            Signal::Update(_) => None,
        }
    }
}

fn advance(
    alert: Alert,
    finding: Finding,
    phase: Phase,
    now: Timestamp,
    describe: impl Fn(&Finding) -> String,
) -> Alert {
    Alert {
        phase,
        peak: alert.peak.max(finding.observed),
        at: now,
        action: describe(&finding),
        finding,
        ..alert
    }
}

/// A UUID v7 (RFC 9562, 5.7): ids sort by the time at which they were given.
fn new_id(now: Timestamp) -> String {
    let since_epoch = now.as_duration().unsigned_abs();
    let time = uuid::Timestamp::from_unix(NoContext, since_epoch.as_secs(), since_epoch.subsec_nanos());
    Uuid::new_v7(time).to_string()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;
    use crate::alert::Severity;

    fn finding(account: &str, observed: f64) -> Finding {
        Finding {
            rule: "spike".to_owned(),
            account: account.to_owned(),
            subject: "sip.invite".to_owned(),
            severity: Severity::Warning,
            observed,
            threshold: 20.0,
            baseline: Some(5.0),
            unit: "messages/s".to_owned(),
            window_secs: 1,
            evidence: Vec::new(),
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_768_435_200 + second).unwrap()
    }

    fn nothing(_: &Finding) -> String {
        "nothing (observe mode)".to_owned()
    }

    #[test]
    fn an_alert_keeps_its_id_from_opened_to_resolved_and_remembers_its_peak() {
        let mut book = Book::new(Vec::new());
        let opened = book.step(vec![Signal::Open(finding("acme", 50.0))], at(0), nothing).remove(0);
        let updated = book.step(vec![Signal::Update(finding("acme", 90.0))], at(10), nothing).remove(0);
        let resolved = book.step(vec![Signal::Resolve(finding("acme", 30.0))], at(60), nothing).remove(0);
        assert_eq!(
            [opened.phase, updated.phase, resolved.phase],
            [Phase::Opened, Phase::Updated, Phase::Resolved]
        );
        assert_eq!([&updated.id, &resolved.id], [&opened.id, &opened.id]);
        assert_eq!((resolved.opened_at, resolved.at), (at(0), at(60)));
        let peaks = [opened.peak, updated.peak, resolved.peak].map(f64::to_bits);
        assert_eq!(peaks, [50.0, 90.0, 90.0].map(f64::to_bits));
        assert_eq!(opened.action, "nothing (observe mode)");
        assert_eq!(book.open().len(), 0);

        let again = book.step(vec![Signal::Open(finding("acme", 50.0))], at(70), nothing).remove(0);
        assert_ne!(again.id, opened.id);
        assert!(again.id > opened.id, "ids sort by time");
    }

    #[test]
    fn a_book_that_starts_from_open_alerts_updates_them_instead_of_opening_them_again() {
        let mut before = Book::new(Vec::new());
        let opened = before.step(vec![Signal::Open(finding("acme", 50.0))], at(0), nothing);
        let mut book = Book::new(before.open().cloned().collect());
        let alerts = book.step(vec![Signal::Open(finding("acme", 70.0))], at(5), nothing);
        assert_eq!((alerts[0].phase, &alerts[0].id), (Phase::Updated, &opened[0].id));
    }

    #[test]
    fn what_is_not_open_is_neither_updated_nor_resolved() {
        let mut book = Book::new(Vec::new());
        let signals = vec![Signal::Update(finding("acme", 1.0)), Signal::Resolve(finding("acme", 1.0))];
        assert_eq!(book.step(signals, at(0), nothing), []);
    }

    #[test]
    fn the_number_of_open_alerts_is_bounded_and_what_is_left_out_is_counted() {
        let mut book = Book::new(Vec::new());
        let many =
            |from: usize, to| (from..to).map(|n| Signal::Open(finding(&n.to_string(), 50.0))).collect();
        assert_eq!(book.step(many(0, MAX_OPEN), at(0), nothing).len(), MAX_OPEN);
        assert_eq!(book.step(many(MAX_OPEN, MAX_OPEN + 3), at(1), nothing), []);
        assert_eq!((book.open().len(), book.not_opened()), (MAX_OPEN, 3));
        // Those that are open still take updates.
        assert_eq!(book.step(vec![Signal::Update(finding("7", 60.0))], at(2), nothing).len(), 1);
    }
}
