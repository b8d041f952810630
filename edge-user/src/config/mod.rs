//! Configuration: `edge.toml` and `accounts.d/*.toml`.
//!
//! File types (`file`) say what may be written; checked types (here) say what holds. [`load`] goes from one to
//! the other in one pass and reports every problem at once.

mod accounts;
mod check;
mod defaults;
mod detect;
mod field;
mod file;
mod load;
mod problem;
mod secret;
mod share;
mod shown;
mod values;
mod webhooks;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use edge_ebpf::abi::{Class, Mode, Policy, RefusalMode, RefusalStatus, policy_flag};
use ipnet::IpNet;

use crate::alert::Severity;
use crate::api::types::Scope;
use crate::rate::Rate;

pub(crate) use accounts::conflict_with_ipv4;
pub use load::load;
pub use problem::{Problem, Problems};
pub use secret::SecretError;
pub(crate) use secret::read_secret;
pub use share::Share;
pub use shown::{ForeignMode, SenderId};

/// The name of the account that unknown sources fall to; its number in the kernel is 0.
pub const UNKNOWN_ACCOUNT: &str = "unknown";

/// A configuration that was checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Where it was read from.
    pub path: PathBuf,
    /// Interfaces to attach to, at least one.
    pub interfaces: Vec<Interface>,
    /// Observe here means observe for every account.
    pub mode: Mode,
    /// Ports by service.
    pub ports: PortSets,
    /// Whether connections that are to end are reset.
    pub tcp_reset: bool,
    /// Length of the IPv6 prefix that makes one source, 1 to 128.
    pub ipv6_source_prefix: u8,
    /// How long a SIP request counts as a retransmission.
    pub sip_repeat_window: Duration,
    /// How long a source counts as registered after the server has accepted a REGISTER of it, where the answer does not say.
    pub sip_registered_for: Duration,
    /// Sizes of maps.
    pub capacity: Capacity,
    /// Paths of the daemon.
    pub paths: Paths,
    /// Where `/metrics`, `/healthz` and `/readyz` are served.
    pub metrics_listen: SocketAddr,
    /// Classes of SIP whose refused requests are answered (503, or 403 for a suspended account), for every account;
    /// those of other classes are dropped.
    pub answered: BTreeSet<Class>,
    /// Whether calls over UDP whose headers are not to be trusted are refused, for every account.
    pub refuses_doubtful: bool,
    /// How SMPP messages are refused, and how long binds may go unheard.
    pub smpp: Smpp,
    /// How long a server may leave native refusals, of SMPP or SIP, all unanswered before its port falls back to drop.
    pub native_answer_within: Duration,
    /// How long calls may go unheard.
    pub calls: Calls,
    /// Records of calls and of messages.
    pub records: Records,
    /// Plans by name.
    pub plans: BTreeMap<String, Plan>,
    /// Accounts by name; [`UNKNOWN_ACCOUNT`] is always among them.
    pub accounts: BTreeMap<String, Account>,
    /// Detectors.
    pub detect: Detect,
    /// Webhook endpoints by name.
    pub webhooks: BTreeMap<String, Webhook>,
    /// How long the per-minute history is kept.
    pub history_retention: Duration,
}

/// Every key that configuration knows, for documents and their tests: `detect.spike.factor`,
/// `interfaces[].name`, `accounts.NAME.sources`, `plans.NAME.account` (a table of classes).
#[must_use]
pub fn every_key() -> Vec<String> {
    file::every_key()
}

/// Where a limit comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The account's plan, by name.
    Plan(String),
    /// The account's own file.
    Account,
    /// Nowhere: the class is not limited.
    Unset,
}

impl Config {
    /// The limit that configuration sets for an account, and where it stands: the account's own, else the
    /// plan's, else none. Limits set by command go before it ([`crate::reconcile::Desired::new`]).
    #[must_use]
    pub fn limit(&self, account: &Account, scope: Scope, class: Class) -> (Rate, Origin) {
        let in_plan = |plan: &Plan| match scope {
            Scope::Account => plan.account.get(&class).copied(),
            Scope::Source => plan.source.get(&class).copied(),
            Scope::Registered => plan.registered.get(&class).copied(),
        };
        if let Some(rate) = in_plan(&account.overrides) {
            return (rate, Origin::Account);
        }
        // An account's own limit for each source holds for those that have registered, unless it says otherwise.
        if scope == Scope::Registered && account.overrides.source.contains_key(&class) {
            return self.limit(account, Scope::Source, class);
        }
        match self.plans.get(&account.plan).and_then(in_plan) {
            Some(rate) => (rate, Origin::Plan(account.plan.clone())),
            None if scope == Scope::Registered => self.limit(account, Scope::Source, class),
            None => (Rate::Unlimited, Origin::Unset),
        }
    }

    /// Most calls of an account at once: its own limit, else its plan's; 0 is none.
    #[must_use]
    pub fn calls_max(&self, account: &Account) -> u32 {
        let in_plan = || self.plans.get(&account.plan).and_then(|plan| plan.calls);
        account.overrides.calls.or_else(in_plan).unwrap_or(0)
    }

    /// The mode that holds for an account: observe for all goes before the account's own.
    #[must_use]
    pub const fn mode_in_force(&self, account: &Account) -> Mode {
        match self.mode {
            Mode::Observe => Mode::Observe,
            Mode::Enforce => account.mode,
        }
    }

    /// Most SMPP binds of an account at once: its own limit, else its plan's; 0 is none.
    #[must_use]
    pub fn binds_max(&self, account: &Account) -> u32 {
        let in_plan = || self.plans.get(&account.plan).and_then(|plan| plan.binds);
        account.overrides.binds.or_else(in_plan).unwrap_or(0)
    }

    /// Every limit of an account and its mode in force, in the form that the kernel reads. The kernel asks the mode for all
    /// as well; said here too, an account that observe for all held back is one that changes when that ends.
    #[must_use]
    pub fn policy(&self, account: &Account) -> Policy {
        let calls_max = self.calls_max(account);
        let answered = self.answered.iter().fold(0, |bits, class| bits | 1 << class.index());
        let binds_max = self.binds_max(account);
        let doubtful = if self.refuses_doubtful { policy_flag::DOUBTFUL_REFUSED } else { 0 };
        let ids = account.caller_id_mode.caller_flags() | account.sender_id_mode.sender_flags();
        let flags = ids | doubtful;
        let mode = self.mode_in_force(account) as u32;
        let mut policy = Policy { mode, flags, calls_max, answered, binds_max, ..Policy::OPEN };
        for class in Class::ALL {
            policy.account[class.index()] = self.limit(account, Scope::Account, *class).0.to_limit();
            policy.source[class.index()] = self.limit(account, Scope::Source, *class).0.to_limit();
            policy.registered[class.index()] = self.limit(account, Scope::Registered, *class).0.to_limit();
        }
        policy
    }
}

/// `plan NAME`, `account` or `none`, as in [`crate::api::types::LimitView::origin`].
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plan(name) => write!(f, "plan {name}"),
            Self::Account => f.write_str("account"),
            Self::Unset => f.write_str("none"),
        }
    }
}

/// One interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Name, at most 15 bytes.
    pub name: String,
    /// The mode asked for.
    pub xdp_mode: XdpModeRequest,
}

/// How the XDP program is to be attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XdpModeRequest {
    /// In the driver, or an error.
    Native,
    /// In the stack.
    Generic,
    /// Native if the driver can, else generic, and the status says which and why.
    Auto,
}

/// Destination ports by service, each list ascending and without repetition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortSets {
    /// SIP over UDP.
    pub sip_udp: Vec<u16>,
    /// SIP over TCP.
    pub sip_tcp: Vec<u16>,
    /// SMPP over TCP.
    pub smpp_tcp: Vec<u16>,
    /// SIP over TLS.
    pub sip_tls: Vec<u16>,
    /// SMPP over TLS.
    pub smpp_tls: Vec<u16>,
    /// How messages over a limit are refused on those: [`edge_ebpf::abi::refusal_octet`]; 0 where there are none.
    pub smpp_refusal: u8,
    /// The same for SIP over TCP: [`edge_ebpf::abi::stream_refusal_octet`].
    pub sip_refusal: u8,
}

/// Sizes of maps, in entries. A change takes effect when the maps are made anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Accounts.
    pub accounts: u32,
    /// Source prefixes of accounts.
    pub prefixes: u32,
    /// Sources remembered at once.
    pub sources: u32,
    /// SMPP connections framed at once.
    pub flows: u32,
    /// Caller IDs and sender IDs of all accounts.
    pub caller_ids: u32,
    /// Calls that hold slots at once.
    pub calls: u32,
}

/// SMPP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Smpp {
    /// What becomes of messages over a limit.
    pub refusal: RefusalMode,
    /// `command_status` of those that are refused in SMPP's own words.
    pub status: RefusalStatus,
    /// Refusals in SMPP's own words for each source; beyond it, messages are dropped.
    pub refusals: Rate,
    /// How long a bind may go unheard before its place is taken back.
    pub bind_idle: Duration,
}

/// How long a call may go unheard before its slot is taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Calls {
    /// Without a final response.
    pub unanswered: Duration,
    /// After it was answered, where no Session-Expires says less.
    pub answered: Duration,
}

/// What is kept of calls that are over, and of messages that were answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Records {
    /// How much of the numbers.
    pub numbers: Numbers,
    /// For how long.
    pub retention: Duration,
    /// At most this many of either; the oldest go first.
    pub max_rows: u64,
    /// Which messages of SMPP leave one.
    pub messages: Share,
}

/// How much of a number is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Numbers {
    /// All of it.
    Full,
    /// All but the last four digits.
    Masked,
    /// Nothing.
    None,
}

/// Paths of the daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    /// bpffs directory under which pins live.
    pub pin_dir: PathBuf,
    /// Database (`SQLite`).
    pub database: PathBuf,
    /// Unix socket of the control API.
    pub socket: PathBuf,
    /// Permission bits of the socket.
    pub socket_mode: u32,
}

/// A named set of limits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Over all sources of an account.
    pub account: Limits,
    /// For each single source.
    pub source: Limits,
    /// In place of `source`, class by class, for a source that has registered.
    pub registered: Limits,
    /// Calls at once over all sources of an account; 0 is no limit, `None` says nothing.
    pub calls: Option<u32>,
    /// SMPP binds at once over all sources of an account; 0 is no limit, `None` says nothing.
    pub binds: Option<u32>,
}

/// Limits by class; a class that is missing is not limited.
pub type Limits = BTreeMap<Class, Rate>;

/// One account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Source prefixes.
    pub sources: Vec<IpNet>,
    /// SMPP system ids.
    pub system_ids: Vec<String>,
    /// Leading digits of the numbers that its calls and messages may show, country code first.
    pub caller_ids: Vec<String>,
    /// What becomes of those with another one.
    pub caller_id_mode: ForeignMode,
    /// What its SMPP messages may have as their source addresses.
    pub sender_ids: Vec<SenderId>,
    /// What becomes of those with another one.
    pub sender_id_mode: ForeignMode,
    /// The plan's name.
    pub plan: String,
    /// Enforce or observe.
    pub mode: Mode,
    /// The account's own limits: they replace the plan's, class by class.
    pub overrides: Plan,
    /// Trunks by name.
    pub trunks: BTreeMap<String, Trunk>,
}

/// A named part of an account's sources, with a limit of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trunk {
    /// Source prefixes, each within one of the account's.
    pub sources: Vec<IpNet>,
    /// Calls at once; 0 is no limit.
    pub calls: u32,
}

/// Detectors.
#[derive(Clone, Debug, PartialEq)]
pub struct Detect {
    /// Volume spike.
    pub spike: Spike,
    /// Concentration of called numbers.
    pub pumping: Pumping,
    /// Messages that are accepted and not delivered.
    pub undelivered: Undelivered,
    /// Unknown sources that are refused again and again.
    pub scanning: Scanning,
    /// Caller IDs that are none of the account's.
    pub caller_id: ForeignIds,
    /// Sender IDs that are none of the account's.
    pub sender_id: ForeignIds,
}

/// Volume spike against the account's own baseline.
#[derive(Clone, Debug, PartialEq)]
pub struct Spike {
    /// Whether it runs.
    pub enabled: bool,
    /// Opens at this multiple of the baseline.
    pub factor: f64,
    /// Never below this many messages per second.
    pub floor_per_sec: f64,
    /// Resolves below this part of the opening threshold, 0 to 1.
    pub resolve_ratio: f64,
    /// Resolves after that long below.
    pub resolve_after: Duration,
    /// Half-life of the baseline.
    pub baseline_half_life: Duration,
    /// How much it matters.
    pub severity: Severity,
}

/// Concentration of called numbers by E.164 prefix.
#[derive(Clone, Debug, PartialEq)]
pub struct Pumping {
    /// Whether it runs.
    pub enabled: bool,
    /// Digits of a prefix, 1 to 8.
    pub prefix_digits: u32,
    /// Window.
    pub window: Duration,
    /// At least this many messages within the window.
    pub min_messages: u64,
    /// Opens when one prefix has at least this share, 0 to 1.
    pub share: f64,
    /// Resolves below this share.
    pub resolve_share: f64,
    /// How much it matters.
    pub severity: Severity,
}

/// Messages to one E.164 prefix that are accepted and not delivered, by the server's delivery receipts.
#[derive(Clone, Debug, PartialEq)]
pub struct Undelivered {
    /// Whether it runs.
    pub enabled: bool,
    /// Window.
    pub window: Duration,
    /// At least this many receipts for one prefix within the window.
    pub min_receipts: u64,
    /// Opens when at least this share of them say failed or expired, 0 to 1.
    pub share: f64,
    /// Resolves below this share.
    pub resolve_share: f64,
    /// How much it matters.
    pub severity: Severity,
}

/// Unknown sources that are refused again and again.
#[derive(Clone, Debug, PartialEq)]
pub struct Scanning {
    /// Whether it runs.
    pub enabled: bool,
    /// What becomes of a scanner.
    pub action: ScanningAction,
    /// Refusals of one source within the window that make it a scanner.
    pub threshold: u64,
    /// Window.
    pub window: Duration,
    /// How long a ban lasts.
    pub ban_for: Duration,
    /// How much it matters.
    pub severity: Severity,
}

/// Caller IDs or sender IDs that are none of the account's.
#[derive(Clone, Debug, PartialEq)]
pub struct ForeignIds {
    /// Whether it runs.
    pub enabled: bool,
    /// Violations of one account within the window.
    pub threshold: u64,
    /// Window.
    pub window: Duration,
    /// How much it matters.
    pub severity: Severity,
}

/// What becomes of a scanner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScanningAction {
    /// It is told of.
    Alert,
    /// It is told of, and banned for a while.
    Ban,
}

/// One webhook endpoint (Standard Webhooks).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    /// `http` or `https`.
    pub url: String,
    /// Files with secrets (`whsec_…`), the first signs first; several during a rotation.
    pub secret_files: Vec<PathBuf>,
    /// Alerts below this are not sent here.
    pub min_severity: Severity,
    /// Limit of one attempt.
    pub timeout: Duration,
    /// When to stop trying.
    pub give_up_after: Duration,
}
