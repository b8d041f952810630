//! The body of a message, made once and kept byte for byte.

use serde::Serialize;

use crate::alert::Alert;

/// Bytes of a body at most (Standard Webhooks 1.0, "Payload size").
pub(super) const MAX_BODY_BYTES: usize = 20_000;
/// Characters of [`Alert::action`] that are kept when an alert is too large.
const SHORT_ACTION_CHARS: usize = 1_000;

/// Standard Webhooks 1.0, "Payload structure".
#[derive(Serialize)]
pub(super) struct Message<T> {
    /// `alert.opened`, …
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) timestamp: jiff::Timestamp,
    pub(super) data: T,
}

/// An alert's step. Evidence is left out from its end if the body would be too large otherwise: what matters
/// most is at its start.
pub(super) fn alert_body(alert: &Alert) -> Result<Vec<u8>, serde_json::Error> {
    let mut alert = alert.clone();
    let mut body = encode(&alert)?;
    while body.len() > MAX_BODY_BYTES && !alert.finding.evidence.is_empty() {
        alert.finding.evidence.truncate(alert.finding.evidence.len() / 2);
        body = encode(&alert)?;
    }
    if body.len() > MAX_BODY_BYTES {
        alert.action = alert.action.chars().take(SHORT_ACTION_CHARS).collect();
        body = encode(&alert)?;
    }
    Ok(body)
}

fn encode(alert: &Alert) -> Result<Vec<u8>, serde_json::Error> {
    let kind = format!("alert.{}", alert.phase.name());
    serde_json::to_vec(&Message { kind, timestamp: alert.at, data: alert })
}
