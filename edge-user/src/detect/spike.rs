//! Volume spike: an account's messages of one class against what is usual for that account.
//!
//! 1. Once a second the counters give a rate: messages offered, whatever became of them.
//! 2. For the first minute the baseline is the median of the readings, then a mean with exponential decay.
//! 3. The threshold is `factor` times the baseline, never below the floor.
//! 4. Two readings in a row above it, or one at one and a half times it, open an alert. So an onset that strong
//!    opens at the first whole reading, less than 2 s after it began.
//! 5. Nothing above the threshold, and nothing while an alert is open, is learnt: an attack does not teach the
//!    baseline (estimation freeze: Tang, Cheng, Zhou, INFOCOM 2012). What stays below the threshold cannot lift
//!    the baseline faster than to the double in one half-life, so that a ramp is overtaken by its threshold.
//!    A ramp slower than that passes for growth; the account's limits bound it.
//! 6. It resolves after `resolve_after` below `resolve_ratio` of the threshold.
//!
//! A level that is here to stay keeps its alert open until it ends or the daemon forgets: nothing tells it
//! from an attack that lasts.

use std::collections::BTreeMap;

use edge_ebpf::abi::Class;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::pace::Pace;
use super::{AccountSnapshot, Snapshot};
use crate::alert::{Evidence, Finding, Signal};
use crate::config;

pub(super) const RULE: &str = "spike";

/// Until so much is known, the median of what is known stands for the baseline.
const WARM_UP_SECS: f64 = 60.0;
/// Fewer readings are not judged by: whether an account is busy cannot be told from one.
const FEWEST_READINGS: usize = 3;
/// One reading at this multiple of the threshold opens by itself.
const FAR_ABOVE: f64 = 1.5;
/// Readings in a row above the threshold that open.
const READINGS_TO_OPEN: u32 = 2;
/// Two looks that are closer than this make no rate.
const SHORTEST_SECS: f64 = 0.2;
/// Two looks farther apart than this, or a clock that was set: start from the later one.
const LONGEST_SECS: f64 = 10.0;

/// The detector's memory: accounts by name.
#[derive(Debug, Default)]
pub(super) struct Spike {
    accounts: BTreeMap<String, Account>,
}

/// What is kept over a restart: account, class, what was learnt.
pub(super) type State = BTreeMap<String, BTreeMap<String, Learnt>>;

/// What was learnt of one account and class.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Learnt {
    /// Messages per second; `None` while warming up.
    baseline: Option<f64>,
    /// Readings of the warm-up.
    readings: Vec<f64>,
    /// Time that was learnt from.
    secs: f64,
}

#[derive(Debug, Default)]
struct Account {
    /// When the counters were last looked at; `None` after a restart.
    looked_at: Option<Timestamp>,
    /// How long the account has been looked at: the silence before a class is first used is knowledge too.
    known_secs: f64,
    classes: [Option<Box<Series>>; Class::COUNT],
}

#[derive(Debug, Default)]
struct Series {
    learnt: Learnt,
    count: Option<u64>,
    readings_above: u32,
    alert: Option<Open>,
}

#[derive(Debug)]
struct Open {
    pace: Pace,
    finding: Finding,
    below_since: Option<Timestamp>,
}

impl Spike {
    /// Takes one look. `evidence` gives what else is known of an account that is about to be reported.
    pub(super) fn step(
        &mut self,
        config: &config::Spike,
        snapshot: &Snapshot,
        now: Timestamp,
        evidence: impl Fn(&str) -> Vec<Evidence>,
    ) -> Vec<Signal> {
        let mut signals = self.resolve(|name| !config.enabled || !snapshot.accounts.contains_key(name));
        if !config.enabled {
            return signals;
        }
        self.accounts.retain(|name, _| snapshot.accounts.contains_key(name));
        for (name, seen) in &snapshot.accounts {
            // Not `entry`: it would copy every name every second.
            if !self.accounts.contains_key(name) {
                self.accounts.insert(name.clone(), Account::default());
            }
            if let Some(account) = self.accounts.get_mut(name) {
                let looked_at = signals.len();
                account.look(config, name, seen, now, &mut signals);
                for signal in &mut signals[looked_at..] {
                    let (Signal::Open(finding) | Signal::Update(finding) | Signal::Resolve(finding)) = signal;
                    finding.evidence = evidence(name);
                }
            }
        }
        signals
    }

    pub(super) fn baseline_per_sec(&self, account: &str, class: Class) -> Option<f64> {
        self.accounts.get(account)?.classes[class.index()].as_ref()?.learnt.baseline
    }

    pub(super) fn state(&self) -> State {
        let learnt = |account: &Account| {
            let by_class = |class: &Class| {
                let series = account.classes[class.index()].as_ref()?;
                Some((class.name().to_owned(), series.learnt.clone()))
            };
            Class::ALL.iter().filter_map(by_class).collect::<BTreeMap<_, _>>()
        };
        self.accounts
            .iter()
            .map(|(name, account)| (name.clone(), learnt(account)))
            .filter(|(_, classes)| !classes.is_empty())
            .collect()
    }

    pub(super) fn restore(&mut self, state: State) {
        for (name, classes) in state {
            for (class, learnt) in classes {
                if let Some(class) = Class::from_name(&class) {
                    self.series(&name, class).learnt = learnt;
                }
            }
        }
    }

    /// Takes up an alert that was open before a restart.
    pub(super) fn adopt(&mut self, finding: &Finding, now: Timestamp) {
        if let Some(class) = Class::from_name(&finding.subject) {
            let series = self.series(&finding.account, class);
            if series.learnt.baseline.is_none() {
                series.learnt.baseline = finding.baseline;
            }
            series.alert = Some(Open {
                pace: Pace::new(finding.observed, now),
                finding: finding.clone(),
                below_since: None,
            });
        }
    }

    fn series(&mut self, account: &str, class: Class) -> &mut Series {
        self.accounts.entry(account.to_owned()).or_default().classes[class.index()].get_or_insert_default()
    }

    /// Resolves what is open of the accounts that are named.
    fn resolve(&mut self, of: impl Fn(&str) -> bool) -> Vec<Signal> {
        let accounts = self.accounts.iter_mut().filter(|(name, _)| of(name));
        let series = accounts.flat_map(|(_, account)| account.classes.iter_mut().flatten());
        series.filter_map(|series| Some(Signal::Resolve(series.alert.take()?.finding))).collect()
    }
}

impl Account {
    fn look(
        &mut self,
        config: &config::Spike,
        name: &str,
        seen: &AccountSnapshot,
        now: Timestamp,
        signals: &mut Vec<Signal>,
    ) {
        let elapsed_secs = self.looked_at.map(|at| now.duration_since(at).as_secs_f64());
        if elapsed_secs.is_some_and(|secs| (0.0..SHORTEST_SECS).contains(&secs)) {
            return;
        }
        self.looked_at = Some(now);
        let elapsed_secs = elapsed_secs.filter(|secs| (SHORTEST_SECS..=LONGEST_SECS).contains(secs));
        for class in Class::ALL.iter().copied().filter(|class| *class != Class::Packets) {
            let count = seen.offered(class);
            let series = match &mut self.classes[class.index()] {
                None if count == 0 => continue,
                Some(series) => series,
                none => none.insert(Box::new(Series::after_silence(self.known_secs, elapsed_secs.is_some()))),
            };
            let before = series.count.replace(count);
            if let (Some(secs), Some(before)) = (elapsed_secs, before) {
                // A count that went down is another account's, or one installed anew: nothing to compare with.
                if let Some(messages) = count.checked_sub(before) {
                    let reading = Reading { per_sec: as_f64(messages) / secs, secs, now };
                    signals.extend(series.judge(config, name, class, &reading));
                }
            }
        }
        self.known_secs += elapsed_secs.unwrap_or_default();
    }
}

#[derive(Debug)]
struct Reading {
    per_sec: f64,
    secs: f64,
    now: Timestamp,
}

impl Series {
    /// A class that is used for the first time, after `secs` without; `looked_before` says that it was at zero
    /// when it was last looked at.
    fn after_silence(secs: f64, looked_before: bool) -> Self {
        let known = secs >= WARM_UP_SECS;
        let mut readings = Vec::new();
        let mut left_secs = if known { 0.0 } else { secs.round() };
        while left_secs >= 1.0 {
            readings.push(0.0);
            left_secs -= 1.0;
        }
        Self {
            learnt: Learnt { baseline: known.then_some(0.0), readings, secs },
            count: looked_before.then_some(0),
            ..Self::default()
        }
    }

    fn judge(
        &mut self,
        config: &config::Spike,
        account: &str,
        class: Class,
        reading: &Reading,
    ) -> Option<Signal> {
        let Some(threshold) = self.learnt.threshold(config) else {
            self.learnt.learn(config, reading);
            return None;
        };
        if self.alert.is_some() {
            return self.follow(config, threshold, reading);
        }
        if reading.per_sec <= threshold {
            self.readings_above = 0;
            self.learnt.learn(config, reading);
            return None;
        }
        self.readings_above += 1;
        if self.readings_above < READINGS_TO_OPEN && reading.per_sec < threshold * FAR_ABOVE {
            return None;
        }
        self.readings_above = 0;
        let finding = Finding {
            rule: RULE.to_owned(),
            account: account.to_owned(),
            subject: class.name().to_owned(),
            severity: config.severity,
            observed: reading.per_sec,
            threshold,
            baseline: self.learnt.level(),
            unit: "messages/s".to_owned(),
            window_secs: 1,
            evidence: Vec::new(),
        };
        self.alert = Some(Open {
            pace: Pace::new(reading.per_sec, reading.now),
            finding: finding.clone(),
            below_since: None,
        });
        Some(Signal::Open(finding))
    }

    /// An alert is open: is it over, or worth an update?
    fn follow(&mut self, config: &config::Spike, threshold: f64, reading: &Reading) -> Option<Signal> {
        let open = self.alert.as_mut()?;
        if reading.per_sec < threshold * config.resolve_ratio {
            let since = *open.below_since.get_or_insert(reading.now);
            // Measured from the first reading below; a clock that was set back starts it again.
            let below_secs = reading.now.duration_since(since).as_secs_f64();
            if below_secs < 0.0 {
                open.below_since = Some(reading.now);
            } else if below_secs >= config.resolve_after.as_secs_f64() {
                let open = self.alert.take()?;
                return Some(Signal::Resolve(Finding { observed: open.pace.last(), ..open.finding }));
            }
            return None;
        }
        open.below_since = None;
        let observed = open.pace.take(reading.per_sec, reading.now)?;
        open.finding = Finding { observed, threshold, severity: config.severity, ..open.finding.clone() };
        Some(Signal::Update(open.finding.clone()))
    }
}

impl Learnt {
    fn threshold(&self, config: &config::Spike) -> Option<f64> {
        Some((self.level()? * config.factor).max(config.floor_per_sec))
    }

    /// The baseline, or what stands for it during the warm-up.
    fn level(&self) -> Option<f64> {
        self.baseline.or_else(|| (self.readings.len() >= FEWEST_READINGS).then(|| median(&self.readings)))
    }

    fn learn(&mut self, config: &config::Spike, reading: &Reading) {
        self.secs += reading.secs;
        let Some(baseline) = self.baseline else {
            self.readings.push(reading.per_sec);
            if self.secs >= WARM_UP_SECS {
                self.baseline = Some(median(&self.readings));
                self.readings = Vec::new();
            }
            return;
        };
        let half_lives = reading.secs / config.baseline_half_life.as_secs_f64().max(1.0);
        let learnt = baseline + (reading.per_sec - baseline) * (1.0 - (-half_lives).exp2());
        // Below floor / factor the floor decides, so that is where doubling starts.
        let doubled_from = baseline.max(config.floor_per_sec / config.factor.max(1.0));
        let highest = baseline + doubled_from * (half_lives.exp2() - 1.0);
        self.baseline = Some(learnt.min(highest));
    }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

/// Exact up to 2^53; more messages in a second there are not.
#[expect(clippy::cast_precision_loss, reason = "counts within one reading are far below 2^53")]
pub(super) const fn as_f64(count: u64) -> f64 {
    count as f64
}
