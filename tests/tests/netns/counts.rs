//! Counts equal what the peers sent, to the message.

use std::time::Duration;

use edge_tests::edge::Edge;
use edge_tests::netns::{ACME, Lab, STRANGER};
use edge_tests::peers::{Esme, Sipp, Smsc};

use crate::OPEN;

const LONG: Duration = Duration::from_mins(1);

#[test]
fn sip_requests_and_responses_are_counted_by_method_exactly() {
    let lab = Lab::make().unwrap();
    let edge = Edge::start(&lab, OPEN).unwrap();
    let server = Sipp::server(&lab, edge.directory()).unwrap();
    let client = Sipp::client(&lab, edge.directory(), "uac", ACME, 100, 500).unwrap();
    let sent = client.finish(LONG).unwrap();
    let got = server.stop().unwrap();
    assert_eq!(sent["200_Recv"], 1000, "every call was answered: {sent:?}");
    assert_eq!(got["INVITE_Recv"], 500);

    let acme = edge.settled("acme").unwrap();
    for method in ["INVITE", "ACK", "BYE"] {
        assert_eq!(acme.sip[method], sent[&format!("{method}_Sent")], "{method}");
    }
    assert_eq!(acme.sip.values().sum::<u64>(), 1500, "and nothing else: {:?}", acme.sip);
    assert_eq!(edge.messages("acme", "sip.invite", "admitted").unwrap(), 500);
}

#[test]
fn requests_outside_a_dialog_are_counted_under_their_own_class() {
    let lab = Lab::make().unwrap();
    let edge = Edge::start(&lab, OPEN).unwrap();
    let server = Sipp::server(&lab, edge.directory()).unwrap();
    for source in [ACME, STRANGER] {
        Sipp::client(&lab, edge.directory(), "requests", source, 50, 40).unwrap().finish(LONG).unwrap();
    }
    drop(server);
    for account in ["acme", "unknown"] {
        let detail = edge.settled(account).unwrap();
        for method in ["REGISTER", "OPTIONS", "MESSAGE", "SUBSCRIBE", "PUBLISH", "NOTIFY"] {
            assert_eq!(detail.sip.get(method), Some(&40), "{method} of {account}");
        }
        for (class, expected) in
            [("sip.register", 40), ("sip.options", 40), ("sip.message", 40), ("sip.other", 120)]
        {
            assert_eq!(edge.messages(account, class, "admitted").unwrap(), expected, "{class} of {account}");
        }
    }
}

#[test]
fn smpp_pdus_are_counted_by_command_exactly_whatever_the_segments() {
    let lab = Lab::make().unwrap();
    let edge = Edge::start(&lab, OPEN).unwrap();
    let server = Smsc::start(&lab, edge.directory()).unwrap();
    // A PDU a write, PDUs cut into 13 bytes, whole segments, and as much as the socket takes.
    let mut expected = 0;
    for write_size in ["0", "13", "1448", "65536"] {
        let arguments =
            ["--count", "1000", "--window", "0", "--write-size", write_size, "--enquire-links", "5"];
        let report = Esme::start(&lab, edge.directory(), ACME, &arguments).unwrap().finish(LONG).unwrap();
        assert_eq!((report.ok, report.error), (1000, None), "write size {write_size}");
        expected += 1000;
        let acme = edge.settled("acme").unwrap();
        assert_eq!(acme.smpp["submit_sm"], expected, "after write size {write_size}");
    }
    let got = server.stop().unwrap();
    let acme = edge.settled("acme").unwrap();
    assert_eq!(acme.smpp, got.commands, "what the edge counted, and what the server read");
    assert_eq!(edge.messages("acme", "smpp.submit", "admitted").unwrap(), 4000);
    assert_eq!(edge.messages("acme", "smpp.bind", "admitted").unwrap(), 4);
}

#[test]
fn the_outcomes_of_real_traffic_sum_to_the_packets() {
    let lab = Lab::make().unwrap();
    let edge = Edge::start(&lab, OPEN).unwrap();
    let server = Sipp::server(&lab, edge.directory()).unwrap();
    Sipp::client(&lab, edge.directory(), "uac", ACME, 100, 200).unwrap().finish(LONG).unwrap();
    server.stop().unwrap();
    edge.settled("acme").unwrap();
    let status = edge.status().unwrap();
    assert_eq!(status.packets, status.outcomes.values().sum::<u64>());
    assert_eq!(status.outcomes["sip_admitted"], 200);
    assert_eq!(status.outcomes["sip_in_dialog"], 400);
    assert_eq!(status.interfaces[0].xdp_mode, "native");
}
