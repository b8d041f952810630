//! The kernel side as the daemon sees it: the only module that names aya.
//!
//! 1. [`Dataplane::load`] checks the kernel, adopts or makes the pinned maps, has the programs verified.
//! 2. [`Accounts`] reads what is installed and applies a plan: limits are in the maps before a packet is judged.
//! 3. [`Interfaces`] attaches, or exchanges the program under a link that is already there.
//! 4. [`Counters`], [`Prefixes`] and [`Events`] are read from then on.
//!
//! Handles are typed and made once, at load. Programs and maps are pinned: they outlive the daemon, and the next
//! one adopts them with buckets and counters as they are.

mod accounts;
mod binds;
mod calls;
mod clock;
mod counters;
mod detach;
mod egress;
mod error;
mod events;
mod interfaces;
mod keep;
mod keys;
mod link;
mod listeners;
mod load;
mod object;
mod pins;
mod prefixes;
mod settings;
mod stages;
mod state;

use std::path::Path;

pub use accounts::Accounts;
pub use binds::{BindUse, Binds, Windows};
pub use calls::{Calls, Walk};
pub use clock::Clocks;
pub use counters::{Counters, SourceUse};
pub use detach::{DetachReport, detach};
pub use egress::EgressHook;
pub use error::DataplaneError;
pub use events::{
    EventStream, Events, MessageStream, Messages, ProgramLogs, RecordStream, Records, Ring, RingStream,
};
pub use interfaces::{InterfaceChange, Interfaces};
pub use listeners::{ListenerUse, Listeners};
pub use load::Adoption;
pub use prefixes::{Prefixes, RestingHalf};
pub use state::{InterfaceState, XdpModeObtained};

use crate::config::Capacity;

/// Everything in the kernel, dealt out to those who use it.
pub struct Dataplane {
    /// Limits, prefixes, standings, ports, settings.
    pub accounts: Accounts,
    /// Links.
    pub interfaces: Interfaces,
    /// Counters.
    pub counters: Counters,
    /// SMPP sessions.
    pub binds: Binds,
    /// How refusals go on each SMPP port.
    pub listeners: Listeners,
    /// Calls that hold slots.
    pub calls: Calls,
    /// Called prefixes.
    pub prefixes: Prefixes,
    /// Rare facts.
    pub events: Events,
    /// Calls that are over.
    pub records: Records,
    /// Messages that were answered.
    pub messages: Messages,
    /// The programs' log lines, where they have any.
    pub logs: Option<ProgramLogs>,
    /// What became of the maps that were installed before.
    pub adoption: Adoption,
}

impl Dataplane {
    /// Loads programs and maps. Nothing is attached yet and what is attached goes on as it was: fill the maps
    /// through [`Accounts::apply`] first, then [`Interfaces::set`].
    ///
    /// The directory of pins is this process's until it ends ([`DataplaneError::Held`] for a second daemon).
    pub fn load(pin_dir: &Path, capacity: &Capacity) -> Result<Self, DataplaneError> {
        let pins = pins::PinDir::new(pin_dir);
        load::check_kernel()?;
        pins.prepare()?;
        let lock = pins.lock()?;
        let load::Loaded { mut ebpf, mut maps, stages, adoption } = load::load(&pins, capacity)?;
        let keeper = keep::Keeper::new(pins, lock, maps.copies()?, stages);
        let settings = settings::SettingsMap::new(maps.typed(edge_ebpf::abi::map::SETTINGS)?)?;
        let capacities = maps.capacities()?;
        // What copies handles goes before those that take them.
        Ok(Self {
            binds: Binds::new(&maps)?,
            listeners: Listeners::new(&maps, settings.clone())?,
            calls: Calls::new(&maps)?,
            accounts: Accounts::new(&mut maps, settings.clone())?,
            counters: Counters::new(&mut maps, capacities)?,
            prefixes: Prefixes::new(&mut maps, settings)?,
            events: Events::new(&mut maps, edge_ebpf::abi::map::EVENTS)?,
            records: Records::new(&mut maps, edge_ebpf::abi::map::RECORDS)?,
            messages: Messages::new(&mut maps, edge_ebpf::abi::map::MESSAGES)?,
            logs: ProgramLogs::new(&mut ebpf),
            interfaces: Interfaces::new(ebpf, keeper),
            adoption,
        })
    }
}
