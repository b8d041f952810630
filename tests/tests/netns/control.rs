//! What operators set by command works at once, survives a restart, and lifts itself.

use std::fs;
use std::time::Duration;

use edge_tests::edge::{Edge, binary};
use edge_tests::netns::{ACME, Lab, SERVER};
use edge_tests::peers::{Sipp, Smsc};
use edge_tests::pinned;
use edge_tests::process::wait_until;

use crate::{OPEN, arrived};

const LONG: Duration = Duration::from_mins(1);
const SOON: Duration = Duration::from_secs(30);

#[test]
fn a_limit_set_by_command_holds_at_once_and_after_a_restart() {
    let lab = Lab::make().unwrap();
    let mut edge = Edge::start(&lab, OPEN).unwrap();
    edge.ctl(&["limits", "set", "acme", "sip.invite", "1/hour burst 3", "--reason", "test"]).unwrap();
    assert_eq!(arrived(&lab, &edge, 10), 3);
    edge.kill().unwrap();
    edge.start_daemon().unwrap();
    assert_eq!(arrived(&lab, &edge, 10), 0, "the override was kept, and its bucket too");
    edge.ctl(&["limits", "unset", "acme", "sip.invite", "--reason", "test"]).unwrap();
    assert_eq!(arrived(&lab, &edge, 10), 10);
    let audit = edge.ctl(&["audit"]).unwrap();
    assert!(audit.contains("limit.set") && audit.contains("limit.unset"), "{audit}");
}

#[test]
fn a_limit_set_for_a_while_lifts_itself() {
    let lab = Lab::make().unwrap();
    let edge = Edge::start(&lab, OPEN).unwrap();
    let is_set = || edge.account("acme").unwrap().limits.iter().any(|limit| limit.origin == "override");
    // A busy machine may take longer for the calls than the limit lasts.
    let held = ["3s", "10s", "30s"].iter().any(|time| {
        edge.ctl(&["limits", "set", "acme", "sip.invite", "0/s", "--for", time, "--reason", "test"]).unwrap();
        let passed = arrived(&lab, &edge, 5);
        let is_set = is_set();
        assert!(passed == 0 || !is_set, "{passed} passed");
        is_set
    });
    assert!(held, "the limit was over too soon");
    wait_until("calls pass again", LONG, || arrived(&lab, &edge, 1) == 1);
    assert!(!is_set(), "{:?}", edge.account("acme").unwrap().limits);
}

/// Where the kernel's tables contradict each other, nothing can be changed; once they do not, what is due is done.
#[test]
fn a_limit_that_could_not_be_lifted_in_time_is_lifted_once_the_kernel_lets() {
    let lab = Lab::make().unwrap();
    let edge = Edge::start(&lab, OPEN).unwrap();
    edge.ctl(&["limits", "set", "acme", "sip.invite", "0/s", "--for", "5s", "--reason", "test"]).unwrap();
    pinned::set_account_name(edge.pins(), 9, "unknown").unwrap();
    let is_set = || edge.account("acme").unwrap().limits.iter().any(|limit| limit.origin == "override");
    wait_until("the limit is over", SOON, || !is_set());
    assert_eq!(arrived(&lab, &edge, 5), 0, "the kernel could be changed: the test tests nothing");
    let refused = edge.edgectl(&["limits", "set", "acme", "sip.options", "9/s", "--reason", "test"]).unwrap();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && said.contains("tried again"), "{said}");

    pinned::set_account_name(edge.pins(), 9, "").unwrap();
    wait_until("calls pass again", LONG, || arrived(&lab, &edge, 1) == 1);
}

#[test]
fn a_ban_drops_everything_until_it_is_lifted() {
    let lab = Lab::make().unwrap();
    let edge = Edge::start(&lab, OPEN).unwrap();
    assert_eq!(arrived(&lab, &edge, 5), 5);
    edge.ctl(&["ban", ACME, "--for", "1h", "--reason", "test"]).unwrap();
    assert_eq!(arrived(&lab, &edge, 5), 0);
    edge.ctl(&["unban", ACME]).unwrap();
    assert_eq!(arrived(&lab, &edge, 5), 5);
}

#[test]
fn an_allowed_source_is_never_refused() {
    let lab = Lab::make().unwrap();
    let edge = Edge::start(&lab, &crate::limited("sip.invite = '0/s'")).unwrap();
    assert_eq!(arrived(&lab, &edge, 5), 0);
    edge.ctl(&["allow", ACME, "--reason", "test"]).unwrap();
    assert_eq!(arrived(&lab, &edge, 5), 5);
}

#[test]
fn a_detach_ends_enforcement_and_leaves_nothing_pinned() {
    let lab = Lab::make().unwrap();
    let mut edge = Edge::start(&lab, &crate::limited("sip.invite = '0/s'")).unwrap();
    edge.ctl(&["detach", "--reason", "test"]).unwrap();
    edge.daemon().unwrap().wait(SOON).unwrap();
    let pinned: Vec<_> = walk(edge.pins());
    assert!(pinned.is_empty(), "still pinned: {pinned:?}");
    let server = Sipp::server(&lab, edge.directory()).unwrap();
    Sipp::client(&lab, edge.directory(), "uac", ACME, 100, 5).unwrap().finish(LONG).unwrap();
    assert_eq!(server.stop().unwrap()["INVITE_Recv"], 5);
}

/// Something foreign among the pins makes the last step of a detach fail, after all pins were removed.
#[test]
fn a_detach_that_fails_leaves_edge_as_it_was_and_limits_still_lift_themselves() {
    let lab = Lab::make().unwrap();
    let mut edge = Edge::start(&lab, &crate::limited("sip.invite = '0/s'")).unwrap();
    let foreign = edge.pins().join("foreign");
    fs::create_dir(&foreign).unwrap();
    let refused = edge.edgectl(&["detach", "--reason", "test"]).unwrap();
    assert!(!refused.status.success());
    assert_eq!(arrived(&lab, &edge, 5), 0, "the interface was left without Edge");
    edge.ctl(&["limits", "set", "acme", "sip.invite", "unlimited", "--for", "2s", "--reason", "test"])
        .unwrap();
    let is_set = || edge.account("acme").unwrap().limits.iter().any(|limit| limit.origin == "override");
    wait_until("the limit lifts itself", SOON, || !is_set());
    wait_until("calls are refused again", SOON, || arrived(&lab, &edge, 5) == 0);

    fs::remove_dir(&foreign).unwrap();
    edge.ctl(&["detach", "--reason", "test"]).unwrap();
    edge.daemon().unwrap().wait(SOON).unwrap();
    assert!(!edge.pins().exists());
}

/// The doctor asks through Edge, as a customer would, and its probe is no message to anybody.
#[test]
fn the_doctor_finds_that_a_server_bears_native_refusal() {
    let lab = Lab::make().unwrap();
    let edge = Edge::start(&lab, &crate::limited("smpp.submit = '0/s'")).unwrap();
    let server = Smsc::start(&lab, edge.directory()).unwrap();
    let mut doctor = lab.peer.command(binary("edgectl").unwrap());
    doctor.args(["--json", "doctor", "smpp", &format!("{SERVER}:2775"), "--system-id", "probe"]);
    let output = doctor.output().unwrap();
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(output.status.success() && said["native"] == true, "{said}");
    let counts = server.stop().unwrap().commands;
    assert_eq!((counts["enquire_link"], counts.get("submit_sm")), (2, None), "{counts:?}");
}

/// Limits of calls come from account and plan; a suspension refuses new calls and outlives the daemon.
#[test]
fn a_suspension_is_shown_survives_a_restart_and_ends_by_command() {
    let lab = Lab::make().unwrap();
    let mut edge = Edge::start(
        &lab,
        "[plans.open]\ncalls = 40\n[accounts.acme]\nsources = ['203.0.113.0/24']\n\
         plan = 'open'\nlimits.calls = 7\n[accounts.beta]\nsources = ['192.0.2.0/24']\nplan = 'open'\n",
    )
    .unwrap();
    let calls_max = |name| edge.account(name).unwrap().calls_max;
    assert_eq!((calls_max("acme"), calls_max("beta"), calls_max("unknown")), (7, 40, 0));
    assert!(!edge.edgectl(&["suspend", "nobody", "--reason", "test"]).unwrap().status.success());
    edge.ctl(&["suspend", "acme", "--reason", "unpaid"]).unwrap();
    assert_eq!(arrived(&lab, &edge, 5), 0);
    edge.kill().unwrap();
    edge.start_daemon().unwrap();
    assert_eq!(edge.account("acme").unwrap().suspension.unwrap().reason, "unpaid");
    edge.ctl(&["resume", "acme"]).unwrap();
    assert_eq!(edge.account("acme").unwrap().suspension, None);
    assert_eq!(arrived(&lab, &edge, 5), 5);
    edge.ctl(&["suspend", "acme", "--for", "1s", "--reason", "unpaid"]).unwrap();
    wait_until("it ends by itself", SOON, || edge.account("acme").unwrap().suspension.is_none());
    wait_until("the audit tells all of it", SOON, || {
        let audit = edge.ctl(&["audit"]).unwrap();
        ["account.suspended", "account.resumed", "account.expired"].iter().all(|it| audit.contains(it))
    });
}

fn walk(directory: &std::path::Path) -> Vec<std::path::PathBuf> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    entries
        .map(|entry| entry.unwrap().path())
        .flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] })
        .collect()
}
