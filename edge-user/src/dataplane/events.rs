//! Rare facts, calls that are over and messages that were answered, from the ring buffers, and the programs' own log
//! lines.

use std::io;
use std::marker::PhantomData;
use std::os::fd::AsRawFd;

use aya::maps::{MapData, RingBuf};
use aya_log::EbpfLogger;
use edge_ebpf::abi::{CallRecord, Event, MessageRecord};
use tokio::io::unix::AsyncFd;
use zerocopy::FromBytes;

use super::error::DataplaneError;
use super::load::Maps;

/// A ring buffer of records of one kind, not yet listened to.
pub struct Ring<T>(RingBuf<MapData>, PhantomData<T>);

/// Records as they come.
pub struct RingStream<T>(AsyncFd<RingBuf<MapData>>, PhantomData<T>);

/// Rare facts.
pub type Events = Ring<Event>;
/// Rare facts as they come.
pub type EventStream = RingStream<Event>;
/// Calls that are over.
pub type Records = Ring<CallRecord>;
/// Calls that are over, as they end.
pub type RecordStream = RingStream<CallRecord>;
/// Messages that were answered.
pub type Messages = Ring<MessageRecord>;
/// Messages that were answered, as they are.
pub type MessageStream = RingStream<MessageRecord>;

/// Log lines of the programs, not yet listened to. There are none where the object has no log statements.
pub struct ProgramLogs(EbpfLogger<&'static dyn log::Log>);

impl<T> Ring<T> {
    /// `name` is the map of this kind.
    pub(super) fn new(maps: &mut Maps, name: &'static str) -> Result<Self, DataplaneError> {
        maps.typed(name).map(|ring| Self(ring, PhantomData))
    }

    /// Listens; needs a tokio runtime.
    pub fn listen(self) -> io::Result<RingStream<T>> {
        watch(self.0).map(|ring| RingStream(ring, PhantomData))
    }
}

impl<T: FromBytes> RingStream<T> {
    /// Everything that has come since the last call; waits for the first.
    pub async fn next_batch(&mut self) -> io::Result<Vec<T>> {
        loop {
            let mut guard = self.0.readable_mut().await?;
            let ring = guard.get_inner_mut();
            let mut records = Vec::new();
            while let Some(record) = ring.next() {
                // A record of another size is none of ours.
                if let Ok(record) = T::read_from_bytes(&record) {
                    records.push(record);
                }
            }
            guard.clear_ready();
            if !records.is_empty() {
                return Ok(records);
            }
        }
    }
}

impl ProgramLogs {
    pub(super) fn new(ebpf: &mut aya::Ebpf) -> Option<Self> {
        match EbpfLogger::init(ebpf) {
            Ok(logger) => Some(Self(logger)),
            Err(aya_log::Error::MapNotFound) => None,
            Err(error) => {
                tracing::warn!(%error, "the programs' log lines cannot be read");
                None
            }
        }
    }

    /// Passes log lines on to the daemon's log, for ever. Each comes once from a rare fault.
    pub async fn forward(self) -> io::Result<()> {
        let mut logs = watch(self.0)?;
        loop {
            let mut guard = logs.readable_mut().await?;
            guard.get_inner_mut().flush();
            guard.clear_ready();
        }
    }
}

/// The replacement of the deprecated constructor is unsafe, because a type could exchange its descriptor while
/// it is watched. aya's ring buffers keep theirs until they are dropped, and they are dropped with the watch.
#[expect(deprecated, reason = "argued above; the alternative would be this crate's only unsafe block")]
fn watch<T: AsRawFd>(ring: T) -> io::Result<AsyncFd<T>> {
    AsyncFd::new(ring)
}
