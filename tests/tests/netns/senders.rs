//! An account sends messages under names that are none of its own: counted, told of, and refused.

use std::time::Duration;

use edge_tests::edge::Edge;
use edge_tests::netns::{ACME, Lab};
use edge_tests::peers::{Esme, EsmeReport, Smsc, SmscKind};
use edge_tests::process::wait_until;

const LONG: Duration = Duration::from_mins(1);
const SOON: Duration = Duration::from_secs(30);

#[test]
fn messages_of_anothers_sender_are_told_of_and_refused_where_that_is_configured() {
    let lab = Lab::make().unwrap();
    let sections = |ids: &str, mode: &str| {
        format!(
            "[smpp]\nrefusal = 'native'\n[plans.open]\n[accounts.acme]\nsources = ['203.0.113.0/24']\nplan = 'open'\n\
             sender_ids = [{ids}]\nsender_id_mode = '{mode}'\n"
        )
    };
    let edge = Edge::start(&lab, &sections("'ACME', 'acm', '4420'", "count")).unwrap();
    let server = Smsc::start_kind(&lab, edge.directory(), SmscKind::Npm).unwrap();
    // They come from `acme`.
    let send = || -> EsmeReport {
        let arguments = ["--count", "40", "--window", "10", "--rate", "100"];
        Esme::start(&lab, edge.directory(), ACME, &arguments).unwrap().finish(LONG).unwrap()
    };

    assert_eq!(send().ok, 40);
    wait_until("an alert tells", SOON, || {
        edge.ctl(&["alerts", "list", "--open"]).unwrap().contains("sender_id")
    });

    edge.configure(&sections("'ACME', 'acm', '4420'", "refuse")).unwrap();
    edge.ctl(&["reload"]).unwrap();
    let refused = send();
    assert_eq!((refused.ok, refused.statuses.get("0x0a").copied()), (0, Some(40)), "{refused:?}");

    edge.configure(&sections("'ACME', 'acme'", "refuse")).unwrap();
    edge.ctl(&["reload"]).unwrap();
    assert_eq!(send().ok, 40, "its own");

    assert_eq!(server.stop().unwrap().submits_at.len(), 80, "the server never saw the others");
    assert_eq!(edge.messages("acme", "smpp.submit", "admitted").unwrap(), 80);
    assert_eq!(edge.messages("acme", "smpp.submit", "refused").unwrap(), 40);
}
