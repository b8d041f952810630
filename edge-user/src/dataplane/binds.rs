//! SMPP sessions: the map `BINDS`, and what `FLOWS` and `REFUSALS` know of each.

use std::collections::BTreeMap;

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
    /// Messages that have passed, those refused in SMPP's words included.
    pub submitted: u32,
    /// Responses to them that have come.
    pub responded: u32,
    /// Messages refused in SMPP's words.
    pub refused: u32,
    /// Of those, answered by the server.
    pub answered: u32,
    /// Of those answers, not to be changed or taken for another.
    pub unmatched: u32,
}

/// What is outstanding on the connections of one account, and how quickly they answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Windows {
    /// Messages on all of them.
    pub sum: u64,
    /// Messages on the one that has most.
    pub max: u64,
    /// The longest that a server took for the last `enquire_link` of one of them; 0 is not known.
    pub server_link_ns: u64,
    /// The longest that a client took, likewise.
    pub client_link_ns: u64,
}

impl BindUse {
    /// Messages that wait for their responses.
    #[must_use]
    pub const fn outstanding(&self) -> u32 {
        // What one direction counted before the other was known must not become a large number.
        let outstanding = self.submitted.wrapping_sub(self.responded);
        if outstanding.cast_signed() < 0 { 0 } else { outstanding }
    }
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

    /// What is outstanding, by account number. Walks the map, as [`Self::held`].
    #[must_use]
    pub fn windows(&self) -> BTreeMap<u32, Windows> {
        let mut windows: BTreeMap<u32, Windows> = BTreeMap::new();
        for (key, bind) in self.held(None) {
            let Ok(used) = self.used(&key) else { continue };
            let outstanding = u64::from(used.outstanding());
            let window = windows.entry(bind.account).or_default();
            window.sum += outstanding;
            window.max = window.max.max(outstanding);
            window.server_link_ns = window.server_link_ns.max(bind.server_link_ns);
            window.client_link_ns = window.client_link_ns.max(bind.client_link_ns);
        }
        windows
    }

    /// What else is known of a bind's connection.
    pub fn used(&self, key: &FlowKey) -> Result<BindUse, DataplaneError> {
        let flow = maybe(self.flows.get(key, 0), map::FLOWS)?;
        let answers = maybe(self.flows.get(&turned(key), 0), map::FLOWS)?;
        let refusals = maybe(self.refusals.get(key, 0), map::REFUSALS)?;
        Ok(BindUse {
            heard_ns: flow.map(|flow| flow.touched_ns),
            submitted: flow.map_or(0, |flow| flow.messages),
            responded: answers.map_or(0, |flow| flow.responses),
            refused: refusals.map_or(0, |refusals| refusals.refused),
            answered: refusals.map_or(0, |refusals| refusals.answered),
            unmatched: refusals.map_or(0, |refusals| refusals.unmatched),
        })
    }
}

/// The other direction of a connection.
const fn turned(key: &FlowKey) -> FlowKey {
    FlowKey {
        source: key.destination,
        destination: key.source,
        source_port: key.destination_port,
        destination_port: key.source_port,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_outstanding_is_never_less_than_nothing() {
        let of = |submitted, responded| BindUse { submitted, responded, ..BindUse::default() }.outstanding();
        assert_eq!((of(12, 2), of(2, 2), of(2, 12)), (10, 0, 0));
        assert_eq!(of(3, u32::MAX - 1), 5, "the counts turn over");
    }
}
