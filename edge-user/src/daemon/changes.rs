//! What a configuration changes, one line each, as `edgectl plan` and `edgectl reload` show it.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::time::Duration;

use ipnet::IpNet;

use super::guard::EDGE;
use super::reload::invalid;
use super::state::Kept;
use crate::api::types::{ApiError, MeasureKind};
use crate::config::{Config, Detect, Numbers};
use crate::reconcile::Plan;

/// Changes of the kernel, what is `said` of commands and secrets, and changes of the daemon itself.
pub(super) fn changes(plan: &Plan, before: &Config, after: &Config, said: Vec<String>) -> Vec<String> {
    let mut lines = plan.lines();
    lines.extend(said);
    for interface in &after.interfaces {
        if !before.interfaces.contains(interface) {
            lines.push(format!("+ interface {} ({:?})", interface.name, interface.xdp_mode).to_lowercase());
        }
    }
    for interface in &before.interfaces {
        if !after.interfaces.iter().any(|it| it.name == interface.name) {
            lines.push(format!("- interface {}", interface.name));
        }
    }
    lines.extend(fields(before, after));
    for (what, differs) in [
        ("metrics.listen", before.metrics_listen != after.metrics_listen),
        ("paths", before.paths != after.paths),
    ] {
        if differs {
            lines.push(format!("! {what} takes effect with the next start of edged"));
        }
    }
    if before.capacity != after.capacity {
        lines.push("! capacity takes effect after `edgectl detach` and a new start".to_owned());
    }
    // Whatever has no line of its own.
    if lines.is_empty() && (Config { path: after.path.clone(), ..before.clone() }) != *after {
        lines.push(
            "~ what changes is in no use now: a plan without accounts, a default written out".to_owned(),
        );
    }
    lines
}

/// What the daemon goes by, and not the kernel.
fn fields(before: &Config, after: &Config) -> Vec<String> {
    fn line(key: &str, before: impl Display, after: impl Display) -> Option<String> {
        let (before, after) = (before.to_string(), after.to_string());
        (before != after).then(|| format!("~ {key} {before} -> {after}"))
    }
    let numbers = |config: &Config| match config.records.numbers {
        Numbers::Full => "full",
        Numbers::Masked => "masked",
        Numbers::None => "none",
    };
    let time = |time: Duration| humantime::format_duration(time).to_string();
    let mut lines: Vec<String> = [
        line("records.numbers", numbers(before), numbers(after)),
        line("records.retention", time(before.records.retention), time(after.records.retention)),
        line("records.max_rows", before.records.max_rows, after.records.max_rows),
        line("history_retention", time(before.history_retention), time(after.history_retention)),
    ]
    .into_iter()
    .flatten()
    .collect();
    lines.extend(detectors(&before.detect, &after.detect));
    let names: BTreeSet<&String> = before.webhooks.keys().chain(after.webhooks.keys()).collect();
    for name in names {
        match (before.webhooks.get(name), after.webhooks.get(name)) {
            (None, _) => lines.push(format!("+ webhook {name}")),
            (_, None) => lines.push(format!("- webhook {name}")),
            (before, after) if before != after => lines.push(format!("~ webhook {name}")),
            _ => {}
        }
    }
    lines
}

fn detectors(before: &Detect, after: &Detect) -> impl Iterator<Item = String> {
    let differing = [
        ("spike", before.spike != after.spike),
        ("pumping", before.pumping != after.pumping),
        ("undelivered", before.undelivered != after.undelivered),
        ("scanning", before.scanning != after.scanning),
        ("caller_id", before.caller_id != after.caller_id),
        ("sender_id", before.sender_id != after.sender_id),
    ];
    differing.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| format!("~ detect.{name}"))
}

/// Endpoints whose secrets are others than those in use, though the configuration may read the same.
pub(super) fn secrets(endpoints: &[String]) -> impl Iterator<Item = String> {
    endpoints.iter().map(|name| format!("~ webhook {name}: its secrets"))
}

/// What becomes of that which was set by command; or why the configuration cannot be, because of it.
pub(super) fn of_commands(
    before: &Config,
    after: &Config,
    kept: Option<&Kept>,
) -> Result<Vec<String>, ApiError> {
    let Some(kept) = kept else { return Ok(Vec::new()) };
    let mut lines = Vec::new();
    let fate = |account: &String| match (
        before.accounts.contains_key(account),
        after.accounts.contains_key(account),
    ) {
        (true, false) => Some(format!("holds for nobody until there is an account {account} again")),
        (false, true) => Some("holds again".to_owned()),
        _ => None,
    };
    for limit in &kept.limits {
        if let Some(fate) = fate(&limit.account) {
            lines.push(format!("! the limit {} set by command for {} {fate}", limit.limit, limit.subject()));
        }
    }
    for suspension in &kept.suspensions {
        if let Some(fate) = fate(&suspension.account) {
            lines.push(format!("! the suspension of {} {fate}", suspension.account));
        }
    }
    if before.ipv6_source_prefix == after.ipv6_source_prefix {
        return Ok(lines);
    }
    let (mut problems, mut own) = (Vec::new(), 0_u64);
    for measure in dead_measures(kept, after) {
        if measure.actor == EDGE {
            own += 1;
            continue;
        }
        let what = match measure.kind {
            MeasureKind::Ban => "ban",
            MeasureKind::Allow => "allowance",
        };
        problems.push(format!(
            "ipv6_source_prefix: {length} takes sources together that the {what} of {prefix} holds for a part of: it \
             would hold for nobody. Lift it, or set it for the whole /{length}",
            length = after.ipv6_source_prefix,
            prefix = measure.prefix,
        ));
    }
    if !problems.is_empty() {
        return Err(invalid(problems));
    }
    if own > 0 {
        lines.push(format!(
            "! {own} bans that Edge has set hold for nobody from now on: their sources are larger"
        ));
    }
    Ok(lines)
}

/// Measures of less than what a configuration calls one source.
pub(super) fn dead_measures<'a>(
    kept: &'a Kept,
    config: &Config,
) -> impl Iterator<Item = &'a crate::api::types::Measure> {
    let most = config.ipv6_source_prefix;
    kept.measures.iter().filter(
        move |measure| matches!(measure.prefix.parse(), Ok(IpNet::V6(net)) if net.prefix_len() > most),
    )
}

/// What was set by command for accounts that there are not.
pub(super) fn orphans(kept: &Kept, config: &Config) -> Vec<String> {
    let is_orphan = |account: &String| !config.accounts.contains_key(account);
    let limits = kept.limits.iter().filter(|limit| is_orphan(&limit.account));
    let limits = limits.map(|limit| format!("the limit set by command for {}", limit.subject()));
    let suspensions = kept.suspensions.iter().filter(|suspension| is_orphan(&suspension.account));
    limits.chain(suspensions.map(|it| format!("the suspension of {}", it.account))).collect()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::api::types::{LimitChange, Measure, Scope, Suspension};
    use crate::store::LimitOverride;

    const ACME: &str = "[accounts.acme]\nsources = ['203.0.113.0/24']\nplan = 'open'\n";

    fn config(keys: &str, sections: &str) -> Config {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("edge.toml");
        std::fs::write(&path, format!("{keys}\n[[interfaces]]\nname = 'eth0'\n[plans.open]\n{sections}"))
            .unwrap();
        crate::config::load(&path).unwrap_or_else(|problems| panic!("{problems}"))
    }

    fn between(before: &Config, after: &Config) -> Vec<String> {
        changes(&Plan::default(), before, after, Vec::new())
    }

    fn kept() -> Kept {
        let limit = LimitOverride {
            account: "acme".into(),
            scope: Scope::Account,
            class: "sip.invite".into(),
            limit: "5/s burst 5".into(),
            change: LimitChange {
                actor: "root".into(),
                reason: String::new(),
                set_at: Timestamp::UNIX_EPOCH,
                expires_at: None,
            },
        };
        let suspension = Suspension {
            account: "acme".into(),
            actor: "root".into(),
            reason: String::new(),
            set_at: Timestamp::UNIX_EPOCH,
            expires_at: None,
        };
        Kept { limits: vec![limit], suspensions: vec![suspension], measures: Vec::new() }
    }

    #[test]
    fn what_the_daemon_itself_goes_by_has_a_line_each() {
        let before = config("", ACME);
        assert_eq!(between(&before, &config("", ACME)), Vec::<String>::new());
        let sections = format!(
            "[records]\nnumbers = 'none'\nretention = '2h'\nmax_rows = 5000\n[detect.scanning]\nthreshold = 7\n{ACME}"
        );
        let lines = between(&before, &config("history_retention = '7days'", &sections));
        let keys: Vec<&str> = lines.iter().map(|line| line.split(' ').nth(1).unwrap()).collect();
        let expected = [
            "records.numbers",
            "records.retention",
            "records.max_rows",
            "history_retention",
            "detect.scanning",
        ];
        assert_eq!(keys, expected, "{lines:?}");
        assert!(lines.contains(&"~ history_retention 30days -> 7days".to_owned()), "{lines:?}");
    }

    #[test]
    fn a_change_that_nothing_else_tells_of_is_a_change() {
        let lines = between(&config("", ACME), &config("", &format!("[plans.unused]\n{ACME}")));
        assert!(lines.len() == 1 && lines[0].contains("in no use"), "{lines:?}");
    }

    #[test]
    fn what_was_set_by_command_for_an_account_that_goes_or_comes_is_told_of() {
        let (with, without) = (config("", ACME), config("", ""));
        let told = |before, after| of_commands(before, after, Some(&kept())).unwrap();
        let gone = told(&with, &without);
        assert!(gone.len() == 2 && gone.iter().all(|line| line.starts_with("! ")), "{gone:?}");
        assert!(gone[0].contains("5/s burst 5") && gone[1].contains("suspension of acme"), "{gone:?}");
        assert!(told(&without, &with).iter().all(|line| line.ends_with("holds again")));
        assert_eq!((told(&with, &with), told(&without, &without)), (vec![], vec![]));
        assert_eq!((orphans(&kept(), &with).len(), orphans(&kept(), &without).len()), (0, 2));
    }

    #[test]
    fn a_source_that_grows_beyond_a_measure_of_a_person_is_a_problem_and_of_edge_a_line() {
        let measure = |prefix: &str, actor: &str| Measure {
            prefix: prefix.into(),
            kind: MeasureKind::Ban,
            actor: actor.into(),
            reason: String::new(),
            set_at: Timestamp::UNIX_EPOCH,
            expires_at: None,
        };
        let (before, after) = (config("ipv6_source_prefix = 64", ""), config("ipv6_source_prefix = 56", ""));
        let with = |measures: Vec<Measure>| {
            let kept = Kept { measures, ..Kept::default() };
            of_commands(&before, &after, Some(&kept))
        };
        assert_eq!(with(vec![measure("2001:db8::/56", "root"), measure("192.0.2.7/32", "root")]), Ok(vec![]));
        let refused =
            with(vec![measure("2001:db8::/64", "root"), measure("2001:db8:1::/64", EDGE)]).unwrap_err();
        assert_eq!((refused.code.as_str(), refused.problems.len()), ("invalid_config", 1));
        assert!(refused.problems[0].contains("ban of 2001:db8::/64"), "{refused:?}");
        assert_eq!(with(vec![measure("2001:db8:1::/64", EDGE)]).unwrap().len(), 1);
    }
}
