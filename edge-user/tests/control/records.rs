//! Records of calls and of messages, through client and server.

use std::collections::BTreeMap;
use std::time::Duration;

use edge_user::api::client::Client;
use edge_user::api::types::{
    CallRow, LiveCall, MessageQuery, MessageRow, MessageStats, RecordQuery, StatsQuery,
};
use serde_json::Value;

use crate::edgectl::{edgectl, text};
use crate::fake::{Served, noon};

/// The one record.
pub(crate) fn call() -> CallRow {
    CallRow {
        seq: 7,
        account: "acme".to_owned(),
        trunk: String::new(),
        source: "203.0.113.7".to_owned(),
        from: "441632960123".to_owned(),
        to: "12025550123".to_owned(),
        setup_at: noon(),
        ring_at: Some(noon()),
        answer_at: None,
        end_at: noon(),
        status: 486,
        cause: "busy".to_owned(),
        ended_by: "callee".to_owned(),
    }
}

/// The one call under way.
pub(crate) fn live_call() -> LiveCall {
    LiveCall {
        id: "1-00000000000000ab".to_owned(),
        account: "acme".to_owned(),
        trunk: Some("london".to_owned()),
        source: "203.0.113.7".to_owned(),
        state: "answered".to_owned(),
        age_secs: 65,
        from: "44163296xxxx".to_owned(),
        to: "1202555xxxx".to_owned(),
        setup_at: noon(),
        ring_at: Some(noon()),
        answer_at: Some(noon()),
        heard_at: noon(),
        session_expires_secs: None,
        slots: 1,
    }
}

/// The one record of a message.
pub(crate) fn message() -> MessageRow {
    MessageRow {
        seq: 9,
        account: "acme".to_owned(),
        system_id: "acmebulk".to_owned(),
        source: "203.0.113.7:40000".to_owned(),
        command: "submit_sm".to_owned(),
        sequence: 77,
        from: "ACME, Ltd".to_owned(),
        from_ton: Some(5),
        to: "447900900123".to_owned(),
        to_ton: Some(1),
        destinations: 1,
        part: 0,
        parts: 0,
        data_coding: None,
        submitted_at: noon(),
        latency: Duration::from_micros(12_345),
        outcome: "rejected".to_owned(),
        status: 0x58,
        status_name: Some("ESME_RTHROTTLED".to_owned()),
    }
}

pub(crate) fn message_stats() -> MessageStats {
    MessageStats {
        account: "acme".to_owned(),
        records: 10,
        accepted: 7,
        rejected: BTreeMap::from([("ESME_RTHROTTLED".to_owned(), 2)]),
        refused: 1,
        p50_ms: Some(12.5),
        p90_ms: Some(20.0),
        p99_ms: Some(40.0),
        max_ms: Some(41.25),
    }
}

#[test]
fn records_are_exported_one_a_line() {
    let served = Served::start();
    let lines = text(&edgectl(&served.socket, "calls export --since 2h"));
    let record: Value = serde_json::from_str(lines.trim_end()).unwrap();
    assert_eq!((&record["seq"], &record["cause"]), (&Value::from(7), &Value::from("busy")));
    let csv = text(&edgectl(&served.socket, "calls export --account acme --format csv"));
    let mut lines = csv.lines();
    assert!(lines.next().unwrap().starts_with("seq,account,source,from,to,"));
    assert!(lines.next().unwrap().starts_with("7,acme,203.0.113.7,441632960123,12025550123,"));
    assert_eq!(lines.next(), None);
}

#[test]
fn records_of_messages_are_exported_one_a_line_and_a_comma_makes_no_column() {
    let served = Served::start();
    let lines = text(&edgectl(&served.socket, "messages export --since 2h"));
    let record: Value = serde_json::from_str(lines.trim_end()).unwrap();
    assert_eq!((&record["seq"], &record["latency_ms"]), (&Value::from(9), &Value::from(12.345)));
    assert_eq!(record["data_coding"], Value::Null);
    let csv = text(&edgectl(&served.socket, "messages export --account acme --format csv"));
    let mut lines = csv.lines();
    assert!(
        lines.next().unwrap().starts_with("seq,account,system_id,source,command,sequence,from,from_ton,to,")
    );
    let line = lines.next().unwrap();
    assert!(
        line.starts_with("9,acme,acmebulk,203.0.113.7:40000,submit_sm,77,\"ACME, Ltd\",5,447900900123,1,"),
        "{line}"
    );
    assert_eq!(lines.next(), None);
}

#[tokio::test]
async fn messages_come_through_the_api_as_the_daemon_told_them() {
    let served = Served::start();
    let client = Client::new(&served.socket).unwrap();
    assert_eq!(client.messages(&MessageQuery::default()).await.unwrap(), [message()]);
    assert_eq!(client.message_records(&RecordQuery::default()).await.unwrap(), [message()]);
    assert_eq!(client.message_stats(&StatsQuery::default()).await.unwrap(), [message_stats()]);
    let nobody = MessageQuery { account: Some("nobody".to_owned()), ..MessageQuery::default() };
    assert!(client.messages(&nobody).await.is_err());
}

#[test]
fn an_account_shows_how_long_its_responses_take() {
    let served = Served::start();
    let shown = text(&edgectl(&served.socket, "accounts show acme"));
    let line = "\nlatency     p50 12.5 ms, p99 40.0 ms of 9 responses on record since edged started\n";
    assert!(shown.contains(line), "{shown}");
}
