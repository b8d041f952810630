//! Messages of real clients, as an operator sees them.

use std::collections::BTreeMap;
use std::time::Duration;

use edge_ebpf::abi::ResponseKind;
use edge_tests::edge::Edge;
use edge_tests::netns::{ACME, Lab};
use edge_tests::peers::{Esme, EsmeReport, Smsc, SmscKind};
use edge_tests::process::wait_until;
use edge_user::api::types::{AlertView, LiveBind};

use crate::limited;

const LONG: Duration = Duration::from_mins(1);
const SOON: Duration = Duration::from_secs(30);

/// What the client counts by status is what the account's counters say, by kind.
#[test]
fn responses_are_counted_as_the_client_counts_them() {
    let lab = Lab::make().unwrap();
    let edge = Edge::start(&lab, &limited("")).unwrap();
    let server = Smsc::start_kind(&lab, edge.directory(), SmscKind::Mixed).unwrap();
    let arguments = ["--count", "500", "--window", "20"];
    let told = Esme::start(&lab, edge.directory(), ACME, &arguments).unwrap().finish(LONG).unwrap();
    drop(server.stop().unwrap());
    assert_eq!(told.error, None);
    assert_eq!(edge.settled("acme").unwrap().responses, kinds(&told));
}

/// Where a server answers nothing, a client's window fills, and that is what is outstanding.
#[test]
fn what_is_outstanding_is_what_the_client_waits_for() {
    let lab = Lab::make().unwrap();
    let edge = Edge::start(&lab, &limited("")).unwrap();
    let server = Smsc::start_kind(&lab, edge.directory(), SmscKind::Silent).unwrap();
    let window = |window| {
        let arguments = ["--count", "500", "--window", window, "--seconds", "30"];
        Esme::start(&lab, edge.directory(), ACME, &arguments).unwrap()
    };
    let clients = [window("7"), window("12")];
    let binds = || -> Vec<LiveBind> { edge.read(&["binds", "list"]).unwrap() };
    let outstanding = || {
        let mut all: Vec<u32> = binds().iter().map(|bind| bind.outstanding).collect();
        all.sort_unstable();
        all
    };
    wait_until("both windows are full", SOON, || outstanding() == [7, 12]);
    assert!(binds().iter().all(|bind| bind.responded == 0 && bind.submitted == bind.outstanding));
    for line in
        ["edge_smpp_outstanding{account=\"acme\"} 19.0", "edge_smpp_outstanding_max{account=\"acme\"} 12.0"]
    {
        wait_until(line, SOON, || metrics(&lab).lines().any(|it| it == line));
    }
    drop(clients);
    drop(server.stop().unwrap());
}

/// What the server's receipts say is what the account shows, and where half of the messages to a prefix are not delivered
/// there is an alert.
#[test]
fn receipts_are_counted_by_what_they_say_and_an_alert_tells_of_what_is_not_delivered() {
    let lab = Lab::make().unwrap();
    let edge = Edge::start(&lab, &limited("")).unwrap();
    let server = Smsc::start_kind(&lab, edge.directory(), SmscKind::Receipts).unwrap();
    let arguments = ["--count", "200", "--window", "20"];
    let told = Esme::start(&lab, edge.directory(), ACME, &arguments).unwrap().finish(LONG).unwrap();
    drop(server.stop().unwrap());
    assert_eq!((told.error.as_deref(), told.answered.get("deliver_sm")), (None, Some(&200)));
    // A receipt that more than two segments share says nothing to anybody between them.
    let receipts = edge.settled("acme").unwrap().receipts;
    let of = |state: &str| receipts.get(state).copied().unwrap_or_default();
    assert_eq!(of("delivered") + of("failed") + of("unread"), 200, "{receipts:?}");
    // Of three, two are not delivered: far enough from the half that opens, however few are unread.
    assert!(of("delivered") >= 50 && of("failed") >= 115, "{receipts:?}");
    let opened = || {
        let alerts: Vec<AlertView> = edge.read(&["alerts", "list", "--open"]).unwrap();
        alerts.into_iter().map(|it| it.alert.finding).find(|finding| finding.rule == "undelivered")
    };
    wait_until("the alert is open", LONG, || opened().is_some());
    let finding = opened().unwrap();
    assert_eq!((finding.account.as_str(), finding.subject.as_str()), ("acme", "+44163"));
    let line = format!("edge_smpp_receipts_total{{account=\"acme\",state=\"failed\"}} {}", of("failed"));
    wait_until(&line, SOON, || metrics(&lab).lines().any(|it| it == line));
}

/// How long either side takes for an `enquire_link` of the other is on its bind.
#[test]
fn a_bind_shows_how_long_both_sides_take_for_an_enquire_link() {
    let lab = Lab::make().unwrap();
    let edge = Edge::start(&lab, &limited("")).unwrap();
    let server = Smsc::start_kind(&lab, edge.directory(), SmscKind::Silent).unwrap();
    let arguments = ["--count", "1", "--enquire-links", "3", "--seconds", "30"];
    let client = Esme::start(&lab, edge.directory(), ACME, &arguments).unwrap();
    let bind = || edge.read::<Vec<LiveBind>>(&["binds", "list"]).unwrap().into_iter().next();
    let both = |bind: LiveBind| bind.server_link_ms.zip(bind.client_link_ms);
    wait_until("both have answered", SOON, || bind().and_then(both).is_some());
    let (of_server, of_client) = bind().and_then(both).unwrap();
    // The client has been there for that long.
    assert!(of_server > 0.0 && of_server < 30_000.0, "{of_server}");
    assert!(of_client > 0.0 && of_client < 30_000.0, "{of_client}");
    let shown = metrics(&lab);
    for side in ["server", "client"] {
        let series = format!("edge_smpp_enquire_link_seconds_max{{account=\"acme\",side=\"{side}\"}}");
        assert!(shown.lines().any(|line| line.starts_with(&series)), "{series} in\n{shown}");
    }
    drop(client);
    drop(server.stop().unwrap());
}

/// What Prometheus gets.
fn metrics(lab: &Lab) -> String {
    const GET: &str = "import urllib.request as it; \
        print(it.urlopen('http://127.0.0.1:9912/metrics').read().decode())";
    let got = lab.edge.command("python3").args(["-c", GET]).output().unwrap();
    assert!(got.status.success(), "{}", String::from_utf8_lossy(&got.stderr));
    String::from_utf8(got.stdout).unwrap()
}

/// The client's counts by status, as Edge calls them.
fn kinds(told: &EsmeReport) -> BTreeMap<String, u64> {
    let mut kinds = BTreeMap::new();
    for (status, count) in &told.statuses {
        let status = u32::from_str_radix(status.trim_start_matches("0x"), 16).unwrap();
        *kinds.entry(ResponseKind::of(status).name().to_owned()).or_default() += count;
    }
    kinds
}
