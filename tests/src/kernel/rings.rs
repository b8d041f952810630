//! What the kernel programs hand to the daemon.

use anyhow::{Context as _, Result};
use aya::maps::RingBuf;
use edge_ebpf::abi::{CallRecord, Event, MessageRecord, map};
use zerocopy::FromBytes;

use super::Kernel;

impl Kernel {
    /// Rare facts since they were last asked for.
    pub fn events(&mut self) -> Result<Vec<Event>> {
        self.drain(map::EVENTS)
    }

    /// Records of calls since they were last asked for.
    pub fn records(&mut self) -> Result<Vec<CallRecord>> {
        self.drain(map::RECORDS)
    }

    /// Records of messages since they were last asked for.
    pub fn messages(&mut self) -> Result<Vec<MessageRecord>> {
        self.drain(map::MESSAGES)
    }

    fn drain<T: FromBytes>(&mut self, name: &str) -> Result<Vec<T>> {
        let map = self.ebpf.map_mut(name).with_context(|| name.to_owned())?;
        let mut ring = RingBuf::try_from(map)?;
        let mut records = Vec::new();
        while let Some(record) = ring.next() {
            records.push(T::read_from_bytes(&record).ok().context("a record of another size")?);
        }
        Ok(records)
    }
}
