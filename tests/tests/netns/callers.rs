//! An account shows numbers that are none of its own: counted, told of, and refused.

use std::net::UdpSocket;
use std::time::Duration;

use edge_tests::edge::Edge;
use edge_tests::netns::{ACME, Lab, SERVER};
use edge_tests::process::wait_until;
use edge_tests::sip::Request;

const SOON: Duration = Duration::from_secs(30);
const CALLS: u64 = 20;

#[test]
fn calls_that_show_anothers_number_are_told_of_and_refused_where_that_is_configured() {
    let lab = Lab::make().unwrap();
    let sections = |ids: &str, mode: &str| {
        format!(
            "[plans.open]\n[accounts.acme]\nsources = ['203.0.113.0/24']\nplan = 'open'\n\
             caller_ids = [{ids}]\ncaller_id_mode = '{mode}'\n"
        )
    };
    let edge = Edge::start(&lab, &sections("'4420'", "count")).unwrap();
    let calls = |allowance| edge.messages("acme", "sip.invite", allowance).unwrap();

    call(&lab, "counted");
    wait_until("they are admitted", SOON, || calls("admitted") == CALLS);
    wait_until("an alert tells", SOON, || {
        edge.ctl(&["alerts", "list", "--open"]).unwrap().contains("caller_id")
    });

    edge.configure(&sections("'4420'", "refuse")).unwrap();
    edge.ctl(&["reload"]).unwrap();
    call(&lab, "refused");
    wait_until("they are refused", SOON, || calls("refused") == CALLS);

    edge.configure(&sections("'4420', '+441632960'", "refuse")).unwrap();
    edge.ctl(&["reload"]).unwrap();
    call(&lab, "own");
    wait_until("they are admitted", SOON, || calls("admitted") == 2 * CALLS);
    assert_eq!(calls("refused"), CALLS);
}

/// Calls as +441632960001, of which nothing tells that they are calls of before.
fn call(lab: &Lab, name: &'static str) {
    lab.peer
        .enter(move || {
            let socket = UdpSocket::bind((ACME, 5071))?;
            for call in 0..CALLS {
                let request = Request::new("INVITE").call_id(&format!("{name}-{call}"));
                let request = request.branch(&format!("z9hG4bK{name}{call}"));
                socket.send_to(&request.bytes(), (SERVER, 5060))?;
            }
            Ok(())
        })
        .unwrap();
}
