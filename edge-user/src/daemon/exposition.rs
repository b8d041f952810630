//! What the daemon knows, as metrics.

use std::collections::BTreeMap;

use super::state::Daemon;
use super::views::mode_name;
use crate::dataplane::InterfaceState;
use crate::metrics::{AccountMeasures, ListenerMeasures, Measures, Source, TrunkMeasures};

impl Source for Daemon {
    fn measures(&self) -> Measures {
        let interfaces = self.interface_states();
        let maps = self.map_status();
        let outbox = self.deliverer.status();
        let sum = |of: fn(&crate::webhook::EndpointStatus) -> u64| outbox.endpoints.values().map(of).sum();
        // Before the lock: it walks a map of the kernel.
        let windows = self.binds.windows();
        let state = self.state();
        let mut alerts_open: BTreeMap<String, u64> = BTreeMap::new();
        for alert in state.book.open() {
            *alerts_open.entry(alert.finding.rule.clone()).or_default() += 1;
        }
        let account = |(name, installed): (&String, &crate::reconcile::InstalledAccount)| {
            let rates = state.rates.get(name);
            let measures = AccountMeasures {
                counters: *state.counters(name)?,
                policy: installed.policy,
                calls_active: self.counters.calls_active(installed.number).unwrap_or_default(),
                binds_active: self.counters.binds_active(installed.number).unwrap_or_default(),
                windows: windows.get(&installed.number).copied().unwrap_or_default(),
                slots_held: state.slots.walked.as_ref().and_then(|walked| walked.held.get(name).copied()),
                slots_corrected: state.slots.corrected.get(name).copied().unwrap_or(0),
                calls: state.records.figures.get(name).cloned().unwrap_or_default(),
                responses: state.messages.figures.get(name).map(|it| it.times.clone()).unwrap_or_default(),
                admitted_per_sec: rates
                    .map(|rates| {
                        rates.iter().map(|(class, rates)| (*class, rates.admitted_per_sec)).collect()
                    })
                    .unwrap_or_default(),
            };
            Some((name.clone(), measures))
        };
        let trunk = |(name, trunk): (&String, &crate::reconcile::InstalledTrunk)| {
            let (account, trunk_name) = name.split_once('/')?;
            let counts = self.calls.trunk(trunk.number).ok()?;
            Some(TrunkMeasures {
                account: account.to_owned(),
                trunk: trunk_name.to_owned(),
                calls_active: counts.calls_active,
                calls_max: trunk.calls_max,
                refused: counts.refused,
            })
        };
        let listener = |it: super::listeners::Listener| {
            let counts = it.used.counts;
            ListenerMeasures {
                port: it.used.port,
                protocol: it.protocol,
                refusals: [counts.refused, counts.answered, counts.unmatched],
                waiting: super::listeners::waiting(&it.used),
                has_fallen_back: it.has_fallen_back(),
            }
        };
        Measures {
            listeners: self.listeners(&state).into_iter().map(listener).collect(),
            trunks: state.trunks.iter().filter_map(trunk).collect(),
            // A reading that fails shows as missing series, which monitoring notices.
            outcomes: self.counters.outcomes().unwrap_or_default(),
            events_lost: self.counters.events_lost().unwrap_or_default(),
            records_lost: self.counters.records_lost().unwrap_or_default() + state.records.waiting.dropped,
            messages_lost: self.counters.messages_lost().unwrap_or_default() + state.messages.waiting.dropped,
            accounts: state.installed.iter().filter_map(account).collect(),
            alerts_opened: state.alerts_opened.clone(),
            alerts_open,
            deliveries: BTreeMap::from([
                ("delivered", sum(|endpoint| endpoint.delivered)),
                ("failed_attempt", sum(|endpoint| endpoint.failed_attempts)),
                ("given_up", sum(|endpoint| endpoint.given_up)),
                ("dropped", sum(|endpoint| endpoint.dropped)),
            ]),
            outbox_pending: sum(|endpoint| endpoint.pending),
            xdp_modes: interfaces.iter().map(|(name, (_, it))| (name.clone(), mode_name(it))).collect(),
            maps: maps.into_iter().map(|map| (map.name, map.entries, map.capacity)).collect(),
            reloads: state.reloads,
            store_is_up: state.store_is_up,
        }
    }

    fn ready(&self) -> Result<(), String> {
        let states = self.interface_states();
        let down: Vec<String> = states
            .iter()
            .filter(|(_, (_, state))| !matches!(state, InterfaceState::Attached { .. }))
            .map(|(name, (_, state))| format!("{name} is {}", mode_name(state)))
            .collect();
        match (states.is_empty(), down.is_empty()) {
            (true, _) => Err("nothing is attached".to_owned()),
            (false, true) => Ok(()),
            (false, false) => Err(down.join(", ")),
        }
    }
}
