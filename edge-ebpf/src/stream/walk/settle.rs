//! What the flow keeps of a segment, once it is let through or dropped.

use super::{Finding, MAIN, Next, Segment, Walk};
use crate::stream::before;
use crate::stream::flow::{Cursor, Flow, FlowState};
use crate::verifier;

impl Walk {
    /// Notes which segment is at hand, for a walk that starts later.
    #[inline(always)]
    pub fn aim(&mut self, segment: Segment) {
        self.seq = segment.seq;
        self.segment_end = segment.seq.wrapping_add(segment.len);
        self.payload = segment.payload;
    }

    /// The segment at hand.
    #[must_use]
    #[inline(always)]
    pub const fn segment(&self) -> Segment {
        Segment { seq: self.seq, payload: self.payload, len: self.segment_end.wrapping_sub(self.seq) }
    }

    /// Whether this segment is the one that shows that its flow is not SMPP: true once for a flow.
    #[must_use]
    #[inline(always)]
    pub fn unframes(&self) -> bool {
        self.finding == Finding::Malformed as u32 && self.next == Next::Walk as u32
    }

    /// The segment is let through: what it taught becomes the flow's.
    #[inline(always)]
    pub fn commit(&self, flow: &mut Flow) {
        let finding = self.finding;
        if finding == Finding::Framed as u32 || finding == Finding::Lost as u32 {
            flow.messages = flow.messages.wrapping_add(self.tally.submits);
        }
        if self.tally.enquires() {
            flow.enquired = self.tally.enquired;
            flow.enquired_ns = flow.touched_ns;
        }
        if finding == Finding::Unsynchronised as u32 {
            if self.target == MAIN {
                flow.search();
            } else {
                flow.passed_before_base();
            }
        } else if finding == Finding::Malformed as u32 {
            flow.state = FlowState::Malformed as u32;
        } else if finding == Finding::Lost as u32 {
            flow.strict = 1;
            flow.search();
        } else if finding == Finding::Framed as u32 {
            flow.islands_used &= !self.joined;
            if self.target == MAIN {
                if self.begun != 0 {
                    flow.found(self.seq);
                }
                self.leave(&mut flow.main);
                flow.hole_drops = 0;
                flow.raise_base();
            } else {
                self.commit_island(flow);
            }
        }
    }

    /// The segment is dropped: nothing of it is learnt but that it came.
    #[inline(always)]
    pub fn refuse(&self, flow: &mut Flow) {
        if self.finding == Finding::BeyondHole as u32 {
            flow.dropped_beyond_hole(self.seq);
        } else if self.target == MAIN {
            flow.hole_drops = 0;
        }
    }

    #[inline(always)]
    fn commit_island(&self, flow: &mut Flow) {
        if flow.has_left_hole(self.end) {
            flow.found(self.seq);
            self.leave(&mut flow.main);
            return;
        }
        let Some(island) = flow.islands.get_mut(self.target as usize) else {
            return;
        };
        if self.begun != 0 {
            island.first = self.seq;
            island.header = self.seq.wrapping_add(self.scan_at);
            island.head = self.head;
        }
        self.leave(&mut island.cursor);
        flow.islands_used |= 1 << (self.target & 31);
    }

    /// Leaves a cursor where the walk stands.
    #[inline(always)]
    fn leave(&self, cursor: &mut Cursor) {
        cursor.start = self.start;
        cursor.end = self.end;
        if before(self.start, self.end) {
            verifier::copy_prefix(&mut cursor.prefix, &self.prefix);
        }
    }
}
