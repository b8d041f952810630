//! What holds for an account. Limits: one set by command, else the account's own, else its plan's; scope by scope. The mode:
//! observe for all, else the account's own.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;

use edge_ebpf::abi::{Class, Policy, policy_flag};
use edge_user::api::types::Scope;
use edge_user::config::{self, Config};
use edge_user::rate::Rate;
use edge_user::reconcile::{Desired, Installed, InstalledAccount, LimitOverride, plan};

const CONFIG: &str = "\
[[interfaces]]
name = 'eth0'
[plans.standard]
source.sip.invite = '1/s burst 1'
registered.sip.invite = '2/s burst 2'
source.sip.options = '3/s burst 3'
[accounts.acme]
sources = ['203.0.113.0/25']
plan = 'standard'
[accounts.own]
sources = ['203.0.113.128/25']
plan = 'standard'
limits.source.sip.invite = '4/s burst 4'
";

fn loaded(text: &str) -> Config {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("edge.toml");
    std::fs::write(&path, text).unwrap();
    config::load(&path).unwrap_or_else(|problems| panic!("{problems}"))
}

fn policy_of(account: &str, set: &[(Scope, &str)]) -> Policy {
    let config = loaded(CONFIG);
    let overrides: Vec<LimitOverride> = set
        .iter()
        .map(|(scope, limit)| LimitOverride {
            account: account.to_owned(),
            scope: *scope,
            class: Class::SipInvite,
            limit: limit.parse().unwrap(),
        })
        .collect();
    Desired::new(&config, &overrides, &BTreeMap::new()).accounts[account].policy
}

/// Of each source, and of each that has registered.
fn invites(policy: &Policy) -> (String, String) {
    let text = |limits: &[_]| Rate::from_limit(limits[Class::SipInvite.index()]).to_string();
    (text(&policy.source), text(&policy.registered))
}

fn pair(source: &str, registered: &str) -> (String, String) {
    (source.to_owned(), registered.to_owned())
}

#[test]
fn a_registered_source_has_its_own_limit_where_the_plan_has_one_and_no_account_says_otherwise() {
    let plan = policy_of("acme", &[]);
    assert_eq!(invites(&plan), pair("1/s burst 1", "2/s burst 2"));
    let options = Class::SipOptions.index();
    assert_eq!(plan.registered[options], plan.source[options], "where it says nothing, as each source");
    assert_eq!(invites(&policy_of("own", &[])), pair("4/s burst 4", "4/s burst 4"));
}

#[test]
fn what_is_set_of_registered_sources_holds_for_them_alone() {
    let set = policy_of("acme", &[(Scope::Registered, "9/s burst 9")]);
    assert_eq!(invites(&set), pair("1/s burst 1", "9/s burst 9"));
    let own = policy_of("own", &[(Scope::Registered, "9/s burst 9")]);
    assert_eq!(invites(&own), pair("4/s burst 4", "9/s burst 9"));
}

#[test]
fn what_is_set_of_each_source_holds_for_registered_ones_that_nothing_else_is_said_of() {
    assert_eq!(
        invites(&policy_of("acme", &[(Scope::Source, "8/s burst 8")])),
        pair("8/s burst 8", "2/s burst 2")
    );
    assert_eq!(
        invites(&policy_of("own", &[(Scope::Source, "8/s burst 8")])),
        pair("8/s burst 8", "8/s burst 8")
    );
    // In the order of the database, and a limit for the registered that happens to be that of each source.
    let both = policy_of("own", &[(Scope::Registered, "4/s burst 4"), (Scope::Source, "8/s burst 8")]);
    assert_eq!(invites(&both), pair("8/s burst 8", "4/s burst 4"));
}

/// So the kernel tells what was set, and what it tells installs the same again.
#[test]
fn what_was_set_by_command_is_read_back_from_the_installed_limits() {
    for own in ["acme", "own"] {
        let set =
            [(Scope::Registered, "4/s burst 4"), (Scope::Source, "8/s burst 8"), (Scope::Account, "0/s")];
        for count in 0..=set.len() {
            let policy = policy_of(own, &set[..count]);
            let account = InstalledAccount { number: 1, policy };
            let installed =
                Installed { accounts: BTreeMap::from([(own.to_owned(), account)]), ..Installed::default() };
            let told = installed.set_by_command();
            let desired = Desired::new(&loaded(CONFIG), &told, &BTreeMap::new());
            assert_eq!((told.len(), desired.accounts[own].policy), (count, policy), "{told:?}");
        }
    }
}

/// What a reload from one mode for all, and of the account `own`, to others says of modes.
fn told_of_modes(before: [&str; 2], after: [&str; 2]) -> Vec<String> {
    let desired = |[all, own]: [&str; 2]| {
        let accounts = [("acme", ""), ("own", &format!("mode = '{own}'")), ("quiet", "mode = 'observe'")];
        let account = |(number, (name, mode)): (usize, &(&str, &str))| {
            format!("[accounts.{name}]\nsources = ['203.0.113.{number}']\n{mode}\n")
        };
        let accounts: String = accounts.iter().enumerate().map(account).collect();
        let text = format!("mode = '{all}'\n[[interfaces]]\nname = 'eth0'\n{accounts}");
        Desired::new(&loaded(&text), &[], &BTreeMap::new())
    };
    let installed = {
        let desired = desired(before);
        let mut names: Vec<String> = desired.accounts.keys().cloned().collect();
        // Number 0 is that of unknown sources.
        names.sort_by_key(|name| name != config::UNKNOWN_ACCOUNT);
        let account = |(number, name): (u32, String)| {
            let policy = desired.accounts[&name].policy;
            (name, InstalledAccount { number, policy })
        };
        let accounts = (0..).zip(names).map(account).collect();
        Installed { accounts, settings: Some(desired.settings), ..Installed::default() }
    };
    let lines = plan(&desired(after), &installed).unwrap().lines();
    lines.into_iter().filter(|line| line.contains(" mode ")).collect()
}

#[test]
fn a_plan_tells_the_mode_in_force_of_every_account_that_it_changes() {
    let changed = |from: &str, to: &str| {
        ["account acme ", "account own ", "account unknown ", ""]
            .map(|whose| format!("~ {whose}mode {from} -> {to}"))
    };
    let enforced = told_of_modes(["observe", "enforce"], ["enforce", "enforce"]);
    assert_eq!(enforced, changed("observe", "enforce"), "`own` was held back by observe for all");
    let observed = told_of_modes(["enforce", "enforce"], ["observe", "enforce"]);
    assert_eq!(observed, changed("enforce", "observe"));
    assert!(told_of_modes(["observe", "observe"], ["observe", "enforce"]).is_empty(), "it is held back");
    let own = told_of_modes(["enforce", "observe"], ["enforce", "enforce"]);
    assert_eq!(own, ["~ account own mode observe -> enforce"]);
}

#[test]
fn doubtful_calls_are_refused_of_all_accounts_or_of_none() {
    for (setting, refused) in [("", false), ("doubtful = 'pass'", false), ("doubtful = 'refuse'", true)] {
        let config = loaded(&format!("{CONFIG}[sip]\n{setting}\n"));
        for account in Desired::new(&config, &[], &BTreeMap::new()).accounts.values() {
            let flag = account.policy.flags & policy_flag::DOUBTFUL_REFUSED;
            assert_eq!(flag != 0, refused, "{setting}");
        }
    }
}
