//! Limits hold.

use std::net::UdpSocket;
use std::time::Duration;

use edge_tests::edge::Edge;
use edge_tests::judge::Capture;
use edge_tests::netns::{ACME, Lab, SERVER};
use edge_tests::peers::{Esme, Sipp, Smsc};
use edge_tests::process::wait_until;
use edge_tests::sip::Request;

use crate::limited;

const LONG: Duration = Duration::from_mins(1);

/// 200 calls a second offered, 50 allowed: over ten seconds burst and rate admit 50 + 500, and nobody is
/// refused within a call. Where the machine keeps the caller waiting, it is what a bucket admits of calls that come as these
/// did, by the kernel's clock.
#[test]
fn a_sip_limit_is_held_within_one_percent_over_ten_seconds() {
    let lab = Lab::make().unwrap();
    let edge = Edge::start(&lab, &limited("sip.invite = '50/s burst 50'")).unwrap();
    let server = Sipp::server(&lab, edge.directory()).unwrap();
    let capture = Capture::start(&lab, edge.directory()).unwrap();
    let sent = Sipp::client(&lab, edge.directory(), "uac", ACME, 200, 2000).unwrap().finish(LONG).unwrap();
    let got = server.stop().unwrap();

    let admitted = edge.messages("acme", "sip.invite", "admitted").unwrap();
    let refused = edge.messages("acme", "sip.invite", "refused").unwrap();
    assert_eq!(admitted + refused, sent["INVITE_Sent"], "admitted and refused are what was offered");
    assert_eq!(got["INVITE_Recv"], admitted, "what was admitted arrived, and nothing else");
    let offered_at = capture.stop().unwrap().times("sip.Method == INVITE").unwrap();
    assert_eq!(offered_at.len() as u64, sent["INVITE_Sent"], "tshark sees what SIPp sent");
    let allowed = f64::from(admits(&offered_at, 50.0, 50.0));
    let off = (f64::from(u32::try_from(admitted).unwrap()) - allowed).abs() / allowed;
    assert!(off <= 0.01, "{admitted} admitted of {allowed} allowed");
    assert!(refused > 0, "the limit was reached");

    let acme = edge.settled("acme").unwrap();
    assert_eq!((acme.sip["ACK"], acme.sip["BYE"]), (admitted, admitted), "within a call nothing is refused");
    assert_eq!(got["BYE_Recv"], admitted);
}

/// What a bucket admits of messages that come at these times.
fn admits(times: &[f64], per_second: f64, burst: f64) -> u32 {
    let (mut bucket, mut before, mut admitted) = (burst, times[0], 0);
    for time in times {
        bucket = burst.min(bucket + per_second * (time - before));
        before = *time;
        if bucket >= 1.0 {
            bucket -= 1.0;
            admitted += 1;
        }
    }
    admitted
}

/// Dropping segments cannot hold a rate, since TCP waits before it sends again; but it never lets more through.
#[test]
fn an_smpp_limit_is_never_exceeded() {
    let lab = Lab::make().unwrap();
    let edge = Edge::start(&lab, &limited("smpp.submit = '20/s burst 5'")).unwrap();
    let server = Smsc::start(&lab, edge.directory()).unwrap();
    let capture = Capture::of_passed_smpp(&lab, edge.directory()).unwrap();
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
    // By the kernel's clock: the server reads later what comes while it waits for its turn.
    let passed_at = message_times(&capture.stop().unwrap().octets().unwrap(), got.submits_at.len());
    for (first, start) in passed_at.iter().enumerate() {
        for (last, end) in passed_at.iter().enumerate().skip(first) {
            let messages = f64::from(u32::try_from(last - first + 1).unwrap());
            // A segment with more messages than the burst passes when the bucket is full: window 10.
            let allowed = 10.0 + 20.0 * (end - start) + 1.0;
            assert!(messages <= allowed, "{messages} within {:.3} s", end - start);
        }
    }
    assert!(got.submits_at.len() >= 20, "messages still flow: {}", got.submits_at.len());
}

/// When each of so many messages had come, all of one size, between a bind and an unbind.
fn message_times(came: &[(f64, usize)], messages: usize) -> Vec<f64> {
    const UNBIND: usize = 16;
    let bind = came[0].1;
    let octets: usize = came.iter().map(|(_, octets)| octets).sum();
    let size = (octets - bind - UNBIND) / messages;
    assert_eq!(octets, bind + messages * size + UNBIND, "tcpdump saw what the server got");
    let (mut times, mut waiting) = (Vec::new(), 0);
    for (time, octets) in &came[1..] {
        waiting += octets;
        times.extend(std::iter::repeat_n(*time, waiting / size));
        waiting %= size;
    }
    times
}

#[test]
fn observing_counts_what_it_would_refuse_and_refuses_nothing() {
    let lab = Lab::make().unwrap();
    let observed = limited("sip.invite = '1/hour burst 1'")
        .replace("plan = 'tested'", "plan = 'tested'\nmode = 'observe'");
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
    assert_eq!((admitted, observed), (1, 99), "over a limit of one an hour");
}

/// What is larger than the network takes at once, the sender's host cuts by itself.
#[test]
fn a_call_that_is_cut_into_fragments_is_held_to_its_limit() {
    let lab = Lab::make().unwrap();
    let edge = Edge::start(&lab, &limited("sip.invite = '1/hour burst 3'")).unwrap();
    let server = lab.edge.enter(|| Ok(UdpSocket::bind((SERVER, 5060))?)).unwrap();
    server.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    lab.peer.enter(|| call_in_fragments(8)).unwrap();
    let mut whole = [0; 8192];
    let arrived: Vec<usize> = std::iter::from_fn(|| server.recv(&mut whole).ok()).collect();
    assert_eq!(arrived, [4000; 3], "each is put together");
    let count = |allowance| edge.messages("acme", "sip.invite", allowance).unwrap();
    assert_eq!((count("admitted"), count("refused")), (3, 5));
}

fn call_in_fragments(count: u32) -> anyhow::Result<()> {
    let socket = UdpSocket::bind((ACME, 5060))?;
    for number in 0..count {
        let request = Request::new("INVITE").call_id(&format!("{number}@large")).padded_to(4000);
        socket.send_to(&request, (SERVER, 5060))?;
    }
    Ok(())
}
