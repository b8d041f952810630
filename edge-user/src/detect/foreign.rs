//! Caller IDs and sender IDs: an account shows some that are none of its own. One rule for each.
//!
//! 1. The kernel counts each such call and message, and tells some of what they showed ([`EventKind::ForeignCaller`],
//!    [`EventKind::ForeignSender`]).
//! 2. An alert opens when an account has had `threshold` of them within `window`, and resolves when it has had none
//!    for [`QUIET`]: a wrong caller ID that is shown now and then is a mistake that has not been put right.

use std::collections::{BTreeMap, VecDeque};

use edge_ebpf::abi::{AccountCounters, Event, EventKind};
use jiff::{SignedDuration, Timestamp};

use super::pace::Pace;
use super::spike::as_f64;
use super::{AccountSnapshot, Snapshot};
use crate::alert::{Evidence, Finding, Signal};
use crate::config;

/// Name of the rule about callers.
pub const CALLER_ID: &str = "caller_id";
/// Name of the rule about senders of SMPP messages.
pub const SENDER_ID: &str = "sender_id";

/// The alert is over when there was no violation for that long.
const QUIET: SignedDuration = SignedDuration::from_mins(5);
/// Numbers or senders shown as evidence, and remembered of an account.
const EVIDENCE: usize = 5;

/// What is shown.
#[derive(Clone, Copy, Debug)]
pub(super) enum Shown {
    Callers,
    Senders,
}

/// The detector's memory.
#[derive(Debug)]
pub(super) struct Foreign {
    shown: Shown,
    /// By account.
    accounts: BTreeMap<String, Account>,
    /// Numbers or senders told of late, the latest last, by the account's number in the kernel.
    told: BTreeMap<u32, VecDeque<String>>,
    /// Whose numbers these were at the last look.
    names: BTreeMap<u32, String>,
}

#[derive(Debug, Default)]
struct Account {
    /// The counter at the last look.
    count: Option<u64>,
    /// Violations within the window, by when they were seen.
    seen: VecDeque<(Timestamp, u64)>,
    last_seen: Option<Timestamp>,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    finding: Finding,
    pace: Pace,
}

impl Shown {
    /// Also the kind of its evidence.
    const fn rule(self) -> &'static str {
        match self {
            Self::Callers => CALLER_ID,
            Self::Senders => SENDER_ID,
        }
    }

    /// What the alert is about.
    const fn subject(self) -> &'static str {
        match self {
            Self::Callers => "caller_ids",
            Self::Senders => "sender_ids",
        }
    }

    const fn event(self) -> EventKind {
        match self {
            Self::Callers => EventKind::ForeignCaller,
            Self::Senders => EventKind::ForeignSender,
        }
    }

    const fn count(self, counters: &AccountCounters) -> u64 {
        match self {
            Self::Callers => counters.foreign_callers,
            Self::Senders => counters.foreign_senders,
        }
    }

    /// What an event says was shown.
    fn read(self, detail: u64) -> Option<String> {
        match self {
            // A 1 stands before the digits; without it, it was no number.
            Self::Callers => detail.to_string().strip_prefix('1').map(|digits| format!("+{digits}")),
            Self::Senders => {
                let octets = detail.to_le_bytes();
                let end = octets.iter().position(|octet| *octet == 0).unwrap_or(octets.len());
                octets.get(..end).filter(|text| !text.is_empty()).map(|text| text.escape_ascii().to_string())
            }
        }
    }
}

impl Foreign {
    pub(super) const fn new(shown: Shown) -> Self {
        Self { shown, accounts: BTreeMap::new(), told: BTreeMap::new(), names: BTreeMap::new() }
    }

    /// Takes an event; what is told of anything else is none of ours.
    pub(super) fn event(&mut self, event: &Event) {
        if event.kind != self.shown.event() as u32 {
            return;
        }
        let Some(id) = self.shown.read(event.detail) else { return };
        let told = self.told.entry(event.account).or_default();
        told.retain(|before| *before != id);
        told.push_back(id);
        while told.len() > EVIDENCE {
            told.pop_front();
        }
    }

    /// One look at the counters. Only changes are answered.
    pub(super) fn step(
        &mut self,
        config: &config::ForeignIds,
        snapshot: &Snapshot,
        now: Timestamp,
    ) -> Vec<Signal> {
        let (mut signals, shown) = (Vec::new(), self.shown);
        self.accounts.retain(|name, account| {
            let is_there = snapshot.accounts.contains_key(name);
            if !is_there {
                signals.extend(account.open.take().map(|open| Signal::Resolve(open.finding)));
            }
            is_there
        });
        let names = snapshot.accounts.iter().map(|(name, account)| (account.number, name.clone())).collect();
        let before = std::mem::replace(&mut self.names, names);
        // What was told of an account is nothing of the one that has its number now.
        self.told.retain(|number, _| before.get(number).is_none_or(|it| self.names.get(number) == Some(it)));
        for (name, AccountSnapshot { number, counters }) in &snapshot.accounts {
            let account = self.accounts.entry(name.clone()).or_default();
            let violations = account.look(config, shown.count(counters), now);
            let evidence = || {
                let told = self.told.get(number).into_iter().flatten().rev();
                let of = |id: &String| Evidence {
                    kind: shown.rule().to_owned(),
                    value: id.clone(),
                    messages: 1,
                    share: 0.0,
                };
                told.map(of).collect()
            };
            signals.extend(account.tell(config, shown, name, violations, evidence, now));
        }
        signals
    }

    /// Takes up an alert that was open before a restart.
    pub(super) fn adopt(&mut self, finding: &Finding, now: Timestamp) {
        let account = self.accounts.entry(finding.account.clone()).or_default();
        account.last_seen = Some(now);
        account.open = Some(Open { finding: finding.clone(), pace: Pace::new(finding.observed, now) });
    }
}

impl Account {
    /// Violations within the window, those since the last look included.
    fn look(&mut self, config: &config::ForeignIds, count: u64, now: Timestamp) -> u64 {
        // What the kernel had counted before the first look is old; a counter that fell began anew.
        let more = match self.count {
            Some(before) if before <= count => count - before,
            Some(_) => count,
            None => 0,
        };
        self.count = Some(count);
        if more > 0 {
            self.seen.push_back((now, more));
            self.last_seen = Some(now);
        }
        let window = SignedDuration::try_from(config.window).unwrap_or(SignedDuration::MAX);
        while self.seen.front().is_some_and(|(at, _)| now.duration_since(*at) > window) {
            self.seen.pop_front();
        }
        self.seen.iter().map(|(_, violations)| violations).sum()
    }

    fn tell(
        &mut self,
        config: &config::ForeignIds,
        shown: Shown,
        name: &str,
        violations: u64,
        evidence: impl FnOnce() -> Vec<Evidence>,
        now: Timestamp,
    ) -> Option<Signal> {
        let finding = |evidence| Finding {
            rule: shown.rule().to_owned(),
            account: name.to_owned(),
            subject: shown.subject().to_owned(),
            severity: config.severity,
            observed: as_f64(violations),
            threshold: as_f64(config.threshold),
            baseline: None,
            unit: "violations".to_owned(),
            window_secs: config.window.as_secs(),
            evidence,
        };
        let Some(open) = &mut self.open else {
            if !config.enabled || violations < config.threshold {
                return None;
            }
            let finding = finding(evidence());
            self.open = Some(Open { finding: finding.clone(), pace: Pace::new(finding.observed, now) });
            return Some(Signal::Open(finding));
        };
        let is_quiet = self.last_seen.is_none_or(|at| now.duration_since(at) >= QUIET);
        if !config.enabled || is_quiet {
            return self.open.take().map(|open| Signal::Resolve(open.finding));
        }
        if violations == 0 || open.pace.take(as_f64(violations), now).is_none() {
            return None;
        }
        open.finding = finding(evidence());
        Some(Signal::Update(open.finding.clone()))
    }
}
