//! The beginning of a receipt that the end of a segment cuts, kept for the next.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{Place, ReceiptReading, Receipts};
use crate::stream::Segment;

/// Octets of the beginning that are kept: a `deliver_sm` without parameters has 374 at most (SMPP 3.4, 4.6.1).
pub const CUT_BYTES: usize = 512;

/// Octets that are read behind those.
const REST_MAX: u32 = ReceiptReading::HELD_MAX - CUT_BYTES as u32;

/// What is kept of it. Map `CUT_RECEIPTS`, by connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct CutReceipt {
    /// Sequence number of the octet behind what is kept.
    pub next: u32,
    /// Octets that are kept.
    pub held: u32,
    /// Its `command_length`.
    pub length: u32,
    /// Its `command_id`.
    pub id: u32,
    /// Its first octets, for the caller to fill in. Where a header was cut before, it is not among them.
    pub octets: [u8; CUT_BYTES],
}

impl CutReceipt {
    /// Notes what the end of a segment cuts. How many octets of it are to be filled in.
    #[inline(always)]
    pub fn keep(&mut self, receipts: &Receipts, segment: Segment) -> u32 {
        let Place { offset, length, id } = receipts.cut;
        self.next = segment.seq.wrapping_add(segment.len);
        self.held = (segment.payload + segment.len).wrapping_sub(offset);
        self.length = length;
        self.id = id;
        self.held
    }

    /// How many octets at `place` are to be read behind those that are kept: none if they are another's, or end before it does.
    #[must_use]
    #[inline(always)]
    pub const fn rest(&self, receipts: &Receipts, place: Place) -> u32 {
        let rest = self.length.wrapping_sub(self.held);
        if self.next != receipts.next || rest > place.length {
            0
        } else if rest < REST_MAX {
            rest
        } else {
            REST_MAX
        }
    }
}
