//! Slower rounds and the ring buffer: interfaces, called prefixes, events, sizes of tables.

use std::net::Ipv6Addr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use std::collections::BTreeMap;

use edge_ebpf::abi::{Event, EventKind, SourceKey};
use ipnet::IpNet;
use tokio::time::MissedTickBehavior;

use super::clock;
use super::state::Daemon;
use crate::api::types::Repair;
use crate::config::{Config, XdpModeRequest};
use crate::dataplane::{EventStream, InterfaceChange, InterfaceState, Prefixes};
use crate::detect::PrefixTurn;

const INTERFACES_EVERY: Duration = Duration::from_secs(2);
const PREFIXES_EVERY: Duration = Duration::from_secs(5);
/// A program that has read the old epoch is done by then: it runs for microseconds.
const PREFIXES_SETTLE: Duration = Duration::from_millis(20);
const COUNT_EVERY: Duration = Duration::from_mins(1);

/// Re-attaches interfaces that went and came back.
pub(super) async fn interfaces(daemon: Arc<Daemon>) {
    while daemon.pause(INTERFACES_EVERY).await {
        let there = Arc::clone(&daemon);
        let watched = tokio::task::spawn_blocking(move || {
            if there.is_detached.load(Ordering::Relaxed) {
                Vec::new()
            } else {
                there.kernel().interfaces.watch()
            }
        });
        match watched.await {
            Ok(changes) => {
                log_changes(&changes);
                daemon.note_lost(&changes);
            }
            Err(error) => tracing::error!(%error, "the watch over interfaces failed"),
        }
    }
}

/// Turns the map of called prefixes.
pub(super) async fn prefixes(daemon: Arc<Daemon>, mut prefixes: Prefixes) {
    let mut every = tokio::time::interval(PREFIXES_EVERY);
    every.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut since_ns = clock::monotonic_ns();
    loop {
        tokio::select! {
            () = daemon.shutdown.cancelled() => return,
            _ = every.tick() => {}
        }
        let half = match prefixes.flip() {
            Ok(half) => half,
            Err(error) => {
                tracing::error!(%error, "called prefixes cannot be turned");
                continue;
            }
        };
        let now_ns = clock::monotonic_ns();
        let length = Duration::from_nanos(now_ns.saturating_sub(since_ns));
        since_ns = now_ns;
        tokio::time::sleep(PREFIXES_SETTLE).await;
        let names = daemon.state().names();
        let drained = tokio::task::spawn_blocking(move || {
            let turn = prefixes.drain(&half, length, &names);
            (prefixes, turn)
        });
        let Ok((back, turn)) = drained.await else {
            return tracing::error!("the turn of called prefixes died");
        };
        prefixes = back;
        match turn {
            Ok(turn) => daemon.state().prefix_turn.merge(turn),
            Err(error) => tracing::error!(%error, "called prefixes cannot be read"),
        }
    }
}

/// Takes events from the ring buffer.
pub(super) async fn events(daemon: Arc<Daemon>, mut events: EventStream) {
    loop {
        let batch = tokio::select! {
            () = daemon.shutdown.cancelled() => return,
            batch = events.next_batch() => batch,
        };
        match batch {
            Ok(batch) => daemon.take_events(&batch),
            Err(error) => return tracing::error!(%error, "events cannot be read any more"),
        }
    }
}

/// Counts the entries of the large tables, which only a walk can tell.
pub(super) async fn entries(daemon: Arc<Daemon>) {
    loop {
        let there = Arc::clone(&daemon);
        let counted = tokio::task::spawn_blocking(move || there.counters.count_entries()).await;
        if let Ok((sources, flows)) = counted {
            daemon.counted_entries[0].store(sources, Ordering::Relaxed);
            daemon.counted_entries[1].store(flows, Ordering::Relaxed);
        }
        if !daemon.pause(COUNT_EVERY).await {
            return;
        }
    }
}

/// One line for each change of an interface.
pub(super) fn log_changes(changes: &[InterfaceChange]) {
    for InterfaceChange { interface, state, what, lost } in changes {
        if let Some(lost) = lost {
            tracing::warn!(interface, "{lost} by somebody else");
        }
        match state {
            Some(InterfaceState::Attached { mode, reason: None, .. }) => {
                tracing::info!(interface, mode = mode.name(), "{what}");
            }
            Some(InterfaceState::Attached { mode, reason: Some(reason), .. }) => {
                tracing::warn!(interface, mode = mode.name(), reason, "{what}, but not in native mode");
            }
            Some(InterfaceState::Absent) => {
                tracing::error!(interface, "{what}; it is attached as soon as there is one");
            }
            Some(InterfaceState::Failed { reason }) => tracing::error!(interface, reason, "{what}"),
            None => tracing::info!(interface, "{what}"),
        }
    }
}

impl Daemon {
    /// Where every configured interface stands.
    pub(super) fn interface_states(&self) -> BTreeMap<String, (XdpModeRequest, InterfaceState)> {
        self.kernel().interfaces.states().clone()
    }

    /// Alerts of what somebody else did to an interface, and remembers it for the status.
    fn note_lost(&self, changes: &[InterfaceChange]) {
        let (now, steady) = (clock::now(), self.steady());
        let mut state = self.state();
        for change in changes {
            let Some(lost) = change.lost else { continue };
            state.faults.link_lost(&change.interface, steady);
            let repair = Repair { at: now, found: lost.to_owned(), done: change.what.clone() };
            state.repairs.insert(change.interface.clone(), repair);
        }
    }

    /// Waits; false at shutdown.
    pub(super) async fn pause(&self, time: Duration) -> bool {
        tokio::select! {
            () = self.shutdown.cancelled() => false,
            () = tokio::time::sleep(time) => true,
        }
    }

    fn take_events(&self, batch: &[Event]) {
        let steady = self.steady();
        let mut state = self.state();
        for event in batch {
            state.faults.event(event, steady);
            let event = &of_its_source(event, &state.config);
            state.detectors.event(event, steady);
            // A packet caused it: never above trace.
            let kind = usize::try_from(event.kind).ok().and_then(EventKind::from_index).map(EventKind::name);
            tracing::trace!(
                kind,
                account = event.account,
                detail = event.detail,
                value = event.value,
                "event"
            );
        }
    }
}

/// A rejected bind is told of under the account that the `system_id` names, which a guesser chooses. Whether its source is
/// a stranger's is another matter: so under the account of the source, or any other than none.
fn of_its_source(event: &Event, config: &Config) -> Event {
    if event.kind != EventKind::BindRejected as u32 {
        return *event;
    }
    let mut prefixes = config.accounts.values().flat_map(|account| &account.sources);
    let is_owned = prefixes.any(|prefix| covers(prefix, event.source, config.ipv6_source_prefix));
    Event { account: if is_owned { event.account.max(1) } else { 0 }, ..*event }
}

/// Whether a source is in a prefix of an account, or the prefix in it: of IPv6 a source is a prefix itself.
fn covers(prefix: &IpNet, source: SourceKey, ipv6_source_prefix: u8) -> bool {
    let address = Ipv6Addr::from(source).to_canonical();
    let bits = if address.is_ipv4() { 32 } else { ipv6_source_prefix };
    let source = IpNet::new(address, bits).map(|source| source.trunc());
    prefix.contains(&address) || source.is_ok_and(|source| source.contains(prefix))
}

/// Turns that no detector has seen yet are one longer turn.
trait Merge {
    fn merge(&mut self, turn: PrefixTurn);
}

impl Merge for Option<PrefixTurn> {
    fn merge(&mut self, turn: PrefixTurn) {
        let Some(waiting) = self else {
            *self = Some(turn);
            return;
        };
        waiting.length += turn.length;
        for (account, receipts) in turn.receipts {
            let sums = waiting.receipts.entry(account).or_default();
            for (prefix, kinds) in receipts {
                let sums = sums.entry(prefix).or_default();
                for (sum, count) in sums.iter_mut().zip(kinds) {
                    *sum += count;
                }
            }
        }
        for (account, counts) in turn.counts {
            let sums = waiting.counts.entry(account).or_default();
            for (prefix, count) in counts {
                *sums.entry(prefix).or_default() += count;
            }
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    #[test]
    fn a_source_belongs_to_whom_its_address_or_a_part_of_its_prefix_does() {
        let v4 = |text: &str| text.parse::<std::net::Ipv4Addr>().unwrap().to_ipv6_mapped().octets();
        let v6 = |text: &str| text.parse::<Ipv6Addr>().unwrap().octets();
        let prefix = |text: &str| text.parse::<IpNet>().unwrap();
        assert!(covers(&prefix("203.0.113.0/24"), v4("203.0.113.7"), 64));
        assert!(!covers(&prefix("203.0.113.0/24"), v4("192.0.2.7"), 64));
        assert!(covers(&prefix("2001:db8::/32"), v6("2001:db8:1::"), 64));
        assert!(covers(&prefix("2001:db8::7/128"), v6("2001:db8::"), 64), "the kernel tells the prefix");
        assert!(!covers(&prefix("2001:db8:0:1::/64"), v6("2001:db8::"), 64));
    }

    #[test]
    fn turns_that_nobody_has_seen_add_up() {
        let turn = |count| PrefixTurn {
            length: Duration::from_secs(5),
            counts: BTreeMap::from([("acme".to_owned(), BTreeMap::from([("44".to_owned(), count)]))]),
            receipts: BTreeMap::from([("acme".to_owned(), BTreeMap::from([("44".to_owned(), [count; 8])]))]),
        };
        let mut waiting = None;
        waiting.merge(turn(3));
        waiting.merge(turn(4));
        let waiting: PrefixTurn = waiting.unwrap();
        assert_eq!(waiting.length, Duration::from_secs(10));
        assert_eq!(waiting.counts["acme"]["44"], 7);
        assert_eq!(waiting.receipts["acme"]["44"], [7; 8]);
    }
}
