//! Scanning: a source that no account owns knocks and knocks, and is refused; or guesses, and is told that it is wrong.
//!
//! 1. The kernel tells the 1st, 2nd, 4th, 8th … refusal of a source by a limit, and rejection by the server (401, 403,
//!    404, 407), so that a flood of them is a handful of events.
//! 2. A source is a scanner when it was refused, or rejected, `threshold` times within `window`. Counted is between two
//!    events that both lie in the window: never more than there were, at worst half.
//! 3. Whose registrations the server accepts is no guesser: each phone behind a NAT is challenged before it registers.
//!    So [`REJECTIONS_A_REGISTRATION`] are forgiven for each, and a guesser is found only [`SETTLE`] after it was
//!    rejected often enough: phones that come all at once have registered by then.
//!    A client that binds needs no challenge: of binds that the server rejects nothing is forgiven.
//! 4. Sources of accounts are never scanners: a customer whose phones all register after a power cut is over a
//!    limit, not an attacker. Neither is a flood of packets that were not even read.
//! 5. Who names a known scanner as its user agent is one at first sight.
//! 6. One alert for all scanners together; it resolves when none was found for [`QUIET`].

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
/// A phone is challenged once, and once more where its nonce has become stale (RFC 3261 22.1); the kernel may have told
/// of half the registrations only.
const REJECTIONS_A_REGISTRATION: u64 = 4;
/// Between the rejection that is one too many and the judgement. Longer than a phone takes to answer a challenge.
const SETTLE: SignedDuration = SignedDuration::from_millis(500);

/// A source that was found scanning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scanner {
    /// The address; of IPv6 the first of its prefix.
    pub source: IpAddr,
    /// Refusals and rejections seen within the window, at least.
    pub refusals: u64,
    /// How its User-Agent begins, where that is a known scanner's.
    pub agent: Option<String>,
}

/// The detector's memory.
#[derive(Debug, Default)]
pub(super) struct Scanning {
    sources: BTreeMap<IpAddr, Source>,
    /// Found since the last step, with the most refusals seen of each.
    found: BTreeMap<IpAddr, u64>,
    /// Those that name a known scanner as their user agent: found at first sight.
    agents: BTreeMap<IpAddr, String>,
    open: Option<Open>,
}

/// What was told of one source.
#[derive(Debug, Default)]
struct Source {
    refused: Told,
    rejected: Told,
    registered: Told,
    /// Binds that the server rejected.
    unbound: Told,
    /// Rejected often enough, and when.
    guesser: Option<(Timestamp, u64)>,
}

/// Counts so far by the time of the event that told them. Ascending in both.
#[derive(Debug, Default)]
struct Told(VecDeque<(Timestamp, u64)>);

#[derive(Debug)]
struct Open {
    finding: Finding,
    pace: Pace,
    last_found: Timestamp,
}

impl Scanning {
    /// Takes an event; anything but those of a source that nobody owns is none of ours.
    pub(super) fn event(&mut self, config: &config::Scanning, event: &Event, now: Timestamp) {
        let kind = usize::try_from(event.kind).ok().and_then(EventKind::from_index);
        let is_flood =
            kind == Some(EventKind::SourceRefused) && event.detail == Class::Packets.index() as u64;
        if !config.enabled || event.account != 0 || is_flood {
            return;
        }
        let address = Ipv6Addr::from(event.source).to_canonical();
        if kind == Some(EventKind::ScannerAgent) {
            let agent = event.detail.to_le_bytes();
            let is_printable = |byte: &u8| byte.is_ascii_graphic();
            let agent = agent.into_iter().take_while(is_printable).map(char::from).collect();
            if self.agents.len() < MOST_SOURCES {
                self.agents.insert(address, agent);
                self.found.entry(address).or_default();
            }
            return;
        }
        let is_known = self.sources.contains_key(&address);
        if !is_known && self.sources.len() >= MOST_SOURCES {
            return;
        }
        match kind {
            Some(EventKind::SourceRefused) => {
                let source = self.sources.entry(address).or_default();
                let refusals = source.refused.count(event.value, now, config);
                if refusals >= config.threshold {
                    source.refused.0.clear();
                    let most = self.found.entry(address).or_default();
                    *most = refusals.max(*most);
                }
            }
            Some(EventKind::SourceRejected) => {
                let source = self.sources.entry(address).or_default();
                let rejections = source.rejected.count(event.value, now, config);
                if rejections >= config.threshold && source.guesser.is_none() {
                    source.guesser = Some((now, rejections));
                }
            }
            Some(EventKind::BindRejected) => {
                let source = self.sources.entry(address).or_default();
                let rejections = source.unbound.count(event.value, now, config);
                if rejections >= config.threshold {
                    source.unbound.0.clear();
                    let most = self.found.entry(address).or_default();
                    *most = rejections.max(*most);
                }
            }
            Some(EventKind::SourceRegistered) => {
                self.sources.entry(address).or_default().registered.count(event.value, now, config);
            }
            _ => {}
        }
    }

    /// What was found since the last step, and what the alert makes of it.
    pub(super) fn step(&mut self, config: &config::Scanning, now: Timestamp) -> (Vec<Signal>, Vec<Scanner>) {
        for (address, source) in &mut self.sources {
            if let Some(rejections) = source.judge(config, now) {
                let most = self.found.entry(*address).or_default();
                *most = rejections.max(*most);
            }
        }
        self.sources.retain(|_, source| source.keep(config, now));
        let found = std::mem::take(&mut self.found).into_iter();
        let mut agents = std::mem::take(&mut self.agents);
        let scanner = |(source, refusals)| Scanner { source, refusals, agent: agents.remove(&source) };
        let mut found: Vec<_> = found.map(scanner).collect();
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

impl Source {
    /// How often a guesser was rejected beyond what its registrations explain, once that is settled.
    fn judge(&mut self, config: &config::Scanning, now: Timestamp) -> Option<u64> {
        let (since, _) = self.guesser.filter(|(since, _)| now.duration_since(*since) >= SETTLE)?;
        self.guesser = None;
        // Registrations of before the window speak for a source too.
        let registered = self.registered.0.back().map_or(0, |(_, count)| *count);
        let forgiven = registered.saturating_mul(REJECTIONS_A_REGISTRATION);
        let rejections = self.rejected.within(since, config);
        let is_guesser = rejections.saturating_sub(forgiven) >= config.threshold;
        if is_guesser {
            self.rejected.0.clear();
        }
        is_guesser.then_some(rejections)
    }

    /// Whether there is anything left to remember.
    fn keep(&mut self, config: &config::Scanning, now: Timestamp) -> bool {
        self.refused.forget_before(now, config);
        self.rejected.forget_before(now, config);
        self.registered.forget_before(now, config);
        self.unbound.forget_before(now, config);
        let is_empty = [&self.refused, &self.rejected, &self.registered, &self.unbound]
            .iter()
            .all(|told| told.0.is_empty());
        !is_empty || self.guesser.is_some()
    }
}

impl Told {
    /// Takes a count; how many there were within the window, at least.
    fn count(&mut self, count: u64, now: Timestamp, config: &config::Scanning) -> u64 {
        // Counts that fall: the kernel had forgotten the source.
        if self.0.back().is_some_and(|(_, before)| *before >= count) {
            self.0.clear();
        }
        self.0.push_back((now, count));
        self.within(now, config)
    }

    fn within(&mut self, now: Timestamp, config: &config::Scanning) -> u64 {
        self.forget_before(now, config);
        let (Some((_, first)), Some((_, last))) = (self.0.front(), self.0.back()) else { return 0 };
        // The first event of a source tells its first.
        let before = if *first == 1 { 0 } else { *first };
        last - before
    }

    fn forget_before(&mut self, now: Timestamp, config: &config::Scanning) {
        let window = SignedDuration::try_from(config.window).unwrap_or(SignedDuration::MAX);
        while self.0.front().is_some_and(|(at, _)| now.duration_since(*at) > window) {
            self.0.pop_front();
        }
    }
}

fn finding(config: &config::Scanning, found: &[Scanner], worst: u64) -> Finding {
    let sum: u64 = found.iter().map(|scanner| scanner.refusals).sum();
    let evidence = found.iter().take(EVIDENCE).map(|scanner| Evidence {
        kind: "source".to_owned(),
        value: scanner.source.to_string(),
        messages: scanner.refusals,
        share: as_f64(scanner.refusals) / as_f64(sum.max(1)),
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
