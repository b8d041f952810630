//! Scanners are banned for a while; customers are not.

use std::net::UdpSocket;
use std::time::Duration;

use edge_tests::edge::Edge;
use edge_tests::netns::{ACME, Lab, SERVER, STRANGER};
use edge_tests::process::wait_until;
use edge_tests::sip::Request;
use edge_user::api::types::{Measure, MeasureKind};
use jiff::{SignedDuration, Timestamp};

/// From the refusals to the ban, by the daemon's clock; one second is its own step.
const AT_ONCE: SignedDuration = SignedDuration::from_secs(3);
const SOON: Duration = Duration::from_secs(30);

#[test]
fn a_stranger_that_guesses_is_banned_for_a_while_and_a_customers_many_phones_are_not() {
    let lab = Lab::make().unwrap();
    let edge = Edge::start(
        &lab,
        "[plans.tight.source]\nsip.register = '1/hour burst 5'\n\
         [unknown]\nplan = 'tight'\nmode = 'enforce'\n\
         [accounts.acme]\nsources = ['203.0.113.0/24']\nplan = 'tight'\n\
         [detect.scanning]\naction = 'ban'\nthreshold = 50\nban_for = '5s'\n",
    )
    .unwrap();
    register(&lab, ACME, 300);
    register(&lab, STRANGER, 300);
    let refused_at = Timestamp::now();
    wait_until("the scanner is banned", SOON, || !bans(&edge).is_empty());
    let [ban] = &bans(&edge)[..] else { panic!("{:?}", bans(&edge)) };
    assert_eq!((ban.prefix.as_str(), ban.kind), ("192.0.2.7/32", MeasureKind::Ban), "{ban:?}");
    assert_eq!(ban.actor, "edge");
    assert!(ban.set_at.duration_since(refused_at) <= AT_ONCE, "{ban:?}, refused at {refused_at}");
    wait_until("an alert tells", SOON, || {
        edge.ctl(&["alerts", "list", "--open"]).unwrap().contains("scanning")
    });
    assert!(edge.ctl(&["audit"]).unwrap().contains("scanning: refused"));
    wait_until("the ban lifts itself", SOON, || bans(&edge).is_empty());
    wait_until("that it was lifted is in the audit", SOON, || {
        edge.ctl(&["audit"]).unwrap().contains("measure.expired")
    });
}

fn bans(edge: &Edge<'_>) -> Vec<Measure> {
    edge.read(&["measures", "list"]).unwrap()
}

/// As many phones behind one address.
fn register(lab: &Lab, source: &'static str, phones: u32) {
    lab.peer
        .enter(move || {
            let socket = UdpSocket::bind((source, 5070))?;
            for phone in 0..phones {
                let request = Request::new("REGISTER").call_id(&format!("{phone}@{source}")).bytes();
                socket.send_to(&request, (SERVER, 5060))?;
            }
            Ok(())
        })
        .unwrap();
}
