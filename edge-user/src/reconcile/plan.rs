//! The difference between wanted and installed, as steps in a safe order.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use edge_ebpf::abi::{Member, Policy, SystemId};
use ipnet::IpNet;

use super::{Desired, DesiredAccount, Installed, InstalledTrunk, ShownId, Step};
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
    /// More trunks than room. Those that the plan takes away count too: calls under way still hold their slots.
    #[error("{wanted} trunks, with those that go, do not fit the kernel's {capacity}")]
    TooManyTrunks {
        /// Trunks configured, and installed ones that are not.
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
    /// More caller IDs and sender IDs than room.
    #[error("{wanted} caller and sender IDs do not fit capacity.caller_ids = {capacity}")]
    TooManyCallerIds {
        /// Caller IDs and sender IDs configured.
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
/// 1. caller IDs and sender IDs that come, so that no policy looks for one that is not there yet;
/// 1. new accounts, changed policies, trunks that come or change;
/// 2. standings; prefixes that go, prefixes that come or move;
/// 3. trunks and accounts that go;
/// 4. new accounts that could only be given a number freed in 3, and their prefixes (which fall to the
///    account of unknown sources meanwhile; happens only when the accounts fill their map);
/// 5. ports and settings, so that a change to enforce finds the limits in place.
pub fn plan(desired: &Desired, installed: &Installed) -> Result<Plan, PlanError> {
    check(desired, installed)?;
    let numbers = Numbers::new(desired, installed);
    let owners = Owners::of(installed);
    let trunks = trunk_numbers(desired, installed)?;
    let wanted = wanted_prefixes(desired, &numbers, &trunks);
    let wanted_shown = wanted_shown_ids(desired, &numbers);
    let mut steps = Vec::new();

    for (key, name) in &wanted_shown {
        if !installed.shown_ids.contains(key) {
            let (number, id) = key.clone();
            steps.push(Step::AddShownId { number, account: (*name).to_owned(), id });
        }
    }
    for (name, account) in &desired.accounts {
        match installed.accounts.get(name) {
            None if !numbers.is_recycled(name) => steps.push(add_account(name, &numbers, desired)),
            Some(present) if present.policy != account.policy => {
                steps.push(set_policy(name, present.number, &present.policy, &account.policy));
            }
            None | Some(_) => {}
        }
    }

    for (name, wanted) in &trunks {
        let before = installed.trunks.get(name).map(|present| present.calls_max);
        if before != Some(wanted.calls_max) {
            let (number, after) = (wanted.number, wanted.calls_max);
            steps.push(Step::SetTrunk { number, name: name.clone(), before, after });
        }
    }

    standings(desired, installed, &mut steps);

    let mut late = Vec::new();
    for (prefix, member) in &installed.prefixes {
        let goes = wanted.get(prefix).is_none_or(|wish| numbers.is_recycled(wish.account));
        if goes {
            steps.push(Step::RemovePrefix { prefix: *prefix, owner: owners.name(*member) });
        }
    }
    for (prefix, wish) in &wanted {
        let before = installed.prefixes.get(prefix);
        let set =
            |before| Step::SetPrefix { prefix: *prefix, member: wish.member, owner: wish.owner(), before };
        if numbers.is_recycled(wish.account) {
            late.push(set(None));
        } else if before != Some(&wish.member) {
            steps.push(set(before.map(|member| owners.name(*member))));
        }
    }

    for (name, trunk) in &installed.trunks {
        if !trunks.contains_key(name) {
            steps.push(Step::RemoveTrunk { number: trunk.number, name: name.clone() });
        }
    }
    // Names that go or move are taken away first, while the numbers that they stand for are there.
    let named = wanted_system_ids(desired, &numbers);
    for (id, number) in &installed.system_ids {
        if named.get(id).is_none_or(|(_, wanted)| wanted != number) {
            steps.push(Step::RemoveSystemId {
                id: *id,
                account: owners.name(Member { account: *number, trunk: 0 }),
            });
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
    for key in &installed.shown_ids {
        if !wanted_shown.contains_key(key) {
            let (number, id) = key.clone();
            let account = owners.name(Member { account: number, trunk: 0 });
            steps.push(Step::RemoveShownId { number, account, id });
        }
    }
    for (id, (name, number)) in &named {
        if installed.system_ids.get(id) != Some(number) {
            steps.push(Step::SetSystemId { id: *id, number: *number, account: (*name).to_owned() });
        }
    }

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
    let prefixes = |account: &DesiredAccount| {
        let of_trunks = account.trunks.values().flat_map(|trunk| &trunk.prefixes);
        account.prefixes.iter().chain(of_trunks).map(IpNet::trunc).collect::<BTreeSet<_>>().len()
    };
    let prefixes = desired.accounts.values().map(prefixes).sum();
    if exceeds(prefixes, desired.prefix_capacity) {
        return Err(PlanError::TooManyPrefixes { wanted: prefixes, capacity: desired.prefix_capacity });
    }
    let shown_ids = desired.accounts.values().map(|account| account.shown_ids.len()).sum();
    if exceeds(shown_ids, desired.caller_id_capacity) {
        return Err(PlanError::TooManyCallerIds { wanted: shown_ids, capacity: desired.caller_id_capacity });
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
    /// plan frees come late, since their prefixes still point at them when the plan begins; and those under which calls
    /// and binds of an account that is gone go on come last, since whoever has the number has these too.
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
        let is_fresh = |number: &u32| !in_use.contains(number) && !installed.held.contains(number);
        let fresh = (1..desired.account_capacity).filter(is_fresh).map(|it| (it, false));
        let freed = freed.into_iter().map(|it| (it, true));
        let held = installed.held.iter().filter(|number| !in_use.contains(number)).map(|it| (*it, false));
        let mut free = fresh.chain(freed).chain(held);
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

/// Numbers and limits of the trunks that should be, by account and name. Those that are installed keep their number;
/// new ones take the lowest that no installed one has.
fn trunk_numbers(
    desired: &Desired,
    installed: &Installed,
) -> Result<BTreeMap<String, InstalledTrunk>, PlanError> {
    let in_use: BTreeSet<u32> = installed.trunks.values().map(|trunk| trunk.number).collect();
    let mut free = (1..desired.trunk_capacity).filter(|number| !in_use.contains(number));
    let mut trunks = BTreeMap::new();
    for (account, wish) in &desired.accounts {
        for (name, trunk) in &wish.trunks {
            let name = trunk_name(account, name);
            let present = installed.trunks.get(&name).map(|trunk| trunk.number);
            let Some(number) = present.or_else(|| free.next()) else {
                let new = |wish: &DesiredAccount| wish.trunks.len();
                return Err(PlanError::TooManyTrunks {
                    wanted: desired.accounts.values().map(new).sum::<usize>().max(in_use.len() + 1),
                    capacity: desired.trunk_capacity.saturating_sub(1),
                });
            };
            trunks.insert(name, InstalledTrunk { number, calls_max: trunk.calls_max });
        }
    }
    Ok(trunks)
}

/// No name has a slash in it.
fn trunk_name(account: &str, trunk: &str) -> String {
    format!("{account}/{trunk}")
}

/// Who is to send from a prefix.
struct Wish<'a> {
    account: &'a str,
    trunk: Option<&'a str>,
    member: Member,
}

impl Wish<'_> {
    fn owner(&self) -> String {
        self.trunk.map_or_else(|| self.account.to_owned(), |trunk| trunk_name(self.account, trunk))
    }
}

/// A trunk goes before its account. Where two accounts claim one prefix (configuration refuses that), the last wins.
fn wanted_prefixes<'a>(
    desired: &'a Desired,
    numbers: &Numbers,
    trunks: &BTreeMap<String, InstalledTrunk>,
) -> BTreeMap<IpNet, Wish<'a>> {
    let mut wanted = BTreeMap::new();
    for (name, account) in &desired.accounts {
        let number = numbers.of(name);
        for prefix in &account.prefixes {
            let member = Member { account: number, trunk: 0 };
            wanted.insert(prefix.trunc(), Wish { account: name, trunk: None, member });
        }
        for (trunk_of, trunk) in &account.trunks {
            let numbered = trunks.get(&trunk_name(name, trunk_of)).map_or(0, |trunk| trunk.number);
            let member = Member { account: number, trunk: numbered };
            for prefix in &trunk.prefixes {
                wanted.insert(prefix.trunc(), Wish { account: name, trunk: Some(trunk_of), member });
            }
        }
    }
    wanted
}

/// Account number and what the account may show to its name.
fn wanted_shown_ids<'a>(desired: &'a Desired, numbers: &Numbers) -> BTreeMap<(u32, ShownId), &'a str> {
    let of = |(name, account): (&'a String, &'a DesiredAccount)| {
        let number = numbers.of(name);
        account.shown_ids.iter().map(move |id| ((number, id.clone()), name.as_str()))
    };
    desired.accounts.iter().flat_map(of).collect()
}

/// `system_id` to name and number.
fn wanted_system_ids<'a>(desired: &'a Desired, numbers: &Numbers) -> BTreeMap<SystemId, (&'a str, u32)> {
    let mut wanted = BTreeMap::new();
    for (name, account) in &desired.accounts {
        for id in &account.system_ids {
            wanted.insert(*id, (name.as_str(), numbers.of(name)));
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

/// Names of what is installed, by number.
struct Owners<'a> {
    accounts: BTreeMap<u32, &'a str>,
    trunks: BTreeMap<u32, &'a str>,
}

impl<'a> Owners<'a> {
    fn of(installed: &'a Installed) -> Self {
        Self {
            accounts: installed.accounts.iter().map(|(name, it)| (it.number, name.as_str())).collect(),
            trunks: installed.trunks.iter().map(|(name, it)| (it.number, name.as_str())).collect(),
        }
    }

    fn name(&self, member: Member) -> String {
        let account = || {
            let name = self.accounts.get(&member.account);
            name.map_or_else(|| format!("#{}", member.account), |name| (*name).to_owned())
        };
        match (member.trunk, self.trunks.get(&member.trunk)) {
            (0, _) => account(),
            (_, Some(name)) => (*name).to_owned(),
            (number, None) => format!("{}/#{number}", account()),
        }
    }
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

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
