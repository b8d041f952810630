//! Counters, read while the kernel counts on. Every method takes `&self`: one handle serves all tasks.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use aya::maps::{Array, HashMap, MapData, PerCpuArray};
use edge_ebpf::abi::{
    AccountCounters, AccountState, Allowance, FlowKey, Outcome, SourceKey, SourceState, map,
};
use edge_ebpf::stream::Flow;

use super::error::DataplaneError;
use super::keys::source_address;
use super::load::Maps;

/// What the kernel has counted.
pub struct Counters {
    accounts: Array<MapData, AccountState>,
    outcomes: PerCpuArray<MapData, [u64; Outcome::SLOTS]>,
    events_lost: PerCpuArray<MapData, u64>,
    records_lost: PerCpuArray<MapData, u64>,
    messages_lost: PerCpuArray<MapData, u64>,
    sources: HashMap<MapData, SourceKey, SourceState>,
    flows: HashMap<MapData, FlowKey, Flow>,
    capacities: BTreeMap<&'static str, u32>,
}

/// One source and what it has sent since it was last forgotten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceUse {
    /// The account that its prefix names, by number.
    pub account: u32,
    /// Messages by [`Allowance`].
    pub messages: [u64; Allowance::COUNT],
    /// Packets dropped before their payload was read.
    pub packets_dropped: u64,
}

impl SourceUse {
    /// Messages and packets that it has offered, retransmissions left out.
    #[must_use]
    pub fn offered(&self) -> u64 {
        let repeated = self.messages[Allowance::Repeated.index()];
        let messages = self.messages.iter().fold(0_u64, |sum, count| sum.saturating_add(*count));
        messages.saturating_sub(repeated).saturating_add(self.packets_dropped)
    }
}

impl Counters {
    pub(super) fn new(
        maps: &mut Maps,
        capacities: BTreeMap<&'static str, u32>,
    ) -> Result<Self, DataplaneError> {
        Ok(Self {
            capacities,
            accounts: maps.typed(map::ACCOUNTS)?,
            outcomes: maps.typed(map::OUTCOMES)?,
            events_lost: maps.typed(map::EVENTS_LOST)?,
            records_lost: maps.typed(map::RECORDS_LOST)?,
            messages_lost: maps.typed(map::MESSAGES_LOST)?,
            sources: maps.typed(map::SOURCES)?,
            flows: maps.typed(map::FLOWS)?,
        })
    }

    /// Counters of one account.
    pub fn account(&self, number: u32) -> Result<AccountCounters, DataplaneError> {
        let state = self.accounts.get(&number, 0);
        state.map(|state| state.counters).map_err(|error| DataplaneError::map("read", map::ACCOUNTS, &error))
    }

    /// Calls of one account that hold a slot now.
    pub fn calls_active(&self, number: u32) -> Result<u64, DataplaneError> {
        let state = self.accounts.get(&number, 0);
        state
            .map(|state| state.calls_active)
            .map_err(|error| DataplaneError::map("read", map::ACCOUNTS, &error))
    }

    /// SMPP binds of one account that its servers have said yes to, now.
    pub fn binds_active(&self, number: u32) -> Result<u64, DataplaneError> {
        let state = self.accounts.get(&number, 0);
        state
            .map(|state| state.binds_active)
            .map_err(|error| DataplaneError::map("read", map::ACCOUNTS, &error))
    }

    /// Packets by outcome since the maps were made, all outcomes, over all CPUs.
    pub fn outcomes(&self) -> Result<BTreeMap<Outcome, u64>, DataplaneError> {
        let per_cpu =
            self.outcomes.get(&0, 0).map_err(|error| DataplaneError::map("read", map::OUTCOMES, &error))?;
        let sum = |outcome: &Outcome| per_cpu.iter().map(|counts| counts[outcome.index()]).sum();
        Ok(Outcome::ALL.iter().map(|outcome| (*outcome, sum(outcome))).collect())
    }

    /// Events that the ring buffer had no room for, since the maps were made.
    pub fn events_lost(&self) -> Result<u64, DataplaneError> {
        sum(&self.events_lost, map::EVENTS_LOST)
    }

    /// Call records that the ring buffer had no room for, since the maps were made.
    pub fn records_lost(&self) -> Result<u64, DataplaneError> {
        sum(&self.records_lost, map::RECORDS_LOST)
    }

    /// Records of messages that the ring buffer had no room for, since the maps were made.
    pub fn messages_lost(&self) -> Result<u64, DataplaneError> {
        sum(&self.messages_lost, map::MESSAGES_LOST)
    }

    /// Room of the maps that may fill up, in entries.
    #[must_use]
    pub const fn capacities(&self) -> &BTreeMap<&'static str, u32> {
        &self.capacities
    }

    /// Entries of `SOURCES` and `FLOWS`. Walks both: for a blocking thread, and not every second.
    #[must_use]
    pub fn count_entries(&self) -> (u64, u64) {
        let sources = self.sources.keys().take(self.bound(map::SOURCES)).flatten().count();
        let flows = self.flows.keys().take(self.bound(map::FLOWS)).flatten().count();
        (sources as u64, flows as u64)
    }

    /// The sources of these accounts that were seen since a moment, by address. One walk of the map for all of
    /// them: for a blocking thread.
    #[must_use]
    pub fn sources_of(&self, accounts: &BTreeSet<u32>, seen_since_ns: u64) -> BTreeMap<IpAddr, SourceUse> {
        // A source that is forgotten during the walk restarts it (BPF_MAP_GET_NEXT_KEY), hence the bound.
        let all = self.sources.iter().take(self.bound(map::SOURCES)).filter_map(Result::ok);
        all.filter(|(_, state)| state.seen_ns >= seen_since_ns && accounts.contains(&state.account))
            .map(|(key, state)| {
                let source = SourceUse {
                    account: state.account,
                    messages: state.messages,
                    packets_dropped: state.packets_dropped,
                };
                (source_address(key), source)
            })
            .collect()
    }

    fn bound(&self, name: &str) -> usize {
        self.capacities.get(name).map_or(0, |capacity| *capacity as usize)
    }
}

fn sum(counts: &PerCpuArray<MapData, u64>, map: &'static str) -> Result<u64, DataplaneError> {
    let per_cpu = counts.get(&0, 0);
    per_cpu.map(|counts| counts.iter().sum()).map_err(|error| DataplaneError::map("read", map, &error))
}
