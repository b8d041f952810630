//! What the daemon holds, and who may touch it.
//!
//! Two locks, held briefly and never across an await: `kernel` for what writes to the kernel, `state` for what the
//! daemon knows. Whoever needs both takes `kernel` first. A change of limits, measures or configuration holds
//! `changes` from the first check to the last write, so that changes follow one another.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use edge_ebpf::abi::{AccountCounters, Policy};
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::clock;
use super::faults::Faults;
use super::messages::Messages;
use super::rates::Rates;
use super::reconcile::InPlace;
use super::records::Records;
use super::slots::Slots;
use crate::alert::{Book, Key, Severity};
use crate::api::types::{Measure, Repair, Suspension};
use crate::config::Config;
use crate::dataplane::{Accounts, Binds, Calls, Clocks, Counters, Interfaces, Listeners};
use crate::detect::{Detectors, PrefixTurn, Snapshot};
use crate::reconcile::{InstalledAccount, InstalledTrunk};
use crate::store::{LimitOverride, Shared};
use crate::webhook::Deliverer;

/// The daemon.
pub(super) struct Daemon {
    /// The configuration file.
    pub(super) config_path: PathBuf,
    /// When the daemon started.
    pub(super) started: Clocks,
    /// What must last.
    pub(super) store: Shared,
    /// Webhooks.
    pub(super) deliverer: Deliverer,
    /// What the kernel counts.
    pub(super) counters: Counters,
    /// SMPP sessions.
    pub(super) binds: Binds,
    /// SMPP ports.
    pub(super) listeners: Listeners,
    /// Calls that hold slots.
    pub(super) calls: Calls,
    /// What writes to the kernel.
    pub(super) kernel: Mutex<Kernel>,
    /// What the daemon knows.
    pub(super) state: Mutex<State>,
    /// One change at a time.
    pub(super) changes: tokio::sync::Mutex<()>,
    /// Ends everything.
    pub(super) shutdown: CancellationToken,
    /// Set once everything was taken off by command.
    pub(super) is_detached: AtomicBool,
    /// Entries of `SOURCES` and `FLOWS` when they were last counted.
    pub(super) counted_entries: [AtomicU64; 2],
}

/// What writes to the kernel.
pub(super) struct Kernel {
    /// Limits, prefixes, standings.
    pub(super) accounts: Accounts,
    /// Links.
    pub(super) interfaces: Interfaces,
}

/// What the daemon knows.
pub(super) struct State {
    /// The configuration in force.
    pub(super) config: Arc<Config>,
    /// When it was applied.
    pub(super) config_applied_at: Timestamp,
    /// Why the last reload was refused, if none has succeeded since.
    pub(super) config_error: Option<String>,
    /// Limits and measures set by command; `None` while the database has not answered yet.
    pub(super) kept: Option<Kept>,
    /// Expired limits or measures are still in the database.
    pub(super) expiry_is_owed: bool,
    /// Why the kernel is not what it should be, if it is not: it is tried again once a second.
    pub(super) behind: Option<String>,
    /// Installed accounts by name.
    pub(super) installed: BTreeMap<String, InstalledAccount>,
    /// Installed trunks by account and name: `acme/london`.
    pub(super) trunks: BTreeMap<String, InstalledTrunk>,
    /// Whether slots and entries agree.
    pub(super) slots: Slots,
    /// Detectors.
    pub(super) detectors: Detectors,
    /// The daemon's own rules.
    pub(super) faults: Faults,
    /// What was last put right after somebody else's doing, by interface.
    pub(super) repairs: BTreeMap<String, Repair>,
    /// Call records on their way.
    pub(super) records: Records,
    /// Records of messages on their way.
    pub(super) messages: Messages,
    /// Open alerts.
    pub(super) book: Book,
    /// Edge has set as many bans as it may: scanners that it finds are not banned.
    pub(super) bans_are_full: bool,
    /// Messages refused to the account when an alert opened.
    pub(super) refused_at_opening: BTreeMap<Key, u64>,
    /// How far the wall clock was set.
    pub(super) drift: clock::Drift,
    /// The last reading of the counters.
    pub(super) last: Option<Reading>,
    /// Rates over the second before it.
    pub(super) rates: Rates,
    /// A turn of the prefix map that no detector has seen yet.
    pub(super) prefix_turn: Option<PrefixTurn>,
    /// Counters at the start of the minute that is being counted.
    pub(super) minute: Option<(Timestamp, BTreeMap<String, AccountCounters>)>,
    /// Alerts opened since the start, by rule and severity.
    pub(super) alerts_opened: BTreeMap<(String, Severity), u64>,
    /// Reloads that were applied and refused since the start.
    pub(super) reloads: [u64; 2],
    /// The database answered the last call of the tick.
    pub(super) store_is_up: bool,
}

/// Counters with the time at which their reading began.
pub(super) struct Reading {
    /// Wall clock.
    pub(super) at: Timestamp,
    /// `CLOCK_MONOTONIC`, in nanoseconds.
    pub(super) at_ns: u64,
    /// Counters of every account.
    pub(super) snapshot: Snapshot,
}

/// What was set by command.
#[derive(Clone, Debug, Default)]
pub(super) struct Kept {
    /// Limits.
    pub(super) limits: Vec<LimitOverride>,
    /// Bans and allowances.
    pub(super) measures: Vec<Measure>,
    /// Suspended accounts.
    pub(super) suspensions: Vec<Suspension>,
}

impl Daemon {
    /// The time by a clock that nobody sets: for what is measured, and never shown.
    pub(super) fn steady(&self) -> Timestamp {
        self.started.steady(clock::monotonic_ns())
    }

    /// What writes to the kernel.
    pub(super) fn kernel(&self) -> MutexGuard<'_, Kernel> {
        self.kernel.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the daemon knows.
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Limits in force of an installed account.
    pub(super) fn policy(&self, account: &str) -> Option<&Policy> {
        self.installed.get(account).map(|account| &account.policy)
    }

    /// Takes over what is installed.
    pub(super) fn put_in_place(&mut self, in_place: InPlace) {
        self.installed = in_place.accounts;
        self.trunks = in_place.trunks;
    }

    /// Installed trunks by number, each by account and name.
    pub(super) fn trunk_names(&self) -> BTreeMap<u32, String> {
        self.trunks.iter().map(|(name, trunk)| (trunk.number, name.clone())).collect()
    }

    /// Installed accounts by number.
    pub(super) fn names(&self) -> BTreeMap<u32, String> {
        self.installed.iter().map(|(name, account)| (account.number, name.clone())).collect()
    }

    /// The last counters of an account.
    pub(super) fn counters(&self, account: &str) -> Option<&AccountCounters> {
        self.last.as_ref()?.snapshot.accounts.get(account).map(|account| &account.counters)
    }
}
