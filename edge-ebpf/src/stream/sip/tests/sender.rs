//! A sender whose segments are refused in part: what TCP makes of the holes that Edge itself makes.

use proptest::prelude::*;

use super::{Counted, Finding, Wire, messages, sizes, stream_of};

/// Flights that bring nothing forward before a hole is let go: as many as a segment is dropped, and one more.
const STILL_MAX: u32 = 5;

/// What becomes of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// Judged, and let through unless it must wait.
    Judged,
    /// Over a limit, if it completes a message.
    Refused,
    /// Lost before Edge.
    Lost,
    /// Lost behind Edge.
    LostBehind,
    /// It takes another way: the server has it, and Edge has not seen it.
    Unseen,
}

/// The two ends, as far as sequence numbers go.
struct Sender<'a> {
    stream: &'a [u8],
    wire: Wire,
    /// Which octets the server has.
    arrived: Vec<bool>,
    /// Octets that were sent once.
    sent: usize,
    sizes: Box<dyn Iterator<Item = usize> + 'a>,
    fates: Box<dyn Iterator<Item = Fate> + 'a>,
    /// Whether anything but the judgement has happened in the flight.
    disturbed: bool,
}

impl<'a> Sender<'a> {
    fn new(stream: &'a [u8], seen: bool, sizes: &'a [usize], fates: &'a [Fate]) -> Self {
        Self {
            stream,
            wire: Wire::new(seen),
            arrived: vec![false; stream.len()],
            sent: 0,
            sizes: Box::new(sizes.iter().copied().cycle()),
            fates: Box::new(fates.iter().copied().chain(std::iter::repeat(Fate::Judged))),
            disturbed: false,
        }
    }

    /// What the server acknowledges.
    fn acknowledged(&self) -> usize {
        self.arrived.iter().position(|arrived| !arrived).unwrap_or(self.stream.len())
    }

    /// Sends a segment from `from` on, and says where it ends.
    fn send(&mut self, from: usize) -> usize {
        let to = (from + self.sizes.next().unwrap()).min(self.stream.len());
        if from == to {
            return to;
        }
        self.sent = self.sent.max(to);
        let fate = self.fates.next().unwrap();
        if matches!(fate, Fate::Lost | Fate::Unseen) {
            self.disturbed = true;
            if fate == Fate::Unseen {
                self.arrived[from..to].fill(true);
            }
            return to;
        }
        let passes = self.wire.judge(self.stream, from, to, fate == Fate::Refused);
        self.disturbed |= fate == Fate::LostBehind || !passes && fate == Fate::Refused;
        if passes && fate != Fate::LostBehind {
            self.arrived[from..to].fill(true);
        }
        to
    }

    /// Sends all there is, at most `window` segments at once. After a flight that brought nothing forward the first
    /// segment goes alone, and then what was never sent (F-RTO) or what is missing; now and then the last segment goes
    /// before it (RFC 8985 7).
    fn run(&mut self, window: usize, spurious: bool, probes: bool) {
        let mut still = 0;
        let mut timed_out = false;
        loop {
            let first = self.acknowledged();
            if first == self.stream.len() {
                return;
            }
            self.disturbed = false;
            if timed_out {
                if probes && still == 0 && self.sent < self.stream.len() {
                    self.send(self.sent);
                }
                let end = self.send(first);
                if spurious && self.acknowledged() >= end {
                    self.send(self.sent);
                }
            } else {
                let mut at = first;
                for _ in 0..window {
                    at = self.send(at);
                }
            }
            let moved = self.acknowledged() != first;
            still = if moved || self.disturbed { 0 } else { still + 1 };
            timed_out = !moved;
            assert!(still <= STILL_MAX, "stands still at {first} of {}", self.stream.len());
        }
    }
}

impl Wire {
    /// A segment is judged: refused if it is over a limit and completes a message. Whether it passes.
    fn judge(&mut self, stream: &[u8], from: usize, to: usize, is_over: bool) -> bool {
        let finding = self.read(stream, from, to);
        let passes = finding != Finding::BeyondHole && !(is_over && self.reader.tally.methods_seen != 0);
        self.settle(finding, passes);
        passes
    }
}

fn fates(fates: &'static [Fate]) -> impl Strategy<Value = Vec<Fate>> {
    proptest::collection::vec(proptest::sample::select(fates), 0..60)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6000, ..ProptestConfig::default() })]

    /// Whatever is in flight behind a refused segment, nothing gets to the server that was not read, and every message
    /// is counted once.
    #[test]
    fn behind_a_refused_segment_nothing_passes_uncounted(
        messages in messages(),
        seen: bool,
        sizes in sizes(),
        fates in fates(&[Fate::Judged, Fate::Judged, Fate::Refused]),
        window in 1_usize..12,
        spurious: bool,
        probes: bool,
    ) {
        let stream = stream_of(&messages);
        // Without its SYN a stream is known by a start line, which the first segment must have whole.
        let stream = if seen { &stream[..] } else { stream.trim_ascii_start() };
        let sizes: Vec<usize> = sizes.into_iter().map(|size| if seen { size } else { size.max(64) }).collect();
        let mut sender = Sender::new(stream, seen, &sizes, &fates);
        sender.run(window, spurious, probes);
        prop_assert_eq!(&sender.wire.counted, &Counted::of(&messages));
        prop_assert!(!sender.wire.findings.contains(&Finding::Unframed));
    }

    /// Whatever else happens to the segments, no connection stands still for good.
    #[test]
    fn no_connection_waits_for_ever(
        messages in messages(),
        seen: bool,
        sizes in sizes(),
        fates in fates(&[Fate::Judged, Fate::Refused, Fate::Lost, Fate::LostBehind, Fate::Unseen]),
        window in 1_usize..12,
        spurious: bool,
        probes: bool,
    ) {
        let stream = stream_of(&messages);
        let mut sender = Sender::new(&stream, seen, &sizes, &fates);
        sender.run(window, spurious, probes);
    }
}
