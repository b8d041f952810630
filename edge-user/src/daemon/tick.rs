//! Once a second: counters → detectors → book → database and webhooks; expiry; history once a minute.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::{Instant, MissedTickBehavior};

use super::state::{Daemon, Kept, Reading, State};
use super::{clock, describe, guard, minute, rates, systemd};
use crate::alert::{Alert, Signal};
use crate::dataplane::DataplaneError;
use crate::detect::{self, AccountSnapshot, Snapshot};

const EVERY: Duration = Duration::from_secs(1);
/// How long ago a source may have been silent to be named in an alert.
const EVIDENCE_WINDOW_NS: u64 = 10_000_000_000;
/// Between two looks at the sources: who sends now, not who has sent most in his life.
const EVIDENCE_SAMPLE: Duration = Duration::from_millis(300);
/// Seconds between two prunings of history and alerts.
const PRUNE_EVERY_TICKS: u64 = 3_600;
/// Name under which the detectors' state is kept.
pub(super) const DETECTORS_VALUE: &str = "detectors";

/// Runs until shutdown. The first turn is taken before: see [`Daemon::turn`].
pub(super) async fn run(daemon: Arc<Daemon>) {
    let mut every = tokio::time::interval_at(Instant::now() + EVERY, EVERY);
    every.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let (mut ticks, mut is_pruning): (u64, bool) = (0, false);
    loop {
        tokio::select! {
            () = daemon.shutdown.cancelled() => return,
            _ = every.tick() => {}
        }
        let now = clock::now();
        daemon.turn(now).await;
        if is_pruning || ticks % PRUNE_EVERY_TICKS == PRUNE_EVERY_TICKS / 2 {
            // What is gone does not come back when a clock that ran ahead is put right.
            is_pruning = daemon.prune(daemon.believed(now)).await;
        }
        ticks += 1;
        systemd::alive();
    }
}

impl Daemon {
    /// What is done once a second; and once before the daemon says that it is ready, because detectors judge what is
    /// counted after their first reading.
    pub(super) async fn turn(self: &Arc<Self>, now: Timestamp) {
        self.notice_clock(now);
        self.expire(self.believed(now)).await;
        self.sweep().await;
        self.look(now).await;
        self.keep_records().await;
    }

    /// A clock that was set changes what is due when; nothing else was meant.
    fn notice_clock(&self, now: Timestamp) {
        let steady = self.steady();
        let (by, is_doubted, has_held) = {
            let drift = &mut self.state().drift;
            let by = drift.look(now, steady);
            let has_held = drift.has_held(steady);
            (by, drift.is_doubted(), has_held)
        };
        if has_held {
            tracing::warn!(
                "the time that the clock was set to has held: what is over by it ends, and is forgotten"
            );
        }
        let Some(by) = by else { return };
        let what =
            if is_doubted { ": nothing ends by the new time before that has held for a minute" } else { "" };
        tracing::warn!(by = format!("{by:#}"), "the clock was set{what}");
        self.deliverer.clock_was_set(by);
    }

    /// The time by which what was set for a while ends, and what is old is forgotten.
    pub(super) fn believed(&self, now: Timestamp) -> Timestamp {
        self.state().drift.believed(now)
    }

    /// Keeps what the detectors have learnt.
    pub(super) async fn keep_detectors(&self) {
        let state = self.state().detectors.state();
        match state {
            Ok(value) => {
                let kept = self.store.run(move |store| store.put_value(DETECTORS_VALUE, &value)).await;
                self.note_store(kept.err().map(|error| error.to_string()));
            }
            Err(error) => tracing::warn!(%error, "what the detectors have learnt cannot be kept"),
        }
    }

    /// Remembers whether the database answers, and says once when that changes.
    pub(super) fn note_store(&self, error: Option<String>) {
        let was_up = std::mem::replace(&mut self.state().store_is_up, error.is_none());
        match error {
            Some(error) if was_up => {
                tracing::error!(%error, "the database does not answer; limits stay in force");
            }
            None if !was_up => tracing::info!("the database answers again"),
            _ => {}
        }
    }

    /// Expires calls of which nothing is heard any more.
    async fn sweep(self: &Arc<Self>) {
        let daemon = Arc::clone(self);
        match tokio::task::spawn_blocking(move || daemon.kernel().interfaces.sweep()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "calls cannot be expired"),
            Err(error) => tracing::error!(%error, "the sweep of calls failed"),
        }
    }

    async fn look(self: &Arc<Self>, now: Timestamp) {
        let daemon = Arc::clone(self);
        let read = tokio::task::spawn_blocking(move || daemon.read_counters()).await;
        let reading = match read {
            Ok(Ok(reading)) => reading,
            Ok(Err(error)) => return tracing::error!(%error, "counters cannot be read"),
            Err(error) => return tracing::error!(%error, "the reading of counters failed"),
        };
        let interfaces = self.interface_states();
        let (signals, scanners) = {
            let mut state = self.state();
            // A window that the wall clock measures is a day long once that is set back by one.
            let steady = self.steady();
            let mut signals = state.detectors.step(&reading.snapshot, steady);
            signals.extend(state.faults.step(interfaces.iter().map(|(name, (_, it))| (name, it)), steady));
            let fallen_back = self.fallen_back(&state);
            signals.extend(state.faults.fallen_back(&fallen_back));
            state.rates = match &state.last {
                Some(before) => {
                    let elapsed = Duration::from_nanos(reading.at_ns.saturating_sub(before.at_ns));
                    rates::rates(&before.snapshot, &reading.snapshot, elapsed)
                }
                None => rates::Rates::new(),
            };
            state.note_refused(&signals);
            state.last = Some(reading);
            (signals, state.detectors.take_scanners())
        };
        self.ban_scanners(&scanners, now).await;
        if !signals.is_empty() {
            let alerts = self.take(signals, now).await;
            self.deliverer.publish(&alerts).await;
        }
        self.finish_minute(now).await;
    }

    /// Counters of every installed account, which are at least as new as the time they are said to be of. Blocks.
    fn read_counters(&self) -> Result<Reading, DataplaneError> {
        let (at, at_ns) = (clock::now(), clock::monotonic_ns());
        let (names, prefixes) = {
            let mut state = self.state();
            (state.names(), state.prefix_turn.take())
        };
        let mut snapshot = Snapshot { prefixes, ..Snapshot::default() };
        for (number, name) in names {
            let counters = self.counters.account(number)?;
            snapshot.accounts.insert(name, AccountSnapshot { number, counters });
        }
        Ok(Reading { at, at_ns, snapshot })
    }

    /// Signals into the book, with evidence and action.
    async fn take(self: &Arc<Self>, signals: Vec<Signal>, now: Timestamp) -> Vec<Alert> {
        let daemon = Arc::clone(self);
        let with_evidence = tokio::task::spawn_blocking(move || daemon.with_sources(signals));
        let signals = match with_evidence.await {
            Ok(signals) => signals,
            Err(error) => {
                tracing::error!(%error, "alerts of this second are lost");
                return Vec::new();
            }
        };
        let mut state = self.state();
        let alerts = {
            let State { book, installed, last, refused_at_opening, config, bans_are_full, .. } = &mut *state;
            book.step(signals, now, |finding| {
                if finding.rule == detect::SCANNING {
                    return guard::action(&config.detect.scanning, *bans_are_full);
                }
                let policy = installed.get(&finding.account).map(|account| &account.policy);
                let counters = last.as_ref().and_then(|it| it.snapshot.accounts.get(&finding.account));
                let refused = counters.map_or(0, |account| describe::refused(&account.counters));
                let before = refused_at_opening.get(&finding.key()).copied().unwrap_or(refused);
                describe::action(finding, policy, config, refused.saturating_sub(before))
            })
        };
        for alert in &alerts {
            state.note_alert(alert);
        }
        alerts
    }

    /// Adds the sources that send most at this moment to what opens or goes on. What is over keeps the evidence
    /// that it had ([`crate::alert::Book`]), and scanners are evidence themselves. Blocks.
    fn with_sources(&self, mut signals: Vec<Signal>) -> Vec<Signal> {
        let numbers: Vec<Option<u32>> = {
            let state = self.state();
            let number = |signal: &Signal| match signal {
                Signal::Open(finding) | Signal::Update(finding) if finding.rule != detect::SCANNING => {
                    state.installed.get(&finding.account).map(|account| account.number)
                }
                _ => None,
            };
            signals.iter().map(number).collect()
        };
        let accounts: BTreeSet<u32> = numbers.iter().copied().flatten().collect();
        if accounts.is_empty() {
            return signals;
        }
        let since_ns = clock::monotonic_ns().saturating_sub(EVIDENCE_WINDOW_NS);
        let before = self.counters.sources_of(&accounts, since_ns);
        std::thread::sleep(EVIDENCE_SAMPLE);
        let after = self.counters.sources_of(&accounts, since_ns);
        for (signal, number) in signals.iter_mut().zip(numbers) {
            if let (Signal::Open(finding) | Signal::Update(finding), Some(number)) = (signal, number) {
                finding.evidence.extend(describe::source_evidence(number, &before, &after));
            }
        }
        signals
    }

    /// Lifts what is over. The kernel does so even when the database does not answer; that is told later.
    async fn expire(self: &Arc<Self>, now: Timestamp) {
        if self.is_detached.load(Ordering::Relaxed) {
            return;
        }
        if self.state().kept.is_none() {
            self.load_kept().await;
        }
        let _change = self.changes.lock().await;
        let is_due = {
            let mut state = self.state();
            state.lift_expired(now) || state.behind.is_some()
        };
        if is_due {
            self.reconcile_in_background().await;
        }
        if !self.state().expiry_is_owed {
            return;
        }
        let expired = self.store.run(move |store| {
            let limits = store.expire_limits(now)?;
            Ok((limits, store.expire_measures(now)?, store.expire_suspensions(now)?))
        });
        match expired.await {
            Ok((limits, measures, suspensions)) => {
                self.state().expiry_is_owed = false;
                for limit in limits {
                    tracing::info!(limit = limit.subject(), "the limit set by command is over");
                }
                for measure in measures {
                    tracing::info!(prefix = measure.prefix, "the measure is over");
                }
                for suspension in suspensions {
                    tracing::info!(account = suspension.account, "the suspension is over");
                }
                self.note_store(None);
            }
            Err(error) => self.note_store(Some(error.to_string())),
        }
    }

    /// Reads what was set by command, when the database did not answer at start.
    async fn load_kept(self: &Arc<Self>) {
        match self.store.run(read_kept).await {
            Ok(kept) => {
                let _change = self.changes.lock().await;
                {
                    let mut state = self.state();
                    state.kept = Some(kept);
                    state.expiry_is_owed = true;
                }
                self.note_store(None);
                self.reconcile_in_background().await;
            }
            Err(error) => self.note_store(Some(error.to_string())),
        }
    }

    async fn reconcile_in_background(self: &Arc<Self>) {
        let daemon = Arc::clone(self);
        match tokio::task::spawn_blocking(move || daemon.reconcile_now()).await {
            // What went wrong is told where it did.
            Ok(_) => {}
            Err(error) => tracing::error!(%error, "the task that brings the kernel up to date failed"),
        }
    }

    async fn finish_minute(&self, now: Timestamp) {
        let start = minute::start_of(now);
        let rows = {
            let mut state = self.state();
            let Some(Reading { snapshot, .. }) = &state.last else { return };
            if state.minute.as_ref().is_some_and(|(at, _)| *at == start) {
                return;
            }
            let rows = state
                .minute
                .as_ref()
                .map(|(at, before)| minute::rows(*at, before, snapshot))
                .unwrap_or_default();
            state.minute = Some((start, minute::counters(snapshot)));
            rows
        };
        if !rows.is_empty() {
            let written = self.store.run(move |store| store.add_history(&rows)).await;
            self.note_store(written.err().map(|error| error.to_string()));
        }
        self.keep_detectors().await;
    }

    /// Forgets a batch of what is too old or too much; whether there may be more. A batch, because a database that nobody
    /// has pruned for long is no reason for a daemon that does nothing else.
    async fn prune(&self, now: Timestamp) -> bool {
        let (retention, records) = {
            let state = self.state();
            (state.config.history_retention, state.config.records)
        };
        let before = |retention| now.checked_sub(retention).unwrap_or(Timestamp::MIN);
        let (of_history, of_records) = (before(retention), before(records.retention));
        let pruned = self.store.run(move |store| {
            let more = [
                store.prune_history(of_history)?,
                store.prune_alerts(of_history)?,
                store.prune_audit(of_history)?,
                store.prune_records(of_records, records.max_rows)?,
            ];
            Ok(more.contains(&true))
        });
        let pruned = pruned.await;
        let more = pruned.as_ref().is_ok_and(|more| *more);
        self.note_store(pruned.err().map(|error| error.to_string()));
        more
    }
}

/// Limits and measures set by command.
pub(super) fn read_kept(store: &mut crate::store::Store) -> Result<Kept, crate::store::StoreError> {
    Ok(Kept { limits: store.limits()?, measures: store.measures()?, suspensions: store.suspensions()? })
}

impl State {
    /// Remembers how much was refused before what now opens, so that the alert tells what was refused since.
    fn note_refused(&mut self, signals: &[Signal]) {
        for signal in signals {
            if let Signal::Open(finding) = signal {
                let before = self.counters(&finding.account).map_or(0, describe::refused);
                self.refused_at_opening.insert(finding.key(), before);
            }
        }
    }

    fn note_alert(&mut self, alert: &Alert) {
        let finding = &alert.finding;
        tracing::info!(
            alert = alert.id,
            phase = alert.phase.name(),
            rule = finding.rule,
            account = finding.account,
            subject = finding.subject,
            observed = finding.observed,
            threshold = finding.threshold,
            action = alert.action,
            "alert"
        );
        match alert.phase {
            crate::alert::Phase::Opened => {
                *self.alerts_opened.entry((finding.rule.clone(), finding.severity)).or_default() += 1;
            }
            crate::alert::Phase::Updated => {}
            crate::alert::Phase::Resolved => {
                self.refused_at_opening.remove(&finding.key());
            }
        }
    }

    /// Forgets limits and measures whose time is over; whether there were any.
    fn lift_expired(&mut self, now: Timestamp) -> bool {
        let Some(kept) = &mut self.kept else { return false };
        let count = |kept: &Kept| kept.limits.len() + kept.measures.len() + kept.suspensions.len();
        let before = count(kept);
        let is_on = |expires_at: Option<Timestamp>| expires_at.is_none_or(|at| at > now);
        kept.limits.retain(|limit| is_on(limit.change.expires_at));
        kept.measures.retain(|measure| is_on(measure.expires_at));
        kept.suspensions.retain(|suspension| is_on(suspension.expires_at));
        let lifted = count(kept) < before;
        self.expiry_is_owed |= lifted;
        lifted
    }
}
