//! Deliveries: the queue's rules without a network, and the whole against a receiver on loopback.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod delivery;
mod queue;
mod receiver;

use jiff::{SignedDuration, Timestamp};

use crate::alert::{Alert, Evidence, Finding, Phase, Severity};

fn epoch() -> Timestamp {
    "2026-01-15T00:00:00Z".parse().unwrap()
}

fn at(second: i64) -> Timestamp {
    epoch() + SignedDuration::from_secs(second)
}

fn alert(id: &str, phase: Phase) -> Alert {
    Alert {
        id: id.to_owned(),
        phase,
        finding: Finding {
            rule: "spike".to_owned(),
            account: "acme".to_owned(),
            subject: "sip.invite".to_owned(),
            severity: Severity::Warning,
            observed: 90.0,
            threshold: 60.0,
            baseline: Some(20.0),
            unit: "messages/s".to_owned(),
            window_secs: 1,
            evidence: Vec::new(),
        },
        peak: 90.0,
        opened_at: at(0),
        at: at(0),
        action: "nothing (observe mode)".to_owned(),
    }
}

#[test]
fn a_body_is_a_standard_message_and_stays_below_its_bound_whatever_the_evidence() {
    let mut alert = alert("a", Phase::Updated);
    let body: serde_json::Value =
        serde_json::from_slice(&super::message::alert_body(&alert).unwrap()).unwrap();
    assert_eq!(body["type"], "alert.updated");
    assert_eq!(body["timestamp"], "2026-01-15T00:00:00Z");
    assert_eq!(body["data"]["finding"]["account"], "acme");

    let evidence =
        |n| Evidence { kind: "prefix".to_owned(), value: format!("+{n}"), messages: n, share: 0.1 };
    alert.finding.evidence = (0..10_000).map(evidence).collect();
    alert.action = "x".repeat(50_000);
    let body = super::message::alert_body(&alert).unwrap();
    assert!(body.len() <= super::message::MAX_BODY_BYTES, "{}", body.len());
    assert!(serde_json::from_slice::<serde_json::Value>(&body).is_ok());
}
