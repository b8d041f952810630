//! Binds of real clients, as an operator sees them.

use std::collections::BTreeSet;
use std::time::Duration;

use edge_tests::edge::Edge;
use edge_tests::netns::{ACME, ACME_OTHER, Lab, STRANGER};
use edge_tests::peers::{Esme, Smsc, SmscKind};
use edge_tests::process::wait_until;
use edge_user::api::types::LiveBind;

use crate::limited;

const LONG: Duration = Duration::from_mins(1);
const SOON: Duration = Duration::from_secs(10);

/// The next daemon brings its own program under the same link: binds stay known, and the account's limit over all of them
/// goes on where it was.
#[test]
fn binds_outlive_a_daemon_that_is_killed_and_the_exchange_of_the_program_under_load() {
    let lab = Lab::make().unwrap();
    let rates = limited("smpp.submit = '30/s burst 10'")
        .replace("plan = 'tested'", "plan = 'tested'\nsystem_ids = ['acme']");
    let mut edge = Edge::start(&lab, &format!("[smpp]\nrefusal = 'native'\n{rates}")).unwrap();
    let server = Smsc::start_kind(&lab, edge.directory(), SmscKind::Npm).unwrap();
    let arguments = ["--count", "1000000", "--window", "10", "--seconds", "12", "--system-id", "acme"];
    let start = |source| Esme::start(&lab, edge.directory(), source, &arguments).unwrap();
    let clients = [start(ACME), start(ACME_OTHER), start(STRANGER)];
    wait_until("three binds are listed", SOON, || bound(&edge).len() == 3);

    let before = bound(&edge);
    edge.kill().unwrap();
    edge.start_daemon().unwrap();
    assert_eq!(bound(&edge), before, "the same binds as before");
    let shown: LiveBind = edge.read(&["binds", "show", before.first().unwrap()]).unwrap();
    assert_eq!((shown.system_id.as_str(), shown.bind_type.as_str()), ("acme", "transceiver"));
    assert_eq!((shown.server_port, shown.state.as_str()), (2775, "bound"));
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
    // Ten and thirty a second, over as long as the first began before the last.
    assert!((340..=430).contains(&passed), "{passed} passed");
    wait_until("binds that have ended are listed no more", SOON, || bound(&edge).is_empty());
}

/// Ids of the binds of acme that the server has said yes to.
fn bound(edge: &Edge<'_>) -> BTreeSet<String> {
    let binds: Vec<LiveBind> = edge.read(&["binds", "list", "--account", "acme"]).unwrap();
    binds.into_iter().filter(|bind| bind.state == "bound").map(|bind| bind.id).collect()
}
