//! One segment on scratch: what of it is new, and where it leaves the cursor.

use core::ops::ControlFlow;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::cursor::{Cursor, Phase, SipFlow, seen};
use super::refusals::{SPOTS, Spot};
use super::spots::Sought;
use super::tally::Tally;
use super::{BODY_BYTES_MAX, HISTORY_BYTES};
use crate::abi::{Verdict, indexed_enum};
use crate::packet::Packet;
use crate::stream::{Segment, before};
use crate::verifier::{SCRATCH_BYTES, opaque, word, zero};

/// Steps that any segment is over within: each takes an octet at least, or loads the next of them; a super-packet in
/// generic mode has 64 KiB.
pub const STEPS: u32 = (1 << 16) + 256;

/// Where the octets of the segment begin in the buffer; what went before them stands in front.
const FRONT: u32 = 32;
/// Octets of the segment that are looked at together. Fewer than the buffer has, so that no offset is masked.
const CHUNK: usize = 1984;

const _: () = assert!(HISTORY_BYTES <= FRONT && FRONT as usize + CHUNK < 2048);

indexed_enum! {
    /// What a segment is to its flow.
    Finding {
        /// Nothing new.
        Repeated = 0, "repeated";
        /// Read; the tally says what it brings.
        Framed = 1, "framed";
        /// Message boundaries are not known in it, or in a part of it; the tally says what it brings up to there.
        Unframed = 2, "unframed";
        /// The frame ends before its headers say.
        Truncated = 3, "truncated";
        /// Beyond a hole of Edge's own making: to be dropped.
        BeyondHole = 4, "beyond_hole";
    }
}

/// Which cursor the segment moves.
pub(super) mod target {
    pub(in crate::stream::sip) const MAIN: u32 = 0;
    /// The main one, which stood before a hole until now.
    pub(super) const BEYOND: u32 = 1;
    /// The one before the hole.
    pub(super) const PARKED: u32 = 2;
    /// None: the segment lies within the hole, and does not begin it.
    pub(super) const WITHIN: u32 = 3;
}

/// Scratch for one segment; one per CPU in the kernel. All state of the loop is in here, so that the verifier, which knows
/// nothing of what memory holds, sees every turn as the same.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Reader {
    pub(super) bytes: [u8; SCRATCH_BYTES],
    /// Where the segment leaves its flow.
    pub(super) cursor: Cursor,
    /// What it brings.
    pub tally: Tally,
    /// Where in the buffer the next octet stands, and where the octets end.
    pub(super) position: u32,
    pub(super) end: u32,
    /// Octets of the payload before the buffer's end, and all that are to be read.
    taken: u32,
    len: u32,
    /// Where the payload begins in the frame.
    payload: u32,
    /// Sequence number of its first octet.
    seq: u32,
    /// Sequence number after the segment's last octet, whatever of it is read.
    segment_end: u32,
    pub(super) target: u32,
    pub(super) finding: u32,
    /// Not 0 if the segment is not read on from a cursor.
    pub(super) guessed: u32,
    /// Not 0 if the segment brings what is missing first in the hole of Edge's own making.
    fills: u32,
    /// Not 0 if that hole is waited for no longer.
    frees: u32,
    /// [`super::Sought`] as integer.
    pub(super) sought: u32,
    /// Who the servers are, each its [`super::bit`].
    pub(super) servers: u32,
    /// Not 0 as long as no start line has shown that this is SIP.
    pub(super) unproven: u32,
    /// Sequence number from which on everything is read for the first time.
    pub(super) fresh: u32,
    /// Places that are valid below.
    pub(super) spotted: u32,
    /// Places that were sought, and were not all in sight.
    pub missed: u32,
    /// Sequence number after the farthest octet that has passed before.
    pub(super) passed: u32,
    pub(super) spots: [Spot; SPOTS],
    /// Of requests, the class of each, as [`crate::abi::Class`].
    pub(super) classes: [u32; SPOTS],
}

impl Reader {
    /// What the segment is, once it was read.
    #[must_use]
    #[inline(always)]
    pub fn finding(&self) -> Finding {
        match self.finding {
            0 => Finding::Repeated,
            1 => Finding::Framed,
            2 => Finding::Unframed,
            4 => Finding::BeyondHole,
            _ => Finding::Truncated,
        }
    }

    /// Finds out what of the segment is new, and whether it is to be read: [`Reader::step`] until it breaks.
    #[inline(always)]
    pub fn start(&mut self, flow: &SipFlow, segment: Segment) -> bool {
        self.tally.clear();
        self.seq = segment.seq;
        self.payload = segment.payload;
        self.len = segment.len;
        self.target = target::MAIN;
        zero(&mut self.taken);
        zero(&mut self.guessed);
        zero(&mut self.unproven);
        zero(&mut self.fills);
        zero(&mut self.frees);
        zero(&mut self.spotted);
        zero(&mut self.missed);
        self.fresh = segment.seq;
        self.passed = flow.passed;
        self.position = FRONT;
        self.end = FRONT;
        self.finding = Finding::Repeated as u32;
        if segment.len == 0 {
            return false;
        }
        let (seq, end) = (segment.seq, segment.seq.wrapping_add(segment.len));
        self.segment_end = end;
        if flow.is_spoilt() {
            self.cursor = flow.main;
            self.finish_spoilt();
            return false;
        }
        self.fills = u32::from(flow.own.is_filled_by(seq, end));
        let is_known = flow.main.phase != Phase::Unknown as u32 && !flow.is_strange(seq);
        if is_known && before(flow.main.next, seq) {
            self.target = target::BEYOND;
            return self.guess_unless_beyond(flow);
        }
        let is_in_run = is_known && !before(seq, flow.base);
        if is_in_run && before(flow.main.next, end) {
            return self.go_on(&flow.main);
        }
        if flow.fills_hole(seq, end) {
            self.target = target::PARKED;
            if before(flow.parked_end, end) {
                self.len = flow.parked_end.wrapping_sub(seq);
            }
            return self.go_on(&flow.parked);
        }
        if is_in_run || flow.is_before_hole(seq, end) {
            return false;
        }
        if is_known && flow.is_within_hole(seq) {
            self.target = target::WITHIN;
            if before(flow.parked_end, end) {
                self.len = flow.parked_end.wrapping_sub(seq);
            }
        }
        self.guess_unless_beyond(flow)
    }

    /// Reads a whole segment with a plain loop: the host's version of what the kernel does with `bpf_loop`. Commits nothing.
    #[cfg(not(target_arch = "bpf"))]
    pub fn run<P: Packet + ?Sized>(&mut self, flow: &SipFlow, packet: &P, segment: Segment) -> Finding {
        if self.start(flow, segment) {
            for _ in 0..STEPS {
                if self.step(packet).is_break() {
                    break;
                }
            }
        }
        self.finding()
    }

    /// Goes on, or loads what is to be read next.
    #[inline(always)]
    pub fn step<P: Packet + ?Sized>(&mut self, packet: &P) -> ControlFlow<()> {
        if self.cursor.phase == Phase::Body as u32 {
            return self.over_body();
        }
        if self.advance() {
            return ControlFlow::Continue(());
        }
        if self.cursor.phase == Phase::Unknown as u32 || self.cursor.phase == Phase::Spoilt as u32 {
            return self.finish();
        }
        self.load(packet)
    }

    /// The flow learns what becomes of the segment. A reset reaches the server in its place, which then knows nothing of
    /// the connection: what comes behind it passes, for the server to say so.
    #[inline(always)]
    pub fn settle(&mut self, flow: &mut SipFlow, verdict: Verdict) {
        match verdict {
            Verdict::Pass => self.commit(flow),
            Verdict::Drop => self.refuse(flow),
            Verdict::Answer | Verdict::Reset => {}
        }
    }

    /// The segment is let through: what it taught becomes the flow's.
    #[inline(always)]
    pub(super) fn commit(&mut self, flow: &mut SipFlow) {
        if self.finding == Finding::Truncated as u32 {
            return;
        }
        if self.is_spoilt() {
            flow.spoil();
        }
        if self.len != 0 {
            flow.pass_to(self.segment_end);
        }
        if self.finding == Finding::Framed as u32 || self.finding == Finding::Unframed as u32 {
            self.leave(flow);
        }
        if self.frees != 0 || self.finding == Finding::BeyondHole as u32 {
            flow.own.close(flow.main.next);
        } else if self.fills != 0 && self.target == target::WITHIN {
            flow.own.filled(self.segment_end);
        } else if self.fills != 0 {
            flow.pass_own(self.target == target::PARKED);
        }
    }

    /// The segment is dropped: nothing of it is learnt but that Edge has made a hole with it, or that it lies beyond one.
    #[inline(always)]
    pub(super) fn refuse(&self, flow: &mut SipFlow) {
        if self.is_spoilt() {
            flow.spoil();
        } else if self.finding == Finding::BeyondHole as u32 {
            flow.own.dropped_beyond(self.seq, self.segment_end);
        } else if self.finding != Finding::Truncated as u32 {
            let first = if self.guessed != 0 { self.seq } else { self.cursor.next };
            flow.own.refused(first, self.segment_end, self.fills != 0 || self.frees != 0);
        }
    }

    /// Whether what the segment brings has spoilt the stream, or it was spoilt before.
    #[inline(always)]
    const fn is_spoilt(&self) -> bool {
        self.finding == Finding::Unframed as u32 && self.cursor.phase == Phase::Spoilt as u32
    }

    /// Leaves the cursor in the flow.
    #[inline(always)]
    fn leave(&mut self, flow: &mut SipFlow) {
        self.cursor.next = self.seq.wrapping_add(self.len);
        if self.target == target::PARKED {
            flow.parked = self.cursor;
            flow.settle(flow.parked.next == flow.parked_end);
            return;
        }
        if self.target == target::WITHIN {
            flow.shrink_hole(self.seq, self.cursor.next);
            return;
        }
        if self.target == target::BEYOND {
            flow.park(self.seq);
        } else if self.guessed != 0 {
            flow.begin_at(self.seq);
        }
        flow.main = self.cursor;
        flow.settle(false);
    }

    /// Where the next octet is in the stream.
    #[inline(always)]
    pub(super) const fn here(&self) -> u32 {
        self.at(self.position)
    }

    /// Where an octet of the buffer is in the stream.
    #[inline(always)]
    pub(super) const fn at(&self, position: u32) -> u32 {
        self.seq.wrapping_add(self.taken).wrapping_sub(self.end.wrapping_sub(position))
    }

    /// Resumes from a cursor, behind what of the segment was read before.
    #[inline(always)]
    fn go_on(&mut self, cursor: &Cursor) -> bool {
        self.cursor = *cursor;
        self.taken = cursor.next.wrapping_sub(self.seq);
        self.fresh = cursor.next;
        if self.cursor.phase == Phase::Body as u32 {
            self.tally.must_pass = 1;
        }
        put_last(&mut self.bytes, FRONT, &cursor.last);
        self.position = FRONT - cursor.kept.min(HISTORY_BYTES);
        self.finding = Finding::Framed as u32;
        true
    }

    /// [`Reader::guess`], but behind what Edge itself has dropped.
    #[inline(always)]
    fn guess_unless_beyond(&mut self, flow: &SipFlow) -> bool {
        if self.fills == 0 && flow.own.is_before(self.seq) {
            if !flow.own.is_stuck_at(self.seq) {
                self.finding = Finding::BeyondHole as u32;
                return false;
            }
            self.frees = 1;
        }
        self.guess()
    }

    /// A message may begin with the segment.
    #[inline(always)]
    fn guess(&mut self) -> bool {
        self.cursor.phase = Phase::Between as u32;
        self.cursor.message = opaque(0) as u32;
        self.cursor.kept = opaque(0) as u32;
        self.guessed = 1;
        self.unproven = 1;
        self.finding = Finding::Framed as u32;
        true
    }

    /// Over: a guess that no start line has confirmed was none.
    #[inline(always)]
    fn finish(&mut self) -> ControlFlow<()> {
        if self.cursor.phase == Phase::Spoilt as u32 {
            self.finish_spoilt();
        } else if self.unproven != 0 || self.cursor.phase == Phase::Unknown as u32 {
            self.cursor.phase = Phase::Unknown as u32;
            self.finding = Finding::Unframed as u32;
        }
        ControlFlow::Break(())
    }

    /// Over: it is metered by its length, all of it, whatever of it was read.
    #[inline(always)]
    fn finish_spoilt(&mut self) {
        self.tally.spoil(self.len);
        self.finding = Finding::Unframed as u32;
    }

    /// Over a body, without reading it.
    #[inline(always)]
    fn over_body(&mut self) -> ControlFlow<()> {
        let here = self.taken.wrapping_sub(self.end.wrapping_sub(self.position));
        let ahead = self.len.wrapping_sub(here);
        let step = if self.cursor.body < ahead { self.cursor.body } else { ahead };
        self.cursor.body -= step;
        let loaded = self.end.wrapping_sub(self.position);
        if step <= loaded {
            self.position += step;
        } else {
            self.taken += step - loaded;
            self.position = FRONT;
            self.end = FRONT;
        }
        if self.cursor.body != 0 {
            self.cursor.kept = 0;
            return ControlFlow::Break(());
        }
        self.cursor.phase = Phase::Between as u32;
        ControlFlow::Continue(())
    }

    /// Loads the next octets of the segment behind those that belong to them. Breaks where there are none: then the cursor
    /// keeps what it needs.
    #[inline(always)]
    fn load<P: Packet + ?Sized>(&mut self, packet: &P) -> ControlFlow<()> {
        let kept = self.end.wrapping_sub(self.position);
        self.cursor.kept = kept;
        self.cursor.last = last(&self.bytes, self.end);
        let left = self.len.wrapping_sub(self.taken);
        if left == 0 {
            return self.finish();
        }
        let len = if left < CHUNK as u32 { left } else { CHUNK as u32 };
        let offset = self.payload as usize + self.taken as usize;
        if packet.copy_to(offset, chunk(&mut self.bytes), len as usize).is_err() {
            self.finding = Finding::Truncated as u32;
            return ControlFlow::Break(());
        }
        put_last(&mut self.bytes, FRONT, &self.cursor.last);
        self.position = FRONT - kept.min(HISTORY_BYTES);
        self.end = FRONT + len;
        self.taken += len;
        ControlFlow::Continue(())
    }

    /// The stream is not SIP, or no SIP that everybody would read alike. Where that is certain, and not a wrong guess, it
    /// stays so; answers are found again, for they cost nothing.
    #[inline(always)]
    pub(super) fn lose(&mut self) -> bool {
        let is_certain = self.cursor.message & seen::CERTAIN != 0 && self.sought != Sought::Answers as u32;
        self.cursor.phase = if is_certain { Phase::Spoilt as u32 } else { Phase::Unknown as u32 };
        false
    }

    /// What a Content-Length says, once it is complete.
    #[inline(always)]
    pub(super) fn has_sane_length(&self) -> bool {
        self.cursor.body <= BODY_BYTES_MAX
    }
}

/// Where octets of the segment are copied to.
#[inline(always)]
fn chunk(bytes: &mut [u8; SCRATCH_BYTES]) -> &mut [u8; CHUNK] {
    const { assert!(FRONT as usize + CHUNK <= SCRATCH_BYTES) };
    let behind = bytes.last_chunk_mut::<{ SCRATCH_BYTES - FRONT as usize }>();
    behind.and_then(|behind| behind.first_chunk_mut()).unwrap_or_else(|| unreachable!("asserted above"))
}

/// The octets before `end`.
#[inline(always)]
fn last(bytes: &[u8; SCRATCH_BYTES], end: u32) -> [u64; 3] {
    [word(bytes, end - 24), word(bytes, end - 16), word(bytes, end - 8)]
}

/// Puts them before `end` again.
#[inline(always)]
fn put_last(bytes: &mut [u8; SCRATCH_BYTES], end: u32, last: &[u64; 3]) {
    for (index, octets) in last.iter().enumerate() {
        let at = end as usize - 24 + 8 * index;
        if let Some(place) = bytes.get_mut(at..at + 8) {
            place.copy_from_slice(&octets.to_le_bytes());
        }
    }
}
