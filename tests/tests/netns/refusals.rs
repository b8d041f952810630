//! Messages refused in SMPP's own words, with the real daemon between real clients and servers.

use std::time::Duration;

use edge_tests::edge::Edge;
use edge_tests::netns::{ACME, Lab};
use edge_tests::peers::{Esme, Smsc, SmscKind};

use crate::limited;

const LONG: Duration = Duration::from_mins(1);
const NATIVE: &str = "[smpp]\nrefusal = 'native'\n";

/// The client keeps as many requests open as its window allows: what passes is burst and rate, every message that does not is
/// answered 0x58, and the server has what the client was told it has.
#[test]
fn every_message_over_the_limit_is_answered_throttled() {
    for (kind, limit, burst) in [
        (SmscKind::Npm, 10, 5),
        (SmscKind::Smpp34, 50, 5),
        (SmscKind::Npm, 200, 10),
        (SmscKind::Smpp34, 200, 10),
        // A tenth of a second's worth: what a busy machine may keep the client waiting.
        (SmscKind::Plain, 2000, 200),
    ] {
        let lab = Lab::make().unwrap();
        let rates = limited(&format!("smpp.submit = '{limit}/s burst {burst}'"));
        let edge = Edge::start(&lab, &format!("{NATIVE}refusals = 'unlimited'\n{rates}")).unwrap();
        let server = Smsc::start_kind(&lab, edge.directory(), kind).unwrap();
        let arguments = ["--count", "1000000", "--window", "10", "--seconds", "6"];
        let client = Esme::start(&lab, edge.directory(), ACME, &arguments).unwrap();
        let told = client.finish(LONG).unwrap();
        let got = server.stop().unwrap();
        let what = format!("{kind:?}, {limit}/s: {told:?}");

        let throttled = told.statuses.get("0x58").copied().unwrap_or_default();
        // smpp34 may close the connection before its answer to the unbind has been read: that is after all that counts.
        let is_closed_at_end = matches!(kind, SmscKind::Smpp34) && told.sent.contains_key("unbind");
        assert!(told.error.is_none() || is_closed_at_end, "{what}");
        assert_eq!(told.ok + throttled, told.sent["submit_sm"], "every request is answered, {what}");
        assert_eq!(u64::try_from(got.submits_at.len()).unwrap(), told.ok, "{what}");
        assert_eq!(edge.messages("acme", "smpp.submit", "admitted").unwrap(), told.ok, "{what}");
        assert_eq!(edge.messages("acme", "smpp.submit", "refused").unwrap(), throttled, "{what}");
        assert!(throttled > 0, "{what}");
        // Exact to the message, but for what the client's clock does not know: how long its first and last were under way.
        let allowed = f64::from(burst) + f64::from(limit) * told.sent_for_seconds;
        let off = (f64::from(u32::try_from(told.ok).unwrap()) - allowed).abs();
        assert!(off <= 1.0 + f64::from(limit) * 0.02, "{off} beside {allowed}, {what}");
    }
}

/// Beyond the limit of refusals the segment is dropped: a client that hammers is slowed down, and still every request is
/// answered in the end.
#[test]
fn a_client_that_hammers_is_held_back() {
    let lab = Lab::make().unwrap();
    let rates = limited("smpp.submit = '20/s burst 20'");
    let edge = Edge::start(&lab, &format!("{NATIVE}refusals = '50/s burst 20'\n{rates}")).unwrap();
    let server = Smsc::start_kind(&lab, edge.directory(), SmscKind::Npm).unwrap();
    let arguments = ["--count", "1000000", "--window", "10", "--seconds", "5"];
    let told = Esme::start(&lab, edge.directory(), ACME, &arguments).unwrap().finish(LONG).unwrap();
    let got = server.stop().unwrap();
    let throttled = told.statuses.get("0x58").copied().unwrap_or_default();
    assert_eq!(told.ok + throttled, told.sent["submit_sm"], "{told:?}");
    assert_eq!(u64::try_from(got.submits_at.len()).unwrap(), told.ok, "{told:?}");
    assert!((10..=20 + 50 * 40).contains(&throttled), "{told:?}");
}

/// An account has one limit over all its binds, wherever they come from.
#[test]
fn a_bind_is_metered_as_the_account_of_its_system_id() {
    let lab = Lab::make().unwrap();
    let rates = limited("smpp.submit = '30/s burst 10'")
        .replace("plan = 'tested'", "plan = 'tested'\nsystem_ids = ['acme']");
    let edge = Edge::start(&lab, &format!("{NATIVE}{rates}")).unwrap();
    let server = Smsc::start_kind(&lab, edge.directory(), SmscKind::Npm).unwrap();
    let arguments = ["--count", "1000000", "--window", "10", "--seconds", "5", "--system-id", "acme"];
    let first = Esme::start(&lab, edge.directory(), ACME, &arguments).unwrap();
    let second = Esme::start(&lab, edge.directory(), edge_tests::netns::STRANGER, &arguments).unwrap();
    let (first, second) = (first.finish(LONG).unwrap(), second.finish(LONG).unwrap());
    let got = server.stop().unwrap();
    let passed = first.ok + second.ok;
    assert_eq!(u64::try_from(got.submits_at.len()).unwrap(), passed);
    assert_eq!(edge.messages("acme", "smpp.submit", "admitted").unwrap(), passed);
    // Both began within a second of each other.
    assert!((150..=200).contains(&passed), "{passed} passed");
    assert!(first.ok > 10 && second.ok > 10, "both have their share: {} and {}", first.ok, second.ok);
}
