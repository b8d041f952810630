//! From configuration and commands to the kernel: the one path for start, reload, set, unset and expiry.

use std::collections::BTreeMap;

use edge_ebpf::abi::{Class, Policy, StandingKind, policy_flag};
use ipnet::IpNet;

use super::clock;
use super::state::{Daemon, Kept, Kernel};
use crate::api::types::MeasureKind;
use crate::config::Config;
use crate::dataplane::{Clocks, DataplaneError};
use crate::reconcile::{
    Desired, Installed, InstalledAccount, InstalledTrunk, LimitOverride, Plan, PlanError, Standing, Step,
    plan,
};
use crate::store;

/// Lines of a plan that log and audit show.
const LOGGED_LINES: usize = 100;

/// Why the kernel was not brought to what is wanted. What it had before goes on.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// The kernel.
    #[error(transparent)]
    Dataplane(#[from] DataplaneError),
    /// What is wanted does not fit what is installed.
    #[error(
        "{0}; the size of a map is fixed when it is made: raise it, then `edgectl detach` and start again"
    )]
    Plan(#[from] PlanError),
}

/// Makes the plan and applies it; answers with the plan and the accounts and trunks that are then installed. Blocks.
pub(super) fn reconcile(
    kernel: &mut Kernel,
    config: &Config,
    kept: Option<&Kept>,
    clocks: &Clocks,
) -> Result<(Plan, InPlace), ReconcileError> {
    let (plan, installed) = dry_run(kernel, config, kept, clocks)?;
    kernel.accounts.apply(&plan)?;
    let in_place = InPlace { accounts: installed.accounts, trunks: installed.trunks }.after(&plan);
    Ok((plan, in_place))
}

/// Whose numbers the kernel knows.
#[derive(Debug, Default)]
pub(super) struct InPlace {
    /// By name.
    pub(super) accounts: BTreeMap<String, InstalledAccount>,
    /// By account and name.
    pub(super) trunks: BTreeMap<String, InstalledTrunk>,
}

/// Makes the plan and changes nothing. Blocks.
pub(super) fn dry_run(
    kernel: &mut Kernel,
    config: &Config,
    kept: Option<&Kept>,
    clocks: &Clocks,
) -> Result<(Plan, Installed), ReconcileError> {
    let mut installed = kernel.accounts.read()?;
    let mut desired = desired(config, kept, &installed, clocks);
    // A walk of a large map, for the few plans in which accounts come.
    if desired.accounts.keys().any(|name| !installed.accounts.contains_key(name)) {
        installed.held = kernel.accounts.held(&installed.accounts)?;
    }
    desired.account_capacity = kernel.accounts.capacity();
    desired.prefix_capacity = kernel.accounts.prefix_capacity();
    desired.trunk_capacity = kernel.accounts.trunk_capacity();
    desired.caller_id_capacity = kernel.accounts.caller_id_capacity();
    let plan = plan(&desired, &installed)?;
    Ok((plan, installed))
}

/// The configuration and what was set by command. What that is the database tells; while it does not answer, what is
/// installed of it stays, and the configuration holds for the rest.
fn desired(config: &Config, kept: Option<&Kept>, installed: &Installed, clocks: &Clocks) -> Desired {
    let (limits, standings) = match kept {
        Some(kept) => (overrides(&kept.limits), standings(kept, &installed.standings, clocks)),
        None => (installed.set_by_command(), installed.standings.clone()),
    };
    let mut desired = Desired::new(config, &limits, &standings);
    for (name, account) in &mut desired.accounts {
        let is_suspended = match kept {
            Some(kept) => kept.suspensions.iter().any(|suspension| suspension.account == *name),
            None => installed.accounts.get(name).is_some_and(|account| is_suspended(&account.policy)),
        };
        if is_suspended {
            account.policy.flags |= policy_flag::SUSPENDED;
        }
    }
    desired
}

fn is_suspended(policy: &Policy) -> bool {
    policy.flags & policy_flag::SUSPENDED != 0
}

impl Daemon {
    /// Both clocks, the wall clock as far as it is believed: what was set for a while ends by them.
    pub(super) fn believed_clocks(&self) -> Clocks {
        let clocks = clock::clocks();
        Clocks { wall: self.believed(clocks.wall), ..clocks }
    }

    /// Brings the kernel to the configuration in force and what was set by command; where that fails, the tick tries
    /// again. Blocks.
    pub(super) fn reconcile_now(&self) -> Result<Plan, ReconcileError> {
        self.bring_up_to_date(&mut self.kernel())
    }

    /// The same for who has the kernel already.
    pub(super) fn bring_up_to_date(&self, kernel: &mut Kernel) -> Result<Plan, ReconcileError> {
        let (config, kept) = {
            let state = self.state();
            (state.config.clone(), state.kept.clone())
        };
        let reconciled = reconcile(kernel, &config, kept.as_ref(), &self.believed_clocks());
        let mut state = self.state();
        match reconciled {
            Ok((plan, in_place)) => {
                state.put_in_place(in_place);
                if state.behind.take().is_some() {
                    tracing::info!("the kernel is brought up to date");
                }
                log_lines(&plan.lines());
                Ok(plan)
            }
            Err(error) => {
                let why = error.to_string();
                // One line, not one a second.
                if state.behind.as_ref() != Some(&why) {
                    tracing::error!(%error, "the kernel was not brought up to date; edged goes on trying");
                }
                state.behind = Some(why);
                Err(error)
            }
        }
    }
}

/// A plan in the log.
pub(super) fn log_lines(lines: &[String]) {
    for line in shortened(lines) {
        tracing::info!("{line}");
    }
}

/// The head of a long plan, for log and audit: the first start with 100,000 accounts has as many lines.
pub(super) fn shortened(lines: &[String]) -> Vec<String> {
    let mut head: Vec<String> = lines.iter().take(LOGGED_LINES).cloned().collect();
    if let Some(more) = lines.len().checked_sub(LOGGED_LINES).filter(|more| *more > 0) {
        head.push(format!("… and {more} more"));
    }
    head
}

/// Overrides in the form that reconciliation wants. What does not read was written by another version: it is
/// left out and said, since half a configuration is better than none.
pub(super) fn overrides(limits: &[store::LimitOverride]) -> Vec<LimitOverride> {
    let convert = |limit: &store::LimitOverride| {
        let class = Class::from_name(&limit.class)?;
        let rate = limit.limit.parse().ok()?;
        Some(LimitOverride { account: limit.account.clone(), scope: limit.scope, class, limit: rate })
    };
    limits
        .iter()
        .filter_map(|limit| {
            let converted = convert(limit);
            if converted.is_none() {
                tracing::warn!(
                    limit = limit.subject(),
                    "a limit set by command cannot be read and is left out"
                );
            }
            converted
        })
        .collect()
}

fn standings(
    kept: &Kept,
    installed: &BTreeMap<IpNet, Standing>,
    clocks: &Clocks,
) -> BTreeMap<IpNet, Standing> {
    let convert = |measure: &crate::api::types::Measure| {
        let prefix: IpNet = measure.prefix.parse().ok()?;
        let kind = match measure.kind {
            MeasureKind::Ban => StandingKind::Banned,
            MeasureKind::Allow => StandingKind::Allowed,
        };
        let before = installed.get(&prefix).map(|standing| standing.until_ns);
        Some((prefix, Standing { kind, until_ns: clocks.until_ns(measure.expires_at, before) }))
    };
    kept.measures.iter().filter_map(convert).collect()
}

impl InPlace {
    fn after(mut self, plan: &Plan) -> Self {
        for step in &plan.steps {
            match step {
                Step::AddAccount { number, name, policy, .. } => {
                    self.accounts
                        .insert(name.clone(), InstalledAccount { number: *number, policy: **policy });
                }
                Step::SetPolicy { number, name, after, .. } => {
                    self.accounts.insert(name.clone(), InstalledAccount { number: *number, policy: **after });
                }
                Step::RemoveAccount { name, .. } => {
                    self.accounts.remove(name);
                }
                Step::SetTrunk { number, name, after, .. } => {
                    self.trunks.insert(name.clone(), InstalledTrunk { number: *number, calls_max: *after });
                }
                Step::RemoveTrunk { name, .. } => {
                    self.trunks.remove(name);
                }
                _ => {}
            }
        }
        self
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::api::types::{LimitChange, Measure, Scope};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn ban(prefix: &str, expires_at: Option<Timestamp>) -> Measure {
        Measure {
            prefix: prefix.into(),
            kind: MeasureKind::Ban,
            actor: "root".into(),
            reason: String::new(),
            set_at: at(0),
            expires_at,
        }
    }

    #[test]
    fn a_measure_keeps_the_end_that_the_kernel_has() {
        let clocks = Clocks { wall: at(100), monotonic_ns: 1_000_000_000 };
        let kept = Kept { measures: vec![ban("203.0.113.0/24", Some(at(160)))], ..Kept::default() };
        let first = standings(&kept, &BTreeMap::new(), &clocks);
        let later = Clocks { wall: at(110), monotonic_ns: 11_400_000_000 };
        assert_eq!(standings(&kept, &first, &later), first, "0.4 s of drift change nothing");
    }

    /// An `edged` that starts while its database does not answer, after one that knew of a limit for `acme`.
    #[test]
    fn limits_set_by_command_stay_while_the_database_does_not_answer_and_the_configuration_holds_for_the_rest()
     {
        let before = config("account.sip.invite = '5/s'\naccount.sip.options = '6/s'");
        let set =
            [limit("sip.invite", "7/s"), limit("sip.register", "0/s"), limit("sip.message", "unlimited")];
        let kept = Kept { limits: set.to_vec(), ..Kept::default() };
        let clocks = Clocks { wall: at(100), monotonic_ns: 1_000_000_000 };
        let known = desired(&before, Some(&kept), &Installed::default(), &clocks);
        let installed = as_installed(&known);
        assert_eq!(desired(&before, None, &installed, &clocks), known);
        assert_eq!(
            desired(&before, Some(&Kept::default()), &installed, &clocks),
            desired(&before, Some(&Kept::default()), &Installed::default(), &clocks)
        );

        let after = config("account.sip.invite = '1/s'\naccount.sip.options = '2/s'");
        let unknown = desired(&after, None, &installed, &clocks);
        assert_eq!(unknown, desired(&after, Some(&kept), &installed, &clocks));
        let options = |desired: &Desired| desired.accounts["acme"].policy.account[Class::SipOptions.index()];
        assert_ne!(options(&unknown), options(&known), "what the configuration says has changed");
    }

    /// `acme` under a plan of these limits.
    fn config(plan: &str) -> Config {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("edge.toml");
        let acme = "[accounts.acme]\nsources = ['203.0.113.0/24']\nplan = 'tested'";
        let text = format!("[[interfaces]]\nname = 'eth0'\n[plans.tested]\n{plan}\n{acme}\n");
        std::fs::write(&path, text).unwrap();
        crate::config::load(&path).unwrap_or_else(|problems| panic!("{problems}"))
    }

    fn as_installed(desired: &Desired) -> Installed {
        let mut names: Vec<&String> = desired.accounts.keys().collect();
        names.sort_by_key(|name| *name != crate::config::UNKNOWN_ACCOUNT);
        let installed = |(number, name): (u32, &String)| {
            (name.clone(), InstalledAccount { number, policy: desired.accounts[name].policy })
        };
        Installed { accounts: (0..).zip(names).map(installed).collect(), ..Installed::default() }
    }

    fn limit(class: &str, limit: &str) -> store::LimitOverride {
        store::LimitOverride {
            account: "acme".into(),
            scope: Scope::Account,
            class: class.into(),
            limit: limit.into(),
            change: LimitChange {
                actor: "root".into(),
                reason: String::new(),
                set_at: at(0),
                expires_at: None,
            },
        }
    }

    #[test]
    fn a_long_plan_is_cut_and_says_by_how_much() {
        let lines = |count: usize| (0..count).map(|line| format!("+ {line}")).collect::<Vec<_>>();
        assert_eq!(shortened(&lines(LOGGED_LINES)), lines(LOGGED_LINES));
        let cut = shortened(&lines(LOGGED_LINES + 7));
        assert_eq!((cut.len(), cut[LOGGED_LINES].as_str()), (LOGGED_LINES + 1, "… and 7 more"));
    }

    #[test]
    fn an_override_that_does_not_read_is_left_out() {
        let typed = overrides(&[
            limit("sip.invite", "5/s"),
            limit("sip.nothing", "5/s"),
            limit("sip.options", "fast"),
        ]);
        assert_eq!(typed.len(), 1);
        assert_eq!(typed[0].class, Class::SipInvite);
    }
}
