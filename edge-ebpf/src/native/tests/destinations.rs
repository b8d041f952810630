//! Messages to many destinations.

use zerocopy::FromZeros as _;

use crate::decide::Scope;
use crate::native::{Judge, Judged, Refuser, Rewrite, judging};
use crate::stream::{Flow, Segment, Walk};
use crate::wire::smpp::id;

/// Counts what the account is charged.
#[derive(Default)]
struct Purse {
    charged: u32,
    is_empty: bool,
}

impl Rewrite for Purse {
    fn write(&mut self, _seq: u32, _octets: [u8; 4]) {}
}

impl Judge for Purse {
    fn charge(&mut self, scope: Scope) -> bool {
        self.charged += u32::from(!self.is_empty && matches!(scope, Scope::Account));
        !self.is_empty
    }

    fn refund(&mut self, _scope: Scope) {}

    fn owe(&mut self, scope: Scope, messages: u32) {
        self.charged += if matches!(scope, Scope::Account) { messages } else { 0 };
    }

    fn may_refuse(&mut self) -> bool {
        true
    }
}

/// A `submit_multi` to nine, its header and a little more apart from the rest: what becomes of either as it is judged so, and
/// what the account is charged. There is room for it, or not.
fn part(judgings: [u32; 2], is_empty: bool) -> [(Judged, u32); 2] {
    let mut octets: Vec<u8> =
        [64, id::SUBMIT_MULTI, 0, 1].iter().flat_map(|word: &u32| word.to_be_bytes()).collect();
    octets.resize(64, 0);
    // Behind an empty service_type, two octets, and an empty source_addr.
    octets[20] = 9;
    let (mut flow, mut seq) = (Flow::new_zeroed(), 100);
    flow.syn(99);
    let (name, rest) = octets.split_at(18);
    [(name, judgings[0]), (rest, judgings[1])].map(|(part, judging)| {
        let (mut purse, mut judged) = (Purse { charged: 0, is_empty }, Judged::default());
        judged.begin(&flow);
        let mut refuser =
            Refuser { judge: &mut purse, refusals: None, judged: &mut judged, acknowledged: 0, judging };
        let mut walk = Walk::new_zeroed();
        walk.run(&flow, part, Segment { seq, payload: 0, len: part.len() as u32 }, 0, &mut refuser);
        judged.leave(&mut flow);
        walk.commit(&mut flow);
        seq += part.len() as u32;
        (judged, purse.charged)
    })
}

#[test]
fn what_an_account_is_given_back_was_charged_though_it_is_suspended_meanwhile() {
    let parts = part([judging::NATIVE, judging::NATIVE | judging::SUSPENDED], false);
    assert_eq!(parts.map(|(judged, charged)| (judged.admitted, charged)), [(1, 1), (8, 8)]);
}

#[test]
fn the_destinations_of_a_message_that_is_observed_are_observed_wherever_it_is_cut() {
    let parts = part([judging::NATIVE | judging::OBSERVE; 2], true);
    let counted = parts.map(|(judged, charged)| (judged.admitted, judged.observed, charged));
    assert_eq!(counted, [(0, 1, 0), (0, 8, 0)]);
    let parts = part([judging::NATIVE | judging::OBSERVE; 2], false);
    let counted = parts.map(|(judged, charged)| (judged.admitted, judged.observed, charged));
    assert_eq!(counted, [(1, 0, 1), (8, 0, 8)]);
}
