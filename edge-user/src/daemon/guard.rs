//! What Edge does by itself against scanners: temporary bans that lift themselves, in its own name, audited like
//! those of people.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use jiff::Timestamp;

use super::state::Daemon;
use crate::api::types::{AuditEntry, Measure, MeasureKind};
use crate::config::{Scanning, ScanningAction};
use crate::detect::Scanner;

/// In place of a person's name.
pub(super) const EDGE: &str = "edge";
/// Bans in force that Edge set: addresses can be forged, and the table is the operator's too.
const MOST_BANS: usize = 10_000;

impl Daemon {
    /// Bans what was found, where the configuration says so.
    pub(super) async fn ban_scanners(self: &Arc<Self>, found: &[Scanner], now: Timestamp) {
        let (config, source_prefix) = {
            let state = self.state();
            (state.config.detect.scanning.clone(), state.config.ipv6_source_prefix)
        };
        if found.is_empty() || config.action != ScanningAction::Ban {
            return;
        }
        let _change = self.changes.lock().await;
        let measures = {
            let state = self.state();
            let Some(kept) = &state.kept else {
                return tracing::warn!("scanners cannot be banned while the database does not answer");
            };
            bans(&config, source_prefix, found, &kept.measures, now)
        };
        if measures.is_empty() {
            return;
        }
        for (ban, _) in &measures {
            tracing::warn!(prefix = ban.prefix, reason = ban.reason, "banned for a while");
        }
        if let Err(error) = self.impose(measures).await {
            tracing::error!(%error, "scanners could not be banned");
        }
    }
}

/// What an alert about scanners says that Edge did.
pub(super) fn action(config: &Scanning) -> String {
    match config.action {
        ScanningAction::Alert => "nothing: `detect.scanning.action` is `alert`; limits hold".to_owned(),
        ScanningAction::Ban => format!("each is banned for {}", humantime::format_duration(config.ban_for)),
    }
}

/// Bans with their audit entries. What an operator has said about a source stays, and so does a ban that is on.
fn bans(
    config: &Scanning,
    ipv6_source_prefix: u8,
    found: &[Scanner],
    in_force: &[Measure],
    now: Timestamp,
) -> Vec<(Measure, AuditEntry)> {
    let Ok(expires_at) = now.checked_add(config.ban_for) else { return Vec::new() };
    let set: BTreeSet<&str> = in_force.iter().map(|measure| measure.prefix.as_str()).collect();
    let own = in_force.iter().filter(|measure| measure.actor == EDGE).count();
    let ban = |scanner: &Scanner| {
        let prefix = prefix_of(scanner.source, ipv6_source_prefix)?.to_string();
        if set.contains(prefix.as_str()) {
            return None;
        }
        let window = humantime::format_duration(config.window);
        let measure = Measure {
            prefix,
            kind: MeasureKind::Ban,
            actor: EDGE.to_owned(),
            reason: match &scanner.agent {
                Some(agent) => format!("scanning: its User-Agent begins `{agent}`"),
                None => format!("scanning: refused {} times within {window}", scanner.refusals),
            },
            set_at: now,
            expires_at: Some(expires_at),
        };
        let entry = AuditEntry {
            at: now,
            actor: EDGE.to_owned(),
            action: "measure.set".to_owned(),
            subject: measure.prefix.clone(),
            reason: measure.reason.clone(),
            before: "none".to_owned(),
            after: format!("ban until {expires_at:.0}"),
        };
        Some((measure, entry))
    };
    found.iter().filter_map(ban).take(MOST_BANS.saturating_sub(own)).collect()
}

/// What of an address is one source.
fn prefix_of(source: IpAddr, ipv6_source_prefix: u8) -> Option<IpNet> {
    let bits = if source.is_ipv4() { 32 } else { ipv6_source_prefix };
    IpNet::new(source, bits).ok().map(|net| net.trunc())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::alert::Severity;

    fn config() -> Scanning {
        Scanning {
            enabled: true,
            action: ScanningAction::Ban,
            threshold: 50,
            window: Duration::from_mins(1),
            ban_for: Duration::from_mins(10),
            severity: Severity::Warning,
        }
    }

    fn scanner(source: &str) -> Scanner {
        Scanner { source: source.parse().unwrap(), refusals: 64, agent: None }
    }

    fn measure(prefix: &str, kind: MeasureKind, actor: &str) -> Measure {
        let (prefix, actor) = (prefix.to_owned(), actor.to_owned());
        Measure {
            prefix,
            kind,
            actor,
            reason: String::new(),
            set_at: Timestamp::UNIX_EPOCH,
            expires_at: None,
        }
    }

    #[test]
    fn a_ban_is_of_the_source_for_a_while_and_in_the_name_of_edge() {
        let found = [scanner("192.0.2.7"), scanner("2001:db8:5:6::")];
        let bans = bans(&config(), 64, &found, &[], Timestamp::UNIX_EPOCH);
        let prefixes: Vec<&str> = bans.iter().map(|(ban, _)| ban.prefix.as_str()).collect();
        assert_eq!(prefixes, ["192.0.2.7/32", "2001:db8:5:6::/64"]);
        let (ban, entry) = &bans[0];
        assert_eq!((ban.actor.as_str(), ban.expires_at.unwrap().as_second()), ("edge", 600));
        assert_eq!(ban.reason, "scanning: refused 64 times within 1m");
        assert_eq!((entry.action.as_str(), entry.subject.as_str()), ("measure.set", "192.0.2.7/32"));
    }

    #[test]
    fn what_is_said_about_a_source_already_stays() {
        let said = [measure("192.0.2.7/32", MeasureKind::Allow, "root")];
        assert_eq!(bans(&config(), 64, &[scanner("192.0.2.7")], &said, Timestamp::UNIX_EPOCH), []);
    }

    #[test]
    fn edge_bans_only_so_many() {
        let full = vec![measure("198.51.100.1/32", MeasureKind::Ban, EDGE); MOST_BANS - 1];
        let found = [scanner("192.0.2.7"), scanner("192.0.2.8")];
        assert_eq!(bans(&config(), 64, &found, &full, Timestamp::UNIX_EPOCH).len(), 1);
        let by_hand = vec![measure("198.51.100.1/32", MeasureKind::Ban, "root"); MOST_BANS];
        assert_eq!(bans(&config(), 64, &found, &by_hand, Timestamp::UNIX_EPOCH).len(), 2);
    }
}
