//! How the refusals of each port go: the map `LISTENERS` beside the settings that forgive it.

use aya::maps::{Array, MapData};
use edge_ebpf::abi::{Listener, map};

use super::error::DataplaneError;
use super::load::Maps;
use super::settings::SettingsMap;

/// The ports as the kernel keeps them. Nothing is written here.
pub struct Listeners {
    entries: Array<MapData, Listener>,
    settings: SettingsMap,
}

/// One port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenerUse {
    /// TCP port.
    pub port: u16,
    /// What was counted.
    pub counts: Listener,
    /// Since when it drops in place of answering, monotonic; `None` while it answers.
    pub fallen_back_ns: Option<u64>,
}

impl Listeners {
    pub(super) fn new(maps: &Maps, settings: SettingsMap) -> Result<Self, DataplaneError> {
        Ok(Self { entries: maps.typed_copy(map::LISTENERS)?, settings })
    }

    /// These ports, in this order.
    pub fn read(&self, ports: &[u16]) -> Result<Vec<ListenerUse>, DataplaneError> {
        let armed_ns = self.settings.read()?.refusals_armed_ns;
        let read = |port: &u16| {
            let counts = self.entries.get(&u32::from(*port), 0);
            let counts = counts.map_err(|error| DataplaneError::map("read", map::LISTENERS, &error))?;
            let fallen_back_ns = (counts.fallen_back_ns > armed_ns).then_some(counts.fallen_back_ns);
            Ok(ListenerUse { port: *port, counts, fallen_back_ns })
        };
        ports.iter().map(read).collect()
    }
}
