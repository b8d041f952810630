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
}

impl Rewrite for Purse {
    fn write(&mut self, _seq: u32, _octets: [u8; 4]) {}
}

impl Judge for Purse {
    fn charge(&mut self, scope: Scope) -> bool {
        self.charged += u32::from(matches!(scope, Scope::Account));
        true
    }

    fn refund(&mut self, _scope: Scope) {}

    fn owe(&mut self, scope: Scope, messages: u32) {
        self.charged += if matches!(scope, Scope::Account) { messages } else { 0 };
    }

    fn may_refuse(&mut self) -> bool {
        true
    }
}

#[test]
fn what_an_account_is_given_back_was_charged_though_it_is_suspended_meanwhile() {
    let mut octets: Vec<u8> =
        [64, id::SUBMIT_MULTI, 0, 1].iter().flat_map(|word: &u32| word.to_be_bytes()).collect();
    octets.resize(64, 0);
    // Behind an empty service_type, two octets, and an empty source_addr.
    octets[20] = 9;
    let (mut flow, mut seq) = (Flow::new_zeroed(), 100);
    flow.syn(99);
    let (name, rest) = octets.split_at(18);
    for (part, judging, messages) in
        [(name, judging::NATIVE, 1), (rest, judging::NATIVE | judging::SUSPENDED, 8)]
    {
        let (mut purse, mut judged) = (Purse::default(), Judged::default());
        let mut refuser =
            Refuser { judge: &mut purse, refusals: None, judged: &mut judged, acknowledged: 0, judging };
        let mut walk = Walk::new_zeroed();
        walk.run(&flow, part, Segment { seq, payload: 0, len: part.len() as u32 }, 0, &mut refuser);
        walk.commit(&mut flow);
        assert_eq!((judged.admitted, purse.charged), (messages, messages));
        seq += part.len() as u32;
    }
}
