//! Delivery receipts in the server's stream, in kernel and on the host.

use edge_ebpf::abi::{EgressOutcome, ReceiptKind, receipt_digits};
use edge_ebpf::messages::CUT_BYTES;
use edge_tests::fixtures::world::{ACME, ACME_SOURCE, SERVER, SMPP_PORT, Scenario};
use edge_tests::host::Host;
use edge_tests::lent::Lent;
use edge_tests::packet::{Frame, Tcp};
use edge_tests::smpp::{data_sm_receipt, deliver_sm, enquire_links};
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestRunner};

const NOW_NS: u64 = 1_000_000_000_000;
const PORT: u16 = 40_000;
const ISN: u32 = u32::MAX - 700;
const RECEIPT: u8 = 0x04;

fn text(state: &str) -> Vec<u8> {
    format!(
        "id:0123456789 sub:001 dlvrd:001 submit date:2611271100 done date:2611271101 stat:{state} err:000"
    )
    .into_bytes()
}

/// Receipts by kind, and messages and receipts by account and digits.
type Counted = (Vec<u64>, Vec<((u32, u32), u64)>);

/// A stream in segments of these lengths, each with its sequence number.
fn cut<'a>(stream: &'a [u8], lengths: &[usize]) -> Vec<(u32, &'a [u8])> {
    let (mut rest, mut seq, mut segments) = (stream, ISN.wrapping_add(1), Vec::new());
    while !rest.is_empty() {
        let (part, behind) = rest.split_at(lengths[segments.len() % lengths.len()].min(rest.len()));
        segments.push((seq, part));
        seq = seq.wrapping_add(u32::try_from(part.len()).unwrap());
        rest = behind;
    }
    segments
}

/// Carries segments; what the account and its prefixes have then, of kernel and host alike.
fn carry(kernel: &mut Lent, segments: &[(u32, &[u8])]) -> Counted {
    kernel.prepare(&Scenario::open()).unwrap();
    let mut host = Host::prepare(&Scenario::open(), NOW_NS);
    let before = kernel.called().unwrap();
    let mut leave = |header: Tcp, payload: &[u8]| {
        let frame = Frame::ipv4(SERVER, ACME_SOURCE).tcp(header).payload(payload).bytes();
        let outcome = kernel.leave(&frame).unwrap();
        assert_eq!(outcome, host.leave(&frame), "kernel and host");
        assert_eq!(outcome, EgressOutcome::SmppSegment);
    };
    leave(Tcp::syn(SMPP_PORT, PORT, ISN), b"");
    for (seq, part) in segments {
        leave(Tcp::data(SMPP_PORT, PORT, *seq), part);
    }
    let counted = kernel.account(ACME).unwrap().counters;
    assert_eq!(counted, host.accounts[&ACME].counters, "kernel and host");
    let mut called = kernel.called().unwrap();
    called.retain(|digits, count| {
        *count -= before.get(digits).copied().unwrap_or_default();
        *count != 0
    });
    assert_eq!(called, host.called, "kernel and host");
    (counted.receipts.to_vec(), called.into_iter().collect())
}

#[test]
fn receipts_are_counted_by_what_they_say_and_by_prefix() {
    let mut kernel = Lent::take().unwrap();
    let mut stream = Vec::new();
    for (sequence, (number, esm_class, text)) in (1..).zip([
        ("441632960100", RECEIPT, text("DELIVRD")),
        ("441632960101", RECEIPT, text("DELIVRD")),
        ("441632960102", RECEIPT, text("UNDELIV")),
        ("33612345678", RECEIPT, text("EXPIRED")),
        ("33612345678", RECEIPT, text("ACCEPTD")),
        ("33612345678", RECEIPT, b"?".to_vec()),
        ("33612345678", 0, text("DELIVRD")),
    ]) {
        stream.extend(deliver_sm(sequence, number, esm_class, &text));
    }
    stream.extend(enquire_links(1));
    let (receipts, called) = carry(&mut kernel, &cut(&stream, &[1448]));
    assert_eq!(receipts, [2, 1, 1, 1, 1, 0, 0, 0]);
    let digits = Scenario::open().settings(1, [0; 2]).prefix_digits;
    assert_eq!(digits, 5, "the prefixes below");
    let of = |kind, digits| (ACME, receipt_digits(kind, digits));
    let mut expected = vec![
        (of(ReceiptKind::Delivered, 144_163), 2),
        (of(ReceiptKind::Failed, 144_163), 1),
        (of(ReceiptKind::Expired, 133_612), 1),
        (of(ReceiptKind::Other, 133_612), 1),
        (of(ReceiptKind::Unread, 133_612), 1),
    ];
    expected.sort_unstable();
    assert_eq!(called, expected);
    // One octet a segment: nobody can read any, and nobody knows that one of them is no receipt.
    let (receipts, called) = carry(&mut kernel, &cut(&stream, &[1]));
    assert_eq!(receipts, [0, 0, 0, 0, 7, 0, 0, 0]);
    assert_eq!(called, []);
}

#[test]
fn receipts_in_a_data_sm_are_counted_as_those_in_a_deliver_sm() {
    let mut kernel = Lent::take().unwrap();
    let mut stream = Vec::new();
    for (sequence, (number, esm_class, state)) in (1..).zip([
        ("441632960100", RECEIPT, 2),
        ("441632960101", RECEIPT, 5),
        ("33612345678", RECEIPT, 3),
        ("33612345678", RECEIPT, 6),
        ("33612345678", 0, 2),
    ]) {
        stream.extend(data_sm_receipt(sequence, number, esm_class, state));
    }
    stream.extend(deliver_sm(6, "441632960100", RECEIPT, &text("DELIVRD")));
    let (receipts, called) = carry(&mut kernel, &cut(&stream, &[1448]));
    assert_eq!(receipts, [2, 1, 1, 1, 0, 0, 0, 0]);
    let of = |kind, digits| (ACME, receipt_digits(kind, digits));
    let mut expected = vec![
        (of(ReceiptKind::Delivered, 144_163), 2),
        (of(ReceiptKind::Failed, 144_163), 1),
        (of(ReceiptKind::Expired, 133_612), 1),
        (of(ReceiptKind::Other, 133_612), 1),
    ];
    expected.sort_unstable();
    assert_eq!(called, expected);
}

/// Wherever TCP cuts them in two, they are read as if they were whole.
#[test]
fn what_two_segments_share_is_read() {
    let mut kernel = Lent::take().unwrap();
    let stream = [
        deliver_sm(1, "441632960100", RECEIPT, &text("DELIVRD")),
        data_sm_receipt(2, "33612345678", RECEIPT, 5),
        deliver_sm(3, "33612345678", 0, &text("DELIVRD")),
        enquire_links(1),
    ]
    .concat();
    let whole = carry(&mut kernel, &cut(&stream, &[stream.len()]));
    assert_eq!(whole.0, [1, 1, 0, 0, 0, 0, 0, 0]);
    for at in 1..stream.len() {
        assert_eq!(carry(&mut kernel, &cut(&stream, &[at, stream.len()])), whole, "cut at {at}");
        // The second begins before what is new.
        let [(first, early), (seq, late)] = cut(&stream, &[at, stream.len()])[..] else { unreachable!() };
        let back = at.min(20);
        let again = (seq.wrapping_sub(u32::try_from(back).unwrap()), &stream[at - back..]);
        assert_eq!(carry(&mut kernel, &[(first, early), again]), whole, "cut at {at}, and repeated");
        // The second goes ahead, and comes again behind the first.
        let (receipts, _) = carry(&mut kernel, &[(seq, late), (first, early), (seq, late)]);
        assert!(
            receipts[4] <= 1 && receipts[0] <= 1 && receipts[1] <= 1,
            "cut at {at}, turned: {receipts:?}"
        );
    }
}

#[test]
fn what_more_segments_share_or_the_first_has_too_much_of_is_unread() {
    let mut kernel = Lent::take().unwrap();
    let mut stream = deliver_sm(1, "441632960100", RECEIPT, b"");
    // message_payload
    let payload = [text("DELIVRD"), vec![b' '; 700]].concat();
    stream.extend([4, 0x24]);
    stream.extend(u16::try_from(payload.len()).unwrap().to_be_bytes());
    stream.extend(payload);
    let length = u32::try_from(stream.len()).unwrap();
    stream[..4].copy_from_slice(&length.to_be_bytes());
    for (lengths, state) in [
        (&[60, 1448][..], ReceiptKind::Delivered),
        (&[CUT_BYTES, 1448], ReceiptKind::Delivered),
        (&[CUT_BYTES + 1, 1448], ReceiptKind::Unread),
        (&[60, 60, 1448], ReceiptKind::Unread),
        (&[60, 60], ReceiptKind::Unread),
    ] {
        let (receipts, _) = carry(&mut kernel, &cut(&stream, lengths));
        let mut expected = [0; ReceiptKind::SLOTS];
        expected[state.index()] = 1;
        assert_eq!(receipts, expected, "{lengths:?}");
    }
}

#[test]
fn any_stream_of_receipts_is_counted_as_on_the_host() {
    let mut kernel = Lent::take().unwrap();
    let kernel = std::cell::RefCell::new(&mut kernel);
    let mut runner = TestRunner::new(Config { cases: 60, max_shrink_iters: 0, ..Config::default() });
    // Nothing: the state is in a data_sm.
    let states =
        prop_oneof![Just("DELIVRD"), Just("UNDELIV"), Just("EXPIRED"), Just("s"), Just("ENROUTE"), Just("")];
    let receipt = (states, "[+]?[0-9a]{0,14}", prop_oneof![Just(RECEIPT), any::<u8>()], 0..120_u8);
    let strategy = (
        proptest::collection::vec(receipt, 1..30),
        proptest::collection::vec(prop_oneof![1..400_usize, Just(1448), 1448..3400_usize], 1..20),
        proptest::collection::vec((any::<Index>(), any::<Index>()), 0..4),
    );
    runner
        .run(&strategy, |(receipts, lengths, swaps)| {
            let mut stream = Vec::new();
            for (sequence, (state, number, esm_class, before)) in (1..).zip(&receipts) {
                if state.is_empty() {
                    stream.extend(data_sm_receipt(sequence, number, *esm_class, *before));
                    continue;
                }
                let text = [vec![b' '; usize::from(*before)], text(state)].concat();
                stream.extend(deliver_sm(sequence, number, *esm_class, &text));
            }
            let mut segments = cut(&stream, &lengths);
            for (one, other) in swaps {
                let (one, other) = (one.index(segments.len()), other.index(segments.len()));
                segments.swap(one, other);
                segments.push(segments[one]);
            }
            carry(&mut kernel.borrow_mut(), &segments);
            Ok(())
        })
        .unwrap();
}
