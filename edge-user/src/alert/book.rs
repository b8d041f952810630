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
            Signal::Resolve(finding) => {
                let alert = self.open.remove(&key)?;
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
