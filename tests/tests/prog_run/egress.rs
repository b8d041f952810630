//! The way out: what the server says is told apart, and nothing of the table, whole or cut short, is counted twice.

use edge_ebpf::abi::EgressOutcome;
use edge_tests::fixtures::packets::table;
use edge_tests::fixtures::world::{ACME_SOURCE, SERVER, SIP_PORT, Scenario};
use edge_tests::lent::Lent;
use edge_tests::packet::Frame;
use edge_tests::sip::{Request, response};

/// A port of the peer outside that is none of ours.
const PEER_PORT: u16 = 40_000;

/// The shortest that `BPF_PROG_TEST_RUN` makes a packet of: Ethernet and IPv6 header (`net/bpf/test_run.c`).
const SHORTEST_PACKET: usize = 54;

#[test]
fn what_the_server_says_is_told_apart() {
    let mut kernel = Lent::take().unwrap();
    kernel.prepare(&Scenario::open()).unwrap();
    let datagram =
        |from, payload: &[u8]| Frame::ipv4(SERVER, ACME_SOURCE).udp(from, PEER_PORT).payload(payload).bytes();
    let fragment = |offset| {
        // Of the body some octets are cut off, with the last that are no eight.
        let answer = [response(200, "OK", "INVITE"), vec![b' '; 8]].concat();
        Frame::ipv4(SERVER, ACME_SOURCE)
            .fragment(offset, true)
            .udp(SIP_PORT, PEER_PORT)
            .payload(&answer)
            .bytes()
    };
    let cases = [
        (datagram(SIP_PORT, &response(200, "OK", "INVITE")), EgressOutcome::SipResponse),
        (datagram(SIP_PORT, &Request::new("BYE").in_dialog("x").bytes()), EgressOutcome::SipRequest),
        (datagram(SIP_PORT, &Request::new("OPTIONS").bytes()), EgressOutcome::SipRequest),
        (fragment(0), EgressOutcome::SipResponse),
        (fragment(185), EgressOutcome::Fragment),
        (datagram(SIP_PORT, b"\r\n\r\n"), EgressOutcome::SipKeepalive),
        (datagram(SIP_PORT, b"what is this"), EgressOutcome::SipMalformed),
        (datagram(4000, &response(200, "OK", "INVITE")), EgressOutcome::NotOurs),
        (datagram(SIP_PORT, &response(200, "OK", "INVITE"))[..38].to_vec(), EgressOutcome::Truncated),
    ];
    for (at, (frame, expected)) in cases.into_iter().enumerate() {
        assert_eq!(kernel.leave(&frame).unwrap(), expected, "case {at}");
    }
}

#[test]
fn whatever_leaves_is_counted_once_and_passes() {
    let mut kernel = Lent::take().unwrap();
    kernel.prepare(&Scenario::open()).unwrap();
    for row in table().into_iter().filter(|row| row.frame.len() >= SHORTEST_PACKET) {
        for frame in std::iter::once(&row.frame[..]).chain(row.truncations(SHORTEST_PACKET)) {
            kernel.leave(frame).unwrap();
        }
    }
}
