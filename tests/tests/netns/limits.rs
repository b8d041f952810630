//! Limits hold.

use std::time::Duration;

use edge_tests::edge::Edge;
use edge_tests::netns::{ACME, Lab};
use edge_tests::peers::{Esme, Sipp, Smsc};
use edge_tests::process::wait_until;

use crate::limited;

const LONG: Duration = Duration::from_mins(1);

/// 200 calls a second offered, 50 allowed: over ten seconds burst and rate admit 10 + 500, and nobody is
/// refused within a call.
#[test]
fn a_sip_limit_is_held_within_one_percent_over_ten_seconds() {
    let lab = Lab::make().unwrap();
    let edge = Edge::start(&lab, &limited("sip.invite = '50/s burst 10'")).unwrap();
    let server = Sipp::server(&lab, edge.directory()).unwrap();
    let sent = Sipp::client(&lab, edge.directory(), "uac", ACME, 200, 2000).unwrap().finish(LONG).unwrap();
    let got = server.stop().unwrap();

    let admitted = edge.messages("acme", "sip.invite", "admitted").unwrap();
    let refused = edge.messages("acme", "sip.invite", "refused").unwrap();
    assert_eq!(admitted + refused, sent["INVITE_Sent"], "admitted and refused are what was offered");
    assert_eq!(got["INVITE_Recv"], admitted, "what was admitted arrived, and nothing else");
    let allowed = 510.0;
    let off = (f64::from(u32::try_from(admitted).unwrap()) - allowed).abs() / allowed;
    assert!(off <= 0.01, "{admitted} admitted of {allowed} allowed");

    let acme = edge.settled("acme").unwrap();
    assert_eq!((acme.sip["ACK"], acme.sip["BYE"]), (admitted, admitted), "within a call nothing is refused");
    assert_eq!(got["BYE_Recv"], admitted);
}

/// Dropping segments cannot hold a rate, since TCP waits before it sends again; but it never lets more through.
#[test]
fn an_smpp_limit_is_never_exceeded() {
    let lab = Lab::make().unwrap();
    let edge = Edge::start(&lab, &limited("smpp.submit = '20/s burst 5'")).unwrap();
    let server = Smsc::start(&lab, edge.directory()).unwrap();
    let arguments = ["--count", "100000", "--window", "10", "--seconds", "8"];
    let client = Esme::start(&lab, edge.directory(), ACME, &arguments).unwrap();
    client.finish(LONG).unwrap();
    // The client's last messages are still sent again after its end.
    wait_until("the server has read what was admitted, each once", LONG, || {
        let admitted = edge.messages("acme", "smpp.submit", "admitted").unwrap();
        u64::try_from(server.so_far().unwrap().submits_at.len()).unwrap() == admitted
    });
    let got = server.stop().unwrap();
    assert!(edge.messages("acme", "smpp.submit", "refused").unwrap() > 0, "the limit was reached");
    for (first, start) in got.submits_at.iter().enumerate() {
        for (last, end) in got.submits_at.iter().enumerate().skip(first) {
            let messages = f64::from(u32::try_from(last - first + 1).unwrap());
            // A segment with more messages than the burst passes when the bucket is full: window 10. And the
            // server's clock runs behind the edge's by what it waits for its turn.
            let allowed = 10.0 + 20.0 * (end - start + 0.1);
            assert!(messages <= allowed, "{messages} within {:.3} s", end - start);
        }
    }
    assert!(got.submits_at.len() >= 20, "messages still flow: {}", got.submits_at.len());
}

#[test]
fn observing_counts_what_it_would_refuse_and_refuses_nothing() {
    let lab = Lab::make().unwrap();
    let observed =
        limited("sip.invite = '1/s burst 1'").replace("plan = 'tested'", "plan = 'tested'\nmode = 'observe'");
    let edge = Edge::start(&lab, &observed).unwrap();
    let server = Sipp::server(&lab, edge.directory()).unwrap();
    Sipp::client(&lab, edge.directory(), "uac", ACME, 100, 100).unwrap().finish(LONG).unwrap();
    let got = server.stop().unwrap();
    assert_eq!(got["INVITE_Recv"], 100);
    assert_eq!(edge.messages("acme", "sip.invite", "refused").unwrap(), 0);
    let (admitted, observed) = (
        edge.messages("acme", "sip.invite", "admitted").unwrap(),
        edge.messages("acme", "sip.invite", "observed").unwrap(),
    );
    assert_eq!(admitted + observed, 100);
    assert!(observed >= 95, "{observed} observed over a limit of one a second");
}
