//! What goes wrong beside the packet path must not touch it.

use std::fs;
use std::net::{Ipv6Addr, SocketAddr, UdpSocket};
use std::ops::Range;
use std::time::Duration;

use edge_tests::edge::{Edge, binary};
use edge_tests::netns::Lab;
use edge_tests::pinned::{self, ACME_NUMBER};
use edge_tests::process::{Process, wait_until};
use edge_tests::sip::Request;

use crate::{arrived, limited};

const SOON: Duration = Duration::from_secs(30);
/// Sources, three times as many as there is room for.
const SOURCES: u16 = 3072;
/// Packets that a veth takes at once, also when nobody has the time to take them out: 256 is its room.
const AT_ONCE: u16 = 128;
const FIVE: &str = "sip.invite = '1/hour burst 5'";

#[test]
fn a_corrupt_database_is_named_and_enforcement_goes_on() {
    let lab = Lab::make().unwrap();
    let mut edge = Edge::start(&lab, &limited(FIVE)).unwrap();
    edge.kill().unwrap();
    for extra in ["edge.db-wal", "edge.db-shm"] {
        let _ = fs::remove_file(edge.file(extra));
    }
    fs::write(edge.file("edge.db"), [0x5a; 8192]).unwrap();
    let mut daemon = edge.spawn().unwrap();
    wait_until("status tells, or the daemon ends and its log does", SOON, || {
        let has_ended = daemon.ended().unwrap().is_some();
        has_ended && daemon.said().contains("edge.db")
            || !has_ended && edge.status().is_ok_and(|status| status.store != "ok")
    });
    assert_eq!(arrived(&lab, &edge, 10), 5, "limits hold meanwhile");
}

#[test]
fn a_locked_database_is_told_and_enforcement_goes_on() {
    let lab = Lab::make().unwrap();
    let edge = Edge::start(&lab, &limited(FIVE)).unwrap();
    // Another program holds the database for writing.
    let script = "import sqlite3,sys,time\n\
                  c=sqlite3.connect(sys.argv[1],isolation_level=None,timeout=20)\n\
                  c.execute('BEGIN EXCLUSIVE')\nprint('locked',flush=True)\ntime.sleep(60)\n";
    let mut command = std::process::Command::new("python3");
    command.args(["-c", script]).arg(edge.file("edge.db"));
    let locker = Process::start("sqlite", &mut command, &edge.file("lock.log")).unwrap();
    wait_until("the database is locked", SOON, || locker.said().contains("locked"));
    let refused = edge.edgectl(&["limits", "set", "acme", "sip.invite", "9/s", "--reason", "test"]).unwrap();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success(), "a change that cannot be kept was accepted");
    assert!(said.contains("database") || said.contains("store"), "{said}");
    assert_eq!(arrived(&lab, &edge, 10), 5, "the old limit holds");
    drop(locker);
    edge.ctl(&["limits", "set", "acme", "sip.invite", "9/s", "--reason", "test"]).unwrap();
}

/// Many more sources than there is room for; an IPv6 source is a /64, of which an account has plenty.
#[test]
fn a_full_table_of_sources_forgets_the_oldest_and_holds_the_accounts_limit() {
    let lab = Lab::make().unwrap();
    let small = format!("{}\n[capacity]\nsources = 1024\n", limited(FIVE));
    let edge = Edge::start(&lab, &small).unwrap();
    let server = lab.edge.enter(|| Ok(UdpSocket::bind("[2001:db8:0:ff::10]:5060")?)).unwrap();
    // Once, from an address that can be answered: who has the server's address is asked and known from then on.
    server.set_read_timeout(Some(SOON)).unwrap();
    lab.peer
        .enter(|| {
            Ok(UdpSocket::bind("[2001:db8:0:ff::1]:5060")?.send_to(b"\r\n", "[2001:db8:0:ff::10]:5060")?)
        })
        .unwrap();
    server.recv(&mut [0; 16]).unwrap();
    lab.peer
        .enter(|| {
            // Addresses that the namespace does not have may be sent from.
            fs::write("/proc/sys/net/ipv6/ip_nonlocal_bind", "1")?;
            Ok(())
        })
        .unwrap();
    for first in (1..=SOURCES).step_by(usize::from(AT_ONCE)) {
        lab.peer.enter(move || call(first..first + AT_ONCE)).unwrap();
        let sent = u64::from(first + AT_ONCE - 1);
        wait_until("the kernel has judged them", SOON, || {
            let counters = pinned::account(edge.pins(), ACME_NUMBER).unwrap().counters;
            counters.sip.iter().sum::<u64>() == sent
        });
    }
    let count = |allowance| edge.messages("acme", "sip.invite", allowance).unwrap();
    let counted = (count("admitted"), count("refused"));
    assert_eq!(
        counted,
        (5, u64::from(SOURCES) - 5),
        "one bucket for all, known or forgotten; {:?}",
        edge.status().unwrap()
    );
    drop(server);
}

#[test]
fn a_configuration_with_many_problems_names_each_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("edge.toml");
    fs::write(
        &file,
        "mode = 'sometimes'\ninterfaces = []\ncolour = 'red'\n[plans.a.account]\nsip.invite = '5/fortnight'\n\
         [accounts.acme]\nsources = ['203.0.113.0/33']\nplan = 'b'\n",
    )
    .unwrap();
    let output = std::process::Command::new(binary("edged").unwrap())
        .args(["--check", "--config"])
        .arg(&file)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    for problem in ["sometimes", "interfaces", "colour", "fortnight", "/33", "plan"] {
        assert!(said.contains(problem), "{problem} is not named in:\n{said}");
    }
}

/// A call from each of these networks of `acme`.
fn call(numbers: Range<u16>) -> anyhow::Result<()> {
    for number in numbers {
        let source = Ipv6Addr::new(0x2001, 0xdb8, 1, number, 0, 0, 0, 7);
        let socket = UdpSocket::bind(SocketAddr::from((source, 5060)))?;
        let request = Request::new("INVITE").call_id(&format!("{number}@full")).bytes();
        socket.send_to(&request, "[2001:db8:0:ff::10]:5060")?;
    }
    Ok(())
}
