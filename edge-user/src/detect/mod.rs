//! Detectors: pure functions of (snapshot, now). One detector a file.

mod foreign;
mod pace;
mod prefix;
mod pumping;
mod scanning;
mod spike;
#[cfg(test)]
mod tests;
mod undelivered;
mod window;

use std::collections::BTreeMap;
use std::time::Duration;

use edge_ebpf::abi::{AccountCounters, Class, Event, ReceiptKind};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::alert::Finding;
pub use crate::alert::Signal;
use crate::config;
use foreign::{Foreign, Shown};
use pumping::Pumping;
use scanning::Scanning;
use spike::Spike;
use undelivered::Undelivered;

pub use foreign::{CALLER_ID, SENDER_ID};
pub use scanning::{RULE as SCANNING, Scanner};

/// Every detector, with what each has learnt.
#[derive(Debug)]
pub struct Detectors {
    config: config::Detect,
    spike: Spike,
    pumping: Pumping,
    undelivered: Undelivered,
    scanning: Scanning,
    callers: Foreign,
    senders: Foreign,
    scanners: Vec<Scanner>,
}

/// A saved state that cannot be taken up: detectors start to learn anew.
#[derive(Debug, thiserror::Error)]
#[error("the saved baselines cannot be read, so they are learnt anew: {0}")]
pub struct RestoreError(#[from] serde_json::Error);

/// What is kept over a restart.
#[derive(Serialize, Deserialize)]
struct State {
    spike: spike::State,
    pumping: pumping::State,
}

impl Detectors {
    /// Detectors that have learnt nothing.
    #[must_use]
    pub fn new(config: &config::Detect) -> Self {
        Self {
            config: config.clone(),
            spike: Spike::default(),
            pumping: Pumping::default(),
            undelivered: Undelivered::default(),
            scanning: Scanning::default(),
            callers: Foreign::new(Shown::Callers),
            senders: Foreign::new(Shown::Senders),
            scanners: Vec::new(),
        }
    }

    /// Takes a new configuration and keeps what was learnt. What a detector that is now disabled had open is
    /// resolved at the next step.
    pub fn reconfigure(&mut self, config: &config::Detect) {
        self.config = config.clone();
    }

    /// One look at the counters, once a second. Only changes are answered.
    ///
    /// An account that is missing from the snapshot counts as removed: what it had open is resolved. So do
    /// not call this with a snapshot that could not be read.
    pub fn step(&mut self, snapshot: &Snapshot, now: Timestamp) -> Vec<Signal> {
        let mut signals = self.pumping.step(&self.config.pumping, snapshot, now);
        let pumping = &self.pumping;
        signals.extend(
            self.spike.step(&self.config.spike, snapshot, now, |account| pumping.top_prefixes(account)),
        );
        signals.extend(self.undelivered.step(&self.config.undelivered, snapshot, now));
        signals.extend(self.callers.step(&self.config.caller_id, snapshot, now));
        signals.extend(self.senders.step(&self.config.sender_id, snapshot, now));
        let (scanning, found) = self.scanning.step(&self.config.scanning, now);
        signals.extend(scanning);
        self.scanners.extend(found);
        signals
    }

    /// Takes a rare fact from the kernel into account.
    pub fn event(&mut self, event: &Event, now: Timestamp) {
        self.scanning.event(&self.config.scanning, event, now);
        self.callers.event(event);
        self.senders.event(event);
    }

    /// The scanners that steps have found since this was last asked, most refused first.
    pub fn take_scanners(&mut self) -> Vec<Scanner> {
        std::mem::take(&mut self.scanners)
    }

    /// The account's usual rate of a class in messages per second; `None` until a minute has been seen.
    #[must_use]
    pub fn baseline_per_sec(&self, account: &str, class: Class) -> Option<f64> {
        self.spike.baseline_per_sec(account, class)
    }

    /// What was learnt, to be kept over a restart (`Store::put_value`).
    pub fn state(&self) -> Result<serde_json::Value, serde_json::Error> {
        serde_json::to_value(State { spike: self.spike.state(), pumping: self.pumping.state() })
    }

    /// Takes up what [`Self::state`] gave before a restart. On an error nothing has changed.
    pub fn restore(&mut self, state: serde_json::Value) -> Result<(), RestoreError> {
        let state: State = serde_json::from_value(state)?;
        self.spike.restore(state.spike);
        self.pumping.restore(state.pumping);
        Ok(())
    }

    /// Takes up the findings of alerts that were open before a restart, whatever the saved state says of
    /// them, so that each of them is updated or resolved. Call it after [`Self::restore`].
    pub fn adopt<'a>(&mut self, open: impl IntoIterator<Item = &'a Finding>, now: Timestamp) {
        for finding in open {
            match finding.rule.as_str() {
                spike::RULE => self.spike.adopt(finding, now),
                pumping::RULE => self.pumping.adopt(finding, now),
                undelivered::RULE => self.undelivered.adopt(finding, now),
                CALLER_ID => self.callers.adopt(finding, now),
                SENDER_ID => self.senders.adopt(finding, now),
                scanning::RULE => self.scanning.adopt(finding, now),
                _ => {} // Not a detector's: the daemon's own.
            }
        }
    }
}

/// What is known of all accounts at one moment: the detectors' only input, taken every second.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// By account name.
    pub accounts: BTreeMap<String, AccountSnapshot>,
    /// Called prefixes counted since the last snapshot that had some; empty between two turns of the map.
    pub prefixes: Option<PrefixTurn>,
}

/// One account's counters, as the kernel holds them (they only grow).
#[derive(Clone, Debug)]
pub struct AccountSnapshot {
    /// Its number in the kernel, by which events name it.
    pub number: u32,
    /// Since the account was installed.
    pub counters: AccountCounters,
}

/// The half of the prefix map that came to rest.
#[derive(Clone, Debug, Default)]
pub struct PrefixTurn {
    /// How long the kernel wrote this half.
    pub length: Duration,
    /// By account name: E.164 prefix (digits, no `+`) to admitted messages.
    pub counts: BTreeMap<String, BTreeMap<String, u64>>,
    /// By account name: E.164 prefix to delivery receipts for it, by [`ReceiptKind`].
    pub receipts: BTreeMap<String, BTreeMap<String, [u64; ReceiptKind::SLOTS]>>,
}

impl AccountSnapshot {
    /// Messages of a class that were offered: admitted, refused or observed over the limit.
    #[must_use]
    pub fn offered(&self, class: Class) -> u64 {
        self.counters.messages[class.index()][..3].iter().sum()
    }
}
