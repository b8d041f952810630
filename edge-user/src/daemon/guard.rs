//! What Edge does by itself against scanners: temporary bans that lift themselves, in its own name, audited like
//! those of people.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use jiff::Timestamp;

use super::state::Daemon;
use crate::api::types::{AuditEntry, Measure, MeasureKind};
use crate::config::{Config, Scanning, ScanningAction};
use crate::detect::Scanner;

/// In place of a person's name.
pub(super) const EDGE: &str = "edge";
/// Bans in force that Edge set: addresses can be forged, and the table is the operator's too.
const MOST_BANS: usize = 10_000;

impl Daemon {
    /// Bans what was found, where the configuration says so.
    pub(super) async fn ban_scanners(self: &Arc<Self>, found: &[Scanner], now: Timestamp) {
        if found.is_empty() {
            return;
        }
        let _change = self.changes.lock().await;
        let bans = {
            let mut state = self.state();
            let config = Arc::clone(&state.config);
            if config.detect.scanning.action != ScanningAction::Ban {
                return;
            }
            let Some(kept) = &state.kept else {
                return tracing::warn!("scanners cannot be banned while the database does not answer");
            };
            let bans = bans(&config, found, &kept.measures, now);
            let was_full = std::mem::replace(&mut state.bans_are_full, bans.left_out > 0);
            if bans.left_out > 0 && !was_full {
                tracing::warn!(
                    most = MOST_BANS,
                    "Edge has set as many bans as it may: no more scanners are banned"
                );
            }
            bans
        };
        if bans.measures.is_empty() {
            return;
        }
        for (ban, _) in &bans.measures {
            tracing::warn!(prefix = ban.prefix, reason = ban.reason, "banned for a while");
        }
        if let Err(error) = self.impose(bans.measures).await {
            tracing::error!(%error, "scanners could not be banned");
        }
    }
}

/// What an alert about scanners says that Edge did; `is_full`: it has set as many bans as it may.
pub(super) fn action(config: &Scanning, is_full: bool) -> String {
    match config.action {
        ScanningAction::Alert => "nothing: `detect.scanning.action` is `alert`; limits hold".to_owned(),
        ScanningAction::Ban if is_full => {
            format!(
                "not all are banned: Edge has set {MOST_BANS} bans, and sets no more at once; limits hold"
            )
        }
        ScanningAction::Ban => format!("each is banned for {}", humantime::format_duration(config.ban_for)),
    }
}

/// What Edge is to ban.
#[derive(Debug, Default)]
struct Bans {
    /// With their audit entries.
    measures: Vec<(Measure, AuditEntry)>,
    /// Scanners that there is no ban left for.
    left_out: usize,
}

/// What an operator has said about a source stays, be it of more than the source, and so does a ban that is on. Nor is
/// the source of an account banned, whoever it was of when it was found.
fn bans(config: &Config, found: &[Scanner], in_force: &[Measure], now: Timestamp) -> Bans {
    let scanning = &config.detect.scanning;
    let Ok(expires_at) = now.checked_add(scanning.ban_for) else { return Bans::default() };
    let said: BTreeSet<&str> = in_force.iter().map(|measure| measure.prefix.as_str()).collect();
    let allowed = in_force.iter().filter(|measure| measure.kind == MeasureKind::Allow);
    let allowed = allowed.filter_map(|measure| measure.prefix.parse().ok());
    let of_accounts = config.accounts.values().flat_map(|account| account.sources.iter().copied());
    let spared: Vec<IpNet> = allowed.chain(of_accounts).collect();
    let own = in_force.iter().filter(|measure| measure.actor == EDGE).count();
    let ban = |scanner: &Scanner| {
        let source = prefix_of(scanner.source, config.ipv6_source_prefix)?;
        let is_spared = spared.iter().any(|net| net.contains(&source));
        let prefix = source.to_string();
        if is_spared || said.contains(prefix.as_str()) {
            return None;
        }
        let window = humantime::format_duration(scanning.window);
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
    let mut measures: Vec<_> = found.iter().filter_map(ban).collect();
    let left_out = measures.len().saturating_sub(MOST_BANS.saturating_sub(own));
    measures.truncate(measures.len() - left_out);
    Bans { measures, left_out }
}

/// What of an address is one source.
fn prefix_of(source: IpAddr, ipv6_source_prefix: u8) -> Option<IpNet> {
    let bits = if source.is_ipv4() { 32 } else { ipv6_source_prefix };
    IpNet::new(source, bits).ok().map(|net| net.trunc())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    fn config() -> Config {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("edge.toml");
        let text = "[[interfaces]]\nname = 'eth0'\n[detect.scanning]\naction = 'ban'\n[plans.open]\n\
                    [accounts.acme]\nsources = ['203.0.113.0/24', '2001:db8:1::/64']\nplan = 'open'\n";
        std::fs::write(&path, text).unwrap();
        crate::config::load(&path).unwrap_or_else(|problems| panic!("{problems}"))
    }

    fn banned(found: &[Scanner], in_force: &[Measure]) -> Vec<(Measure, AuditEntry)> {
        bans(&config(), found, in_force, Timestamp::UNIX_EPOCH).measures
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
        let bans = banned(&found, &[]);
        let prefixes: Vec<&str> = bans.iter().map(|(ban, _)| ban.prefix.as_str()).collect();
        assert_eq!(prefixes, ["192.0.2.7/32", "2001:db8:5:6::/64"]);
        let (ban, entry) = &bans[0];
        assert_eq!((ban.actor.as_str(), ban.expires_at.unwrap().as_second()), ("edge", 600));
        assert_eq!(ban.reason, "scanning: refused 64 times within 1m");
        assert_eq!((entry.action.as_str(), entry.subject.as_str()), ("measure.set", "192.0.2.7/32"));
    }

    #[test]
    fn what_is_said_about_a_source_already_stays() {
        for (prefix, kind) in [
            ("192.0.2.7/32", MeasureKind::Allow),
            ("192.0.2.0/24", MeasureKind::Allow),
            ("192.0.2.7/32", MeasureKind::Ban),
        ] {
            let said = [measure(prefix, kind, "root")];
            assert_eq!(banned(&[scanner("192.0.2.7")], &said), [], "{prefix}");
        }
        let wider = [measure("192.0.2.0/24", MeasureKind::Ban, "root")];
        assert_eq!(banned(&[scanner("192.0.2.7")], &wider).len(), 1, "it may end sooner");
    }

    #[test]
    fn a_source_that_is_an_accounts_by_now_is_not_banned() {
        let found = [scanner("203.0.113.7"), scanner("2001:db8:1::"), scanner("2001:db8:1:1::")];
        let bans = banned(&found, &[]);
        let prefixes: Vec<&str> = bans.iter().map(|(ban, _)| ban.prefix.as_str()).collect();
        assert_eq!(prefixes, ["2001:db8:1:1::/64"]);
    }

    #[test]
    fn edge_bans_only_so_many() {
        let full = vec![measure("198.51.100.1/32", MeasureKind::Ban, EDGE); MOST_BANS - 1];
        let found = [scanner("192.0.2.7"), scanner("192.0.2.8")];
        let bans = bans(&config(), &found, &full, Timestamp::UNIX_EPOCH);
        assert_eq!((bans.measures.len(), bans.left_out), (1, 1));
        assert!(action(&config().detect.scanning, bans.left_out > 0).starts_with("not all are banned"));
        let by_hand = vec![measure("198.51.100.1/32", MeasureKind::Ban, "root"); MOST_BANS];
        assert_eq!(banned(&found, &by_hand).len(), 2);
    }
}
