//! sipvicious, and phones that look like it: who scans and guesses is banned at once; who registers is not.

use std::path::Path;
use std::time::{Duration, Instant};

use edge_tests::edge::Edge;
use edge_tests::kamailio::Kamailio;
use edge_tests::netns::{ACME, Lab, PEER_INTERFACE, SERVER, unique};
use edge_tests::peers::{Caller, PATIENT, Sipp};
use edge_tests::pinned;
use edge_tests::process::{Process, assert_within, wait_until};
use edge_user::api::types::{Measure, MeasureKind};
use jiff::Timestamp;

const LONG: Duration = Duration::from_mins(1);
/// From the scanner's first packet to the ban in force.
const AT_ONCE: Duration = Duration::from_secs(2);
/// What a server or a limit refuses fifty times within a minute is banned; only INVITE has a limit here, so that
/// guesses are known by the server's answers.
const WATCHED: &str = "[plans.watched.source]\nsip.invite = '1/s burst 5'\n[plans.open]\n\
                       [unknown]\nplan = 'watched'\nmode = 'enforce'\n\
                       [accounts.acme]\nsources = ['203.0.113.0/24']\nplan = 'open'\n\
                       [detect.scanning]\naction = 'ban'\nthreshold = 50\nban_for = '10m'\n";
/// Numbers without account.
const UNKNOWN: u32 = 0;

#[test]
fn svmap_svwar_and_svcrack_are_banned_within_two_seconds() {
    let lab = Lab::make().unwrap();
    let edge = Edge::start(&lab, WATCHED).unwrap();
    let _kamailio =
        Kamailio::start(|program| lab.edge.command(program), "kamailio.cfg", &[], edge.directory()).unwrap();
    // A network behind the edge: where no host is, nobody answers.
    lab.peer.ip(&["route", "add", "198.51.100.128/25", "via", SERVER]).unwrap();
    let scans: [(&str, &[&str]); 3] = [
        ("sipvicious_svmap", &["-m", "INVITE", "198.51.100.128/25"]),
        ("sipvicious_svwar", &["--force", "-m", "OPTIONS", "-e", "100-9999", SERVER]),
        ("sipvicious_svcrack", &["-u", "100", "-r", "1-99999", SERVER]),
    ];
    let mut sources = 20..;
    let mut scanned = 0;
    for (tool, arguments) in scans {
        assert_within(&format!("the ban of {tool}"), AT_ONCE, || {
            scanned += 1;
            scan(&lab, &edge, &format!("192.0.2.{}", sources.next().unwrap()), tool, arguments)
        });
    }
    let audit = edge.ctl(&["audit"]).unwrap();
    assert_eq!(audit.matches("scanning: ").count(), scanned, "{audit}");
}

/// Runs one of the tools from a source of its own until it is banned; how long that took.
fn scan(lab: &Lab, edge: &Edge<'_>, source: &str, tool: &str, arguments: &[&str]) -> Duration {
    lab.peer.ip(&["address", "add", &format!("{source}/32"), "dev", PEER_INTERFACE]).unwrap();
    // Not all of the tools bind the address that they are told.
    lab.peer
        .ip(&["route", "replace", &format!("{SERVER}/32"), "dev", PEER_INTERFACE, "src", source])
        .unwrap();
    let packets = || pinned::account(edge.pins(), UNKNOWN).unwrap().counters.sip.iter().sum::<u64>();
    let before = packets();
    let mut scanner = start(lab, edge.directory(), source, tool, arguments);
    wait_until("the scan has begun", LONG, || packets() > before || matches!(scanner.ended(), Ok(Some(_))));
    let began = Instant::now();
    let prefix = format!("{source}/32");
    wait_until("the scanner is banned", LONG, || {
        bans(edge).iter().any(|ban| ban.prefix == prefix && ban.actor == "edge")
            || scanner.ended().unwrap().is_some()
    });
    let delay = began.elapsed();
    assert!(bans(edge).iter().any(|ban| ban.prefix == prefix), "{:?}\n{}", bans(edge), scanner.said());
    delay
}

#[test]
fn three_hundred_phones_that_register_at_once_are_banned_neither_as_a_customers_nor_behind_a_strangers_nat() {
    let lab = Lab::make().unwrap();
    let edge = Edge::start(&lab, WATCHED).unwrap();
    let kamailio =
        Kamailio::start(|program| lab.edge.command(program), "kamailio.cfg", &[], edge.directory()).unwrap();
    for source in [ACME, "192.0.2.7"] {
        let phones = Caller {
            scenario: "phone",
            source,
            rate: 600,
            count: 300,
            hold: Duration::ZERO,
            user: "acme",
            patience: PATIENT,
        };
        let sent = Sipp::caller(&lab, edge.directory(), &phones).unwrap().finish(LONG).unwrap();
        assert_eq!((sent["401_Recv"], sent["200_Recv"]), (300, 300), "{sent:?}\n{}", kamailio.said());
    }
    // The detector looks once a second, half a second after the last challenge at the earliest.
    std::thread::sleep(Duration::from_secs(2));
    edge.wait_for_reading(Timestamp::now());
    assert_eq!(bans(&edge), []);
}

fn bans(edge: &Edge<'_>) -> Vec<Measure> {
    let measures: Vec<Measure> = edge.read(&["measures", "list"]).unwrap();
    measures.into_iter().filter(|measure| measure.kind == MeasureKind::Ban).collect()
}

/// The tool, with a home of its own for what it writes down.
fn start(lab: &Lab, directory: &Path, source: &str, tool: &str, arguments: &[&str]) -> Process {
    let home = directory.join(unique("home"));
    std::fs::create_dir(&home).unwrap();
    let mut command = lab.peer.command(tool);
    command.args(["-b", source, "-x", source, "-P", "5062"]).args(arguments).env("HOME", &home);
    Process::start(tool, &mut command, &home.join("log")).unwrap()
}
