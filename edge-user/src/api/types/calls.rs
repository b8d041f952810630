//! Calls under way and calls that are over, and accounts that may make none.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// `GET /v1/suspensions`: a list of these. Requests outside dialogs of a suspended account are refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suspension {
    /// Account.
    pub account: String,
    /// User name of the peer on the socket.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// When.
    pub set_at: Timestamp,
    /// When it ends by itself; `None` means never.
    pub expires_at: Option<Timestamp>,
}

/// `PUT /v1/suspensions`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Suspend {
    /// Account.
    pub account: String,
    /// Seconds after which it ends by itself.
    pub for_secs: Option<u64>,
    /// Why; kept in the audit.
    pub reason: String,
}

/// `POST /v1/suspensions/unset`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resume {
    /// Account.
    pub account: String,
    /// Why; kept in the audit.
    pub reason: String,
}

/// `GET /v1/calls/records?account=&since=&after=&limit=`, in the order in which they were written; `GET
/// /v1/messages/records` likewise.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordQuery {
    /// Only this account's.
    pub account: Option<String>,
    /// Only calls that ended, messages that were submitted, at this moment or later.
    pub since: Option<Timestamp>,
    /// Only records after this `seq`: the next page.
    pub after: Option<u64>,
    /// At most this many; 100 when missing.
    pub limit: Option<u32>,
}

/// One call that is over, or was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallRow {
    /// Grows with each record.
    pub seq: u64,
    /// Account; `unknown` for sources without one.
    pub account: String,
    /// Trunk; empty where the source belongs to none.
    pub trunk: String,
    /// Where the INVITE came from.
    pub source: String,
    /// Caller, in digits, as much of it as `records.numbers` keeps.
    pub from: String,
    /// Called, likewise.
    pub to: String,
    /// When the INVITE came.
    pub setup_at: Timestamp,
    /// When it rang.
    pub ring_at: Option<Timestamp>,
    /// When it was answered.
    pub answer_at: Option<Timestamp>,
    /// When it ended or was refused.
    pub end_at: Timestamp,
    /// The SIP status that ended it; 0 where nothing was said.
    pub status: u32,
    /// `completed`, `cancelled`, `busy`, `failed`, `refused_rate`, `refused_calls`, `refused_suspended`, …
    pub cause: String,
    /// `caller`, `callee`, `edge` or `sweep`.
    pub ended_by: String,
}

/// `GET /v1/calls?account=&full=&limit=`, longest first; `GET /v1/calls/{id}?full=`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LiveCallQuery {
    /// Only this account's.
    pub account: Option<String>,
    /// Numbers as far as `records.numbers` keeps them; without it, all but the last four digits.
    pub full: Option<bool>,
    /// At most this many; 100 when missing.
    pub limit: Option<u32>,
}

/// One call that holds a slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveCall {
    /// Names the call as long as it holds a slot.
    pub id: String,
    /// Account; `unknown` for sources without one.
    pub account: String,
    /// The trunk whose slot it holds.
    pub trunk: Option<String>,
    /// Where the INVITE came from.
    pub source: String,
    /// `proceeding`, `answered` or `dropped`.
    pub state: String,
    /// Seconds since the INVITE came.
    pub age_secs: u64,
    /// Caller, in digits.
    pub from: String,
    /// Called, in digits.
    pub to: String,
    /// When the INVITE came.
    pub setup_at: Timestamp,
    /// When it rang.
    pub ring_at: Option<Timestamp>,
    /// When it was answered.
    pub answer_at: Option<Timestamp>,
    /// When it was last heard of.
    pub heard_at: Timestamp,
    /// Session-Expires in force, in seconds.
    pub session_expires_secs: Option<u32>,
    /// Slots held: one, and one for each further INVITE under the same Call-ID.
    pub slots: u32,
}

/// `POST /v1/calls/drop`: takes the slot back; the call itself goes on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DropSlot {
    /// The call's.
    pub id: String,
    /// Why; kept in the audit.
    pub reason: String,
}

/// `GET /v1/calls/stats?account=&since=`, `GET /v1/messages/stats` likewise.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StatsQuery {
    /// Only this account's.
    pub account: Option<String>,
    /// Only calls that ended, messages that were submitted, at this moment or later.
    pub since: Option<Timestamp>,
}

/// What the calls of one account add up to. A figure is missing where there was nothing to divide by.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CallStats {
    /// Account.
    pub account: String,
    /// Calls that reached the server: all but those that Edge refused.
    pub attempts: u64,
    /// Those that were answered.
    pub answered: u64,
    /// Calls that Edge refused.
    pub refused: u64,
    /// Answer-seizure ratio: answered over attempts, 0 to 1 (ITU-T E.425).
    pub asr: Option<f64>,
    /// Network effectiveness ratio: attempts that the network carried, busy and given up included, over attempts.
    pub ner: Option<f64>,
    /// Average call duration of answered calls, in seconds.
    pub acd_secs: Option<f64>,
    /// Share of answered calls that lasted less than six seconds, 0 to 1.
    pub short_share: Option<f64>,
    /// Post-dial delay: average time from INVITE to ringing, in seconds.
    pub pdd_secs: Option<f64>,
    /// Calls by cause.
    pub causes: BTreeMap<String, u64>,
}

/// Calls under way, over all accounts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallsStatus {
    /// Slots that are counted now.
    pub counted: u64,
    /// Slots of the entries, when they were last walked.
    pub held: u64,
    /// When that was.
    pub walked_at: Option<Timestamp>,
    /// Slots put right since the daemon's start, because count and entries differed lastingly.
    pub corrected: u64,
}

/// One trunk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrunkView {
    /// Name.
    pub name: String,
    /// Source prefixes, CIDR.
    pub sources: Vec<String>,
    /// Calls that hold a slot now.
    pub calls_active: u64,
    /// Most calls at once; 0 is no limit.
    pub calls_max: u32,
    /// Calls refused because none was left.
    pub refused: u64,
}
