//! What an alert says beyond the detector's judgement: what Edge did, and who sends the most.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::IpAddr;

use edge_ebpf::abi::{AccountCounters, Allowance, Class, Mode, Policy, policy_flag};

use super::faults;
use crate::alert::{Evidence, Finding};
use crate::config::Config;
use crate::dataplane::SourceUse;
use crate::detect;
use crate::rate::Rate;

/// Kind of an [`Evidence`] that names a source.
const SOURCE: &str = "source";
/// Sources named in an alert.
const EVIDENCE_SOURCES: usize = 5;

/// What sources have offered so far.
pub(super) type Sources = BTreeMap<IpAddr, SourceUse>;

/// [`crate::alert::Alert::action`]: what Edge did about a finding.
///
/// `policy` is the account's, `None` when it is gone; `config` that of the whole edge; `refused` the messages
/// refused to the account since the alert opened.
pub(super) fn action(finding: &Finding, policy: Option<&Policy>, config: &Config, refused: u64) -> String {
    if let Some(text) = faults::action(finding) {
        return text;
    }
    if finding.rule == detect::CALLER_ID {
        return caller_id_action(policy, config.mode).to_owned();
    }
    if finding.rule == detect::SENDER_ID {
        return sender_id_action(policy, config.mode).to_owned();
    }
    limits_action(policy, config.mode, Class::from_name(&finding.subject), refused)
}

fn limits_action(policy: Option<&Policy>, edge_mode: Mode, class: Option<Class>, refused: u64) -> String {
    let Some(policy) = policy else {
        return "nothing: the account was removed".to_owned();
    };
    let limits = limits_text(policy, class);
    let observes = edge_mode == Mode::Observe || policy.mode != Mode::Enforce as u32;
    match (limits, observes) {
        (None, _) => "nothing: no limit is set".to_owned(),
        (Some(limits), true) => format!("nothing (observe mode); limits that would hold: {limits}"),
        (Some(limits), false) => format!("limits in force: {limits}; {refused} refused"),
    }
}

fn caller_id_action(policy: Option<&Policy>, edge_mode: Mode) -> &'static str {
    match foreign_ids(policy, policy_flag::CALLER_IDS_ENFORCED, edge_mode) {
        ForeignIds::OfNobody => "nothing: the account was removed",
        ForeignIds::Refused => "they are refused",
        ForeignIds::Observed => "nothing (observe mode); they would be refused",
        ForeignIds::Counted => "nothing: `caller_id_mode` is `count`; they pass",
    }
}

fn sender_id_action(policy: Option<&Policy>, edge_mode: Mode) -> &'static str {
    match foreign_ids(policy, policy_flag::SENDER_IDS_ENFORCED, edge_mode) {
        ForeignIds::OfNobody => "nothing: the account was removed",
        ForeignIds::Refused => "they are refused where the client can be told",
        ForeignIds::Observed => "nothing (observe mode); they would be refused",
        ForeignIds::Counted => "nothing: `sender_id_mode` is `count`; they pass",
    }
}

/// What becomes of calls and messages that show what is none of their account's.
enum ForeignIds {
    OfNobody,
    Refused,
    Observed,
    Counted,
}

fn foreign_ids(policy: Option<&Policy>, enforced: u32, edge_mode: Mode) -> ForeignIds {
    let Some(policy) = policy else { return ForeignIds::OfNobody };
    let observes = edge_mode == Mode::Observe || policy.mode != Mode::Enforce as u32;
    match (policy.flags & enforced != 0, observes) {
        (true, false) => ForeignIds::Refused,
        (true, true) => ForeignIds::Observed,
        (false, _) => ForeignIds::Counted,
    }
}

/// Messages refused to an account so far, packets and connections left out.
pub(super) fn refused(counters: &AccountCounters) -> u64 {
    Class::ALL
        .iter()
        .filter(|class| class.is_of_messages())
        .map(|class| counters.messages[class.index()][Allowance::Refused.index()])
        .sum()
}

/// The sources of an account that offered most between two looks, as evidence. What a source has sent in all its
/// life would name the oldest customer before the attacker; it decides only where nothing came in between.
#[expect(clippy::cast_precision_loss, reason = "a share needs no more than 53 bits")]
pub(super) fn source_evidence(account: u32, before: &Sources, after: &Sources) -> Vec<Evidence> {
    let of_account = || after.iter().filter(|(_, source)| source.account == account);
    let since = |(address, source): (&IpAddr, &SourceUse)| {
        let earlier = before.get(address).map_or(0, SourceUse::offered);
        (*address, source.offered().saturating_sub(earlier))
    };
    let mut offered: Vec<(IpAddr, u64)> = of_account().map(since).filter(|(_, count)| *count > 0).collect();
    if offered.is_empty() {
        let whole = of_account().map(|(address, source)| (*address, source.offered()));
        offered = whole.filter(|(_, count)| *count > 0).collect();
    }
    offered.sort_by_key(|(address, count)| (Reverse(*count), *address));
    let sum = offered.iter().fold(0_u64, |sum, (_, count)| sum.saturating_add(*count));
    let evidence = |(address, messages): (IpAddr, u64)| Evidence {
        kind: SOURCE.to_owned(),
        value: address.to_string(),
        messages,
        share: messages as f64 / sum as f64,
    };
    offered.into_iter().take(EVIDENCE_SOURCES).map(evidence).collect()
}

/// The limit of one class, or of every class that has one.
fn limits_text(policy: &Policy, class: Option<Class>) -> Option<String> {
    let text = |class: Class| match Rate::from_limit(policy.account[class.index()]) {
        Rate::Unlimited => None,
        rate => Some(rate.to_string()),
    };
    let per_source = |class: Class| match Rate::from_limit(policy.source[class.index()]) {
        Rate::Unlimited => None,
        rate => Some(format!("{rate} for each source")),
    };
    if let Some(class) = class {
        return text(class).or_else(|| per_source(class));
    }
    let all: Vec<String> = Class::ALL
        .iter()
        .filter(|class| class.is_of_messages())
        .filter_map(|class| text(*class).map(|limit| format!("{class} {limit}")))
        .collect();
    (!all.is_empty()).then(|| all.join(", "))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    fn policy(mode: Mode) -> Policy {
        let mut policy = Policy { mode: mode as u32, ..Policy::OPEN };
        policy.account[Class::SipInvite.index()] = "20/s burst 40".parse::<Rate>().unwrap().to_limit();
        policy.source[Class::SipOptions.index()] = "5/s".parse::<Rate>().unwrap().to_limit();
        policy
    }

    #[test]
    fn the_action_names_the_limit_and_what_it_refused() {
        let action =
            |subject, mode, edge| limits_action(Some(&policy(mode)), edge, Class::from_name(subject), 812);
        assert_eq!(
            action("sip.invite", Mode::Enforce, Mode::Enforce),
            "limits in force: 20/s burst 40; 812 refused"
        );
        assert_eq!(
            action("sip.options", Mode::Enforce, Mode::Enforce),
            "limits in force: 5/s burst 5 for each source; 812 refused"
        );
        assert_eq!(
            action("sip.invite", Mode::Enforce, Mode::Observe),
            "nothing (observe mode); limits that would hold: 20/s burst 40"
        );
        assert_eq!(action("smpp.submit", Mode::Enforce, Mode::Enforce), "nothing: no limit is set");
        assert_eq!(
            action("+44", Mode::Enforce, Mode::Enforce),
            "limits in force: sip.invite 20/s burst 40; 812 refused"
        );
    }

    #[test]
    fn the_action_tells_whether_other_caller_ids_pass() {
        let action = |flags, edge| caller_id_action(Some(&Policy { flags, ..policy(Mode::Enforce) }), edge);
        let enforced = policy_flag::CALLER_IDS_CHECKED | policy_flag::CALLER_IDS_ENFORCED;
        assert_eq!(action(enforced, Mode::Enforce), "they are refused");
        assert_eq!(action(enforced, Mode::Observe), "nothing (observe mode); they would be refused");
        let counted = action(policy_flag::CALLER_IDS_CHECKED, Mode::Enforce);
        assert_eq!(counted, "nothing: `caller_id_mode` is `count`; they pass");
    }

    #[test]
    fn the_action_tells_whether_other_sender_ids_pass() {
        let action =
            |flags| sender_id_action(Some(&Policy { flags, ..policy(Mode::Enforce) }), Mode::Enforce);
        let callers = policy_flag::CALLER_IDS_CHECKED | policy_flag::CALLER_IDS_ENFORCED;
        assert_eq!(action(policy_flag::SENDER_IDS_ENFORCED), "they are refused where the client can be told");
        let counted = "nothing: `sender_id_mode` is `count`; they pass";
        assert_eq!(action(callers | policy_flag::SENDER_IDS_CHECKED), counted);
    }

    #[test]
    fn the_sources_that_sent_most_between_two_looks_are_named_with_their_shares() {
        let source = |last: u8, account: u32, admitted: u64, dropped: u64| {
            let messages = [admitted, 0, 0, 0, 1000];
            let address = IpAddr::from([203, 0, 113, last]);
            (address, SourceUse { account, messages, packets_dropped: dropped })
        };
        let before = Sources::from([source(1, 1, 1_000_000, 0), source(2, 1, 500, 0), source(9, 2, 0, 0)]);
        let after = Sources::from([
            source(1, 1, 1_000_005, 0),
            source(2, 1, 500, 0),
            source(3, 1, 60, 15),
            source(9, 2, 800, 0),
        ]);
        let named = |before: &Sources| {
            let evidence = source_evidence(1, before, &after);
            let share = |it: &Evidence| (it.share * 10_000.0).round() / 10_000.0;
            evidence.iter().map(|it| (it.value.clone(), it.messages, share(it))).collect::<Vec<_>>()
        };
        let of = |last: u8, messages: u64, share: f64| (format!("203.0.113.{last}"), messages, share);
        assert_eq!(
            named(&before),
            [of(3, 75, 0.9375), of(1, 5, 0.0625)],
            "who is new comes before who is old"
        );
        let nothing_since = named(&after);
        assert_eq!(nothing_since[0].0, "203.0.113.1", "nothing came in between: by all that they sent");
        assert_eq!(nothing_since.len(), 3, "of this account only");
    }
}
