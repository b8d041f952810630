//! Messages refused in SMPP's own words, with the real daemon between real clients and servers.

use std::time::Duration;

use edge_tests::edge::Edge;
use edge_tests::netns::{ACME, Lab};
use edge_tests::peers::{Esme, Smsc, SmscKind, assert_metered};

use crate::limited;

const LONG: Duration = Duration::from_mins(1);
const NATIVE: &str = "[smpp]\nrefusal = 'native'\n";

/// The client keeps as many requests open as its window allows: what passes is burst and rate, every message that does not is
/// answered 0x58, and the server has what the client was told it has. Bursts are a second's worth, so that a client that
/// the machine keeps waiting for less than that loses nothing of its rate.
#[test]
fn every_message_over_the_limit_is_answered_throttled() {
    for (kind, limit, burst) in [
        (SmscKind::Npm, 10, 10),
        (SmscKind::Smpp34, 50, 50),
        (SmscKind::Npm, 200, 200),
        (SmscKind::Smpp34, 200, 200),
        (SmscKind::Plain, 2000, 2000),
    ] {
        prove(kind, limit, burst);
    }
}

/// The same with Kannel's own server, which is written in C, reads many PDUs at once and answers them in order.
#[test]
fn kannel_as_server_is_told_of_no_message_over_the_limit() {
    prove(SmscKind::Kannel, 50, 50);
}

fn prove(kind: SmscKind, limit: u32, burst: u32) {
    let lab = Lab::make().unwrap();
    let rates = limited(&format!("smpp.submit = '{limit}/s burst {burst}'"));
    let edge = Edge::start(&lab, &format!("{NATIVE}refusals = 'unlimited'\n{rates}")).unwrap();
    let server = Smsc::start_kind(&lab, edge.directory(), kind).unwrap();
    let bind = if kind == SmscKind::Kannel { "transmitter" } else { "transceiver" };
    let arguments = ["--count", "1000000", "--window", "10", "--seconds", "6", "--bind", bind];
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
    let listener = &edge.status().unwrap().listeners[0];
    assert_eq!(
        (listener.refused, listener.answered),
        (throttled, throttled),
        "none waits, {listener:?}, {what}"
    );
    // The server's own, and none that Edge has made.
    let responses = edge.account("acme").unwrap().responses;
    assert_eq!(responses, [("ok".to_owned(), told.ok)].into(), "{what}");
    assert_metered(&[&told], told.ok, limit, burst);
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
    let rates = limited("smpp.submit = '30/s burst 30'")
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
    assert_metered(&[&first, &second], passed, 30, 30);
    assert!(first.ok > 10 && second.ok > 10, "both have their share: {} and {}", first.ok, second.ok);
}
