//! Calls that are over, and accounts that may make none.

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

/// `GET /v1/calls/records?account=&since=&after=&limit=`, in the order in which they were written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordQuery {
    /// Only this account's.
    pub account: Option<String>,
    /// Only calls that ended at this moment or later.
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
