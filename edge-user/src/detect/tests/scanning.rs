//! Scanners by what the kernel tells of refused sources.

use std::net::{IpAddr, Ipv4Addr};

use edge_ebpf::abi::{Event, EventKind};

use super::*;
use crate::detect::Scanner;

const UNKNOWN: u32 = 0;
const OWNED: u32 = 3;

fn source(last: u8) -> IpAddr {
    Ipv4Addr::new(192, 0, 2, last).into()
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 + second).unwrap()
}

/// The refusal of this number, as the kernel tells it.
fn refused(account: u32, last: u8, count: u64, class: Class) -> Event {
    Event {
        at_ns: 0,
        kind: EventKind::SourceRefused as u32,
        account,
        source: Ipv4Addr::new(192, 0, 2, last).to_ipv6_mapped().octets(),
        detail: class.index() as u64,
        value: count,
    }
}

/// What is found of a source that is refused this often, one event a second.
fn found(account: u32, class: Class, counts: &[(i64, u64)]) -> Vec<Scanner> {
    let mut detectors = Detectors::new(&config());
    for (second, count) in counts {
        detectors.event(&refused(account, 7, *count, class), at(*second));
    }
    detectors.step(&Snapshot::default(), at(counts.last().unwrap().0));
    detectors.take_scanners()
}

#[test]
fn a_stranger_that_is_refused_often_enough_is_a_scanner() {
    let knocks = [(0, 1), (0, 2), (1, 4), (1, 8), (2, 16)];
    assert_eq!(found(UNKNOWN, Class::SipRegister, &knocks), []);
    let more = [(0, 1), (0, 2), (1, 4), (1, 8), (2, 16), (3, 32)];
    assert_eq!(
        found(UNKNOWN, Class::SipRegister, &more),
        [Scanner { source: source(7), refusals: 32, agent: None }]
    );
}

#[test]
fn a_scanner_is_found_once_a_step_however_fast_it_is() {
    let fast = [(0, 1), (0, 2), (0, 4), (0, 8), (0, 16), (0, 32), (0, 64), (0, 128), (0, 256)];
    assert_eq!(
        found(UNKNOWN, Class::SipInvite, &fast),
        [Scanner { source: source(7), refusals: 64, agent: None }]
    );
}

#[test]
fn a_source_of_an_account_is_none_however_often_it_is_refused() {
    let phones = [(0, 1), (0, 2), (0, 4), (0, 8), (0, 16), (0, 32), (0, 64), (0, 128), (0, 256)];
    assert_eq!(found(OWNED, Class::SipRegister, &phones), []);
    assert_eq!(found(UNKNOWN, Class::Packets, &phones), [], "nor is a flood that nobody read");
}

#[test]
fn refusals_that_are_spread_over_hours_make_no_scanner() {
    let slow = [(0, 1), (10, 2), (30, 4), (70, 8), (150, 16), (310, 32), (630, 64), (1270, 128)];
    assert_eq!(found(UNKNOWN, Class::SipInvite, &slow), []);
}

#[test]
fn a_source_that_the_kernel_forgot_counts_anew() {
    let again = [(0, 1024), (1, 1), (1, 2), (1, 4), (2, 8), (2, 16)];
    assert_eq!(found(UNKNOWN, Class::SipInvite, &again), []);
    let first_seen_late = [(0, 1024)];
    assert_eq!(found(UNKNOWN, Class::SipInvite, &first_seen_late), [], "what was before is not known");
}

/// What is found, one second after the last of these, of a source of which this is told, in milliseconds.
fn told(account: u32, events: &[(i64, EventKind, u64)]) -> Vec<Scanner> {
    let mut detectors = Detectors::new(&config());
    let at = |ms: i64| Timestamp::from_millisecond(1_000_000_000 + ms).unwrap();
    let mut found = Vec::new();
    for (ms, kind, count) in events {
        let event = Event { kind: *kind as u32, ..refused(account, 7, *count, Class::SipRegister) };
        detectors.event(&event, at(*ms));
    }
    let last = events.last().unwrap().0;
    for ms in [last, last + 1000] {
        detectors.step(&Snapshot::default(), at(ms));
        found.extend(detectors.take_scanners());
    }
    found
}

#[test]
fn who_guesses_and_is_rejected_by_the_server_is_a_scanner_too() {
    use EventKind::SourceRejected as Rejected;
    let guesses: Vec<_> = [1, 2, 4, 8, 16, 32].map(|count| (0, Rejected, count)).into();
    assert_eq!(told(UNKNOWN, &guesses), [Scanner { source: source(7), refusals: 32, agent: None }]);
    assert_eq!(told(UNKNOWN, &guesses[..5]), []);
    assert_eq!(told(OWNED, &guesses), []);
}

#[test]
fn who_guesses_binds_is_a_scanner_at_once() {
    use EventKind::BindRejected as Rejected;
    let guesses: Vec<_> = [1, 2, 4, 8, 16, 32].map(|count| (0, Rejected, count)).into();
    assert_eq!(told(UNKNOWN, &guesses), [Scanner { source: source(7), refusals: 32, agent: None }]);
    assert_eq!(told(UNKNOWN, &guesses[..5]), []);
    assert_eq!(told(OWNED, &guesses), [], "a customer with a wrong password is none");
}

#[test]
fn phones_behind_one_address_that_register_after_their_challenge_are_no_guessers() {
    use EventKind::{SourceRegistered as Registered, SourceRejected as Rejected};
    let mut phones: Vec<_> = [1, 2, 4, 8, 16, 32, 64, 128, 256].map(|count| (0, Rejected, count)).into();
    phones.extend([1, 2, 4, 8, 16, 32, 64, 128].map(|count| (200, Registered, count)));
    assert_eq!(told(UNKNOWN, &phones), []);
    let mut cracked: Vec<_> = [1, 2, 4, 8, 16, 32, 64].map(|count| (0, Rejected, count)).into();
    cracked.push((200, Registered, 1));
    assert_eq!(
        told(UNKNOWN, &cracked),
        [Scanner { source: source(7), refusals: 64, agent: None }],
        "one password that was right forgives few that were wrong"
    );
}

#[test]
fn one_alert_tells_of_all_scanners_and_resolves_after_five_quiet_minutes() {
    let mut detectors = Detectors::new(&config());
    let knock = |detectors: &mut Detectors, last, second| {
        for count in [1, 2, 4, 8, 16, 32] {
            detectors.event(&refused(UNKNOWN, last, count, Class::SipOptions), at(second));
        }
        detectors.step(&Snapshot::default(), at(second))
    };
    let opened = knock(&mut detectors, 7, 0);
    let [Signal::Open(finding)] = &opened[..] else { panic!("{opened:?}") };
    assert_eq!((finding.rule.as_str(), finding.account.as_str()), ("scanning", "unknown"));
    assert_eq!((finding.observed, finding.threshold), (32.0, 20.0));
    assert_eq!(finding.evidence[0].value, "192.0.2.7");
    assert_eq!(knock(&mut detectors, 8, 1), [], "the next one is no alert of its own");
    assert_eq!(detectors.step(&Snapshot::default(), at(300)), []);
    let resolved = detectors.step(&Snapshot::default(), at(301));
    assert!(matches!(&resolved[..], [Signal::Resolve(finding)] if finding.evidence[0].value == "192.0.2.8"));
}

#[test]
fn who_names_a_known_scanner_is_one_at_first_sight() {
    let mut detectors = Detectors::new(&config());
    let told = |account| Event {
        kind: EventKind::ScannerAgent as u32,
        detail: u64::from_le_bytes(*b"sipcli/v"),
        ..refused(account, 7, 0, Class::SipOptions)
    };
    detectors.event(&told(OWNED), at(0));
    assert_eq!(detectors.take_scanners(), []);
    detectors.event(&told(UNKNOWN), at(0));
    assert_eq!(words(&detectors.step(&Snapshot::default(), at(0))), ["open"]);
    let agent = Some("sipcli/v".to_owned());
    assert_eq!(detectors.take_scanners(), [Scanner { source: source(7), refusals: 0, agent }]);
}
