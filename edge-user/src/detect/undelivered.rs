//! Undelivered: messages of an account to one E.164 prefix are accepted by the server and then not delivered: numbers made
//! up for pumping, lists bought for spam, or a route that is broken.
//!
//! 1. The kernel counts delivery receipts by account, prefix and state; each turn of its map is added to a sliding window.
//! 2. A prefix with at least `min_receipts` opens an alert when at least `share` of them say failed or expired. Receipts that
//!    say neither that nor delivered are left out. One alert an account, about the prefix where the share is highest.
//! 3. It resolves below `resolve_share`, or when the window no longer holds half of `min_receipts`.

use std::collections::BTreeMap;

use edge_ebpf::abi::ReceiptKind;
use jiff::Timestamp;

use super::pace::Pace;
use super::prefix::{Counts, Prefix};
use super::spike::as_f64;
use super::window::Window;
use super::{PrefixTurn, Snapshot};
use crate::alert::{Evidence, Finding, Signal};
use crate::config;

pub(super) const RULE: &str = "undelivered";

/// Prefixes shown as evidence.
const EVIDENCE: usize = 5;

/// The detector's memory: accounts by name.
#[derive(Debug, Default)]
pub(super) struct Undelivered {
    accounts: BTreeMap<String, Account>,
}

#[derive(Debug, Default)]
struct Account {
    /// Receipts that say delivered, failed or expired.
    told: Window,
    /// Of those, the ones that do not say delivered.
    undelivered: Window,
    alert: Option<Open>,
}

#[derive(Debug)]
struct Open {
    pace: Pace,
    finding: Finding,
    prefix: Prefix,
}

/// What the window holds of one prefix.
#[derive(Clone, Copy, Debug)]
struct Share {
    prefix: Prefix,
    told: u64,
    undelivered: u64,
}

impl Share {
    fn share(self) -> f64 {
        as_f64(self.undelivered) / as_f64(self.told.max(1))
    }
}

impl Undelivered {
    /// Takes one look; only a snapshot with a turn of the prefix map changes anything.
    pub(super) fn step(
        &mut self,
        config: &config::Undelivered,
        snapshot: &Snapshot,
        now: Timestamp,
    ) -> Vec<Signal> {
        let mut signals = Vec::new();
        self.accounts.retain(|name, account| {
            let stays = config.enabled && snapshot.accounts.contains_key(name);
            if !stays {
                signals.extend(account.alert.take().map(|open| Signal::Resolve(open.finding)));
            }
            stays
        });
        if !config.enabled {
            return signals;
        }
        if let Some(turn) = &snapshot.prefixes {
            for name in turn.receipts.keys().filter(|name| snapshot.accounts.contains_key(*name)) {
                self.accounts.entry(name.clone()).or_default();
            }
            for (name, account) in &mut self.accounts {
                signals.extend(account.turn(config, name, turn, now));
            }
            self.accounts.retain(|_, account| account.alert.is_some() || !account.told.is_empty());
        }
        signals
    }

    /// Takes up an alert that was open before a restart.
    pub(super) fn adopt(&mut self, finding: &Finding, now: Timestamp) {
        if let Some(prefix) = Prefix::parse(finding.subject.trim_start_matches('+')) {
            self.accounts.entry(finding.account.clone()).or_default().alert =
                Some(Open { pace: Pace::new(finding.observed, now), finding: finding.clone(), prefix });
        }
    }
}

impl Account {
    fn turn(
        &mut self,
        config: &config::Undelivered,
        name: &str,
        turn: &PrefixTurn,
        now: Timestamp,
    ) -> Option<Signal> {
        const NOT: [ReceiptKind; 2] = [ReceiptKind::Failed, ReceiptKind::Expired];
        const TOLD: [ReceiptKind; 3] = [ReceiptKind::Delivered, ReceiptKind::Failed, ReceiptKind::Expired];
        let of = |kinds: &[ReceiptKind]| {
            let receipts = turn.receipts.get(name).into_iter().flatten();
            let sum = |(prefix, counts): (&String, &[u64; ReceiptKind::SLOTS])| {
                (prefix.clone(), kinds.iter().map(|kind| counts[kind.index()]).sum())
            };
            Counts::from_digits(&receipts.map(sum).filter(|(_, receipts)| *receipts != 0).collect())
        };
        self.told.add(of(&TOLD), turn.length, config.window, false);
        self.undelivered.add(of(&NOT), turn.length, config.window, false);
        let shares = self.shares();
        match self.alert.take() {
            None => self.open(config, name, &shares, now),
            Some(open) => self.follow(config, open, &shares, now),
        }
    }

    /// Highest share first.
    fn shares(&self) -> Vec<Share> {
        let undelivered: BTreeMap<Prefix, u64> = self.undelivered.counts().iter().collect();
        let of = |(prefix, told)| Share {
            prefix,
            told,
            undelivered: undelivered.get(&prefix).copied().unwrap_or_default(),
        };
        let mut shares: Vec<Share> = self.told.counts().iter().map(of).collect();
        shares.sort_by(|one, other| {
            other.share().total_cmp(&one.share()).then_with(|| other.told.cmp(&one.told))
        });
        shares
    }

    fn open(
        &mut self,
        config: &config::Undelivered,
        name: &str,
        shares: &[Share],
        now: Timestamp,
    ) -> Option<Signal> {
        let is_suspicious = |it: &&Share| it.told >= config.min_receipts && it.share() >= config.share;
        let worst = *shares.iter().find(is_suspicious)?;
        let finding = Finding {
            rule: RULE.to_owned(),
            account: name.to_owned(),
            subject: worst.prefix.to_string(),
            severity: config.severity,
            observed: worst.share(),
            threshold: config.share,
            baseline: None,
            unit: "share".to_owned(),
            window_secs: config.window.as_secs(),
            evidence: evidence(shares),
        };
        let pace = Pace::new(worst.share(), now);
        self.alert = Some(Open { pace, finding: finding.clone(), prefix: worst.prefix });
        Some(Signal::Open(finding))
    }

    /// An alert is open: is it over, or worth an update?
    fn follow(
        &mut self,
        config: &config::Undelivered,
        mut open: Open,
        shares: &[Share],
        now: Timestamp,
    ) -> Option<Signal> {
        let none = Share { prefix: open.prefix, told: 0, undelivered: 0 };
        let now_is = shares.iter().find(|it| it.prefix == open.prefix).copied().unwrap_or(none);
        let few = now_is.told < config.min_receipts.div_ceil(2);
        let over = if few {
            // After a restart the window is empty, and says nothing until it has filled.
            self.told.length() >= config.window
        } else {
            now_is.share() < config.resolve_share
        };
        if over {
            return Some(Signal::Resolve(Finding { observed: open.pace.last(), ..open.finding }));
        }
        let signal = if few { None } else { open.pace.take(now_is.share(), now) }.map(|observed| {
            open.finding.observed = observed;
            open.finding.severity = config.severity;
            open.finding.evidence = evidence(shares);
            Signal::Update(open.finding.clone())
        });
        self.alert = Some(open);
        signal
    }
}

/// Prefixes with their undelivered messages, and what share of their own receipts these are.
fn evidence(shares: &[Share]) -> Vec<Evidence> {
    let evidence = |share: &Share| Evidence {
        kind: "prefix".to_owned(),
        value: share.prefix.to_string(),
        messages: share.undelivered,
        share: share.share(),
    };
    shares.iter().filter(|share| share.undelivered != 0).take(EVIDENCE).map(evidence).collect()
}
