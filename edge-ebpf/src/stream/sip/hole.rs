//! The hole that Edge itself makes: a segment that was refused, and what is dropped behind it.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::cursor::WINDOW_MAX;
use crate::abi::pod;
use crate::stream::before;
use crate::stream::flow::HOLE_DROPS_MAX;

/// What of the stream was dropped by Edge and has not come again.
///
/// What is in flight behind a refused segment begins anywhere in a message. Let through, it would wait at the server
/// for the hole to be filled, and be delivered without having been read. So it is dropped too, and TCP sends all of
/// it again in order. That goes on until all that was dropped has passed, not only the refused segment: a sender that
/// suspects a spurious timeout sends new data after the first answer (F-RTO, RFC 5682 2.1), and only then what is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct OwnHole {
    /// Sequence number of the first octet that is missing.
    pub first: u32,
    /// Sequence number after the last octet that was dropped; there is no hole if that is not after `first`.
    pub end: u32,
    /// Sequence number of the segment that was last dropped because it lies beyond, and how many times in a row. Drops
    /// are counted only while nothing comes for the hole itself.
    pub beyond: u32,
    /// See `beyond`.
    pub drops: u32,
}

impl OwnHole {
    #[inline(always)]
    const fn is_open(&self) -> bool {
        before(self.first, self.end)
    }

    /// Whether the octets from `seq` to `end` bring what is missing first.
    #[inline(always)]
    pub(super) const fn is_filled_by(&self, seq: u32, end: u32) -> bool {
        self.is_open() && !before(self.first, seq) && before(self.first, end)
    }

    /// Whether a segment at `seq` is to wait for what is missing before it.
    #[inline(always)]
    pub(super) const fn is_before(&self, seq: u32) -> bool {
        let distance = seq.wrapping_sub(self.first);
        self.is_open() && distance != 0 && distance <= WINDOW_MAX
    }

    /// Whether the segment at `seq` was dropped so often that the hole will not be filled: what is missing took another
    /// way, or came while the program was detached.
    #[inline(always)]
    pub(super) const fn is_stuck_at(&self, seq: u32) -> bool {
        self.drops >= HOLE_DROPS_MAX && self.beyond == seq && self.is_before(seq)
    }

    /// A segment is refused whose octets from `first` to `end` are new.
    #[inline(always)]
    pub(super) fn refused(&mut self, first: u32, end: u32, is_filled: bool) {
        let is_open = self.is_open();
        if is_filled || !is_open || before(first, self.first) {
            self.first = first;
            self.drops = 0;
        }
        if !is_open || before(self.end, end) {
            self.end = end;
        }
    }

    /// The segment from `seq` to `end` is dropped because it lies beyond.
    #[inline(always)]
    pub(super) fn dropped_beyond(&mut self, seq: u32, end: u32) {
        self.drops = if self.beyond == seq { self.drops.saturating_add(1) } else { 1 };
        self.beyond = seq;
        if before(self.end, end) {
            self.end = end;
        }
    }

    /// What was missing first has passed; what comes next is `next`.
    #[inline(always)]
    pub(super) fn filled(&mut self, next: u32) {
        self.first = next;
        self.drops = 0;
    }

    /// There is no hole at `next`, or none that is waited for any more.
    #[inline(always)]
    pub(super) fn close(&mut self, next: u32) {
        self.filled(next);
        self.end = next;
    }
}

pod!(OwnHole);
