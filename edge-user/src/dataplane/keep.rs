//! Pins that somebody removes under a running daemon are made again: without them the next start would begin with
//! empty buckets and counters, or a second daemon beside this one.

use aya::maps::MapData;

use super::error::DataplaneError;
use super::pins::{self, PinDir, PinLock};
use super::stages::Stages;

/// The directory of pins with the right to change it, and every pinned map.
pub(super) struct Keeper {
    pins: PinDir,
    lock: PinLock,
    maps: Vec<(&'static str, MapData)>,
    stages: Stages,
}

impl Keeper {
    pub(super) fn new(
        pins: PinDir,
        lock: PinLock,
        maps: Vec<(&'static str, MapData)>,
        stages: Stages,
    ) -> Self {
        Self { pins, lock, maps, stages }
    }

    /// The directory.
    pub(super) fn pins(&self) -> &PinDir {
        &self.pins
    }

    /// Every link leads to the programs of this load: what earlier ones pinned for theirs goes.
    pub(super) fn supersede(&self) -> Result<(), DataplaneError> {
        self.stages.supersede(&self.pins.current())
    }

    /// Makes the directory, the lock on it and the pins of the maps again where they are missing.
    pub(super) fn restore(&mut self) -> Result<(), DataplaneError> {
        let directory = self.pins.current();
        if !directory.exists() {
            self.pins.prepare()?;
        }
        if !self.pins.is_locked_by(&self.lock) {
            self.lock = self.pins.lock()?;
        }
        let mut restored = self.stages.pin(&directory)?;
        for (name, map) in &self.maps {
            let path = pins::map_path(&directory, name);
            if !path.exists() {
                map.pin(&path).map_err(|error| DataplaneError::map("pin", name, &error))?;
                restored.push(*name);
            }
        }
        if !restored.is_empty() {
            tracing::warn!(maps = restored.join(", "), "pins were removed by somebody else; pinned again");
        }
        Ok(())
    }
}
