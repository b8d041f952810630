//! One segment on scratch: what of it is new, which PDUs begin in it, and where it leaves the cursor.

mod current;
#[cfg(not(target_arch = "bpf"))]
mod host;
mod message;
mod scan;
mod settle;
mod witness;

use core::ops::ControlFlow;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

pub use self::witness::{Nobody, Sighting, Witness};
use super::flow::{Cursor, Flow, FlowState, ISLANDS, PREFIX_BYTES};
use super::{Tally, before};
use crate::abi::indexed_enum;
use crate::packet::Packet;
use crate::verifier;
use crate::wire::smpp::{self, Destinations, HEADER_BYTES, Header, Kind, PREFIX_ROOM};

/// Steps that any segment ends within: 64 KiB of the smallest PDUs (a super-packet in generic mode), the
/// seams, and the ends.
pub const STEPS: u32 = 4200;

/// Steps of a scan. It advances up to eight octets a step; where a segment of zeros holds a header beyond,
/// the header is not seen.
pub const SCAN_STEPS: u32 = 2048;

/// [`Walk::target`]: the flow's main cursor. A smaller number is an island's.
const MAIN: u32 = ISLANDS as u32;
/// [`Walk::target`]: none. The segment lies before what was seen of the flow.
const ASTRAY: u32 = MAIN + 1;
/// [`Walk::seam`]: no island begins where the walk ends.
const NO_SEAM: u32 = u32::MAX;
/// Farther than any island can be ahead.
const FAR: u32 = 1 << 30;

const PREFIX: u32 = PREFIX_BYTES as u32;
const HEADER: u32 = HEADER_BYTES as u32;
/// Octets of a header that say what a PDU is: `command_length` and `command_id`. A PDU is counted and judged with
/// the segment that completes them: with the next octet it would be too late to change the command.
pub(crate) const NAMED: u32 = 8;
/// Octets of a PDU that a refusal changes ([`crate::native`]).
const CHANGED: u32 = HEADER + 4;

indexed_enum! {
    /// What a segment is to its flow.
    Finding {
        /// Nothing new: a retransmission, or no payload. Free.
        Repeated = 0, "repeated";
        /// Framed; the tally says what it brings.
        Framed = 1, "framed";
        /// Framed up to an island that turns out to have been a wrong guess; the tally says what it brings,
        /// and the flow is not synchronised behind it.
        Lost = 2, "lost";
        /// No PDU boundary is known, or the segment lies before all that is known. Costs what it may hold.
        Unsynchronised = 3, "unsynchronised";
        /// Not SMPP from here on, to the flow's end: many a server reads on all the same. Costs beside the PDUs before what
        /// the rest may hold, by its length.
        Malformed = 4, "malformed";
        /// Beyond a hole, and neither does it extend an island nor is a header in sight: to be dropped.
        BeyondHole = 5, "beyond_hole";
        /// The frame ends before its headers say: free, and nothing is learnt from it.
        Truncated = 6, "truncated";
        /// It holds a message that is over its limit and cannot be refused in SMPP's words: to be dropped.
        Withheld = 7, "withheld";
    }
}

/// The payload of one TCP segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Sequence number of the first payload byte (of a SYN with data: one more than its own).
    pub seq: u32,
    /// Where the payload begins in the frame.
    pub payload: u32,
    /// Payload bytes, at most 64 KiB.
    pub len: u32,
}

/// What to do after [`Walk::start`] or [`Walk::scanned`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Next {
    /// The finding stands.
    Done = 0,
    /// [`Walk::scan_step`] until it breaks or [`SCAN_STEPS`] are over, then [`Walk::scanned`].
    Scan = 1,
    /// [`Walk::step`] until it breaks.
    Walk = 2,
}

/// Scratch for one segment; one per CPU in the kernel. All state of the loops is in here, so that the
/// verifier, which knows nothing of what memory holds, sees every turn of a loop as the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Walk {
    /// What the segment brings.
    pub tally: Tally,
    /// [`Finding`] as integer.
    finding: u32,
    /// [`Next`] as integer.
    next: u32,
    /// Sequence number of the segment's first byte.
    seq: u32,
    /// Sequence number after its last byte.
    segment_end: u32,
    /// Where its payload begins in the frame.
    payload: u32,
    /// Digits of called numbers that make a prefix.
    digits: u32,
    /// The cursor that is moved: [`MAIN`] or an island's index.
    target: u32,
    /// Not 0 if the target is begun by this segment, at a header that was found in it.
    begun: u32,
    /// See [`Cursor::start`].
    start: u32,
    /// See [`Cursor::end`].
    end: u32,
    /// How far the walk may go: the segment's end, or the first byte of the next island.
    limit: u32,
    /// The island that begins at `limit`, or [`NO_SEAM`].
    seam: u32,
    /// Bit `n`: the walk went over into `islands[n]`.
    joined: u32,
    /// Scan: offset into the payload.
    scan_at: u32,
    /// Scan: not 0 if there is a header at `scan_at`.
    scan_found: u32,
    /// Scan: messages that may be named before that.
    names: u32,
    /// Sequence number of the nearest island's first byte; far ahead where there is none.
    nearest: u32,
    /// Index of the current PDU's [`crate::abi::Command`].
    command: u32,
    /// Destinations of the current PDU, if it is a `submit_multi`, as far as they are read.
    called: Destinations,
    /// Octets of the current PDU that are in sight, as far as it is read.
    seen: u32,
    /// The first bytes of an island that is begun.
    head: [u8; PREFIX_BYTES],
    /// What is appended to `prefix`.
    more: [u8; PREFIX_BYTES],
    /// The first bytes of the current PDU.
    prefix: [u8; PREFIX_ROOM],
}

impl Walk {
    /// What the segment is, once the walk is over.
    #[must_use]
    #[inline(always)]
    pub fn finding(&self) -> Finding {
        match self.finding {
            0 => Finding::Repeated,
            1 => Finding::Framed,
            2 => Finding::Lost,
            3 => Finding::Unsynchronised,
            4 => Finding::Malformed,
            5 => Finding::BeyondHole,
            7 => Finding::Withheld,
            _ => Finding::Truncated,
        }
    }

    /// Says what a segment is that is not walked.
    #[inline(always)]
    pub fn find(&mut self, finding: Finding) {
        self.tally.clear();
        self.finding = finding as u32;
        self.next = Next::Done as u32;
    }

    /// What is to be done after [`Walk::start`] or [`Walk::scanned`].
    #[must_use]
    #[inline(always)]
    pub fn next(&self) -> Next {
        match verifier::opaque(u64::from(self.next)) {
            1 => Next::Scan,
            2 => Next::Walk,
            _ => Next::Done,
        }
    }

    /// Finds out what of the segment is new. `digits`: see [`crate::abi::Settings::prefix_digits`].
    #[inline(always)]
    pub fn start(&mut self, flow: &Flow, segment: Segment, digits: u32) {
        let next = self.begin(flow, segment, digits);
        self.next = next as u32;
    }

    #[inline(always)]
    fn begin(&mut self, flow: &Flow, segment: Segment, digits: u32) -> Next {
        self.tally.clear();
        self.seq = segment.seq;
        self.segment_end = segment.seq.wrapping_add(segment.len);
        self.payload = segment.payload;
        self.digits = digits;
        self.begun = 0;
        self.joined = 0;
        self.seam = NO_SEAM;
        self.target = MAIN;
        self.limit = self.segment_end;
        if segment.len == 0 {
            return self.done(Finding::Repeated);
        }
        if flow.state == FlowState::Searching as u32 {
            return self.scan();
        }
        if flow.state != FlowState::Synchronised as u32 {
            self.tally.unread = smpp::messages_in(segment.len);
            return self.done(Finding::Malformed);
        }
        if !before(flow.main.end, self.segment_end) {
            if before(self.seq, flow.base) {
                // Older than anything that can come again, as far as is known.
                self.target = ASTRAY;
                return self.scan();
            }
            return self.done(Finding::Repeated);
        }
        if before(flow.main.end, self.seq) {
            return self.start_beyond_hole(flow);
        }
        self.resume(&flow.main);
        self.bound(flow);
        self.go()
    }

    /// Reads one PDU, or as much of it as the segment has, and tells `witness`.
    #[inline(always)]
    pub fn step<P: Packet + ?Sized, W: Witness>(
        &mut self,
        flow: &Flow,
        packet: &P,
        witness: &mut W,
    ) -> ControlFlow<()> {
        self.skip();
        let held = self.held();
        let available = self.limit.wrapping_sub(self.end);
        let at_seam = available == 0;
        let (header, total);
        if at_seam {
            let Some(island) = flow.islands.get(self.seam as usize) else {
                return ControlFlow::Break(());
            };
            if held == 0 {
                return self.join(flow);
            }
            // The PDU across the seam: its beginning is held here, the rest is the island's head.
            let rest = island.header.wrapping_sub(island.first).min(PREFIX);
            verifier::append(&mut self.prefix, held, &island.head);
            total = held + rest;
            header = self.held_header();
            self.note_name(header);
            if total < HEADER || self.start.wrapping_add(header.length) != island.header {
                return self.mismatch();
            }
        } else if held == 0 && available >= HEADER {
            let Ok((first, second)) = self.header_words(packet, self.end.wrapping_sub(self.seq)) else {
                return self.stop(Finding::Truncated);
            };
            header = Header::from_words(first, second);
            let kind = self.note_name(header);
            if kind.is_submit() || kind.is_bind() {
                total = available.min(PREFIX);
                if packet.copy_to(self.offset(), verifier::front(&mut self.prefix), total as usize).is_err() {
                    return self.stop(Finding::Truncated);
                }
            } else {
                total = HEADER;
            }
        } else {
            let taken = available.min(PREFIX - held);
            if packet.copy_to(self.offset(), &mut self.more, taken as usize).is_err() {
                return self.stop(Finding::Truncated);
            }
            verifier::append(&mut self.prefix, held, &self.more);
            total = held + taken;
            if total < NAMED {
                self.end = self.limit;
                return ControlFlow::Continue(());
            }
            header = self.held_header();
            self.note_name(header);
        }
        // Whichever way they came: what follows is proven once.
        let total = verifier::forgotten(&mut self.seen, total);
        let kind = Kind::from_index(self.command);

        if held < NAMED {
            if !header.has_sane_length() {
                return self.malformed(witness);
            }
            self.tally.count(self.command);
        }
        if held < HEADER {
            let goes_ahead = self.nearest.wrapping_sub(self.start) < CHANGED;
            let is_sure = self.target == MAIN && self.begun == 0;
            let (certain, is_ahead) = (is_sure && !goes_ahead, is_sure && goes_ahead);
            let sighting = Sighting { start: self.start, header, kind, held, seen: total, certain, is_ahead };
            if let Err(finding) = witness.see(sighting, &self.prefix) {
                return self.stop(finding);
            }
        }
        if total < HEADER {
            self.end = self.limit;
            return ControlFlow::Continue(());
        }
        self.tally.note_enquiry(kind, header);
        if kind.is_submit() && !self.read_message(header, total, witness) {
            self.end = self.limit;
            return ControlFlow::Continue(());
        }
        if kind.is_bind() {
            if total < header.length.min(smpp::BIND_BYTES) {
                self.end = self.limit;
                return ControlFlow::Continue(());
            }
            self.tally.note_bind(header, smpp::system_id(&self.prefix));
        }
        self.start = self.start.wrapping_add(header.length);
        if at_seam {
            return self.join(flow);
        }
        self.skip();
        if self.end == self.limit && self.seam == NO_SEAM {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }

    /// A segment after a hole: the island that it touches, or a new one.
    #[inline(always)]
    fn start_beyond_hole(&mut self, flow: &Flow) -> Next {
        let mut free = MAIN;
        for index in 0..ISLANDS {
            let island = &flow.islands[index];
            if flow.islands_used & (1 << index) == 0 {
                free = index as u32;
            } else if !before(self.seq, island.first) && !before(island.cursor.end, self.seq) {
                self.target = index as u32;
                self.resume(&island.cursor);
            }
        }
        if self.target != MAIN {
            if !before(self.end, self.segment_end) {
                return self.done(Finding::Repeated);
            }
            self.bound(flow);
            return self.go();
        }
        if flow.is_stuck_at(self.seq) {
            return self.scan();
        }
        if free == MAIN || flow.strict != 0 {
            return self.done(Finding::BeyondHole);
        }
        self.target = free;
        self.end = self.seq;
        self.bound(flow);
        self.scan()
    }

    /// Goes on from where a cursor stands.
    #[inline(always)]
    fn resume(&mut self, cursor: &Cursor) {
        self.start = cursor.start;
        self.end = cursor.end;
        if before(cursor.start, cursor.end) {
            verifier::append(&mut self.prefix, 0, &cursor.prefix);
        }
    }

    /// Sets how far the walk may go: to the segment's end or to the nearest island, whichever comes first.
    #[inline(always)]
    fn bound(&mut self, flow: &Flow) {
        let mut limit = if before(self.end, self.segment_end) { self.segment_end } else { self.end };
        let mut seam = NO_SEAM;
        let mut nearest = self.end.wrapping_add(FAR);
        let passed = self.joined | 1 << (self.target & 31);
        let ahead = flow.islands_used & !passed;
        if ahead != 0 {
            for index in 0..ISLANDS {
                let first = flow.islands[index].first;
                if ahead & (1 << index) == 0 || before(first, self.end) {
                    continue;
                }
                if before(first, nearest) {
                    nearest = first;
                }
                if !before(limit, first) {
                    limit = first;
                    seam = index as u32;
                }
            }
        }
        self.limit = limit;
        self.seam = seam;
        self.nearest = nearest;
    }

    /// The walk has arrived at an island: it must meet the island's first header, and goes on at its end.
    #[inline(always)]
    fn join(&mut self, flow: &Flow) -> ControlFlow<()> {
        let Some(island) = flow.islands.get(self.seam as usize) else {
            return ControlFlow::Break(());
        };
        if self.start != island.header {
            return self.mismatch();
        }
        self.joined |= 1 << (self.seam & 31);
        self.resume(&island.cursor);
        self.bound(flow);
        ControlFlow::Continue(())
    }

    #[inline(always)]
    fn go(&mut self) -> Next {
        self.finding = Finding::Framed as u32;
        Next::Walk
    }

    #[inline(always)]
    fn done(&mut self, finding: Finding) -> Next {
        self.finding = finding as u32;
        Next::Done
    }

    #[inline(always)]
    fn stop(&mut self, finding: Finding) -> ControlFlow<()> {
        self.finding = finding as u32;
        ControlFlow::Break(())
    }

    /// A length that cannot be one. Only where boundaries are certain does that speak against the stream;
    /// otherwise it speaks against the guess.
    #[inline(always)]
    fn malformed<W: Witness>(&mut self, witness: &mut W) -> ControlFlow<()> {
        if self.target != MAIN {
            return self.stop(Finding::BeyondHole);
        }
        if self.begun != 0 {
            self.tally.clear();
            self.tally.unread = smpp::messages_in(self.segment_end.wrapping_sub(self.seq));
            return self.stop(Finding::Unsynchronised);
        }
        let rest = smpp::messages_in(self.segment_end.wrapping_sub(self.start));
        self.tally.unread = rest;
        if self.tally.submits | self.tally.binds != 0 {
            witness.lose(rest);
        }
        self.stop(Finding::Malformed)
    }

    /// The walk does not meet the header from which an island was counted.
    #[inline(always)]
    fn mismatch(&mut self) -> ControlFlow<()> {
        self.stop(if self.target == MAIN { Finding::Lost } else { Finding::BeyondHole })
    }
}
