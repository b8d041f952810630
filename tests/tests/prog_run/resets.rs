//! What a segment becomes whose connection is to end: a reset that the server believes.

use edge_ebpf::abi::{Outcome, Settings, StandingKind};
use edge_tests::fixtures::world::{
    ACME_SOURCE, ACME_SOURCE_V6, Prefix, SERVER, SERVER_V6, SIP_PORT, SMPP_PORT, Scenario, at_once,
};
use edge_tests::kernel::{XDP_PASS, XDP_TX};
use edge_tests::lent::Lent;
use edge_tests::packet::{Frame, TAG_8021Q, Tcp};
use edge_tests::smpp::{bind, bind_response, command};

const CLIENT_PORT: u16 = 40_000;

fn banned() -> Scenario {
    let v6 = Prefix::v6(ACME_SOURCE_V6, 64);
    Scenario::open()
        .standing(Prefix::v4(ACME_SOURCE, 32), StandingKind::Banned)
        .standing(v6, StandingKind::Banned)
}

/// The very frame that a reset without payload is, built by the harness: lengths, flags and both checksums.
#[test]
fn a_banned_segment_becomes_the_reset_of_its_connection() {
    let v4 = || Frame::ipv4(ACME_SOURCE, SERVER);
    let v6 = || Frame::ipv6(ACME_SOURCE_V6, SERVER_V6);
    let shapes = [v4(), v4().options(&[1; 8]), v4().tag(TAG_8021Q, 7), v6(), v6().tag(TAG_8021Q, 7)];
    let header = Tcp::data(CLIENT_PORT, SIP_PORT, 0xffff_fff0);
    let mut kernel = Lent::take().unwrap();
    for (shape, words, size) in shapes
        .iter()
        .flat_map(|shape| [0, 3, 10].map(|words| (shape, words)))
        .flat_map(|(shape, words)| [0_usize, 1, 6, 700, 1400, 9000].map(|size| (shape.clone(), words, size)))
    {
        let segment = |header: Tcp, size: usize| {
            shape.clone().tcp(header).tcp_options(words).payload(&b"odd".repeat(size)[..size]).bytes()
        };
        kernel.prepare(&banned()).unwrap();
        let (run, became) = kernel.pass(&segment(header, size)).unwrap();
        assert_eq!(run.outcome, Outcome::ResetBanned);
        let reset = segment(header.flags(Tcp::RST | Tcp::ACK), 0);
        assert_eq!(became, reset, "{shape:?}, {words} words of options, {size} bytes");
    }
}

/// An interface that is to complete the checksum finds the pseudo-header's.
#[test]
fn a_checksum_that_is_to_be_completed_stays_so() {
    let segment = |header: Tcp, payload: &[u8]| {
        let mut frame = Frame::ipv4(ACME_SOURCE, SERVER).tcp(header).payload(payload).bytes();
        let length = u16::try_from(frame.len() - 34).unwrap();
        let pseudo = [&ACME_SOURCE[..], &SERVER, &[0, 6], &length.to_be_bytes()];
        let sum = !edge_tests::packet::checksum(&pseudo);
        frame[50..52].copy_from_slice(&sum.to_be_bytes());
        frame
    };
    let header = Tcp::data(CLIENT_PORT, SIP_PORT, 1);
    let mut kernel = Lent::take().unwrap();
    kernel.prepare(&banned()).unwrap();
    let (_, became) = kernel.pass(&segment(header, b"OPTIONS sip:a SIP/2.0\r\n")).unwrap();
    assert_eq!(became, segment(header.flags(Tcp::RST | Tcp::ACK), b""));
}

/// Once the server was told, the client is: by the frame that a server would send, built by the harness.
#[test]
fn a_segment_that_comes_again_is_answered_with_a_reset() {
    let v4 = [Frame::ipv4(ACME_SOURCE, SERVER), Frame::ipv4(SERVER, ACME_SOURCE)];
    let v6 = [Frame::ipv6(ACME_SOURCE_V6, SERVER_V6), Frame::ipv6(SERVER_V6, ACME_SOURCE_V6)];
    let tagged = |both: &[Frame; 2]| both.clone().map(|frame| frame.tag(TAG_8021Q, 7));
    let header =
        |sequence| Tcp { acknowledgement: 0x8765_4321, ..Tcp::data(CLIENT_PORT, SIP_PORT, sequence) };
    let reset = Tcp { acknowledgement: 0, ..Tcp::data(SIP_PORT, CLIENT_PORT, 0x8765_4321) }.flags(Tcp::RST);
    let mut kernel = Lent::take().unwrap();
    for ([there, back], words, size) in [tagged(&v4), tagged(&v6), v4, v6]
        .iter()
        .flat_map(|shape| [(0, 0), (3, 1), (10, 1400), (3, 9000)].map(|(words, size)| (shape, words, size)))
    {
        let segment =
            |header| there.clone().tcp(header).tcp_options(words).payload(&vec![b'x'; size]).bytes();
        let mut expected = back.clone().tcp(reset).bytes();
        expected[..12].rotate_left(6);
        // A closed window; one's complement has two zeros, so that the checksum stays.
        let window = expected.len() - 6;
        expected[window..window + 2].fill(0);
        kernel.prepare(&banned()).unwrap();
        let mut passes = |sequence| {
            let (run, became) = kernel.pass(&segment(header(sequence))).unwrap();
            assert_eq!(run.outcome, Outcome::ResetBanned);
            (run.verdict, became)
        };
        assert_eq!(passes(7).0, XDP_PASS);
        assert_eq!(passes(7), (XDP_TX, expected), "{there:?}, {words} words of options, {size} bytes");
        assert_eq!(passes(8).0, XDP_PASS, "the server is told of what it has not seen");
    }
}

/// Each reset reaches the server: a flood of segments must not become a flood of resets.
#[test]
fn resets_are_limited_for_each_source() {
    let segment = |port| Frame::ipv4(ACME_SOURCE, SERVER).tcp(Tcp::data(port, SIP_PORT, 1)).bytes();
    let mut kernel = Lent::take().unwrap();
    let before = banned();
    kernel.prepare(&before).unwrap();
    kernel.set_settings(Settings { answers: at_once(2), ..before.settings(u32::MAX, [1, 1]) }).unwrap();
    let outcomes = [1, 2, 3].map(|port| kernel.send(&segment(port)).unwrap().outcome);
    assert_eq!(outcomes, [Outcome::ResetBanned, Outcome::ResetBanned, Outcome::Banned]);
}

/// The server says nothing to a reset, so that the place of the bind must come back with it.
#[test]
fn a_reset_ends_the_session_as_the_clients_own_would() {
    let isn = 100;
    let in_order = |sequence, payload: &[u8]| {
        let header = Tcp::data(CLIENT_PORT, SMPP_PORT, sequence);
        Frame::ipv4(ACME_SOURCE, SERVER).tcp(header).payload(payload).bytes()
    };
    let asked = bind(command::BIND_TRANSCEIVER, 1, "acme");
    let answer = Frame::ipv4(SERVER, ACME_SOURCE)
        .tcp(Tcp::data(SMPP_PORT, CLIENT_PORT, 1))
        .payload(&bind_response(command::BIND_TRANSCEIVER, 0, 1))
        .bytes();
    let bound = Scenario::open()
        .system_id("acme", 5)
        .after(Frame::ipv4(ACME_SOURCE, SERVER).tcp(Tcp::syn(CLIENT_PORT, SMPP_PORT, isn)).bytes())
        .after(in_order(isn + 1, &asked))
        .after(answer);
    let mut kernel = Lent::take().unwrap();
    kernel.prepare(&bound).unwrap();
    assert_eq!(kernel.account(1).unwrap().binds_active, 1);
    kernel.add_standing(Prefix::v4(ACME_SOURCE, 32), StandingKind::Banned).unwrap();
    kernel.set_settings(bound.settings(u32::MAX, [1, 1])).unwrap();
    let next = isn + 1 + u32::try_from(asked.len()).unwrap();
    assert_eq!(kernel.send(&in_order(next, b"x")).unwrap().outcome, Outcome::ResetBanned);
    assert_eq!(kernel.account(1).unwrap().binds_active, 0);
}
