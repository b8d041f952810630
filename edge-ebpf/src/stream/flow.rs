//! What is remembered of one direction of a connection.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::before;
use crate::abi::{indexed_enum, pod};
use crate::wire::smpp::HEADER_BYTES;

/// First bytes of a PDU that a cursor can hold: enough for the header and both addresses of a `submit_sm`
/// (16 + 6 + 2 + 21 + 2 + 21, SMPP 3.4, 4.4.1).
pub const PREFIX_BYTES: usize = 96;

/// Islands of one flow. Three held through 2 % loss with 5 % reordering; without one, the segment is dropped.
pub const ISLANDS: usize = 3;

/// The largest window that TCP can offer (RFC 7323 2.3): no hole stays open over more than that.
const WINDOW_MAX: u32 = 1 << 30;

/// A segment beyond a hole that was dropped this many times will not be helped by TCP: the hole is ours.
/// (The program was detached for a while, or the missing bytes took another way.)
/// Drops are counted only while nothing comes for the hole itself.
pub(super) const HOLE_DROPS_MAX: u32 = 4;

indexed_enum! {
    /// Whether PDU boundaries are known.
    FlowState {
        /// Not yet, or no longer: the next header in sight is taken.
        Searching = 0, "searching";
        /// Known.
        Synchronised = 1, "synchronised";
        /// Not SMPP.
        Malformed = 2, "malformed";
    }
}

/// A place in the stream, and the first bytes of the PDU that begins there.
///
/// `start` after `end` (or on it): up to `start` nothing needs to be read. `start` before `end`: the bytes in
/// between are in `prefix`, and more are needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Cursor {
    /// Sequence number of the first byte of the current PDU, or of the next.
    pub start: u32,
    /// Sequence number after the last byte seen.
    pub end: u32,
    /// The current PDU's first bytes.
    pub prefix: [u8; PREFIX_BYTES],
}

impl Cursor {
    /// The header of the current PDU; zeros or older octets where it is not held.
    #[inline(always)]
    pub(crate) fn header(&self) -> &[u8; HEADER_BYTES] {
        const { assert!(HEADER_BYTES <= PREFIX_BYTES) };
        self.prefix.first_chunk().unwrap_or_else(|| unreachable!("asserted above"))
    }
}

/// Data beyond a hole, passed and counted from its first header on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Island {
    /// Sequence number of its first byte.
    pub first: u32,
    /// Sequence number of its first header.
    pub header: u32,
    /// Its first bytes: the rest of a PDU whose beginning is in the hole.
    pub head: [u8; PREFIX_BYTES],
    /// Where it ends.
    pub cursor: Cursor,
}

/// One direction of a connection. Map `FLOWS`, written by the kernel under its own lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Flow {
    /// Not 0 while a CPU works on the flow.
    pub lock: u64,
    /// When its last segment came.
    pub touched_ns: u64,
    /// When the `enquire_link` under [`Self::enquired`] came; 0 is that none waits.
    pub enquired_ns: u64,
    /// [`FlowState`] as integer; any other value counts as malformed.
    pub state: u32,
    /// Initial sequence number; 0 if the SYN was not seen.
    pub isn: u32,
    /// From here to the main cursor's end everything was seen: what comes again in between is a retransmission.
    pub base: u32,
    /// Sequence number of the segment that was last dropped beyond a hole, and how many times in a row; [`Self::base`] where
    /// it passed before that.
    pub hole: u32,
    /// See `hole`.
    pub hole_drops: u32,
    /// Bit `n`: `islands[n]` is in use.
    pub islands_used: u32,
    /// Not 0 if the flow gets no more islands: one turned out to be a wrong guess, or what is behind a hole must not go ahead
    /// of the answers to refused messages.
    pub strict: u32,
    /// Of the client's direction: the account of its bind's `system_id`, under which it is metered; 0 is none, and its
    /// source's account holds. Of the server's: the account that its responses are counted for.
    pub account: u32,
    /// [`crate::abi::Settings::generation`] under which that was looked up.
    pub generation: u32,
    /// Not 0 if the connection may have an entry in the map `BINDS`.
    pub bound: u32,
    /// Not 0 if the connection may have an entry in the map `REFUSALS`.
    pub refusing: u32,
    /// Of the client's direction: messages that have passed, those that were refused in SMPP's words included.
    pub messages: u32,
    /// Of the server's direction: responses to messages that have passed. The difference is outstanding.
    pub responses: u32,
    /// `sequence_number` of the last `enquire_link` of this side, if one waits for its answer.
    pub enquired: u32,
    /// Of the message at the end of the last segment, more of which may come. Of the server's direction: not 0 if it may be a
    /// receipt, and its beginning is kept. Of the client's, where messages are judged one by one: not 0 if it was over its limit
    /// and only observed.
    pub cut: u32,
    /// Not 0 if refusals could not be told on the connection: no message is refused for its sender then, for what is dropped
    /// instead would come again for ever.
    pub lenient: u32,
    /// Data without a hole.
    pub main: Cursor,
    /// Data beyond holes.
    pub islands: [Island; ISLANDS],
}

impl Flow {
    /// A flow whose SYN was not seen.
    #[inline(always)]
    pub fn begin_midstream(&mut self) {
        self.begin(0, FlowState::Searching);
    }

    /// A SYN: begins the flow, unless it is the same SYN again. Whether it began.
    #[inline(always)]
    pub fn syn(&mut self, isn: u32) -> bool {
        let again = self.state == FlowState::Synchronised as u32 && self.isn == isn;
        if !again {
            self.begin(isn, FlowState::Synchronised);
        }
        !again
    }

    /// Whether a reset at `seq` ends the connection: a receiver believes only the one whose sequence number is
    /// exactly the next it expects (RFC 9293 3.10.7.4). Where another one is not ours to know, the entry stays
    /// until a SYN begins it anew.
    #[must_use]
    #[inline(always)]
    pub fn ends_at(&self, seq: u32) -> bool {
        self.state == FlowState::Synchronised as u32 && self.main.end == seq
    }

    /// Whether PDU boundaries are known.
    #[must_use]
    #[inline(always)]
    pub const fn is_synchronised(&self) -> bool {
        self.state == FlowState::Synchronised as u32
    }

    /// The segment at `seq` is dropped because it lies beyond a hole.
    #[inline(always)]
    pub(super) fn dropped_beyond_hole(&mut self, seq: u32) {
        self.hole_drops = if self.hole == seq { self.hole_drops.saturating_add(1) } else { 1 };
        self.hole = seq;
    }

    /// Whether the segment at `seq` was dropped so often that the hole before it must be our own.
    #[inline(always)]
    pub(super) fn is_stuck_at(&self, seq: u32) -> bool {
        self.hole_drops >= HOLE_DROPS_MAX && self.hole == seq
    }

    /// A segment before [`Self::base`] passes, and teaches nothing: where such ones come alone, the flow has been led astray by
    /// a SYN that the receiver did not believe, or a new one has begun whose SYN was not seen.
    #[inline(always)]
    pub(super) fn passed_before_base(&mut self) {
        self.dropped_beyond_hole(self.base);
        if self.is_stuck_at(self.base) {
            self.search();
        }
    }

    /// The flow is lost: the next header in sight will be taken.
    #[inline(always)]
    pub(super) fn search(&mut self) {
        self.state = FlowState::Searching as u32;
        self.islands_used = 0;
        self.hole_drops = 0;
    }

    /// A header was found in the segment at `seq`.
    #[inline(always)]
    pub(super) fn found(&mut self, seq: u32) {
        self.state = FlowState::Synchronised as u32;
        self.islands_used = 0;
        self.hole_drops = 0;
        self.base = seq;
    }

    /// The main cursor has moved: `base` must not fall behind so far that it seems to lie ahead.
    #[inline(always)]
    pub(super) fn raise_base(&mut self) {
        let oldest = self.main.end.wrapping_sub(WINDOW_MAX);
        if before(self.base, oldest) {
            self.base = oldest;
        }
    }

    /// Whether `end` is so far ahead that the hole before it cannot be open any more.
    #[inline(always)]
    pub(super) fn has_left_hole(&self, end: u32) -> bool {
        end.wrapping_sub(self.main.end).cast_signed() > WINDOW_MAX.cast_signed()
    }

    #[inline(always)]
    fn begin(&mut self, isn: u32, state: FlowState) {
        let first = isn.wrapping_add(1);
        self.state = state as u32;
        self.isn = isn;
        self.base = isn;
        self.hole = 0;
        self.hole_drops = 0;
        self.islands_used = 0;
        self.strict = 0;
        self.account = 0;
        self.generation = 0;
        self.bound = 0;
        self.refusing = 0;
        self.messages = 0;
        self.responses = 0;
        self.lenient = 0;
        self.cut = 0;
        self.enquired = 0;
        self.enquired_ns = 0;
        self.main.start = first;
        self.main.end = first;
    }
}

pod!(Cursor, Island, Flow);
