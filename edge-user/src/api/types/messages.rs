//! Messages of SMPP that were answered, one record each, and what they add up to.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// `GET /v1/messages?account=&full=&limit=`, newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MessageQuery {
    /// Only this account's.
    pub account: Option<String>,
    /// Numbers as far as `records.numbers` keeps them; without it, all but the last four digits.
    pub full: Option<bool>,
    /// At most this many; 100 when missing.
    pub limit: Option<u32>,
}

/// One message that was answered: `GET /v1/messages`, and `GET /v1/messages/records` in the order in which they were
/// written ([`super::RecordQuery`]).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageRow {
    /// Grows with each record.
    pub seq: u64,
    /// Account of the bind; `unknown` where none has it.
    pub account: String,
    /// By whose bind it came; empty where that is not known.
    pub system_id: String,
    /// The client's end of the connection.
    pub source: String,
    /// `submit_sm`, `submit_multi` or `data_sm`.
    pub command: String,
    /// `sequence_number` of request and response.
    pub sequence: u32,
    /// Sender: digits, as much of them as `records.numbers` keeps, or a sender ID in letters. Empty where it was not
    /// seen.
    pub from: String,
    /// Type of number (SMPP 3.4, 5.2.5); 5 is alphanumeric. Missing where the address was not seen.
    pub from_ton: Option<u32>,
    /// Receiver, likewise; of `submit_multi` the first.
    pub to: String,
    /// Type of number of the receiver, likewise.
    pub to_ton: Option<u32>,
    /// Receivers: 1, or as many as `submit_multi` names.
    pub destinations: u32,
    /// Which part of a long message it is, from 1; 0 where it is none or does not say so in its first octets.
    pub part: u32,
    /// Of how many parts; 0 likewise.
    pub parts: u32,
    /// `data_coding` (SMPP 3.4, 5.2.19), where it was seen.
    pub data_coding: Option<u32>,
    /// When it passed, or was refused.
    pub submitted_at: Timestamp,
    /// From there to its response, in milliseconds to the microsecond.
    #[serde(rename = "latency_ms", with = "milliseconds")]
    pub latency: Duration,
    /// `accepted` or `rejected` by the server, or `refused` by Edge, in which case the server never saw it.
    pub outcome: String,
    /// `command_status` of the response.
    pub status: u32,
    /// Its name, such as `ESME_RTHROTTLED`, where SMPP 3.4 (5.1.3) has one.
    pub status_name: Option<String>,
}

/// `GET /v1/messages/stats?account=&since=`: what the records of one account add up to. Times are from a message to the
/// server's response, in milliseconds, and missing where there were none; what Edge refused is not in them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MessageStats {
    /// Account.
    pub account: String,
    /// Records, the sum of what follows.
    pub records: u64,
    /// Messages that the server took.
    pub accepted: u64,
    /// Messages that it did not take, by `command_status`: its name, or its number (`0x00000400`).
    pub rejected: BTreeMap<String, u64>,
    /// Messages that Edge refused.
    pub refused: u64,
    /// Half of the responses took at most this long; to 2 %, as those that follow.
    pub p50_ms: Option<f64>,
    /// Nine of ten.
    pub p90_ms: Option<f64>,
    /// All but one of a hundred.
    pub p99_ms: Option<f64>,
    /// The slowest, exactly.
    pub max_ms: Option<f64>,
}

/// A time as milliseconds, to the microsecond.
mod milliseconds {
    use std::time::Duration;

    use serde::{Deserialize as _, Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(crate::figures::milliseconds(*time))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let milliseconds = f64::deserialize(deserializer)?;
        Duration::try_from_secs_f64(milliseconds / 1e3).map_err(de::Error::custom)
    }
}
