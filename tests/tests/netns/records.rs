//! Records of calls that are over and of messages that were answered: as many as there were, with what the peers did.

use std::collections::BTreeSet;
use std::time::Duration;

use edge_tests::edge::Edge;
use edge_tests::netns::{ACME, Lab};
use edge_tests::peers::{Esme, Sipp, Smsc, SmscKind};
use edge_tests::process::wait_until;
use edge_user::api::types::MessageRow;

use crate::{limited, sessions};

const LONG: Duration = Duration::from_mins(1);
const SOON: Duration = Duration::from_secs(30);

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
    let acme = edge.settled("acme").unwrap();
    assert_eq!((acme.calls_active, acme.calls["ended"]), (0, calls));
}

/// With `all`, each message leaves one record, what the server took and what Edge refused, and the client was told the same.
#[test]
fn every_message_leaves_the_record_of_what_its_client_was_told() {
    let lab = Lab::make().unwrap();
    let rates = limited("smpp.submit = '20/s burst 100'")
        .replace("plan = 'tested'", "plan = 'tested'\nsystem_ids = ['acme']");
    let edge = Edge::start(
        &lab,
        &format!("[records]\nmessages = 'all'\nnumbers = 'full'\n[smpp]\nrefusal = 'native'\n{rates}"),
    )
    .unwrap();
    let server = Smsc::start_kind(&lab, edge.directory(), SmscKind::Npm).unwrap();
    let arguments = ["--count", "400", "--window", "10", "--rate", "200", "--system-id", "acme"];
    let told = Esme::start(&lab, edge.directory(), ACME, &arguments).unwrap().finish(LONG).unwrap();
    server.stop().unwrap();
    let throttled = told.statuses.get("0x58").copied().unwrap_or_default();
    assert_eq!((told.ok + throttled, told.sent["submit_sm"]), (400, 400), "{told:?}");
    assert!(told.ok > 100 && throttled > 50, "{told:?}");

    let records = || -> Vec<MessageRow> {
        let lines = edge.ctl(&["messages", "export", "--since", "1h", "--account", "acme"]).unwrap();
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    wait_until("every message has its record", LONG, || records().len() >= 400);
    let records = records();
    let of = |outcome: &str| records.iter().filter(|record| record.outcome == outcome).count() as u64;
    assert_eq!((records.len(), of("accepted"), of("refused")), (400, told.ok, throttled));
    let messages: BTreeSet<u32> = records.iter().map(|record| record.sequence).collect();
    assert_eq!(messages.len(), 400, "one each");
    for record in &records {
        let status = if record.outcome == "refused" { "ESME_RTHROTTLED" } else { "ESME_ROK" };
        assert_eq!(record.status_name.as_deref(), Some(status), "{record:?}");
        assert_eq!((record.system_id.as_str(), record.command.as_str()), ("acme", "submit_sm"), "{record:?}");
        assert!(record.source.starts_with(&format!("{ACME}:")), "{record:?}");
        assert!(!record.to.is_empty() && record.to.bytes().all(|octet| octet.is_ascii_digit()), "{record:?}");
        assert!(!record.latency.is_zero() && record.latency < SOON, "{record:?}");
    }
    let metric = |name: &str| sessions::metric(&lab, &format!("{name}{{account=\"acme\"}}"));
    wait_until("the metrics have them all", SOON, || {
        metric("edge_smpp_response_seconds_count") == Some(f64::from(u32::try_from(told.ok).unwrap()))
    });
}
