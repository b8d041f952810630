//! What a daemon has pinned, as anybody with the rights can read and change it.

use std::path::Path;

use anyhow::Result;
use aya::maps::{Array, HashMap, Map, MapData};
use edge_ebpf::abi::{ABI_VERSION, AccountState, CallKey, CallState, map};

/// Number of the account `acme` where it is the first that is configured.
pub const ACME_NUMBER: u32 = 1;

/// Buckets, slots and counters of an account.
pub fn account(pins: &Path, number: u32) -> Result<AccountState> {
    let accounts: Array<_, AccountState> = Array::try_from(Map::Array(open(pins, map::ACCOUNTS)?))?;
    Ok(accounts.get(&number, 0)?)
}

/// Writes them.
pub fn set_account(pins: &Path, number: u32, state: AccountState) -> Result<()> {
    let mut accounts: Array<_, AccountState> = Array::try_from(Map::Array(open(pins, map::ACCOUNTS)?))?;
    Ok(accounts.set(number, state, 0)?)
}

/// Calls that hold slots.
pub fn calls(pins: &Path) -> Result<Vec<(CallKey, CallState)>> {
    let calls: HashMap<_, CallKey, CallState> = HashMap::try_from(Map::HashMap(open(pins, map::CALLS)?))?;
    Ok(calls.iter().collect::<Result<_, _>>()?)
}

fn open(pins: &Path, name: &str) -> Result<MapData> {
    Ok(MapData::from_pin(pins.join(format!("v{ABI_VERSION}/{name}")))?)
}
