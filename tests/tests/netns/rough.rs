//! SMPP over a network that loses, repeats and reorders frames, with real clients and servers: what the edge counts and
//! refuses is what both ends were told, to the message.

use std::ops::RangeInclusive;
use std::time::Duration;

use edge_tests::edge::Edge;
use edge_tests::peers::{Esme, Smsc, SmscKind};
use edge_tests::rough::Rough;

const LONG: Duration = Duration::from_mins(2);
/// Connections at a time: as many as two cores bear without making everything late.
const AT_ONCE: usize = 17;
/// Of each client.
const MESSAGES: u64 = 300;
/// Requests that wait for an answer (0: no bound), and octets of one write (0: a PDU).
const MANNERS: [(&str, &str); 5] =
    [("10", "0"), ("100", "13"), ("50", "1448"), ("0", "65536"), ("200", "100")];

/// What became of all messages on one side of the edge.
#[derive(Clone, Copy, Debug)]
struct Told {
    /// By the kernel, in SMPP's words.
    refused: u64,
    /// Answers that could not be changed or were taken for another: it can happen where a header is cut at a segment's end.
    unmatched: u64,
    /// Refused, and yet the client was told that they are accepted.
    wrong: u64,
}

/// Fifty clients, whose last octets of their addresses are their seeds, too.
#[test]
fn counts_and_refusals_are_exact_over_a_bad_network_before_and_behind_the_edge() {
    let before = prove(Rough::before_the_edge(0).unwrap(), 101..=134);
    let behind = prove(Rough::behind_the_edge(0).unwrap(), 135..=150);
    let all = format!("before the edge {before:?}, behind it {behind:?}");
    eprintln!("{all}");
    let refused = before.refused + behind.refused;
    assert!(refused > 10_000, "{all}");
    assert!((before.unmatched + behind.unmatched) * 10_000 < refused, "{all}");
    assert_eq!(before.wrong, 0, "{all}");
    assert_eq!(behind.wrong, 0, "{all}");
}

fn prove(rough: Rough, clients: RangeInclusive<u8>) -> Told {
    let lab = &rough.lab;
    let account = |client: u8| {
        lab.peer.ip(&["address", "add", &format!("203.0.113.{client}/32"), "dev", "peer0"]).unwrap();
        format!("[accounts.client-{client}]\nsources = ['203.0.113.{client}/32']\nplan = 'tested'\n")
    };
    let accounts: String = clients.clone().map(account).collect();
    // A burst of fewer messages than a segment has: one that fills a hole must pass all the same.
    let config = "[smpp]\nrefusal = 'native'\nrefusals = 'unlimited'\n[plans.open]\n[unknown]\nplan = 'open'\n\
                  [plans.tested.account]\nsmpp.submit = '10/s burst 10'\n";
    let edge = Edge::start(lab, &format!("{config}{accounts}")).unwrap();
    let server = Smsc::start_kind(lab, edge.directory(), SmscKind::Npm).unwrap();

    let mut told = Vec::new();
    let clients: Vec<u8> = clients.collect();
    for turn in clients.chunks(AT_ONCE) {
        let under_way: Vec<_> = turn.iter().map(|client| (*client, start(&rough, &edge, *client))).collect();
        told.extend(under_way.into_iter().map(|(client, esme)| (client, esme.finish(LONG).unwrap())));
    }
    let got = server.stop().unwrap();
    let (mut refused, mut wrong) = (0, 0);
    for (client, told) in &told {
        let what = format!("client {client}, {:?}: {told:?}", manner(*client));
        let throttled = told.statuses.get("0x58").copied().unwrap_or_default();
        assert_eq!(told.ok + throttled, MESSAGES, "every message is answered, {what}");
        let got = got.submits_to.get(&number(*client)).copied().unwrap_or_default();
        let told_wrongly = told.ok.checked_sub(got).unwrap();
        let account = format!("client-{client}");
        assert_eq!(edge.messages(&account, "smpp.submit", "admitted").unwrap(), got, "{what}");
        assert!(throttled > 0, "{what}");
        if told_wrongly > 0 {
            eprintln!("{told_wrongly} told wrongly, {what}");
        }
        refused += throttled + told_wrongly;
        wrong += told_wrongly;
    }
    let listener = edge.status().unwrap().listeners[0].clone();
    let outcomes = edge.status().unwrap().outcomes;
    assert_eq!((listener.refused, listener.answered), (refused, refused), "{listener:?}");
    drop(edge);
    let mangled = rough.stop().unwrap();
    eprintln!("{mangled:?} {listener:?} {outcomes:?}");
    // It did what it is for, within what chance allows: half of it and more.
    assert!(mangled.frames > 2_000 && mangled.lost * 100 > mangled.frames, "{mangled:?}");
    assert!(mangled.overtaken * 66 > mangled.frames && mangled.twice * 100 > mangled.frames, "{mangled:?}");
    Told { refused, unmatched: listener.unmatched, wrong }
}

fn start(rough: &Rough, edge: &Edge<'_>, client: u8) -> Esme {
    let (window, write_size) = manner(client);
    let (messages, number) = (MESSAGES.to_string(), number(client));
    let arguments =
        ["--count", &messages, "--window", window, "--write-size", write_size, "--destination", &number];
    let arguments = [&arguments[..], &["--enquire-links", "3"]].concat();
    Esme::start(&rough.lab, edge.directory(), &format!("203.0.113.{client}"), &arguments).unwrap()
}

fn manner(client: u8) -> (&'static str, &'static str) {
    MANNERS[usize::from(client) % MANNERS.len()]
}

fn number(client: u8) -> String {
    format!("44163296{client:04}")
}
