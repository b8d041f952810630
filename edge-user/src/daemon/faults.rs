//! The daemon's own rules: a map of the kernel is full, an interface is not attached.

use std::collections::BTreeMap;

use edge_ebpf::abi::{Event, EventKind, map};
use jiff::{SignedDuration, Timestamp};

use crate::alert::{Finding, Severity, Signal};
use crate::dataplane::InterfaceState;

/// Rule of a full map.
pub(super) const MAP_FULL: &str = "map_full";
/// Rule of an interface that nothing is attached to.
pub(super) const INTERFACE_DOWN: &str = "interface_down";
/// In place of an account, for what concerns the whole edge.
pub(super) const WHOLE_EDGE: &str = "edge";

/// A full map is over when it has not been full for that long.
const QUIET: SignedDuration = SignedDuration::from_mins(5);
/// An alert that is on is told again after that long at the earliest.
const UPDATE_EVERY: SignedDuration = SignedDuration::from_mins(1);

/// What is on.
#[derive(Debug, Default)]
pub(super) struct Faults {
    full: BTreeMap<&'static str, Full>,
    down: BTreeMap<String, Finding>,
}

#[derive(Debug)]
struct Full {
    count: u64,
    last_seen: Timestamp,
    last_told: Timestamp,
    opened: bool,
}

impl Faults {
    /// Takes up alerts that were open before a restart, so that they are resolved when they are over.
    pub(super) fn adopt<'a>(&mut self, open: impl IntoIterator<Item = &'a Finding>, now: Timestamp) {
        for finding in open {
            if finding.rule == INTERFACE_DOWN {
                self.down.insert(finding.subject.clone(), finding.clone());
            }
            let name = MAPS.iter().find(|name| finding.rule == MAP_FULL && finding.subject == **name);
            if let Some(name) = name {
                let full = Full { count: 0, last_seen: now, last_told: now, opened: true };
                self.full.insert(name, full);
            }
        }
    }

    /// Takes an event into account; anything but a full map is none of ours.
    pub(super) fn event(&mut self, event: &Event, now: Timestamp) {
        let kind = usize::try_from(event.kind).ok().and_then(EventKind::from_index);
        let name = usize::try_from(event.detail).ok().and_then(|detail| MAPS.get(detail));
        if let (Some(EventKind::MapFull), Some(name)) = (kind, name) {
            let full = self.full.entry(name).or_insert(Full {
                count: 0,
                last_seen: now,
                last_told: now,
                opened: false,
            });
            full.count += 1;
            full.last_seen = now;
        }
    }

    /// What has changed, once a second.
    pub(super) fn step<'a>(
        &mut self,
        interfaces: impl IntoIterator<Item = (&'a String, &'a InterfaceState)>,
        now: Timestamp,
    ) -> Vec<Signal> {
        let mut signals = self.step_maps(now);
        let mut up: Vec<String> = self.down.keys().cloned().collect();
        for (name, state) in interfaces {
            if matches!(state, InterfaceState::Attached { .. }) {
                continue;
            }
            up.retain(|it| it != name);
            if !self.down.contains_key(name) {
                let finding = interface_down(name);
                self.down.insert(name.clone(), finding.clone());
                signals.push(Signal::Open(finding));
            }
        }
        signals.extend(up.iter().filter_map(|name| self.down.remove(name)).map(Signal::Resolve));
        signals
    }

    fn step_maps(&mut self, now: Timestamp) -> Vec<Signal> {
        let mut signals = Vec::new();
        self.full.retain(|name, full| {
            let finding = map_full(name, full.count);
            if now.duration_since(full.last_seen) >= QUIET {
                signals.push(Signal::Resolve(finding));
                return false;
            }
            if !full.opened {
                signals.push(Signal::Open(finding));
                (full.opened, full.last_told) = (true, now);
            } else if full.last_seen > full.last_told && now.duration_since(full.last_told) >= UPDATE_EVERY {
                signals.push(Signal::Update(finding));
                full.last_told = now;
            }
            true
        });
        signals
    }
}

/// What Edge does when one of these is on: the text of the alert's action.
pub(super) fn action(finding: &Finding) -> Option<String> {
    let text = match (finding.rule.as_str(), finding.subject.as_str()) {
        (INTERFACE_DOWN, _) => "nothing is metered on this interface; it is attached as soon as it can be",
        (MAP_FULL, map::SOURCES) => {
            "packets of sources without an entry pass unjudged; raise `capacity.sources`"
        }
        (MAP_FULL, map::FLOWS) => "connections without an entry pass unmetered; raise `capacity.flows`",
        (MAP_FULL, _) => "messages are metered as ever, but some are counted under no called prefix",
        _ => return None,
    };
    Some(text.to_owned())
}

/// By [`Event::detail`] of [`EventKind::MapFull`].
const MAPS: [&str; 3] = [map::SOURCES, map::FLOWS, map::PREFIXES];

#[expect(clippy::cast_precision_loss, reason = "for a person to read")]
fn map_full(name: &str, count: u64) -> Finding {
    Finding {
        rule: MAP_FULL.into(),
        account: WHOLE_EDGE.into(),
        subject: name.into(),
        severity: Severity::Warning,
        observed: count as f64,
        threshold: 0.0,
        baseline: None,
        unit: "events".into(),
        window_secs: 1,
        evidence: Vec::new(),
    }
}

fn interface_down(name: &str) -> Finding {
    Finding {
        rule: INTERFACE_DOWN.into(),
        account: WHOLE_EDGE.into(),
        subject: name.into(),
        severity: Severity::Critical,
        observed: 0.0,
        threshold: 1.0,
        baseline: None,
        unit: "programs attached".into(),
        window_secs: 2,
        evidence: Vec::new(),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;
    use crate::dataplane::XdpModeObtained;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + second).unwrap()
    }

    fn full(detail: u64) -> Event {
        Event { at_ns: 0, kind: EventKind::MapFull as u32, account: 0, source: [0; 16], detail, value: 0 }
    }

    #[test]
    fn a_full_map_opens_one_alert_however_many_events_come() {
        let mut faults = Faults::default();
        for _ in 0..1000 {
            faults.event(&full(0), at(0));
        }
        let signals = faults.step([], at(0));
        assert!(
            matches!(&signals[..], [Signal::Open(finding)] if finding.subject == map::SOURCES),
            "{signals:?}"
        );
        faults.event(&full(0), at(1));
        assert_eq!(faults.step([], at(1)), []);
        faults.event(&full(0), at(61));
        assert!(
            matches!(&faults.step([], at(61))[..], [Signal::Update(finding)] if finding.observed > 1001.0)
        );
    }

    #[test]
    fn a_full_map_resolves_after_five_quiet_minutes() {
        let mut faults = Faults::default();
        faults.event(&full(1), at(0));
        faults.step([], at(0));
        assert_eq!(faults.step([], at(299)), []);
        assert!(
            matches!(&faults.step([], at(300))[..], [Signal::Resolve(finding)] if finding.subject == map::FLOWS)
        );
        assert_eq!(faults.step([], at(301)), []);
    }

    #[test]
    fn an_interface_that_goes_and_comes_back_opens_and_resolves() {
        let mut faults = Faults::default();
        let name = "eth0".to_owned();
        let attached = InterfaceState::Attached { mode: XdpModeObtained::Native, reason: None };
        assert_eq!(faults.step([(&name, &attached)], at(0)), []);
        let gone = faults.step([(&name, &InterfaceState::Absent)], at(1));
        assert!(matches!(&gone[..], [Signal::Open(finding)] if finding.subject == "eth0"));
        assert_eq!(faults.step([(&name, &InterfaceState::Absent)], at(2)), []);
        assert!(matches!(&faults.step([(&name, &attached)], at(3))[..], [Signal::Resolve(_)]));
    }

    #[test]
    fn an_alert_of_before_the_restart_is_resolved_when_it_is_over() {
        let mut faults = Faults::default();
        faults.adopt([&interface_down("eth0"), &map_full(map::FLOWS, 9)], at(0));
        assert!(
            matches!(&faults.step([], at(1))[..], [Signal::Resolve(finding)] if finding.subject == "eth0")
        );
        assert!(
            matches!(&faults.step([], at(400))[..], [Signal::Resolve(finding)] if finding.subject == map::FLOWS)
        );
    }
}
