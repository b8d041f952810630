//! Enforcement outlives the daemon, and the next daemon takes over what is there.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use edge_ebpf::abi::ABI_VERSION;
use edge_tests::edge::Edge;
use edge_tests::kernel::Kernel;
use edge_tests::netns::{ACME, EDGE_INTERFACE, Lab};
use edge_tests::peers::{Caller, PATIENT, Sipp};
use edge_tests::process::wait_until;
use edge_user::api::types::Repair;

use crate::{OPEN, arrived, limited};

const LONG: Duration = Duration::from_mins(1);
const SOON: Duration = Duration::from_secs(30);
const FIVE: &str = "sip.invite = '1/hour burst 5'";

#[test]
fn a_killed_daemon_leaves_its_limits_and_the_next_one_adopts_them() {
    let lab = Lab::make().unwrap();
    let mut edge = Edge::start(&lab, &limited(FIVE)).unwrap();
    assert_eq!(arrived(&lab, &edge, 3), 3);
    edge.kill().unwrap();
    assert_eq!(arrived(&lab, &edge, 10), 2, "the bucket goes on without the daemon");
    edge.start_daemon().unwrap();
    assert_eq!(edge.messages("acme", "sip.invite", "admitted").unwrap(), 5);
    assert_eq!(
        edge.messages("acme", "sip.invite", "refused").unwrap(),
        8,
        "counted while no daemon was there"
    );
    assert_eq!(arrived(&lab, &edge, 5), 0);
    assert!(edge.status().unwrap().interfaces[0].pinned);
}

/// What a program goes on in must outlive the daemon, too, and go with the programs that went on in it.
#[test]
fn stages_outlive_the_daemon_and_the_next_one_brings_its_own() {
    let lab = Lab::make().unwrap();
    let mut edge = Edge::start(&lab, OPEN).unwrap();
    let server = Sipp::tcp_server(&lab, edge.directory()).unwrap();
    let calls = |edge: &Edge<'_>| {
        let caller = Caller {
            scenario: "uac",
            source: ACME,
            rate: 50,
            count: 10,
            hold: Duration::ZERO,
            user: "441632960123",
            patience: PATIENT,
        };
        let client = Sipp::tcp_client(&lab, edge.directory(), &caller, true).unwrap();
        assert_eq!(client.finish(LONG).unwrap()["INVITE_Sent"], 10);
    };
    let stages = |edge: &Edge<'_>| -> Vec<String> {
        pinned(edge.pins())
            .iter()
            .filter_map(|path| path.file_name()?.to_str())
            .filter(|name| name.contains("_STAGES"))
            .map(str::to_owned)
            .collect()
    };
    calls(&edge);
    assert_eq!(stages(&edge), ["EGRESS_STAGES@1", "INGRESS_STAGES@1"]);
    edge.kill().unwrap();
    calls(&edge);
    edge.start_daemon().unwrap();
    assert_eq!(stages(&edge), ["EGRESS_STAGES@2", "INGRESS_STAGES@2"]);
    calls(&edge);
    edge.settled("acme").unwrap();
    assert_eq!(
        edge.messages("acme", "sip.invite", "admitted").unwrap(),
        30,
        "ten before, without, and with the next"
    );
    server.stop().unwrap();
}

#[test]
fn a_second_daemon_is_refused_with_the_reason() {
    let lab = Lab::make().unwrap();
    let mut edge = Edge::start(&lab, &limited(FIVE)).unwrap();
    let mut second = edge.spawn().unwrap();
    let status = second.wait(SOON).unwrap();
    assert!(!status.success(), "two daemons on one interface");
    let said = second.said();
    assert!(said.contains("already") || said.contains("another") || said.contains("running"), "{said}");
    assert_eq!(arrived(&lab, &edge, 10), 5, "the first one's limits hold");
    assert!(edge.status().is_ok());
}

/// Pins of its own do not make two daemons one.
#[test]
fn a_second_daemon_with_other_pins_is_refused_too_and_leaves_nothing_behind() {
    let lab = Lab::make().unwrap();
    let edge = Edge::start(&lab, &limited(FIVE)).unwrap();
    let mut other = Edge::prepare(&lab, &limited(FIVE)).unwrap();
    let mut second = other.spawn().unwrap();
    assert!(!second.wait(SOON).unwrap().success(), "two daemons on one interface");
    assert!(second.said().contains("another XDP program is attached to edge0"), "{}", second.said());
    assert_eq!(pinned(other.pins()), BTreeSet::new(), "maps that nobody looks after");
    assert_eq!(arrived(&lab, &edge, 10), 5, "the first one's limits hold");
}

#[test]
fn an_interface_that_vanishes_and_returns_is_attached_again() {
    let lab = Lab::make().unwrap();
    let edge = Edge::start(&lab, &limited(FIVE)).unwrap();
    assert_eq!(arrived(&lab, &edge, 10), 5);
    lab.unplug().unwrap();
    wait_until("status tells that the interface is absent", SOON, || mode(&edge) == "absent");
    lab.plug().unwrap();
    wait_until("the interface is attached again", SOON, || mode(&edge) == "native");
    assert_eq!(arrived(&lab, &edge, 5), 0, "with its buckets");
}

#[test]
fn pins_that_somebody_removes_take_nothing_off_and_come_back() {
    let lab = Lab::make().unwrap();
    let mut edge = Edge::start(&lab, &limited(FIVE)).unwrap();
    assert_eq!(arrived(&lab, &edge, 3), 3);
    let before = pinned(edge.pins());
    fs::remove_dir_all(edge.pins()).unwrap();
    assert_eq!(arrived(&lab, &edge, 10), 2, "the limit holds without pins");
    wait_until("everything is pinned again", SOON, || pinned(edge.pins()) == before);
    wait_until("status tells", SOON, || repaired(&edge).is_some());
    assert_eq!(repaired(&edge).unwrap().found, "the pin of the link was removed");
    wait_until("an alert tells", SOON, || {
        edge.ctl(&["alerts", "list", "--open"]).unwrap().contains("link_lost")
    });
    edge.kill().unwrap();
    assert_eq!(arrived(&lab, &edge, 5), 0, "and what is pinned again outlives the daemon");
    edge.start_daemon().unwrap();
    assert_eq!(edge.messages("acme", "sip.invite", "refused").unwrap(), 13, "with its counters");
}

#[test]
fn a_link_that_somebody_gives_another_program_gets_ours_back() {
    let lab = Lab::make().unwrap();
    let edge = Edge::start(&lab, &limited(FIVE)).unwrap();
    assert_eq!(arrived(&lab, &edge, 10), 5);
    let mut usurper = Kernel::load().unwrap();
    usurper.usurp(&edge.pins().join(format!("v{ABI_VERSION}/link-{EDGE_INTERFACE}"))).unwrap();
    wait_until("our program is back", SOON, || repaired(&edge).is_some());
    assert_eq!(repaired(&edge).unwrap().found, "the link was given another program");
    assert_eq!(arrived(&lab, &edge, 5), 0, "with its buckets");
}

fn repaired(edge: &Edge<'_>) -> Option<Repair> {
    edge.status().unwrap().interfaces.into_iter().find_map(|interface| interface.repaired)
}

/// Names of all pins.
fn pinned(directory: &Path) -> BTreeSet<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else { return BTreeSet::new() };
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    paths.flat_map(|path| if path.is_dir() { pinned(&path) } else { BTreeSet::from([path]) }).collect()
}

fn mode(edge: &Edge<'_>) -> String {
    let status = edge.status().unwrap();
    status.interfaces.into_iter().find(|interface| interface.name == EDGE_INTERFACE).unwrap().xdp_mode
}
