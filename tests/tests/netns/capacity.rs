//! Tables of the kernel that are full of accounts, prefixes and measures: refused with the reason, nothing lost.

use edge_tests::edge::Edge;
use edge_tests::netns::Lab;

const TWO: &str =
    "[accounts.acme]\nsources = ['203.0.113.0/24']\n[accounts.beta]\nsources = ['192.0.2.0/25']\n";
const THIRD: &str = "[accounts.gamma]\nsources = ['192.0.2.128/25']\n";

#[test]
fn an_account_more_than_the_installed_table_holds_is_refused_and_the_others_stay() {
    let lab = Lab::make().unwrap();
    let edge = Edge::start(&lab, &format!("[capacity]\naccounts = 3\n{TWO}")).unwrap();
    // The configuration has room by now, the table that was made before has not.
    edge.configure(&format!("[capacity]\naccounts = 10\n{TWO}{THIRD}")).unwrap();
    refused(&edge, &["reload"], "4 accounts");
    assert!(edge.account("gamma").is_err(), "nothing of a refused configuration holds");
    assert!(edge.account("beta").is_ok());
    assert!(edge.status().unwrap().config_error.unwrap().contains("capacity.accounts"));
}

#[test]
fn a_prefix_more_than_the_installed_table_holds_is_refused() {
    let lab = Lab::make().unwrap();
    let edge = Edge::start(&lab, &format!("[capacity]\nprefixes = 2\n{TWO}")).unwrap();
    edge.configure(&format!("[capacity]\nprefixes = 10\n{TWO}{THIRD}")).unwrap();
    refused(&edge, &["reload"], "3 source prefixes");
    assert!(edge.account("gamma").is_err());
}

#[test]
fn a_ban_more_than_the_table_holds_is_refused_and_forgotten() {
    let lab = Lab::make().unwrap();
    let edge = Edge::start(&lab, &format!("[capacity]\nprefixes = 2\n{TWO}")).unwrap();
    edge.ctl(&["ban", "192.0.2.7", "--reason", "test"]).unwrap();
    edge.ctl(&["ban", "192.0.2.8", "--reason", "test"]).unwrap();
    refused(&edge, &["ban", "192.0.2.9", "--reason", "test"], "capacity.prefixes");
    let measures = edge.ctl(&["measures", "list"]).unwrap();
    assert!(measures.contains("192.0.2.8") && !measures.contains("192.0.2.9"), "{measures}");
    edge.ctl(&["unban", "192.0.2.7", "--reason", "test"]).unwrap();
    edge.ctl(&["ban", "192.0.2.9", "--reason", "test"]).unwrap();
}

#[test]
fn the_table_of_calls_has_the_room_that_is_configured() {
    let lab = Lab::make().unwrap();
    let edge = Edge::start(&lab, &format!("[capacity]\ncalls = 2048\n{TWO}")).unwrap();
    let status = edge.status().unwrap();
    let calls = status.maps.iter().find(|map| map.name == "CALLS").unwrap();
    assert_eq!(calls.capacity, 2048);
}

fn refused(edge: &Edge<'_>, arguments: &[&str], why: &str) {
    let output = edge.edgectl(arguments).unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains(why), "{said}");
}
