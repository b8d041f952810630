//! Accounts, prefixes, standings, ports and settings in the kernel: read as [`Installed`], changed by [`Plan`].

use std::collections::{BTreeMap, BTreeSet};

use aya::maps::{Array, HashMap, LpmTrie, MapData, MapError};
use edge_ebpf::abi::{
    ABI_VERSION, AccountCounters, AccountState, CallerId, Class, Member, Policy, Ports, SourceKey, Standing,
    SystemId, TrunkPolicy, TrunkState, map,
};

use super::error::DataplaneError;
use super::keys::{
    NAME_BYTES, TRUNK_NAME_BYTES, name_bytes, name_of, prefix_of, shown_id_key, shown_id_of, trie_key,
};
use super::load::Maps;
use super::settings::SettingsMap;
use crate::config::PortSets;
use crate::reconcile::{GlobalSettings, Installed, InstalledAccount, InstalledTrunk, Plan, ShownId, Step};

/// Buckets full, nothing counted.
const NO_STATE: AccountState = AccountState {
    buckets: [0; Class::COUNT],
    calls_active: 0,
    binds_active: 0,
    counters: AccountCounters::NOTHING,
};

/// What the daemon writes for the kernel programs to read.
pub struct Accounts {
    settings: SettingsMap,
    ports: Array<MapData, Ports>,
    policies: Array<MapData, Policy>,
    states: Array<MapData, AccountState>,
    names: Array<MapData, [u8; NAME_BYTES]>,
    members: LpmTrie<MapData, SourceKey, Member>,
    caller_ids: LpmTrie<MapData, CallerId, u32>,
    standings: LpmTrie<MapData, SourceKey, Standing>,
    trunk_names: Array<MapData, [u8; TRUNK_NAME_BYTES]>,
    trunk_policies: Array<MapData, TrunkPolicy>,
    trunk_states: Array<MapData, TrunkState>,
    system_ids: HashMap<MapData, SystemId, u32>,
    installed: Sizes,
    capacity: u32,
    prefix_capacity: u32,
    trunk_capacity: u32,
    caller_id_capacity: u32,
}

/// How many entries the tries have, as far as this daemon has counted.
#[derive(Clone, Copy, Debug, Default)]
struct Sizes {
    members: u64,
    standings: u64,
    caller_ids: u64,
}

impl Accounts {
    pub(super) fn new(maps: &mut Maps, settings: SettingsMap) -> Result<Self, DataplaneError> {
        Ok(Self {
            settings,
            capacity: maps.capacity(map::POLICIES)?,
            prefix_capacity: maps.capacity(map::MEMBERS)?,
            trunk_capacity: maps.capacity(map::TRUNK_NAMES)?,
            ports: maps.typed(map::PORTS)?,
            policies: maps.typed(map::POLICIES)?,
            states: maps.typed_copy(map::ACCOUNTS)?,
            names: maps.typed(map::ACCOUNT_NAMES)?,
            members: maps.typed(map::MEMBERS)?,
            caller_id_capacity: maps.capacity(map::CALLER_IDS)?,
            caller_ids: maps.typed(map::CALLER_IDS)?,
            standings: maps.typed(map::STANDINGS)?,
            trunk_names: maps.typed(map::TRUNK_NAMES)?,
            trunk_policies: maps.typed(map::TRUNK_POLICIES)?,
            trunk_states: maps.typed_copy(map::TRUNKS)?,
            system_ids: maps.typed(map::SYSTEM_IDS)?,
            installed: Sizes::default(),
        })
    }

    /// Accounts that the installed maps have room for, whatever is configured.
    #[must_use]
    pub const fn capacity(&self) -> u32 {
        self.capacity
    }

    /// Source prefixes that the installed maps have room for.
    #[must_use]
    pub const fn prefix_capacity(&self) -> u32 {
        self.prefix_capacity
    }

    /// Trunks that the installed maps have room for, number 0 for none included.
    #[must_use]
    pub const fn trunk_capacity(&self) -> u32 {
        self.trunk_capacity
    }

    /// Caller IDs and sender IDs that the installed maps have room for.
    #[must_use]
    pub const fn caller_id_capacity(&self) -> u32 {
        self.caller_id_capacity
    }

    /// Entries of the tries `MEMBERS`, `STANDINGS` and `CALLER_IDS`, as last read or written.
    #[must_use]
    pub const fn trie_entries(&self) -> (u64, u64, u64) {
        (self.installed.members, self.installed.standings, self.installed.caller_ids)
    }

    /// Reads what holds in the kernel.
    pub fn read(&mut self) -> Result<Installed, DataplaneError> {
        let mut accounts = BTreeMap::new();
        for number in 0..self.capacity {
            let name = get(&self.names, number, map::ACCOUNT_NAMES)?;
            if let Some(name) = name_of(&name) {
                let policy = get(&self.policies, number, map::POLICIES)?;
                accounts.insert(name, InstalledAccount { number, policy });
            }
        }
        let mut trunks = BTreeMap::new();
        for number in 1..self.trunk_capacity {
            let name = get(&self.trunk_names, number, map::TRUNK_NAMES)?;
            if let Some(name) = name_of(&name) {
                let calls_max = get(&self.trunk_policies, number, map::TRUNK_POLICIES)?.calls_max;
                trunks.insert(name, InstalledTrunk { number, calls_max });
            }
        }
        let prefixes = entries(&self.members, map::MEMBERS)?;
        let standings: BTreeMap<_, _> = entries(&self.standings, map::STANDINGS)?
            .into_iter()
            .map(|(prefix, standing)| (prefix, standing.into()))
            .collect();
        let mut system_ids = BTreeMap::new();
        for entry in &self.system_ids {
            let (id, number) = entry.map_err(|error| DataplaneError::map("read", map::SYSTEM_IDS, &error))?;
            system_ids.insert(id, number);
        }
        let shown_ids = self.read_shown_ids()?;
        self.installed = Sizes {
            members: prefixes.len() as u64,
            standings: standings.len() as u64,
            caller_ids: shown_ids.len() as u64,
        };
        let ports = get(&self.ports, 0, map::PORTS)?;
        let settings = self.settings.read()?;
        Ok(Installed {
            accounts,
            trunks,
            prefixes,
            shown_ids,
            standings,
            system_ids,
            ports: PortSets::from_kernel(&ports),
            settings: SettingsMap::is_configured(&settings).then(|| GlobalSettings::from_abi(&settings)),
            held: BTreeSet::new(),
        })
    }

    /// Numbers that none of these accounts has and under which calls or binds go on: what the accounts had that are gone.
    pub fn held(
        &self,
        accounts: &BTreeMap<String, InstalledAccount>,
    ) -> Result<BTreeSet<u32>, DataplaneError> {
        let in_use: BTreeSet<u32> = accounts.values().map(|account| account.number).collect();
        let mut held = BTreeSet::new();
        for number in (1..self.capacity).filter(|number| !in_use.contains(number)) {
            let AccountState { calls_active, binds_active, .. } = get(&self.states, number, map::ACCOUNTS)?;
            if calls_active != 0 || binds_active != 0 {
                held.insert(number);
            }
        }
        Ok(held)
    }

    fn read_shown_ids(&self) -> Result<BTreeSet<(u32, ShownId)>, DataplaneError> {
        let mut found = BTreeSet::new();
        for key in self.caller_ids.keys() {
            let key = key.map_err(|error| DataplaneError::map("read", map::CALLER_IDS, &error))?;
            found.extend(shown_id_of(&key));
        }
        Ok(found)
    }

    /// Takes the steps of a plan, in their order. The generation is raised once after each run of steps that
    /// change how sources resolve, before anything else follows.
    ///
    /// On an error the steps before it hold; the next plan, made from what is then installed, goes on from there.
    pub fn apply(&mut self, plan: &Plan) -> Result<(), DataplaneError> {
        let mut is_stale = false;
        for step in &plan.steps {
            if is_stale && !step.changes_resolution() {
                self.raise_generation()?;
                is_stale = false;
            }
            let taken = self.take(step);
            is_stale |= step.changes_resolution();
            if taken.is_err() && is_stale {
                self.raise_generation()?;
            }
            taken?;
        }
        if is_stale {
            self.raise_generation()?;
        }
        Ok(())
    }

    fn take(&mut self, step: &Step) -> Result<(), DataplaneError> {
        match step {
            Step::AddAccount { number, name, policy, .. } => {
                // The name last: with it the account counts as installed.
                self.set_state(*number)?;
                self.set_policy(*number, policy)?;
                self.set_name(*number, name_bytes(name))
            }
            Step::SetPolicy { number, after, .. } => self.set_policy(*number, after),
            Step::RemoveAccount { number, .. } => {
                self.set_name(*number, [0; NAME_BYTES])?;
                self.set_policy(*number, &Policy::OPEN)?;
                self.set_state(*number)
            }
            Step::SetTrunk { number, name, before, after } => {
                if before.is_none() {
                    self.clear_trunk(*number)?;
                }
                self.set_trunk(*number, *after, name_bytes(name))
            }
            Step::RemoveTrunk { number, .. } => self.set_trunk(*number, 0, [0; TRUNK_NAME_BYTES]),
            Step::SetPrefix { prefix, member, before, .. } => {
                let result = self.members.insert(&trie_key(prefix), member, 0);
                self.installed.members += u64::from(before.is_none());
                result.map_err(|error| full_or(map::MEMBERS, &error))
            }
            Step::RemovePrefix { prefix, .. } => {
                self.installed.members = self.installed.members.saturating_sub(1);
                removed(self.members.remove(&trie_key(prefix)), map::MEMBERS)
            }
            Step::AddShownId { number, id, .. } => {
                self.installed.caller_ids += 1;
                let result = self.caller_ids.insert(&shown_id_key(*number, id), 1, 0);
                result.map_err(|error| full_or(map::CALLER_IDS, &error))
            }
            Step::RemoveShownId { number, id, .. } => {
                self.installed.caller_ids = self.installed.caller_ids.saturating_sub(1);
                removed(self.caller_ids.remove(&shown_id_key(*number, id)), map::CALLER_IDS)
            }
            Step::SetStanding { prefix, before, after } => {
                let result = self.standings.insert(&trie_key(prefix), Standing::from(*after), 0);
                self.installed.standings += u64::from(before.is_none());
                result.map_err(|error| full_or(map::STANDINGS, &error))
            }
            Step::RemoveStanding { prefix, .. } => {
                self.installed.standings = self.installed.standings.saturating_sub(1);
                removed(self.standings.remove(&trie_key(prefix)), map::STANDINGS)
            }
            Step::SetSystemId { id, number, .. } => self
                .system_ids
                .insert(id, number, 0)
                .map_err(|error| DataplaneError::map("add to", map::SYSTEM_IDS, &error)),
            Step::RemoveSystemId { id, .. } => removed(self.system_ids.remove(id), map::SYSTEM_IDS),
            Step::SetPorts { after, .. } => {
                let ports = after.to_kernel();
                self.ports.set(0, *ports, 0).map_err(|error| DataplaneError::map("write", map::PORTS, &error))
            }
            Step::SetSettings { after, .. } => self
                .settings
                .change(|settings| {
                    settings.abi_version = ABI_VERSION;
                    after.write_to(settings);
                })
                .map(drop),
        }
    }

    /// Lets listeners that fell back to drop, because their servers did not answer, try again. `now_ns`: monotonic.
    pub fn arm_refusals(&self, now_ns: u64) -> Result<(), DataplaneError> {
        self.settings.change(|settings| settings.refusals_armed_ns = now_ns).map(drop)
    }

    fn raise_generation(&self) -> Result<(), DataplaneError> {
        self.settings.change(|settings| settings.generation = settings.generation.wrapping_add(1)).map(drop)
    }

    fn set_policy(&mut self, number: u32, policy: &Policy) -> Result<(), DataplaneError> {
        let result = self.policies.set(number, policy, 0);
        result.map_err(|error| self.misfit(number, map::POLICIES, &error))
    }

    /// Buckets full, nothing counted. Calls and binds of the number's last account may go on, and are subtracted when
    /// they end.
    fn set_state(&mut self, number: u32) -> Result<(), DataplaneError> {
        let AccountState { calls_active, binds_active, .. } = get(&self.states, number, map::ACCOUNTS)?;
        let result = self.states.set(number, AccountState { calls_active, binds_active, ..NO_STATE }, 0);
        result.map_err(|error| self.misfit(number, map::ACCOUNTS, &error))
    }

    fn set_trunk(
        &mut self,
        number: u32,
        calls_max: u32,
        name: [u8; TRUNK_NAME_BYTES],
    ) -> Result<(), DataplaneError> {
        self.trunk_policies
            .set(number, TrunkPolicy { calls_max, reserved: 0 }, 0)
            .map_err(|error| DataplaneError::map("write", map::TRUNK_POLICIES, &error))?;
        self.trunk_names
            .set(number, name, 0)
            .map_err(|error| DataplaneError::map("write", map::TRUNK_NAMES, &error))
    }

    /// What was refused by the number's last trunk is none of the next one's; slots are, until they are given back.
    fn clear_trunk(&mut self, number: u32) -> Result<(), DataplaneError> {
        let calls_active = get(&self.trunk_states, number, map::TRUNKS)?.calls_active;
        self.trunk_states
            .set(number, TrunkState { calls_active, refused: 0 }, 0)
            .map_err(|error| DataplaneError::map("write", map::TRUNKS, &error))
    }

    fn set_name(&mut self, number: u32, name: [u8; NAME_BYTES]) -> Result<(), DataplaneError> {
        let result = self.names.set(number, name, 0);
        result.map_err(|error| self.misfit(number, map::ACCOUNT_NAMES, &error))
    }

    fn misfit(&self, number: u32, map: &'static str, error: &MapError) -> DataplaneError {
        match error {
            MapError::OutOfBounds { .. } => DataplaneError::NoRoom { number, capacity: self.capacity },
            error => DataplaneError::map("write", map, error),
        }
    }
}

fn get<V: aya::Pod>(array: &Array<MapData, V>, index: u32, map: &'static str) -> Result<V, DataplaneError> {
    array.get(&index, 0).map_err(|error| DataplaneError::map("read", map, &error))
}

fn entries<V: aya::Pod>(
    trie: &LpmTrie<MapData, SourceKey, V>,
    map: &'static str,
) -> Result<BTreeMap<ipnet::IpNet, V>, DataplaneError> {
    let mut found = BTreeMap::new();
    for entry in trie {
        let (key, value) = entry.map_err(|error| DataplaneError::map("read", map, &error))?;
        if let Some(prefix) = prefix_of(&key) {
            found.insert(prefix, value);
        }
    }
    Ok(found)
}

/// What is gone already is removed.
fn removed(result: Result<(), MapError>, map: &'static str) -> Result<(), DataplaneError> {
    match result {
        Err(error) if !is_not_found(&error) => Err(DataplaneError::map("write", map, &error)),
        _ => Ok(()),
    }
}

fn is_not_found(error: &MapError) -> bool {
    match error {
        MapError::KeyNotFound | MapError::ElementNotFound => true,
        MapError::SyscallError(error) => error.io_error.kind() == std::io::ErrorKind::NotFound,
        _ => false,
    }
}

/// ENOSPC from a trie means that it is full (`kernel/bpf/lpm_trie.c`).
fn full_or(map: &'static str, error: &MapError) -> DataplaneError {
    let key = if map == map::CALLER_IDS { "capacity.caller_ids" } else { "capacity.prefixes" };
    match error {
        MapError::SyscallError(error) if error.io_error.kind() == std::io::ErrorKind::StorageFull => {
            DataplaneError::Map {
                doing: "add to",
                map,
                reason: format!("it is full; raise `{key}`, then `edgectl detach` and start again"),
            }
        }
        error => DataplaneError::map("write", map, error),
    }
}
