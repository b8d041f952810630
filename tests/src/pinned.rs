//! What a daemon has pinned, as anybody with the rights can read and change it.

use std::path::Path;

use anyhow::Result;
use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{Array, HashMap, Map, MapData};
use edge_ebpf::abi::{ABI_VERSION, AccountState, CALLER_ID_DIGITS, CallKey, CallState, CallerId, map};

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

/// Writes the name of an account beside its policy; an empty one is none.
pub fn set_account_name(pins: &Path, number: u32, name: &str) -> Result<()> {
    let mut names: Array<_, [u8; 64]> = Array::try_from(Map::Array(open(pins, map::ACCOUNT_NAMES)?))?;
    let mut bytes = [0; 64];
    bytes.iter_mut().zip(name.bytes()).for_each(|(place, byte)| *place = byte);
    Ok(names.set(number, bytes, 0)?)
}

/// Takes the room of one caller ID, by an entry that is none and that no daemon knows.
pub fn crowd_caller_ids(pins: &Path) -> Result<()> {
    let mut ids: LpmTrie<_, CallerId, u32> = LpmTrie::try_from(Map::LpmTrie(open(pins, map::CALLER_IDS)?))?;
    let id = CallerId { account: u32::MAX, digits: [0; CALLER_ID_DIGITS] };
    Ok(ids.insert(&Key::new(u8::BITS, id), 0, 0)?)
}

fn open(pins: &Path, name: &str) -> Result<MapData> {
    Ok(MapData::from_pin(pins.join(format!("v{ABI_VERSION}/{name}")))?)
}
