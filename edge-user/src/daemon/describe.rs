//! What an alert says beyond the detector's judgement: what Edge did, and who sends the most.

use edge_ebpf::abi::{AccountCounters, Allowance, Class, Mode, Policy};

use super::{faults, guard};
use crate::alert::{Evidence, Finding};
use crate::config::Config;
use crate::dataplane::SourceUse;
use crate::detect;
use crate::rate::Rate;

/// Kind of an [`Evidence`] that names a source.
const SOURCE: &str = "source";

/// [`crate::alert::Alert::action`]: what Edge did about a finding.
///
/// `policy` is the account's, `None` when it is gone; `config` that of the whole edge; `refused` the messages
/// refused to the account since the alert opened.
pub(super) fn action(finding: &Finding, policy: Option<&Policy>, config: &Config, refused: u64) -> String {
    if let Some(text) = faults::action(finding) {
        return text;
    }
    if finding.rule == detect::SCANNING {
        return guard::action(&config.detect.scanning);
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

/// Messages refused to an account so far, all classes but packets.
pub(super) fn refused(counters: &AccountCounters) -> u64 {
    Class::ALL
        .iter()
        .filter(|class| **class != Class::Packets)
        .map(|class| counters.messages[class.index()][Allowance::Refused.index()])
        .sum()
}

/// The sources that offered most, as evidence. `sum` is what all sources of the account offered.
#[expect(clippy::cast_precision_loss, reason = "a share needs no more than 53 bits")]
pub(super) fn source_evidence(sources: &[SourceUse], sum: u64) -> Vec<Evidence> {
    let of = |source: &SourceUse| Evidence {
        kind: SOURCE.to_owned(),
        value: source.address.to_string(),
        messages: source.offered(),
        share: if sum == 0 { 0.0 } else { source.offered() as f64 / sum as f64 },
    };
    sources.iter().filter(|source| source.offered() > 0).map(of).collect()
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
        .filter(|class| **class != Class::Packets)
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
    fn shares_are_parts_of_what_all_sources_offered() {
        let source = |last: u8, admitted: u64, dropped: u64| SourceUse {
            address: std::net::Ipv4Addr::new(203, 0, 113, last).into(),
            account: 1,
            messages: [admitted, 0, 0, 0, 1000],
            packets_dropped: dropped,
            seen_ns: 0,
        };
        let evidence = source_evidence(&[source(1, 60, 15), source(2, 0, 0)], 100);
        assert_eq!(evidence.len(), 1, "who offered nothing is no evidence");
        assert_eq!((evidence[0].value.as_str(), evidence[0].messages), ("203.0.113.1", 75));
        assert!((evidence[0].share - 0.75).abs() < 1e-9);
    }
}
