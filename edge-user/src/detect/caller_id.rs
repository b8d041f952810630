//! Caller IDs: an account shows numbers that are none of its own.
//!
//! 1. The kernel counts each such call and message, and tells some of their numbers ([`EventKind::ForeignCaller`]).
//! 2. An alert opens when an account has had `threshold` of them within `window`, and resolves when it has had none
//!    for [`QUIET`]: a wrong caller ID that is shown now and then is a mistake that has not been put right.

use std::collections::{BTreeMap, VecDeque};

use edge_ebpf::abi::{Event, EventKind};
use jiff::{SignedDuration, Timestamp};

use super::pace::Pace;
use super::spike::as_f64;
use super::{AccountSnapshot, Snapshot};
use crate::alert::{Evidence, Finding, Signal};
use crate::config;

/// Name of the rule.
pub const RULE: &str = "caller_id";

/// What the alert is about.
const SUBJECT: &str = "caller_ids";
/// The alert is over when there was no violation for that long.
const QUIET: SignedDuration = SignedDuration::from_mins(5);
/// Numbers shown as evidence, and remembered of an account.
const EVIDENCE: usize = 5;

/// The detector's memory.
#[derive(Debug, Default)]
pub(super) struct CallerIds {
    /// By account.
    accounts: BTreeMap<String, Account>,
    /// Numbers told of late, the latest last, by the account's number in the kernel.
    told: BTreeMap<u32, VecDeque<String>>,
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

impl CallerIds {
    /// Takes an event; anything but a caller ID is none of ours.
    pub(super) fn event(&mut self, event: &Event) {
        if event.kind != EventKind::ForeignCaller as u32 {
            return;
        }
        // A 1 stands before the digits; without it, it was no number.
        let Some(number) = event.detail.to_string().strip_prefix('1').map(str::to_owned) else { return };
        let told = self.told.entry(event.account).or_default();
        told.retain(|before| *before != number);
        told.push_back(number);
        while told.len() > EVIDENCE {
            told.pop_front();
        }
    }

    /// One look at the counters. Only changes are answered.
    pub(super) fn step(
        &mut self,
        config: &config::CallerIds,
        snapshot: &Snapshot,
        now: Timestamp,
    ) -> Vec<Signal> {
        let mut signals = Vec::new();
        self.accounts.retain(|name, account| {
            let is_there = snapshot.accounts.contains_key(name);
            if !is_there {
                signals.extend(account.open.take().map(|open| Signal::Resolve(open.finding)));
            }
            is_there
        });
        for (name, snapshot) in &snapshot.accounts {
            let account = self.accounts.entry(name.clone()).or_default();
            let violations = account.look(config, snapshot, now);
            let evidence = || {
                let told = self.told.get(&snapshot.number).into_iter().flatten().rev();
                let of = |number: &String| Evidence {
                    kind: "caller_id".to_owned(),
                    value: format!("+{number}"),
                    messages: 1,
                    share: 0.0,
                };
                told.map(of).collect()
            };
            signals.extend(account.tell(config, name, violations, evidence, now));
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
    fn look(&mut self, config: &config::CallerIds, snapshot: &AccountSnapshot, now: Timestamp) -> u64 {
        let count = snapshot.counters.foreign_callers;
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
        config: &config::CallerIds,
        name: &str,
        violations: u64,
        evidence: impl FnOnce() -> Vec<Evidence>,
        now: Timestamp,
    ) -> Option<Signal> {
        let finding = |evidence| Finding {
            rule: RULE.to_owned(),
            account: name.to_owned(),
            subject: SUBJECT.to_owned(),
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
