//! The daemon's own rules: a map of the kernel is full, an interface is not attached, somebody else took Edge off it.

use std::collections::BTreeMap;

use edge_ebpf::abi::{Event, EventKind, FullMap, map};
use jiff::{SignedDuration, Timestamp};

use crate::alert::{Finding, Severity, Signal};
use crate::dataplane::InterfaceState;

/// Rule of a full map.
pub(super) const MAP_FULL: &str = "map_full";
/// Rule of an interface that nothing is attached to.
pub(super) const INTERFACE_DOWN: &str = "interface_down";
/// Rule of a link that somebody else removed, detached or gave another program.
pub(super) const LINK_LOST: &str = "link_lost";
/// Rule of a port that drops what it should answer, because its server left refusals unanswered.
pub(super) const REFUSALS_UNANSWERED: &str = "refusals_unanswered";
/// Rule of a count of slots that differed lastingly from the calls that hold them.
pub(super) const SLOTS_DRIFTED: &str = "slots_drifted";
/// In place of an account, for what concerns the whole edge.
pub(super) const WHOLE_EDGE: &str = "edge";

/// An episode is over when it has not happened again for that long.
const QUIET: SignedDuration = SignedDuration::from_mins(5);
/// An alert that is on is told again after that long at the earliest.
const UPDATE_EVERY: SignedDuration = SignedDuration::from_mins(1);

/// What is on.
#[derive(Debug, Default)]
pub(super) struct Faults {
    /// By rule and subject.
    episodes: BTreeMap<(&'static str, String), Episode>,
    down: BTreeMap<String, Finding>,
    /// Ports that fell back to drop.
    fallen: BTreeMap<String, Finding>,
}

/// What happens again and again: one alert, however often.
#[derive(Debug)]
struct Episode {
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
            if finding.rule == REFUSALS_UNANSWERED {
                self.fallen.insert(finding.subject.clone(), finding.clone());
            }
            if let Some(rule) =
                [MAP_FULL, LINK_LOST, SLOTS_DRIFTED].iter().find(|rule| finding.rule == **rule)
            {
                let episode = Episode { count: 0, last_seen: now, last_told: now, opened: true };
                self.episodes.insert((rule, finding.subject.clone()), episode);
            }
        }
    }

    /// Takes an event into account; anything but a full map is none of ours.
    pub(super) fn event(&mut self, event: &Event, now: Timestamp) {
        let kind = usize::try_from(event.kind).ok().and_then(EventKind::from_index);
        let full = usize::try_from(event.detail).ok().and_then(FullMap::from_index);
        if let (Some(EventKind::MapFull), Some(full)) = (kind, full) {
            self.happened(MAP_FULL, map_name(full), now);
        }
    }

    /// Somebody else took Edge off an interface; it was put right.
    pub(super) fn link_lost(&mut self, interface: &str, now: Timestamp) {
        self.happened(LINK_LOST, interface, now);
    }

    /// More or fewer slots were counted for an account or a trunk than calls hold; it was put right.
    pub(super) fn slots_drifted(&mut self, name: &str, now: Timestamp) {
        self.happened(SLOTS_DRIFTED, name, now);
    }

    fn happened(&mut self, rule: &'static str, subject: &str, now: Timestamp) {
        let episode = self.episodes.entry((rule, subject.to_owned())).or_insert(Episode {
            count: 0,
            last_seen: now,
            last_told: now,
            opened: false,
        });
        episode.count += 1;
        episode.last_seen = now;
    }

    /// What has changed, once a second.
    pub(super) fn step<'a>(
        &mut self,
        interfaces: impl IntoIterator<Item = (&'a String, &'a InterfaceState)>,
        now: Timestamp,
    ) -> Vec<Signal> {
        let mut signals = self.step_episodes(now);
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

    /// The ports that have fallen back to drop, with the refusals that nobody has answered: what has changed. It stays
    /// on until a reload lets them try again.
    pub(super) fn fallen_back(&mut self, ports: &[(u16, u64)]) -> Vec<Signal> {
        let mut signals = Vec::new();
        let mut over = std::mem::take(&mut self.fallen);
        for (port, unanswered) in ports {
            let subject = format!("port {port}");
            let finding = over.remove(&subject).unwrap_or_else(|| {
                let finding = unanswered_on(&subject, *unanswered);
                signals.push(Signal::Open(finding.clone()));
                finding
            });
            self.fallen.insert(subject, finding);
        }
        signals.extend(over.into_values().map(Signal::Resolve));
        signals
    }

    fn step_episodes(&mut self, now: Timestamp) -> Vec<Signal> {
        let mut signals = Vec::new();
        self.episodes.retain(|(rule, subject), episode| {
            let finding = happening(rule, subject, episode.count);
            if now.duration_since(episode.last_seen) >= QUIET {
                signals.push(Signal::Resolve(finding));
                return false;
            }
            if !episode.opened {
                signals.push(Signal::Open(finding));
                (episode.opened, episode.last_told) = (true, now);
            } else if episode.last_seen > episode.last_told
                && now.duration_since(episode.last_told) >= UPDATE_EVERY
            {
                signals.push(Signal::Update(finding));
                episode.last_told = now;
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
        (LINK_LOST, _) => "put right at once; `edgectl status` tells what was found: ask who did it",
        (REFUSALS_UNANSWERED, _) => {
            "messages over a limit are dropped on this port until `edgectl reload`; try the server by `edgectl doctor smpp`, or `doctor sip`"
        }
        (SLOTS_DRIFTED, _) => {
            "put right at once; the audit tells by how much: report it, it should not happen"
        }
        (MAP_FULL, map::SOURCES) => {
            "packets of sources without an entry pass unjudged; raise `capacity.sources`"
        }
        (MAP_FULL, map::FLOWS) => "connections without an entry pass unmetered; raise `capacity.flows`",
        (MAP_FULL, map::REFUSALS) => {
            "what is over a limit on connections without an entry is dropped, not answered"
        }
        (MAP_FULL, map::BINDS) => {
            "binds without an entry are metered by their source, not by their system_id"
        }
        (MAP_FULL, map::CALLS) => {
            "calls without an entry hold no slot, and count towards no limit; raise `capacity.calls`"
        }
        (MAP_FULL, _) => "messages are metered as ever, but some are counted under no called prefix",
        _ => return None,
    };
    Some(text.to_owned())
}

/// The map by its name in the object file.
const fn map_name(full: FullMap) -> &'static str {
    match full {
        FullMap::Sources => map::SOURCES,
        FullMap::Flows => map::FLOWS,
        FullMap::Prefixes => map::PREFIXES,
        FullMap::Calls => map::CALLS,
        FullMap::Refusals => map::REFUSALS,
        FullMap::Binds => map::BINDS,
    }
}

#[expect(clippy::cast_precision_loss, reason = "for a person to read")]
fn happening(rule: &str, subject: &str, count: u64) -> Finding {
    Finding {
        rule: rule.into(),
        account: WHOLE_EDGE.into(),
        subject: subject.into(),
        severity: Severity::Warning,
        observed: count as f64,
        threshold: 0.0,
        baseline: None,
        unit: "events".into(),
        window_secs: 1,
        evidence: Vec::new(),
    }
}

#[expect(clippy::cast_precision_loss, reason = "for a person to read")]
fn unanswered_on(subject: &str, unanswered: u64) -> Finding {
    Finding {
        rule: REFUSALS_UNANSWERED.into(),
        account: WHOLE_EDGE.into(),
        subject: subject.into(),
        severity: Severity::Critical,
        observed: unanswered as f64,
        threshold: 0.0,
        baseline: None,
        unit: "refusals unanswered".into(),
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
    use crate::dataplane::{EgressHook, XdpModeObtained};

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
    fn every_map_that_the_kernel_calls_full_is_an_alert_that_says_what_became_of_the_packets() {
        for full_map in FullMap::ALL {
            let mut faults = Faults::default();
            faults.event(&full(full_map.index() as u64), at(0));
            let signals = faults.step([], at(0));
            let [Signal::Open(finding)] = &signals[..] else { panic!("{full_map:?}: {signals:?}") };
            assert_eq!(finding.subject.to_lowercase(), full_map.name());
            assert!(action(finding).is_some());
        }
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
        let attached =
            InterfaceState::Attached { mode: XdpModeObtained::Native, reason: None, egress: EgressHook::Tcx };
        assert_eq!(faults.step([(&name, &attached)], at(0)), []);
        let gone = faults.step([(&name, &InterfaceState::Absent)], at(1));
        assert!(matches!(&gone[..], [Signal::Open(finding)] if finding.subject == "eth0"));
        assert_eq!(faults.step([(&name, &InterfaceState::Absent)], at(2)), []);
        assert!(matches!(&faults.step([(&name, &attached)], at(3))[..], [Signal::Resolve(_)]));
    }

    #[test]
    fn a_port_that_fell_back_is_one_alert_until_it_may_try_again_over_restarts_too() {
        let mut faults = Faults::default();
        let opened = faults.fallen_back(&[(2775, 40)]);
        let [Signal::Open(finding)] = &opened[..] else { panic!("{opened:?}") };
        assert_eq!((finding.subject.as_str(), finding.observed), ("port 2775", 40.0));
        assert!(action(finding).unwrap().contains("edgectl reload"));
        assert_eq!(faults.fallen_back(&[(2775, 60)]), []);

        let mut next = Faults::default();
        next.adopt([finding], at(0));
        assert_eq!(next.fallen_back(&[(2775, 60)]), []);
        assert!(matches!(&next.fallen_back(&[])[..], [Signal::Resolve(it)] if it.subject == "port 2775"));
        assert_eq!(next.fallen_back(&[]), []);
    }

    #[test]
    fn a_link_that_somebody_removes_again_and_again_is_one_alert() {
        let mut faults = Faults::default();
        faults.link_lost("eth0", at(0));
        faults.link_lost("eth0", at(2));
        let opened = faults.step([], at(2));
        assert!(
            matches!(&opened[..], [Signal::Open(finding)] if finding.rule == LINK_LOST && finding.subject == "eth0"),
            "{opened:?}"
        );
        assert_eq!(faults.step([], at(301)), []);
        assert!(matches!(&faults.step([], at(302))[..], [Signal::Resolve(_)]));
    }

    #[test]
    fn an_alert_of_before_the_restart_is_resolved_when_it_is_over() {
        let mut faults = Faults::default();
        faults.adopt([&interface_down("eth0"), &happening(MAP_FULL, map::FLOWS, 9)], at(0));
        assert!(
            matches!(&faults.step([], at(1))[..], [Signal::Resolve(finding)] if finding.subject == "eth0")
        );
        assert!(
            matches!(&faults.step([], at(400))[..], [Signal::Resolve(finding)] if finding.subject == map::FLOWS)
        );
    }
}
