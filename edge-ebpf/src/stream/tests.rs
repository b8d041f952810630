//! The machine against a plain reference: the whole stream, split by its lengths.
//!
//! [`Wire`] is a lossy network with a TCP sender on one end: segments are lost before and behind the edge,
//! reordered, repeated, cut anew and refused, until every byte has arrived.
#![expect(
    clippy::cast_possible_truncation,
    reason = "lengths and sequence numbers of test streams are small"
)]

mod hostile;
pub(crate) mod peer;
mod wire;

use std::collections::BTreeMap;

use zerocopy::FromZeros;

use self::peer::{Random, Stream};
use self::wire::{Conditions, Wire};
use super::{Flow, Nobody, Segment, Tally, Walk};
use crate::abi::Command;

/// Digits of called numbers that make a prefix, in every test.
const DIGITS: u32 = 4;

/// PDUs by command, messages, further destinations of them, binds, and messages by called prefix.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Counts {
    commands: BTreeMap<&'static str, u64>,
    submits: u64,
    destinations: u64,
    binds: u64,
    called: BTreeMap<u32, u64>,
    called_missed: u64,
}

impl Counts {
    fn add(&mut self, tally: &Tally) {
        for &command in Command::ALL {
            let count = u64::from(tally.command(command));
            if count != 0 {
                *self.commands.entry(command.name()).or_default() += count;
            }
        }
        self.submits += u64::from(tally.submits);
        self.destinations += u64::from(tally.destinations);
        self.binds += u64::from(tally.binds);
        self.called_missed += u64::from(tally.called_missed);
        for called in tally.called() {
            *self.called.entry(called.prefix).or_default() += u64::from(called.count);
        }
    }
}

/// How a sender cuts its stream.
const CUTS: [std::ops::RangeInclusive<usize>; 6] = [1..=1, 13..=13, 1..=40, 60..=700, 1448..=1448, 1..=1448];

#[test]
fn in_order_every_pdu_is_counted_however_the_stream_is_cut() {
    for cut in CUTS {
        for seed in 0..60 {
            let mut random = Random::new(seed);
            let stream = Stream::random(&mut random, 60);
            let report = Wire::new(&stream, Conditions::perfect(cut.clone())).carry(&mut random);
            assert_eq!(report.counts, stream.reference(), "cut {cut:?}, seed {seed}");
        }
    }
}

#[test]
fn lost_reordered_repeated_and_recut_segments_are_counted_once() {
    let (mut islands, mut repeated) = (0, 0);
    for cut in CUTS {
        for seed in 0..500 {
            let mut random = Random::new(seed);
            let stream = Stream::random(&mut random, if *cut.end() < 60 { 12 } else { 40 });
            let conditions = Conditions {
                lost_before: random.below(8),
                lost_behind: random.below(8),
                reordered: random.below(20),
                repeated: random.below(8),
                refused: 0,
                ..Conditions::perfect(cut.clone())
            };
            let report = Wire::new(&stream, conditions).carry(&mut random);
            assert_eq!(report.counts, stream.reference(), "cut {cut:?}, seed {seed}");
            islands += report.islands;
            repeated += report.repeated;
        }
    }
    assert!(islands > 1000, "the test must reach the islands: {islands}");
    assert!(repeated > 1000, "the test must repeat segments: {repeated}");
}

#[test]
fn refused_segments_are_charged_once_when_they_are_let_through() {
    let mut refused = 0;
    for cut in CUTS {
        for seed in 0..300 {
            let mut random = Random::new(seed);
            let stream = Stream::random(&mut random, if *cut.end() < 60 { 12 } else { 40 });
            let conditions = Conditions {
                lost_before: random.below(4),
                lost_behind: random.below(4),
                reordered: random.below(10),
                repeated: random.below(4),
                refused: 30,
                ..Conditions::perfect(cut.clone())
            };
            let report = Wire::new(&stream, conditions).carry(&mut random);
            assert_eq!(report.counts, stream.reference(), "cut {cut:?}, seed {seed}");
            refused += report.refused;
        }
    }
    assert!(refused > 1000, "the test must refuse segments: {refused}");
}

#[test]
fn texts_that_look_like_pdus_are_not_counted_where_islands_are_off() {
    for cut in CUTS {
        for seed in 0..100 {
            let mut random = Random::new(seed);
            let stream = Stream::with_pdus_in_texts(&mut random, 40);
            let conditions = Conditions {
                lost_before: 4,
                lost_behind: 4,
                reordered: 10,
                repeated: 4,
                refused: 10,
                strict: true,
                ..Conditions::perfect(cut.clone())
            };
            let report = Wire::new(&stream, conditions).carry(&mut random);
            assert_eq!(report.counts, stream.reference(), "cut {cut:?}, seed {seed}");
        }
    }
}

#[test]
fn a_super_packet_of_the_smallest_pdus_is_counted_to_the_last() {
    let stream = Stream::enquire_links(4096);
    assert_eq!(stream.bytes.len(), 65_536);
    let mut random = Random::new(1);
    let report = Wire::new(&stream, Conditions::perfect(65_536..=65_536)).carry(&mut random);
    assert_eq!(report.counts, stream.reference());
    assert_eq!(report.counts.commands["enquire_link"], 4096);
}

#[test]
fn super_packets_of_messages_are_counted_and_say_how_many_prefixes_they_missed() {
    for seed in 0..40 {
        let mut random = Random::new(seed);
        let stream = Stream::random(&mut random, 900);
        let mut counts = Wire::new(&stream, Conditions::perfect(20_000..=65_535)).carry(&mut random).counts;
        let reference = stream.reference();
        let found: u64 = counts.called.values().sum();
        assert_eq!(found + counts.called_missed, reference.called.values().sum::<u64>(), "seed {seed}");
        counts.called.clone_from(&reference.called);
        counts.called_missed = 0;
        assert_eq!(counts, reference, "seed {seed}");
    }
}

#[test]
fn a_flow_joined_in_the_middle_counts_every_pdu_from_the_first_header_in_sight() {
    for cut in [60..=700, 1448..=1448, 1..=1448, 5000..=65_535] {
        for seed in 0..200 {
            let mut random = Random::new(seed);
            let stream = Stream::random(&mut random, 60);
            let skipped = random.between(1, stream.bytes.len() / 2);
            let conditions = Conditions { joined_at: skipped, ..Conditions::perfect(cut.clone()) };
            let report = Wire::new(&stream, conditions).carry(&mut random);
            let counts = report.counts;
            let expected = stream.reference_from(report.first_header);
            assert_eq!(counts.commands, expected.commands, "cut {cut:?}, seed {seed}");
            assert_eq!(counts.submits, expected.submits, "cut {cut:?}, seed {seed}");
            assert_eq!(counts.destinations, expected.destinations, "cut {cut:?}, seed {seed}");
        }
    }
}

#[test]
fn walking_commits_nothing() {
    let mut random = Random::new(5);
    let stream = Stream::random(&mut random, 30);
    let mut flow = Flow::new_zeroed();
    flow.syn(99);
    let before = flow;
    let mut walk = Walk::new_zeroed();
    for end in 1..stream.bytes.len().min(3000) {
        let segment = Segment { seq: 100, payload: 0, len: end as u32 };
        walk.run(&flow, &stream.bytes[..end], segment, DIGITS, &mut Nobody);
        assert_eq!(flow, before, "{end} bytes");
    }
}
