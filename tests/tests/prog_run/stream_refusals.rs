//! INVITEs refused in SIP's own words: the frames that the kernel makes, octet by octet against the host, and a client and a
//! proxy on both sides of them.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

use edge_ebpf::abi::{Allowance, Class, Outcome, Settings, StreamServer, map};
use edge_tests::fixtures::world::{ACME, ACME_SOURCE, SERVER, SIP_PORT, Scenario, at_once};
use edge_tests::host::Host;
use edge_tests::kernel::Kernel;
use edge_tests::lent::Lent;
use edge_tests::packet::{Frame, Tcp, checksum};
use edge_tests::sip::{Request, SDP, response};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

use crate::refusals::{checksum_is_right, length_of};

pub(crate) const NOW_NS: u64 = 1_000_000_000_000;
pub(crate) const PORT: u16 = 40_000;
pub(crate) const ISN: u32 = u32::MAX - 2000;
pub(crate) const SERVER_ISN: u32 = u32::MAX - 900;

/// A message of the client; its `Call-ID` says which.
pub(crate) fn message(kind: usize, number: usize) -> Vec<u8> {
    let request = |method| Request::new(method).call_id(&format!("{number}@client"));
    let hops = |line: &str| {
        let text = String::from_utf8(request("INVITE").body(SDP).bytes()).unwrap();
        text.replace("Max-Forwards: 70", line).into_bytes()
    };
    match kind {
        0 => request("ACK").in_dialog("314159").bytes(),
        1 => request("INVITE").in_dialog("x").compact().body(SDP).bytes(),
        2 => request("BYE").in_dialog("314159").bytes(),
        3 => request("OPTIONS").bytes(),
        4 => response(483, "Too Many Hops", "INVITE"),
        5 => hops("max-FORWARDS  : \t 255 "),
        6 => hops("Max-Forwards: 7"),
        7 => request("INVITE").body("Max-Forwards: 70\r\n\r\n").bytes(),
        12 => request("REGISTER").bytes(),
        13 => request("MESSAGE").body("a").bytes(),
        _ => request("INVITE").body(SDP).bytes(),
    }
}

/// What a server must answer what is changed for it.
pub(crate) const fn refusal(server: StreamServer) -> (u16, &'static str) {
    match server {
        StreamServer::Proxy => (483, "Too Many Hops"),
        StreamServer::B2bua => (420, "Bad Extension"),
    }
}

/// Classes that are limited.
const CLASSES: [Class; 3] = [Class::SipInvite, Class::SipRegister, Class::SipMessage];

/// What the server says to what arrives: a refusal to a request that a proxy may not pass on, or that asks a B2BUA for more than
/// it knows, and 200 to any other.
fn serve(server: StreamServer, arrived: &[u8], phrase: &str) -> Vec<(u16, Vec<u8>)> {
    let text = String::from_utf8(arrived.to_vec()).unwrap();
    let starts = |method: &'static str| text.match_indices(method).map(|(at, _)| at);
    let methods = ["INVITE sip:", "REGISTER sip:", "MESSAGE sip:"];
    let starts: BTreeSet<usize> = methods.into_iter().flat_map(starts).collect();
    let mut answers = Vec::new();
    for start in starts {
        let head = text[start..].split("\r\n\r\n").next().unwrap();
        let line = |name: &str| {
            let lines = head.lines().map(|line| line.split_once(':').unwrap_or_default());
            lines.filter(|(is, _)| is.trim().eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).next()
        };
        let is_refused = match (server, line("max-forwards")) {
            (StreamServer::Proxy, Some(hops)) => hops.bytes().all(|digit| digit == b'0'),
            (StreamServer::Proxy, None) => panic!("{head}"),
            (StreamServer::B2bua, hops) => line("require").is_some_and(|_| hops.is_none()),
        };
        let number = line("call-id").or(line("i")).unwrap();
        let (status, phrase) = if is_refused { (refusal(server).0, phrase) } else { (200, "OK") };
        let answer = response(status, phrase, "INVITE");
        let answer = String::from_utf8(answer).unwrap().replace("70710@198.51.100.10", number);
        answers.push((status, answer.into_bytes()));
    }
    answers
}

/// A connection in the kernel and on the host, which must agree.
pub(crate) struct Session<'a> {
    pub(crate) kernel: &'a mut Kernel,
    pub(crate) host: Host,
}

impl Session<'_> {
    pub(crate) fn comes(&mut self, header: Tcp, payload: &[u8]) -> Result<Vec<u8>, TestCaseError> {
        let frame = Frame::ipv4(ACME_SOURCE, SERVER).tcp(header).payload(payload).bytes();
        let (run, changed) = self.kernel.pass(&frame).unwrap();
        self.host.passed = None;
        prop_assert_eq!(run.outcome, self.host.send(&frame), "kernel and host, at {}", header.sequence);
        self.compare(&changed, &frame)
    }

    pub(crate) fn leaves(&mut self, header: Tcp, payload: &[u8]) -> Result<Vec<u8>, TestCaseError> {
        let frame = Frame::ipv4(SERVER, ACME_SOURCE).tcp(header).payload(payload).bytes();
        let (outcome, changed) = self.kernel.leave_changed(&frame).unwrap();
        self.host.passed = None;
        prop_assert_eq!(outcome, self.host.leave(&frame), "kernel and host");
        self.compare(&changed, &frame)
    }

    fn compare(&self, changed: &[u8], frame: &[u8]) -> Result<Vec<u8>, TestCaseError> {
        let of_host = self.host.passed.as_deref().unwrap_or(frame);
        prop_assert_eq!(
            String::from_utf8_lossy(changed),
            String::from_utf8_lossy(of_host),
            "kernel and host"
        );
        prop_assert_eq!(changed, of_host);
        prop_assert!(checksum_is_right(changed));
        Ok(changed[54..].to_vec())
    }
}

/// Sends a stream in segments that begin before what is new. The stream as it arrives.
fn transmit(
    stream: &[u8],
    start: u32,
    cuts: &[(usize, usize)],
    mut send: impl FnMut(u32, usize, &[u8]) -> Result<Vec<u8>, TestCaseError>,
) -> Result<Vec<u8>, TestCaseError> {
    let mut arrived: Vec<u8> = Vec::new();
    for (length, again) in cuts.iter().cycle() {
        if arrived.len() == stream.len() {
            break;
        }
        let from = arrived.len().saturating_sub(*again);
        let to = (arrived.len() + length).min(stream.len());
        let seq = start.wrapping_add(u32::try_from(from).unwrap());
        let part = send(seq, arrived.len(), &stream[from..to])?;
        prop_assert_eq!(&part[..arrived.len() - from], &arrived[from..], "every copy is the same");
        arrived.extend(&part[arrived.len() - from..]);
    }
    Ok(arrived)
}

fn statuses(stream: &[u8], status: &str) -> usize {
    String::from_utf8_lossy(stream).matches(&format!("SIP/2.0 {status} ")).count()
}

/// Cut anywhere, repeated at random, with whatever phrase the proxy uses.
#[test]
fn what_is_refused_is_told_so_however_it_is_cut() {
    let kernel = RefCell::new(Lent::take().unwrap());
    let cut = prop_oneof![1_usize..40, 20_usize..900, 900_usize..6000];
    let cuts = || proptest::collection::vec((cut.clone(), prop_oneof![Just(0), 0_usize..1500]), 1..6);
    let phrase = prop_oneof!["Too Many Hops", "Hops", "", "[ -~]{0,90}"];
    let server = prop_oneof![Just(StreamServer::Proxy), Just(StreamServer::B2bua)];
    let kinds = proptest::collection::vec(0_usize..14, 1..14);
    let strategy = (server, kinds, cuts(), cuts(), 0_u64..5, phrase);
    let (refused, passed, told) = (Cell::new(0), Cell::new(0), Cell::new(0));
    let mut runner = TestRunner::new(Config { cases: 1500, ..Config::default() });
    runner
        .run(&strategy, |(server, kinds, up, down, burst, phrase)| {
            let limit = at_once(burst);
            let open = Scenario::open().native_streams_through(server);
            let before = CLASSES.into_iter().fold(open, |before, class| before.account_limit(class, limit));
            let (status, most_octets) =
                (refusal(server).0, if server == StreamServer::Proxy { 3 } else { 12 });
            let mut kernel = kernel.borrow_mut();
            kernel.prepare(&before).unwrap();
            let host = Host::prepare(&before, NOW_NS);
            let mut session = Session { kernel: &mut kernel, host };
            let stream: Vec<u8> =
                kinds.iter().enumerate().flat_map(|(number, kind)| message(*kind, number)).collect();
            session.comes(Tcp::syn(PORT, SIP_PORT, ISN), b"")?;
            let acknowledgement = SERVER_ISN.wrapping_add(1);
            let arrived = transmit(&stream, ISN.wrapping_add(1), &up, |seq, _, part| {
                session.comes(Tcp { acknowledgement, ..Tcp::data(PORT, SIP_PORT, seq) }, part)
            })?;
            let answers = serve(server, &arrived, &phrase);
            let spent = answers.iter().filter(|(said, _)| *said == status).count();
            let counted = session.kernel.account(ACME).unwrap().counters;
            prop_assert_eq!(counted, session.host.accounts[&ACME].counters);
            let messages = |allowance: Allowance| -> u64 {
                CLASSES.iter().map(|class| counted.messages[class.index()][allowance.index()]).sum()
            };
            let [admitted, told_no, owed] =
                [Allowance::Admitted, Allowance::Refused, Allowance::Observed].map(messages);
            prop_assert_eq!(u64::try_from(spent).unwrap(), told_no);
            let initial = kinds.iter().filter(|kind| **kind > 4).count();
            prop_assert_eq!(admitted + told_no + owed, u64::try_from(initial).unwrap());
            let same = arrived.iter().zip(&stream).filter(|(arrived, sent)| arrived != sent).count();
            prop_assert!(same <= most_octets * spent, "nothing but digits has changed, or the name");

            let back: Vec<u8> = answers.into_iter().flat_map(|(_, answer)| answer).collect();
            let acknowledgement = ISN.wrapping_add(1 + u32::try_from(stream.len()).unwrap());
            // Where the server's stream stands is known from a segment that begins with a message.
            let first = response(100, "Trying", "INVITE");
            session.leaves(Tcp::data(SIP_PORT, PORT, SERVER_ISN.wrapping_add(1)), &first)?;
            let start = SERVER_ISN.wrapping_add(1 + u32::try_from(first.len()).unwrap());
            let got = transmit(&back, start, &down, |seq, _, part| {
                session.leaves(Tcp { acknowledgement, ..Tcp::data(SIP_PORT, PORT, seq) }, part)
            })?;
            prop_assert_eq!(got.len(), back.len());
            let unmatched = statuses(&got, &status.to_string());
            prop_assert_eq!(statuses(&got, "503") + unmatched, spent);
            prop_assert_eq!(statuses(&got, "200"), statuses(&back, "200"));
            let listener = session.kernel.listener(SIP_PORT).unwrap();
            prop_assert_eq!((listener.refused, listener.answered), (spent as u64, spent as u64));
            prop_assert_eq!(listener.unmatched, unmatched as u64);
            prop_assert_eq!(listener.waiting, 0);
            refused.set(refused.get() + spent);
            told.set(told.get() + statuses(&got, "503"));
            passed.set(passed.get() + owed);
            Ok(())
        })
        .unwrap();
    assert!(refused.get() > 1000, "{} refused", refused.get());
    assert!(told.get() > 800, "{} told", told.get());
    assert!(passed.get() > 100, "{} passed and were owed", passed.get());
}

/// Each in a segment of its own, as a busy client writes them: exactly what is over the limit is refused, and each is told.
#[test]
fn one_message_a_segment_is_exact() {
    is_exact(StreamServer::Proxy, b": 70\r", b": 00\r");
    is_exact(StreamServer::B2bua, b"Max-Forwards: 70\r", b"Require     : 70\r");
}

fn is_exact(server: StreamServer, is: &[u8], becomes: &[u8]) {
    let (status, phrase) = refusal(server);
    let mut kernel = Lent::take().unwrap();
    let before = Scenario::open().native_streams_through(server).account_limit(Class::SipInvite, at_once(3));
    kernel.prepare(&before).unwrap();
    let host = Host::prepare(&before, NOW_NS);
    let mut session = Session { kernel: &mut kernel, host };
    session.comes(Tcp::syn(PORT, SIP_PORT, ISN), b"").unwrap();
    let (mut up, mut down) = (ISN.wrapping_add(1), SERVER_ISN.wrapping_add(1));
    // More than are remembered at once: what was acknowledged gives its place back.
    for number in 0..400 {
        let mut invite = message(8, number);
        let header = Tcp { acknowledgement: down, ..Tcp::data(PORT, SIP_PORT, up) };
        let arrived = session.comes(header, &invite).unwrap();
        up = up.wrapping_add(u32::try_from(invite.len()).unwrap());
        if number < 3 {
            assert_eq!(arrived, invite);
            continue;
        }
        let at = invite.windows(is.len()).position(|octets| octets == is).unwrap();
        invite[at..at + is.len()].copy_from_slice(becomes);
        assert_eq!(arrived, invite, "the {number}th");
        let answer = response(status, phrase, "INVITE");
        let header = Tcp { acknowledgement: up, ..Tcp::data(SIP_PORT, PORT, down) };
        let told = session.leaves(header, &answer).unwrap();
        assert_eq!(told, response(503, "Rate Exceeded", "INVITE"));
        assert_eq!(session.leaves(header, &answer).unwrap(), told, "the same again");
        down = down.wrapping_add(u32::try_from(answer.len()).unwrap());
    }
    // The server's own, when nobody waits.
    let own = response(status, phrase, "INVITE");
    let header = Tcp { acknowledgement: up, ..Tcp::data(SIP_PORT, PORT, down) };
    assert_eq!(session.leaves(header, &own).unwrap(), own);
    let listener = session.kernel.listener(SIP_PORT).unwrap();
    assert_eq!((listener.refused, listener.answered, listener.unmatched, listener.waiting), (397, 397, 0, 0));
}

/// The 1st, 2nd, 4th, 8th … refusal is told of, also where a segment brings several and none of its own is one of those.
#[test]
fn a_source_is_told_of_however_many_refusals_a_segment_brings() {
    let mut kernel = Lent::take().unwrap();
    kernel.prepare(&Scenario::open().native_streams().account_limit(Class::SipRegister, at_once(0))).unwrap();
    kernel.events().unwrap();
    kernel.send(&Frame::ipv4(ACME_SOURCE, SERVER).tcp(Tcp::syn(PORT, SIP_PORT, ISN)).bytes()).unwrap();
    let three: Vec<u8> = (0..3).flat_map(|number| message(12, number)).collect();
    let mut up = ISN.wrapping_add(1);
    for _ in 0..6 {
        let frame = Frame::ipv4(ACME_SOURCE, SERVER).tcp(Tcp::data(PORT, SIP_PORT, up)).payload(&three);
        assert_eq!(kernel.send(&frame.bytes()).unwrap().outcome, Outcome::SipRefused);
        up = up.wrapping_add(u32::try_from(three.len()).unwrap());
    }
    let told = kernel.events().unwrap();
    let register = Class::SipRegister.index() as u64;
    let told: Vec<u64> =
        told.iter().filter(|event| event.detail == register).map(|event| event.value).collect();
    assert_eq!(told, [3, 6, 9, 18], "the 1st and 2nd, the 4th, the 8th, the 16th");
}

/// A server that passes everything on leaves the places taken: what finds none passes, and is owed.
#[test]
fn where_no_place_is_left_invites_pass_and_are_owed() {
    let mut kernel = Lent::take().unwrap();
    let before = Scenario::open().native_streams().account_limit(Class::SipInvite, at_once(1));
    kernel.prepare(&before).unwrap();
    let host = Host::prepare(&before, NOW_NS);
    let mut session = Session { kernel: &mut kernel, host };
    session.comes(Tcp::syn(PORT, SIP_PORT, ISN), b"").unwrap();
    let mut up = ISN.wrapping_add(1);
    for number in 0..200 {
        let invite = message(8, number);
        session.comes(Tcp::data(PORT, SIP_PORT, up), &invite).unwrap();
        up = up.wrapping_add(u32::try_from(invite.len()).unwrap());
    }
    let counted = session.kernel.account(ACME).unwrap().counters.messages[Class::SipInvite.index()];
    assert_eq!(counted[..3], [1, 128, 71]);
    // The connection is over, and nobody waits for it.
    let fin = Tcp { flags: Tcp::FIN | Tcp::ACK, ..Tcp::data(PORT, SIP_PORT, up) };
    session.comes(fin, b"").unwrap();
    assert_eq!(session.kernel.listener(SIP_PORT).unwrap().waiting, 0);
}

const ANSWER_WITHIN: Duration = Duration::from_millis(20);

/// A connection all of whose INVITEs are over the limit, to a server that answers when it is told to.
struct Pushing {
    kernel: Lent,
    sequence: u32,
}

impl Pushing {
    fn connect() -> Self {
        let mut kernel = Lent::take().unwrap();
        kernel
            .prepare(&Scenario::open().native_streams().account_limit(Class::SipInvite, at_once(0)))
            .unwrap();
        let refusal_answer_ns = u64::try_from(ANSWER_WITHIN.as_nanos()).unwrap();
        let settings = kernel.get(map::SETTINGS, 0).unwrap();
        kernel.set_settings(Settings { refusal_answer_ns, ..settings }).unwrap();
        kernel.send(&Frame::ipv4(ACME_SOURCE, SERVER).tcp(Tcp::syn(PORT, SIP_PORT, ISN)).bytes()).unwrap();
        Self { kernel, sequence: ISN.wrapping_add(1) }
    }

    fn invite(&mut self) -> Outcome {
        let invite = message(8, 0);
        let header = Tcp::data(PORT, SIP_PORT, self.sequence);
        let frame = Frame::ipv4(ACME_SOURCE, SERVER).tcp(header).payload(&invite).bytes();
        let outcome = self.kernel.send(&frame).unwrap().outcome;
        if outcome == Outcome::SipRefused {
            self.sequence = self.sequence.wrapping_add(u32::try_from(invite.len()).unwrap());
        }
        outcome
    }

    /// Eight, and one more when they have gone unanswered for longer than they all may.
    fn nine_are_refused(&mut self) {
        for number in 1..=9 {
            if number == 9 {
                thread::sleep(2 * ANSWER_WITHIN);
            }
            assert_eq!(self.invite(), Outcome::SipRefused, "the {number}th");
        }
        let listener = self.kernel.listener(SIP_PORT).unwrap();
        assert_eq!((listener.waiting, listener.fallen_back_ns), (9, 0));
    }

    fn one_is_answered(&mut self) {
        let header =
            Tcp { acknowledgement: self.sequence, ..Tcp::data(SIP_PORT, PORT, SERVER_ISN.wrapping_add(1)) };
        let answer = response(483, "Too Many Hops", "INVITE");
        let frame = Frame::ipv4(SERVER, ACME_SOURCE).tcp(header).payload(&answer).bytes();
        self.kernel.leave(&frame).unwrap();
        assert_eq!(self.kernel.listener(SIP_PORT).unwrap().waiting, 0);
    }
}

/// So many may be answers that were not found: they are no proof against a server. With the ninth the time runs, and what
/// comes when it is over finds a port that drops. One answer, and all of it begins anew.
#[test]
fn eight_unanswered_refusals_are_borne_and_after_the_ninth_the_port_falls_back() {
    for is_answered in [false, true] {
        let mut pushing = Pushing::connect();
        pushing.nine_are_refused();
        if is_answered {
            pushing.one_is_answered();
            thread::sleep(2 * ANSWER_WITHIN);
            pushing.nine_are_refused();
        }
        thread::sleep(2 * ANSWER_WITHIN);
        assert_eq!([pushing.invite(), pushing.invite()], [Outcome::SipOverAccount; 2], "dropped");
        let listener = pushing.kernel.listener(SIP_PORT).unwrap();
        assert_eq!(listener.waiting, 9);
        assert_ne!(listener.fallen_back_ns, 0);
    }
}

/// A sender's stack that leaves the checksum to the interface puts the pseudo-header's sum there.
#[test]
fn a_checksum_that_is_still_to_be_made_stays_the_pseudo_headers() {
    let mut kernel = Lent::take().unwrap();
    let before = Scenario::open().native_streams().account_limit(Class::SipInvite, at_once(0));
    let syn = Frame::ipv4(ACME_SOURCE, SERVER).tcp(Tcp::syn(PORT, SIP_PORT, ISN)).bytes();
    kernel.prepare(&before.after(syn)).unwrap();
    let invite = Tcp::data(PORT, SIP_PORT, ISN.wrapping_add(1));
    let mut frame = Frame::ipv4(ACME_SOURCE, SERVER).tcp(invite).payload(&message(8, 1)).bytes();
    let partial = !checksum(&[&frame[26..34], &[0, 6], &length_of(&frame[34..])]);
    frame[50..52].copy_from_slice(&partial.to_be_bytes());
    let (run, changed) = kernel.pass(&frame).unwrap();
    assert_eq!(run.outcome, Outcome::SipRefused);
    assert_eq!(changed[50..52], frame[50..52]);
    assert_ne!(changed, frame);
}
