//! Records of calls that are over: as many as there were calls, with what the peers did.

use std::time::Duration;

use edge_tests::edge::Edge;
use edge_tests::netns::{ACME, Lab};
use edge_tests::peers::Sipp;
use edge_tests::process::wait_until;

const LONG: Duration = Duration::from_mins(1);

#[test]
fn every_call_leaves_one_record_and_the_figures_add_up() {
    let lab = Lab::make().unwrap();
    let edge = Edge::start(&lab, &format!("{}\n[records]\nnumbers = 'masked'\n", crate::OPEN)).unwrap();
    let server = Sipp::server(&lab, edge.directory()).unwrap();
    let sent = Sipp::client(&lab, edge.directory(), "uac", ACME, 50, 100).unwrap().finish(LONG).unwrap();
    server.stop().unwrap();
    let calls = sent["INVITE_Sent"];
    let records = || -> Vec<serde_json::Value> {
        let lines = edge.ctl(&["calls", "export", "--since", "1h", "--account", "acme"]).unwrap();
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    wait_until("every call has its record", LONG, || records().len() as u64 >= calls);
    let records = records();
    assert_eq!(records.len() as u64, calls);
    for record in &records {
        assert_eq!(
            (&record["cause"], &record["ended_by"]),
            (&"completed".into(), &"caller".into()),
            "{record}"
        );
        assert_eq!((&record["source"], &record["to"]), (&ACME.into(), &"44163296xxxx".into()), "{record}");
        assert!(record["answer_at"].is_string(), "{record}");
    }
    let acme = edge.account("acme").unwrap();
    assert_eq!((acme.calls_active, acme.calls["ended"]), (0, calls));
}
