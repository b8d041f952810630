//! Alerts: what a detector found, as operators and webhooks see it.

mod book;

use serde::{Deserialize, Serialize};

pub use book::{Book, MAX_OPEN};

/// How much an alert matters; webhooks filter by it. Ordered: `Info < Warning < Critical`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Worth looking at today.
    Warning,
    /// Worth waking somebody.
    Critical,
}

impl Severity {
    /// The word used in configuration, metrics, command line and documents.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// Where an alert stands in its life; each step is delivered under the same [`Alert::id`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// First seen.
    Opened,
    /// Still on, and its figures changed enough to say so.
    Updated,
    /// Over.
    Resolved,
}

impl Phase {
    /// The word used in the API and, after `alert.`, as the type of a webhook.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::Updated => "updated",
            Self::Resolved => "resolved",
        }
    }

    /// Back from [`Self::name`].
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Opened, Self::Updated, Self::Resolved].into_iter().find(|phase| phase.name() == name)
    }
}

/// One value with its share, as evidence: a called prefix, a source.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// `prefix` (E.164 with `+`), `source` (an address or prefix), `caller_id` (a number with `+`) or
    /// `sender_id` (its first eight characters).
    pub kind: String,
    /// The prefix, the source, the number or the sender.
    pub value: String,
    /// Messages within the window; of a source, within the moment (0.3 s) after the finding.
    pub messages: u64,
    /// Part of all messages of that time, 0 to 1.
    pub share: f64,
}

/// What a detector says at one moment: the judgement, without identity or history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// Stable name of the rule: `spike`, `pumping`, `map_full`, …
    pub rule: String,
    /// The account's name.
    pub account: String,
    /// What within the account: a class (`sip.invite`), a called prefix; part of the alert's identity.
    pub subject: String,
    /// How much it matters.
    pub severity: Severity,
    /// The value that crossed the threshold, in `unit`.
    pub observed: f64,
    /// The value that it crossed, in `unit`.
    pub threshold: f64,
    /// What is usual for this account, in `unit`, where the rule knows one.
    pub baseline: Option<f64>,
    /// Unit of the three values: `messages/s`, `share`.
    pub unit: String,
    /// Seconds over which the value was observed.
    pub window_secs: u64,
    /// Most telling first.
    pub evidence: Vec<Evidence>,
}

/// What a detector says when something changes. Identity is [`Finding::key`]: rule, account, subject.
///
/// After `Open` come any number of `Update` and one `Resolve`, which carries the last finding before.
#[derive(Clone, Debug, PartialEq)]
pub enum Signal {
    /// Now on.
    Open(Finding),
    /// Still on, and its figures changed enough to say so.
    Update(Finding),
    /// Over.
    Resolve(Finding),
}

/// What makes two findings the same alert: rule, account, subject.
pub type Key = (String, String, String);

impl Finding {
    /// What makes this finding the same alert as another.
    #[must_use]
    pub fn key(&self) -> Key {
        (self.rule.clone(), self.account.clone(), self.subject.clone())
    }
}

impl Signal {
    /// The finding, whatever became of it.
    #[must_use]
    pub const fn finding(&self) -> &Finding {
        match self {
            Self::Open(finding) | Self::Update(finding) | Self::Resolve(finding) => finding,
        }
    }
}

/// An alert: a finding with identity and history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// Unique and stable from opened to resolved (UUID v7).
    pub id: String,
    /// Where it stands.
    pub phase: Phase,
    /// The latest finding; at `resolved`, the last one before.
    pub finding: Finding,
    /// Highest value observed so far.
    pub peak: f64,
    /// When it opened.
    pub opened_at: jiff::Timestamp,
    /// When this step was taken.
    pub at: jiff::Timestamp,
    /// What Edge did about it, in words: `limits in force: 20/s burst 40; 812 refused`, `nothing (observe mode)`.
    pub action: String,
}
