//! One direction of a TCP connection: what was sent, what has passed the edge, what has arrived.

use std::ops::RangeInclusive;

use crate::native::{Rewrite, overlap};
use crate::stream::Segment;
use crate::stream::tests::peer::Random;

/// What goes wrong, in percent of segments.
#[derive(Clone, Debug)]
pub(super) struct Conditions {
    pub(super) cut: RangeInclusive<usize>,
    pub(super) lost_before: u64,
    pub(super) lost_behind: u64,
    pub(super) reordered: u64,
    pub(super) repeated: u64,
    /// Octets that are sent at once at most.
    pub(super) step: usize,
}

impl Conditions {
    pub(super) fn perfect() -> Self {
        Self { cut: 1..=1, lost_before: 0, lost_behind: 0, reordered: 0, repeated: 0, step: 3000 }
    }
}

/// A direction.
pub(super) struct Half {
    pub(super) isn: u32,
    pub(super) sent: Vec<u8>,
    passed: Vec<Option<u8>>,
    arrived: Vec<Option<u8>>,
}

impl Half {
    pub(super) fn new(isn: u32) -> Self {
        Self { isn, sent: Vec::new(), passed: Vec::new(), arrived: Vec::new() }
    }

    /// Octets that have arrived without a hole.
    pub(super) fn contiguous(&self) -> Vec<u8> {
        self.arrived.iter().map_while(|octet| *octet).collect()
    }

    /// The receiver's acknowledgement.
    pub(super) fn acknowledgement(&self) -> u32 {
        self.isn
            .wrapping_add(1)
            .wrapping_add(self.arrived.iter().take_while(|octet| octet.is_some()).count() as u32)
    }

    /// Sends what has not arrived; `edge` gives the segment as it passes, or nothing.
    pub(super) fn transmit(
        &mut self,
        conditions: &Conditions,
        random: &mut Random,
        mut edge: impl FnMut(Segment, &[u8]) -> Option<Vec<u8>>,
    ) {
        self.passed.resize(self.sent.len(), None);
        self.arrived.resize(self.sent.len(), None);
        let Some(missing) = self.arrived.iter().position(Option::is_none) else { return };
        // A retransmission may begin before what is missing.
        let mut at = missing - if random.percent(20) { random.between(0, 60.min(missing)) } else { 0 };
        let end = (missing + conditions.step).min(self.sent.len());
        let mut segments = Vec::new();
        while at < end {
            let to = (at + random.between(*conditions.cut.start(), *conditions.cut.end())).min(end);
            segments.push((at, to));
            if random.percent(conditions.repeated) {
                segments.push((at, to));
            }
            at = to;
        }
        for index in 0..segments.len() {
            if random.percent(conditions.reordered) {
                let with = (index + random.between(1, 4)).min(segments.len() - 1);
                segments.swap(index, with);
            }
        }
        for (from, to) in segments {
            if random.percent(conditions.lost_before) {
                continue;
            }
            let seq = self.isn.wrapping_add(1).wrapping_add(from as u32);
            let segment = Segment { seq, payload: 0, len: (to - from) as u32 };
            let Some(octets) = edge(segment, &self.sent[from..to]) else { continue };
            let is_lost = random.percent(conditions.lost_behind);
            for (at, octet) in (from..to).zip(octets) {
                let before = self.passed[at].replace(octet);
                // What has arrived counts, and no later copy of it.
                let is_same = before.is_none_or(|before| before == octet) || self.arrived[at].is_some();
                assert!(is_same, "octet {at} passed as {before:?} and {octet}");
                if !is_lost {
                    self.arrived[at].get_or_insert(octet);
                }
            }
        }
    }
}

/// A segment that is changed in place.
pub(super) struct Frame {
    pub(super) segment: Segment,
    pub(super) octets: Vec<u8>,
}

impl Rewrite for Frame {
    fn write(&mut self, seq: u32, octets: [u8; 4]) {
        if let Some(overlap) = overlap(self.segment, seq) {
            let (skipped, len) = (overlap.skipped as usize, overlap.len as usize);
            self.octets[overlap.offset..overlap.offset + len]
                .copy_from_slice(&octets[skipped..skipped + len]);
        }
    }
}
