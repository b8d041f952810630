//! What holds where nothing is written. `config/edge.toml` says the same with reasons; a test compares them.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use edge_ebpf::abi::{Class, Mode, RefusalMode, RefusalStatus};

use super::{
    Calls, Capacity, Detect, ForeignIds, Numbers, Paths, Plan, PortSets, Pumping, Records, Scanning,
    ScanningAction, Share, Smpp, Spike, Undelivered,
};
use crate::alert::Severity;
use crate::rate::{Per, Rate};

pub(super) const MODE: Mode = Mode::Observe;
pub(super) const IPV6_SOURCE_PREFIX: u8 = 64;
/// 64 x T1: timers B and F (RFC 3261 17.1).
pub(super) const SIP_REPEAT_WINDOW: Duration = Duration::from_secs(32);
/// An hour, which is what most registrars grant (RFC 3261 10.2).
pub(super) const SIP_REGISTERED_FOR: Duration = Duration::from_hours(1);
pub(super) const HISTORY_RETENTION: Duration = Duration::from_hours(30 * 24);
pub(super) const METRICS_PORT: u16 = 10_775;
pub(super) const ACCOUNT_PLAN: &str = "standard";
pub(super) const UNKNOWN_PLAN: &str = "unknown";
pub(super) const WEBHOOK_MIN_SEVERITY: Severity = Severity::Warning;
pub(super) const WEBHOOK_TIMEOUT: Duration = Duration::from_secs(15);
/// The last attempt of the schedule of Standard Webhooks comes 75 h 35 min after the first.
pub(super) const WEBHOOK_GIVE_UP_AFTER: Duration = Duration::from_hours(76);

pub(super) fn ports() -> PortSets {
    PortSets {
        sip_udp: vec![5060],
        sip_tcp: vec![5060],
        smpp_tcp: vec![2775],
        // RFC 3261 19.1.2. SMPP over TLS has a registered port (3550), which hardly anybody uses.
        sip_tls: vec![5061],
        smpp_tls: vec![],
        smpp_refusal: 0,
        sip_refusal: 0,
    }
}

/// A ban that leaves a connection open on the server is half a ban.
pub(super) const TCP_RESET: bool = true;

/// The sizes that the kernel programs are built with.
pub(super) const CAPACITY: Capacity = Capacity {
    accounts: 16_384,
    prefixes: 1_048_576,
    sources: 262_144,
    flows: 16_384,
    caller_ids: 131_072,
    calls: 131_072,
};

/// A session sends an `enquire_link` each minute or more often.
pub(super) const SMPP: Smpp = Smpp {
    refusal: RefusalMode::Drop,
    status: RefusalStatus::Throttled,
    refusals: Rate::known(1_000, Per::Second, 2_000),
    bind_idle: Duration::from_hours(1),
};

/// A server answers within milliseconds.
pub(super) const NATIVE_ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// Timer C and a little (RFC 3261 16.6); four hours are longer than nearly every call.
pub(super) const CALLS: Calls =
    Calls { unanswered: Duration::from_secs(200), answered: Duration::from_hours(4) };

/// A refused call is to be told (decision 0006); what strangers use to find servers is not.
pub(super) const ANSWERED: [Class; 1] = [Class::SipInvite];

/// One in a hundred tells what a server's answers take, and costs next to nothing.
pub(super) const RECORDS: Records = Records {
    numbers: Numbers::Full,
    retention: Duration::from_hours(30 * 24),
    max_rows: 1_000_000,
    messages: Share::OneIn(100),
};

pub(super) fn paths() -> Paths {
    Paths {
        pin_dir: PathBuf::from("/sys/fs/bpf/edge"),
        database: PathBuf::from("/var/lib/edge/edge.db"),
        socket: PathBuf::from("/run/edge/edge.sock"),
        socket_mode: 0o660,
    }
}

pub(super) fn metrics_listen() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, METRICS_PORT))
}

/// The two plans that exist without being written.
pub(super) fn plans() -> BTreeMap<String, Plan> {
    const SECOND: Per = Per::Second;
    const MINUTE: Per = Per::Minute;
    let standard = Plan {
        account: BTreeMap::from([
            (Class::SipInvite, Rate::known(20, SECOND, 40)),
            (Class::SipRegister, Rate::known(20, SECOND, 100)),
            (Class::SipOptions, Rate::known(15, SECOND, 30)),
            (Class::SipMessage, Rate::known(30, SECOND, 60)),
            (Class::SipOther, Rate::known(20, SECOND, 40)),
            (Class::SmppSubmit, Rate::known(30, SECOND, 60)),
            (Class::SmppBind, Rate::known(60, MINUTE, 10)),
            (Class::Connections, Rate::known(20, SECOND, 100)),
        ]),
        source: BTreeMap::from([(Class::Packets, Rate::known(4_000, SECOND, 8_000))]),
        registered: BTreeMap::new(),
        calls: None,
        binds: None,
    };
    let unknown = Plan {
        account: BTreeMap::new(),
        source: BTreeMap::from([
            (Class::SipInvite, Rate::known(1, SECOND, 5)),
            (Class::SipRegister, Rate::known(10, MINUTE, 10)),
            (Class::SipOptions, Rate::known(1, SECOND, 10)),
            (Class::SipMessage, Rate::known(1, SECOND, 5)),
            (Class::SipOther, Rate::known(1, SECOND, 10)),
            (Class::SmppSubmit, Rate::known(10, SECOND, 20)),
            (Class::SmppBind, Rate::known(10, MINUTE, 5)),
            (Class::Packets, Rate::known(200, SECOND, 400)),
            (Class::Connections, Rate::known(1, SECOND, 20)),
        ]),
        registered: BTreeMap::from([
            (Class::SipInvite, Rate::known(10, SECOND, 20)),
            (Class::SipRegister, Rate::known(20, SECOND, 400)),
            (Class::SipOptions, Rate::known(10, SECOND, 50)),
            (Class::SipMessage, Rate::known(10, SECOND, 20)),
            (Class::SipOther, Rate::known(10, SECOND, 50)),
            (Class::Packets, Rate::known(2_000, SECOND, 4_000)),
            (Class::Connections, Rate::known(10, SECOND, 200)),
        ]),
        calls: None,
        binds: None,
    };
    BTreeMap::from([(ACCOUNT_PLAN.to_owned(), standard), (UNKNOWN_PLAN.to_owned(), unknown)])
}

pub(super) const DETECT: Detect = Detect {
    spike: Spike {
        enabled: true,
        factor: 3.0,
        floor_per_sec: 5.0,
        resolve_ratio: 0.7,
        resolve_after: Duration::from_mins(1),
        baseline_half_life: Duration::from_mins(30),
        severity: Severity::Warning,
    },
    pumping: Pumping {
        enabled: true,
        prefix_digits: 5,
        window: Duration::from_mins(1),
        min_messages: 100,
        share: 0.5,
        resolve_share: 0.3,
        severity: Severity::Critical,
    },
    undelivered: Undelivered {
        enabled: true,
        window: Duration::from_mins(10),
        min_receipts: 50,
        share: 0.5,
        resolve_share: 0.3,
        severity: Severity::Warning,
    },
    scanning: Scanning {
        enabled: true,
        action: ScanningAction::Alert,
        threshold: 50,
        window: Duration::from_mins(1),
        ban_for: Duration::from_mins(10),
        severity: Severity::Warning,
    },
    caller_id: FOREIGN_IDS,
    sender_id: FOREIGN_IDS,
};

const FOREIGN_IDS: ForeignIds =
    ForeignIds { enabled: true, threshold: 10, window: Duration::from_mins(1), severity: Severity::Warning };
