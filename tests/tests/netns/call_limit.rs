//! The limit on concurrent calls, with the 503 that the caller hears: a minute under load, over IPv4 and IPv6, with the
//! daemon killed in the middle; and a lossy network.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use edge_ebpf::abi::CallCount;
use edge_tests::edge::Edge;
use edge_tests::judge::Capture;
use edge_tests::kernel::Mirror;
use edge_tests::netns::{ACME, ACME_V6, Lab, Namespace, PEER_INTERFACE, SERVER, SERVER_V6};
use edge_tests::peers::{Caller, PATIENT, Sipp, SippCounts};
use edge_tests::pinned::{self, ACME_NUMBER};
use edge_tests::process::wait_until;

const LONG: Duration = Duration::from_mins(3);
const CALLS: &str = "[plans.calls]\ncalls = 50\n\
                     [accounts.acme]\nsources = ['203.0.113.0/24', '2001:db8:1::/48']\nplan = 'calls'\n\
                     [sip.answer]\ninvite = 'answer'\n";
/// How long SIP waits before it sends again (RFC 3261, T1).
const TIMER_1: Duration = Duration::from_millis(500);
/// The limit of `CALLS`.
const MOST: u64 = 50;
/// Twenty calls a second of four seconds would be eighty at once.
const HOLD: Duration = Duration::from_secs(4);

/// What a look at the kernel's maps every few milliseconds has seen.
struct Watch {
    most_held: Arc<AtomicU64>,
    ends: Arc<AtomicBool>,
    thread: thread::JoinHandle<u64>,
}

impl Watch {
    fn start(pins: std::path::PathBuf) -> Self {
        let (most_held, ends) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (most, end) = (Arc::clone(&most_held), Arc::clone(&ends));
        let thread = thread::spawn(move || {
            let mut looks = 0;
            while !end.load(Ordering::Relaxed) {
                // A refused call counts for an instant before it is taken back, or longer where the machine stands still in
                // that instant: one that still counts at a later look holds its slot.
                let counted = || pinned::account(&pins, ACME_NUMBER).unwrap().calls_active;
                let mut held = counted();
                if held > MOST {
                    thread::sleep(Duration::from_millis(100));
                    held = held.min(counted());
                }
                most.fetch_max(held, Ordering::Relaxed);
                looks += 1;
                thread::sleep(Duration::from_millis(2));
            }
            looks
        });
        Self { most_held, ends, thread }
    }

    fn end(self) -> (u64, u64) {
        self.ends.store(true, Ordering::Relaxed);
        (self.thread.join().unwrap(), self.most_held.load(Ordering::Relaxed))
    }
}

#[test]
fn fifty_calls_at_once_are_the_most_for_a_minute_even_while_the_daemon_is_dead() {
    let lab = Lab::make().unwrap();
    let _mirror = Mirror::hold(&lab.peer, PEER_INTERFACE).unwrap();
    let mut edge = Edge::start(&lab, CALLS).unwrap();
    let directory = edge.directory().to_owned();
    let server = Sipp::server_at(&lab, &directory, "callee", (SERVER, 5060)).unwrap();
    let server_v6 = Sipp::server_at(&lab, &directory, "callee", (SERVER_V6, 5060)).unwrap();
    let capture = Capture::start(&lab, &directory).unwrap();
    let watch = Watch::start(edge.pins().to_owned());

    let began = Instant::now();
    let caller = Caller {
        scenario: "caller",
        source: ACME,
        rate: 20,
        count: 1200,
        hold: HOLD,
        user: "441632960123",
        patience: PATIENT,
    };
    let first = Sipp::caller(&lab, &directory, &caller).unwrap();
    let second = Caller { source: ACME_V6, rate: 2, count: 100, ..caller };
    let second = Sipp::caller(&lab, &directory, &second).unwrap();
    wait_until("the limit is reached", LONG, || pinned::calls(edge.pins()).unwrap().len() == 50);
    thread::sleep(Duration::from_secs(10).saturating_sub(began.elapsed()));
    edge.kill().unwrap();
    thread::sleep(Duration::from_secs(15));
    edge.start_daemon().unwrap();
    let sent = [first.finish(LONG).unwrap(), second.finish(LONG).unwrap()];
    assert!(began.elapsed() >= Duration::from_mins(1), "{:?}", began.elapsed());
    let (looks, most_held) = watch.end();
    assert!(looks > 2_000, "{looks} looks in a minute");
    assert_eq!(most_held, MOST, "the limit was reached and never exceeded");

    wait_until("every slot is back", LONG, || {
        let account = pinned::account(edge.pins(), ACME_NUMBER).unwrap();
        account.calls_active == 0 && pinned::calls(edge.pins()).unwrap().is_empty()
    });
    let mut refused = 0;
    for (sent, server) in sent.iter().zip([server.stop().unwrap(), server_v6.stop().unwrap()]) {
        let of = |name: &str| sent.get(name).copied().unwrap_or(0);
        assert_eq!(of("INVITE_Retrans"), 0, "a refused INVITE was sent again: {sent:?}");
        assert_eq!(of("503_Retrans"), 0, "a 503 came twice: {sent:?}");
        assert!(of("503_Recv") > 0, "{sent:?}");
        assert_eq!(of("INVITE_Sent"), server["INVITE_Recv"] + of("503_Recv"), "each arrived or was answered");
        assert_eq!(of("BYE_Sent"), server["BYE_Recv"], "{sent:?}");
        refused += of("503_Recv");
    }
    let calls = pinned::account(edge.pins(), ACME_NUMBER).unwrap().counters.calls;
    let count = |of: CallCount| calls[of.index()];
    assert_eq!(count(CallCount::Refused), refused);
    assert_eq!(count(CallCount::Admitted), count(CallCount::Ended), "the server ended each: {calls:?}");
    assert_eq!(count(CallCount::Admitted) + refused, 1300);
    assert_eq!(edge.status().unwrap().calls.corrected, 0, "count and calls never differed");

    let captured = capture.stop().unwrap();
    let answers = "sip.Status-Code == 503";
    assert_eq!(captured.shown(answers).unwrap().len() as u64, refused, "tshark sees what SIPp got");
    assert_eq!(captured.doubtful(answers).unwrap(), Vec::<String>::new());
    for family in ["ip", "ipv6"] {
        assert!(!captured.shown(&format!("{answers} && {family}")).unwrap().is_empty(), "{family}");
    }
}

/// One packet in a hundred is lost behind the edge and before the customer: the edge has seen what the other side never
/// hears. Retransmissions mend most; what they do not, expires.
#[test]
fn a_lossy_network_leaves_no_slot_taken() {
    let lab = Lab::make().unwrap();
    let _mirror = Mirror::hold(&lab.peer, PEER_INTERFACE).unwrap();
    let calls = "[calls]\nunanswered = '8s'\nanswered = '12s'\n";
    let edge = Edge::start(&lab, &format!("{CALLS}{calls}")).unwrap();
    let at = (SERVER, 5060);
    let server = Sipp::impatient_server_at(&lab, edge.directory(), "callee", at, TIMER_1).unwrap();
    for namespace in [&lab.edge, &lab.peer] {
        nft(namespace, "add table inet loss");
        nft(namespace, "add chain inet loss in { type filter hook input priority 0 ; }");
        nft(namespace, "add rule inet loss in udp dport 5060 numgen random mod 100 < 1 counter drop");
    }
    let hold = Duration::from_secs(1);
    let caller = Caller {
        scenario: "caller",
        source: ACME,
        rate: 60,
        count: 1200,
        hold,
        user: "441632960123",
        patience: TIMER_1,
    };
    let sent = Sipp::caller(&lab, edge.directory(), &caller).unwrap().finish(LONG).unwrap();
    server.stop().unwrap();
    for namespace in [&lab.edge, &lab.peer] {
        let rules = nft(namespace, "list table inet loss");
        let lost: u64 =
            rules.split_once("counter packets ").unwrap().1.split(' ').next().unwrap().parse().unwrap();
        assert!(lost > 10, "packets were lost: {rules}");
    }
    let retransmitted =
        ["INVITE_Retrans", "BYE_Retrans"].iter().filter_map(|name| sent.get(*name)).sum::<u64>();
    assert!(retransmitted > 0, "{sent:?}");
    wait_until("every slot is back", LONG, || {
        let account = pinned::account(edge.pins(), ACME_NUMBER).unwrap();
        account.calls_active == 0 && pinned::calls(edge.pins()).unwrap().is_empty()
    });
    let account = pinned::account(edge.pins(), ACME_NUMBER).unwrap();
    let count = |of: CallCount| account.counters.calls[of.index()];
    assert_eq!(count(CallCount::Admitted), count(CallCount::Ended) + count(CallCount::Expired));
    assert_eq!(refused(&sent), count(CallCount::Refused).min(refused(&sent)), "no 503 that was not counted");
    assert_eq!(edge.status().unwrap().calls.corrected, 0, "count and calls never differed");
}

fn refused(counts: &SippCounts) -> u64 {
    counts.get("503_Recv").copied().unwrap_or(0)
}

/// `nft` that must succeed, and what it said.
fn nft(namespace: &Namespace, line: &str) -> String {
    let mut command: Command = namespace.command("nft");
    let output = command.args(line.split(' ')).output().unwrap();
    assert!(output.status.success(), "nft {line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
