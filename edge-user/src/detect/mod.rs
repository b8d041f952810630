//! Detectors: pure functions of (snapshot, now). One detector a file.

use std::collections::BTreeMap;
use std::time::Duration;

use edge_ebpf::abi::{AccountCounters, Class};
use jiff::Timestamp;

use crate::alert::Finding;
pub use crate::alert::Signal;
use crate::config;

/// Every detector, with what each has learnt.
#[derive(Debug)]
pub struct Detectors {
    config: config::Detect,
}

/// A saved state that cannot be taken up: detectors start to learn anew.
#[derive(Debug, thiserror::Error)]
#[error("the saved baselines cannot be read, so they are learnt anew: {0}")]
pub struct RestoreError(#[from] serde_json::Error);

impl Detectors {
    /// Detectors that have learnt nothing.
    #[must_use]
    pub fn new(config: &config::Detect) -> Self {
        Self { config: config.clone() }
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
    pub fn step(&mut self, _snapshot: &Snapshot, _now: Timestamp) -> Vec<Signal> {
        Vec::new()
    }

    /// The account's usual rate of a class in messages per second; `None` until enough has been seen.
    #[must_use]
    pub fn baseline_per_sec(&self, _account: &str, _class: Class) -> Option<f64> {
        None
    }

    /// What was learnt, to be kept over a restart (`Store::put_value`).
    #[must_use]
    pub fn state(&self) -> serde_json::Value {
        serde_json::Value::Null
    }

    /// Takes up what [`Self::state`] gave before a restart. On an error nothing has changed.
    pub fn restore(&mut self, _state: serde_json::Value) -> Result<(), RestoreError> {
        Ok(())
    }

    /// Takes up the findings of alerts that were open before a restart, whatever the saved state says of
    /// them, so that each of them is updated or resolved. Call it after [`Self::restore`].
    pub fn adopt<'a>(&mut self, _open: impl IntoIterator<Item = &'a Finding>) {}
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
}

impl AccountSnapshot {
    /// Messages of a class that were offered: admitted, refused or observed over the limit.
    #[must_use]
    pub fn offered(&self, class: Class) -> u64 {
        self.counters.messages[class.index()][..3].iter().sum()
    }
}
