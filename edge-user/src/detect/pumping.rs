//! Pumping: an account's called numbers crowd on one E.164 prefix, more than is usual for that account.
//!
//! 1. The kernel counts admitted messages by account and prefix; each turn of its map is added to a sliding
//!    window.
//! 2. A prefix is suspicious when it has at least `share` of at least `min_messages` within the window, and
//!    [`RISE`] more than its usual share. Counts of longer prefixes add up to those of the shorter ones they
//!    begin with; the longest suspicious one is reported, down to [`SHORTEST_DIGITS`].
//! 3. The usual share is learnt from what leaves the window, over the last [`LEARNT_WINDOWS`] times
//!    `min_messages`; an account that always calls one country, or one range, is normal. What was in the window
//!    while an alert was open is not learnt (estimation freeze, as in [`super::spike`]).
//! 4. Before anything was learnt only full-length prefixes count: one narrow range is telling by itself, one
//!    country is not. An alert opened then does teach, so that it ends by itself where this is simply what the
//!    account does.
//! 5. It resolves below `resolve_share`, or when the window no longer holds half of `min_messages`.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::pace::Pace;
use super::prefix::{Counts, Prefix};
use super::spike::as_f64;
use super::window::Window;
use super::{PrefixTurn, Snapshot};
use crate::alert::{Evidence, Finding, Signal};
use crate::config;

pub(super) const RULE: &str = "pumping";

/// A share must exceed the usual one by this much.
const RISE: f64 = 0.25;
/// Shorter prefixes are countries and groups of them.
const SHORTEST_DIGITS: u32 = 3;
/// The usual share remembers so many times `min_messages`.
const LEARNT_WINDOWS: f64 = 50.0;
/// Prefixes shown as evidence.
const EVIDENCE: usize = 5;

/// The detector's memory: accounts by name.
#[derive(Debug, Default)]
pub(super) struct Pumping {
    accounts: BTreeMap<String, Account>,
}

/// What is kept over a restart: account, what was learnt.
pub(super) type State = BTreeMap<String, Usual>;

/// Where an account's messages usually go: weights by prefix, in messages.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Usual {
    total: f64,
    weights: BTreeMap<Prefix, f64>,
}

#[derive(Debug, Default)]
struct Account {
    window: Window,
    usual: Usual,
    alert: Option<Open>,
}

#[derive(Debug)]
struct Open {
    pace: Pace,
    finding: Finding,
    prefix: Prefix,
    /// Whether the usual share was known when it opened; if so, nothing is learnt until it is over.
    frozen: bool,
}

impl Pumping {
    /// Takes one look; only a snapshot with a turn of the prefix map changes anything.
    pub(super) fn step(
        &mut self,
        config: &config::Pumping,
        snapshot: &Snapshot,
        now: Timestamp,
    ) -> Vec<Signal> {
        let gone = |name: &str| !config.enabled || !snapshot.accounts.contains_key(name);
        let mut signals: Vec<Signal> = self
            .accounts
            .iter_mut()
            .filter(|(name, _)| gone(name))
            .filter_map(|(_, account)| Some(Signal::Resolve(account.alert.take()?.finding)))
            .collect();
        if !config.enabled {
            return signals;
        }
        self.accounts.retain(|name, _| snapshot.accounts.contains_key(name));
        if let Some(turn) = &snapshot.prefixes {
            let names: BTreeSet<&String> = turn
                .counts
                .keys()
                .filter(|name| snapshot.accounts.contains_key(*name))
                .chain(self.accounts.keys())
                .collect();
            for name in names.into_iter().cloned().collect::<Vec<_>>() {
                let account = self.accounts.entry(name.clone()).or_default();
                signals.extend(account.turn(config, &name, turn, now));
            }
            self.accounts.retain(|_, account| !account.is_blank());
        }
        signals
    }

    /// The prefixes with most messages of an account within the window.
    pub(super) fn top_prefixes(&self, account: &str) -> Vec<Evidence> {
        self.accounts.get(account).map(|account| evidence(&account.window.counts())).unwrap_or_default()
    }

    pub(super) fn state(&self) -> State {
        let learnt = self.accounts.iter().filter(|(_, account)| account.usual.total > 0.0);
        learnt.map(|(name, account)| (name.clone(), account.usual.clone())).collect()
    }

    pub(super) fn restore(&mut self, state: State) {
        for (name, usual) in state {
            self.accounts.entry(name).or_default().usual = usual;
        }
    }

    /// Takes up an alert that was open before a restart.
    pub(super) fn adopt(&mut self, finding: &Finding, now: Timestamp) {
        if let Some(prefix) = Prefix::parse(finding.subject.trim_start_matches('+')) {
            self.accounts.entry(finding.account.clone()).or_default().alert = Some(Open {
                pace: Pace::new(finding.observed, now),
                finding: finding.clone(),
                prefix,
                frozen: finding.baseline.is_some(),
            });
        }
    }
}

impl Account {
    fn turn(
        &mut self,
        config: &config::Pumping,
        name: &str,
        turn: &PrefixTurn,
        now: Timestamp,
    ) -> Option<Signal> {
        let counts = turn.counts.get(name).map(Counts::from_digits).unwrap_or_default();
        let suspected = self.alert.as_ref().is_some_and(|open| open.frozen);
        for past in self.window.add(counts, turn.length, config.window, suspected) {
            self.usual.learn(&past, config.min_messages);
        }
        let counts = self.window.counts();
        match self.alert.take() {
            None => self.open(config, name, &counts, now),
            Some(open) => self.follow(config, open, &counts, now),
        }
    }

    fn open(
        &mut self,
        config: &config::Pumping,
        name: &str,
        counts: &Counts,
        now: Timestamp,
    ) -> Option<Signal> {
        if counts.total() < config.min_messages.max(1) {
            return None;
        }
        let known = self.usual.is_known(config.min_messages);
        let shortest = if known { SHORTEST_DIGITS.min(config.prefix_digits) } else { config.prefix_digits };
        let suspicious = |(prefix, share): (Prefix, f64)| {
            let usual = if known { self.usual.share(prefix) } else { 0.0 };
            let threshold = config.share.max(usual + RISE);
            (share >= threshold).then_some((prefix, share, usual, threshold))
        };
        let (prefix, share, usual, threshold) =
            counts.shares(shortest..=config.prefix_digits).into_iter().filter_map(suspicious).max_by(
                |one, other| one.0.digits().cmp(&other.0.digits()).then_with(|| one.1.total_cmp(&other.1)),
            )?;
        let finding = Finding {
            rule: RULE.to_owned(),
            account: name.to_owned(),
            subject: prefix.to_string(),
            severity: config.severity,
            observed: share,
            threshold,
            baseline: known.then_some(usual),
            unit: "share".to_owned(),
            window_secs: config.window.as_secs(),
            evidence: evidence(counts),
        };
        if known {
            self.window.suspect();
        }
        self.alert =
            Some(Open { pace: Pace::new(share, now), finding: finding.clone(), prefix, frozen: known });
        Some(Signal::Open(finding))
    }

    /// An alert is open: is it over, or worth an update?
    fn follow(
        &mut self,
        config: &config::Pumping,
        mut open: Open,
        counts: &Counts,
        now: Timestamp,
    ) -> Option<Signal> {
        let share = counts.share(open.prefix);
        let usual =
            if self.usual.is_known(config.min_messages) { self.usual.share(open.prefix) } else { 0.0 };
        let few = counts.total() < config.min_messages.div_ceil(2).max(1);
        let over = if few {
            // After a restart the window is empty, and says nothing until it has filled.
            self.window.length() >= config.window
        } else {
            share < config.resolve_share.max(usual + RISE / 2.0)
        };
        if over {
            return Some(Signal::Resolve(Finding { observed: open.pace.last(), ..open.finding }));
        }
        let signal = if few { None } else { open.pace.take(share, now) }.map(|observed| {
            open.finding.observed = observed;
            open.finding.severity = config.severity;
            open.finding.evidence = evidence(counts);
            Signal::Update(open.finding.clone())
        });
        self.alert = Some(open);
        signal
    }

    fn is_blank(&self) -> bool {
        self.alert.is_none() && self.usual.total <= 0.0 && self.window.is_empty()
    }
}

impl Usual {
    fn is_known(&self, min_messages: u64) -> bool {
        self.total >= as_f64(min_messages.max(1))
    }

    fn share(&self, of: Prefix) -> f64 {
        let weight: f64 =
            self.weights.iter().filter(|(prefix, _)| prefix.starts_with(of)).map(|(_, weight)| weight).sum();
        if self.total > 0.0 { weight / self.total } else { 0.0 }
    }

    fn learn(&mut self, past: &Counts, min_messages: u64) {
        for (prefix, count) in past.iter() {
            *self.weights.entry(prefix).or_default() += as_f64(count);
        }
        self.total += as_f64(past.total());
        let room = as_f64(min_messages.max(1)) * LEARNT_WINDOWS;
        if self.total > room {
            let scale = room / self.total;
            self.total = room;
            self.weights.retain(|_, weight| {
                *weight *= scale;
                // Less than half a message has no say in a share; this bounds the number of prefixes too.
                *weight >= 0.5
            });
        }
    }
}

fn evidence(counts: &Counts) -> Vec<Evidence> {
    let total = as_f64(counts.total().max(1));
    let evidence = |(prefix, count): (Prefix, u64)| Evidence {
        kind: "prefix".to_owned(),
        value: prefix.to_string(),
        messages: count,
        share: as_f64(count) / total,
    };
    counts.top(EVIDENCE).into_iter().map(evidence).collect()
}
