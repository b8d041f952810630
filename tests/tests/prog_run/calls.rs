//! Calls and their slots in the kernel: each story is told to kernel and host, and both must agree on slots, counters
//! and records at every step.

use edge_ebpf::abi::{
    AccountState, CallCause, CallCount, CallKey, CallPhase, CallState, Class, EgressOutcome, EndedBy,
    Outcome, TrunkPolicy, TrunkState, map,
};
use edge_tests::fixtures::world::{
    ACME, ACME_OTHER_SOURCE, ACME_SOURCE, Prefix, SERVER, SIP_PORT, Scenario, at_once,
};
use edge_tests::host::Host;
use edge_tests::kernel::{CALLS_HELD, Kernel};
use edge_tests::lent::Lent;
use edge_tests::packet::Frame;
use edge_tests::sip::Request;
use zerocopy::FromZeros as _;

const NOW_NS: u64 = 1_000_000_000_000;

/// Kernel and host under the same limit.
struct Story {
    kernel: Lent,
    host: Host,
}

impl Story {
    fn begin(calls_max: u32) -> Self {
        let before = Scenario::open().calls_max(calls_max);
        let mut kernel = Lent::take().unwrap();
        kernel.prepare(&before).unwrap();
        Self { kernel, host: Host::prepare(&before, NOW_NS) }
    }

    fn comes(&mut self, request: &Request) -> Outcome {
        self.comes_from(ACME_SOURCE, request)
    }

    fn comes_from(&mut self, source: [u8; 4], request: &Request) -> Outcome {
        let frame = Frame::ipv4(source, SERVER).udp(SIP_PORT, SIP_PORT).payload(&request.bytes()).bytes();
        let outcome = self.kernel.send(&frame).unwrap().outcome;
        assert_eq!(outcome, self.host.send(&frame), "kernel and host");
        outcome
    }

    fn leaves(&mut self, payload: &[u8]) {
        let frame = Frame::ipv4(SERVER, ACME_SOURCE).udp(SIP_PORT, SIP_PORT).payload(payload).bytes();
        let seen = self.kernel.leave(&frame).unwrap();
        assert!(matches!(seen, EgressOutcome::SipResponse | EgressOutcome::SipRequest), "{seen}");
        assert_eq!(seen, self.host.leave(&frame), "kernel and host");
    }

    /// Slots held, the same by the count and by the map.
    fn active(&self) -> u64 {
        let account = self.kernel.account(ACME).unwrap();
        let slots: u64 = self.kernel.calls().unwrap().iter().map(|(_, call)| u64::from(call.slots)).sum();
        assert_eq!(account.calls_active, slots, "count and entries");
        assert_eq!(account.calls_active, self.host.accounts[&ACME].calls_active, "kernel and host");
        assert_eq!(account.counters.calls, self.host.accounts[&ACME].counters.calls, "kernel and host");
        slots
    }

    fn ended(&mut self) -> Vec<(u32, u32, u32)> {
        let records = self.kernel.records().unwrap();
        let ended: Vec<_> =
            records.iter().map(|record| (record.cause, record.ended_by, record.status)).collect();
        let on_host: Vec<_> = self
            .host
            .calls
            .ended
            .drain(..)
            .map(|(cause, by, status)| (cause as u32, by as u32, status))
            .collect();
        assert_eq!(ended, on_host, "kernel and host");
        ended
    }
}

fn invite(call: u32) -> Request {
    Request::new("INVITE").call_id(&format!("call-{call}")).branch(&format!("z9hG4bK-{call}")).cseq(1)
}

/// What the server answers, written in its own way.
fn answer(status: u16, call: u32, cseq: u32, method: &str, more: &str) -> Vec<u8> {
    format!(
        "SIP/2.0 {status} Whatever\r\n\
         v: SIP/2.0/UDP 203.0.113.7:5060;received=203.0.113.7;branch=z9hG4bK-{call}\r\n\
         f: <sip:+441632960001@203.0.113.7>;tag=1928301774\r\n\
         t: <sip:+441632960123@198.51.100.10>;tag=server\r\n\
         i:call-{call}\r\nCSeq:\t{cseq}  {method}\r\n{more}Content-Length: 0\r\n\r\n"
    )
    .into_bytes()
}

fn bye_of_server(call: u32) -> Vec<u8> {
    Request::new("BYE").call_id(&format!("call-{call}")).in_dialog("1928301774").cseq(1).bytes()
}

#[test]
fn a_call_holds_one_slot_from_invite_to_bye() {
    let mut story = Story::begin(0);
    assert_eq!(story.comes(&invite(1)), Outcome::SipAdmitted);
    assert_eq!(story.comes(&invite(1)), Outcome::SipRepeated);
    assert_eq!(story.active(), 1);
    for (status, method) in [(100, "INVITE"), (180, "INVITE"), (200, "INVITE"), (200, "INVITE")] {
        story.leaves(&answer(status, 1, 1, method, ""));
        assert_eq!(story.active(), 1, "{status}");
    }
    let (_, call) = story.kernel.calls().unwrap()[0];
    assert_eq!(call.phase, CallPhase::Answered as u32);
    assert!(call.ring_ns != 0 && call.answer_ns >= call.ring_ns, "{call:?}");
    story.comes(&Request::new("BYE").call_id("call-1").in_dialog("server").cseq(2));
    assert_eq!(story.active(), 1, "the caller's word alone frees nothing");
    story.leaves(&answer(481, 1, 3, "BYE", ""));
    assert_eq!(story.active(), 1, "a BYE that was made up");
    story.leaves(&answer(200, 1, 2, "BYE", ""));
    assert_eq!(story.active(), 0);
    story.leaves(&answer(200, 1, 2, "BYE", ""));
    assert_eq!(story.active(), 0, "sent again");
    assert_eq!(story.ended(), [(CallCause::Completed as u32, EndedBy::Caller as u32, 200)]);
}

#[test]
fn the_numbers_of_a_call_are_its_digits() {
    let cases = [
        ("sip:+441632960123@198.51.100.10", "\"Ann <x> \\\" y\" <sip:+4416@h>", "441632960123", "4416"),
        ("tel:+33123456789", "tel:0044999;tag=1", "33123456789", "0044999"),
        (
            "sips:0012345678901234567890@h",
            "Ann <sips:123456789012345678901234567@h>",
            "0012345678901234567890",
            "123456789012345678901234",
        ),
        ("sip:alice@h", "<sip:12ab@h>", "", ""),
    ];
    for (number, (uri, from, called, caller)) in (1..).zip(cases) {
        let mut story = Story::begin(0);
        let text = String::from_utf8(invite(number).uri(uri).bytes()).unwrap();
        let text = text.replace("From: \"Caller\" <sip:+441632960001@203.0.113.7>;", &format!("f : {from};"));
        let frame = Frame::ipv4(ACME_SOURCE, SERVER).udp(SIP_PORT, SIP_PORT).payload(text.as_bytes()).bytes();
        assert_eq!(story.kernel.send(&frame).unwrap().outcome, Outcome::SipAdmitted, "{uri}");
        assert_eq!(story.host.send(&frame), Outcome::SipAdmitted);
        let (key, call) = story.kernel.calls().unwrap()[0];
        let read = |number: &[u8]| String::from_utf8_lossy(number).trim_end_matches('\0').to_owned();
        assert_eq!((read(&call.to), read(&call.from)), (called.to_owned(), caller.to_owned()), "{text}");
        let on_host = story.host.calls.held.values().next().unwrap();
        assert_eq!((call.to, call.from, call.source), (on_host.to, on_host.from, on_host.source), "{key:?}");
    }
}

#[test]
fn a_limit_on_calls_is_exact_and_every_way_a_call_ends_gives_the_slot_back() {
    let mut story = Story::begin(2);
    assert_eq!(story.comes(&invite(1)), Outcome::SipAdmitted);
    assert_eq!(story.comes_from(ACME_OTHER_SOURCE, &invite(2)), Outcome::SipAdmitted);
    assert_eq!(story.comes(&invite(3)), Outcome::SipOverCalls);
    assert_eq!(story.comes(&invite(3)), Outcome::SipOverCalls, "sent again");
    assert_eq!(story.active(), 2);
    assert_eq!(story.kernel.records().unwrap().len(), 2, "each refusal leaves a record");

    story.leaves(&answer(486, 1, 1, "INVITE", ""));
    assert_eq!(story.comes(&invite(4)), Outcome::SipAdmitted);
    assert_eq!(story.comes(&invite(5)), Outcome::SipOverCalls);
    story.leaves(&answer(487, 4, 1, "INVITE", ""));
    story.leaves(&answer(200, 2, 1, "INVITE", ""));
    story.leaves(&bye_of_server(2));
    assert_eq!(story.active(), 0);
    story.kernel.records().unwrap();
}

#[test]
fn a_challenge_gives_the_slot_back_and_the_second_try_takes_it_again() {
    let mut story = Story::begin(1);
    assert_eq!(story.comes(&invite(1)), Outcome::SipAdmitted);
    story.leaves(&answer(407, 1, 1, "INVITE", ""));
    assert_eq!(story.active(), 0);
    assert_eq!(story.comes(&invite(1).cseq(2).branch("z9hG4bK-again")), Outcome::SipAdmitted);
    story.leaves(&answer(407, 1, 1, "INVITE", ""));
    assert_eq!(story.active(), 1, "the first challenge, sent again, frees nothing");
    story.leaves(&answer(500, 1, 2, "INVITE", ""));
    assert_eq!(story.active(), 0);
    assert_eq!(
        story.ended(),
        [(CallCause::Failed as u32, EndedBy::Callee as u32, 500)],
        "one call, one record"
    );
}

#[test]
fn many_calls_under_one_call_id_take_a_slot_each() {
    let mut story = Story::begin(2);
    assert_eq!(story.comes(&invite(1)), Outcome::SipAdmitted);
    assert_eq!(story.comes(&invite(1).branch("z9hG4bK-b")), Outcome::SipAdmitted);
    assert_eq!(story.comes(&invite(1).cseq(9).branch("z9hG4bK-c")), Outcome::SipOverCalls);
    assert_eq!(story.active(), 2);
    let old = invite(1).branch("oldstyle");
    assert_eq!(story.comes(&old), Outcome::SipAdmitted, "a branch without the cookie proves no transaction");
    assert_eq!(story.comes(&old), Outcome::SipAdmitted, "and nothing travels free on it");
    assert_eq!(story.active(), 2);
}

#[test]
fn a_reinvite_that_fails_ends_nothing() {
    let mut story = Story::begin(1);
    story.comes(&invite(1));
    story.leaves(&answer(200, 1, 1, "INVITE", "Session-Expires: 90;refresher=uac\r\n"));
    assert_eq!(story.kernel.calls().unwrap()[0].1.session_expires_s, 90);
    assert_eq!(story.comes(&invite(1).in_dialog("server").cseq(2)), Outcome::SipInDialog);
    story.leaves(&answer(488, 1, 2, "INVITE", ""));
    story.leaves(&answer(200, 1, 3, "UPDATE", "x:1800\r\n"));
    assert_eq!(story.kernel.calls().unwrap()[0].1.session_expires_s, 1800);
    assert_eq!(story.active(), 1);
}

#[test]
fn the_sweep_takes_what_is_silent_for_too_long_and_what_the_daemon_drops() {
    let mut story = Story::begin(0);
    for call in 1..=4 {
        story.comes(&invite(call));
    }
    story.leaves(&answer(200, 3, 1, "INVITE", ""));
    story.leaves(&answer(200, 4, 1, "INVITE", ""));
    story.kernel.sweep().unwrap();
    assert_eq!(story.active(), 4);
    let calls = story.kernel.calls().unwrap();
    let is_answered = |call: &CallState| call.phase == CallPhase::Answered as u32;
    let (proceeding, answered): (Vec<_>, Vec<_>) =
        calls.into_iter().partition(|(_, call)| !is_answered(call));
    let (key, call) = proceeding[0];
    story.kernel.set_call(key, CallState { touched_ns: 0, ..call }).unwrap();
    let (key, call) = answered[0];
    story.kernel.set_call(key, CallState { phase: CallPhase::Dropped as u32, ..call }).unwrap();
    // A machine that runs for less than 200 s has not been silent for longer.
    let settings = Scenario { call_unanswered_ns: 1, ..Scenario::open() };
    story.kernel.set_settings(settings.settings(1, [1, 0])).unwrap();
    let (key, call) = proceeding[1];
    story.kernel.set_call(key, CallState { touched_ns: u64::MAX, ..call }).unwrap();
    story.kernel.sweep().unwrap();
    let account = story.kernel.account(ACME).unwrap();
    assert_eq!((account.calls_active, story.kernel.calls().unwrap().len()), (2, 2));
    assert_eq!(account.counters.calls[CallCount::Expired.index()], 2);
    let mut causes: Vec<u32> = story.kernel.records().unwrap().iter().map(|record| record.cause).collect();
    causes.sort_unstable();
    assert_eq!(causes, [CallCause::ExpiredUnanswered as u32, CallCause::Dropped as u32]);
}

#[test]
fn a_trunk_has_slots_of_its_own_within_its_account() {
    let mut kernel = Lent::take().unwrap();
    let of_trunk = Prefix::v4(ACME_SOURCE, 32);
    kernel.add_trunk_member(of_trunk, ACME, 7).unwrap();
    kernel.set(map::TRUNK_POLICIES, 7, TrunkPolicy { calls_max: 1, reserved: 0 }).unwrap();
    kernel.set(map::TRUNKS, 7, TrunkState::new_zeroed()).unwrap();
    kernel.prepare(&Scenario::open().calls_max(2)).unwrap();
    let comes = |kernel: &mut Kernel, source, call| {
        let frame =
            Frame::ipv4(source, SERVER).udp(SIP_PORT, SIP_PORT).payload(&invite(call).bytes()).bytes();
        kernel.send(&frame).unwrap().outcome
    };
    assert_eq!(comes(&mut kernel, ACME_SOURCE, 1), Outcome::SipAdmitted);
    assert_eq!(comes(&mut kernel, ACME_SOURCE, 2), Outcome::SipOverTrunk);
    assert_eq!(comes(&mut kernel, ACME_OTHER_SOURCE, 3), Outcome::SipAdmitted, "not of the trunk");
    assert_eq!(comes(&mut kernel, ACME_OTHER_SOURCE, 4), Outcome::SipOverCalls);
    let trunk: TrunkState = kernel.get(map::TRUNKS, 7).unwrap();
    assert_eq!((trunk.calls_active, trunk.refused), (1, 1));
    assert_eq!(kernel.account(ACME).unwrap().calls_active, 2);
    let frame = Frame::ipv4(SERVER, ACME_SOURCE)
        .udp(SIP_PORT, SIP_PORT)
        .payload(&answer(500, 1, 1, "INVITE", ""))
        .bytes();
    kernel.leave(&frame).unwrap();
    let trunk: TrunkState = kernel.get(map::TRUNKS, 7).unwrap();
    assert_eq!((trunk.calls_active, kernel.account(ACME).unwrap().calls_active), (0, 1));
    // The next test that is lent this kernel knows no trunks.
    kernel.remove_member(of_trunk).unwrap();
}

#[test]
fn a_count_that_is_wrong_is_put_right_beside_what_packets_add() {
    let mut story = Story::begin(0);
    story.comes(&invite(1));
    let account = story.kernel.account(ACME).unwrap();
    story.kernel.set_account(ACME, AccountState { calls_active: 4, ..account }).unwrap();
    story.comes(&invite(2));
    story.kernel.correct(ACME, -3).unwrap();
    assert_eq!(story.active(), 2);
}

#[test]
fn observing_counts_slots_and_refuses_nothing() {
    let before = Scenario::open().calls_max(1).acme_observed();
    let mut kernel = Lent::take().unwrap();
    kernel.prepare(&before).unwrap();
    for (call, expected) in [(1, Outcome::SipAdmitted), (2, Outcome::SipObserved)] {
        let frame =
            Frame::ipv4(ACME_SOURCE, SERVER).udp(SIP_PORT, SIP_PORT).payload(&invite(call).bytes()).bytes();
        assert_eq!(kernel.send(&frame).unwrap().outcome, expected);
    }
    let account = kernel.account(ACME).unwrap();
    assert_eq!(account.calls_active, 2);
    assert_eq!(account.counters.calls[CallCount::Observed.index()], 1);
}

#[test]
fn a_call_that_the_map_has_no_room_for_is_admitted_and_counted() {
    let mut kernel = Lent::take().unwrap();
    kernel.prepare(&Scenario::open().calls_max(100).account_limit(Class::SipInvite, at_once(1000))).unwrap();
    // Room for one more, beside calls of another account.
    let others = CALLS_HELD - 1;
    for call_id_hash in 0..u64::from(others) {
        let key = CallKey { account: ACME + 1, reserved: 0, call_id_hash };
        kernel.set_call(key, CallState::new_zeroed()).unwrap();
    }
    for call in 0..200 {
        let frame =
            Frame::ipv4(ACME_SOURCE, SERVER).udp(SIP_PORT, SIP_PORT).payload(&invite(call).bytes()).bytes();
        assert_eq!(kernel.send(&frame).unwrap().outcome, Outcome::SipAdmitted, "call {call}");
    }
    let account = kernel.account(ACME).unwrap();
    let held = kernel.calls().unwrap().iter().filter(|(key, _)| key.account == ACME).count() as u64;
    assert_eq!((account.calls_active, held), (1, 1), "no slot without an entry");
    assert_eq!(account.counters.calls[CallCount::Unkept.index()], 200 - held);
}
