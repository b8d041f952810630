//! SIP over TCP with real peers: every message is counted as they count it, on one connection or on many.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use edge_ebpf::abi::Outcome;
use edge_tests::edge::Edge;
use edge_tests::kamailio::Kamailio;
use edge_tests::netns::{ACME, Lab, PEER_INTERFACE, SERVER};
use edge_tests::peers::{Caller, PATIENT, Sipp, SippCounts};
use edge_tests::process::wait_until;
use edge_tests::rough::plain;
use edge_tests::sip::Request;

use crate::connections::connection;
use crate::{OPEN, limited};

const LONG: Duration = Duration::from_mins(2);

fn caller(scenario: &'static str, rate: u32, count: u32) -> Caller<'static> {
    Caller {
        scenario,
        source: ACME,
        rate,
        count,
        hold: Duration::ZERO,
        user: "441632960123",
        patience: PATIENT,
    }
}

/// What the edge counted of `acme`'s messages is what the client says that it sent.
fn assert_counted(edge: &Edge<'_>, sent: &SippCounts) {
    let acme = edge.settled("acme").unwrap();
    for method in ["INVITE", "ACK", "BYE"] {
        let counted = acme.sip.get(method).copied().unwrap_or(0);
        assert_eq!(counted, sent[&format!("{method}_Sent")], "{method}: {sent:?}\n{:?}", acme.sip);
    }
    assert_eq!(edge.messages("acme", "sip.invite", "admitted").unwrap(), sent["INVITE_Sent"]);
    let unframed = edge.status().unwrap().outcomes.get(Outcome::SipUnframed.name()).copied();
    assert_eq!(unframed, None, "nothing was not understood");
}

#[test]
fn calls_over_one_connection_are_counted_as_sipp_counts_them() {
    let lab = Lab::make().unwrap();
    let edge = Edge::start(&lab, OPEN).unwrap();
    let server = Sipp::tcp_server(&lab, edge.directory()).unwrap();
    // So fast that segments carry parts of several messages.
    let client = Sipp::tcp_client(&lab, edge.directory(), &caller("uac", 400, 1600), true).unwrap();
    let sent = client.finish(LONG).unwrap();
    assert_eq!(sent["INVITE_Sent"], 1600);
    assert_counted(&edge, &sent);
    assert_eq!(server.stop().unwrap()["INVITE_Recv"], 1600);
    assert_eq!(edge.messages("acme", "connections", "admitted").unwrap(), 1);
}

#[test]
fn calls_over_a_connection_each_are_counted_as_sipp_counts_them() {
    let lab = Lab::make().unwrap();
    let edge = Edge::start(&lab, OPEN).unwrap();
    let server = Sipp::tcp_server(&lab, edge.directory()).unwrap();
    let client = Sipp::tcp_client(&lab, edge.directory(), &caller("uac", 50, 300), false).unwrap();
    let sent = client.finish(LONG).unwrap();
    assert_counted(&edge, &sent);
    assert_eq!(server.stop().unwrap()["INVITE_Recv"], 300);
    assert_eq!(edge.messages("acme", "connections", "admitted").unwrap(), 300);
}

#[test]
fn calls_through_kamailio_over_tcp_are_counted() {
    let lab = Lab::make().unwrap();
    let edge = Edge::start(&lab, OPEN).unwrap();
    let here = |program: &Path| lab.edge.command(program);
    let options = ["-A", "WITH_TCP"];
    let kamailio = Kamailio::start(here, "kamailio.cfg", &options, edge.directory()).unwrap();
    let answering = Sipp::server_at(&lab, edge.directory(), "callee", (SERVER, 5070)).unwrap();
    let client = Sipp::tcp_client(&lab, edge.directory(), &caller("caller", 40, 200), true).unwrap();
    let sent = client.finish(LONG).unwrap();
    assert_eq!(sent["BYE_Sent"], 200, "every call was answered: {sent:?}\n{}", kamailio.said());
    assert_counted(&edge, &sent);
    answering.stop().unwrap();
}

/// Burst and rate of `sip.register` in a flood.
const BURST: usize = 5;
const RATE: f64 = 20.0;

/// A flood of registrations on one connection: every segment can be refused whole, so that the limit holds. What is dropped
/// comes again with TCP, with all behind it, and is counted once when it passes.
#[test]
fn a_flood_over_one_connection_is_held_to_the_limit() {
    let lab = Lab::make().unwrap();
    // A veth carries segments of up to 64 KiB whole.
    flood(&lab, 65_536);
}

/// The same in the segments of a wire, many of which are under way at once.
#[test]
fn a_flood_of_full_segments_is_held_to_the_limit() {
    let lab = Lab::make().unwrap();
    plain(&lab.peer, PEER_INTERFACE).unwrap();
    flood(&lab, 1460);
}

fn flood(lab: &Lab, largest: usize) {
    let edge = Edge::start(lab, &limited("sip.register = '20/s burst 5'")).unwrap();
    let (client, mut server) = connection(lab, 5060);
    client.set_write_timeout(Some(Duration::from_millis(1))).unwrap();
    server.set_read_timeout(Some(Duration::from_millis(2))).unwrap();
    let one = Request::new("REGISTER").bytes();
    // A segment with more messages than the burst passes when the bucket is full, and is owed; the first of them may have
    // begun in the one before.
    let at_once = f64::from(u32::try_from(BURST + largest / one.len() + 1).unwrap());
    let began = Instant::now();
    let mut got = Vec::new();
    let mut rest = &one[..];
    while began.elapsed() < Duration::from_secs(6) {
        // A full buffer is what backpressure is: the rest of the message must not be lost.
        if let Ok(written) = (&client).write(rest) {
            rest = if written < rest.len() { &rest[written..] } else { &one };
        }
        hear(&mut server, &mut got);
        let (arrived, most) = (count(&got), at_once + RATE * (began.elapsed().as_secs_f64() + 0.1));
        assert!(f64::from(arrived) <= most, "{arrived} of {most} after {:?}", began.elapsed());
    }
    lab.peer.ip(&["link", "set", PEER_INTERFACE, "down"]).unwrap();
    wait_until("what was admitted has arrived, each once", LONG, || {
        while hear(&mut server, &mut got) {}
        edge.messages("acme", "sip.register", "admitted").unwrap() == u64::from(count(&got))
    });
    assert!(edge.messages("acme", "sip.register", "refused").unwrap() > 0, "the limit was reached");
    assert!(count(&got) > 20, "{} messages still flow", count(&got));
    let outcomes = edge.status().unwrap().outcomes;
    assert_eq!(outcomes.get(Outcome::SipUnframed.name()), None, "nothing passed unread: {outcomes:?}");
}

/// Whether there was anything.
fn hear(server: &mut TcpStream, got: &mut Vec<u8>) -> bool {
    let mut buffer = [0; 16384];
    let octets = server.read(&mut buffer).unwrap_or(0);
    got.extend_from_slice(&buffer[..octets]);
    octets > 0
}

/// Whole messages: a segment ends anywhere.
fn count(octets: &[u8]) -> u32 {
    let ends = octets.windows(4).filter(|octets| *octets == b"\r\n\r\n");
    u32::try_from(ends.count()).unwrap()
}
