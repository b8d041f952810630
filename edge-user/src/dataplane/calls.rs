//! Calls that hold slots: the map `CALLS` beside the counts that it must agree with.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use aya::maps::{Array, HashMap, MapData, MapError};
use edge_ebpf::abi::{AccountState, CallCount, CallKey, CallPhase, CallState, TrunkState, map};

use super::error::DataplaneError;
use super::load::Maps;
use crate::reconcile::{Holder, Look};

/// Linux: update only what is there (`BPF_EXIST`).
const EXISTING: u64 = 2;

/// Calls as the kernel keeps them. Every method takes `&self`: one handle serves all tasks.
pub struct Calls {
    entries: HashMap<MapData, CallKey, CallState>,
    /// Another handle of the same map: a change wants it for itself.
    changed: Mutex<HashMap<MapData, CallKey, CallState>>,
    accounts: Array<MapData, AccountState>,
    trunks: Array<MapData, TrunkState>,
    capacity: u32,
}

/// One walk over the entries, with the counts before and what happened meanwhile.
#[derive(Clone, Debug, Default)]
pub struct Walk {
    /// Entries met.
    pub entries: u64,
    /// By account and trunk; those without slots left out only where their count is zero too.
    pub looks: BTreeMap<Holder, Look>,
}

impl Calls {
    pub(super) fn new(maps: &Maps) -> Result<Self, DataplaneError> {
        Ok(Self {
            entries: maps.typed_copy(map::CALLS)?,
            changed: Mutex::new(maps.typed_copy(map::CALLS)?),
            accounts: maps.typed_copy(map::ACCOUNTS)?,
            trunks: maps.typed_copy(map::TRUNKS)?,
            capacity: maps.capacity(map::CALLS)?,
        })
    }

    /// Calls that the map has room for.
    #[must_use]
    pub const fn capacity(&self) -> u32 {
        self.capacity
    }

    /// One call.
    pub fn get(&self, key: &CallKey) -> Result<Option<CallState>, DataplaneError> {
        match self.entries.get(key, 0) {
            Ok(call) => Ok(Some(call)),
            Err(error) if is_gone(&error) => Ok(None),
            Err(error) => Err(DataplaneError::map("read", map::CALLS, &error)),
        }
    }

    /// Calls of one account, or of all. Walks the map: for a blocking thread.
    ///
    /// A call that ends during the walk begins it anew (`BPF_MAP_GET_NEXT_KEY`): hence the map, which counts none
    /// twice, and the bound.
    #[must_use]
    pub fn held(&self, account: Option<u32>) -> std::collections::HashMap<CallKey, CallState> {
        let bound = 2 * self.capacity as usize;
        let all = self.entries.iter().take(bound).filter_map(Result::ok);
        all.filter(|(key, _)| account.is_none_or(|account| key.account == account)).collect()
    }

    /// Counts the slots of the entries against those counted for `accounts` and `trunks`. Walks the map.
    pub fn walk(
        &self,
        accounts: impl Iterator<Item = u32>,
        trunks: impl Iterator<Item = u32>,
    ) -> Result<Walk, DataplaneError> {
        let mut looks = BTreeMap::new();
        let mut before = BTreeMap::new();
        for number in accounts {
            let state = self.account(number)?;
            before.insert(number, turnover(&state));
            let counted = state.calls_active.cast_signed();
            looks.insert(Holder::Account(number), Look { counted, ..Look::default() });
        }
        for number in trunks {
            let state = self.trunk(number)?;
            let counted = state.calls_active.cast_signed();
            looks.insert(Holder::Trunk(number), Look { counted, ..Look::default() });
        }
        let held = self.held(None);
        for (key, call) in &held {
            let slots = i64::from(call.slots);
            looks.entry(Holder::Account(key.account)).and_modify(|look| look.held += slots);
            looks.entry(Holder::Trunk(call.trunk)).and_modify(|look| look.held += slots);
        }
        // What came and went is counted by account; for a trunk, all of it might have been.
        let (mut all_came, mut all_went) = (0, 0);
        for (number, (came_before, went_before)) in before {
            let (came, went) = turnover(&self.account(number)?);
            let (came, went) = (since(came, came_before), since(went, went_before));
            (all_came, all_went) = (all_came + came, all_went + went);
            looks.entry(Holder::Account(number)).and_modify(|look| (look.came, look.went) = (came, went));
        }
        for (holder, look) in &mut looks {
            if matches!(holder, Holder::Trunk(_)) {
                (look.came, look.went) = (all_came, all_went);
            }
        }
        Ok(Walk { entries: held.len() as u64, looks })
    }

    /// Marks a call, so that the next sweep takes its slot back; `None` where there is no such call any more.
    pub fn mark_dropped(&self, key: &CallKey) -> Result<Option<CallState>, DataplaneError> {
        let mut calls = self.changed.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(call) = self.get(key)? else { return Ok(None) };
        let dropped = CallState { phase: CallPhase::Dropped as u32, ..call };
        match calls.insert(key, dropped, EXISTING) {
            Ok(()) => Ok(Some(call)),
            Err(error) if is_gone(&error) => Ok(None),
            Err(error) => Err(DataplaneError::map("write", map::CALLS, &error)),
        }
    }

    /// Slots counted for a trunk, and calls refused because none was left.
    pub fn trunk(&self, number: u32) -> Result<TrunkState, DataplaneError> {
        self.trunks.get(&number, 0).map_err(|error| DataplaneError::map("read", map::TRUNKS, &error))
    }

    fn account(&self, number: u32) -> Result<AccountState, DataplaneError> {
        self.accounts.get(&number, 0).map_err(|error| DataplaneError::map("read", map::ACCOUNTS, &error))
    }
}

/// Calls that took a slot, and that gave one back, so far.
fn turnover(state: &AccountState) -> (u64, u64) {
    let count = |of: CallCount| state.counters.calls[of.index()];
    let went = count(CallCount::Ended) + count(CallCount::Expired) + count(CallCount::Challenged);
    (count(CallCount::Admitted), went)
}

fn since(now: u64, before: u64) -> i64 {
    i64::try_from(now.saturating_sub(before)).unwrap_or(i64::MAX)
}

fn is_gone(error: &MapError) -> bool {
    match error {
        MapError::KeyNotFound | MapError::ElementNotFound => true,
        MapError::SyscallError(error) => error.io_error.kind() == std::io::ErrorKind::NotFound,
        _ => false,
    }
}
