//! Messages to many destinations, in kernel and on the host.

use std::collections::BTreeMap;

use edge_ebpf::abi::Class;
use edge_tests::fixtures::world::{ACME, ACME_SOURCE, SERVER, SMPP_PORT, Scenario, at_once};
use edge_tests::host::Host;
use edge_tests::lent::Lent;
use edge_tests::packet::{Frame, Tcp};
use edge_tests::smpp::{command, pdu, submit_multi, submit_sm};

const NOW_NS: u64 = 1_000_000_000_000;
const PORT: u16 = 40_000;
const ISN: u32 = u32::MAX - 30;

/// Carries a stream of the client in two segments; what the account has counted of messages, and by called prefix, kernel and
/// host alike.
fn carry(
    kernel: &mut Lent,
    before: &Scenario,
    stream: &[u8],
    at: usize,
) -> ([u64; 5], BTreeMap<(u32, u32), u64>) {
    kernel.prepare(before).unwrap();
    let called_before = kernel.called().unwrap();
    let mut host = Host::prepare(before, NOW_NS);
    let (early, late) = stream.split_at(at);
    let second = ISN.wrapping_add(1 + u32::try_from(at).unwrap());
    for (header, payload) in [
        (Tcp::syn(PORT, SMPP_PORT, ISN), &b""[..]),
        (Tcp::data(PORT, SMPP_PORT, ISN.wrapping_add(1)), early),
        (Tcp::data(PORT, SMPP_PORT, second), late),
    ] {
        let frame = Frame::ipv4(ACME_SOURCE, SERVER).tcp(header).payload(payload).bytes();
        assert_eq!(kernel.send(&frame).unwrap().outcome, host.send(&frame), "cut at {at}");
    }
    let counters = kernel.account(ACME).unwrap().counters;
    assert_eq!(counters, host.accounts[&ACME].counters, "cut at {at}");
    let mut called = kernel.called().unwrap();
    called.retain(|digits, count| {
        *count -= called_before.get(digits).copied().unwrap_or_default();
        *count != 0
    });
    assert_eq!(called, host.called, "cut at {at}");
    (counters.messages[Class::SmppSubmit.index()], called)
}

/// Those in its first 96 octets; that there are more is metered and in no prefix.
#[test]
fn every_destination_in_sight_is_counted_by_its_prefix() {
    let mut kernel = Lent::take().unwrap();
    let mut body = b"\0\x05\0acme\0\x06".to_vec();
    for number in ["441632960100", "33612345678", "441632960101"] {
        body.extend([1, 1, 1]);
        body.extend(number.as_bytes());
        body.push(0);
    }
    body.extend(b"\x02friends\0");
    for number in ["+4915112345678", "15551234567"] {
        body.extend([1, 1, 1]);
        body.extend(number.as_bytes());
        body.push(0);
    }
    body.extend([0; 10]);
    let stream = pdu(command::SUBMIT_MULTI, 0, 1, &body);
    let expected: BTreeMap<_, _> =
        [(144_163, 2), (133_612, 1), (149_151, 1)].map(|(digits, count)| ((ACME, digits), count)).into();
    for before in [Scenario::open(), Scenario::open().native()] {
        for at in 1..stream.len() {
            let (messages, called) = carry(&mut kernel, &before, &stream, at);
            assert_eq!((messages, &called), ([6, 0, 0, 0, 0], &expected), "cut at {at}");
        }
    }
}

/// Over the limit it is observed with all of its destinations, wherever it is cut.
#[test]
fn what_is_observed_is_observed_to_the_last_destination() {
    let mut kernel = Lent::take().unwrap();
    let before = Scenario::open().account_limit(Class::SmppSubmit, at_once(1)).native().observed();
    let stream = [submit_sm(1, "4416329601", b"a"), submit_multi(2, 9, b"a")].concat();
    for at in 1..stream.len() {
        assert_eq!(carry(&mut kernel, &before, &stream, at).0, [1, 0, 9, 0, 0], "cut at {at}");
    }
}
