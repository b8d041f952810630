//! Concurrent calls under a real server and a real caller: slots come back, can be seen, taken back and put right.

use std::net::UdpSocket;
use std::time::Duration;

use edge_ebpf::abi::{AccountState, CallCount};
use edge_tests::edge::Edge;
use edge_tests::netns::{ACME, ACME_OTHER, Lab, SERVER};
use edge_tests::peers::Sipp;
use edge_tests::pinned::{self, ACME_NUMBER};
use edge_tests::process::wait_until;
use edge_tests::sip::Request;
use edge_user::api::types::LiveCall;

use crate::OPEN;

const LONG: Duration = Duration::from_mins(1);

#[test]
fn every_call_of_a_real_caller_gives_its_slot_back() {
    let lab = Lab::make().unwrap();
    let edge = Edge::start(&lab, OPEN).unwrap();
    let server = Sipp::server(&lab, edge.directory()).unwrap();
    let sent = Sipp::client(&lab, edge.directory(), "uac", ACME, 100, 300).unwrap().finish(LONG).unwrap();
    assert_eq!(server.stop().unwrap()["BYE_Recv"], sent["INVITE_Sent"]);
    let account = || pinned::account(edge.pins(), ACME_NUMBER).unwrap();
    wait_until("every slot is back", LONG, || account().calls_active == 0);
    let calls = account().counters.calls;
    for what in [CallCount::Admitted, CallCount::Answered, CallCount::Ended] {
        assert_eq!(calls[what.index()], sent["INVITE_Sent"], "{what}");
    }
}

#[test]
fn calls_under_way_are_shown_and_one_slot_is_taken_back_by_command() {
    let lab = Lab::make().unwrap();
    let trunks = "[accounts.acme.trunks.london]\nsources = ['203.0.113.8']\ncalls = 1\n";
    let edge = Edge::start(&lab, &format!("{OPEN}\n{trunks}")).unwrap();
    call(&lab, ACME, &["one", "two"]);
    call(&lab, ACME_OTHER, &["three", "four"]);
    let list = || edge.read::<Vec<LiveCall>>(&["calls", "list", "--account", "acme"]).unwrap();
    wait_until("three calls hold slots", LONG, || list().len() == 3);
    let calls = list();
    let of_trunk: Vec<&LiveCall> = calls.iter().filter(|call| call.trunk.is_some()).collect();
    assert_eq!(of_trunk.len(), 1, "the trunk has one slot: {calls:?}");
    assert_eq!((of_trunk[0].trunk.as_deref(), of_trunk[0].source.as_str()), (Some("london"), ACME_OTHER));
    for call in &calls {
        assert_eq!((call.state.as_str(), call.to.as_str(), call.slots), ("proceeding", "44163296xxxx", 1));
    }
    let id = of_trunk[0].id.as_str();
    let full: LiveCall = edge.read(&["calls", "show", id, "--full"]).unwrap();
    assert_eq!(full.to, "441632960123");

    edge.ctl(&["calls", "drop-slot", id, "--reason", "it hangs"]).unwrap();
    let left = list();
    assert!(left.len() == 2 && left.iter().all(|call| call.id != id), "{left:?}");
    assert!(!edge.edgectl(&["calls", "show", id]).unwrap().status.success(), "it is gone");
    let audit = edge.ctl(&["audit"]).unwrap();
    assert!(audit.contains("call.slot_dropped") && audit.contains("it hangs"), "{audit}");
    let acme = edge.account("acme").unwrap();
    let [london] = &acme.trunks[..] else { panic!("{:?}", acme.trunks) };
    assert_eq!((acme.calls_active, london.calls_active, london.refused, london.calls_max), (2, 0, 1, 1));
    call(&lab, ACME_OTHER, &["five"]);
    wait_until("the trunk's slot is free again", LONG, || list().len() == 3);
    wait_until("the records name the trunk", LONG, || {
        let csv = edge.ctl(&["calls", "export", "--format", "csv"]).unwrap();
        csv.contains(",dropped,sweep,london") && csv.contains(",refused_calls,edge,london")
    });
}

#[test]
fn a_count_that_differs_from_the_calls_is_put_right_and_told() {
    let lab = Lab::make().unwrap();
    let edge = Edge::start(&lab, OPEN).unwrap();
    call(&lab, ACME, &["one", "two"]);
    let account = || pinned::account(edge.pins(), ACME_NUMBER).unwrap();
    wait_until("two calls hold slots", LONG, || account().calls_active == 2);
    for wrong in [7, 0] {
        pinned::set_account(edge.pins(), ACME_NUMBER, AccountState { calls_active: wrong, ..account() })
            .unwrap();
        wait_until("the count is put right", LONG, || account().calls_active == 2);
    }
    assert_eq!(pinned::calls(edge.pins()).unwrap().len(), 2, "no call lost its slot by it");
    wait_until("the audit tells", LONG, || {
        let audit = edge.ctl(&["audit"]).unwrap();
        audit.contains("calls.corrected") && audit.contains("+5 slots") && audit.contains("-2 slots")
    });
    assert_eq!(edge.status().unwrap().calls.corrected, 7);
    wait_until("an alert tells", LONG, || {
        edge.ctl(&["alerts", "list", "--open"]).unwrap().contains("slots_drifted")
    });
}

/// INVITEs that nobody answers.
fn call(lab: &Lab, source: &'static str, calls: &'static [&'static str]) {
    lab.peer
        .enter(move || {
            let socket = UdpSocket::bind((source, 5070))?;
            for call in calls {
                let branch = format!("z9hG4bK{call}");
                let invite = Request::new("INVITE").call_id(&format!("{call}@{source}")).branch(&branch);
                socket.send_to(&invite.bytes(), (SERVER, 5060))?;
            }
            Ok(())
        })
        .unwrap();
}
