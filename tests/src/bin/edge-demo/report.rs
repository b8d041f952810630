//! How it went: a table for people, one JSON object for machines.

use anyhow::Result;
use comfy_table::{CellAlignment, Table, presets::UTF8_FULL_CONDENSED};
use serde_json::{Value, json};

use crate::cast::PeerCounts;
use crate::counts::{Counts, Look};
use crate::throttled::Throttled;

/// An alert that arrived by webhook.
pub(crate) struct Opened {
    /// `spike`, `pumping`.
    pub(crate) rule: String,
    /// Account.
    pub(crate) account: String,
    /// What within the account.
    pub(crate) subject: String,
    /// Milliseconds from the beginning of the phase that it opened in.
    pub(crate) after_onset_ms: u64,
}

/// Everything that is told at the end.
pub(crate) struct Report {
    /// As the kernel saw it.
    pub(crate) total: Look,
    /// As SIPp reports it.
    pub(crate) sip_peer: PeerCounts,
    /// As SIPp reports it of the phase with more calls at once than there may be.
    pub(crate) at_once: PeerCounts,
    /// As the SMPP client reports it.
    pub(crate) smpp_peer: PeerCounts,
    /// How the SMPP client fared when it sent far too much.
    pub(crate) throttled: Throttled,
    /// Alerts.
    pub(crate) opened: Vec<Opened>,
    /// Webhooks that arrived.
    pub(crate) delivered: usize,
    /// Whether there were some, and all of them were signed with our secret.
    pub(crate) is_signature_valid: bool,
    /// `native` or `generic`.
    pub(crate) xdp_mode: String,
}

impl Report {
    /// Prints it; `true` if the demo showed everything that it is for.
    pub(crate) fn print(&self, is_json: bool) -> Result<bool> {
        if is_json {
            eprintln!("{}", self.table());
            println!("{}", serde_json::to_string(&self.json())?);
        } else {
            println!("{}", self.table());
        }
        let missing = self.missing();
        for thing in &missing {
            eprintln!("NOT SHOWN: {thing}");
        }
        Ok(missing.is_empty())
    }

    /// What the demo should have shown and did not.
    fn missing(&self) -> Vec<&'static str> {
        let has_opened = |rule: &str| self.opened.iter().any(|alert| alert.rule == rule);
        let shown = [
            (self.total.sip.refused > 0, "refused SIP calls"),
            (self.total.smpp.refused > 0, "refused SMPP messages"),
            (self.total.refused_calls > 0, "calls refused for the limit on calls at once"),
            (self.at_once.refused >= self.total.refused_calls, "a 503 for each of these, as SIPp counts"),
            (self.at_once.ok > 0, "calls that hold while others are refused"),
            (self.sip_peer.ok > 0, "successful SIP calls"),
            (self.smpp_peer.ok > 0, "successful SMPP messages"),
            (self.throttled.peer.refused > 0, "messages answered ESME_RTHROTTLED"),
            (
                self.throttled.is_answered(self.smpp_peer),
                "an answer to every message, each in the client's log",
            ),
            (self.throttled.is_exact(), "as many messages accepted as the limit allows, to the message"),
            (
                self.throttled.received == self.smpp_peer.ok,
                "as many messages at the server as the client was told",
            ),
            (
                self.total.smpp.admitted == self.smpp_peer.ok,
                "the kernel's count of messages equal to the peers'",
            ),
            (has_opened("spike"), "a spike alert"),
            (has_opened("pumping"), "a pumping alert"),
            (self.is_signature_valid, "webhooks with a valid signature"),
        ];
        shown.into_iter().filter(|(is_shown, _)| !is_shown).map(|(_, thing)| thing).collect()
    }

    fn table(&self) -> String {
        let mut counts = Table::new();
        counts.load_preset(UTF8_FULL_CONDENSED);
        counts.set_header(["", "offered", "admitted", "refused", "peer sent", "peer ok", "peer refused"]);
        for (name, kernel, peer) in
            [("SIP calls", self.total.sip, self.sip_peer), ("SMPP messages", self.total.smpp, self.smpp_peer)]
        {
            let figures =
                [kernel.offered(), kernel.admitted, kernel.refused, peer.sent, peer.ok, peer.refused];
            counts.add_row(std::iter::once(name.to_owned()).chain(figures.map(|figure| figure.to_string())));
        }
        for column in counts.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        let mut alerts = Table::new();
        alerts.load_preset(UTF8_FULL_CONDENSED);
        alerts.set_header(["alert", "account", "what", "opened after"]);
        for alert in &self.opened {
            alerts.add_row([
                alert.rule.clone(),
                alert.account.clone(),
                alert.subject.clone(),
                format!("{} ms", alert.after_onset_ms),
            ]);
        }
        let signature = if self.is_signature_valid { "all signatures valid" } else { "SIGNATURES NOT VALID" };
        format!(
            "\n{counts}\n{alerts}\ncalls at once, at most {}: SIPp began {}, {} were answered, {} got 503; the kernel refused {}\n\
             {}\n\
             webhooks delivered: {}, {signature}; XDP mode: {}\n\
             Offered, admitted and refused are the kernel's: a call that was refused and is sent again counts again.",
            self.total.calls_max,
            self.at_once.sent,
            self.at_once.ok,
            self.at_once.refused,
            self.total.refused_calls,
            self.throttled.told(self.smpp_peer),
            self.delivered,
            self.xdp_mode
        )
    }

    fn json(&self) -> Value {
        let class = |kernel: Counts, peer: PeerCounts, refused: &str| {
            json!({
                "offered": kernel.offered(),
                "admitted": kernel.admitted,
                "refused": kernel.refused,
                "peer_sent": peer.sent,
                "peer_ok": peer.ok,
                refused: peer.refused,
            })
        };
        let alerts: Vec<Value> = self
            .opened
            .iter()
            .map(|alert| {
                json!({
                    "rule": alert.rule,
                    "account": alert.account,
                    "opened_after_ms": alert.after_onset_ms,
                })
            })
            .collect();
        json!({
            "sip": class(self.total.sip, self.sip_peer, "peer_503"),
            "smpp": class(self.total.smpp, self.smpp_peer, "peer_throttled"),
            "calls_at_once": {
                "limit": self.total.calls_max,
                "refused": self.total.refused_calls,
                "peer_sent": self.at_once.sent,
                "peer_ok": self.at_once.ok,
                "peer_503": self.at_once.refused,
            },
            "smpp_spike": self.throttled.json(),
            "alerts": alerts,
            "webhook": { "delivered": self.delivered, "signature_valid": self.is_signature_valid },
            "xdp_mode": self.xdp_mode,
        })
    }
}
