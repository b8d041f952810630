//! Configuration changes without losing state, and bad ones change nothing.

use std::fs;
use std::time::Duration;

use edge_tests::edge::Edge;
use edge_tests::netns::{Lab, PEER_INTERFACE};
use edge_tests::pinned;
use edge_tests::process::wait_until;
use nix::sys::signal::Signal;

use crate::{arrived, limited};

const OF_ACME: &str = "[accounts.acme]";
/// One call an hour: what a bucket has given stays given for the length of a test.
const FIVE: &str = "sip.invite = '1/hour burst 5'";

#[test]
fn a_reload_keeps_buckets_and_counters() {
    let lab = Lab::make().unwrap();
    let edge = Edge::start(&lab, &limited(FIVE)).unwrap();
    assert_eq!(offer(&lab, &edge, 10), (5, 5));
    edge.configure(&limited(&format!("{FIVE}\nsip.options = '7/s'"))).unwrap();
    edge.ctl(&["reload"]).unwrap();
    assert_eq!(limit(&edge, "sip.options"), "7/s");
    assert_eq!(offer(&lab, &edge, 10), (5, 15), "the bucket is as empty as before");
}

#[test]
fn a_bad_configuration_leaves_the_old_in_force_and_names_every_problem() {
    let lab = Lab::make().unwrap();
    let mut edge = Edge::start(&lab, &limited(FIVE)).unwrap();
    edge.configure(
        "[plans.tested.account]\nsip.invit = '5/s'\nsip.options = 'fast'\n[accounts.acme]\nplan = 'none'",
    )
    .unwrap();
    let refused = edge.edgectl(&["reload"]).unwrap();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success(), "a bad configuration was accepted");
    for problem in ["sip.invit", "fast", "none"] {
        assert!(said.contains(problem), "{problem} is not named in:\n{said}");
    }
    edge.daemon().unwrap().signal(Signal::SIGHUP).unwrap();
    wait_until("status tells of the refused reload", Duration::from_secs(30), || {
        edge.status().is_ok_and(|status| status.config_error.is_some())
    });
    assert_eq!(offer(&lab, &edge, 10), (5, 5), "the old limit holds");
}

/// The second of two caller IDs has no room, and the first is there by then.
#[test]
fn a_configuration_that_the_kernel_takes_half_of_is_undone() {
    let with = |ids: &str| format!("[capacity]\ncaller_ids = 2\n{}", limited(FIVE).replace(OF_ACME, ids));
    let lab = Lab::make().unwrap();
    let edge = Edge::start(&lab, &with(OF_ACME)).unwrap();
    pinned::crowd_caller_ids(edge.pins()).unwrap();
    edge.configure(&with(&format!("{OF_ACME}\ncaller_ids = ['44', '49']"))).unwrap();
    let refused = edge.edgectl(&["reload"]).unwrap();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && said.contains("full") && said.contains("stays in force"), "{said}");
    let plan = edge.ctl(&["plan"]).unwrap();
    assert!(
        plan.contains("caller ID 44") && plan.contains("caller ID 49"),
        "one of them is there still: {plan}"
    );
}

/// A peer that sends by more queues than there are to receive by is what the driver refuses native XDP for.
#[test]
fn a_mode_that_the_driver_refuses_is_refused_and_the_mode_before_goes_on() {
    let lab = Lab::make().unwrap();
    let mut edge = Edge::prepare(&lab, &limited(FIVE)).unwrap();
    let ask_for = |edge: &Edge<'_>, mode: &str| {
        edge.configure(&limited(&format!("{FIVE}\nsip.options = '7/s'"))).unwrap();
        let text = fs::read_to_string(edge.config()).unwrap().replace("'native'", &format!("'{mode}'"));
        fs::write(edge.config(), text).unwrap();
    };
    ask_for(&edge, "generic");
    edge.start_daemon().unwrap();
    let mode = |edge: &Edge<'_>| edge.status().unwrap().interfaces[0].xdp_mode.clone();
    assert_eq!((mode(&edge).as_str(), offer(&lab, &edge, 10)), ("generic", (5, 5)));
    let queues = |count| {
        let mut ethtool = lab.peer.command("ethtool");
        assert!(ethtool.args(["--set-channels", PEER_INTERFACE, "tx", count]).status().unwrap().success());
    };
    queues("2");

    ask_for(&edge, "native");
    let refused = edge.edgectl(&["reload"]).unwrap();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(refused.status.code() == Some(1) && said.contains("stays attached in generic mode"), "{said}");
    assert_eq!((mode(&edge).as_str(), offer(&lab, &edge, 10)), ("generic", (5, 15)), "as it was");

    edge.kill().unwrap();
    let mut next = edge.spawn().unwrap();
    assert!(!next.wait(Duration::from_mins(1)).unwrap().success());
    assert!(next.said().contains("stays attached in generic mode"), "{}", next.said());
    assert_eq!(arrived(&lab, &edge, 10), 0, "nor does a start take it off");

    queues("1");
    edge.start_daemon().unwrap();
    assert_eq!((mode(&edge).as_str(), offer(&lab, &edge, 10)), ("native", (5, 35)));
}

/// Offers calls; admitted and refused since the beginning.
fn offer(lab: &Lab, edge: &Edge<'_>, calls: u32) -> (u64, u64) {
    arrived(lab, edge, calls);
    let count = |allowance| edge.messages("acme", "sip.invite", allowance).unwrap();
    (count("admitted"), count("refused"))
}

fn limit(edge: &Edge<'_>, class: &str) -> String {
    let limits = edge.account("acme").unwrap().limits;
    let found = limits.into_iter().find(|limit| limit.class == class && limit.limit != "unlimited");
    found.map_or_else(String::new, |limit| limit.limit.split(" burst").next().unwrap().to_owned())
}
