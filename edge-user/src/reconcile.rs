//! From what is wanted to what is installed: [`Desired`] and [`Installed`] give a [`Plan`], and the plan's
//! text is the dry run. Pure; the dataplane applies the steps, in their order.

mod plan;
mod slots;
mod step;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use edge_ebpf::abi;
use edge_ebpf::abi::{Class, Member, Mode, Policy, Service, StandingKind, SystemId};
use ipnet::IpNet;

use crate::api::types::Scope;
use crate::config::{self, Config, PortSets, SenderId};
use crate::rate::Rate;

/// What an answer asks for (RFC 3261 20.33).
const RETRY_AFTER_S: u32 = 5;
/// Answers to one source: 1,000 a second, burst 100.
const ANSWERS: abi::Limit = abi::Limit { interval_ns: 1_000_000, burst_ns: 100_000_000 };

/// Room for trunks where the kernel has not been asked.
const TRUNKS: u32 = 16_384;

pub use plan::{Plan, PlanError, plan};
pub use slots::{Drifts, Holder, Look};
pub use step::Step;

/// What should hold in the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Desired {
    /// By name; the account of unknown sources is among them.
    pub accounts: BTreeMap<String, DesiredAccount>,
    /// Bans and allowances.
    pub standings: BTreeMap<IpNet, Standing>,
    /// Ports by service.
    pub ports: PortSets,
    /// Settings for all accounts.
    pub settings: GlobalSettings,
    /// Room for accounts, the one of unknown sources included.
    pub account_capacity: u32,
    /// Room for source prefixes.
    pub prefix_capacity: u32,
    /// Room for trunks, number 0 for none included.
    pub trunk_capacity: u32,
    /// Room for caller IDs and sender IDs.
    pub caller_id_capacity: u32,
}

/// One account as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DesiredAccount {
    /// Name of its plan, for the reader of the dry run.
    pub plan: String,
    /// Limits in force.
    pub policy: Policy,
    /// Source prefixes, without host bits.
    pub prefixes: Vec<IpNet>,
    /// Caller IDs and sender IDs that it may show.
    pub shown_ids: Vec<ShownId>,
    /// Names by which it binds (SMPP).
    pub system_ids: Vec<SystemId>,
    /// By name.
    pub trunks: BTreeMap<String, DesiredTrunk>,
}

/// One trunk as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DesiredTrunk {
    /// Calls at once; 0 is no limit.
    pub calls_max: u32,
    /// Source prefixes within those of the account.
    pub prefixes: Vec<IpNet>,
}

/// What an account may show.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ShownId {
    /// As a caller: every number that begins with these digits.
    Caller(String),
    /// As the sender of an SMPP message.
    Sender(SenderId),
}

/// What holds in the kernel, as read from its maps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Installed {
    /// By name (map `ACCOUNT_NAMES`).
    pub accounts: BTreeMap<String, InstalledAccount>,
    /// By account and name (map `TRUNK_NAMES`): `acme/london`.
    pub trunks: BTreeMap<String, InstalledTrunk>,
    /// Prefix to account and trunk.
    pub prefixes: BTreeMap<IpNet, Member>,
    /// Account numbers with caller IDs and sender IDs that they may show.
    pub shown_ids: BTreeSet<(u32, ShownId)>,
    /// `system_id` to account number.
    pub system_ids: BTreeMap<SystemId, u32>,
    /// Bans and allowances.
    pub standings: BTreeMap<IpNet, Standing>,
    /// Ports by service.
    pub ports: PortSets,
    /// `None` before the first configuration.
    pub settings: Option<GlobalSettings>,
    /// Numbers of no account under which calls or binds of their last one go on. Asked for only where a plan may give
    /// numbers out.
    pub held: BTreeSet<u32>,
}

/// One account as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InstalledAccount {
    /// Its place in the kernel's arrays; 0 is the account of unknown sources.
    pub number: u32,
    /// Limits in force.
    pub policy: Policy,
}

/// One trunk as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InstalledTrunk {
    /// Its place in the kernel's arrays; 0 is no trunk.
    pub number: u32,
    /// Calls at once; 0 is no limit.
    pub calls_max: u32,
}

/// The parts of [`abi::Settings`] that configuration decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GlobalSettings {
    /// Observe here means observe for every account.
    pub mode: Mode,
    /// What of an IPv6 address makes a source.
    pub ipv6_mask: [u8; 16],
    /// How long a SIP request counts as a retransmission.
    pub repeat_window_ns: u64,
    /// Digits of a called number that are counted as its prefix.
    pub prefix_digits: u32,
    /// How long a call may go without a final response.
    pub call_unanswered_ns: u64,
    /// How long an answered call may go unheard.
    pub call_answered_ns: u64,
    /// How long a source counts as registered, where the registrar does not say.
    pub registered_for_ns: u64,
    /// SMPP messages refused in SMPP's own words to each source.
    pub refusals: abi::Limit,
    /// How long they may all go unanswered.
    pub refusal_answer_ns: u64,
    /// How long a bind may go unheard.
    pub bind_idle_ns: u64,
    /// Whether connections that are to end are reset.
    pub resets: bool,
    /// How many of 2^32 messages of SMPP leave a record ([`config::Share`]).
    pub message_records: u32,
}

/// A ban or an allowance of a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Which.
    pub kind: StandingKind,
    /// When it ends by itself, on the monotonic clock; `u64::MAX` means never.
    pub until_ns: u64,
}

/// A limit that was set by command: it goes before the account's own and before the plan's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitOverride {
    /// Account; when no such account is configured, the override waits until one is.
    pub account: String,
    /// Whose bucket.
    pub scope: Scope,
    /// Class.
    pub class: Class,
    /// The limit.
    pub limit: Rate,
}

impl Desired {
    /// Configuration, then what was set by command on top of it.
    #[must_use]
    pub fn new(config: &Config, overrides: &[LimitOverride], measures: &BTreeMap<IpNet, Standing>) -> Self {
        let mut accounts: BTreeMap<String, DesiredAccount> = config
            .accounts
            .iter()
            .map(|(name, account)| {
                let desired = DesiredAccount {
                    plan: account.plan.clone(),
                    policy: config.policy(account),
                    prefixes: account.sources.clone(),
                    trunks: account.trunks.iter().map(|(name, trunk)| (name.clone(), trunk.into())).collect(),
                    shown_ids: shown_ids(account),
                    system_ids: account.system_ids.iter().map(|name| system_id(name)).collect(),
                };
                (name.clone(), desired)
            })
            .collect();
        // What is said of registered sources goes before what is said of all.
        let (of_registered, of_all): (Vec<_>, Vec<_>) =
            overrides.iter().partition(|set| set.scope == Scope::Registered);
        for set in of_all.into_iter().chain(of_registered) {
            if let Some(account) = accounts.get_mut(&set.account) {
                let (class, limit) = (set.class.index(), set.limit.to_limit());
                let policy = &mut account.policy;
                policy.set_by_command |= mark(set.scope, set.class);
                match set.scope {
                    Scope::Account => policy.account[class] = limit,
                    Scope::Source => {
                        // Where nothing else is said of registered sources, it is said of them too.
                        if policy.registered[class] == policy.source[class] {
                            policy.registered[class] = limit;
                        }
                        policy.source[class] = limit;
                    }
                    Scope::Registered => policy.registered[class] = limit,
                }
            }
        }
        Self {
            accounts,
            standings: measures.clone(),
            ports: config.ports.clone(),
            settings: GlobalSettings::new(config),
            account_capacity: config.capacity.accounts,
            prefix_capacity: config.capacity.prefixes,
            trunk_capacity: TRUNKS,
            caller_id_capacity: config.capacity.caller_ids,
        }
    }
}

impl Installed {
    /// The limits that were set by command, as the kernel has them: what is known of them without the database.
    #[must_use]
    pub fn set_by_command(&self) -> Vec<LimitOverride> {
        let of_account = |(name, account): (&String, &InstalledAccount)| {
            let limits = set_by_command(&account.policy);
            let named = |(scope, class, limit)| LimitOverride { account: name.clone(), scope, class, limit };
            limits.map(named).collect::<Vec<_>>()
        };
        self.accounts.iter().flat_map(of_account).collect()
    }
}

/// The limits of a policy that were set by command.
pub(crate) fn set_by_command(policy: &Policy) -> impl Iterator<Item = (Scope, Class, Rate)> {
    let pairs = Scope::ALL.into_iter().flat_map(|scope| Class::ALL.iter().map(move |class| (scope, *class)));
    pairs.filter(|(scope, class)| policy.set_by_command & mark(*scope, *class) != 0).map(|(scope, class)| {
        let limits = match scope {
            Scope::Account => &policy.account,
            Scope::Source => &policy.source,
            Scope::Registered => &policy.registered,
        };
        (scope, class, Rate::from_limit(limits[class.index()]))
    })
}

/// The bit of a limit in [`Policy::set_by_command`].
const fn mark(scope: Scope, class: Class) -> u32 {
    const { assert!(Scope::ALL.len() * Class::COUNT <= u32::BITS as usize, "a limit has no bit") };
    1 << (scope as usize * Class::COUNT + class.index())
}

impl From<&config::Trunk> for DesiredTrunk {
    fn from(trunk: &config::Trunk) -> Self {
        Self { calls_max: trunk.calls, prefixes: trunk.sources.clone() }
    }
}

impl GlobalSettings {
    /// What the configuration says.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        Self {
            mode: config.mode,
            ipv6_mask: ipv6_mask(config.ipv6_source_prefix),
            // Checked to be at most an hour; what does not fit 64 bits would mean for ever.
            repeat_window_ns: u64::try_from(config.sip_repeat_window.as_nanos()).unwrap_or(u64::MAX),
            prefix_digits: config.detect.pumping.prefix_digits,
            call_unanswered_ns: u64::try_from(config.calls.unanswered.as_nanos()).unwrap_or(u64::MAX),
            call_answered_ns: u64::try_from(config.calls.answered.as_nanos()).unwrap_or(u64::MAX),
            registered_for_ns: u64::try_from(config.sip_registered_for.as_nanos()).unwrap_or(u64::MAX),
            refusals: config.smpp.refusals.to_limit(),
            refusal_answer_ns: u64::try_from(config.native_answer_within.as_nanos()).unwrap_or(u64::MAX),
            bind_idle_ns: u64::try_from(config.smpp.bind_idle.as_nanos()).unwrap_or(u64::MAX),
            resets: config.tcp_reset,
            message_records: config.records.messages.of_hashes(),
        }
    }

    /// The configured part of what the kernel holds.
    #[must_use]
    pub fn from_abi(settings: &abi::Settings) -> Self {
        Self {
            mode: usize::try_from(settings.mode).ok().and_then(Mode::from_index).unwrap_or(Mode::Observe),
            ipv6_mask: settings.ipv6_mask,
            repeat_window_ns: settings.repeat_window_ns,
            prefix_digits: settings.prefix_digits,
            call_unanswered_ns: settings.call_unanswered_ns,
            call_answered_ns: settings.call_answered_ns,
            registered_for_ns: settings.registered_for_ns,
            refusals: settings.refusals,
            refusal_answer_ns: settings.refusal_answer_ns,
            bind_idle_ns: settings.bind_idle_ns,
            resets: settings.resets != 0,
            message_records: settings.message_records,
        }
    }

    /// Writes the configured part, and nothing else.
    pub fn write_to(&self, settings: &mut abi::Settings) {
        settings.mode = self.mode as u32;
        settings.ipv6_mask = self.ipv6_mask;
        settings.repeat_window_ns = self.repeat_window_ns;
        settings.prefix_digits = self.prefix_digits;
        settings.retry_after_s = RETRY_AFTER_S;
        settings.call_unanswered_ns = self.call_unanswered_ns;
        settings.call_answered_ns = self.call_answered_ns;
        settings.registered_for_ns = self.registered_for_ns;
        settings.answers = ANSWERS;
        settings.refusals = self.refusals;
        settings.refusal_answer_ns = self.refusal_answer_ns;
        settings.bind_idle_ns = self.bind_idle_ns;
        settings.resets = u32::from(self.resets);
        settings.message_records = self.message_records;
    }
}

impl From<abi::Standing> for Standing {
    fn from(standing: abi::Standing) -> Self {
        let kind = usize::try_from(standing.kind).ok().and_then(StandingKind::from_index);
        Self { kind: kind.unwrap_or(StandingKind::Metered), until_ns: standing.until_ns }
    }
}

impl From<Standing> for abi::Standing {
    fn from(standing: Standing) -> Self {
        Self { kind: standing.kind as u32, reserved: 0, until_ns: standing.until_ns }
    }
}

impl PortSets {
    /// Ports of one service, ascending.
    #[must_use]
    pub fn of(&self, service: Service) -> &[u16] {
        match service {
            Service::SipUdp => &self.sip_udp,
            Service::SipTcp => &self.sip_tcp,
            Service::SmppTcp => &self.smpp_tcp,
            Service::SipTls => &self.sip_tls,
            Service::SmppTls => &self.smpp_tls,
        }
    }

    /// As the kernel reads it.
    #[must_use]
    #[expect(clippy::large_stack_arrays, reason = "128 KiB, moved to the heap at once")]
    pub fn to_kernel(&self) -> Box<abi::Ports> {
        let mut ports = Box::new(abi::Ports { services: [0; 65536], refusals: [0; 65536] });
        for service in Service::ALL {
            for port in self.of(*service) {
                ports.services[usize::from(*port)] |= 1 << service.index();
            }
        }
        for port in &self.smpp_tcp {
            ports.refusals[usize::from(*port)] = self.smpp_refusal;
        }
        for port in &self.sip_tcp {
            ports.refusals[usize::from(*port)] = self.sip_refusal;
        }
        ports
    }

    /// Back from what the kernel reads.
    #[must_use]
    pub fn from_kernel(ports: &abi::Ports) -> Self {
        let services = &ports.services;
        let with = |service: Service| -> Vec<u16> {
            (0..=u16::MAX).filter(|port| services[usize::from(*port)] & (1 << service.index()) != 0).collect()
        };
        let refusal = |listening: &[u16]| {
            let mut octets = listening.iter().map(|port| ports.refusals[usize::from(*port)]);
            let first = octets.next().unwrap_or(0);
            // Where they differ, another hand wrote them: an octet that nobody configures has them written anew.
            if octets.all(|octet| octet == first) { first } else { u8::MAX }
        };
        let (smpp_tcp, sip_tcp) = (with(Service::SmppTcp), with(Service::SipTcp));
        let (smpp_refusal, sip_refusal) = (refusal(&smpp_tcp), refusal(&sip_tcp));
        Self {
            sip_udp: with(Service::SipUdp),
            sip_tcp,
            smpp_tcp,
            sip_tls: with(Service::SipTls),
            smpp_tls: with(Service::SmppTls),
            smpp_refusal,
            sip_refusal,
        }
    }
}

fn shown_ids(account: &config::Account) -> Vec<ShownId> {
    let callers = account.caller_ids.iter().cloned().map(ShownId::Caller);
    callers.chain(account.sender_ids.iter().cloned().map(ShownId::Sender)).collect()
}

/// As a person reads it: `caller ID 441632`.
impl fmt::Display for ShownId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Caller(digits) => write!(f, "caller ID {digits}"),
            Self::Sender(id) => write!(f, "sender ID {id}"),
        }
    }
}

/// A `system_id` as the kernel keeps it. Checked to be at most 15 octets.
fn system_id(name: &str) -> SystemId {
    let mut id = SystemId::default();
    for (octet, byte) in id.iter_mut().zip(name.bytes()) {
        *octet = byte;
    }
    id
}

/// Back from there, for a person to read.
pub(crate) fn system_id_text(id: &SystemId) -> String {
    let end = id.iter().position(|octet| *octet == 0).unwrap_or(id.len());
    id.get(..end).unwrap_or_default().escape_ascii().to_string()
}

/// The mask of an IPv6 prefix of `length` bits; everything beyond 128 counts as 128.
fn ipv6_mask(length: u8) -> [u8; 16] {
    let host_bits = 128 - u32::from(length.min(128));
    u128::MAX.checked_shl(host_bits).unwrap_or(0).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mask_has_as_many_ones_as_the_prefix_is_long() {
        for length in 0..=128 {
            let mask = u128::from_be_bytes(ipv6_mask(length));
            assert_eq!(mask.leading_ones(), u32::from(length));
            assert_eq!(mask.count_ones(), u32::from(length));
        }
    }

    #[test]
    fn ports_come_back_from_the_kernels_table() {
        let ports = PortSets {
            sip_udp: vec![5060, 65535],
            sip_tcp: vec![5060],
            smpp_tcp: vec![2775, 2776],
            sip_tls: vec![5061],
            smpp_tls: vec![3550],
            smpp_refusal: 0x11,
            sip_refusal: 0x01,
        };
        assert_eq!(PortSets::from_kernel(&ports.to_kernel()), ports);
    }
}
