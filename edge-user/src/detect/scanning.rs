//! Scanning: a source that no account owns knocks and knocks, and is refused.
//!
//! 1. The kernel tells the 1st, 2nd, 4th, 8th … refusal of a source, so that a flood of them is a handful of events.
//! 2. A source is a scanner when it was refused `threshold` times within `window`. Counted is between two events
//!    that both lie in the window: never more than there were, at worst half.
//! 3. Sources of accounts are never scanners: a customer whose phones all register after a power cut is over a
//!    limit, not an attacker. Neither is a flood of packets that were not even read.
//! 4. One alert for all scanners together; it resolves when none was found for [`QUIET`].

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr};

use edge_ebpf::abi::{Class, Event, EventKind};
use jiff::{SignedDuration, Timestamp};

use super::pace::Pace;
use super::spike::as_f64;
use crate::alert::{Evidence, Finding, Signal};
use crate::config::{self, UNKNOWN_ACCOUNT};

/// Name of the rule.
pub const RULE: &str = "scanning";

/// What the alert is about: all of them.
const SUBJECT: &str = "sources";
/// The alert is over when no scanner was found for that long.
const QUIET: SignedDuration = SignedDuration::from_mins(5);
/// Scanners shown as evidence.
const EVIDENCE: usize = 5;
/// Sources watched at once; forged ones come in any number.
const MOST_SOURCES: usize = 65_536;

/// A source that was found scanning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scanner {
    /// The address; of IPv6 the first of its prefix.
    pub source: IpAddr,
    /// Refusals seen within the window, at least.
    pub refusals: u64,
}

/// The detector's memory.
#[derive(Debug, Default)]
pub(super) struct Scanning {
    /// By source: refusals so far, by the time of the event that told them. Ascending in both.
    sources: BTreeMap<IpAddr, VecDeque<(Timestamp, u64)>>,
    /// Found since the last step, with the most refusals seen of each.
    found: BTreeMap<IpAddr, u64>,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    finding: Finding,
    pace: Pace,
    last_found: Timestamp,
}

impl Scanning {
    /// Takes an event; anything but refusals of a source that nobody owns is none of ours.
    pub(super) fn event(&mut self, config: &config::Scanning, event: &Event, now: Timestamp) {
        let is_knock = event.kind == EventKind::SourceRefused as u32
            && event.account == 0
            && event.detail != Class::Packets.index() as u64;
        if !config.enabled || !is_knock {
            return;
        }
        let source = Ipv6Addr::from(event.source).to_canonical();
        if !self.sources.contains_key(&source) && self.sources.len() >= MOST_SOURCES {
            return;
        }
        let told = self.sources.entry(source).or_default();
        // Counts that fall: the kernel had forgotten the source.
        if told.back().is_some_and(|(_, count)| *count >= event.value) {
            told.clear();
        }
        told.push_back((now, event.value));
        forget_before(told, now, config);
        // The first event of a source tells its first refusal.
        let Some((_, first)) = told.front() else { return };
        let before = if *first == 1 { 0 } else { *first };
        let refusals = event.value - before;
        if refusals >= config.threshold {
            let most = self.found.entry(source).or_default();
            *most = refusals.max(*most);
            told.clear();
        }
    }

    /// What was found since the last step, and what the alert makes of it.
    pub(super) fn step(&mut self, config: &config::Scanning, now: Timestamp) -> (Vec<Signal>, Vec<Scanner>) {
        self.sources.retain(|_, told| {
            forget_before(told, now, config);
            !told.is_empty()
        });
        let found = std::mem::take(&mut self.found).into_iter();
        let mut found: Vec<_> = found.map(|(source, refusals)| Scanner { source, refusals }).collect();
        found.sort_by_key(|scanner| std::cmp::Reverse(scanner.refusals));
        (self.tell(config, &found, now), found)
    }

    /// Takes up an alert that was open before a restart.
    pub(super) fn adopt(&mut self, finding: &Finding, now: Timestamp) {
        let pace = Pace::new(finding.observed, now);
        self.open = Some(Open { finding: finding.clone(), pace, last_found: now });
    }

    fn tell(&mut self, config: &config::Scanning, found: &[Scanner], now: Timestamp) -> Vec<Signal> {
        let worst = found.first().map_or(0, |scanner| scanner.refusals);
        let Some(open) = &mut self.open else {
            if found.is_empty() {
                return Vec::new();
            }
            let finding = finding(config, found, worst);
            let pace = Pace::new(finding.observed, now);
            self.open = Some(Open { finding: finding.clone(), pace, last_found: now });
            return vec![Signal::Open(finding)];
        };
        if !config.enabled || now.duration_since(open.last_found) >= QUIET {
            let finding = open.finding.clone();
            self.open = None;
            return vec![Signal::Resolve(finding)];
        }
        if found.is_empty() {
            return Vec::new();
        }
        open.last_found = now;
        open.finding = finding(config, found, worst);
        let is_due = open.pace.take(open.finding.observed, now).is_some();
        if is_due { vec![Signal::Update(open.finding.clone())] } else { Vec::new() }
    }
}

fn forget_before(told: &mut VecDeque<(Timestamp, u64)>, now: Timestamp, config: &config::Scanning) {
    let window = SignedDuration::try_from(config.window).unwrap_or(SignedDuration::MAX);
    while told.front().is_some_and(|(at, _)| now.duration_since(*at) > window) {
        told.pop_front();
    }
}

fn finding(config: &config::Scanning, found: &[Scanner], worst: u64) -> Finding {
    let sum: u64 = found.iter().map(|scanner| scanner.refusals).sum();
    let evidence = found.iter().take(EVIDENCE).map(|scanner| Evidence {
        kind: "source".to_owned(),
        value: scanner.source.to_string(),
        messages: scanner.refusals,
        share: as_f64(scanner.refusals) / as_f64(sum),
    });
    Finding {
        rule: RULE.to_owned(),
        account: UNKNOWN_ACCOUNT.to_owned(),
        subject: SUBJECT.to_owned(),
        severity: config.severity,
        observed: as_f64(worst),
        threshold: as_f64(config.threshold),
        baseline: None,
        unit: "refusals".to_owned(),
        window_secs: config.window.as_secs(),
        evidence: evidence.collect(),
    }
}
