#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::collections::BTreeSet;

use edge_ebpf::abi::{BindCount, ReceiptKind, ResponseKind};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::*;
use crate::figures::{MessageFigures, MessageOutcome};

/// Every family has at least one sample.
fn busy() -> Measures {
    let mut counters = AccountCounters::NOTHING;
    counters.foreign_callers = 2;
    counters.foreign_senders = 3;
    counters.binds[BindCount::Accepted.index()] = 4;
    counters.responses[ResponseKind::Throttled.index()] = 2;
    counters.receipts[ReceiptKind::Failed.index()] = 2;
    counters.messages[Class::SipInvite.index()] = [7, 3, 0, 0, 0];
    counters.sip[Method::Invite.index()] = 10;
    counters.smpp[Command::SubmitSm.index()] = 4;
    let mut policy = Policy::OPEN;
    policy.account[Class::SipInvite.index()] = "20/s burst 40".parse::<Rate>().unwrap().to_limit();
    let admitted_per_sec = BTreeMap::from([(Class::SipInvite, 15.0)]);
    policy.calls_max = 50;
    let calls = CallFigures {
        by_cause: BTreeMap::from([("completed".to_owned(), 4)]),
        answered: 4,
        talk: Duration::from_millis(90_500),
        short: 1,
        rung: 4,
        dial_delay: Duration::from_secs(6),
    };
    let mut responses = MessageFigures::default();
    responses.add(MessageOutcome::Accepted, 0, Duration::from_millis(1_500));
    let acme = AccountMeasures {
        counters,
        policy,
        calls_active: 3,
        binds_active: 2,
        windows: Windows { sum: 17, max: 10, server_link_ns: 1_500_000, client_link_ns: 0 },
        slots_held: Some(3),
        slots_corrected: 0,
        calls,
        responses: responses.times,
        admitted_per_sec,
    };
    Measures {
        outcomes: BTreeMap::from([(Outcome::SipAdmitted, 7), (Outcome::NotOurs, 0)]),
        accounts: BTreeMap::from([("acme".to_owned(), acme)]),
        listeners: [("smpp", 2775), ("sip", 5060)]
            .map(|(protocol, port)| ListenerMeasures {
                port,
                protocol,
                refusals: [9, 8, 0],
                waiting: 1,
                has_fallen_back: false,
            })
            .into(),
        trunks: vec![TrunkMeasures {
            account: "acme".to_owned(),
            trunk: "london".to_owned(),
            calls_active: 2,
            calls_max: 10,
            refused: 1,
        }],
        alerts_opened: BTreeMap::from([(("spike".to_owned(), Severity::Warning), 2)]),
        alerts_open: BTreeMap::from([("spike".to_owned(), 1)]),
        deliveries: BTreeMap::from([("delivered", 5)]),
        outbox_pending: 3,
        xdp_modes: vec![("eth0".to_owned(), "native")],
        maps: vec![("SOURCES".to_owned(), Some(9), 262_144)],
        events_lost: 0,
        records_lost: 0,
        messages_lost: 4,
        reloads: [2, 1],
        store_is_up: true,
    }
}

fn exposed(text: &str) -> BTreeSet<&str> {
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| family(line.split(['{', ' ']).next().unwrap()))
        .collect()
}

/// The name under which a histogram's series are documented; other names as they are.
fn family(name: &str) -> &str {
    let parts = ["_bucket", "_sum", "_count"];
    parts.iter().find_map(|part| name.strip_suffix(part)).unwrap_or(name)
}

#[test]
fn the_reference_and_what_is_exposed_name_the_same_metrics() {
    let text = render(busy()).unwrap();
    let reference = include_str!("../../docs/metrics.md");
    let documented: BTreeSet<&str> = reference
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split(['`', '{']).next())
        .filter(|name| name.starts_with("edge_"))
        .collect();
    assert_eq!(exposed(&text), documented);
}

#[test]
fn labels_of_the_reference_are_those_that_are_exposed() {
    let text = render(busy()).unwrap();
    for line in include_str!("../../docs/metrics.md").lines() {
        let Some(entry) = line.strip_prefix("| `edge_").and_then(|line| line.split('`').next()) else {
            continue;
        };
        let (name, labels) = entry.trim_end_matches('}').split_once('{').unwrap_or((entry, ""));
        let sample = text
            .lines()
            .find(|line| {
                line.strip_prefix("edge_")
                    .is_some_and(|rest| family(rest.split(['{', ' ']).next().unwrap()) == name)
            })
            .unwrap();
        let found: Vec<&str> = sample
            .split_once('{')
            .and_then(|(_, rest)| rest.split_once('}'))
            .map(|(labels, _)| labels.split("\",").map(|label| label.split('=').next().unwrap()).collect())
            .unwrap_or_default();
        assert_eq!(found.join(","), labels, "{line}");
    }
}

#[test]
fn figures_come_out_as_they_went_in() {
    let text = render(busy()).unwrap();
    for line in [
        "edge_packets_total{outcome=\"sip_admitted\"} 7",
        "edge_packets_total{outcome=\"not_ours\"} 0",
        "edge_messages_total{account=\"acme\",class=\"sip.invite\",allowance=\"refused\"} 3",
        "edge_limit_per_sec{account=\"acme\",scope=\"account\",class=\"sip.invite\"} 20.0",
        "edge_limit_utilization_ratio{account=\"acme\",class=\"sip.invite\"} 0.75",
        "edge_calls_active{account=\"acme\"} 3.0",
        "edge_binds_active{account=\"acme\"} 2.0",
        "edge_smpp_responses_total{account=\"acme\",status=\"throttled\"} 2",
        "edge_smpp_receipts_total{account=\"acme\",state=\"failed\"} 2",
        "edge_smpp_enquire_link_seconds_max{account=\"acme\",side=\"server\"} 0.0015",
        "edge_smpp_outstanding{account=\"acme\"} 17.0",
        "edge_smpp_outstanding_max{account=\"acme\"} 10.0",
        "edge_smpp_refusals_total{port=\"2775\",result=\"answered\"} 8",
        "edge_smpp_refusals_waiting{port=\"2775\"} 1.0",
        "edge_calls_ended_total{account=\"acme\",cause=\"completed\"} 4",
        "edge_calls_talk_seconds_total{account=\"acme\"} 90.5",
        "edge_xdp_mode{interface=\"eth0\",mode=\"native\"} 1.0",
        "edge_config_reloads_total{result=\"refused\"} 1",
        "edge_smpp_response_seconds_sum{account=\"acme\"} 1.5",
        "edge_smpp_response_seconds_count{account=\"acme\"} 1",
        "edge_smpp_response_seconds_bucket{le=\"1.0\",account=\"acme\"} 0",
        "edge_smpp_response_seconds_bucket{le=\"2.5\",account=\"acme\"} 1",
        "edge_smpp_response_seconds_bucket{le=\"+Inf\",account=\"acme\"} 1",
        "edge_message_records_lost_total 4",
        "edge_store_up 1.0",
    ] {
        assert!(text.lines().any(|it| it == line), "{line} is not in\n{text}");
    }
    assert!(!text.contains("smpp.bind"), "what never counted is left out");
    assert!(text.ends_with("# EOF\n"));
}

#[test]
fn an_account_cannot_break_the_format_with_its_name() {
    let mut measures = busy();
    let acme = measures.accounts.remove("acme").unwrap();
    measures.accounts.insert("a\"b\\c\nd".to_owned(), acme);
    let text = render(measures).unwrap();
    assert!(text.contains(r#"account="a\"b\\c\nd""#), "{text}");
}

struct Fixed(Result<(), String>);

impl Source for Fixed {
    fn measures(&self) -> Measures {
        busy()
    }

    fn ready(&self) -> Result<(), String> {
        self.0.clone()
    }
}

async fn answer(source: Fixed, path: &str) -> (u16, String) {
    let listener = listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let url = format!("http://{}{path}", listener.local_addr().unwrap());
    let shutdown = CancellationToken::new();
    let serving = tokio::spawn(serve(listener, Arc::new(source), shutdown.clone()));
    let response = reqwest::get(url).await.unwrap();
    let answer = (response.status().as_u16(), response.text().await.unwrap());
    shutdown.cancel();
    serving.await.unwrap().unwrap();
    answer
}

#[tokio::test]
async fn it_is_ready_when_the_source_says_so_and_alive_anyway() {
    assert_eq!(answer(Fixed(Ok(())), "/readyz").await, (200, "ready\n".to_owned()));
    let refused = answer(Fixed(Err("eth0 is absent".to_owned())), "/readyz").await;
    assert_eq!(refused, (503, "not ready: eth0 is absent\n".to_owned()));
    assert_eq!(answer(Fixed(Err(String::new())), "/healthz").await.0, 200);
    assert!(answer(Fixed(Ok(())), "/metrics").await.1.contains("edge_store_up 1.0"));
}

/// Serves within bounds; where, and what ends it.
async fn served(bounds: Bounds) -> (SocketAddr, CancellationToken, tokio::task::JoinHandle<io::Result<()>>) {
    let listener = listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let serving = bounded::serve(listener, bounds, router(Arc::new(Fixed(Ok(())))), shutdown.clone());
    (address, shutdown, tokio::spawn(serving))
}

/// Clients that say nothing, and one that has not said all.
async fn slow_clients(address: SocketAddr) -> [TcpStream; 2] {
    let mut begun = TcpStream::connect(address).await.unwrap();
    begun.write_all(b"GET /metrics HTTP/1.1\r\nhost:").await.unwrap();
    [begun, TcpStream::connect(address).await.unwrap()]
}

const LONG: Duration = Duration::from_secs(30);
const SHORT: Duration = Duration::from_millis(300);

#[tokio::test]
async fn slow_clients_hold_so_many_connections_and_no_longer_than_they_may() {
    let (address, ..) =
        served(Bounds { connections: 2, lifetime: Duration::from_hours(1), drain: SHORT }).await;
    let slow = slow_clients(address).await;
    // They are taken in the order in which they came.
    let waiting = tokio::spawn(reqwest::get(format!("http://{address}/healthz")));
    tokio::time::sleep(SHORT).await;
    assert!(!waiting.is_finished(), "more connections than two");
    drop(slow);
    let answered = tokio::time::timeout(LONG, waiting).await.unwrap().unwrap().unwrap();
    assert_eq!(answered.status(), StatusCode::OK);

    let (address, ..) = served(Bounds { connections: 2, lifetime: SHORT, drain: SHORT }).await;
    let slow = slow_clients(address).await;
    let answered = tokio::time::timeout(LONG, reqwest::get(format!("http://{address}/healthz"))).await;
    assert_eq!(answered.unwrap().unwrap().status(), StatusCode::OK);
    for mut client in slow {
        let end = tokio::time::timeout(LONG, client.read(&mut [0])).await.unwrap();
        assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
    }
}

#[tokio::test]
async fn a_slow_client_does_not_hold_up_the_end() {
    let (address, shutdown, serving) =
        served(Bounds { connections: 2, lifetime: Duration::from_hours(1), drain: SHORT }).await;
    let _slow = slow_clients(address).await;
    tokio::time::sleep(SHORT).await;
    shutdown.cancel();
    tokio::time::timeout(LONG, serving).await.unwrap().unwrap().unwrap();
}
