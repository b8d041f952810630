//! SIP over TCP in the kernel against the host: generated streams, cut, repeated, dropped and reordered at random.

use std::cell::RefCell;

use edge_ebpf::abi::{Class, Method};
use edge_tests::fixtures::world::{ACME, ACME_SOURCE, SERVER, SIP_PORT, Scenario, at_once};
use edge_tests::host::Host;
use edge_tests::lent::Lent;
use edge_tests::packet::{Frame, Tcp};
use edge_tests::sip::{Request, SDP, response};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

const CLIENT_PORT: u16 = 40_000;
const ISN: u32 = 0xffff_f000;
const NOW_NS: u64 = 1_000_000_000_000;

fn segment(at: usize, payload: &[u8]) -> Vec<u8> {
    let sequence = ISN.wrapping_add(1).wrapping_add(u32::try_from(at).unwrap());
    Frame::ipv4(ACME_SOURCE, SERVER).tcp(Tcp::data(CLIENT_PORT, SIP_PORT, sequence)).payload(payload).bytes()
}

fn connected() -> Scenario {
    Scenario::open().after(Frame::ipv4(ACME_SOURCE, SERVER).tcp(Tcp::syn(CLIENT_PORT, SIP_PORT, ISN)).bytes())
}

fn message(kind: usize) -> Vec<u8> {
    match kind {
        0 => Request::new("INVITE").body(SDP).bytes(),
        1 => Request::new("ACK").in_dialog("314159").bytes(),
        2 => Request::new("INVITE").in_dialog("\"x\"").compact().body(SDP).bytes(),
        3 => response(180, "Ringing", "INVITE"),
        4 => Request::new("REGISTER").in_dialog("x").bytes(),
        5 => Request::new("MESSAGE")
            .header("Subject: a\r\n folded line")
            .body("INVITE sip:a SIP/2.0\r\n\r\n")
            .bytes(),
        6 => b"\r\n\r\n".to_vec(),
        7 => Request::new("OPTIONS").padded_to(3000),
        8 => b"what is no SIP at all\r\n".to_vec(),
        _ => Request::new("BYE").in_dialog("314159").bytes(),
    }
}

/// Outcomes, counters and buckets.
#[test]
fn any_stream_ends_as_on_the_host() {
    let kernel = RefCell::new(Lent::take().unwrap());
    let size = prop_oneof![1_usize..30, 1_usize..700, 700_usize..5000];
    let strategy = (
        proptest::collection::vec(0_usize..10, 1..8),
        proptest::collection::vec(size, 1..8),
        proptest::collection::vec((any::<proptest::sample::Index>(), any::<proptest::sample::Index>()), 0..3),
        0_u64..6,
    );
    let mut runner = TestRunner::new(Config { cases: 2500, ..Config::default() });
    runner
        .run(&strategy, |(kinds, sizes, swaps, burst)| {
            let stream: Vec<u8> = kinds.into_iter().flat_map(message).collect();
            let mut frames = Vec::new();
            let mut at = 0;
            for size in sizes.iter().cycle() {
                let end = (at + size).min(stream.len());
                frames.push(segment(at, &stream[at..end]));
                at = end;
                if at == stream.len() || frames.len() > 200 {
                    break;
                }
            }
            for (one, other) in swaps {
                let (one, other) = (one.index(frames.len()), other.index(frames.len()));
                frames.swap(one, other);
                frames.push(frames[one].clone());
            }
            let before =
                [Class::SipInvite, Class::SipMessage].into_iter().fold(connected(), |before, class| {
                    before.account_limit(class, at_once(burst)).source_limit(class, at_once(burst / 2 + 1))
                });
            let mut kernel = kernel.borrow_mut();
            kernel.prepare(&before).unwrap();
            let mut host = Host::prepare(&before, NOW_NS);
            for (index, frame) in frames.iter().enumerate() {
                let run = kernel.send(frame).unwrap();
                prop_assert_eq!(run.outcome, host.send(frame), "segment {}", index);
            }
            let (in_kernel, on_host) = (kernel.account(ACME).unwrap(), host.accounts[&ACME]);
            prop_assert_eq!(in_kernel.counters, on_host.counters);
            Ok(())
        })
        .unwrap();
}

/// As one super-packet of generic mode would bring it: more than is looked at together, many times over.
#[test]
fn a_segment_of_sixty_kilobytes_counts_every_message() {
    let mut kernel = Lent::take().unwrap();
    let one = [message(0), message(1)].concat();
    let count = 60_000 / one.len();
    kernel.prepare(&connected()).unwrap();
    kernel.send(&segment(0, &one.repeat(count))).unwrap();
    let counters = kernel.account(ACME).unwrap().counters;
    let count = u64::try_from(count).unwrap();
    assert_eq!(counters.sip[Method::Invite.index()], count);
    assert_eq!(counters.sip[Method::Ack.index()], count);
    assert_eq!(counters.messages[Class::SipInvite.index()], [count, 0, 0, 0, 0]);
}

/// What passes over a limit for the sake of what must get through is owed, up to one burst; and then it waits.
#[test]
fn what_must_pass_is_owed_up_to_a_burst() {
    let mut kernel = Lent::take().unwrap();
    kernel.prepare(&connected().account_limit(Class::SipInvite, at_once(2))).unwrap();
    let mixed = [message(1), message(0)].concat();
    let send = |kernel: &mut Lent, index: usize| {
        kernel.send(&segment(index * mixed.len(), &mixed)).unwrap();
        let state = kernel.account(ACME).unwrap();
        (state.counters.messages[Class::SipInvite.index()], state.buckets[Class::SipInvite.index()])
    };
    let counts: Vec<_> = (0..5).map(|index| send(&mut kernel, index).0).collect();
    assert_eq!(counts[1], [2, 0, 0, 0, 0]);
    assert_eq!(counts[3], [2, 0, 2, 0, 0]);
    assert_eq!(counts[4], [2, 1, 2, 0, 0]);
    // It comes again, and costs nothing as long as it waits.
    let ((first, owed), (second, still)) = (send(&mut kernel, 4), send(&mut kernel, 4));
    assert_eq!((first, second), ([2, 2, 2, 0, 0], [2, 3, 2, 0, 0]));
    assert_eq!(owed, still);
}
