//! SMPP sessions: the map `BINDS`, and what `FLOWS` and `REFUSALS` know of each.

use aya::maps::{HashMap, MapData, MapError};
use edge_ebpf::abi::{BindState, FlowKey, map};
use edge_ebpf::native::Refusals;
use edge_ebpf::stream::Flow;

use super::error::DataplaneError;
use super::load::Maps;

/// Binds as the kernel keeps them. Nothing is written here.
pub struct Binds {
    entries: HashMap<MapData, FlowKey, BindState>,
    flows: HashMap<MapData, FlowKey, Flow>,
    refusals: HashMap<MapData, FlowKey, Refusals>,
    capacity: u32,
}

/// What the tables beside `BINDS` say of one connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BindUse {
    /// When the client's last segment came.
    pub heard_ns: Option<u64>,
    /// Messages refused in SMPP's words.
    pub refused: u32,
    /// Of those, answered by the server.
    pub answered: u32,
    /// Of those answers, not to be changed or taken for another.
    pub unmatched: u32,
}

impl Binds {
    pub(super) fn new(maps: &Maps) -> Result<Self, DataplaneError> {
        Ok(Self {
            entries: maps.typed_copy(map::BINDS)?,
            flows: maps.typed_copy(map::FLOWS)?,
            refusals: maps.typed_copy(map::REFUSALS)?,
            capacity: maps.capacity(map::BINDS)?,
        })
    }

    /// One bind, by the key of the client's direction.
    pub fn get(&self, key: &FlowKey) -> Result<Option<BindState>, DataplaneError> {
        maybe(self.entries.get(key, 0), map::BINDS)
    }

    /// Binds of one account, or of all. Walks the map: for a blocking thread.
    ///
    /// A bind that ends during the walk begins it anew (`BPF_MAP_GET_NEXT_KEY`): hence the map, which counts none
    /// twice, and the bound.
    #[must_use]
    pub fn held(&self, account: Option<u32>) -> std::collections::HashMap<FlowKey, BindState> {
        let bound = 2 * self.capacity as usize;
        let all = self.entries.iter().take(bound).filter_map(Result::ok);
        all.filter(|(_, bind)| account.is_none_or(|account| bind.account == account)).collect()
    }

    /// What else is known of a bind's connection.
    pub fn used(&self, key: &FlowKey) -> Result<BindUse, DataplaneError> {
        let flow = maybe(self.flows.get(key, 0), map::FLOWS)?;
        let refusals = maybe(self.refusals.get(key, 0), map::REFUSALS)?;
        Ok(BindUse {
            heard_ns: flow.map(|flow| flow.touched_ns),
            refused: refusals.map_or(0, |refusals| refusals.refused),
            answered: refusals.map_or(0, |refusals| refusals.answered),
            unmatched: refusals.map_or(0, |refusals| refusals.unmatched),
        })
    }
}

fn maybe<T>(read: Result<T, MapError>, name: &'static str) -> Result<Option<T>, DataplaneError> {
    match read {
        Ok(value) => Ok(Some(value)),
        Err(MapError::KeyNotFound | MapError::ElementNotFound) => Ok(None),
        Err(MapError::SyscallError(error)) if error.io_error.kind() == std::io::ErrorKind::NotFound => {
            Ok(None)
        }
        Err(error) => Err(DataplaneError::map("read", name, &error)),
    }
}
