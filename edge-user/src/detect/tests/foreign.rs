//! Caller IDs and sender IDs that are none of the account's.

use edge_ebpf::abi::{Event, EventKind};

use super::*;

fn shows(simulation: &mut Simulation, violations: u64) -> Vec<Signal> {
    simulation.snapshot.accounts.get_mut(ACCOUNT).unwrap().counters.foreign_callers += violations;
    simulation.pass(1);
    simulation.look()
}

fn told(detail: u64) -> Event {
    let kind = EventKind::ForeignCaller as u32;
    Event { at_ns: 0, kind, account: NUMBER, source: [0; 16], detail, value: 1 }
}

#[test]
fn so_many_within_the_window_open_an_alert_with_the_numbers() {
    let mut simulation = Simulation::new();
    for detail in [133_123_456_789, 0, 1_044_999] {
        let now = simulation.now;
        simulation.detectors.event(&told(detail), now);
    }
    assert_eq!(shows(&mut simulation, 4), []);
    let signals = shows(&mut simulation, 6);
    let [Signal::Open(finding)] = &signals[..] else { panic!("{signals:?}") };
    assert_eq!((finding.rule.as_str(), finding.account.as_str()), ("caller_id", ACCOUNT));
    assert!((finding.observed - 10.0).abs() < 1e-9);
    let numbers: Vec<&str> = finding.evidence.iter().map(|evidence| evidence.value.as_str()).collect();
    assert_eq!(numbers, ["+044999", "+33123456789"]);
}

#[test]
fn senders_have_a_rule_and_an_alert_of_their_own() {
    let mut simulation = Simulation::new();
    for text in [*b"Bank\0\0\0\0", [0; 8], *b"b\xe4nk\0\0\0\0", *b"MegaBank"] {
        let kind = EventKind::ForeignSender as u32;
        let now = simulation.now;
        let event = Event { kind, ..told(u64::from_le_bytes(text)) };
        simulation.detectors.event(&event, now);
    }
    assert_eq!(shows(&mut simulation, 9), []);
    simulation.snapshot.accounts.get_mut(ACCOUNT).unwrap().counters.foreign_senders += 10;
    let signals = shows(&mut simulation, 0);
    let [Signal::Open(finding)] = &signals[..] else { panic!("callers count for themselves: {signals:?}") };
    assert_eq!((finding.rule.as_str(), finding.subject.as_str()), ("sender_id", "sender_ids"));
    assert!((finding.observed - 10.0).abs() < 1e-9);
    let senders: Vec<_> = finding.evidence.iter().map(|it| (it.kind.as_str(), it.value.as_str())).collect();
    let expected = ["MegaBank", "b\\xe4nk", "Bank"].map(|sender| ("sender_id", sender));
    assert_eq!(senders, expected);
    simulation.detectors = Detectors::new(&config());
    let now = simulation.now;
    simulation.detectors.adopt([finding], now);
    simulation.pass(300);
    assert_eq!(words(&simulation.look()), ["resolve"]);
}

#[test]
fn few_and_far_between_are_no_alert() {
    let mut simulation = Simulation::new();
    for _ in 0..20 {
        assert_eq!(shows(&mut simulation, 4), []);
        simulation.pass(60);
    }
}

#[test]
fn it_resolves_after_five_quiet_minutes_or_with_the_account() {
    let mut simulation = Simulation::new();
    assert_eq!(words(&shows(&mut simulation, 10)), ["open"]);
    simulation.pass(298);
    assert_eq!(shows(&mut simulation, 0), []);
    assert_eq!(words(&shows(&mut simulation, 0)), ["resolve"]);
    assert_eq!(words(&shows(&mut simulation, 10)), ["open"]);
    simulation.snapshot.accounts.clear();
    assert_eq!(words(&simulation.look()), ["resolve"]);
}

#[test]
fn what_was_counted_before_the_first_look_is_old() {
    let mut simulation = Simulation::new();
    simulation.snapshot.accounts.get_mut(ACCOUNT).unwrap().counters.foreign_callers = 1000;
    simulation.detectors = Detectors::new(&config());
    assert_eq!(simulation.look(), []);
}

#[test]
fn what_one_account_has_shown_is_no_evidence_against_the_next_that_has_its_number() {
    let mut simulation = Simulation::new();
    let now = simulation.now;
    assert_eq!(shows(&mut simulation, 0), []);
    simulation.detectors.event(&told(133_123_456_789), now);
    let account = simulation.snapshot.accounts.remove(ACCOUNT).unwrap();
    simulation.snapshot.accounts.insert("renamed".to_owned(), account);
    assert_eq!(simulation.look(), []);
    let now = simulation.now;
    simulation.detectors.event(&told(1_044_999), now);
    simulation.snapshot.accounts.get_mut("renamed").unwrap().counters.foreign_callers += 10;
    simulation.pass(1);
    let signals = simulation.look();
    let [Signal::Open(finding)] = &signals[..] else { panic!("{signals:?}") };
    let numbers: Vec<&str> = finding.evidence.iter().map(|evidence| evidence.value.as_str()).collect();
    assert_eq!((finding.account.as_str(), numbers), ("renamed", vec!["+044999"]));
}
