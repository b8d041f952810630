//! Slots against entries, every few seconds: what is proven to differ is put right, told and written down.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use jiff::Timestamp;

use super::clock;
use super::guard::EDGE;
use super::state::Daemon;
use crate::api::types::AuditEntry;
use crate::dataplane::{DataplaneError, Walk};
use crate::reconcile::{Drifts, Holder};

/// Three looks make a proof, so that a drift is put right within a quarter of a minute.
const EVERY: Duration = Duration::from_secs(5);

/// What the looks at slots have found.
#[derive(Debug, Default)]
pub(super) struct Slots {
    drifts: Drifts,
    /// The last walk.
    pub(super) walked: Option<Walked>,
    /// Slots put right since the daemon's start, by account.
    pub(super) corrected: BTreeMap<String, u64>,
}

/// One walk, in names.
#[derive(Debug)]
pub(super) struct Walked {
    /// When.
    pub(super) at: Timestamp,
    /// Entries of the map.
    pub(super) entries: u64,
    /// Slots of the entries, by account.
    pub(super) held: BTreeMap<String, u64>,
}

/// A difference that was proven.
struct Drift {
    holder: Holder,
    /// `acme`, or `acme/london`.
    name: String,
    /// Slots counted beyond the entries.
    beyond: i64,
}

/// Runs until shutdown.
pub(super) async fn run(daemon: Arc<Daemon>) {
    while daemon.pause(EVERY).await {
        if daemon.is_detached.load(Ordering::Relaxed) {
            continue;
        }
        let there = Arc::clone(&daemon);
        let drifts = match tokio::task::spawn_blocking(move || there.look_at_slots()).await {
            Ok(Ok(drifts)) => drifts,
            Ok(Err(error)) => {
                tracing::error!(%error, "slots cannot be compared with calls");
                continue;
            }
            Err(error) => {
                tracing::error!(%error, "the comparison of slots with calls failed");
                continue;
            }
        };
        for drift in drifts {
            daemon.tell_drift(drift).await;
        }
    }
}

impl Daemon {
    /// One walk; corrects what is proven by now. Blocks.
    fn look_at_slots(&self) -> Result<Vec<Drift>, DataplaneError> {
        let (accounts, trunks) = {
            let state = self.state();
            (state.names(), state.trunk_names())
        };
        let walk = self.calls.walk(accounts.keys().copied(), trunks.keys().copied())?;
        let (now, steady) = (clock::now(), self.steady());
        let proven = {
            let mut state = self.state();
            let proven = state.slots.drifts.step(walk.looks.iter().map(|(holder, look)| (*holder, *look)));
            state.slots.walked = Some(walked(&walk, &accounts, now));
            proven
        };
        let mut drifts = Vec::new();
        for (holder, beyond) in proven {
            self.kernel().interfaces.correct(holder, beyond.wrapping_neg())?;
            let name = match holder {
                Holder::Account(number) => accounts.get(&number),
                Holder::Trunk(number) => trunks.get(&number),
            };
            let name = name.cloned().unwrap_or_default();
            drifts.push(Drift { holder, name, beyond });
        }
        let mut state = self.state();
        for drift in &drifts {
            if matches!(drift.holder, Holder::Account(_)) {
                *state.slots.corrected.entry(drift.name.clone()).or_default() += drift.beyond.unsigned_abs();
            }
            state.faults.slots_drifted(&drift.name, steady);
        }
        Ok(drifts)
    }

    async fn tell_drift(&self, drift: Drift) {
        let Drift { name, beyond, .. } = drift;
        tracing::warn!(name, beyond, "more or fewer slots were counted than calls hold: put right");
        let entry = AuditEntry {
            at: clock::now(),
            actor: EDGE.to_owned(),
            action: "calls.corrected".to_owned(),
            subject: name,
            reason: "the count of slots differed from the calls that hold them, lastingly".to_owned(),
            before: format!("{beyond:+} slots"),
            after: "as many as calls hold".to_owned(),
        };
        self.audit(entry).await;
    }
}

fn walked(walk: &Walk, accounts: &BTreeMap<u32, String>, at: Timestamp) -> Walked {
    let held = walk.looks.iter().filter_map(|(holder, look)| match holder {
        Holder::Account(number) => {
            Some((accounts.get(number)?.clone(), u64::try_from(look.held).unwrap_or(0)))
        }
        Holder::Trunk(_) => None,
    });
    Walked { at, entries: walk.entries, held: held.collect() }
}
