//! What the kernel keeps of one connection, of one source, and of called numbers.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{Array, HashMap};
use edge_ebpf::abi::{
    BindState, FlowKey, Listener, Member, PREFIX_PAGES, PrefixPage, SourceState, map, prefix_key_parts,
    receipt_digits,
};
use edge_ebpf::native::Refusals;
use edge_ebpf::stream::Flow;
use zerocopy::FromZeros as _;

use super::Kernel;
use crate::fixtures::world::Prefix;

impl Kernel {
    /// What is known of one direction of a connection.
    pub fn flow(&self, key: &FlowKey) -> Result<Flow> {
        let map = self.ebpf.map(map::FLOWS).context(map::FLOWS)?;
        Ok(HashMap::<_, FlowKey, Flow>::try_from(map)?.get(key, 0)?)
    }

    /// The bind of a client's connection.
    pub fn bind(&self, client: &FlowKey) -> Result<BindState> {
        let map = self.ebpf.map(map::BINDS).context(map::BINDS)?;
        Ok(HashMap::<_, FlowKey, BindState>::try_from(map)?.get(client, 0)?)
    }

    /// Messages of a connection that were refused and whose refusals the server has not answered.
    pub fn refusals_waiting(&self, key: &FlowKey) -> Result<usize> {
        let map = self.ebpf.map(map::REFUSALS).context(map::REFUSALS)?;
        Ok(HashMap::<_, FlowKey, Refusals>::try_from(map)?.get(key, 0)?.waiting())
    }

    /// How the refusals of a port go.
    pub fn listener(&self, port: u16) -> Result<Listener> {
        self.get(map::LISTENERS, u32::from(port))
    }

    /// Nothing is known of that yet.
    pub(super) fn reset_listener(&mut self, port: u16) -> Result<()> {
        let map = self.ebpf.map_mut(map::LISTENERS).context(map::LISTENERS)?;
        Ok(Array::<_, Listener>::try_from(map)?.set(u32::from(port), Listener::new_zeroed(), 0)?)
    }

    /// Messages and receipts by account and digits, of both halves of the table.
    pub fn called(&self) -> Result<BTreeMap<(u32, u32), u64>> {
        let mut called = BTreeMap::new();
        for index in 0..2 * PREFIX_PAGES {
            let page: PrefixPage = self.get(map::PREFIXES, index)?;
            for way in page.sets.iter().flat_map(|set| set.ways).filter(|way| way.key != 0) {
                let (account, digits, kind) = prefix_key_parts(way.key);
                let digits = kind.map_or(digits, |kind| receipt_digits(kind, digits));
                *called.entry((account, digits)).or_default() += way.count;
            }
        }
        Ok(called)
    }

    /// Makes a prefix a source of nobody again, for sources that are looked up after that.
    pub fn remove_member(&mut self, prefix: Prefix) -> Result<()> {
        let map = self.ebpf.map_mut(map::MEMBERS).context(map::MEMBERS)?;
        let mut members: LpmTrie<_, [u8; 16], Member> = LpmTrie::try_from(map)?;
        Ok(members.remove(&Key::new(prefix.bits, prefix.address))?)
    }

    /// What is known of a source.
    pub fn source(&self, address: [u8; 16]) -> Result<SourceState> {
        let map = self.ebpf.map(map::SOURCES).context(map::SOURCES)?;
        Ok(HashMap::<_, [u8; 16], SourceState>::try_from(map)?.get(&address, 0)?)
    }
}
