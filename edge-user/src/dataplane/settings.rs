//! The map `SETTINGS`, which two hands write: reconciliation and the turning of the prefix map.

use std::fs::File;
use std::io::Read;
use std::sync::{Arc, Mutex, PoisonError};

use aya::maps::{Array, MapData};
use edge_ebpf::abi::{ABI_VERSION, Settings, map};

use super::error::DataplaneError;

/// One handle, one change at a time.
#[derive(Clone)]
pub(super) struct SettingsMap(Arc<Mutex<Array<MapData, Settings>>>);

impl SettingsMap {
    /// Takes the map and keys its hashes, if it has no key yet. A key that is there stays: under another one the
    /// requests that were admitted before would not be known again.
    pub(super) fn new(map: Array<MapData, Settings>) -> Result<Self, DataplaneError> {
        let this = Self(Arc::new(Mutex::new(map)));
        let settings = this.read()?;
        if settings.hash_key == [0, 0] {
            let key = random_key()?;
            this.change(|settings| settings.hash_key = key)?;
        }
        Ok(this)
    }

    pub(super) fn read(&self) -> Result<Settings, DataplaneError> {
        read(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut Settings)) -> Result<Settings, DataplaneError> {
        let mut map = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut settings = read(&map)?;
        change(&mut settings);
        map.set(0, settings, 0).map_err(|error| DataplaneError::map("write", map::SETTINGS, &error))?;
        Ok(settings)
    }

    /// Marks the settings as configured.
    pub(super) fn is_configured(settings: &Settings) -> bool {
        settings.abi_version == ABI_VERSION
    }
}

fn read(map: &Array<MapData, Settings>) -> Result<Settings, DataplaneError> {
    map.get(&0, 0).map_err(|error| DataplaneError::map("read", map::SETTINGS, &error))
}

fn random_key() -> Result<[u64; 2], DataplaneError> {
    const SOURCE: &str = "/dev/urandom";
    let mut bytes = [0; 16];
    File::open(SOURCE)
        .and_then(|mut source| source.read_exact(&mut bytes))
        .map_err(DataplaneError::io("read a random key from", SOURCE))?;
    let mut key = [0_u64; 2];
    for (word, chunk) in key.iter_mut().zip(bytes.chunks_exact(8)) {
        *word = chunk.iter().fold(0, |word, byte| word << 8 | u64::from(*byte));
    }
    // Zero would read as no key.
    key[0] |= 1;
    Ok(key)
}
