//! The database through its public calls.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use tempfile::TempDir;

use super::{
    AlertQuery, Delivery, DeliveryState, HistoryQuery, HistoryRow, LimitOverride, Shared, Store, StoreError,
};
use crate::alert::{Alert, Finding, Phase, Severity};
use crate::api::types::{AuditEntry, LimitChange, Measure, MeasureKind, Scope};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_768_435_200 + second).unwrap()
}

fn place() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("edge.db");
    (directory, path)
}

fn entry(action: &str) -> AuditEntry {
    AuditEntry {
        at: at(0),
        actor: "root".to_owned(),
        action: action.to_owned(),
        subject: "acme sip.invite (account)".to_owned(),
        reason: "ticket 17".to_owned(),
        before: "20/s burst 40".to_owned(),
        after: "50/s burst 100".to_owned(),
    }
}

fn limit(class: &str, expires_at: Option<Timestamp>) -> LimitOverride {
    LimitOverride {
        account: "acme".to_owned(),
        scope: Scope::Account,
        class: class.to_owned(),
        limit: "50/s burst 100".to_owned(),
        change: LimitChange {
            actor: "root".to_owned(),
            reason: "ticket 17".to_owned(),
            set_at: at(0),
            expires_at,
        },
    }
}

fn alert(id: &str, account: &str, phase: Phase, second: i64) -> Alert {
    Alert {
        id: id.to_owned(),
        phase,
        finding: Finding {
            rule: "spike".to_owned(),
            account: account.to_owned(),
            subject: "sip.invite".to_owned(),
            severity: Severity::Warning,
            observed: 90.5,
            threshold: 60.0,
            baseline: Some(20.0),
            unit: "messages/s".to_owned(),
            window_secs: 1,
            evidence: Vec::new(),
        },
        peak: 91.0,
        opened_at: at(second),
        at: at(second + 1),
        action: "limits in force: 20/s burst 40; 812 refused".to_owned(),
    }
}

fn delivery(id: &str, alert_id: &str) -> Delivery {
    Delivery {
        id: id.to_owned(),
        endpoint: "noc".to_owned(),
        alert_id: alert_id.to_owned(),
        phase: Phase::Opened,
        body: b"{\"type\":\"alert.opened\"}".to_vec(),
        state: DeliveryState::Pending,
        attempts: 0,
        at: at(0),
        last_error: None,
        created_at: at(0),
    }
}

#[test]
fn limits_measures_and_their_audit_survive_a_restart() {
    let (_directory, path) = place();
    let ban = Measure {
        prefix: "203.0.113.0/24".to_owned(),
        kind: MeasureKind::Ban,
        actor: "root".to_owned(),
        reason: "scanning".to_owned(),
        set_at: at(0),
        expires_at: Some(at(60)),
    };
    let mut store = Store::open(&path).unwrap();
    store.set_limit(&limit("sip.invite", None), &entry("limit.set")).unwrap();
    store.set_measures(&[(ban.clone(), entry("measure.set"))]).unwrap();
    drop(store);

    let store = Store::open(&path).unwrap();
    assert_eq!(store.limits().unwrap(), [limit("sip.invite", None)]);
    assert_eq!(store.measures().unwrap(), [ban]);
    assert_eq!(store.audit(10).unwrap(), [entry("measure.set"), entry("limit.set")]);
    assert_eq!(store.audit(1).unwrap(), [entry("measure.set")]);
}

#[test]
fn a_change_and_its_audit_are_one_a_failure_leaves_neither() {
    let mut store = Store::in_memory().unwrap();
    store.connection.execute_batch("DROP TABLE audit").unwrap();
    assert!(store.set_limit(&limit("sip.invite", None), &entry("limit.set")).is_err());
    assert_eq!(store.limits().unwrap(), []);
}

#[test]
fn what_has_an_expiry_lifts_itself_and_says_so_in_the_audit() {
    let mut store = Store::in_memory().unwrap();
    store.set_limit(&limit("sip.invite", Some(at(60))), &entry("limit.set")).unwrap();
    store.set_limit(&limit("sip.register", None), &entry("limit.set")).unwrap();
    assert_eq!(store.expire_limits(at(59)).unwrap(), []);
    assert_eq!(store.expire_limits(at(60)).unwrap(), [limit("sip.invite", Some(at(60)))]);
    assert_eq!(store.limits().unwrap(), [limit("sip.register", None)]);
    let expired = store.audit(1).unwrap().remove(0);
    assert_eq!((expired.actor.as_str(), expired.action.as_str()), ("edge", "limit.expired"));
    assert_eq!(expired.subject, "acme sip.invite (account)");

    let allow = Measure {
        prefix: "2001:db8::/32".to_owned(),
        kind: MeasureKind::Allow,
        actor: "root".to_owned(),
        reason: "monitoring".to_owned(),
        set_at: at(0),
        expires_at: Some(at(10)),
    };
    store.set_measures(&[(allow.clone(), entry("measure.set"))]).unwrap();
    assert_eq!(store.expire_measures(at(10)).unwrap(), [allow]);
    assert_eq!(store.measures().unwrap(), []);
    assert_eq!(store.audit(1).unwrap()[0].action, "measure.expired");
}

#[test]
fn lifting_what_is_not_there_changes_nothing_and_is_not_audited() {
    let mut store = Store::in_memory().unwrap();
    assert!(!store.unset_limit("acme", Scope::Account, "sip.invite", &entry("limit.unset")).unwrap());
    assert!(!store.unset_measure("203.0.113.0/24", &entry("measure.unset")).unwrap());
    assert_eq!(store.audit(10).unwrap(), []);
    store.set_limit(&limit("sip.invite", None), &entry("limit.set")).unwrap();
    assert!(!store.unset_limit("acme", Scope::Source, "sip.invite", &entry("limit.unset")).unwrap());
    assert!(store.unset_limit("acme", Scope::Account, "sip.invite", &entry("limit.unset")).unwrap());
    assert_eq!(store.audit(10).unwrap().len(), 2);
}

#[test]
fn alerts_are_found_by_account_and_by_whether_they_are_open() {
    let mut store = Store::in_memory().unwrap();
    let alerts = [
        alert("a", "acme", Phase::Opened, 0),
        alert("b", "acme", Phase::Resolved, 1),
        alert("c", "other", Phase::Updated, 2),
    ];
    store.save(&alerts, &[delivery("msg_1", "a")]).unwrap();
    let ids = |account: Option<&str>, open, limit| {
        let query = AlertQuery { account: account.map(str::to_owned), open, limit };
        store.alerts(&query).unwrap().into_iter().map(|alert| alert.id).collect::<String>()
    };
    assert_eq!(ids(None, None, 10), "cba");
    assert_eq!(ids(None, None, 2), "cb");
    assert_eq!(ids(None, Some(true), 10), "ca");
    assert_eq!(ids(Some("acme"), Some(false), 10), "b");
    assert_eq!(ids(Some("nobody"), None, 10), "");
    assert_eq!(store.alert("a").unwrap().as_ref(), Some(&alerts[0]));
    assert_eq!(store.alert("z").unwrap(), None);
    let open: String = store.open_alerts().unwrap().into_iter().map(|alert| alert.id).collect();
    assert_eq!(open, "ac");
    assert_eq!(store.deliveries("a").unwrap()[0].state, "pending");
}

#[test]
fn pruning_keeps_what_is_open_or_pending() {
    let mut store = Store::in_memory().unwrap();
    let settled = Delivery { state: DeliveryState::Delivered, ..delivery("msg_2", "b") };
    let alerts = [alert("a", "acme", Phase::Opened, 0), alert("b", "acme", Phase::Resolved, 0)];
    store.save(&alerts, &[delivery("msg_1", "a"), settled]).unwrap();
    store.prune_alerts(at(3_600)).unwrap();
    assert!(store.alert("a").unwrap().is_some() && store.alert("b").unwrap().is_none());
    assert_eq!(store.pending_deliveries(10).unwrap(), [delivery("msg_1", "a")]);
    assert_eq!(store.deliveries("b").unwrap(), []);
}

#[test]
fn history_is_read_by_account_and_time_and_forgotten_by_age() {
    let mut store = Store::in_memory().unwrap();
    let row = |minute: i64, account: &str| HistoryRow {
        at: at(minute * 60),
        account: account.to_owned(),
        class: "sip.invite".to_owned(),
        messages: [u64::try_from(minute).unwrap(), 2, 3, 4, 5],
    };
    let rows: Vec<_> = (0..5).flat_map(|minute| [row(minute, "acme"), row(minute, "other")]).collect();
    store.add_history(&rows).unwrap();
    let query = HistoryQuery { account: "acme".to_owned(), from: at(60), to: at(240), limit: 10 };
    assert_eq!(store.history(&query).unwrap(), [row(1, "acme"), row(2, "acme"), row(3, "acme")]);
    assert_eq!(store.history(&HistoryQuery { limit: 1, ..query.clone() }).unwrap(), [row(1, "acme")]);
    assert!(!store.prune_history(at(180)).unwrap());
    assert_eq!(store.history(&HistoryQuery { from: at(0), ..query.clone() }).unwrap(), [row(3, "acme")]);
    assert_eq!(store.history(&query).unwrap(), [row(3, "acme")]);
}

#[test]
fn a_value_is_kept_by_name() {
    let (_directory, path) = place();
    let mut store = Store::open(&path).unwrap();
    assert_eq!(store.value("detectors").unwrap(), None);
    store.put_value("detectors", &serde_json::json!({"a": 1})).unwrap();
    store.put_value("detectors", &serde_json::json!({"a": 2})).unwrap();
    drop(store);
    assert_eq!(Store::open(&path).unwrap().value("detectors").unwrap(), Some(serde_json::json!({"a": 2})));
}

#[test]
fn a_file_that_is_no_database_is_reported_and_left_byte_for_byte_as_it_was() {
    let (directory, path) = place();
    let garbage = b"these are not the pages that you are looking for\n".repeat(400);
    fs::write(&path, &garbage).unwrap();
    let error = Store::open(&path).unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
    assert!(error.to_string().contains("left untouched"), "{error}");
    assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
    assert_eq!(fs::read(&path).unwrap(), garbage);
    let names: Vec<_> =
        fs::read_dir(directory.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert_eq!(names, ["edge.db"]);
}

#[test]
fn damaged_pages_are_reported_when_they_are_read() {
    let (_directory, path) = place();
    let mut store = Store::open(&path).unwrap();
    for n in 0..500 {
        store.record(&AuditEntry { subject: format!("subject {n}"), ..entry("limit.set") }).unwrap();
    }
    drop(store);
    let mut bytes = fs::read(&path).unwrap();
    let half = bytes.len() / 2;
    bytes[half..].fill(0xa5);
    fs::write(&path, &bytes).unwrap();
    let error = Store::open(&path).and_then(|store| store.audit(1_000)).unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
}

#[test]
fn a_database_of_a_later_version_is_refused() {
    let (_directory, path) = place();
    let store = Store::open(&path).unwrap();
    store.connection.pragma_update(None, "user_version", 1_000).unwrap();
    drop(store);
    let error = Store::open(&path).unwrap_err();
    assert!(matches!(error, StoreError::NewerSchema { .. }), "{error}");
}

#[test]
fn a_locked_database_says_so_and_works_again_when_it_is_let_go() {
    let (_directory, path) = place();
    let mut store = Store::open(&path).unwrap();
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let error = store.record(&entry("limit.set")).unwrap_err();
    assert!(matches!(error, StoreError::Locked { .. }), "{error}");
    other.execute_batch("COMMIT").unwrap();
    store.record(&entry("limit.set")).unwrap();
}

#[test]
fn a_full_disk_says_so_and_leaves_what_was_there() {
    let mut store = Store::in_memory().unwrap();
    store.record(&entry("limit.set")).unwrap();
    let pages: i64 = store.connection.pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
    // The limit of pages stands in for the end of the disk: SQLite answers both with SQLITE_FULL.
    store.connection.pragma_update(None, "max_page_count", pages).unwrap();
    let long = AuditEntry { reason: "x".repeat(100_000), ..entry("limit.set") };
    let error = store.record(&long).unwrap_err();
    assert!(matches!(error, StoreError::Full { .. }), "{error}");
    assert_eq!(store.audit(10).unwrap().len(), 1);
}

#[test]
fn a_directory_that_is_missing_says_so() {
    let (directory, _) = place();
    let error = Store::open(&directory.path().join("no/edge.db")).unwrap_err();
    assert!(matches!(error, StoreError::Unwritable { .. }), "{error}");
}

#[test]
fn the_file_is_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let (_directory, path) = place();
    Store::open(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_shared_database_comes_back_by_itself_once_the_cause_is_gone() {
    let (directory, _) = place();
    let path = directory.path().join("later/edge.db");
    let shared = Shared::at(&path);
    assert!(shared.run_blocking(|store| store.audit(1)).is_err());
    assert!(shared.status().contains("cannot be opened"), "{}", shared.status());
    fs::create_dir(path.parent().unwrap()).unwrap();
    assert_eq!(shared.run_blocking(|store| store.audit(1)).unwrap(), []);
    assert_eq!(shared.status(), "ok");
}

#[test]
fn a_database_that_was_removed_or_replaced_is_not_written_to_as_if_nothing_had_happened() {
    let (_directory, path) = place();
    let shared = Shared::at(&path);
    shared.run_blocking(|store| store.record(&entry("limit.set"))).unwrap();
    fs::rename(&path, path.with_extension("old")).unwrap();
    for replaced in [false, true] {
        if replaced {
            fs::write(&path, "").unwrap();
        }
        let refused = shared.run_blocking(|store| store.record(&entry("limit.set"))).unwrap_err();
        assert!(matches!(refused, StoreError::Unwritable { .. }), "{refused}");
        assert!(shared.status().contains("removed or replaced"), "{}", shared.status());
    }
    fs::rename(path.with_extension("old"), &path).unwrap();
    shared.run_blocking(|store| store.record(&entry("limit.set"))).unwrap();
}

/// A question that takes long keeps nobody waiting who writes.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_is_written_while_a_question_is_answered() {
    let (_directory, path) = place();
    let shared = Shared::at(&path);
    shared.run(|store| store.record(&entry("limit.set"))).await.unwrap();
    let (go_on, until) = std::sync::mpsc::channel::<()>();
    let asking = tokio::spawn({
        let shared = shared.clone();
        async move {
            let ask = move |store: &Store| {
                until
                    .recv_timeout(Duration::from_secs(20))
                    .map(|()| store.audit(10).unwrap().len())
                    .map_err(|_| StoreError::TaskDied { path: PathBuf::new() })
            };
            shared.read(ask).await
        }
    });
    shared.run(|store| store.record(&entry("limit.unset"))).await.unwrap();
    go_on.send(()).unwrap();
    assert_eq!(asking.await.unwrap().unwrap(), 2);
    assert!(shared.read(|store| store.read(|it| it.execute("DELETE FROM audit", []))).await.is_err());
}

#[test]
fn what_edge_did_goes_by_age_and_what_people_did_stays() {
    let mut store = Store::in_memory().unwrap();
    for (actor, second) in [("edge", 1), ("root", 1), ("edge", 60)] {
        store
            .record(&AuditEntry { actor: actor.to_owned(), at: at(second), ..entry("measure.set") })
            .unwrap();
    }
    assert!(!store.prune_audit(at(60)).unwrap());
    let left: Vec<_> = store.audit(10).unwrap().into_iter().map(|it| (it.actor, it.at)).collect();
    assert_eq!(left, [("edge".to_owned(), at(60)), ("root".to_owned(), at(1))]);
}
