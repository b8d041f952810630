//! Who is told of PDUs on the way.

use super::{Finding, HEADER, NAMED, Walk};
#[cfg(doc)]
use crate::stream::PREFIX_BYTES;
use crate::wire::smpp::{self, Header, Kind, PREFIX_ROOM};

/// A PDU whose name has come into sight, or whose header has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// Sequence number of its first octet.
    pub start: u32,
    /// Its header; `status` and `sequence` mean nothing where [`Self::seen`] is below sixteen.
    pub header: Header,
    /// What its name says that it is.
    pub kind: Kind,
    /// Octets of it that earlier segments brought.
    pub held: u32,
    /// Octets of it in sight, those included.
    pub seen: u32,
    /// Whether it is certain to be a PDU of which nothing has gone ahead that a refusal changes: not on an island,
    /// not across the seam to one, and not where the flow has just been found.
    pub certain: bool,
    /// Whether it is not for that reason alone that some of it has gone ahead, on an island.
    pub is_ahead: bool,
}

impl Sighting {
    /// Whether this segment brings its name into sight.
    #[must_use]
    #[inline(always)]
    pub const fn is_first(&self) -> bool {
        self.held < NAMED
    }

    /// Whether its whole header is in sight.
    #[must_use]
    #[inline(always)]
    pub const fn is_whole(&self) -> bool {
        self.seen >= HEADER
    }
}

/// Who is told of every PDU on the way, and may stop there.
pub trait Witness {
    /// A PDU whose name or header has come into sight with this segment; `octets` begin with what is in sight of it. An error
    /// ends the walk with that finding.
    fn see(&mut self, pdu: Sighting, octets: &[u8; PREFIX_ROOM]) -> Result<(), Finding>;

    /// A message whose first [`PREFIX_BYTES`] octets, or all of it, have come into sight with this segment: `octets` begin
    /// with them. `start`: sequence number of its first octet.
    #[inline(always)]
    fn read(&mut self, start: u32, header: Header, octets: &[u8; PREFIX_ROOM]) {
        let _ = (start, header, octets);
    }

    /// Whether what follows a message's header is not what its client wrote.
    #[inline(always)]
    fn is_disguised(&self, start: u32, header: Header) -> bool {
        let _ = (start, header);
        false
    }

    /// How many messages a `submit_multi` stands for beyond one, once its first octets have come into sight: it is read as
    /// in [`Self::read`]. Zero for one that was refused.
    #[inline(always)]
    fn weigh(&mut self, start: u32, header: Header, octets: &[u8; PREFIX_ROOM]) -> u32 {
        let _ = start;
        smpp::further_destinations(octets, header.length)
    }

    /// What follows the messages and binds of a segment is not SMPP, and may hold so many messages.
    #[inline(always)]
    fn lose(&mut self, messages: u32) {
        let _ = messages;
    }

    /// Counts the destinations of a `submit_multi` by [`Walk::call_step`].
    #[inline(always)]
    fn call(&mut self, walk: &mut Walk) {
        for _ in 0..smpp::DESTINATIONS_MAX {
            if walk.call_step().is_break() {
                break;
            }
        }
    }
}

/// Nobody needs to be told.
#[derive(Clone, Copy, Debug)]
pub struct Nobody;

impl Witness for Nobody {
    #[inline(always)]
    fn see(&mut self, _pdu: Sighting, _octets: &[u8; PREFIX_ROOM]) -> Result<(), Finding> {
        Ok(())
    }
}
