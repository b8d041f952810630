use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::super::{Deliverer, Endpoint, EndpointError, Retry};
use super::receiver::{Receiver, Reply};
use super::{Phase, Severity, alert};
use crate::config::{self, SecretError};
use crate::store::{Shared, Store};

const OLD_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8G";
const NEW_SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oDC2FVsBQI";

/// Yields to the runtime until it holds; panics after a minute.
pub(super) async fn wait_until(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..6_000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{what}: not within a minute");
}

/// A directory with secrets and a database, and a clock that can be moved ahead of the system's.
struct Bench {
    directory: TempDir,
    ahead_secs: Arc<AtomicI64>,
}

struct Running {
    deliverer: Deliverer,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

impl Bench {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("old"), format!("{OLD_SECRET}\n")).unwrap();
        std::fs::write(directory.path().join("new"), NEW_SECRET).unwrap();
        Self { directory, ahead_secs: Arc::default() }
    }

    fn database(&self) -> PathBuf {
        self.directory.path().join("edge.db")
    }

    fn endpoint(&self, name: &str, url: &str, secrets: &[&str]) -> Endpoint {
        let webhook = config::Webhook {
            url: url.to_owned(),
            secret_files: secrets.iter().map(|secret| self.directory.path().join(secret)).collect(),
            min_severity: Severity::Info,
            timeout: Duration::from_secs(30),
            give_up_after: Duration::from_hours(24),
        };
        Endpoint::from_config(name, &webhook).unwrap()
    }

    fn start(&self, endpoints: Vec<Endpoint>) -> Running {
        self.start_with(endpoints, Shared::at(&self.database()))
    }

    fn start_with(&self, endpoints: Vec<Endpoint>, store: Shared) -> Running {
        let ahead_secs = Arc::clone(&self.ahead_secs);
        let clock =
            move || Timestamp::now() + jiff::SignedDuration::from_secs(ahead_secs.load(Ordering::Relaxed));
        let retry = Retry { waits: vec![Duration::from_millis(20)], jitter: Arc::new(|| 0.5) };
        let deliverer = Deliverer::new(endpoints, store, Arc::new(clock), retry).unwrap();
        let shutdown = CancellationToken::new();
        let task = tokio::spawn({
            let (deliverer, shutdown) = (deliverer.clone(), shutdown.clone());
            async move { deliverer.run(shutdown).await }
        });
        Running { deliverer, shutdown, task }
    }
}

impl Running {
    async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.unwrap();
    }

    fn delivered(&self, endpoint: &str) -> u64 {
        self.deliverer.status().endpoints[endpoint].delivered
    }
}

fn states(database: &Path, alert_id: &str) -> Vec<(String, u32)> {
    let deliveries = Store::open(database).unwrap().deliveries(alert_id).unwrap();
    deliveries.into_iter().map(|delivery| (delivery.state, delivery.attempts)).collect()
}

#[tokio::test]
async fn an_alert_is_delivered_once_to_each_endpoint_signed_in_order_and_recorded() {
    let bench = Bench::new();
    let (one, two) = (Receiver::start([]).await, Receiver::start([]).await);
    let running = bench.start(vec![
        bench.endpoint("one", &one.url(), &["old"]),
        bench.endpoint("two", &two.url(), &["new"]),
    ]);
    for phase in [Phase::Opened, Phase::Updated, Phase::Resolved] {
        running.deliverer.publish(&[alert("a", phase)]).await;
    }
    for (receiver, secret, other) in [(&one, OLD_SECRET, NEW_SECRET), (&two, NEW_SECRET, OLD_SECRET)] {
        let messages = receiver.wait_for(3).await;
        let kinds: Vec<_> = messages.iter().map(|message| message.json()["type"].clone()).collect();
        assert_eq!(kinds, ["alert.opened", "alert.updated", "alert.resolved"]);
        assert!(messages.iter().all(|message| message.verifies_with(secret)));
        assert!(!messages.iter().any(|message| message.verifies_with(other)));
        let user_agent = messages[0].headers["user-agent"].to_str().unwrap();
        assert!(user_agent.starts_with("edge/"), "{user_agent}");
    }
    wait_until("both counted", || running.delivered("one") + running.delivered("two") == 6).await;
    running.stop().await;
    assert_eq!((one.received().len(), two.received().len()), (3, 3));
    assert_eq!(states(&bench.database(), "a"), vec![("delivered".to_owned(), 1); 6]);
    let stored = Store::open(&bench.database()).unwrap().alert("a").unwrap().unwrap();
    assert_eq!(stored.phase, Phase::Resolved);
}

#[tokio::test]
async fn an_endpoint_gets_only_what_is_severe_enough_for_it() {
    let bench = Bench::new();
    let receiver = Receiver::start([]).await;
    let mut endpoint = bench.endpoint("noc", &receiver.url(), &["old"]);
    endpoint.min_severity = Severity::Critical;
    let running = bench.start(vec![endpoint]);
    let mut critical = alert("b", Phase::Opened);
    critical.finding.severity = Severity::Critical;
    running.deliverer.publish(&[alert("a", Phase::Opened), critical]).await;
    assert_eq!(receiver.wait_for(1).await[0].json()["data"]["id"], "b");
    running.stop().await;
    assert_eq!(states(&bench.database(), "a"), []);
    assert!(Store::open(&bench.database()).unwrap().alert("a").unwrap().is_some());
}

#[tokio::test]
async fn what_a_receiver_that_was_down_missed_comes_once_it_is_up_also_over_a_restart_with_the_same_id() {
    let bench = Bench::new();
    let gone = Receiver::start([]).await;
    let (address, url) = (gone.address, gone.url());
    drop(gone);
    let running = bench.start(vec![bench.endpoint("noc", &url, &["old"])]);
    running.deliverer.publish(&[alert("a", Phase::Opened)]).await;
    wait_until("two failures", || running.deliverer.status().endpoints["noc"].failed_attempts >= 2).await;
    // As kill -9 would: nothing is said to the deliverer.
    running.task.abort();
    let _ = running.task.await;
    let id = Store::open(&bench.database()).unwrap().pending_deliveries(10).unwrap().remove(0).id;

    let receiver = Receiver::start_at(address, []).await;
    let running = bench.start(vec![bench.endpoint("noc", &url, &["old"])]);
    let messages = receiver.wait_for(1).await;
    wait_until("delivered", || running.delivered("noc") == 1).await;
    running.stop().await;
    assert_eq!(messages[0].id(), id);
    assert!(messages[0].verifies_with(OLD_SECRET));
    assert_eq!(receiver.received().len(), 1);
    assert_eq!(Store::open(&bench.database()).unwrap().pending_deliveries(10).unwrap(), []);
}

#[tokio::test]
async fn failures_are_tried_again_with_the_same_id_and_body_and_redirects_are_not_followed() {
    let bench = Bench::new();
    let elsewhere = Receiver::start([]).await;
    let replies = [
        Reply::Status(500),
        Reply::Redirect(elsewhere.url()),
        Reply::Hang,
        Reply::Status(403),
        Reply::Status(200),
    ];
    let receiver = Receiver::start(replies).await;
    let mut endpoint = bench.endpoint("noc", &receiver.url(), &["old"]);
    endpoint.timeout = Duration::from_secs(3);
    let running = bench.start(vec![endpoint]);
    running.deliverer.publish(&[alert("a", Phase::Opened)]).await;
    wait_until("delivered", || running.delivered("noc") == 1).await;
    running.stop().await;
    let messages = receiver.received();
    assert_eq!(messages.len(), 5);
    assert!(messages.iter().all(|message| message.id() == messages[0].id()));
    assert!(messages.iter().all(|message| message.body == messages[0].body));
    assert!(messages.iter().all(|message| message.verifies_with(OLD_SECRET)));
    assert_eq!(elsewhere.received().len(), 0);
    assert_eq!(states(&bench.database(), "a"), [("delivered".to_owned(), 5)]);
}

#[tokio::test]
async fn an_endpoint_that_hangs_holds_up_no_other() {
    let bench = Bench::new();
    let (slow, quick) = (Receiver::start(vec![Reply::Hang; 50]).await, Receiver::start([]).await);
    let running = bench.start(vec![
        bench.endpoint("a-slow", &slow.url(), &["old"]),
        bench.endpoint("b-quick", &quick.url(), &["old"]),
    ]);
    let alerts: Vec<_> = (0..20).map(|n| alert(&n.to_string(), Phase::Opened)).collect();
    running.deliverer.publish(&alerts).await;
    quick.wait_for(20).await;
    slow.wait_for(1).await;
    assert_eq!(running.delivered("a-slow"), 0);
    assert!(slow.received().iter().all(|message| message.id() == slow.received()[0].id()), "one at a time");
    running.stop().await;
}

#[tokio::test]
async fn retry_after_is_kept_to_and_410_disables_until_a_reload() {
    let bench = Bench::new();
    let replies = [Reply::RetryAfter(429, "600"), Reply::Status(410), Reply::Status(200)];
    let receiver = Receiver::start(replies).await;
    let endpoint = bench.endpoint("noc", &receiver.url(), &["old"]);
    let running = bench.start(vec![endpoint.clone()]);
    running.deliverer.publish(&[alert("a", Phase::Opened)]).await;
    receiver.wait_for(1).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(receiver.received().len(), 1, "ten minutes were asked for, the table says 20 ms");

    bench.ahead_secs.store(601, Ordering::Relaxed);
    running.deliverer.wake();
    receiver.wait_for(2).await;
    wait_until("disabled", || running.deliverer.status().endpoints["noc"].disabled.is_some()).await;
    bench.ahead_secs.store(4_000, Ordering::Relaxed);
    running.deliverer.publish(&[alert("b", Phase::Opened)]).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(receiver.received().len(), 2);

    running.deliverer.reload(vec![endpoint]);
    receiver.wait_for(4).await;
    running.stop().await;
}

#[tokio::test]
async fn during_a_rotation_both_secrets_verify() {
    let bench = Bench::new();
    let receiver = Receiver::start([]).await;
    let running = bench.start(vec![bench.endpoint("noc", &receiver.url(), &["new", "old"])]);
    running.deliverer.publish(&[alert("a", Phase::Opened)]).await;
    let messages = receiver.wait_for(1).await.remove(0);
    assert!(messages.verifies_with(OLD_SECRET) && messages.verifies_with(NEW_SECRET));
    let signatures = messages.headers["webhook-signature"].to_str().unwrap();
    assert_eq!(signatures.split(' ').filter(|one| one.starts_with("v1,")).count(), 2, "{signatures}");

    running.deliverer.reload(vec![bench.endpoint("noc", &receiver.url(), &["new"])]);
    running.deliverer.publish(&[alert("b", Phase::Opened)]).await;
    let messages = receiver.wait_for(2).await.remove(1);
    assert!(messages.verifies_with(NEW_SECRET) && !messages.verifies_with(OLD_SECRET));
    running.stop().await;
}

#[tokio::test]
async fn without_a_database_alerts_are_sent_from_memory_and_written_down_when_it_is_back() {
    let bench = Bench::new();
    let receiver = Receiver::start([]).await;
    let database = bench.directory.path().join("unmounted/edge.db");
    let endpoint = bench.endpoint("noc", &receiver.url(), &["old"]);
    let running = bench.start_with(vec![endpoint], Shared::at(&database));
    running.deliverer.publish(&[alert("a", Phase::Opened)]).await;
    receiver.wait_for(1).await;
    // It is sent first: that it is not written down may be known a moment later.
    wait_until("told", || {
        let status = running.deliverer.status();
        status.unsaved > 0 && status.store_error.is_some_and(|error| error.contains("cannot be opened"))
    })
    .await;

    std::fs::create_dir(database.parent().unwrap()).unwrap();
    wait_until("written down", || {
        let status = running.deliverer.status();
        status.store_error.is_none() && status.unsaved == 0 && running.delivered("noc") == 1
    })
    .await;
    wait_until("as delivered", || states(&database, "a") == [("delivered".to_owned(), 1)]).await;
    assert!(Store::open(&database).unwrap().alert("a").unwrap().is_some());
    running.stop().await;
    assert_eq!(receiver.received().len(), 1);
}

#[tokio::test]
async fn a_test_message_is_signed_and_its_answer_is_told() {
    let bench = Bench::new();
    let receiver = Receiver::start([Reply::Status(200), Reply::Status(401)]).await;
    let running = bench.start(vec![bench.endpoint("noc", &receiver.url(), &["old"])]);
    let good = running.deliverer.test("noc").await.unwrap();
    assert_eq!((good.ok, good.status, good.error.as_str()), (true, Some(200), ""));
    let bad = running.deliverer.test("noc").await.unwrap();
    assert_eq!((bad.ok, bad.status), (false, Some(401)));
    assert_eq!(bad.error, "answered 401 Unauthorized");
    assert_eq!(running.deliverer.test("nobody").await, None);
    let messages = receiver.received().remove(0);
    assert!(messages.verifies_with(OLD_SECRET));
    assert_eq!(messages.json()["type"], "edge.test");

    let url = receiver.url();
    drop(receiver);
    running.deliverer.reload(vec![bench.endpoint("noc", &url, &["old"])]);
    wait_until("the listener is gone", || {
        std::net::TcpStream::connect(url[7..].split('/').next().unwrap()).is_err()
    })
    .await;
    let down = running.deliverer.test("noc").await.unwrap();
    assert_eq!((down.ok, down.status), (false, None));
    assert!(!down.error.is_empty() && !down.error.contains("token"), "{}", down.error);
    running.stop().await;
}

#[test]
fn secrets_are_never_shown_and_what_is_no_secret_is_refused() {
    let bench = Bench::new();
    let endpoint = bench.endpoint("noc", "https://203.0.113.1/hook?token=abc", &["old"]);
    let shown = format!("{endpoint:?}");
    assert!(!shown.contains("MfKQ") && !shown.contains("abc"), "{shown}");

    let refused = |url: &str, files: &[&str]| {
        let webhook = config::Webhook {
            url: url.to_owned(),
            secret_files: files.iter().map(|file| bench.directory.path().join(file)).collect(),
            min_severity: Severity::Info,
            timeout: Duration::from_secs(1),
            give_up_after: Duration::from_secs(1),
        };
        Endpoint::from_config("noc", &webhook).unwrap_err()
    };
    for content in ["", "hunter2", "whsec_c2hvcnQ=", "whsec_!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!"] {
        std::fs::write(bench.directory.path().join("bad"), content).unwrap();
        let error = refused("https://203.0.113.1/", &["bad"]);
        assert!(matches!(error, EndpointError::Secret { source: SecretError::Invalid, .. }), "{content:?}");
        assert!(content.is_empty() || !error.to_string().contains(content), "{error}");
    }
    let unreadable = refused("https://203.0.113.1/", &["none"]);
    assert!(matches!(unreadable, EndpointError::Secret { source: SecretError::Unreadable(_), .. }));
    assert!(matches!(refused("https://203.0.113.1/", &[]), EndpointError::NoSecret { .. }));
    assert!(matches!(refused("ftp://203.0.113.1/", &["old"]), EndpointError::Url { .. }));
    assert!(matches!(refused("here", &["old"]), EndpointError::Url { .. }));
}

#[tokio::test]
async fn a_clock_that_is_set_back_turns_no_order_round_and_keeps_nothing_waiting() {
    let bench = Bench::new();
    let receiver = Receiver::start([Reply::RetryAfter(503, "3600")]).await;
    let running = bench.start(vec![bench.endpoint("noc", &receiver.url(), &["old"])]);
    running.deliverer.publish(&[alert("a", Phase::Opened)]).await;
    receiver.wait_for(1).await;
    wait_until("the failure is noted", || running.deliverer.status().endpoints["noc"].failed_attempts == 1)
        .await;

    let set_back = -86_400;
    bench.ahead_secs.store(set_back, Ordering::Relaxed);
    running.deliverer.clock_was_set(jiff::SignedDuration::from_secs(set_back));
    running.deliverer.publish(&[alert("a", Phase::Resolved)]).await;
    bench.ahead_secs.store(set_back + 3_700, Ordering::Relaxed);
    running.deliverer.wake();
    let kinds: Vec<_> =
        receiver.wait_for(3).await.iter().map(|message| message.json()["type"].clone()).collect();
    assert_eq!(kinds, ["alert.opened", "alert.opened", "alert.resolved"]);
    running.stop().await;
}
