//! What an alert says, how soon it opens, and that a full table is one.

use std::collections::BTreeMap;
use std::net::UdpSocket;
use std::thread::sleep;
use std::time::Duration;

use edge_ebpf::abi::{PREFIX_PAGES, PREFIX_SETS_PER_PAGE, PREFIX_WAYS, prefix_key};
use edge_ebpf::hash::mix;
use edge_tests::edge::Edge;
use edge_tests::netns::{ACME, Lab, SERVER};
use edge_tests::process::{assert_within, wait_until};
use edge_tests::sip::Request;
use edge_user::alert::Alert;
use edge_user::api::types::AlertView;
use jiff::Timestamp;

use crate::{OPEN, limited};

const SOON: Duration = Duration::from_secs(30);
/// The detector calls an account quiet that was silent for so long.
const SILENCE: Duration = Duration::from_secs(5);

#[test]
fn a_spike_opens_within_two_seconds_and_says_who_what_against_what_and_what_was_done() {
    assert_within("the opening of a spike", Duration::from_secs(2), || {
        let lab = Lab::make().unwrap();
        let edge = Edge::start(&lab, &limited("sip.invite = '20/s burst 20'")).unwrap();
        // A customer of old, who has sent more than the attacker will.
        call(&lab, ACME, "+44163296", 1, 500);
        sleep(SILENCE);
        let onset = Timestamp::now();
        for second in 0..3_u64 {
            for tenth in 0..10 {
                call(&lab, "203.0.113.8", "+37120", 1000 + second * 100 + tenth * 10, 10);
                sleep(Duration::from_millis(100));
            }
        }
        wait_until("the spike is told", SOON, || !open(&edge, "spike").is_empty());
        let alert = &open(&edge, "spike")[0];
        assert_told(alert);
        alert.opened_at.duration_since(onset).try_into().unwrap()
    });
}

fn assert_told(alert: &Alert) {
    let finding = &alert.finding;
    assert_eq!((finding.account.as_str(), finding.subject.as_str()), ("acme", "sip.invite"));
    assert!(finding.observed > finding.threshold && finding.threshold >= 5.0, "{finding:?}");
    assert!(finding.baseline.is_some_and(|baseline| baseline < finding.threshold), "{finding:?}");
    assert_eq!((finding.window_secs, finding.unit.as_str()), (1, "messages/s"));
    assert!(alert.action.starts_with("limits in force: 20/s burst 20; "), "{}", alert.action);
    let source = finding.evidence.iter().find(|it| it.kind == "source");
    assert_eq!(source.map(|it| it.value.as_str()), Some("203.0.113.8"), "who sends now: {finding:?}");
}

/// The table of called prefixes has room for so many in one set; one more is counted under none, and told.
#[test]
fn a_called_prefix_that_finds_no_room_is_admitted_and_told_by_an_alert() {
    let lab = Lab::make().unwrap();
    let edge = Edge::start(&lab, OPEN).unwrap();
    let prefixes = one_set();
    let mut calls = 0;
    wait_until("the full table is told", SOON, || {
        for prefix in &prefixes {
            calls += 1;
            call(&lab, ACME, &format!("+{prefix}"), 5000 + calls, 1);
        }
        !open(&edge, "map_full").is_empty()
    });
    let alert = &open(&edge, "map_full")[0];
    assert_eq!((alert.finding.account.as_str(), alert.finding.subject.as_str()), ("edge", "PREFIXES"));
    assert!(alert.action.contains("metered as ever"), "{}", alert.action);
    assert_eq!(edge.messages("acme", "sip.invite", "admitted").unwrap(), calls, "and every call is admitted");
}

/// Prefixes of five digits, one more than there are ways, that the first account counts in one set.
fn one_set() -> Vec<u32> {
    let mut sets: BTreeMap<(u32, usize), Vec<u32>> = BTreeMap::new();
    for prefix in 10_000..100_000_u32 {
        // With a 1 before them, as the kernel keeps digits.
        let hash = mix(0, prefix_key(1, 100_000 + prefix));
        let page = u32::try_from(hash & u64::from(PREFIX_PAGES - 1)).unwrap();
        let set = usize::try_from(hash >> 32).unwrap() & (PREFIX_SETS_PER_PAGE - 1);
        let same = sets.entry((page, set)).or_default();
        same.push(prefix);
        if same.len() > PREFIX_WAYS {
            return same.clone();
        }
    }
    panic!("no set is that full")
}

fn open(edge: &Edge<'_>, rule: &str) -> Vec<Alert> {
    let alerts: Vec<AlertView> = edge.read(&["alerts", "list", "--open"]).unwrap();
    alerts.into_iter().map(|it| it.alert).filter(|it| it.finding.rule == rule).collect()
}

/// As many INVITEs to numbers below a prefix; `first` numbers them, so that none repeats another.
fn call(lab: &Lab, source: &'static str, prefix: &str, first: u64, count: u64) {
    let prefix = prefix.to_owned();
    lab.peer
        .enter(move || {
            let socket = UdpSocket::bind((source, 5071))?;
            for number in first..first + count {
                let request = Request::new("INVITE")
                    .uri(&format!("sip:{prefix}{number:04}@{SERVER}"))
                    .call_id(&format!("{number}@{source}"))
                    .branch(&format!("z9hG4bKcall{number}"));
                socket.send_to(&request.bytes(), (SERVER, 5060))?;
            }
            Ok(())
        })
        .unwrap();
}
