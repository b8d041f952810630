//! SMPP sessions under way.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// `GET /v1/binds?account=&limit=`, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LiveBindQuery {
    /// Only this account's.
    pub account: Option<String>,
    /// At most this many; 100 when missing.
    pub limit: Option<u32>,
}

/// One bind, from its request to its end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LiveBind {
    /// Names the bind as long as its connection lives: both ends of it.
    pub id: String,
    /// Account of the `system_id`, or of the source where no account has that; `unknown` where neither has one.
    pub account: String,
    /// As the client sent it; octets that are no ASCII graphics as `?`.
    pub system_id: String,
    /// `transmitter`, `receiver` or `transceiver`.
    pub bind_type: String,
    /// `requested` until the server has said yes, then `bound`.
    pub state: String,
    /// The client's address and port.
    pub source: String,
    /// The server's address.
    pub server: String,
    /// The server's port.
    pub server_port: u16,
    /// Seconds since the bind was requested.
    pub age_secs: u64,
    /// When it was requested.
    pub requested_at: Timestamp,
    /// When the server said yes.
    pub bound_at: Option<Timestamp>,
    /// When the client was last heard; missing where the connection has lost its place in the table of flows.
    pub heard_at: Option<Timestamp>,
    /// Messages that have passed on this connection, those refused in SMPP's words included.
    pub submitted: u32,
    /// Responses to them that have come.
    pub responded: u32,
    /// Messages that wait for their responses: how much of its window the client uses.
    pub outstanding: u32,
    /// Milliseconds that the server took for the client's last `enquire_link`; missing before the first.
    pub server_link_ms: Option<f64>,
    /// Milliseconds that the client took for the server's last `enquire_link`, the way there and back included.
    pub client_link_ms: Option<f64>,
    /// Messages refused in SMPP's words on this connection; what is dropped is counted by account only.
    pub refused: u32,
    /// Of those, how many the server has answered.
    pub answered: u32,
    /// Of those, how many answers could not be changed, or were taken for another.
    pub unmatched: u32,
}

/// One SMPP port, and how its refusals go. Counts are of messages, since the maps were made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerStatus {
    /// TCP port.
    pub port: u16,
    /// What is spoken on it: `smpp` or `sip`.
    pub protocol: String,
    /// What is configured: `drop`, `native` or `observe`.
    pub refusal: String,
    /// Refused in the protocol's own words.
    pub refused: u64,
    /// Of those, answered by the server.
    pub answered: u64,
    /// Of those answers, not to be changed or taken for another.
    pub unmatched: u64,
    /// Refused and not answered yet.
    pub waiting: u64,
    /// Since when it drops in place of answering, because the server left refusals unanswered; until `edgectl reload`.
    pub fallen_back_at: Option<Timestamp>,
}
