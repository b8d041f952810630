//! Detectors: pure functions of (snapshot, now). One detector a file.

use std::collections::BTreeMap;
use std::time::Duration;

use edge_ebpf::abi::{AccountCounters, Class};

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
