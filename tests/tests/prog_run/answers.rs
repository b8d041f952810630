//! Answers from XDP: the frame that comes back, byte by byte against the host, and read as a peer would.

use edge_ebpf::abi::{Class, Limit, Outcome, Settings, map};
use edge_tests::fixtures::packets::{row, table};
use edge_tests::fixtures::world::{ACME_SOURCE, SERVER, SIP_PORT, Scenario};
use edge_tests::host::{HASH_KEY, Host};
use edge_tests::lent::Lent;
use edge_tests::packet::{Frame, checksum};
use edge_tests::sip::Request;

const NOW_NS: u64 = 1_000_000_000_000;

/// Where the message starts in a plain IPv4 frame.
const MESSAGE_AT: usize = 14 + 20 + 8;

#[test]
fn every_row_that_is_answered_comes_back_shorter_with_right_checksums() {
    let mut kernel = Lent::take().unwrap();
    let mut seen = 0;
    for row in table().into_iter().filter(|row| row.outcome.name().starts_with("sip_answered")) {
        kernel.prepare(&row.before).unwrap();
        let answer = kernel.answered(&row.frame).unwrap();
        assert!(answer.len() <= row.frame.len(), "{}", row.name);
        assert_eq!(answer[..6], row.frame[6..12], "{}: back to its sender", row.name);
        let has_sum = |frame: &[u8]| frame[12] == 0x86 || frame[40..42] != [0, 0];
        assert_eq!(has_sum(&answer), has_sum(&row.frame), "{}: a checksum where there was one", row.name);
        assert!(checksums_are_right(&answer), "{}: {answer:02x?}", row.name);
        seen += 1;
    }
    assert!(seen >= 8, "{seen} rows");
}

#[test]
fn an_answer_says_what_a_user_agent_needs() {
    let mut kernel = Lent::take().unwrap();
    let over = Scenario::open().account_limit(Class::SipInvite, Limit::NOTHING).answered();
    let via = "SIP/2.0/UDP pbx.example:5090;rport;branch=z9hG4bK1";
    let text = String::from_utf8(Request::new("INVITE").padded_to(700)).unwrap();
    let text = text.replace("SIP/2.0/UDP 203.0.113.7:5060;branch=z9hG4bK776asdhds", via);
    let text = text.replace("Max-Forwards", "Via: SIP/2.0/UDP 10.0.0.1;branch=z9hG4bK2\r\nMax-Forwards");
    let frame = Frame::ipv4(ACME_SOURCE, SERVER).udp(40_001, SIP_PORT).payload(text.as_bytes()).bytes();
    kernel.prepare(&over).unwrap();
    let settings: Settings = kernel.get(map::SETTINGS, 0).unwrap();
    kernel.set_settings(Settings { hash_key: HASH_KEY, ..settings }).unwrap();
    let first = kernel.answered(&frame).unwrap();
    let again = kernel.answered(&frame).unwrap();
    assert_eq!(first, again, "the same answer to the same request");
    assert_eq!(first[36..38], 40_001_u16.to_be_bytes(), "rport: back to the port that it came from");
    let answer = String::from_utf8(first[MESSAGE_AT..].to_vec()).unwrap();
    let lines: Vec<&str> = answer.split("\r\n").collect();
    assert_eq!(lines[0], "SIP/2.0 503 Service Unavailable");
    assert_eq!(
        lines[1],
        "Via: SIP/2.0/UDP pbx.example:5090;rport=40001;branch=z9hG4bK1;received=203.0.113.7"
    );
    assert_eq!(lines[2], "Via: SIP/2.0/UDP 10.0.0.1;branch=z9hG4bK2");
    assert!(lines[3].starts_with("From: \"Caller\" <"), "{answer}");
    let tag = lines[4].split_once(">;tag=").unwrap().1;
    assert!(tag.len() == 16 && tag.bytes().all(|digit| digit.is_ascii_hexdigit()), "{answer}");
    assert_eq!(lines[5], "Call-ID: a84b4c76e66710@203.0.113.7");
    assert_eq!(lines[6], "CSeq: 314159 INVITE");
    let seconds: u32 = lines[7].strip_prefix("Retry-After: ").unwrap().parse().unwrap();
    assert!((5..=7).contains(&seconds), "{answer}");
    assert_eq!(lines[8..], ["Warning: 399 edge \"account.rate\"", "Content-Length: 0", "", ""]);

    let mut host = Host::prepare(&over, NOW_NS);
    host.send(&frame);
    let on_host = String::from_utf8(host.answer.unwrap()).unwrap();
    assert_eq!(on_host, answer, "kernel and host");

    // The ACK repeats the To of the answer and is nobody else's.
    let ack = format!(
        "ACK sip:1@h SIP/2.0\r\nVia: {via}\r\n{}\r\n{}\r\n{}\r\nCSeq: 314159 ACK\r\n\r\n",
        lines[3], lines[4], lines[5]
    );
    let frame =
        |text: &str| Frame::ipv4(ACME_SOURCE, SERVER).udp(40_001, SIP_PORT).payload(text.as_bytes()).bytes();
    assert_eq!(kernel.send(&frame(&ack)).unwrap().outcome, Outcome::SipAckAbsorbed);
    assert_eq!(
        kernel.send(&frame(&ack.replace(tag, "0123456789abcdef"))).unwrap().outcome,
        Outcome::SipInDialog
    );
    assert_eq!(kernel.send(&frame(&ack.replace("a84b", "b84b"))).unwrap().outcome, Outcome::SipInDialog);
}

#[test]
fn without_rport_an_answer_goes_to_the_port_of_the_via() {
    let mut kernel = Lent::take().unwrap();
    let over = Scenario::open().account_limit(Class::SipInvite, Limit::NOTHING).answered();
    for (sent_by, port) in [
        ("pbx.example", 5060_u16),
        ("203.0.113.7:5090", 5090),
        ("[2001:db8::1]:7", 7),
        ("[2001:db8::1]", 5060),
    ] {
        let text = String::from_utf8(Request::new("INVITE").padded_to(700)).unwrap();
        let text = text.replace("203.0.113.7:5060;", &format!("{sent_by};"));
        let frame = Frame::ipv4(ACME_SOURCE, SERVER).udp(40_001, SIP_PORT).payload(text.as_bytes()).bytes();
        kernel.prepare(&over).unwrap();
        assert_eq!(kernel.answered(&frame).unwrap()[36..38], port.to_be_bytes(), "{sent_by}");
    }
}

#[test]
fn a_tag_of_a_network_stays_on_an_answer() {
    let mut kernel = Lent::take().unwrap();
    let plain = row("sip_refused_503_checksum");
    let tags = [0x88, 0xa8, 0, 5, 0x81, 0, 0, 6];
    let frame = [&plain.frame[..12], &tags[..], &plain.frame[12..]].concat();
    kernel.prepare(&plain.before).unwrap();
    let answer = kernel.answered(&frame).unwrap();
    assert_eq!(answer[12..20], tags);
    assert!(checksums_are_right(&[&answer[..12], &answer[20..]].concat()));
}

#[test]
fn answers_to_one_source_have_a_limit_of_their_own() {
    let mut kernel = Lent::take().unwrap();
    let row = row("sip_refused_503");
    kernel.prepare(&row.before).unwrap();
    let mut settings = row.before.settings(1, [3, 4]);
    settings.answers = edge_tests::fixtures::world::at_once(2);
    kernel.set_settings(settings).unwrap();
    let outcomes: Vec<_> = (0..3)
        .map(|call| {
            let request =
                Request::new("INVITE").call_id(&format!("{call}")).branch(&format!("z9hG4bK{call}"));
            let payload = request.padded_to(600);
            let frame = Frame::ipv4(ACME_SOURCE, SERVER).udp(SIP_PORT, SIP_PORT).payload(&payload).bytes();
            kernel.send(&frame).unwrap().outcome
        })
        .collect();
    let answered = Outcome::SipAnsweredAccount;
    assert_eq!(outcomes, [answered, answered, Outcome::SipOverAccount]);
}

/// IPv4's header and UDP over IPv4 and IPv6 sum up to zero (RFC 1071).
fn checksums_are_right(frame: &[u8]) -> bool {
    let is_ipv6 = frame[12] == 0x86;
    let (ip, udp) = if is_ipv6 { (&frame[14..54], &frame[54..]) } else { (&frame[14..34], &frame[34..]) };
    let length = u16::from_be_bytes([udp[4], udp[5]]);
    let addresses = if is_ipv6 { &ip[8..] } else { &ip[12..] };
    let pseudo = [addresses, &[0, 17], &length.to_be_bytes()].concat();
    // RFC 768: zero is no checksum, and IPv6 must have one (RFC 8200 8.1).
    let has_no_sum = !is_ipv6 && udp[6..8] == [0, 0];
    usize::from(length) == udp.len()
        && (has_no_sum || (udp[6..8] != [0, 0] && checksum(&[&pseudo, udp]) == 0))
        && (is_ipv6 || checksum(&[ip]) == 0)
}
