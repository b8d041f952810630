//! Messages refused in SMPP's own words: the frames that the kernel makes, octet by octet against the host, and a client and a
//! server on both sides of them.

use std::collections::BTreeMap;

use edge_ebpf::abi::{Class, EgressOutcome, Outcome, program};
use edge_tests::fixtures::packets::row;
use edge_tests::fixtures::world::{ACME, ACME_SOURCE, SERVER, SMPP_PORT, Scenario, at_once};
use edge_tests::host::Host;
use edge_tests::kernel::{Kernel, XDP_DROP};
use edge_tests::lent::Lent;
use edge_tests::packet::{Frame, Tcp, checksum};
use edge_tests::smpp::{command, enquire_link, pdu, submit_sm};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

const NOW_NS: u64 = 1_000_000_000_000;
const PORT: u16 = 40_000;
const ISN: u32 = u32::MAX - 700;
const SERVER_ISN: u32 = u32::MAX - 200;
const THROTTLED: u32 = 0x58;
const ENQUIRE_LINK_RESP: u32 = 0x8000_0015;

/// How a server answers an `enquire_link` that has a parameter.
#[derive(Clone, Copy, Debug)]
enum Server {
    Answers,
    Nacks,
    Responds,
}

#[test]
fn a_refused_message_is_an_enquire_link_of_the_same_length() {
    let mut kernel = Lent::take().unwrap();
    let row = row("smpp_refused_1");
    kernel.prepare(&row.before).unwrap();
    let (_, frame) = kernel.became(program::INGRESS, &row.frame).unwrap();
    assert_eq!(frame.len(), row.frame.len());
    assert!(checksum_is_right(&frame), "{frame:02x?}");
    let (payload, before) = (&frame[54..], &row.frame[54..]);
    assert_eq!(payload[..4], before[..4], "command_length");
    assert_eq!(payload[4..8], command::ENQUIRE_LINK.to_be_bytes());
    assert_eq!(payload[8..16], before[8..16], "status and sequence_number");
    let length = u16::try_from(payload.len() - 20).unwrap().to_be_bytes();
    assert_eq!(payload[16..20], [0x14, 0x00, length[0], length[1]], "one parameter of a vendor's");
    assert_eq!(payload[20..], before[20..]);
}

/// A sender's stack that leaves the checksum to the interface puts the pseudo-header's sum there.
#[test]
fn a_checksum_that_is_still_to_be_made_stays_the_pseudo_headers() {
    let mut kernel = Lent::take().unwrap();
    let row = row("smpp_refused_10");
    kernel.prepare(&row.before).unwrap();
    let mut frame = row.frame.clone();
    let partial = !checksum(&[&frame[26..34], &[0, 6], &length_of(&frame[34..])]);
    frame[50..52].copy_from_slice(&partial.to_be_bytes());
    let (_, changed) = kernel.became(program::INGRESS, &frame).unwrap();
    assert_ne!(changed[54..], frame[54..]);
    assert_eq!(changed[50..52], frame[50..52]);
}

/// However the client cuts and repeats: kernel and host agree on every octet, the server never sees a refused message, and
/// the client gets exactly one right answer to each request.
#[test]
fn a_session_is_refused_exactly_as_on_the_host() {
    let mut kernel = Lent::take().unwrap();
    let mut runner = TestRunner::new(Config { cases: 150, max_shrink_iters: 0, ..Config::default() });
    let kinds = prop_oneof![Just(Server::Answers), Just(Server::Nacks), Just(Server::Responds)];
    let requests = proptest::collection::vec((0..6_u8, 0..90_usize), 1..40);
    let cuts = proptest::collection::vec((1..300_usize, 0..60_usize), 4..40);
    let answers = proptest::collection::vec((64..700_usize, 0..40_usize), 4..40);
    let strategy = (kinds, requests, cuts, answers, 0..12_u64, any::<u32>());
    let refused = std::cell::Cell::new(0);
    let kernel = std::cell::RefCell::new(&mut kernel);
    runner
        .run(&strategy, |(server, requests, cuts, answers, burst, first)| {
            let first = first % 0x7fff_0000 + 1;
            let before = Scenario::open().native().account_limit(Class::SmppSubmit, at_once(burst.max(1)));
            let mut kernel = kernel.borrow_mut();
            kernel.prepare(&before).unwrap();
            let host = Host::prepare(&before, NOW_NS);
            let mut session = Session { kernel: &mut kernel, host };
            let (stream, sent) = client_stream(&requests, first);
            session.comes(Tcp::syn(PORT, SMPP_PORT, ISN), b"")?;
            let back = Tcp { flags: Tcp::SYN | Tcp::ACK, ..Tcp::data(SMPP_PORT, PORT, SERVER_ISN) };
            session.leaves(back, b"")?;
            let up = transmit(&stream, ISN + 1, &cuts, |seq, part| {
                session.comes(
                    Tcp { acknowledgement: SERVER_ISN.wrapping_add(1), ..Tcp::data(PORT, SMPP_PORT, seq) },
                    part,
                )
            })?;
            let (answered, admitted) = serve(&up, &sent, server)?;
            prop_assert_eq!(admitted, burst.max(1).min(messages(&sent)), "admitted");
            let down = transmit(&answered, SERVER_ISN.wrapping_add(1), &answers, |seq, part| {
                session.leaves(Tcp::data(SMPP_PORT, PORT, seq), part)
            })?;
            let of_kernel = session.kernel.account(ACME).unwrap();
            prop_assert_eq!(of_kernel.counters, session.host.accounts[&ACME].counters);
            let throttled = judge_answers(&down, &sent)?;
            prop_assert_eq!(throttled + admitted, messages(&sent));
            prop_assert_eq!(of_kernel.counters.smpp_refused, throttled);
            refused.set(refused.get() + throttled);
            Ok(())
        })
        .unwrap();
    assert!(refused.get() > 500, "{} refused", refused.get());
}

struct Session<'a> {
    kernel: &'a mut Kernel,
    host: Host,
}

impl Session<'_> {
    /// A segment of the client; what of its payload passes.
    fn comes(&mut self, header: Tcp, payload: &[u8]) -> Result<Option<Vec<u8>>, TestCaseError> {
        let frame = Frame::ipv4(ACME_SOURCE, SERVER).tcp(header).payload(payload).bytes();
        let (run, changed) = self.kernel.pass(&frame).unwrap();
        self.host.passed = None;
        prop_assert_eq!(run.outcome, self.host.send(&frame), "kernel and host, at {}", header.sequence);
        prop_assert_ne!(run.outcome, Outcome::SmppMalformed);
        if run.verdict == XDP_DROP {
            return Ok(None);
        }
        self.compare(&changed, &frame)
    }

    fn leaves(&mut self, header: Tcp, payload: &[u8]) -> Result<Option<Vec<u8>>, TestCaseError> {
        let frame = Frame::ipv4(SERVER, ACME_SOURCE).tcp(header).payload(payload).bytes();
        let (outcome, changed) = self.kernel.leave_changed(&frame).unwrap();
        self.host.passed = None;
        prop_assert_eq!(outcome, self.host.leave(&frame), "kernel and host");
        if EgressOutcome::drops(outcome.index()) {
            return Ok(None);
        }
        self.compare(&changed, &frame)
    }

    fn compare(&self, changed: &[u8], frame: &[u8]) -> Result<Option<Vec<u8>>, TestCaseError> {
        let of_host = self.host.passed.as_deref().unwrap_or(frame);
        prop_assert_eq!(changed, of_host, "kernel and host");
        prop_assert!(checksum_is_right(changed));
        Ok(Some(changed[54..].to_vec()))
    }
}

/// Sends a stream in segments that begin before what is new; what was dropped comes again. The stream as it arrives.
fn transmit(
    stream: &[u8],
    start: u32,
    cuts: &[(usize, usize)],
    mut send: impl FnMut(u32, &[u8]) -> Result<Option<Vec<u8>>, TestCaseError>,
) -> Result<Vec<u8>, TestCaseError> {
    let mut arrived: Vec<u8> = Vec::new();
    let mut turn = 0;
    while arrived.len() < stream.len() {
        let (length, again) = cuts[turn % cuts.len()];
        turn += 1;
        prop_assert!(turn < 20_000, "stuck at {} of {}", arrived.len(), stream.len());
        let from = arrived.len().saturating_sub(again);
        let mut to = (arrived.len() + length).min(stream.len());
        // The third octet of a data_sm's name differs from an enquire_link's: once it has passed alone, the message can only
        // wait until it is within the limit again, which takes an hour here.
        to += usize::from(is_late_cut(stream, to));
        let seq = start.wrapping_add(u32::try_from(from).unwrap());
        let Some(part) = send(seq, &stream[from..to])? else { continue };
        prop_assert_eq!(&part[..arrived.len() - from], &arrived[from..], "every copy is the same");
        arrived.extend(&part[arrived.len() - from..]);
    }
    Ok(arrived)
}

/// Whether seven octets of a PDU lie before `at`.
fn is_late_cut(stream: &[u8], at: usize) -> bool {
    let mut start = 0;
    while start + 7 < at && start + 4 <= stream.len() {
        start += u32::from_be_bytes(stream[start..start + 4].try_into().unwrap()) as usize;
    }
    start + 7 == at && at < stream.len()
}

/// The client's stream, and its requests by `sequence_number`.
fn client_stream(requests: &[(u8, usize)], first: u32) -> (Vec<u8>, BTreeMap<u32, u32>) {
    let (mut stream, mut sent) = (Vec::new(), BTreeMap::new());
    for (sequence, (kind, length)) in (first..).zip(requests) {
        let (id, bytes) = match kind {
            0 => (command::ENQUIRE_LINK, enquire_link(sequence)),
            1 => (command::DATA_SM, pdu(command::DATA_SM, 0, sequence, &vec![0; *length])),
            2 => (command::SUBMIT_MULTI, pdu(command::SUBMIT_MULTI, 0, sequence, &vec![1; *length])),
            _ => (command::SUBMIT_SM, submit_sm(sequence, "4416329601", &vec![b'a'; *length])),
        };
        stream.extend(bytes);
        sent.insert(sequence, id);
    }
    (stream, sent)
}

fn messages(sent: &BTreeMap<u32, u32>) -> u64 {
    sent.values().filter(|id| **id != command::ENQUIRE_LINK).count() as u64
}

/// What the server answers, and how many messages it got.
fn serve(stream: &[u8], sent: &BTreeMap<u32, u32>, server: Server) -> Result<(Vec<u8>, u64), TestCaseError> {
    let (mut answers, mut got) = (Vec::new(), 0);
    for (id, status, sequence, _) in pdus(stream) {
        prop_assert_eq!(status, 0);
        let wanted = sent[&sequence];
        if id == wanted && id != command::ENQUIRE_LINK {
            got += 1;
            answers.extend(pdu(id | 0x8000_0000, 0, sequence, b"message id\0"));
            continue;
        }
        prop_assert_eq!(id, command::ENQUIRE_LINK);
        let answer = match server {
            _ if id == wanted => ENQUIRE_LINK_RESP,
            Server::Answers => ENQUIRE_LINK_RESP,
            Server::Nacks => 0x8000_0000,
            Server::Responds => wanted | 0x8000_0000,
        };
        let status = if answer == ENQUIRE_LINK_RESP { 0 } else { 0xc1 };
        answers.extend(pdu(answer, status, sequence, b""));
    }
    Ok((answers, got))
}

/// Messages that the client was told were refused; every request has one answer, and the right one.
fn judge_answers(stream: &[u8], sent: &BTreeMap<u32, u32>) -> Result<u64, TestCaseError> {
    let (mut open, mut throttled) = (sent.clone(), 0);
    for (id, status, sequence, _) in pdus(stream) {
        let request = open.remove(&sequence);
        prop_assert_eq!(request.map(|id| id | 0x8000_0000), Some(id));
        prop_assert!(status == 0 || status == THROTTLED && request != Some(command::ENQUIRE_LINK));
        throttled += u64::from(status == THROTTLED);
    }
    prop_assert!(open.is_empty(), "unanswered: {open:?}");
    Ok(throttled)
}

fn pdus(mut stream: &[u8]) -> Vec<(u32, u32, u32, Vec<u8>)> {
    let word = |bytes: &[u8], at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
    let mut found = Vec::new();
    while !stream.is_empty() {
        let length = word(stream, 0) as usize;
        found.push((word(stream, 4), word(stream, 8), word(stream, 12), stream[16..length].to_vec()));
        stream = &stream[length..];
    }
    found
}

/// TCP over plain IPv4 sums up to zero with its pseudo-header (RFC 9293 3.1).
fn checksum_is_right(frame: &[u8]) -> bool {
    let tcp = &frame[34..];
    checksum(&[&frame[26..34], &[0, 6], &length_of(tcp), tcp]) == 0
}

fn length_of(tcp: &[u8]) -> [u8; 2] {
    u16::try_from(tcp.len()).unwrap().to_be_bytes()
}
