//! The difference between wanted and installed, as steps in a safe order.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use edge_ebpf::abi::Policy;
use ipnet::IpNet;

use super::{Desired, Installed, Step};
use crate::config::UNKNOWN_ACCOUNT;

/// Steps from installed to desired; empty when nothing changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// In the order in which they are to be applied.
    pub steps: Vec<Step>,
}

/// Why there is no plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// More accounts than room.
    #[error("{wanted} accounts (`{UNKNOWN_ACCOUNT}` included) do not fit capacity.accounts = {capacity}")]
    TooManyAccounts {
        /// Accounts configured.
        wanted: usize,
        /// Room.
        capacity: u32,
    },
    /// More prefixes than room.
    #[error("{wanted} source prefixes do not fit capacity.prefixes = {capacity}")]
    TooManyPrefixes {
        /// Prefixes configured.
        wanted: usize,
        /// Room.
        capacity: u32,
    },
    /// More bans and allowances than room.
    #[error("{wanted} bans and allowances do not fit capacity.prefixes = {capacity}")]
    TooManyMeasures {
        /// Bans and allowances wanted.
        wanted: usize,
        /// Room.
        capacity: u32,
    },
    /// The numbers in the kernel's maps contradict each other.
    #[error("account `{name}` is installed under number {number}, which cannot be: {why}")]
    Foreign {
        /// Account.
        name: String,
        /// Number.
        number: u32,
        /// What is wrong.
        why: &'static str,
    },
}

impl Plan {
    /// Whether nothing changes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Whether sources must be resolved anew; when exactly, [`Step::changes_resolution`] says.
    #[must_use]
    pub fn needs_generation(&self) -> bool {
        self.steps.iter().any(Step::changes_resolution)
    }

    /// The dry run, one line a fact.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.steps.iter().flat_map(Step::lines).collect()
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("no changes");
        }
        f.write_str(&self.lines().join("\n"))
    }
}

/// What to do so that `installed` becomes `desired`.
///
/// An account that stays keeps its number, hence its buckets and counters. At every moment between two steps,
/// each prefix names a number that has a policy:
/// 1. new accounts, changed policies;
/// 2. standings; prefixes that go, prefixes that come or move;
/// 3. accounts that go;
/// 4. new accounts that could only be given a number freed in 3, and their prefixes (which fall to the
///    account of unknown sources meanwhile; happens only when the accounts fill their map);
/// 5. ports and settings, so that a change to enforce finds the limits in place.
pub fn plan(desired: &Desired, installed: &Installed) -> Result<Plan, PlanError> {
    check(desired, installed)?;
    let numbers = Numbers::new(desired, installed);
    let owners = owners(installed);
    let wanted = wanted_prefixes(desired, &numbers);
    let mut steps = Vec::new();

    for (name, account) in &desired.accounts {
        match installed.accounts.get(name) {
            None if !numbers.is_recycled(name) => steps.push(add_account(name, &numbers, desired)),
            Some(present) if present.policy != account.policy => {
                steps.push(set_policy(name, present.number, &present.policy, &account.policy));
            }
            None | Some(_) => {}
        }
    }

    standings(desired, installed, &mut steps);

    let mut late = Vec::new();
    for (prefix, number) in &installed.prefixes {
        let goes = wanted.get(prefix).is_none_or(|(name, _)| numbers.is_recycled(name));
        if goes {
            steps.push(Step::RemovePrefix { prefix: *prefix, account: owner(&owners, *number) });
        }
    }
    for (prefix, (name, number)) in &wanted {
        let before = installed.prefixes.get(prefix);
        if numbers.is_recycled(name) {
            late.push(set_prefix(*prefix, *number, name, None));
        } else if before != Some(number) {
            steps.push(set_prefix(*prefix, *number, name, before.map(|number| owner(&owners, *number))));
        }
    }

    for (name, account) in &installed.accounts {
        if !desired.accounts.contains_key(name) {
            steps.push(Step::RemoveAccount { number: account.number, name: name.clone() });
        }
    }

    for name in &numbers.recycled {
        steps.push(add_account(name, &numbers, desired));
    }
    steps.append(&mut late);

    if desired.ports != installed.ports {
        steps.push(Step::SetPorts { before: installed.ports.clone(), after: desired.ports.clone() });
    }
    if installed.settings != Some(desired.settings) {
        steps.push(Step::SetSettings { before: installed.settings, after: desired.settings });
    }
    Ok(Plan { steps })
}

fn check(desired: &Desired, installed: &Installed) -> Result<(), PlanError> {
    let exceeds =
        |wanted: usize, capacity: u32| u32::try_from(wanted).map_or(true, |wanted| wanted > capacity);
    if exceeds(desired.accounts.len(), desired.account_capacity) {
        return Err(PlanError::TooManyAccounts {
            wanted: desired.accounts.len(),
            capacity: desired.account_capacity,
        });
    }
    let prefixes = desired.accounts.values().map(|account| account.prefixes.len()).sum();
    if exceeds(prefixes, desired.prefix_capacity) {
        return Err(PlanError::TooManyPrefixes { wanted: prefixes, capacity: desired.prefix_capacity });
    }
    if exceeds(desired.standings.len(), desired.prefix_capacity) {
        return Err(PlanError::TooManyMeasures {
            wanted: desired.standings.len(),
            capacity: desired.prefix_capacity,
        });
    }
    let mut taken = BTreeSet::new();
    for (name, account) in &installed.accounts {
        let number = account.number;
        let foreign = |why| Err(PlanError::Foreign { name: name.clone(), number, why });
        if (name == UNKNOWN_ACCOUNT) != (number == 0) {
            return foreign("number 0 is that of unknown sources");
        }
        if number >= desired.account_capacity {
            return foreign("it is beyond capacity.accounts");
        }
        if !taken.insert(number) {
            return foreign("another account has it");
        }
    }
    Ok(())
}

/// Which number each desired account has.
struct Numbers {
    by_name: BTreeMap<String, u32>,
    /// New accounts whose number is only freed by this very plan.
    recycled: BTreeSet<String>,
}

impl Numbers {
    /// Names that are installed keep their number. New names take the lowest that is free; numbers which this
    /// plan frees come last, since their prefixes still point at them when the plan begins.
    fn new(desired: &Desired, installed: &Installed) -> Self {
        let mut by_name = BTreeMap::from([(UNKNOWN_ACCOUNT.to_owned(), 0)]);
        let in_use: BTreeSet<u32> = installed.accounts.values().map(|account| account.number).collect();
        let mut freed = Vec::new();
        for (name, account) in &installed.accounts {
            if desired.accounts.contains_key(name) {
                by_name.insert(name.clone(), account.number);
            } else if account.number != 0 {
                freed.push(account.number);
            }
        }
        freed.sort_unstable();
        let fresh = (1..desired.account_capacity).filter(|number| !in_use.contains(number));
        let mut free = fresh.map(|it| (it, false)).chain(freed.into_iter().map(|it| (it, true)));
        let mut recycled = BTreeSet::new();
        for name in desired.accounts.keys() {
            if by_name.contains_key(name) {
                continue;
            }
            // `check` has seen that there are enough.
            if let Some((number, is_recycled)) = free.next() {
                by_name.insert(name.clone(), number);
                if is_recycled {
                    recycled.insert(name.clone());
                }
            }
        }
        Self { by_name, recycled }
    }

    fn of(&self, name: &str) -> u32 {
        self.by_name.get(name).copied().unwrap_or(0)
    }

    fn is_recycled(&self, name: &str) -> bool {
        self.recycled.contains(name)
    }
}

/// Prefix to name and number. Where two accounts claim one prefix (configuration refuses that), the last wins.
fn wanted_prefixes<'a>(desired: &'a Desired, numbers: &Numbers) -> BTreeMap<IpNet, (&'a str, u32)> {
    let mut wanted = BTreeMap::new();
    for (name, account) in &desired.accounts {
        for prefix in &account.prefixes {
            wanted.insert(prefix.trunc(), (name.as_str(), numbers.of(name)));
        }
    }
    wanted
}

fn standings(desired: &Desired, installed: &Installed, steps: &mut Vec<Step>) {
    for (prefix, after) in &desired.standings {
        let before = installed.standings.get(prefix).copied();
        if before != Some(*after) {
            steps.push(Step::SetStanding { prefix: *prefix, before, after: *after });
        }
    }
    for (prefix, before) in &installed.standings {
        if !desired.standings.contains_key(prefix) {
            steps.push(Step::RemoveStanding { prefix: *prefix, before: *before });
        }
    }
}

fn owners(installed: &Installed) -> BTreeMap<u32, &str> {
    installed.accounts.iter().map(|(name, account)| (account.number, name.as_str())).collect()
}

fn owner(owners: &BTreeMap<u32, &str>, number: u32) -> String {
    owners.get(&number).map_or_else(|| format!("#{number}"), |name| (*name).to_owned())
}

fn add_account(name: &str, numbers: &Numbers, desired: &Desired) -> Step {
    let account = desired.accounts.get(name);
    Step::AddAccount {
        number: numbers.of(name),
        name: name.to_owned(),
        plan: account.map_or_else(String::new, |account| account.plan.clone()),
        policy: Box::new(account.map_or(Policy::OPEN, |account| account.policy)),
    }
}

fn set_policy(name: &str, number: u32, before: &Policy, after: &Policy) -> Step {
    Step::SetPolicy { number, name: name.to_owned(), before: Box::new(*before), after: Box::new(*after) }
}

fn set_prefix(prefix: IpNet, number: u32, account: &str, before: Option<String>) -> Step {
    Step::SetPrefix { prefix, number, account: account.to_owned(), before }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
