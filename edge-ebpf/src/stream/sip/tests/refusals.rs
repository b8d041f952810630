//! What is changed of a stream, over a network that loses, repeats, reorders and cuts anew.

use std::collections::BTreeMap;

use proptest::prelude::*;
use zerocopy::FromZeros as _;

use super::{ISN, Wire};
use crate::abi::StreamServer;
use crate::stream::Segment;
use crate::stream::sip::{
    Answered, Overwrite, PLACES, Reader, SPOTS, SipRefusals, Sought, Spot, bit, disguise, respond, within,
};

/// The payload of a segment, which is changed.
struct Payload {
    octets: Vec<u8>,
    segment: Segment,
}

impl Overwrite for Payload {
    fn overwrite(&mut self, seq: u32, octets: [u8; 4], len: u32) {
        if let Some((offset, skipped, len)) = within(self.segment, seq, len) {
            let octets = &octets[skipped as usize..(skipped + len) as usize];
            self.octets[offset..offset + octets.len()].copy_from_slice(octets);
        }
    }
}

/// A direction of a connection, with its refusals.
struct Edge {
    wire: Wire,
    refusals: SipRefusals,
    sought: Sought,
    server: StreamServer,
}

impl Edge {
    fn new(sought: Sought, server: StreamServer) -> Self {
        Self { wire: Wire::new(true), refusals: SipRefusals::new_zeroed(), sought, server }
    }

    /// The server's direction, where so many wait that were changed for `server`.
    fn answering(server: StreamServer, waiting: u32) -> Self {
        let mut edge = Self::new(Sought::Answers, server);
        (edge.refusals.refused, edge.refusals.servers) = (waiting, bit(server));
        edge
    }

    /// A segment passes; as what.
    fn pass(&mut self, stream: &[u8], from: usize, to: usize) -> Vec<u8> {
        let segment = Segment {
            seq: ISN.wrapping_add(1).wrapping_add(u32::try_from(from).unwrap()),
            payload: 0,
            len: u32::try_from(to - from).unwrap(),
        };
        let mut payload = Payload { octets: stream[from..to].to_vec(), segment };
        let seeks_requests = self.sought == Sought::Requests;
        let refusals = &mut self.refusals;
        let ring = if seeks_requests { &mut refusals.requests } else { &mut refusals.answers };
        ring.retire();
        for spot in (0..u32::try_from(PLACES).unwrap()).filter_map(|at| ring.remembered(at, segment.seq)) {
            if seeks_requests { disguise(spot, &mut payload) } else { respond(spot, &mut payload) }
        }
        let reader: &mut Reader = &mut self.wire.reader;
        reader.seek(self.sought, if seeks_requests { bit(self.server) } else { refusals.servers });
        reader.run(&self.wire.flow, &payload.octets[..], segment);
        for spot in (0..u32::try_from(SPOTS).unwrap()).map_while(|at| reader.spot(at)) {
            if seeks_requests {
                refusals.refuse(spot, &mut payload);
            } else {
                refusals.answer(spot, &mut payload);
            }
        }
        reader.commit(&mut self.wire.flow);
        payload.octets
    }

    fn acknowledge(&mut self, octets: usize) {
        let seq = ISN.wrapping_add(1).wrapping_add(u32::try_from(octets).unwrap());
        let ring = if self.sought == Sought::Requests {
            &mut self.refusals.requests
        } else {
            &mut self.refusals.answers
        };
        ring.acknowledge(seq);
    }
}

fn invite(kind: u8) -> String {
    let (hops, rest) = match kind % 6 {
        0 => ("Max-Forwards: 70", ""),
        1 => ("max-forwards\t :\t 0", "Content-Length: 4\r\n\r\nbody"),
        2 => ("MAX-FORWARDS:\r\n  255", ""),
        3 => ("Max-Forwards:70 ", "l: 3\r\n\r\n\r\n\r"),
        4 => ("Max-Forwards: 69", "Subject: Max-Forwards: 70\r\n Max-Forwards: 7\r\n"),
        _ => ("Max-Forwards: 12345", ""),
    };
    let end = if rest.contains("\r\n\r\n") { "" } else { "\r\n" };
    format!("INVITE sip:a@b SIP/2.0\r\nVia: x\r\n{hops}\r\nTo: <sip:b@c>\r\nCSeq: 1 INVITE\r\n{rest}{end}")
}

/// The stream, had all been changed in it that ever may be.
fn changed(stream: &[u8], server: StreamServer) -> Vec<u8> {
    match server {
        StreamServer::Proxy => {
            stream.iter().map(|octet| if octet.is_ascii_digit() { b'0' } else { *octet }).collect()
        }
        StreamServer::B2bua => {
            let (text, name) = (stream.to_ascii_lowercase(), b"max-forwards");
            let mut changed = stream.to_vec();
            for at in 0..=stream.len() - name.len() {
                if text[at..].starts_with(name) {
                    changed[at..at + name.len()].copy_from_slice(b"Require     ");
                }
            }
            changed
        }
    }
}

fn server() -> impl Strategy<Value = StreamServer> {
    prop_oneof![Just(StreamServer::Proxy), Just(StreamServer::B2bua)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]

    /// An octet is changed in every copy that passes or in none, and nothing but digits is changed, or the name.
    #[test]
    fn every_copy_of_an_octet_is_the_same(
        server in server(),
        kinds in proptest::collection::vec(any::<u8>(), 1..30),
        moves in proptest::collection::vec((0_usize..700, 1_usize..600, 0_u8..8), 1..120),
    ) {
        let stream: Vec<u8> = kinds.iter().flat_map(|kind| invite(*kind).into_bytes()).collect();
        let changed = changed(&stream, server);
        let mut edge = Edge::new(Sought::Requests, server);
        let mut passed: BTreeMap<usize, u8> = BTreeMap::new();
        let (mut front, mut acknowledged, mut arrived) = (0_usize, 0, vec![false; stream.len()]);
        for (back, length, luck) in moves {
            // New data mostly, old data again, or data beyond what is lost.
            let from = match luck {
                0 => front.saturating_sub(back),
                1 => (front + back / 4).min(stream.len() - 1),
                _ => front,
            };
            let to = (from + length).min(stream.len());
            if from == to {
                continue;
            }
            for (at, octet) in (from..to).zip(edge.pass(&stream, from, to)) {
                // What the server has it reads no more.
                if at >= acknowledged {
                    prop_assert_eq!(*passed.entry(at).or_insert(octet), octet, "octet {}", at);
                }
                prop_assert!(octet == stream[at] || octet == changed[at], "octet {}", at);
            }
            front = front.max(to);
            // Lost behind the edge, or not.
            if luck != 2 {
                arrived[from..to].fill(true);
            }
            if luck % 2 == 1 {
                acknowledged = arrived.iter().position(|is| !is).unwrap_or(stream.len());
                edge.acknowledge(acknowledged);
            }
        }
        let others = passed.iter().filter(|(at, octet)| **octet != stream[**at]).count();
        let most = if server == StreamServer::Proxy { 3 } else { 12 };
        prop_assert!(others <= most * edge.refusals.refused as usize);
    }

    /// In order, each INVITE is refused whose place to change lies in the segment that ends its headers, and no other.
    #[test]
    fn in_order_what_can_be_refused_is(
        server in server(),
        kinds in proptest::collection::vec(any::<u8>(), 1..12),
        sizes in proptest::collection::vec(1_usize..500, 1..8),
    ) {
        let stream: Vec<u8> = kinds.iter().flat_map(|kind| invite(*kind).into_bytes()).collect();
        let mut edge = Edge::new(Sought::Requests, server);
        let (mut cuts, mut at) = (vec![0], 0);
        for size in sizes.iter().cycle() {
            let to = (at + size).min(stream.len());
            edge.pass(&stream, at, to);
            cuts.push(to);
            at = to;
            if at == stream.len() {
                break;
            }
        }
        let (mut start, mut expected) = (0, 0);
        for kind in kinds {
            let text = invite(kind);
            let name = text.to_ascii_lowercase().find("max-forwards").unwrap();
            let place = match server {
                StreamServer::Proxy => {
                    name + text[name..].find(|octet: char| octet.is_ascii_digit()).unwrap()
                }
                StreamServer::B2bua => name,
            };
            let end = text.find("\r\n\r\n").unwrap() + 3;
            let is_cut = cuts.iter().any(|cut| (start + place + 1..=start + end).contains(cut));
            expected += u32::from(!is_cut && kind % 6 != 5);
            start += text.len();
        }
        prop_assert_eq!(edge.refusals.refused, expected);
    }
}

#[test]
fn an_answer_says_503_in_as_many_octets_whatever_its_phrase_was() {
    let long = "Too Many Hops, and more of them than anybody would have thought to be possible here";
    let servers = [(StreamServer::Proxy, 483), (StreamServer::B2bua, 420)];
    for (phrase, told) in [
        ("Too Many Hops", "Rate Exceeded"),
        ("Bad Extension", "Rate Exceeded"),
        ("Too many", "Rate Exc"),
        ("", ""),
        ("Too Many Hops (16)", "Rate Exceeded     "),
        (long, &*format!("{:60}{}", "Rate Exceeded", &long[60..])),
    ] {
        for (end, (server, status)) in ["\r\n", "\n"].into_iter().flat_map(|end| servers.map(|it| (end, it)))
        {
            let answer = |status: u32, phrase: &str| {
                format!("SIP/2.0 {status} {phrase}{end}CSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n")
                    .into_bytes()
            };
            let said = answer(status, phrase);
            let mut edge = Edge::answering(server, 1);
            assert_eq!(edge.pass(&said, 0, said.len()), answer(503, told), "{phrase:?}");
            let again = edge.pass(&said, 5, said.len() - 3);
            assert_eq!(again, answer(503, told)[5..said.len() - 3], "and again");
            assert_eq!(edge.refusals.waiting(), 0);
        }
    }
}

#[test]
fn answers_of_which_nobody_waits_for_one_stay() {
    let said = b"SIP/2.0 483 Too Many Hops\r\nContent-Length: 0\r\n\r\n".repeat(3);
    let mut edge = Edge::answering(StreamServer::Proxy, 2);
    let told = String::from_utf8(edge.pass(&said, 0, said.len())).unwrap();
    assert_eq!(
        (told.matches("503 Rate Exceeded").count(), told.matches("483 Too Many Hops").count()),
        (2, 1)
    );
    let both = ["SIP/2.0 503 Busy\r\n\r\n", "SIP/2.0 200 OK\r\n\r\n", "INVITE sip:a SIP/2.0\r\n\r\n"];
    for (server, others) in [
        (StreamServer::Proxy, [&both[..], &["SIP/2.0 420 Bad Extension\r\n\r\n"]].concat()),
        (StreamServer::B2bua, [&both[..], &["SIP/2.0 483 Too Many Hops\r\n\r\n"]].concat()),
    ] {
        for other in others {
            let mut edge = Edge::answering(server, 1);
            assert_eq!(edge.pass(other.as_bytes(), 0, other.len()), other.as_bytes());
        }
    }
}

#[test]
fn what_would_be_read_otherwise_by_others_is_not_changed() {
    for hops in [
        "Max-Forwards: 70\r\nMax-Forwards: 71\r\n",
        "Max-Forwards: 7 0\r\n",
        "Max-Forwards: 7\r\n 0\r\n",
        "Max-Forwards: +70\r\n",
        "Max-Forwards: 70;x\r\n",
        "Max-Forwards:\r\n",
        "Max-Forwards 70\r\n",
        "X-Max-Forwards: 70\r\n",
        "Max-Forwards: 70000\r\n",
        "Max-Forwards !: 70\r\n",
        "Max-Forwards        : 70\r\nMax-Forwards: 70\r\n",
        "",
    ] {
        let stream = format!("INVITE sip:a@b SIP/2.0\r\n{hops}To: <sip:b@c>\r\n\r\n").into_bytes();
        for server in [StreamServer::Proxy, StreamServer::B2bua] {
            let mut edge = Edge::new(Sought::Requests, server);
            assert_eq!(edge.pass(&stream, 0, stream.len()), stream, "{hops:?}");
        }
    }
}

/// An INVITE by both; by a proxy what it passes on, too, but not OPTIONS, to which it may say what it likes.
#[test]
fn what_the_server_need_not_refuse_is_not_changed() {
    for (method, tag, by_proxy, by_b2bua) in [
        ("INVITE", "", true, true),
        ("INVITE", ";tag=x", false, false),
        ("REGISTER", "", true, false),
        ("REGISTER", ";tag=x", true, false),
        ("MESSAGE", "", true, false),
        ("SUBSCRIBE", "", true, false),
        ("SUBSCRIBE", ";tag=x", false, false),
        ("OPTIONS", "", false, false),
        ("ACK", "", false, false),
        ("BYE", "", false, false),
        ("CANCEL", "", false, false),
    ] {
        let stream = format!("{method} sip:a@b SIP/2.0\r\nMax-Forwards: 70\r\nTo: <sip:b@c>{tag}\r\n\r\n");
        for (server, is_refused) in [(StreamServer::Proxy, by_proxy), (StreamServer::B2bua, by_b2bua)] {
            let mut edge = Edge::new(Sought::Requests, server);
            let passed = edge.pass(stream.as_bytes(), 0, stream.len());
            assert_eq!(passed != stream.as_bytes(), is_refused, "{method}{tag} {server}");
        }
    }
}

#[test]
fn places_are_given_back_when_they_are_acknowledged_and_hold_until_then() {
    let mut refusals = SipRefusals::new_zeroed();
    let count = u32::try_from(PLACES).unwrap();
    let seq = |number: u32| (u32::MAX - 500).wrapping_add(10 * number);
    for number in 0..count {
        assert!(refusals.requests.take(Spot { seq: seq(number), len: 2 }), "{number}");
    }
    assert!(!refusals.requests.take(Spot { seq: seq(0), len: 2 }), "there is no more room");
    refusals.requests.acknowledge(seq(9).wrapping_add(2));
    refusals.requests.retire();
    let held =
        |refusals: &SipRefusals| (0..count).filter_map(|at| refusals.requests.remembered(at, seq(0))).count();
    assert_eq!(held(&refusals), PLACES - 10);
    // An acknowledgement that is older changes nothing.
    refusals.requests.acknowledge(seq(3));
    refusals.requests.retire();
    assert_eq!(held(&refusals), PLACES - 10);
    assert!(refusals.requests.take(Spot { seq: seq(0), len: 2 }));
}

#[test]
fn a_483_that_nobody_waits_for_is_foreign() {
    let mut refusals = SipRefusals::new_zeroed();
    let segment = Segment { seq: 0, payload: 0, len: 0 };
    let mut payload = Payload { octets: Vec::new(), segment };
    let spot = Spot { seq: 8, len: 17 };
    assert_eq!(refusals.answer(spot, &mut payload), Answered::Foreign);
    assert!(refusals.refuse(spot, &mut payload));
    assert_eq!(refusals.let_go(), 1);
    assert_eq!(refusals.answer(spot, &mut payload), Answered::Foreign);
}

/// What waits may have been changed for another server than the one that the configuration names now.
#[test]
fn an_answer_is_known_by_how_what_waits_was_changed() {
    let mut refusals = SipRefusals::new_zeroed();
    let mut payload = Payload { octets: Vec::new(), segment: Segment { seq: 0, payload: 0, len: 0 } };
    let (number, name) = (Spot { seq: 8, len: 2 }, Spot { seq: 90, len: 12 });
    let [proxy, b2bua] = [StreamServer::Proxy, StreamServer::B2bua].map(bit);
    for (spot, servers) in [(number, proxy), (number, proxy), (name, proxy | b2bua), (number, proxy | b2bua)]
    {
        assert!(refusals.refuse(spot, &mut payload));
        assert_eq!(refusals.servers, servers);
    }
    while refusals.waiting() != 0 {
        assert_eq!(refusals.answer(Spot { seq: 8, len: 17 }, &mut payload), Answered::Matched);
    }
    assert!(refusals.refuse(name, &mut payload));
    assert_eq!(refusals.servers, b2bua, "none of before waits any more");
}
