//! A network between a TCP sender and a receiver, with the edge in the middle.

use std::ops::RangeInclusive;

use zerocopy::FromZeros;

use super::peer::{Random, Stream};
use super::{Counts, DIGITS};
use crate::stream::{Finding, Flow, FlowState, Nobody, Segment, Walk};

/// What goes wrong, in percent of segments.
#[derive(Clone)]
pub(super) struct Conditions {
    pub(super) cut: RangeInclusive<usize>,
    pub(super) lost_before: u64,
    pub(super) lost_behind: u64,
    pub(super) reordered: u64,
    pub(super) repeated: u64,
    /// Of the segments that bring messages.
    pub(super) refused: u64,
    /// No islands.
    pub(super) strict: bool,
    /// Where in the stream the edge sees the flow first; 0 with its SYN.
    pub(super) joined_at: usize,
}

impl Conditions {
    pub(super) fn perfect(cut: RangeInclusive<usize>) -> Self {
        Self {
            cut,
            lost_before: 0,
            lost_behind: 0,
            reordered: 0,
            repeated: 0,
            refused: 0,
            strict: false,
            joined_at: 0,
        }
    }
}

/// What the edge counted, and what happened on the way.
#[derive(Default)]
pub(super) struct Report {
    pub(super) counts: Counts,
    /// Segments let through beyond a hole.
    pub(super) islands: u64,
    pub(super) repeated: u64,
    pub(super) refused: u64,
    /// Where the first header was that a segment showed whole.
    pub(super) first_header: usize,
}

pub(super) struct Wire<'s> {
    stream: &'s Stream,
    conditions: Conditions,
    flow: Flow,
    walk: Walk,
    isn: u32,
    arrived: Vec<bool>,
    report: Report,
}

impl<'s> Wire<'s> {
    pub(super) fn new(stream: &'s Stream, conditions: Conditions) -> Self {
        Self {
            stream,
            conditions,
            flow: Flow::new_zeroed(),
            walk: Walk::new_zeroed(),
            isn: 0,
            arrived: vec![false; stream.bytes.len()],
            report: Report::default(),
        }
    }

    /// Sends until everything has arrived.
    pub(super) fn carry(mut self, random: &mut Random) -> Report {
        // Half of the streams go over the end of the sequence numbers.
        let back = random.below(self.stream.bytes.len() as u64) as u32;
        self.isn = if random.percent(50) { 0_u32.wrapping_sub(back) } else { random.next() as u32 };
        let joined_at = self.conditions.joined_at;
        if joined_at == 0 {
            self.flow.syn(self.isn);
            self.flow.strict = u32::from(self.conditions.strict);
        } else {
            self.flow.begin_midstream();
            self.arrived[..joined_at].fill(true);
        }

        self.transmit(joined_at, self.stream.bytes.len(), random);
        for _ in 0..100_000 {
            let Some(missing) = self.arrived.iter().position(|&arrived| !arrived) else {
                assert_eq!(self.flow.state, FlowState::Synchronised as u32);
                return self.report;
            };
            // The retransmission timer: from the first hole, cut anew, sometimes from before it.
            let start = missing - random.between(0, 40.min(missing - joined_at));
            let end = (missing + random.between(1, 4000)).min(self.stream.bytes.len());
            self.transmit(start, end, random);
        }
        panic!("the stream stands still at {:?}", self.arrived.iter().position(|&arrived| !arrived));
    }

    fn transmit(&mut self, start: usize, end: usize, random: &mut Random) {
        let mut sent = Vec::new();
        let mut at = start;
        while at < end {
            let cut = self.conditions.cut.clone();
            let next = (at + random.between(*cut.start(), *cut.end())).min(end);
            sent.push((at, next));
            if random.percent(self.conditions.repeated) {
                sent.push((at, next));
            }
            at = next;
        }
        // In recovery the head of the hole goes first, and what follows waits for its acknowledgement.
        let in_recovery = self.arrived[start..].iter().any(|&arrived| arrived);
        for index in usize::from(in_recovery)..sent.len() {
            if random.percent(self.conditions.reordered) {
                let with = (index + random.between(1, 4)).min(sent.len() - 1);
                sent.swap(index, with);
            }
        }
        for (index, (from, to)) in sent.into_iter().enumerate() {
            let passed = !random.percent(self.conditions.lost_before) && self.meet_edge(from, to, random);
            if passed && !random.percent(self.conditions.lost_behind) {
                self.arrived[from..to].fill(true);
            }
            if !passed && in_recovery && index == 0 {
                return;
            }
        }
    }

    /// Whether the segment is let through.
    fn meet_edge(&mut self, from: usize, to: usize, random: &mut Random) -> bool {
        let seq = self.isn.wrapping_add(1).wrapping_add(from as u32);
        let segment = Segment { seq, payload: 0, len: (to - from) as u32 };
        let was_searching = self.flow.state == FlowState::Searching as u32;
        let main_end = self.flow.main.end;
        match self.walk.run(&self.flow, &self.stream.bytes[from..to], segment, DIGITS, &mut Nobody) {
            Finding::Repeated => {
                self.report.repeated += 1;
                return true;
            }
            Finding::BeyondHole => {
                self.walk.refuse(&mut self.flow);
                return false;
            }
            Finding::Framed | Finding::Unsynchronised => {}
            finding => panic!("{finding} at {from}..{to}"),
        }
        let brings_messages = self.walk.tally.submits + self.walk.tally.binds != 0;
        if brings_messages && random.percent(self.conditions.refused) {
            self.report.refused += 1;
            self.walk.refuse(&mut self.flow);
            return false;
        }
        self.walk.commit(&mut self.flow);
        self.report.counts.add(&self.walk.tally);
        if was_searching {
            let headers = self.stream.headers();
            let first = headers.into_iter().find(|&header| header >= from && header + 16 <= to);
            let is_found = self.flow.state == FlowState::Synchronised as u32;
            assert_eq!(first.is_some(), is_found, "a header in sight is found");
            self.report.first_header = first.unwrap_or(to);
        } else if self.flow.main.end == main_end {
            self.report.islands += 1;
        }
        true
    }
}
