//! Binds of real clients, as an operator sees them.

use std::collections::BTreeSet;
use std::time::Duration;

use edge_tests::edge::Edge;
use edge_tests::netns::{ACME, ACME_OTHER, Lab, SERVER, STRANGER};
use edge_tests::peers::{Esme, Smsc, SmscKind, assert_metered};
use edge_tests::process::wait_until;
use edge_tests::smpp;
use edge_user::api::types::{LiveBind, Measure};

use crate::limited;

const LONG: Duration = Duration::from_mins(1);
const SOON: Duration = Duration::from_secs(30);

/// The next daemon brings its own program under the same link: binds stay known, and the account's limit over all of them
/// goes on where it was.
#[test]
fn binds_outlive_a_daemon_that_is_killed_and_the_exchange_of_the_program_under_load() {
    let lab = Lab::make().unwrap();
    let rates = limited("smpp.submit = '30/s burst 30'")
        .replace("plan = 'tested'", "plan = 'tested'\nsystem_ids = ['acme']");
    let mut edge = Edge::start(&lab, &format!("[smpp]\nrefusal = 'native'\n{rates}")).unwrap();
    let server = Smsc::start_kind(&lab, edge.directory(), SmscKind::Npm).unwrap();
    let arguments = ["--count", "1000000", "--window", "10", "--seconds", "24", "--system-id", "acme"];
    let start = |source| Esme::start(&lab, edge.directory(), source, &arguments).unwrap();
    let clients = [start(ACME), start(ACME_OTHER), start(STRANGER)];
    wait_until("three binds are listed", SOON, || bound(&edge).len() == 3);

    let before = bound(&edge);
    edge.kill().unwrap();
    edge.start_daemon().unwrap();
    assert_eq!(bound(&edge), before, "the same binds as before");
    let show = || -> LiveBind { edge.read(&["binds", "show", before.first().unwrap()]).unwrap() };
    wait_until("the first bind is told of refusals", LONG, || show().answered > 0);
    let shown = show();
    assert_eq!((shown.system_id.as_str(), shown.bind_type.as_str()), ("acme", "transceiver"));
    assert_eq!((shown.server_port, shown.state.as_str()), (2775, "bound"));
    assert!(
        shown.outstanding <= 10 && shown.responded > 0 && shown.submitted >= shown.responded,
        "{shown:?}"
    );
    assert!(shown.refused > 0 && shown.answered > 0 && shown.heard_at.is_some(), "{shown:?}");

    let told = clients.map(|client| client.finish(LONG).unwrap());
    let got = server.stop().unwrap();
    let passed: u64 = told.iter().map(|client| client.ok).sum();
    for client in &told {
        let throttled = client.statuses.get("0x58").copied().unwrap_or_default();
        assert!(client.error.is_none() && throttled > 0, "{client:?}");
        assert_eq!(client.ok + throttled, client.sent["submit_sm"], "every request is answered: {client:?}");
    }
    assert_eq!(u64::try_from(got.submits_at.len()).unwrap(), passed);
    assert_eq!(edge.messages("acme", "smpp.submit", "admitted").unwrap(), passed);
    assert_metered(&told.each_ref(), passed, 30, 30);
    wait_until("binds that have ended are listed no more", SOON, || bound(&edge).is_empty());
}

/// A server that leaves refusals unanswered: the port drops in their place and everybody is told, until a person says
/// that it may try again; a daemon that starts anew does not.
#[test]
fn a_port_whose_server_leaves_refusals_unanswered_drops_until_a_reload() {
    let lab = Lab::make().unwrap();
    let rates = limited("smpp.submit = '10/s burst 5'");
    let native = "[smpp]\nrefusal = 'native'\n[native]\nanswer_within = '1s'\n";
    let mut edge = Edge::start(&lab, &format!("{native}{rates}")).unwrap();
    let server = Smsc::start_kind(&lab, edge.directory(), SmscKind::Mute).unwrap();
    let arguments = ["--count", "1000000", "--window", "0", "--rate", "50", "--seconds", "120"];
    let client = Esme::start(&lab, edge.directory(), ACME, &arguments).unwrap();
    let listener = |edge: &Edge<'_>| edge.status().unwrap().listeners[0].clone();
    let alerts = |edge: &Edge<'_>| edge.ctl(&["alerts", "list", "--open"]).unwrap();

    wait_until("the port drops", SOON, || listener(&edge).fallen_back_at.is_some());
    assert!(edge.ctl(&["status"]).unwrap().contains("PORT 2775 DROPS"));
    wait_until("an alert tells", SOON, || alerts(&edge).contains("refusals_unanswered"));
    let refused = listener(&edge).refused;
    assert!(refused > 0 && listener(&edge).answered == 0, "{:?}", listener(&edge));

    edge.kill().unwrap();
    edge.start_daemon().unwrap();
    assert!(listener(&edge).fallen_back_at.is_some(), "a restart is no reason to try again");
    assert_eq!(listener(&edge).refused, refused, "nothing more is refused that nobody would answer");
    drop(client);
    edge.ctl(&["reload"]).unwrap();
    assert_eq!(listener(&edge).fallen_back_at, None);
    wait_until("the alert is over", SOON, || !alerts(&edge).contains("refusals_unanswered"));

    // The server is given its time again, whatever it has left unanswered before.
    let client = Esme::start(&lab, edge.directory(), ACME, &arguments).unwrap();
    wait_until("messages are refused again", SOON, || listener(&edge).refused > refused);
    wait_until("the port drops again", SOON, || listener(&edge).fallen_back_at.is_some());
    drop(client);
    drop(server.stop().unwrap());
}

/// Who guesses binds from an address that no account has is banned, also when the name belongs to somebody.
#[test]
fn a_stranger_that_guesses_binds_is_banned_and_a_customer_with_a_wrong_password_is_not() {
    let lab = Lab::make().unwrap();
    let edge = Edge::start(
        &lab,
        "[plans.open]\n[unknown]\nplan = 'open'\nmode = 'enforce'\n\
         [accounts.acme]\nsources = ['203.0.113.0/24']\nplan = 'open'\nsystem_ids = ['acme']\n\
         [detect.scanning]\naction = 'ban'\nthreshold = 8\n",
    )
    .unwrap();
    let server = Smsc::start_kind(&lab, edge.directory(), SmscKind::Rejecting).unwrap();
    assert_eq!(guess(&lab, ACME, 20), 20);
    // The ban may come before all of them.
    let guesses = guess(&lab, STRANGER, 20);
    assert!(guesses >= 8, "{guesses} guesses");
    let bans = || -> Vec<Measure> { edge.read(&["measures", "list"]).unwrap() };
    wait_until("the guesser is banned", SOON, || !bans().is_empty());
    let prefixes: Vec<String> = bans().into_iter().map(|ban| ban.prefix).collect();
    assert_eq!(prefixes, ["192.0.2.7/32"]);
    wait_until("an alert tells", SOON, || {
        edge.ctl(&["alerts", "list", "--open"]).unwrap().contains("scanning")
    });
    drop(server.stop().unwrap());
}

/// As many binds under acme's name, each on a connection of its own, until one is not answered; how many were rejected.
fn guess(lab: &Lab, source: &str, times: u32) -> usize {
    const GUESS: &str = "import socket, sys\n\
        try:\n\
        \x20   for _ in range(int(sys.argv[3])):\n\
        \x20       with socket.create_connection((sys.argv[2], 2775), 10, (sys.argv[1], 0)) as it:\n\
        \x20           it.sendall(bytes(map(int, sys.argv[4:])))\n\
        \x20           assert it.recv(16)[11] == 0x0e\n\
        \x20           print('rejected')\n\
        except OSError:\n\
        \x20   pass\n";
    let octets = smpp::bind(0x9, 1, "acme");
    let times = times.to_string();
    let mut python = lab.peer.command("python3");
    let ended = python
        .args(["-c", GUESS, source, SERVER, &times])
        .args(octets.iter().map(u8::to_string))
        .output()
        .unwrap();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    String::from_utf8_lossy(&ended.stdout).lines().count()
}

/// Ids of the binds of acme that the server has said yes to.
fn bound(edge: &Edge<'_>) -> BTreeSet<String> {
    let binds: Vec<LiveBind> = edge.read(&["binds", "list", "--account", "acme"]).unwrap();
    binds.into_iter().filter(|bind| bind.state == "bound").map(|bind| bind.id).collect()
}
