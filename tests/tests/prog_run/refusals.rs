//! Messages refused in SMPP's own words: the frames that the kernel makes, octet by octet against the host, and a client and a
//! server on both sides of them.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use edge_ebpf::abi::{Allowance, Class, EgressOutcome, FlowKey, MessageRecord, Outcome, program};
use edge_tests::fixtures::packets::row;
use edge_tests::fixtures::world::{ACME, ACME_SOURCE, SERVER, SMPP_PORT, Scenario, at_once, mapped};
use edge_tests::host::Host;
use edge_tests::kernel::{Kernel, XDP_DROP};
use edge_tests::lent::Lent;
use edge_tests::packet::{Frame, Tcp, checksum};
use edge_tests::smpp::{bind, command, enquire_link, pdu, submit_multi, submit_sm};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

const NOW_NS: u64 = 1_000_000_000_000;
const PORT: u16 = 40_000;
const ISN: u32 = u32::MAX - 700;
const SERVER_ISN: u32 = u32::MAX - 200;
const THROTTLED: u32 = 0x58;
const INVALID_SOURCE: u32 = 0x0a;
/// Octets of a [`submit_sm`] or [`submit_multi`] with its sender and the zero at its end.
const WITH_SENDER: usize = 24;
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

/// A message of which not even the header has come is refused, and then its segment is dropped for a bind: it will be judged
/// anew, and what it is cannot be held for ever in the one place that there is for such.
#[test]
fn a_cut_message_is_not_refused_where_its_segment_is_dropped() {
    let mut kernel = Lent::take().unwrap();
    let limit = at_once(1);
    let before = Scenario::open().native();
    let before = before.account_limit(Class::SmppSubmit, limit).account_limit(Class::SmppBind, limit);
    kernel.prepare(&before).unwrap();
    let host = Host::prepare(&before, NOW_NS);
    let mut session = Session { kernel: &mut kernel, host };
    session.comes(Tcp::syn(PORT, SMPP_PORT, ISN), b"").unwrap();
    let back = Tcp { flags: Tcp::SYN | Tcp::ACK, ..Tcp::data(SMPP_PORT, PORT, SERVER_ISN) };
    session.leaves(back, b"").unwrap();

    let bind_to = |sequence| bind(command::BIND_TRANSMITTER, sequence, "acme");
    let first = [bind_to(1), submit_sm(2, "4416329601", b"hi"), submit_sm(3, "4416329601", b"hi")].concat();
    let seq = ISN.wrapping_add(1);
    assert!(session.comes(Tcp::data(PORT, SMPP_PORT, seq), &first).unwrap().is_some());
    let key = connection((ACME_SOURCE, PORT), (SERVER, SMPP_PORT));
    assert_eq!(session.kernel.refusals_waiting(&key).unwrap(), 1, "the second message");

    let seq = seq.wrapping_add(u32::try_from(first.len()).unwrap());
    let cut = [&bind_to(4)[..], &submit_sm(5, "4416329601", b"hi")[..12]].concat();
    assert_eq!(
        session.comes(Tcp::data(PORT, SMPP_PORT, seq), &cut).unwrap(),
        None,
        "over the limit of binds"
    );
    assert_eq!(session.kernel.refusals_waiting(&key).unwrap(), 1);
}

/// What is made of senders; all `submit_sm` and `submit_multi` come from `acme`.
#[derive(Clone, Copy, Debug)]
struct Senders {
    /// `None`: they are not checked. Else whether `acme` is allowed.
    own: Option<bool>,
    enforced: bool,
    /// Whether the client cuts no message before the end of its sender.
    uncut: bool,
}

impl Senders {
    fn before(self, before: Scenario) -> Scenario {
        match self.own {
            None => before,
            Some(true) => before.sender_ids(&["4416", "acme"], self.enforced),
            Some(false) => before.sender_ids(&["4416", "acm", "ACME"], self.enforced),
        }
    }

    fn are_foreign(self) -> bool {
        self.own == Some(false)
    }
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
    let records = prop_oneof![Just(0), Just(u32::MAX / 3), Just(u32::MAX)];
    let senders = (proptest::option::of(any::<bool>()), any::<bool>(), any::<bool>());
    let senders = senders.prop_map(|(own, enforced, uncut)| Senders { own, enforced, uncut });
    let strategy = (kinds, requests, cuts, answers, 0..12_u64, any::<u32>(), records, senders);
    let (refused, recorded) = (std::cell::Cell::new(0), std::cell::Cell::new(0));
    let (refused_senders, passed_senders) = (std::cell::Cell::new(0), std::cell::Cell::new(0));
    let kernel = std::cell::RefCell::new(&mut kernel);
    runner
        .run(&strategy, |(server, requests, cuts, answers, burst, first, records, senders)| {
            let first = first % 0x7fff_0000 + 1;
            // Without a limit segments are walked another way.
            let mut before = senders.before(match burst {
                0 => Scenario::open(),
                _ => Scenario::open().native().account_limit(Class::SmppSubmit, at_once(burst)),
            });
            let may_refuse_senders = burst != 0 && senders.enforced && senders.are_foreign();
            let burst = if burst == 0 { u64::MAX } else { burst };
            before.message_records = records;
            let mut kernel = kernel.borrow_mut();
            kernel.prepare(&before).unwrap();
            let host = Host::prepare(&before, NOW_NS);
            let mut session = Session { kernel: &mut kernel, host };
            let (stream, sent) = client_stream(&requests, first);
            session.comes(Tcp::syn(PORT, SMPP_PORT, ISN), b"")?;
            let back = Tcp { flags: Tcp::SYN | Tcp::ACK, ..Tcp::data(SMPP_PORT, PORT, SERVER_ISN) };
            session.leaves(back, b"")?;
            let up = transmit(&stream, ISN + 1, &cuts, senders.uncut, |seq, part| {
                session.comes(
                    Tcp { acknowledgement: SERVER_ISN.wrapping_add(1), ..Tcp::data(PORT, SMPP_PORT, seq) },
                    part,
                )
            })?;
            let (answered, got) = serve(&up, &sent, server)?;
            let admitted = got.len() as u64;
            let down = transmit(&answered, SERVER_ISN.wrapping_add(1), &answers, false, |seq, part| {
                session.leaves(Tcp::data(SMPP_PORT, PORT, seq), part)
            })?;
            let of_kernel = session.kernel.account(ACME).unwrap();
            prop_assert_eq!(of_kernel.counters, session.host.accounts[&ACME].counters);
            let submits = || sent.iter().filter(|(_, id)| has_sender(**id)).map(|(sequence, _)| *sequence);
            let (throttled, foreign) = judge_answers(&down, &sent, &got)?;
            if !may_refuse_senders {
                prop_assert_eq!(&foreign, &BTreeSet::new(), "refused for their senders");
            } else if senders.uncut {
                prop_assert_eq!(&foreign, &submits().collect(), "each of them is refused");
            }
            prop_assert!(foreign.iter().all(|sequence| has_sender(sent[sequence])));
            let of_senders = foreign.len() as u64;
            prop_assert_eq!(&got, &within(burst, &sent, &foreign), "admitted");
            let counted: u64 = got.iter().map(|sequence| weight(*sequence, sent[sequence])).sum();
            prop_assert_eq!(
                of_kernel.counters.messages[Class::SmppSubmit.index()][Allowance::Admitted.index()],
                counted
            );
            prop_assert_eq!(throttled + of_senders + admitted, messages(&sent));
            let violations = if senders.are_foreign() { submits().count() as u64 } else { 0 };
            // Of a message that was refused for a limit before its sender came, nobody knows the sender.
            if senders.uncut {
                prop_assert_eq!(of_kernel.counters.foreign_senders, violations);
            } else {
                prop_assert!(of_kernel.counters.foreign_senders <= violations);
            }
            refused_senders.set(refused_senders.get() + of_senders);
            passed_senders.set(passed_senders.get() + violations - of_senders);
            let own: u64 = of_kernel.counters.responses.iter().sum();
            prop_assert_eq!(own, admitted, "the server's own responses");
            let flow = |from, to| session.kernel.flow(&connection(from, to)).unwrap();
            let passed = flow((ACME_SOURCE, PORT), (SERVER, SMPP_PORT)).messages;
            let heard = flow((SERVER, SMPP_PORT), (ACME_SOURCE, PORT)).responses;
            prop_assert_eq!((u64::from(passed), u64::from(heard)), (messages(&sent), messages(&sent)));
            prop_assert_eq!(of_kernel.counters.smpp_refused, throttled + of_senders);
            refused.set(refused.get() + throttled);
            let left = judge_records(&session.kernel.messages().unwrap(), &down, &sent, &got)?;
            prop_assert!(records != 0 || left == 0);
            prop_assert!(records != u32::MAX || left == messages(&sent), "{} of {}", left, messages(&sent));
            recorded.set(recorded.get() + left);
            Ok(())
        })
        .unwrap();
    assert!(refused.get() > 500, "{} refused", refused.get());
    assert!(recorded.get() > 500, "{} recorded", recorded.get());
    // Some 220 and 310 by the dice, and seldom as few as a hundred.
    assert!(refused_senders.get() > 20, "{} refused for their senders", refused_senders.get());
    assert!(passed_senders.get() > 20, "{} of foreign senders not", passed_senders.get());
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

/// Sends a stream in segments that begin before what is new; what was dropped comes again. The stream as it arrives. `uncut`:
/// no segment ends before the end of a sender.
fn transmit(
    stream: &[u8],
    start: u32,
    cuts: &[(usize, usize)],
    uncut: bool,
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
        let within = octets_within(stream, to);
        if uncut && within.start != to {
            to = to.max(within.end.min(within.start + WITH_SENDER));
        }
        // The third octet of a data_sm's name differs from an enquire_link's: once it has passed alone, the message can only
        // wait until it is within the limit again, which takes an hour here.
        to += usize::from(within.start + 7 == to);
        let seq = start.wrapping_add(u32::try_from(from).unwrap());
        let Some(part) = send(seq, &stream[from..to])? else { continue };
        prop_assert_eq!(&part[..arrived.len() - from], &arrived[from..], "every copy is the same");
        arrived.extend(&part[arrived.len() - from..]);
    }
    Ok(arrived)
}

/// The PDU that a cut at `at` is within, or begins.
fn octets_within(stream: &[u8], at: usize) -> Range<usize> {
    let mut pdu = 0..0;
    while pdu.end <= at && pdu.end < stream.len() {
        let word = stream[pdu.end..pdu.end + 4].try_into().unwrap();
        pdu = pdu.end..pdu.end + u32::from_be_bytes(word) as usize;
    }
    pdu
}

/// The client's stream, and its requests by `sequence_number`.
fn client_stream(requests: &[(u8, usize)], first: u32) -> (Vec<u8>, BTreeMap<u32, u32>) {
    let (mut stream, mut sent) = (Vec::new(), BTreeMap::new());
    for (sequence, (kind, length)) in (first..).zip(requests) {
        let (id, bytes) = match kind {
            0 => (command::ENQUIRE_LINK, enquire_link(sequence)),
            1 => (command::DATA_SM, pdu(command::DATA_SM, 0, sequence, &vec![0; *length])),
            2 => (
                command::SUBMIT_MULTI,
                submit_multi(sequence, weight(sequence, command::SUBMIT_MULTI), &vec![b'a'; *length]),
            ),
            _ => (command::SUBMIT_SM, submit_sm(sequence, "4416329601", &vec![b'a'; *length])),
        };
        stream.extend(bytes);
        sent.insert(sequence, id);
    }
    (stream, sent)
}

/// Whether a message says `acme` of its sender.
const fn has_sender(id: u32) -> bool {
    matches!(id, command::SUBMIT_SM | command::SUBMIT_MULTI)
}

/// How many messages a request stands for.
fn weight(sequence: u32, id: u32) -> u64 {
    match id {
        command::ENQUIRE_LINK => 0,
        command::SUBMIT_MULTI => u64::from(sequence % 4 + 1),
        _ => 1,
    }
}

/// Which requests find room for a message, where each costs as many as it stands for.
fn within(burst: u64, sent: &BTreeMap<u32, u32>, foreign: &BTreeSet<u32>) -> BTreeSet<u32> {
    let (mut room, mut found) = (burst, BTreeSet::new());
    for (&sequence, &id) in sent {
        let weight = weight(sequence, id);
        if weight != 0 && room != 0 && !foreign.contains(&sequence) {
            room = room.saturating_sub(weight);
            found.insert(sequence);
        }
    }
    found
}

fn messages(sent: &BTreeMap<u32, u32>) -> u64 {
    sent.values().filter(|id| **id != command::ENQUIRE_LINK).count() as u64
}

/// What the server answers, and which messages it got.
fn serve(
    stream: &[u8],
    sent: &BTreeMap<u32, u32>,
    server: Server,
) -> Result<(Vec<u8>, BTreeSet<u32>), TestCaseError> {
    let (mut answers, mut got) = (Vec::new(), BTreeSet::new());
    for (id, status, sequence, _) in pdus(stream) {
        prop_assert_eq!(status, 0);
        let wanted = sent[&sequence];
        if id == wanted && id != command::ENQUIRE_LINK {
            prop_assert!(got.insert(sequence));
            answers.extend(pdu(id | 0x8000_0000, own_status(sequence), sequence, b"message id\0"));
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

/// How many messages the client was told were refused for a limit, and which for their senders; every request has one answer,
/// and the right one. `got`: what the server got.
fn judge_answers(
    stream: &[u8],
    sent: &BTreeMap<u32, u32>,
    got: &BTreeSet<u32>,
) -> Result<(u64, BTreeSet<u32>), TestCaseError> {
    let (mut open, mut throttled, mut foreign) = (sent.clone(), 0, BTreeSet::new());
    for (id, status, sequence, _) in pdus(stream) {
        let request = open.remove(&sequence);
        prop_assert_eq!(request.map(|id| id | 0x8000_0000), Some(id));
        if request == Some(command::ENQUIRE_LINK) {
            prop_assert_eq!(status, 0);
        } else if got.contains(&sequence) {
            prop_assert_eq!(status, own_status(sequence));
        } else if status == INVALID_SOURCE {
            foreign.insert(sequence);
        } else {
            prop_assert_eq!(status, THROTTLED);
            throttled += 1;
        }
    }
    prop_assert!(open.is_empty(), "unanswered: {open:?}");
    Ok((throttled, foreign))
}

/// Records that were left: at most one for each message, and what it says is true.
fn judge_records(
    records: &[MessageRecord],
    stream: &[u8],
    sent: &BTreeMap<u32, u32>,
    got: &BTreeSet<u32>,
) -> Result<u64, TestCaseError> {
    let mut told: BTreeMap<u32, u32> =
        pdus(stream).into_iter().map(|(_, status, sequence, _)| (sequence, status)).collect();
    for record in records {
        let sequence = u32::from_be_bytes(record.key.sequence);
        prop_assert_eq!(told.remove(&sequence), Some(record.status), "the status of {}", sequence);
        prop_assert_eq!(record.refused == 0, got.contains(&sequence));
        prop_assert_eq!(record.key.client, connection((ACME_SOURCE, PORT), (SERVER, SMPP_PORT)));
        let note = &record.note;
        prop_assert_eq!(Some(&note.command), sent.get(&sequence));
        prop_assert_eq!(note.account, ACME);
        prop_assert!(note.submitted_ns != 0 && note.submitted_ns <= record.answered_ns);
        // Of a message that was refused before twenty octets of it had come, nothing else is known.
        let is_known = record.refused == 0 || note.to.text[0] != 0;
        if note.command == command::SUBMIT_SM && is_known {
            prop_assert_eq!(
                note.to.text.as_slice(),
                b"4416329601".iter().chain(&[0; 14]).copied().collect::<Vec<_>>()
            );
            prop_assert_eq!((note.destinations, note.data_coding, note.parts), (1, 0, 0));
        }
    }
    Ok(records.len() as u64)
}

/// What the server says to a message that it has got.
const fn own_status(sequence: u32) -> u32 {
    [0, 0x14, 0x45, 0x0b, 0x0a, 0x08, 0][sequence as usize % 7]
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

/// The key of one direction.
fn connection((source, source_port): ([u8; 4], u16), (destination, port): ([u8; 4], u16)) -> FlowKey {
    FlowKey {
        source: mapped(source),
        destination: mapped(destination),
        source_port: source_port.to_be_bytes(),
        destination_port: port.to_be_bytes(),
    }
}

/// TCP over plain IPv4 sums up to zero with its pseudo-header (RFC 9293 3.1).
/// Whether a frame with TCP over IPv4 has the checksum that it should have.
pub(crate) fn checksum_is_right(frame: &[u8]) -> bool {
    let tcp = &frame[34..];
    checksum(&[&frame[26..34], &[0, 6], &length_of(tcp), tcp]) == 0
}

/// What a pseudo-header says of the length.
pub(crate) fn length_of(tcp: &[u8]) -> [u8; 2] {
    u16::try_from(tcp.len()).unwrap().to_be_bytes()
}
