//! Packets larger than anything that is read of them, up to several pages (XDP multi-buffer).

use edge_ebpf::abi::{AccountCounters, Allowance, Class, Outcome};
use edge_tests::fixtures::world::{ACME, ACME_SOURCE, SERVER, SIP_PORT, SMPP_PORT, Scenario};
use edge_tests::host::Host;
use edge_tests::kernel::{Kernel, XDP_PASS};
use edge_tests::lent::Lent;
use edge_tests::packet::{Frame, Tcp};
use edge_tests::sip::Request;
use edge_tests::smpp::submit_sm;

const NOW_NS: u64 = 1_000_000_000_000;
/// Around what is read of a SIP message (2,048 bytes), what one page holds, and a jumbo frame.
const SIZES: [usize; 10] = [1472, 2047, 2048, 2049, 3400, 3600, 4096, 4097, 8972, 20_000];

/// One test for both: a verifier that is emulated takes half a minute to load the programs.
#[test]
fn a_packet_of_any_size_is_judged_as_on_the_host_and_passes_where_nothing_is_limited() {
    let mut kernel = Lent::take().unwrap();
    sip_is_judged_by_its_beginning(&mut kernel);
    a_segment_is_counted_to_its_last_pdu(&mut kernel);
}

fn sip_is_judged_by_its_beginning(kernel: &mut Kernel) {
    for size in SIZES {
        let body = |size: usize| "x".repeat(size);
        let large_body = Request::new("INVITE").body(&body(size)).bytes();
        let (outcome, counters) = judge(kernel, &[&sip(&large_body)]);
        assert_eq!(outcome, Outcome::SipAdmitted, "an INVITE with a body of {size} bytes");
        assert_eq!(admitted(&counters, Class::SipInvite), 1);

        // What a dialog is known by stands behind a header that is too long.
        let mut hidden =
            format!("INVITE sip:441632960123@198.51.100.10 SIP/2.0\r\nX-Long: {}\r\n", body(size));
        hidden
            .push_str("Via: SIP/2.0/UDP 203.0.113.7;branch=z9hG4bK1\r\nTo: <sip:b@c>\r\nCSeq: 1 INVITE\r\n");
        hidden.push_str("From: <sip:a@c>;tag=1\r\nCall-ID: 1@c\r\n\r\n");
        let (outcome, _) = judge(kernel, &[&sip(hidden.as_bytes())]);
        if size >= 2048 {
            assert_eq!(outcome, Outcome::SipDoubtful, "nothing readable in the first 2,048 of {size} bytes");
        }
        judge(kernel, &[&sip(&vec![b'A'; size])]);
        judge(kernel, &[&sip(&vec![0; size])]);
    }
}

fn a_segment_is_counted_to_its_last_pdu(kernel: &mut Kernel) {
    for size in SIZES {
        let mut payload = Vec::new();
        let mut pdus = 0;
        while payload.len() < size {
            pdus += 1;
            payload.extend(submit_sm(pdus, "441632960123", b"hello"));
        }
        let syn = Frame::ipv4(ACME_SOURCE, SERVER).tcp(Tcp::syn(40_000, SMPP_PORT, 1000)).bytes();
        let data = Frame::ipv4(ACME_SOURCE, SERVER).tcp(Tcp::data(40_000, SMPP_PORT, 1001)).payload(&payload);
        let (outcome, counters) = judge(kernel, &[&syn, &data.bytes()]);
        assert_eq!(outcome, Outcome::SmppAdmitted, "{size} bytes");
        assert_eq!(admitted(&counters, Class::SmppSubmit), u64::from(pdus), "in {size} bytes");
    }
}

/// The outcome of the last frame and the account's counters, on which kernel and host agree.
fn judge(kernel: &mut Kernel, frames: &[&[u8]]) -> (Outcome, AccountCounters) {
    let before = Scenario::open();
    kernel.prepare(&before).unwrap();
    let mut host = Host::prepare(&before, NOW_NS);
    let mut last = Outcome::NotOurs;
    for frame in frames {
        let run = kernel.send(frame).unwrap();
        assert_eq!(run.outcome, host.send(frame), "kernel and host, {} bytes", frame.len());
        assert_eq!(run.verdict, XDP_PASS, "nothing is limited: {run:?}, {} bytes", frame.len());
        last = run.outcome;
    }
    let counters = kernel.account(ACME).unwrap().counters;
    assert_eq!(counters, host.accounts[&ACME].counters, "counters after {} bytes", frames[0].len());
    (last, counters)
}

fn admitted(counters: &AccountCounters, class: Class) -> u64 {
    counters.messages[class.index()][Allowance::Admitted.index()]
}

fn sip(payload: &[u8]) -> Vec<u8> {
    Frame::ipv4(ACME_SOURCE, SERVER).udp(SIP_PORT, SIP_PORT).payload(payload).bytes()
}
