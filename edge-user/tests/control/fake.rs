//! A daemon made of paper: answers every endpoint with fixed data and remembers who asked for what.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use edge_user::alert::{Alert, Evidence, Finding, Phase, Severity};
use edge_user::api::control::{Actor, Control};
use edge_user::api::server;
use edge_user::api::types::{
    AccountDetail, AccountSummary, AlertQuery, AlertView, ApiError, AuditEntry, AuditQuery, CallRow,
    CallStats, CallsStatus, DeliveryView, Detach, Detached, DropSlot, InterfaceStatus, LimitChange,
    LimitQuery, LimitView, LiveBind, LiveBindQuery, LiveCall, LiveCallQuery, MapStatus, Measure, MeasureKind,
    MessageQuery, MessageRow, MessageStats, PlanRequest, PlanView, RecordQuery, Resume, Scope, SetLimit,
    SetMeasure, StatsQuery, Status, Suspend, Suspension, TestWebhook, TestWebhookResult, Top, TopRow,
    UnsetLimit, UnsetMeasure,
};
use jiff::Timestamp;
use tempfile::TempDir;
use tokio::sync::oneshot;

use crate::binds::live_bind;
use crate::records::{call, live_call, message, message_stats};

/// The daemon; cloned handles see the same diary.
#[derive(Clone, Default)]
pub(crate) struct FakeDaemon {
    diary: Arc<Mutex<Vec<(Actor, String)>>>,
}

impl FakeDaemon {
    /// What was asked to change, and by whom, in order.
    pub(crate) fn diary(&self) -> Vec<(Actor, String)> {
        self.diary.lock().unwrap().clone()
    }

    fn write(&self, actor: &Actor, deed: String) {
        self.diary.lock().unwrap().push((actor.clone(), deed));
    }
}

/// The fake daemon at work on a socket of its own, in a thread of its own; ends when dropped.
pub(crate) struct Served {
    /// What it did.
    pub(crate) daemon: FakeDaemon,
    /// Where it listens.
    pub(crate) socket: PathBuf,
    _directory: TempDir,
    shutdown: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<std::io::Result<()>>>,
}

impl Served {
    /// Starts it; the socket answers when this returns.
    pub(crate) fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("run/edged.sock");
        let daemon = FakeDaemon::default();
        let (shutdown, asked_to_end) = oneshot::channel();
        let (bound, is_bound) = std::sync::mpsc::channel();
        let control = Arc::new(daemon.clone());
        let path = socket.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = server::bind(&path, 0o600).unwrap();
                bound.send(()).unwrap();
                let shutdown = async { asked_to_end.await.unwrap_or_default() };
                server::serve(listener, control, shutdown).await
            })
        });
        is_bound.recv().unwrap();
        Self { daemon, socket, _directory: directory, shutdown: Some(shutdown), thread: Some(thread) }
    }

    /// Ends it and says how serving ended.
    pub(crate) fn end(mut self) -> std::io::Result<()> {
        self.shutdown.take().unwrap().send(()).unwrap();
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        drop(self.shutdown.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The user that runs the test, as the daemon must see it.
pub(crate) fn myself() -> Actor {
    let uid = nix::unistd::Uid::current();
    let user = nix::unistd::User::from_uid(uid).unwrap();
    let name = user.map_or_else(|| format!("uid {uid}"), |user| user.name);
    Actor { name, uid: uid.as_raw() }
}

/// A fixed moment.
pub(crate) fn noon() -> Timestamp {
    "2026-03-01T12:00:00Z".parse().unwrap()
}

/// The one alert.
pub(crate) fn alert() -> Alert {
    Alert {
        id: "0195a0c0-0000-7000-8000-000000000001".to_owned(),
        phase: Phase::Opened,
        finding: Finding {
            rule: "spike".to_owned(),
            account: "acme".to_owned(),
            subject: "sip.invite".to_owned(),
            severity: Severity::Critical,
            observed: 180.5,
            threshold: 60.0,
            baseline: Some(20.0),
            unit: "messages/s".to_owned(),
            window_secs: 2,
            evidence: vec![Evidence {
                kind: "source".to_owned(),
                value: "203.0.113.7".to_owned(),
                messages: 361,
                share: 0.9,
            }],
        },
        peak: 190.0,
        opened_at: noon(),
        at: noon(),
        action: "limits in force: 20/s burst 40; 812 refused".to_owned(),
    }
}

/// The one limit, as an override.
pub(crate) fn limit() -> LimitView {
    LimitView {
        account: "acme".to_owned(),
        scope: Scope::Account,
        class: "sip.invite".to_owned(),
        limit: "20/s burst 40".to_owned(),
        origin: "override".to_owned(),
        change: Some(LimitChange {
            actor: "operator".to_owned(),
            reason: "evening peak".to_owned(),
            set_at: noon(),
            expires_at: Some("2026-03-01T14:00:00Z".parse().unwrap()),
        }),
    }
}

/// The one measure.
pub(crate) fn measure() -> Measure {
    Measure {
        prefix: "203.0.113.0/24".to_owned(),
        kind: MeasureKind::Ban,
        actor: "operator".to_owned(),
        reason: "scanner".to_owned(),
        set_at: noon(),
        expires_at: None,
    }
}

/// The one suspension.
pub(crate) fn suspension() -> Suspension {
    Suspension {
        account: "acme".to_owned(),
        actor: "operator".to_owned(),
        reason: "unpaid".to_owned(),
        set_at: noon(),
        expires_at: None,
    }
}

fn stats() -> CallStats {
    CallStats { account: "acme".to_owned(), attempts: 4, answered: 2, asr: Some(0.5), ..CallStats::default() }
}

fn view() -> AlertView {
    let delivery = DeliveryView {
        id: "0195a0c0-0000-7000-8000-000000000002".to_owned(),
        endpoint: "noc".to_owned(),
        phase: "opened".to_owned(),
        state: "pending".to_owned(),
        attempts: 2,
        last_error: Some("connection refused".to_owned()),
        at: noon(),
    };
    AlertView { alert: alert(), deliveries: vec![delivery] }
}

fn unknown(what: &str, name: &str) -> ApiError {
    ApiError::new(
        &format!("unknown_{what}"),
        format!("there is no {what} `{name}`"),
        "see `edgectl accounts list`",
    )
}

fn counts(pairs: &[(&str, u64)]) -> BTreeMap<String, u64> {
    pairs.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
}

impl Control for FakeDaemon {
    async fn status(&self) -> Result<Status, ApiError> {
        Ok(Status {
            version: "0.1.0".to_owned(),
            abi_version: 1,
            started_at: noon(),
            config_applied_at: noon(),
            config_path: "/etc/edge/edge.toml".to_owned(),
            config_error: None,
            mode: "enforce".to_owned(),
            interfaces: vec![InterfaceStatus {
                name: "eth0".to_owned(),
                xdp_mode: "generic".to_owned(),
                requested_mode: "auto".to_owned(),
                reason: Some("the driver has no native XDP".to_owned()),
                egress: "tcx".to_owned(),
                pinned: true,
                repaired: None,
            }],
            accounts: 2,
            outcomes: counts(&[("not_ours", 1200), ("over_source_limit", 34)]),
            packets: 1234,
            listeners: Vec::new(),
            calls: CallsStatus { counted: 12, held: 12, walked_at: Some(noon()), corrected: 0 },
            maps: vec![MapStatus { name: "SOURCES".to_owned(), entries: Some(10), capacity: 100 }],
            alerts_open: 1,
            outbox_pending: 0,
            events_lost: 0,
            store: "ok".to_owned(),
        })
    }

    async fn accounts(&self) -> Result<Vec<AccountSummary>, ApiError> {
        Ok(vec![AccountSummary {
            name: "acme".to_owned(),
            plan: "standard".to_owned(),
            mode: "enforce".to_owned(),
            sources: 2,
            messages: counts(&[("admitted", 100), ("refused", 7)]),
            alerts_open: 1,
        }])
    }

    /// `acme` is known; `error:CODE` answers with that code; nothing else is known.
    async fn account(&self, name: &str) -> Result<AccountDetail, ApiError> {
        if let Some(code) = name.strip_prefix("error:") {
            return Err(ApiError::new(code, "as you wish", "do something else"));
        }
        if name != "acme" {
            return Err(unknown("account", name));
        }
        Ok(AccountDetail {
            name: name.to_owned(),
            plan: "standard".to_owned(),
            mode: "enforce".to_owned(),
            sources: vec!["203.0.113.0/24".to_owned(), "2001:db8::/32".to_owned()],
            system_ids: vec!["acme1".to_owned()],
            caller_ids: vec!["4420".to_owned()],
            caller_id_mode: "count".to_owned(),
            caller_id_violations: 0,
            sender_ids: vec!["ACME".to_owned(), "4420".to_owned()],
            sender_id_mode: "refuse".to_owned(),
            sender_id_violations: 5,
            limits: vec![limit()],
            calls_active: 12,
            calls_max: 50,
            calls: counts(&[("admitted", 100)]),
            stats: stats(),
            message_stats: message_stats(),
            trunks: Vec::new(),
            suspension: Some(suspension()),
            messages: BTreeMap::from([(
                "sip.invite".to_owned(),
                counts(&[("admitted", 100), ("refused_account", 7)]),
            )]),
            sip: counts(&[("INVITE", 107)]),
            smpp: BTreeMap::new(),
            responses: BTreeMap::new(),
            receipts: BTreeMap::new(),
            alerts: vec![alert()],
        })
    }

    async fn limits(&self, query: &LimitQuery) -> Result<Vec<LimitView>, ApiError> {
        match query.account.as_deref() {
            None | Some("acme") => Ok(vec![limit()]),
            Some(name) => Err(unknown("account", name)),
        }
    }

    async fn set_limit(&self, actor: &Actor, request: SetLimit) -> Result<LimitView, ApiError> {
        let SetLimit { account, scope, class, limit: rate, for_secs, reason } = request;
        self.write(actor, format!("set {account} {scope:?} {class} {rate} {for_secs:?} {reason}"));
        Ok(LimitView { account, scope, class, limit: rate, ..limit() })
    }

    async fn unset_limit(&self, actor: &Actor, request: UnsetLimit) -> Result<LimitView, ApiError> {
        let UnsetLimit { account, scope, class, reason } = request;
        self.write(actor, format!("unset {account} {scope:?} {class} {reason}"));
        let origin = "plan standard".to_owned();
        Ok(LimitView { account, scope, class, origin, change: None, ..limit() })
    }

    async fn measures(&self) -> Result<Vec<Measure>, ApiError> {
        Ok(vec![measure()])
    }

    async fn set_measure(&self, actor: &Actor, request: SetMeasure) -> Result<Measure, ApiError> {
        let SetMeasure { prefix, kind, for_secs, reason } = request;
        self.write(actor, format!("{kind:?} {prefix} {for_secs:?} {reason}"));
        Ok(Measure { prefix, kind, reason, ..measure() })
    }

    async fn unset_measure(&self, actor: &Actor, request: UnsetMeasure) -> Result<Measure, ApiError> {
        let UnsetMeasure { prefix, reason } = request;
        self.write(actor, format!("lift {prefix} {reason}"));
        Ok(Measure { prefix, ..measure() })
    }

    async fn suspensions(&self) -> Result<Vec<Suspension>, ApiError> {
        Ok(vec![suspension()])
    }

    async fn suspend(&self, actor: &Actor, request: Suspend) -> Result<Suspension, ApiError> {
        let Suspend { account, for_secs, reason } = request;
        self.write(actor, format!("suspend {account} {for_secs:?} {reason}"));
        Ok(Suspension { account, reason, ..suspension() })
    }

    async fn resume(&self, actor: &Actor, request: Resume) -> Result<Suspension, ApiError> {
        let Resume { account, reason } = request;
        self.write(actor, format!("resume {account} {reason}"));
        Ok(Suspension { account, ..suspension() })
    }

    async fn live_binds(&self, query: &LiveBindQuery) -> Result<Vec<LiveBind>, ApiError> {
        match query.account.as_deref() {
            None | Some("acme") => Ok(vec![live_bind()]),
            Some(name) => Err(unknown("account", name)),
        }
    }

    async fn live_bind(&self, id: &str) -> Result<LiveBind, ApiError> {
        if id == live_bind().id { Ok(live_bind()) } else { Err(unknown("bind", id)) }
    }

    async fn live_calls(&self, query: &LiveCallQuery) -> Result<Vec<LiveCall>, ApiError> {
        match query.account.as_deref() {
            None | Some("acme") => Ok(vec![live_call()]),
            Some(name) => Err(unknown("account", name)),
        }
    }

    async fn live_call(&self, id: &str, query: &LiveCallQuery) -> Result<LiveCall, ApiError> {
        if id != live_call().id {
            return Err(unknown("call", id));
        }
        let is_full = query.full == Some(true);
        let from = if is_full { "441632960123".to_owned() } else { live_call().from };
        Ok(LiveCall { from, ..live_call() })
    }

    async fn drop_slot(&self, actor: &Actor, request: DropSlot) -> Result<LiveCall, ApiError> {
        let DropSlot { id, reason } = request;
        self.write(actor, format!("drop {id} {reason}"));
        Ok(LiveCall { state: "dropped".to_owned(), ..live_call() })
    }

    async fn call_stats(&self, _: &StatsQuery) -> Result<Vec<CallStats>, ApiError> {
        Ok(vec![stats()])
    }

    async fn call_records(&self, query: &RecordQuery) -> Result<Vec<CallRow>, ApiError> {
        // One page of one record.
        Ok(if query.after.is_none() { vec![call()] } else { Vec::new() })
    }

    async fn messages(&self, query: &MessageQuery) -> Result<Vec<MessageRow>, ApiError> {
        match query.account.as_deref() {
            None | Some("acme") => Ok(vec![message()]),
            Some(name) => Err(unknown("account", name)),
        }
    }

    async fn message_stats(&self, _: &StatsQuery) -> Result<Vec<MessageStats>, ApiError> {
        Ok(vec![message_stats()])
    }

    async fn message_records(&self, query: &RecordQuery) -> Result<Vec<MessageRow>, ApiError> {
        Ok(if query.after.is_none() { vec![message()] } else { Vec::new() })
    }

    async fn top(&self) -> Result<Top, ApiError> {
        let row = TopRow {
            account: "acme".to_owned(),
            class: "sip.invite".to_owned(),
            offered_per_sec: 25.0,
            admitted_per_sec: 20.0,
            refused_per_sec: 5.0,
            limit: "20/s burst 40".to_owned(),
            utilization: Some(1.0),
            baseline_per_sec: Some(12.5),
        };
        Ok(Top { at: noon(), rows: vec![row] })
    }

    async fn alerts(&self, query: &AlertQuery) -> Result<Vec<AlertView>, ApiError> {
        let resolved_only = query.open == Some(false);
        let another = query.account.as_deref().is_some_and(|account| account != "acme");
        Ok(if resolved_only || another || query.limit == Some(0) { Vec::new() } else { vec![view()] })
    }

    async fn alert(&self, id: &str) -> Result<AlertView, ApiError> {
        if id == alert().id { Ok(view()) } else { Err(unknown("alert", id)) }
    }

    async fn test_webhook(
        &self,
        actor: &Actor,
        request: TestWebhook,
    ) -> Result<Vec<TestWebhookResult>, ApiError> {
        self.write(actor, format!("test {:?}", request.endpoint));
        let good = |name: &str| TestWebhookResult {
            endpoint: name.to_owned(),
            ok: true,
            status: Some(204),
            error: String::new(),
            took_ms: 12,
        };
        let bad = |name: &str| TestWebhookResult {
            endpoint: name.to_owned(),
            ok: false,
            status: None,
            error: "connection refused".to_owned(),
            took_ms: 1,
        };
        Ok(match request.endpoint.as_deref() {
            Some(name @ "noc") => vec![good(name)],
            Some(name) => return Err(unknown("endpoint", name)),
            None => vec![good("noc"), bad("pager")],
        })
    }

    async fn plan(&self, request: PlanRequest) -> Result<PlanView, ApiError> {
        if request.config_path.as_deref().is_some_and(|path| path.ends_with("broken.toml")) {
            let mut error =
                ApiError::new("invalid_config", "2 problems in broken.toml", "nothing was changed");
            error.problems = vec!["mode: `x` is no mode".to_owned(), "ports: empty".to_owned()];
            return Err(error);
        }
        Ok(PlanView { changes: vec!["add account acme".to_owned()], ..PlanView::default() })
    }

    async fn reload(&self, actor: &Actor) -> Result<PlanView, ApiError> {
        self.write(actor, "reload".to_owned());
        Ok(PlanView { changes: vec!["add account acme".to_owned()], applied: true, ..PlanView::default() })
    }

    async fn detach(&self, actor: &Actor, request: Detach) -> Result<Detached, ApiError> {
        self.write(actor, format!("detach {}", request.reason));
        Ok(Detached { interfaces: vec!["eth0".to_owned()] })
    }

    async fn audit(&self, query: &AuditQuery) -> Result<Vec<AuditEntry>, ApiError> {
        let entry = AuditEntry {
            at: noon(),
            actor: "operator".to_owned(),
            action: "limit.set".to_owned(),
            subject: "acme account sip.invite".to_owned(),
            reason: "evening peak".to_owned(),
            before: "10/s burst 20".to_owned(),
            after: "20/s burst 40".to_owned(),
        };
        let asked = query.limit.unwrap_or(1);
        Ok(vec![entry; usize::try_from(asked.min(2)).unwrap()])
    }
}
