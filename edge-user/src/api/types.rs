//! Requests and responses of the control API, version 1: one module for daemon and command line.
//!
//! Paths are under `/v1`. Times are RFC 3339 in UTC, rates are in the one rate syntax ([`crate::rate`]),
//! sources are CIDR, classes are the names of [`edge_ebpf::abi::Class`].

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::alert::Alert;

mod binds;
mod calls;
mod limits;
mod messages;

pub use binds::{ListenerStatus, LiveBind, LiveBindQuery};
pub use calls::{
    CallRow, CallStats, CallsStatus, DropSlot, LiveCall, LiveCallQuery, RecordQuery, Resume, StatsQuery,
    Suspend, Suspension, TrunkView,
};
pub use limits::{LimitChange, LimitQuery, LimitView, Scope, SetLimit, UnsetLimit};
pub use messages::{MessageQuery, MessageRow, MessageStats};

/// What went wrong, with what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiError {
    /// Stable, for machines: `unknown_account`, `invalid_rate`, `invalid_config`, `store_unavailable`, …
    pub code: String,
    /// One sentence of fact.
    pub message: String,
    /// One sentence of advice, possibly empty.
    pub advice: String,
    /// For `invalid_config`: every problem, one line each.
    #[serde(default)]
    pub problems: Vec<String>,
}

impl ApiError {
    /// An error with a code, a fact and an advice (possibly empty).
    #[must_use]
    pub fn new(code: &str, message: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { code: code.to_owned(), message: message.into(), advice: advice.into(), problems: Vec::new() }
    }

    /// The HTTP status that the code stands for; the code's first or last word decides:
    /// `bad_…` 400, `forbidden` 403, `unknown_…` 404, `not_allowed` 405, `conflict` and `conflicting_…` 409,
    /// `too_large` 413, `invalid_…` 422, `…_unavailable` and `timeout` 503, everything else 500.
    #[must_use]
    pub fn http_status(&self) -> u16 {
        match self.code.as_str() {
            "forbidden" => 403,
            "not_allowed" => 405,
            "conflict" => 409,
            "too_large" => 413,
            "timeout" => 503,
            code if code.starts_with("bad_") => 400,
            code if code.starts_with("unknown_") => 404,
            code if code.starts_with("conflicting_") => 409,
            code if code.starts_with("invalid_") => 422,
            code if code.ends_with("_unavailable") => 503,
            _ => 500,
        }
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ApiError {}

/// `GET /v1/status`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Version of the daemon.
    pub version: String,
    /// Version of the contract with the kernel programs.
    pub abi_version: u32,
    /// When the daemon started.
    pub started_at: Timestamp,
    /// When configuration was last applied.
    pub config_applied_at: Timestamp,
    /// The configuration file.
    pub config_path: String,
    /// The last reload that was refused, if none has succeeded since.
    pub config_error: Option<String>,
    /// `enforce` or `observe`, for the whole edge.
    pub mode: String,
    /// One entry an interface.
    pub interfaces: Vec<InterfaceStatus>,
    /// Accounts installed, the one of unknown sources included.
    pub accounts: u64,
    /// Packets by outcome since the maps were made; outcomes of zero are left out.
    pub outcomes: BTreeMap<String, u64>,
    /// Packets seen: the sum of the outcomes.
    pub packets: u64,
    /// Calls under way.
    pub calls: CallsStatus,
    /// SMPP ports.
    pub listeners: Vec<ListenerStatus>,
    /// Maps, how full they are.
    pub maps: Vec<MapStatus>,
    /// Alerts open now.
    pub alerts_open: u64,
    /// Deliveries waiting in the outbox.
    pub outbox_pending: u64,
    /// Events lost because the ring buffer was full.
    pub events_lost: u64,
    /// `ok`, or what is wrong with the database.
    pub store: String,
}

/// One interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfaceStatus {
    /// Name.
    pub name: String,
    /// `native`, `generic`, or `absent` while the interface is gone.
    pub xdp_mode: String,
    /// The mode that was asked for: `native`, `generic`, `auto`.
    pub requested_mode: String,
    /// Why the mode is not native, where it is not.
    pub reason: Option<String>,
    /// How the way out is heard: `tcx`, `clsact`, or `none`.
    pub egress: String,
    /// Whether the link is pinned, so that enforcement outlives the daemon.
    pub pinned: bool,
    /// The last time since the daemon's start that somebody else took Edge off and it was put right.
    pub repaired: Option<Repair>,
}

/// What somebody else did to an interface, and what Edge did about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repair {
    /// When it was found.
    pub at: Timestamp,
    /// What was found.
    pub found: String,
    /// What was done.
    pub done: String,
}

/// One map.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MapStatus {
    /// Name in the object file.
    pub name: String,
    /// Entries in use, where that can be told cheaply.
    pub entries: Option<u64>,
    /// Room.
    pub capacity: u64,
}

/// `GET /v1/accounts`: one line each.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AccountSummary {
    /// Name.
    pub name: String,
    /// Plan.
    pub plan: String,
    /// `enforce` or `observe`, as it holds: observe for the whole edge goes before the account's own.
    pub mode: String,
    /// Number of source prefixes.
    pub sources: u64,
    /// Messages by allowance, all classes but `packets` together.
    pub messages: BTreeMap<String, u64>,
    /// Alerts open now.
    pub alerts_open: u64,
}

/// `GET /v1/accounts/{name}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AccountDetail {
    /// Name.
    pub name: String,
    /// Plan.
    pub plan: String,
    /// `enforce` or `observe`, as it holds: observe for the whole edge goes before the account's own.
    pub mode: String,
    /// Source prefixes, CIDR.
    pub sources: Vec<String>,
    /// SMPP system ids.
    pub system_ids: Vec<String>,
    /// Leading digits of the caller IDs that it may show; empty where they are not checked.
    pub caller_ids: Vec<String>,
    /// What becomes of calls that show others: `off`, `count` or `refuse`.
    pub caller_id_mode: String,
    /// Calls and messages that have shown others.
    pub caller_id_violations: u64,
    /// Sender IDs that its SMPP messages may show, digits for all that begin so; empty where they are not checked.
    pub sender_ids: Vec<String>,
    /// What becomes of messages that show others: `off`, `count` or `refuse`.
    pub sender_id_mode: String,
    /// SMPP messages that have shown others.
    pub sender_id_violations: u64,
    /// Every class, with the limits in force and where they come from.
    pub limits: Vec<LimitView>,
    /// Calls that hold a slot now.
    pub calls_active: u64,
    /// Most calls at once; 0 is no limit.
    pub calls_max: u32,
    /// Calls by what became of them; zeros left out.
    pub calls: BTreeMap<String, u64>,
    /// What calls that ended since the daemon's start add up to.
    pub stats: CallStats,
    /// What records of messages since the daemon's start add up to.
    pub message_stats: MessageStats,
    /// Trunks, by name.
    pub trunks: Vec<TrunkView>,
    /// Why, by whom and until when the account is suspended, if it is.
    pub suspension: Option<Suspension>,
    /// Class to allowance to messages.
    pub messages: BTreeMap<String, BTreeMap<String, u64>>,
    /// SIP messages by method or status class; zeros left out.
    pub sip: BTreeMap<String, u64>,
    /// SMPP PDUs by command; zeros left out.
    pub smpp: BTreeMap<String, u64>,
    /// The server's responses to SMPP messages by kind of status; zeros left out.
    pub responses: BTreeMap<String, u64>,
    /// Delivery receipts by what they say; zeros left out.
    pub receipts: BTreeMap<String, u64>,
    /// Alerts open now.
    pub alerts: Vec<Alert>,
}

/// What a source prefix is told by hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MeasureKind {
    /// Every packet to our ports is dropped.
    Ban,
    /// Counted, never refused.
    Allow,
}

/// `GET /v1/measures`: a list of these.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measure {
    /// CIDR.
    pub prefix: String,
    /// What.
    pub kind: MeasureKind,
    /// User name of the peer on the socket, or `edge` for an automatic one.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// When.
    pub set_at: Timestamp,
    /// When it lifts itself; `None` means never.
    pub expires_at: Option<Timestamp>,
}

/// `PUT /v1/measures`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetMeasure {
    /// CIDR or a single address.
    pub prefix: String,
    /// What.
    pub kind: MeasureKind,
    /// Seconds after which it lifts itself.
    pub for_secs: Option<u64>,
    /// Why; kept in the audit.
    pub reason: String,
}

/// `POST /v1/measures/unset`: lifts a ban or an allowance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnsetMeasure {
    /// CIDR or a single address.
    pub prefix: String,
    /// Why; kept in the audit.
    pub reason: String,
}

/// `GET /v1/top`: rates over the last second, busiest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Top {
    /// When the counters were read that the rates come from; before the first reading, when the daemon started.
    pub at: Timestamp,
    /// Accounts with traffic.
    pub rows: Vec<TopRow>,
}

/// One account and class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TopRow {
    /// Account.
    pub account: String,
    /// Class.
    pub class: String,
    /// Offered messages per second: admitted, refused and observed.
    pub offered_per_sec: f64,
    /// Admitted messages per second, observed included.
    pub admitted_per_sec: f64,
    /// Refused messages per second.
    pub refused_per_sec: f64,
    /// The account's limit, in the rate syntax.
    pub limit: String,
    /// Admitted over limit, 0 to 1 and beyond; `None` without a limit.
    pub utilization: Option<f64>,
    /// The account's usual rate, where the spike detector knows one.
    pub baseline_per_sec: Option<f64>,
}

/// `GET /v1/alerts?open=true&account=NAME&limit=N`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AlertQuery {
    /// Only those that are open (`true`) or resolved (`false`); both when missing.
    pub open: Option<bool>,
    /// Only this account's.
    pub account: Option<String>,
    /// At most this many; 100 when missing.
    pub limit: Option<u32>,
}

/// `GET /v1/alerts`, newest first; `GET /v1/alerts/{id}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AlertView {
    /// The alert as it stands.
    pub alert: Alert,
    /// Where it was delivered to.
    pub deliveries: Vec<DeliveryView>,
}

/// One delivery of one step of an alert to one endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveryView {
    /// Message id (`webhook-id`).
    pub id: String,
    /// Endpoint's name.
    pub endpoint: String,
    /// `opened`, `updated`, `resolved`.
    pub phase: String,
    /// `pending`, `delivered`, `failed`.
    pub state: String,
    /// Attempts made.
    pub attempts: u32,
    /// The last failure.
    pub last_error: Option<String>,
    /// When the next attempt is due, or when it was delivered.
    pub at: Timestamp,
}

/// `POST /v1/webhooks/test`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TestWebhook {
    /// Endpoint's name; all of them when missing.
    pub endpoint: Option<String>,
}

/// One endpoint's answer to a test.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TestWebhookResult {
    /// Endpoint's name.
    pub endpoint: String,
    /// Whether it answered 2xx.
    pub ok: bool,
    /// HTTP status, where there was one.
    pub status: Option<u16>,
    /// What went wrong, or an empty string.
    pub error: String,
    /// Milliseconds until the answer.
    pub took_ms: u64,
}

/// `POST /v1/plan` (dry run) and `POST /v1/reload` answer with this.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanView {
    /// One line a change, as a person reads it; empty when nothing changes.
    pub changes: Vec<String>,
    /// Whether it was applied.
    pub applied: bool,
    /// Interfaces that refuse now as they did before the reload, one sentence each; one that refuses what is new has the
    /// reload refused.
    #[serde(default)]
    pub failed: Vec<String>,
}

/// `POST /v1/plan`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanRequest {
    /// The file to compare with what is installed; the daemon's own when missing.
    pub config_path: Option<String>,
}

/// `POST /v1/detach`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Detach {
    /// Why; kept in the audit.
    pub reason: String,
}

/// `POST /v1/detach` answers with this.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Detached {
    /// Interfaces that no program of Edge is attached to any more.
    pub interfaces: Vec<String>,
}

/// `GET /v1/audit?limit=N`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditQuery {
    /// At most this many; 100 when missing.
    pub limit: Option<u32>,
}

/// `GET /v1/audit`, newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// When.
    pub at: Timestamp,
    /// User name of the peer on the socket, or `edge`.
    pub actor: String,
    /// `limit.set`, `limit.unset`, `limit.expired`, `measure.set`, `measure.unset`, `measure.expired`,
    /// `account.suspended`, `account.resumed`, `account.expired`, `call.slot_dropped`, `calls.corrected`, `config.applied`, `config.refused`, `detach`, …
    pub action: String,
    /// What it was done to.
    pub subject: String,
    /// Why.
    pub reason: String,
    /// State before, in words.
    pub before: String,
    /// State after, in words.
    pub after: String,
}
