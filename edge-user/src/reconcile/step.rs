//! One change to what is installed, and how a person reads it.

use std::fmt;
use std::time::Duration;

use edge_ebpf::abi::{
    Class, Limit, Member, Mode, Policy, Service, StandingKind, SystemId, policy_flag, refusal_of,
    stream_server_of,
};
use ipnet::IpNet;

use super::{GlobalSettings, ShownId, Standing, system_id_text};
use crate::config::{PortSets, Share};
use crate::rate::Rate;

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Name the number, clear its buckets and counters, write its policy.
    AddAccount {
        /// Place in the kernel's arrays.
        number: u32,
        /// Name.
        name: String,
        /// Name of its plan.
        plan: String,
        /// Limits.
        policy: Box<Policy>,
    },
    /// Write the policy; buckets and counters stay.
    SetPolicy {
        /// Place in the kernel's arrays.
        number: u32,
        /// Name.
        name: String,
        /// Limits until now.
        before: Box<Policy>,
        /// Limits from now.
        after: Box<Policy>,
    },
    /// Clear name and policy; the number is free.
    RemoveAccount {
        /// Place in the kernel's arrays.
        number: u32,
        /// Name.
        name: String,
    },
    /// Name the number and write its limit; the slots that are held stay.
    SetTrunk {
        /// Place in the kernel's arrays.
        number: u32,
        /// Account and name: `acme/london`.
        name: String,
        /// Calls at once until now; `None` for a new one.
        before: Option<u32>,
        /// Calls at once from now.
        after: u32,
    },
    /// Clear name and limit; the number is free.
    RemoveTrunk {
        /// Place in the kernel's arrays.
        number: u32,
        /// Account and name.
        name: String,
    },
    /// Let a prefix name an account, and one of its trunks.
    SetPrefix {
        /// Prefix.
        prefix: IpNet,
        /// Numbers.
        member: Member,
        /// Name of the account or the trunk.
        owner: String,
        /// Name of the one that it belonged to until now.
        before: Option<String>,
    },
    /// Let a prefix name nobody.
    RemovePrefix {
        /// Prefix.
        prefix: IpNet,
        /// Name of the account or the trunk that it belonged to.
        owner: String,
    },
    /// Let an account show something.
    AddShownId {
        /// The account's number.
        number: u32,
        /// The account's name.
        account: String,
        /// What.
        id: ShownId,
    },
    /// Let it show that no more.
    RemoveShownId {
        /// The account's number.
        number: u32,
        /// Name of the account that had it.
        account: String,
        /// What.
        id: ShownId,
    },
    /// Let a `system_id` name an account.
    SetSystemId {
        /// `system_id`.
        id: SystemId,
        /// The account's number.
        number: u32,
        /// The account's name.
        account: String,
    },
    /// Let a `system_id` name nobody.
    RemoveSystemId {
        /// `system_id`.
        id: SystemId,
        /// Name of the account it belonged to.
        account: String,
    },
    /// Ban or allow a prefix.
    SetStanding {
        /// Prefix.
        prefix: IpNet,
        /// What held.
        before: Option<Standing>,
        /// What is to hold.
        after: Standing,
    },
    /// Lift a ban or an allowance.
    RemoveStanding {
        /// Prefix.
        prefix: IpNet,
        /// What held.
        before: Standing,
    },
    /// Write the table of ports.
    SetPorts {
        /// Until now.
        before: PortSets,
        /// From now.
        after: PortSets,
    },
    /// Write the configured part of the settings.
    SetSettings {
        /// Until now; `None` at the first time.
        before: Option<GlobalSettings>,
        /// From now.
        after: GlobalSettings,
    },
}

impl Step {
    /// Whether sources must be resolved anew: the generation has to be raised after this step and before the
    /// next step of which this is false, so that no source keeps the number of an account that goes.
    #[must_use]
    pub fn changes_resolution(&self) -> bool {
        match self {
            Self::SetPrefix { .. }
            | Self::RemovePrefix { .. }
            | Self::SetSystemId { .. }
            | Self::RemoveSystemId { .. }
            | Self::SetStanding { .. }
            | Self::RemoveStanding { .. } => true,
            Self::SetSettings { before, after } => before.is_some_and(|it| it.ipv6_mask != after.ipv6_mask),
            Self::AddAccount { .. }
            | Self::SetPolicy { .. }
            | Self::RemoveAccount { .. }
            | Self::SetTrunk { .. }
            | Self::RemoveTrunk { .. }
            | Self::AddShownId { .. }
            | Self::RemoveShownId { .. }
            | Self::SetPorts { .. } => false,
        }
    }

    /// One line a fact: `+` new, `~` changed, `-` gone.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        match self {
            Self::AddAccount { number, name, plan, .. } => {
                vec![format!("+ account {name} (#{number}) plan {plan}")]
            }
            Self::SetPolicy { name, before, after, .. } => policy_lines(name, before, after),
            Self::RemoveAccount { number, name } => vec![format!("- account {name} (#{number})")],
            Self::SetTrunk { name, before: None, after, .. } => {
                vec![format!("+ trunk {name} calls {}", calls_words(*after))]
            }
            Self::SetTrunk { name, before: Some(before), after, .. } => {
                vec![format!("~ trunk {name} calls {} -> {}", calls_words(*before), calls_words(*after))]
            }
            Self::RemoveTrunk { name, .. } => vec![format!("- trunk {name}")],
            Self::SetPrefix { prefix, owner, before: None, .. } => {
                vec![format!("+ prefix {prefix} to {owner}")]
            }
            Self::SetPrefix { prefix, owner, before: Some(before), .. } => {
                vec![format!("~ prefix {prefix} {before} -> {owner}")]
            }
            Self::RemovePrefix { prefix, owner } => vec![format!("- prefix {prefix} from {owner}")],
            Self::AddShownId { account, id, .. } => vec![format!("+ {id} to {account}")],
            Self::RemoveShownId { account, id, .. } => vec![format!("- {id} from {account}")],
            Self::SetSystemId { id, account, .. } => {
                vec![format!("+ system_id {} to {account}", system_id_text(id))]
            }
            Self::RemoveSystemId { id, account } => {
                vec![format!("- system_id {} from {account}", system_id_text(id))]
            }
            Self::SetStanding { prefix, before: None, after } => {
                vec![format!("+ {} {prefix}", words(*after))]
            }
            Self::SetStanding { prefix, before: Some(before), after } if words(*before) == words(*after) => {
                vec![format!("~ {} {prefix}, new expiry", words(*after))]
            }
            Self::SetStanding { prefix, before: Some(before), after } => {
                vec![format!("~ {} {prefix} -> {}", words(*before), words(*after))]
            }
            Self::RemoveStanding { prefix, before } => vec![format!("- {} {prefix}", words(*before))],
            Self::SetPorts { before, after } => port_lines(before, after),
            Self::SetSettings { before, after } => settings_lines(before.as_ref(), after),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lines().join("\n"))
    }
}

fn policy_lines(name: &str, before: &Policy, after: &Policy) -> Vec<String> {
    let mut lines = Vec::new();
    if before.mode != after.mode {
        lines.push(format!("~ account {name} mode {} -> {}", mode_name(before.mode), mode_name(after.mode)));
    }
    if before.calls_max != after.calls_max {
        let (was, is) = (calls_words(before.calls_max), calls_words(after.calls_max));
        lines.push(format!("~ account {name} calls {was} -> {is}"));
    }
    if before.binds_max != after.binds_max {
        let words = |binds: u32| if binds == 0 { "unlimited".to_owned() } else { binds.to_string() };
        let (was, is) = (words(before.binds_max), words(after.binds_max));
        lines.push(format!("~ account {name} binds {was} -> {is}"));
    }
    if (before.flags ^ after.flags) & policy_flag::SUSPENDED != 0 {
        let words = |flags: u32| if flags & policy_flag::SUSPENDED == 0 { "in service" } else { "suspended" };
        lines.push(format!("~ account {name} {} -> {}", words(before.flags), words(after.flags)));
    }
    if (before.flags ^ after.flags) & policy_flag::DOUBTFUL_REFUSED != 0 {
        let words = |flags: u32| if flags & policy_flag::DOUBTFUL_REFUSED == 0 { "pass" } else { "refused" };
        let (was, is) = (words(before.flags), words(after.flags));
        lines.push(format!("~ account {name} doubtful calls {was} -> {is}"));
    }
    let rules = [
        ("caller", policy_flag::CALLER_IDS_CHECKED, policy_flag::CALLER_IDS_ENFORCED),
        ("sender", policy_flag::SENDER_IDS_CHECKED, policy_flag::SENDER_IDS_ENFORCED),
    ];
    for (what, checked, enforced) in rules {
        if (before.flags ^ after.flags) & (checked | enforced) != 0 {
            let words = |flags: u32| match (flags & checked != 0, flags & enforced != 0) {
                (false, _) => "not checked",
                (true, false) => "counted",
                (true, true) => "refused",
            };
            let (was, is) = (words(before.flags), words(after.flags));
            lines.push(format!("~ account {name} {what} IDs of others {was} -> {is}"));
        }
    }
    for class in
        Class::ALL.iter().filter(|class| (before.answered ^ after.answered) >> class.index() & 1 == 1)
    {
        let words = |bits: u32| if bits >> class.index() & 1 == 1 { "answered" } else { "dropped" };
        let (was, is) = (words(before.answered), words(after.answered));
        lines.push(format!("~ account {name} {class} over a limit {was} -> {is}"));
    }
    let mut compare = |scope: &str, before: &[Limit], after: &[Limit]| {
        for class in Class::ALL {
            let (was, is) = (before[class.index()], after[class.index()]);
            if was != is {
                let (was, is) = (Rate::from_limit(was), Rate::from_limit(is));
                lines.push(format!("~ account {name} {scope}{class} {was} -> {is}"));
            }
        }
    };
    compare("", &before.account, &after.account);
    compare("each source ", &before.source, &after.source);
    if before.registered != before.source || after.registered != after.source {
        compare("each registered source ", &before.registered, &after.registered);
    }
    if lines.is_empty() {
        // Which limits were set by command: one to what the configuration says too, or an earlier version noted none.
        lines.push(format!("~ account {name} written anew"));
    }
    lines
}

fn calls_words(calls: u32) -> String {
    if calls == 0 { "unlimited".to_owned() } else { calls.to_string() }
}

fn mode_name(mode: u32) -> &'static str {
    // As the kernel reads it: any other value counts as observe.
    if mode == Mode::Enforce as u32 { Mode::Enforce.name() } else { Mode::Observe.name() }
}

fn words(standing: Standing) -> &'static str {
    match (standing.kind, standing.until_ns) {
        (StandingKind::Metered, _) => "meter",
        (StandingKind::Banned, u64::MAX) => "ban",
        (StandingKind::Banned, _) => "ban (with expiry)",
        (StandingKind::Allowed, u64::MAX) => "allow",
        (StandingKind::Allowed, _) => "allow (with expiry)",
    }
}

fn port_lines(before: &PortSets, after: &PortSets) -> Vec<String> {
    let list = |ports: &[u16]| match ports {
        [] => "none".to_owned(),
        some => some.iter().map(u16::to_string).collect::<Vec<_>>().join(", "),
    };
    let refusal = |ports: &PortSets| {
        let (mode, status) = refusal_of(ports.smpp_refusal);
        format!("{mode} {status}")
    };
    let (was, is) = (refusal(before), refusal(after));
    let refusals = (was != is).then(|| format!("~ smpp.refusal {was} -> {is}"));
    let (was, is) = (refusal_of(before.sip_refusal).0, refusal_of(after.sip_refusal).0);
    let streams = (was != is).then(|| format!("~ sip.stream_refusal {was} -> {is}"));
    let (was, is) = (stream_server_of(before.sip_refusal), stream_server_of(after.sip_refusal));
    let servers = (was != is).then(|| format!("~ sip.stream_server {was} -> {is}"));
    Service::ALL
        .iter()
        .filter(|service| before.of(**service) != after.of(**service))
        .map(|service| {
            format!("~ ports {service} {} -> {}", list(before.of(*service)), list(after.of(*service)))
        })
        .chain(refusals)
        .chain(streams)
        .chain(servers)
        .collect()
}

fn settings_lines(before: Option<&GlobalSettings>, after: &GlobalSettings) -> Vec<String> {
    let duration = |ns| humantime::format_duration(Duration::from_nanos(ns)).to_string();
    let facts = |it: &GlobalSettings| {
        [
            ("mode", it.mode.to_string()),
            ("ipv6_source_prefix", format!("/{}", u128::from_be_bytes(it.ipv6_mask).leading_ones())),
            ("sip_repeat_window", duration(it.repeat_window_ns)),
            ("detect.pumping.prefix_digits", it.prefix_digits.to_string()),
            ("calls.unanswered", duration(it.call_unanswered_ns)),
            ("calls.answered", duration(it.call_answered_ns)),
            ("sip_registered_for", duration(it.registered_for_ns)),
            ("smpp.refusals", Rate::from_limit(it.refusals).to_string()),
            ("native.answer_within", duration(it.refusal_answer_ns)),
            ("smpp.bind_idle", duration(it.bind_idle_ns)),
            ("tcp.reset", it.resets.to_string()),
            ("records.messages", Share::from_hashes(it.message_records).to_string()),
        ]
    };
    let is = facts(after);
    let Some(before) = before else {
        return is.iter().map(|(name, value)| format!("+ {name} {value}")).collect();
    };
    let was = facts(before);
    was.iter()
        .zip(&is)
        .filter(|(was, is)| was != is)
        .map(|((name, was), (_, is))| format!("~ {name} {was} -> {is}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::unwrap_used, reason = "tests")]
    fn limit(text: &str) -> Limit {
        text.parse::<Rate>().unwrap().to_limit()
    }

    #[test]
    fn a_change_of_limits_reads_as_one_line_a_limit() {
        let mut before = Policy::OPEN;
        before.account[Class::SipInvite.index()] = limit("20/s burst 40");
        let mut after = before;
        after.mode = Mode::Enforce as u32;
        after.account[Class::SipInvite.index()] = limit("50/s burst 100");
        after.source[Class::Packets.index()] = limit("0/s");
        let step = Step::SetPolicy {
            number: 3,
            name: "acme".into(),
            before: Box::new(before),
            after: Box::new(after),
        };
        assert_eq!(
            step.to_string(),
            "~ account acme mode observe -> enforce\n\
             ~ account acme sip.invite 20/s burst 40 -> 50/s burst 100\n\
             ~ account acme each source packets unlimited -> 0/s"
        );
    }

    #[test]
    fn ports_that_change_are_listed_by_service() {
        let before = PortSets { sip_udp: vec![5060], smpp_tcp: vec![2775], ..PortSets::default() };
        let after = PortSets {
            sip_udp: vec![5060, 5080],
            sip_tcp: vec![5060],
            smpp_tcp: vec![2775],
            smpp_refusal: 1,
            sip_refusal: 0x11,
            ..PortSets::default()
        };
        assert_eq!(
            Step::SetPorts { before, after }.lines(),
            [
                "~ ports sip_udp 5060 -> 5060, 5080",
                "~ ports sip_tcp none -> 5060",
                "~ smpp.refusal drop ESME_RTHROTTLED -> native ESME_RTHROTTLED",
                "~ sip.stream_refusal drop -> native",
                "~ sip.stream_server proxy -> b2bua"
            ]
        );
    }
}
