//! The control API from end to end: the real client and server over a real Unix socket, before a daemon of paper.
use std::io::{Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use edge_user::api::client::{Client, ClientError};
use edge_user::api::server::{self, BindError};
use edge_user::api::types::{
    AlertQuery, ApiError, AuditQuery, Detach, LimitQuery, MeasureKind, PlanRequest, RecordQuery, Resume,
    Scope, SetLimit, SetMeasure, Suspend, TestWebhook, UnsetLimit, UnsetMeasure,
};

use crate::fake::{self, Served, myself};

#[tokio::test]
async fn every_question_is_answered_with_what_the_daemon_said() {
    let served = Served::start();
    let client = Client::new(&served.socket).unwrap();

    assert_eq!(client.status().await.unwrap().packets, 1234);
    assert_eq!(client.accounts().await.unwrap()[0].name, "acme");
    assert_eq!(client.account("acme").await.unwrap().system_ids, ["acme1"]);
    assert_eq!(client.limits(&LimitQuery::default()).await.unwrap(), [fake::limit()]);
    assert_eq!(client.measures().await.unwrap(), [fake::measure()]);
    assert_eq!(client.suspensions().await.unwrap(), [fake::suspension()]);
    assert_eq!(client.call_records(&RecordQuery::default()).await.unwrap(), [crate::records::call()]);
    assert_eq!(client.top().await.unwrap().rows[0].baseline_per_sec, Some(12.5));
    assert_eq!(client.alerts(&AlertQuery::default()).await.unwrap()[0].alert, fake::alert());
    assert_eq!(client.alert(&fake::alert().id).await.unwrap().deliveries[0].attempts, 2);
    assert_eq!(client.plan(&PlanRequest::default()).await.unwrap().changes, ["add account acme"]);
    assert_eq!(client.audit(&AuditQuery::default()).await.unwrap()[0].action, "limit.set");
    assert!(served.daemon.diary().is_empty(), "a question changes nothing");
}

#[tokio::test]
async fn what_a_question_asks_for_reaches_the_daemon() {
    let served = Served::start();
    let client = Client::new(&served.socket).unwrap();

    let resolved = AlertQuery { open: Some(false), ..AlertQuery::default() };
    let others = AlertQuery { account: Some("another & more".to_owned()), ..AlertQuery::default() };
    let none = AlertQuery { limit: Some(0), ..AlertQuery::default() };
    for query in [resolved, others, none] {
        assert_eq!(client.alerts(&query).await.unwrap(), [], "{query:?}");
    }
    assert_eq!(client.audit(&AuditQuery { limit: Some(2) }).await.unwrap().len(), 2);
    let error = client.limits(&LimitQuery { account: Some("nobody".to_owned()) }).await.unwrap_err();
    assert_eq!(refusal(error).message, "there is no account `nobody`");
}

#[tokio::test]
async fn every_change_reaches_the_daemon_with_the_name_of_the_peer() {
    let served = Served::start();
    let client = Client::new(&served.socket).unwrap();
    let (account, class, reason) = ("acme".to_owned(), "sip.invite".to_owned(), "why".to_owned());
    let (scope, prefix) = (Scope::Source, "203.0.113.7".to_owned());
    let set = SetLimit {
        account: account.clone(),
        scope,
        class: class.clone(),
        limit: "5/s".to_owned(),
        for_secs: Some(7200),
        reason: reason.clone(),
    };
    let unset = UnsetLimit { account, scope, class, reason: reason.clone() };
    let kind = MeasureKind::Allow;
    let allow = SetMeasure { prefix: prefix.clone(), kind, for_secs: None, reason: reason.clone() };
    let lift = UnsetMeasure { prefix, reason: reason.clone() };

    assert_eq!(client.set_limit(&set).await.unwrap().limit, "5/s");
    assert_eq!(client.unset_limit(&unset).await.unwrap().origin, "plan standard");
    assert_eq!(client.set_measure(&allow).await.unwrap().kind, MeasureKind::Allow);
    assert_eq!(client.unset_measure(&lift).await.unwrap().prefix, "203.0.113.7");
    let suspend = Suspend { account: "acme".to_owned(), for_secs: Some(60), reason: reason.clone() };
    assert_eq!(client.suspend(&suspend).await.unwrap().reason, "why");
    let resume = Resume { account: "acme".to_owned(), reason: reason.clone() };
    assert_eq!(client.resume(&resume).await.unwrap().account, "acme");
    assert_eq!(client.test_webhook(&TestWebhook::default()).await.unwrap().len(), 2);
    assert!(client.reload().await.unwrap().applied);
    assert_eq!(client.detach(&Detach { reason }).await.unwrap().interfaces, ["eth0"]);

    let diary = served.daemon.diary();
    let deeds: Vec<&str> = diary.iter().map(|(_, deed)| deed.as_str()).collect();
    assert_eq!(
        deeds,
        [
            "set acme Source sip.invite 5/s Some(7200) why",
            "unset acme Source sip.invite why",
            "Allow 203.0.113.7 None why",
            "lift 203.0.113.7 why",
            "suspend acme Some(60) why",
            "resume acme why",
            "test None",
            "reload",
            "detach why",
        ]
    );
    for (actor, deed) in &diary {
        assert_eq!(*actor, myself(), "{deed}");
    }
}

#[tokio::test]
async fn a_refusal_arrives_whole_with_every_problem() {
    let served = Served::start();
    let client = Client::new(&served.socket).unwrap();

    let broken = PlanRequest { config_path: Some("/etc/edge/broken.toml".to_owned()) };
    let error = refusal(client.plan(&broken).await.unwrap_err());

    assert_eq!(error.code, "invalid_config");
    assert_eq!(error.problems, ["mode: `x` is no mode", "ports: empty"]);
}

#[tokio::test]
async fn a_name_with_slashes_stays_a_name() {
    let served = Served::start();
    let client = Client::new(&served.socket).unwrap();

    let error = refusal(client.account("../status").await.unwrap_err());

    assert_eq!(error.message, "there is no account `../status`");
}

#[test]
fn the_code_of_an_error_decides_the_http_status() {
    let served = Served::start();
    for (code, status) in [
        ("bad_request", 400),
        ("forbidden", 403),
        ("unknown_account", 404),
        ("conflict", 409),
        ("conflicting_prefix", 409),
        ("invalid_rate", 422),
        ("store_unavailable", 503),
        ("timeout", 503),
        ("something_else", 500),
    ] {
        let answer = raw(&served.socket, "GET", &format!("/v1/accounts/error:{code}"), "");
        assert_eq!((answer.status, answer.error().code.as_str()), (status, code));
    }
}

#[test]
fn a_bad_request_is_told_in_json_and_never_reaches_the_daemon() {
    let served = Served::start();
    let too_long = format!("{{\"reason\":\"{}\"}}", "x".repeat(server::MAX_BODY_BYTES));
    for (method, path, body, status, code) in [
        ("GET", "/v2/status", "", 404, "unknown_route"),
        ("DELETE", "/v1/limits", "", 405, "not_allowed"),
        ("GET", "/v1/reload", "", 405, "not_allowed"),
        ("GET", "/v1/alerts?open=perhaps", "", 400, "bad_request"),
        ("GET", "/v1/alerts?opn=true", "", 400, "bad_request"),
        ("POST", "/v1/detach", "{", 400, "bad_request"),
        ("POST", "/v1/detach", "{\"cause\":\"x\"}", 422, "invalid_request"),
        (
            "PUT",
            "/v1/measures",
            "{\"prefix\":\"::/0\",\"kind\":\"hug\",\"reason\":\"\"}",
            422,
            "invalid_request",
        ),
        ("POST", "/v1/detach", &too_long, 413, "too_large"),
    ] {
        let answer = raw(&served.socket, method, path, body);
        assert_eq!((answer.status, answer.error().code.as_str()), (status, code), "{method} {path}");
        assert!(!answer.error().message.is_empty());
    }
    assert!(served.daemon.diary().is_empty());
}

#[tokio::test]
async fn the_socket_gets_its_mode_and_its_directory() {
    let directory = tempfile::tempdir().unwrap();
    for mode in [0o600, 0o660] {
        let path = directory.path().join(format!("deep/er/{mode:o}.sock"));
        let _listener = server::bind(&path, mode).unwrap();
        let metadata = std::fs::metadata(&path).unwrap();
        assert!(metadata.file_type().is_socket());
        assert_eq!(metadata.permissions().mode() & 0o7777, mode);
        let names: Vec<_> = std::fs::read_dir(path.parent().unwrap()).unwrap().collect();
        assert!(names.iter().all(|entry| entry.as_ref().unwrap().path().extension().unwrap() == "sock"));
    }
}

#[tokio::test]
async fn a_socket_that_nobody_answers_on_is_taken_over() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("edged.sock");
    drop(UnixListener::bind(&path).unwrap());
    let before = std::fs::metadata(&path).unwrap().ino();

    let _listener = server::bind(&path, 0o600).unwrap();

    UnixStream::connect(&path).unwrap();
    assert_ne!(std::fs::metadata(&path).unwrap().ino(), before);
}

#[tokio::test]
async fn a_socket_that_somebody_answers_on_is_left_alone() {
    let served = Served::start();

    let error = server::bind(&served.socket, 0o600).unwrap_err();

    assert!(matches!(error, BindError::InUse { .. }), "{error}");
    Client::new(&served.socket).unwrap().status().await.unwrap();
}

#[tokio::test]
async fn a_file_in_the_way_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("edged.sock");
    std::fs::write(&path, "precious").unwrap();

    let error = server::bind(&path, 0o600).unwrap_err();

    assert!(matches!(error, BindError::NotASocket { .. }), "{error}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
}

#[tokio::test]
async fn a_daemon_that_is_absent_or_dead_is_told_apart() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("edged.sock");
    let client = Client::new(&path).unwrap();

    let absent = client.status().await.unwrap_err().to_string();
    drop(UnixListener::bind(&path).unwrap());
    let dead = client.status().await.unwrap_err().to_string();

    assert!(absent.contains("edged is not running or listens elsewhere"), "{absent}");
    assert!(dead.contains("edged has ended"), "{dead}");
}

#[tokio::test]
async fn something_else_behind_the_socket_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("edged.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let stranger = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 1024]).unwrap();
        stream.write_all(b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 2\r\n\r\nno").unwrap();
    });

    let error = Client::new(&path).unwrap().status().await.unwrap_err();

    stranger.join().unwrap();
    assert!(matches!(error, ClientError::Foreign { .. }), "{error}");
}

#[test]
fn shutdown_ends_serving_even_while_a_client_dawdles() {
    let served = Served::start();
    let mut dawdler = UnixStream::connect(&served.socket).unwrap();
    dawdler.write_all(b"GET /v1/status HT").unwrap();
    // Connections are accepted in turn: once this one is answered, the dawdler's is under way.
    assert_eq!(raw(&served.socket, "GET", "/v1/status", "").status, 200);

    served.end().unwrap();
}

fn refusal(error: ClientError) -> ApiError {
    match error {
        ClientError::Refused(error) => error,
        other => panic!("not an answer of the daemon: {other}"),
    }
}

/// An answer, as it came over the socket.
struct Raw {
    status: u16,
    body: String,
}

impl Raw {
    fn error(&self) -> ApiError {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

/// A request that the typed client cannot make.
fn raw(socket: &Path, method: &str, path: &str, body: &str) -> Raw {
    let mut stream = UnixStream::connect(socket).unwrap();
    let length = body.len();
    // The server may answer and close before it has read a body that is too long.
    let _ = write!(
        stream,
        "{method} {path} HTTP/1.1\r\nhost: edged\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n\r\n{body}"
    );
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Raw { status, body: body.to_owned() }
}
