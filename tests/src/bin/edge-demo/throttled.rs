//! Messages over the limit, as the SMPP client was told of them, beside what the limit allows.

use edge_user::rate::Rate;
use serde_json::{Value, json};

use crate::cast::PeerCounts;

/// Lines of the client's log that are shown.
const LINES: usize = 3;

/// How the SMPP client fared when it sent far too much.
pub(crate) struct Throttled {
    /// What it sent, in messages a second.
    pub(crate) offered_per_sec: u32,
    /// What the account may send, as it is written.
    pub(crate) limit: String,
    /// What the client says of that phase.
    pub(crate) peer: PeerCounts,
    /// Its log of refused messages, of all phases.
    pub(crate) said: Vec<String>,
    /// Messages that the server has had, of all phases.
    pub(crate) received: u64,
}

impl Throttled {
    /// Whether every message was answered, and each refusal is in the client's log.
    pub(crate) fn is_answered(&self, total: PeerCounts) -> bool {
        total.ok + total.refused == total.sent && count(&self.said) == total.refused
    }

    /// Whether as many were accepted as burst and rate allow, to the message. The bucket was full: the phase before stays
    /// within the limit.
    pub(crate) fn is_exact(&self) -> bool {
        self.allowed().is_some_and(|allowed| (as_f64(self.peer.ok) - allowed).abs() <= 1.0)
    }

    /// What burst and rate allow from the client's first message to its last.
    fn allowed(&self) -> Option<f64> {
        let limit = self.limit.parse::<Rate>().ok()?.to_limit();
        let messages = |ns: f64| ns / as_f64(limit.interval_ns);
        Some(messages(as_f64(limit.burst_ns)) + messages(self.peer.secs * 1e9))
    }

    /// For people.
    pub(crate) fn told(&self, total: PeerCounts) -> String {
        let PeerCounts { sent, ok, refused, secs } = self.peer;
        let (limit, allowed) = (&self.limit, self.allowed().unwrap_or(f64::NAN));
        let mut told = format!(
            "SMPP at {}/s for {secs:.2} s, limit {limit}: of {sent} messages {ok} were accepted (burst + rate x time = \
             {allowed:.1}),\n{refused} answered ESME_RTHROTTLED; in all the server had {}, the client was told yes {} times. \
             Its log, {} lines such as",
            self.offered_per_sec,
            self.received,
            total.ok,
            self.said.len(),
        );
        for line in self.said.iter().take(LINES) {
            told.push_str("\n  | ");
            told.push_str(line);
        }
        told
    }

    /// For machines.
    pub(crate) fn json(&self) -> Value {
        json!({
            "limit": self.limit,
            "secs": self.peer.secs,
            "peer_sent": self.peer.sent,
            "peer_ok": self.peer.ok,
            "peer_throttled": self.peer.refused,
            "allowed": self.allowed(),
            "server_received": self.received,
        })
    }
}

fn count(lines: &[String]) -> u64 {
    u64::try_from(lines.len()).unwrap_or(u64::MAX)
}

#[expect(clippy::cast_precision_loss, reason = "counts and nanoseconds of a minute are far below 2^53")]
fn as_f64(count: u64) -> f64 {
    count as f64
}
