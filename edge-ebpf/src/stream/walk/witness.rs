//! Who is told of PDUs on the way.

use super::{Finding, HEADER, NAMED};
use crate::wire::smpp::Header;

/// A PDU whose name has come into sight, or whose header has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// Sequence number of its first octet.
    pub start: u32,
    /// Its header; `status` and `sequence` mean nothing where [`Self::seen`] is below sixteen.
    pub header: Header,
    /// Octets of it that earlier segments brought.
    pub held: u32,
    /// Octets of it in sight, those included.
    pub seen: u32,
    /// Whether it is certain to be a PDU of which nothing has gone ahead that a refusal changes: not on an island,
    /// not across the seam to one, and not where the flow has just been found.
    pub certain: bool,
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
    /// A PDU whose name or header has come into sight with this segment. An error ends the walk with that
    /// finding.
    fn see(&mut self, pdu: Sighting) -> Result<(), Finding>;
}

/// Nobody needs to be told.
#[derive(Clone, Copy, Debug)]
pub struct Nobody;

impl Witness for Nobody {
    #[inline(always)]
    fn see(&mut self, _pdu: Sighting) -> Result<(), Finding> {
        Ok(())
    }
}
