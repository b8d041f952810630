//! Messages that are to be refused for their senders.

use zerocopy::FromZeros as _;

use crate::decide::Scope;
use crate::native::{Judge, Judged, Refusals, Refuser, Rewrite, judging};
use crate::stream::{Flow, Segment, Walk};
use crate::wire::smpp::{PREFIX_ROOM, id};

/// Everything is within its limit, and everybody a stranger.
#[derive(Default)]
struct Strangers {
    /// How many octets of each message were to be looked at.
    seen: Vec<u32>,
}

impl Rewrite for Strangers {
    fn write(&mut self, _seq: u32, _octets: [u8; 4]) {}
}

impl Judge for Strangers {
    fn charge(&mut self, _scope: Scope) -> bool {
        true
    }

    fn refund(&mut self, _scope: Scope) {}

    fn owe(&mut self, _scope: Scope, _messages: u32) {}

    fn may_refuse(&mut self) -> bool {
        true
    }

    fn is_foreign(&mut self, _octets: &[u8; PREFIX_ROOM], seen: u32) -> bool {
        self.seen.push(seen);
        true
    }
}

fn pdu(length: u32, command: u32, sequence: u32) -> Vec<u8> {
    let mut octets: Vec<u8> =
        [length, command, 0, sequence].iter().flat_map(|word| word.to_be_bytes()).collect();
    octets.resize(length as usize, 0);
    octets
}

fn judge(judging: u32, refusals: Option<&mut Refusals>) -> (Judged, Vec<u32>) {
    let octets =
        [pdu(16, id::SUBMIT_SM, 1), pdu(200, id::SUBMIT_SM, 2), pdu(16, id::ENQUIRE_LINK, 3)].concat();
    let mut flow = Flow::new_zeroed();
    flow.syn(99);
    let (mut judge, mut judged) = (Strangers::default(), Judged::default());
    let mut refuser = Refuser { judge: &mut judge, refusals, judged: &mut judged, acknowledged: 0, judging };
    let segment = Segment { seq: 100, payload: 0, len: octets.len() as u32 };
    Walk::new_zeroed().run(&flow, octets.as_slice(), segment, 0, &mut refuser);
    (judged, judge.seen)
}

#[test]
fn a_sender_is_sought_within_its_message_and_not_in_the_next() {
    let mut refusals = Refusals::new_zeroed();
    let (judged, seen) = judge(judging::NATIVE | judging::SENDERS, Some(&mut refusals));
    assert_eq!((judged.refused, judged.admitted), (2, 0));
    assert_eq!(seen, [16, 96]);
}

#[test]
fn nobody_is_refused_for_a_sender_where_that_cannot_be_told() {
    let mut deaf = Refusals::new_zeroed();
    deaf.is_deaf = 1;
    for (how, refusals) in [(judging::SENDERS, None), (judging::NATIVE | judging::SENDERS, Some(&mut deaf))] {
        let (judged, seen) = judge(how, refusals);
        assert_eq!((judged.admitted, judged.refused, seen), (2, 0, vec![]));
    }
}
