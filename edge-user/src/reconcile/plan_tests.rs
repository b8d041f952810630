#![expect(clippy::unwrap_used, reason = "tests")]

use edge_ebpf::abi::{Class, Limit, Mode, StandingKind, policy_flag};
use proptest::prelude::*;

use super::*;
use crate::config::{PortSets, SenderId};
use crate::reconcile::{DesiredTrunk, GlobalSettings, InstalledAccount, ShownId, Standing};

const CAPACITY: u32 = 4;

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn settings(mode: Mode) -> GlobalSettings {
    GlobalSettings {
        mode,
        ipv6_mask: [0xff; 16],
        repeat_window_ns: 32_000_000_000,
        prefix_digits: 4,
        call_unanswered_ns: 200_000_000_000,
        call_answered_ns: 14_400_000_000_000,
        registered_for_ns: 3_600_000_000_000,
        refusals: Limit::NONE,
        refusal_answer_ns: 30_000_000_000,
        bind_idle_ns: 3_600_000_000_000,
        resets: true,
        message_records: 1 << 31,
    }
}

fn policy(interval_ns: u64) -> Policy {
    let mut policy = Policy::OPEN;
    policy.account[Class::SipInvite.index()] = Limit { interval_ns, burst_ns: interval_ns };
    policy
}

fn desired(accounts: &[(&str, u64, &[&str])]) -> Desired {
    let account = |(name, interval_ns, prefixes): &(&str, u64, &[&str])| {
        let prefixes = prefixes.iter().map(|prefix| net(prefix)).collect();
        (
            (*name).to_owned(),
            DesiredAccount {
                plan: "standard".into(),
                policy: policy(*interval_ns),
                prefixes,
                trunks: BTreeMap::new(),
                shown_ids: vec![],
                system_ids: vec![],
            },
        )
    };
    let mut accounts: BTreeMap<_, _> = accounts.iter().map(account).collect();
    accounts.entry(UNKNOWN_ACCOUNT.to_owned()).or_insert_with(|| DesiredAccount {
        plan: "unknown".into(),
        policy: policy(7),
        prefixes: vec![],
        trunks: BTreeMap::new(),
        shown_ids: vec![],
        system_ids: vec![],
    });
    Desired {
        accounts,
        standings: BTreeMap::new(),
        ports: PortSets { sip_udp: vec![5060], smpp_tcp: vec![2775], ..PortSets::default() },
        settings: settings(Mode::Observe),
        account_capacity: CAPACITY,
        prefix_capacity: 16,
        trunk_capacity: 16,
        caller_id_capacity: 16,
    }
}

/// What the dataplane does, on the model. Panics where a packet could see a number without policy.
fn apply(plan: &Plan, installed: &mut Installed) {
    for step in &plan.steps {
        match step {
            Step::AddAccount { number, name, policy, .. } => {
                assert!(installed.accounts.values().all(|it| it.number != *number), "{number} is taken");
                installed
                    .accounts
                    .insert(name.clone(), InstalledAccount { number: *number, policy: **policy });
            }
            Step::SetPolicy { number, name, before, after } => {
                let present = installed.accounts.get_mut(name).unwrap();
                assert_eq!((present.number, present.policy), (*number, **before));
                present.policy = **after;
            }
            Step::RemoveAccount { number, name } => {
                assert_eq!(installed.accounts.remove(name).unwrap().number, *number);
            }
            Step::SetTrunk { number, name, before, after } => {
                let is_free = installed.trunks.iter().all(|(of, it)| it.number != *number || of == name);
                assert!(*number != 0 && is_free, "{number} is taken");
                let trunk = InstalledTrunk { number: *number, calls_max: *after };
                let present = installed.trunks.insert(name.clone(), trunk);
                assert_eq!(present.map(|it| it.calls_max), *before);
            }
            Step::RemoveTrunk { number, name } => {
                assert_eq!(installed.trunks.remove(name).unwrap().number, *number);
            }
            Step::SetPrefix { prefix, member, .. } => {
                installed.prefixes.insert(*prefix, *member);
            }
            Step::RemovePrefix { prefix, .. } => {
                installed.prefixes.remove(prefix).unwrap();
            }
            Step::AddShownId { number, id, .. } => {
                assert!(installed.shown_ids.insert((*number, id.clone())));
            }
            Step::RemoveShownId { number, id, .. } => {
                assert!(installed.shown_ids.remove(&(*number, id.clone())));
            }
            Step::SetStanding { prefix, after, .. } => {
                installed.standings.insert(*prefix, *after);
            }
            Step::RemoveStanding { prefix, .. } => {
                installed.standings.remove(prefix).unwrap();
            }
            Step::SetSystemId { id, number, .. } => {
                assert!(installed.accounts.values().any(|account| account.number == *number), "{step}");
                installed.system_ids.insert(*id, *number);
            }
            Step::RemoveSystemId { id, .. } => {
                installed.system_ids.remove(id);
            }
            Step::SetPorts { after, .. } => installed.ports = after.clone(),
            Step::SetSettings { after, .. } => installed.settings = Some(*after),
        }
        for member in installed.prefixes.values() {
            assert!(
                installed.accounts.values().any(|it| it.number == member.account),
                "{member:?} has no policy: {step}"
            );
            assert!(
                member.trunk == 0 || installed.trunks.values().any(|it| it.number == member.trunk),
                "{member:?} has no limit: {step}"
            );
        }
    }
}

fn assert_reached(desired: &Desired, installed: &Installed) {
    assert_eq!(installed.accounts.keys().collect::<Vec<_>>(), desired.accounts.keys().collect::<Vec<_>>());
    assert_eq!(installed.accounts[UNKNOWN_ACCOUNT].number, 0);
    for (name, account) in &desired.accounts {
        let present = installed.accounts[name];
        assert_eq!(present.policy, account.policy);
        assert!(present.number < desired.account_capacity);
        let named = |trunk: u32| -> BTreeSet<IpNet> {
            let member = Member { account: present.number, trunk };
            installed.prefixes.iter().filter(|(_, it)| **it == member).map(|(prefix, _)| *prefix).collect()
        };
        let mut own: BTreeSet<IpNet> = account.prefixes.iter().copied().collect();
        for (trunk, wish) in &account.trunks {
            let installed = installed.trunks[&format!("{name}/{trunk}")];
            assert_eq!(installed.calls_max, wish.calls_max);
            assert_eq!(named(installed.number), wish.prefixes.iter().copied().collect());
            own.retain(|prefix| !wish.prefixes.contains(prefix));
        }
        assert_eq!(named(0), own);
        let shown_ids = installed.shown_ids.iter().filter(|(number, _)| *number == present.number);
        let shown_ids: Vec<&ShownId> = shown_ids.map(|(_, id)| id).collect();
        assert_eq!(shown_ids, account.shown_ids.iter().collect::<Vec<_>>());
    }
    let trunks: usize = desired.accounts.values().map(|account| account.trunks.len()).sum();
    assert_eq!(installed.trunks.len(), trunks);
    let of_accounts = desired.accounts.values().map(|account| account.shown_ids.len()).sum::<usize>();
    assert_eq!(installed.shown_ids.len(), of_accounts, "what accounts that are gone could show");
    assert_eq!(installed.standings, desired.standings);
    assert_eq!(installed.ports, desired.ports);
    assert_eq!(installed.settings, Some(desired.settings));
    assert!(plan(desired, installed).unwrap().is_empty(), "the plan of equal states is empty");
}

fn installed_from(desired: &Desired) -> Installed {
    let mut installed = Installed::default();
    apply(&plan(desired, &installed).unwrap(), &mut installed);
    assert_reached(desired, &installed);
    installed
}

#[test]
fn the_first_plan_installs_everything_and_reads_well() {
    let desired = desired(&[("acme", 50_000_000, &["203.0.113.0/24"])]);
    let first = plan(&desired, &Installed::default()).unwrap();
    assert_eq!(
        first.lines(),
        [
            "+ account acme (#1) plan standard",
            "+ account unknown (#0) plan unknown",
            "+ prefix 203.0.113.0/24 to acme",
            "~ ports sip_udp none -> 5060",
            "~ ports smpp_tcp none -> 2775",
            "+ mode observe",
            "+ ipv6_source_prefix /128",
            "+ sip_repeat_window 32s",
            "+ detect.pumping.prefix_digits 4",
            "+ calls.unanswered 3m 20s",
            "+ calls.answered 4h",
            "+ sip_registered_for 1h",
            "+ smpp.refusals unlimited",
            "+ native.answer_within 30s",
            "+ smpp.bind_idle 1h",
            "+ tcp.reset true",
            "+ records.messages 1/2",
        ]
    );
    assert!(first.needs_generation());
    installed_from(&desired);
}

#[test]
fn a_new_limit_keeps_the_number_and_needs_no_new_generation() {
    let installed = installed_from(&desired(&[("acme", 50_000_000, &["203.0.113.0/24"])]));
    let change = plan(&desired(&[("acme", 20_000_000, &["203.0.113.0/24"])]), &installed).unwrap();
    assert_eq!(change.to_string(), "~ account acme sip.invite 20/s burst 1 -> 50/s burst 1");
    assert!(!change.needs_generation());
}

#[test]
fn caller_ids_come_before_the_policy_that_looks_for_them_and_go_after_it() {
    let mut wish = desired(&[("acme", 1, &[])]);
    let mut installed = installed_from(&wish);
    let acme = wish.accounts.get_mut("acme").unwrap();
    acme.shown_ids = vec![ShownId::Caller("441632".into())];
    acme.policy.flags = policy_flag::CALLER_IDS_CHECKED | policy_flag::CALLER_IDS_ENFORCED;
    let comes = plan(&wish, &installed).unwrap();
    let lines = ["+ caller ID 441632 to acme", "~ account acme caller IDs of others not checked -> refused"];
    assert_eq!(comes.lines(), lines);
    apply(&comes, &mut installed);
    assert_reached(&wish, &installed);
    let goes = plan(&desired(&[("acme", 1, &[])]), &installed).unwrap();
    let lines =
        ["~ account acme caller IDs of others refused -> not checked", "- caller ID 441632 from acme"];
    assert_eq!(goes.lines(), lines);
    wish.caller_id_capacity = 0;
    let error = plan(&wish, &installed).unwrap_err();
    assert_eq!(error, PlanError::TooManyCallerIds { wanted: 1, capacity: 0 });
}

#[test]
fn the_plan_says_whether_doubtful_calls_pass() {
    let installed = installed_from(&desired(&[("acme", 1, &[])]));
    let mut wish = desired(&[("acme", 1, &[])]);
    wish.accounts.get_mut("acme").unwrap().policy.flags = policy_flag::DOUBTFUL_REFUSED;
    let change = plan(&wish, &installed).unwrap();
    assert_eq!(change.to_string(), "~ account acme doubtful calls pass -> refused");
}

#[test]
fn sender_ids_are_others_than_caller_ids_and_come_and_go_as_they_do() {
    let with = |ids: &[ShownId], flags| {
        let mut wish = desired(&[("acme", 1, &[])]);
        let acme = wish.accounts.get_mut("acme").unwrap();
        acme.shown_ids = ids.to_vec();
        acme.policy.flags = flags;
        wish
    };
    let caller = ShownId::Caller("441632".into());
    let digits = ShownId::Sender(SenderId::Digits("441632".into()));
    let text = ShownId::Sender(SenderId::Text("ACME".into()));
    let mut installed = installed_from(&with(std::slice::from_ref(&caller), 0));
    let counted = with(&[caller.clone(), digits, text.clone()], policy_flag::SENDER_IDS_CHECKED);
    let comes = plan(&counted, &installed).unwrap();
    let lines = [
        "+ sender ID 441632 to acme",
        "+ sender ID ACME to acme",
        "~ account acme sender IDs of others not checked -> counted",
    ];
    assert_eq!(comes.lines(), lines);
    apply(&comes, &mut installed);
    assert_reached(&counted, &installed);
    let enforced = policy_flag::SENDER_IDS_CHECKED | policy_flag::SENDER_IDS_ENFORCED;
    let change = plan(&with(&[caller, text], enforced), &installed).unwrap();
    let lines = ["~ account acme sender IDs of others counted -> refused", "- sender ID 441632 from acme"];
    assert_eq!(change.lines(), lines);
    let full = Desired { caller_id_capacity: 2, ..counted };
    let error = plan(&full, &installed).unwrap_err();
    assert_eq!(error, PlanError::TooManyCallerIds { wanted: 3, capacity: 2 });
}

#[test]
fn a_free_number_is_taken_lowest_first_and_one_freed_by_the_plan_itself_last() {
    let mut installed = installed_from(&desired(&[("a", 1, &[]), ("b", 1, &["203.0.113.0/24"])]));
    let next = desired(&[("b", 1, &["203.0.113.0/24"]), ("c", 1, &["198.51.100.0/24"])]);
    apply(&plan(&next, &installed).unwrap(), &mut installed);
    assert_eq!((installed.accounts["b"].number, installed.accounts["c"].number), (2, 3));
    let next = desired(&[("b", 1, &[]), ("c", 1, &[]), ("d", 1, &[])]);
    apply(&plan(&next, &installed).unwrap(), &mut installed);
    assert_eq!(installed.accounts["d"].number, 1);
}

/// Calls and binds go on under the number of an account that is gone, and are counted there until they end.
#[test]
fn a_number_under_which_calls_or_binds_go_on_is_given_out_when_no_other_is_left() {
    let mut installed = installed_from(&desired(&[("acme", 1, &[]), ("other", 1, &[])]));
    apply(&plan(&desired(&[("other", 1, &[])]), &installed).unwrap(), &mut installed);
    installed.held = BTreeSet::from([1]);
    let mut numbers = |accounts: &[(&str, u64, &[&str])]| {
        let wish = desired(accounts);
        apply(&plan(&wish, &installed).unwrap(), &mut installed);
        installed.accounts.iter().map(|(name, it)| format!("{name} {}", it.number)).collect::<Vec<_>>()
    };
    assert_eq!(numbers(&[("new", 1, &[]), ("other", 1, &[])]), ["new 3", "other 2", "unknown 0"]);
    let full = numbers(&[("new", 1, &[]), ("newer", 1, &[]), ("other", 1, &[])]);
    assert_eq!(full, ["new 3", "newer 1", "other 2", "unknown 0"]);
}

#[test]
fn a_rename_in_a_full_map_recycles_the_number_without_a_prefix_that_names_nobody() {
    let before = desired(&[("a", 1, &["203.0.113.0/24"]), ("b", 1, &[]), ("c", 1, &[])]);
    let mut installed = installed_from(&before);
    let after = desired(&[("z", 1, &["203.0.113.0/24"]), ("b", 1, &[]), ("c", 1, &[])]);
    let rename = plan(&after, &installed).unwrap();
    assert_eq!(
        rename.lines(),
        [
            "- prefix 203.0.113.0/24 from a",
            "- account a (#1)",
            "+ account z (#1) plan standard",
            "+ prefix 203.0.113.0/24 to z",
        ]
    );
    apply(&rename, &mut installed);
    assert_reached(&after, &installed);
}

#[test]
fn too_many_accounts_prefixes_or_measures_give_no_plan() {
    let mut many = desired(&[("a", 1, &["203.0.113.0/24"]), ("b", 1, &[]), ("c", 1, &[]), ("d", 1, &[])]);
    let error = plan(&many, &Installed::default()).unwrap_err();
    assert_eq!(error.to_string(), "5 accounts (`unknown` included) do not fit capacity.accounts = 4");
    many.account_capacity = 5;
    many.prefix_capacity = 0;
    let error = plan(&many, &Installed::default()).unwrap_err();
    assert_eq!(error, PlanError::TooManyPrefixes { wanted: 1, capacity: 0 });
    let mut banned = desired(&[]);
    let ban = Standing { kind: StandingKind::Banned, until_ns: u64::MAX };
    banned.standings = ["192.0.2.7/32", "192.0.2.8/32"].map(|text| (text.parse().unwrap(), ban)).into();
    banned.prefix_capacity = 1;
    let error = plan(&banned, &Installed::default()).unwrap_err();
    assert_eq!(error, PlanError::TooManyMeasures { wanted: 2, capacity: 1 });
}

#[test]
fn installed_numbers_that_contradict_each_other_give_no_plan() {
    let desired = desired(&[("acme", 1, &[])]);
    let mut installed = installed_from(&desired);
    installed.accounts.get_mut("acme").unwrap().number = 0;
    assert!(matches!(plan(&desired, &installed), Err(PlanError::Foreign { .. })));
}

/// The account with a trunk of that name, limit and prefixes.
fn with_trunk(mut made: Desired, name: &str, calls_max: u32, prefixes: &[&str]) -> Desired {
    let prefixes = prefixes.iter().map(|prefix| net(prefix)).collect();
    let account = made.accounts.get_mut("acme").unwrap();
    account.trunks.insert(name.to_owned(), DesiredTrunk { calls_max, prefixes });
    made
}

#[test]
fn trunks_come_change_and_go_and_take_their_prefixes_along() {
    let plain = || desired(&[("acme", 1, &["203.0.113.0/24", "198.51.100.0/24"])]);
    let mut installed = installed_from(&plain());
    let one = with_trunk(plain(), "london", 10, &["203.0.113.0/28", "198.51.100.0/24"]);
    let comes = plan(&one, &installed).unwrap();
    assert_eq!(
        comes.lines(),
        [
            "+ trunk acme/london calls 10",
            "~ prefix 198.51.100.0/24 acme -> acme/london",
            "+ prefix 203.0.113.0/28 to acme/london",
        ]
    );
    apply(&comes, &mut installed);
    assert_reached(&one, &installed);
    let more = with_trunk(plain(), "london", 0, &["203.0.113.0/28", "198.51.100.0/24"]);
    assert_eq!(plan(&more, &installed).unwrap().lines(), ["~ trunk acme/london calls 10 -> unlimited"]);
    let goes = plan(&plain(), &installed).unwrap();
    assert_eq!(
        goes.lines(),
        [
            "- prefix 203.0.113.0/28 from acme/london",
            "~ prefix 198.51.100.0/24 acme/london -> acme",
            "- trunk acme/london",
        ]
    );
    apply(&goes, &mut installed);
    assert_reached(&plain(), &installed);
}

#[test]
fn the_number_of_a_trunk_that_goes_is_not_given_to_one_that_comes() {
    let plain = || desired(&[("acme", 1, &["203.0.113.0/24"])]);
    let before = with_trunk(plain(), "london", 10, &["203.0.113.0/28"]);
    let mut installed = installed_from(&before);
    let after = with_trunk(plain(), "paris", 10, &["203.0.113.0/28"]);
    apply(&plan(&after, &installed).unwrap(), &mut installed);
    assert_eq!(installed.trunks["acme/paris"].number, 2);
    let full = Desired { trunk_capacity: 3, ..with_trunk(before, "paris", 1, &[]) };
    let full = with_trunk(full, "rome", 1, &[]);
    assert!(matches!(plan(&full, &installed), Err(PlanError::TooManyTrunks { wanted: 3, capacity: 2 })));
}

/// The same digits as a caller ID and as a sender ID of either kind.
fn shown_ids(digits: &str) -> Vec<ShownId> {
    let sender = match digits.len() {
        0 => return vec![],
        1 => SenderId::Digits,
        _ => SenderId::Text,
    };
    vec![ShownId::Caller(digits.to_owned()), ShownId::Sender(sender(digits.to_owned()))]
}

prop_compose! {
    fn any_desired()(
        names in prop::collection::btree_map("[a-e]", (1u64..3, "[1-2]{0,2}"), 0..4),
        prefixes in prop::collection::vec(0usize..6, 6),
        trunks in prop::collection::vec(0usize..4, 6),
        banned in prop::collection::btree_map(0u8..4, (0usize..3, 1u64..3), 0..4),
        enforce in any::<bool>(),
        port in 1u16..4,
    ) -> Desired {
        let mut made = desired(&[]);
        let count = names.len();
        for (name, (interval_ns, digits)) in names {
            let account = DesiredAccount {
                plan: "standard".into(),
                policy: policy(interval_ns),
                prefixes: vec![],
                shown_ids: shown_ids(&digits),
                trunks: BTreeMap::new(),
                system_ids: vec![],
            };
            made.accounts.insert(name, account);
        }
        for (index, choice) in prefixes.into_iter().enumerate() {
            let named = made.accounts.iter_mut().filter(|(name, _)| *name != UNKNOWN_ACCOUNT).nth(choice);
            if let Some((_, account)) = named.filter(|_| count > 0) {
                account.prefixes.push(net(&format!("203.0.{index}.0/24")));
            }
        }
        for account in made.accounts.values_mut() {
            // Some of an account's prefixes are those of a trunk.
            for (prefix, trunk) in account.prefixes.iter().zip(&trunks).filter(|(_, trunk)| **trunk > 0) {
                let fresh = DesiredTrunk { calls_max: u32::try_from(*trunk).unwrap(), prefixes: vec![] };
                account.trunks.entry(format!("t{trunk}")).or_insert(fresh).prefixes.push(*prefix);
            }
        }
        for (index, (kind, until_ns)) in banned {
            let standing = Standing { kind: StandingKind::from_index(kind).unwrap(), until_ns };
            made.standings.insert(net(&format!("198.51.{index}.0/24")), standing);
        }
        made.settings.mode = if enforce { Mode::Enforce } else { Mode::Observe };
        made.ports.sip_udp = vec![port];
        made
    }
}

proptest! {
    /// Each of a series of wishes is reached from the one before, safely at every step, and then stands still.
    #[test]
    fn any_wish_is_reached_from_any_other(wishes in prop::collection::vec(any_desired(), 1..6)) {
        let mut installed = Installed::default();
        for wish in &wishes {
            let kept: Vec<(String, u32)> = installed
                .accounts
                .iter()
                .filter(|(name, _)| wish.accounts.contains_key(*name))
                .map(|(name, it)| (name.clone(), it.number))
                .collect();
            apply(&plan(wish, &installed).unwrap(), &mut installed);
            assert_reached(wish, &installed);
            for (name, number) in kept {
                prop_assert_eq!(installed.accounts[&name].number, number);
            }
        }
    }
}
