//! From file types to checked types, section by section.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use edge_ebpf::abi::{Class, RefusalMode, RefusalStatus, StreamServer, refusal_octet, stream_refusal_octet};

use super::accounts::{Accounts, Surroundings};
use super::field::{Field, Section, Tables};
use super::file::{
    AccountsFile, AnswerFile, CallsFile, CapacityFile, ClassesFile, EdgeFile, InterfaceFile, LimitsFile,
    NativeFile, PathsFile, PortsFile, RecordsFile, SmppFile,
};
use super::problem::{Problem, Report, suggestion};
use super::values::MODES;
use super::{
    Calls, Capacity, Config, Interface, Limits, Numbers, Paths, Plan, PortSets, Records, Share, Smpp,
    XdpModeRequest, defaults, detect, webhooks,
};
use crate::rate::Rate;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);
/// `IFNAMSIZ` is 16 with the terminating zero.
const INTERFACE_NAME_BYTES: usize = 15;

/// Always gives a configuration to go on with; it holds only if no problem was added.
pub(super) fn config(
    path: &Path,
    base: &Path,
    edge: Option<EdgeFile>,
    account_files: Vec<(PathBuf, AccountsFile)>,
    problems: &mut Vec<Problem>,
) -> Config {
    // What cannot be read has been reported; its absence must not be reported again.
    let readable = edge.is_some();
    let edge = edge.unwrap_or_default();
    let mut report = Report::new(path, problems);

    let mode = report.word("mode", edge.mode, defaults::MODE, &MODES);
    let ipv6_source_prefix =
        report.number("ipv6_source_prefix", edge.ipv6_source_prefix, defaults::IPV6_SOURCE_PREFIX, 1..=128);
    let sip_repeat_window = report.duration(
        "sip_repeat_window",
        edge.sip_repeat_window,
        defaults::SIP_REPEAT_WINDOW,
        SECOND..=HOUR,
    );
    let sip_registered_for = report.duration(
        "sip_registered_for",
        edge.sip_registered_for,
        defaults::SIP_REGISTERED_FOR,
        SECOND..=DAY,
    );
    let history_retention = report.duration(
        "history_retention",
        edge.history_retention,
        defaults::HISTORY_RETENTION,
        HOUR..=DAY * 3_660,
    );
    let interfaces = if readable { interfaces(edge.interfaces, &mut report) } else { Vec::new() };
    let ports_file = report.table("ports", edge.ports);
    let mut ports = ports(ports_file, &mut report);
    let smpp_file = report.table("smpp", edge.smpp);
    let smpp = smpp(smpp_file, &mut report);
    let native_answer_within = native_answer_within(edge.native, &mut report);
    let tcp = report.table("tcp", edge.tcp);
    let tcp_reset = report.given("tcp.reset", tcp.reset).unwrap_or(defaults::TCP_RESET);
    if !ports.smpp_tcp.is_empty() {
        ports.smpp_refusal = refusal_octet(smpp.refusal, smpp.status);
    }
    let has_native_refusals = !ports.smpp_tcp.is_empty() && smpp.refusal == RefusalMode::Native;
    let capacity_file = report.table("capacity", edge.capacity);
    let capacity = capacity(capacity_file, &mut report);
    let paths_file = report.table("paths", edge.paths);
    let paths = paths(paths_file, base, &mut report);
    let metrics = report.table("metrics", edge.metrics);
    let metrics_listen = address("metrics.listen", metrics.listen, defaults::metrics_listen(), &mut report);
    let sip_file = report.table("sip", edge.sip);
    let sip_refusal = sip_refusal(sip_file.stream_refusal, sip_file.stream_server, &mut report);
    if !ports.sip_tcp.is_empty() {
        ports.sip_refusal = sip_refusal;
    }
    let refuses_doubtful = report.word("sip.doubtful", sip_file.doubtful, false, &DOUBTFUL);
    let answered = answered(sip_file.answer, &mut report);
    let calls_file = report.table("calls", edge.calls);
    let calls = calls(calls_file, &mut report);
    let records_file = report.table("records", edge.records);
    let records = records(records_file, &mut report);
    let mut plans = defaults::plans();
    for (name, plan) in report.table("plans", edge.plans) {
        let field = format!("plans.{name}");
        report.name(&field, &name);
        let plan = report.table(&field, plan);
        plans.insert(name, limits(&field, plan, &mut report));
    }
    let detect_file = report.table("detect", edge.detect);
    let detect = detect::check(detect_file, &mut report);
    let webhooks = webhooks::check(edge.webhooks, base, &mut report);

    let surroundings = Surroundings {
        plans: readable.then_some(&plans),
        mode,
        ipv6_source_prefix,
        lacks_native_refusals: readable && !has_native_refusals,
    };
    let mut accounts = Accounts::new(surroundings);
    accounts.add_unknown(edge.unknown, &mut report);
    accounts.add_all(edge.accounts, &mut report);
    for (file, accounts_file) in account_files {
        accounts.add_all(accounts_file.accounts, &mut Report::new(&file, problems));
    }
    let accounts = accounts.finish(capacity, &mut Report::new(path, problems));

    Config {
        path: path.to_owned(),
        interfaces,
        mode,
        ports,
        tcp_reset,
        ipv6_source_prefix,
        sip_repeat_window,
        sip_registered_for,
        capacity,
        paths,
        metrics_listen,
        answered,
        refuses_doubtful,
        smpp,
        native_answer_within,
        calls,
        records,
        plans,
        accounts,
        detect,
        webhooks,
        history_retention,
    }
}

/// Limits of a plan or of an account, in both scopes.
pub(super) fn limits(field: &str, file: LimitsFile, report: &mut Report<'_>) -> Plan {
    let mut scope = |name: &str, section| {
        let field = format!("{field}.{name}");
        let classes = report.table(&field, section);
        let mut limits = Limits::new();
        classes_into(&field, "", classes, &mut limits, report);
        limits
    };
    let (account, source) = (scope("account", file.account), scope("source", file.source));
    let registered = scope("registered", file.registered);
    let calls = file.calls;
    let is_given = !matches!(calls, Field::Missing);
    let calls = report.number(&format!("{field}.calls"), calls, 0, 0..=1_000_000);
    let binds = file.binds;
    let has_binds = !matches!(binds, Field::Missing);
    let binds = report.number(&format!("{field}.binds"), binds, 0, 0..=1_000_000);
    Plan { account, source, registered, calls: is_given.then_some(calls), binds: has_binds.then_some(binds) }
}

/// Flattens `sip = { invite = … }` to `sip.invite`.
fn classes_into(field: &str, prefix: &str, table: ClassesFile, limits: &mut Limits, report: &mut Report<'_>) {
    for (key, value) in table {
        let name = if prefix.is_empty() { key } else { format!("{prefix}.{key}") };
        let path = format!("{field}.{name}");
        if let toml::Value::Table(inner) = value {
            classes_into(field, &name, inner.into_iter().collect(), limits, report);
            continue;
        }
        let Some(class) = Class::from_name(&name) else {
            let classes: Vec<&str> = Class::ALL.iter().map(|class| class.name()).collect();
            let near = suggestion(&name, classes.iter().copied());
            let fact = format!("unknown class{near}; the classes are {}", classes.join(", "));
            report.say(&path, fact, "it would limit nothing");
            continue;
        };
        match value.try_into::<Rate>() {
            Ok(rate) => {
                if limits.insert(class, rate).is_some() {
                    report.say(&path, "the class stands here twice", "only one of the limits could hold");
                }
            }
            Err(error) => {
                let message = error.message().trim().trim_start_matches("invalid type: ").to_owned();
                report.say(&path, message, "the class would not be limited");
            }
        }
    }
}

fn interfaces(tables: Tables<InterfaceFile>, report: &mut Report<'_>) -> Vec<Interface> {
    const XDP_MODES: [(&str, XdpModeRequest); 3] = [
        ("auto", XdpModeRequest::Auto),
        ("native", XdpModeRequest::Native),
        ("generic", XdpModeRequest::Generic),
    ];
    if let Some(found) = tables.wrong {
        report.say("interfaces", format!("{found}; write `[[interfaces]]`"), "Edge would see no packet");
        return Vec::new();
    }
    if tables.given.is_empty() {
        report.say(
            "interfaces",
            "none is named; write `[[interfaces]]` and `name = …`",
            "Edge would see no packet",
        );
    }
    let mut interfaces: Vec<Interface> = Vec::new();
    for (index, table) in tables.given.into_iter().enumerate() {
        let field = format!("interfaces[{index}]");
        let table = report.table(&field, table);
        let name_field = format!("{field}.name");
        let name = report.given(&name_field, table.name).unwrap_or_default();
        let xdp_mode =
            report.word(&format!("{field}.xdp_mode"), table.xdp_mode, XdpModeRequest::Auto, &XDP_MODES);
        if name.is_empty() {
            report.say(&name_field, "no name", "no interface could be found by it");
        } else if name.len() > INTERFACE_NAME_BYTES {
            let fact = format!("`{name}` has {} bytes, Linux allows {INTERFACE_NAME_BYTES}", name.len());
            report.say(&name_field, fact, "there can be no such interface");
        } else if name.contains(['/', ':'])
            || name.contains(|it: char| it.is_whitespace() || it.is_control())
            || name == "."
            || name == ".."
        {
            report.say(
                &name_field,
                format!("`{name}` is no name that Linux allows"),
                "there can be no such interface",
            );
        } else if interfaces.iter().any(|present| present.name == name) {
            report.say(&name_field, format!("`{name}` stands here twice"), "Edge cannot attach to it twice");
        } else {
            interfaces.push(Interface { name, xdp_mode });
        }
    }
    interfaces
}

fn ports(file: PortsFile, report: &mut Report<'_>) -> PortSets {
    let defaults = defaults::ports();
    let mut seen_tcp = BTreeMap::new();
    let mut seen_udp = BTreeMap::new();
    let sip_udp = port_list("ports.sip_udp", file.sip_udp, defaults.sip_udp, &mut seen_udp, report);
    let sip_tcp = port_list("ports.sip_tcp", file.sip_tcp, defaults.sip_tcp, &mut seen_tcp, report);
    let smpp_tcp = port_list("ports.smpp_tcp", file.smpp_tcp, defaults.smpp_tcp, &mut seen_tcp, report);
    let sip_tls = port_list("ports.sip_tls", file.sip_tls, defaults.sip_tls, &mut seen_tcp, report);
    let smpp_tls = port_list("ports.smpp_tls", file.smpp_tls, defaults.smpp_tls, &mut seen_tcp, report);
    if [&sip_udp, &sip_tcp, &smpp_tcp, &sip_tls, &smpp_tls].iter().all(|list| list.is_empty()) {
        report.say("ports", "every list is empty", "every packet would pass unseen");
    }
    PortSets { sip_udp, sip_tcp, smpp_tcp, sip_tls, smpp_tls, smpp_refusal: 0, sip_refusal: 0 }
}

fn port_list(
    field: &str,
    value: Field<Vec<Field<u16>>>,
    default: Vec<u16>,
    seen: &mut BTreeMap<u16, String>,
    report: &mut Report<'_>,
) -> Vec<u16> {
    // Defaults count as seen, too: `sip_tcp = [2775]` collides with SMPP's.
    let ports = match report.list(field, value) {
        Some(given) => given,
        None => default.into_iter().map(|port| (field.to_owned(), port)).collect(),
    };
    let mut list = Vec::with_capacity(ports.len());
    for (path, port) in ports {
        if port == 0 {
            report.say(&path, "0 is not a port", "no packet would ever match it");
            continue;
        }
        match seen.entry(port) {
            Entry::Vacant(vacant) => {
                vacant.insert(path);
                list.push(port);
            }
            Entry::Occupied(first) => {
                let fact = format!("port {port} stands at {} already", first.get());
                report.say(&path, fact, "one port cannot be read as two protocols, nor twice");
            }
        }
    }
    list.sort_unstable();
    list
}

fn capacity(file: CapacityFile, report: &mut Report<'_>) -> Capacity {
    let default = defaults::CAPACITY;
    Capacity {
        accounts: report.number("capacity.accounts", file.accounts, default.accounts, 2..=1_000_000),
        prefixes: report.number("capacity.prefixes", file.prefixes, default.prefixes, 1..=10_000_000),
        sources: report.number("capacity.sources", file.sources, default.sources, 1_024..=16_777_216),
        flows: report.number("capacity.flows", file.flows, default.flows, 64..=1_048_576),
        caller_ids: report.number("capacity.caller_ids", file.caller_ids, default.caller_ids, 1..=10_000_000),
        calls: report.number("capacity.calls", file.calls, default.calls, 1_024..=4_194_304),
    }
}

fn smpp(file: SmppFile, report: &mut Report<'_>) -> Smpp {
    const MODES: [(&str, RefusalMode); 3] =
        [("drop", RefusalMode::Drop), ("native", RefusalMode::Native), ("observe", RefusalMode::Observe)];
    const STATUSES: [(&str, RefusalStatus); 3] = [
        ("ESME_RTHROTTLED", RefusalStatus::Throttled),
        ("ESME_RMSGQFUL", RefusalStatus::QueueFull),
        ("ESME_RSUBMITFAIL", RefusalStatus::SubmitFailed),
    ];
    let default = defaults::SMPP;
    let refusals = report.given("smpp.refusals", file.refusals).map(|text| text.parse::<Rate>());
    let refusals = match refusals {
        None => default.refusals,
        Some(Ok(rate)) => rate,
        Some(Err(error)) => {
            report.say("smpp.refusals", error.to_string(), "refusals would not be limited");
            default.refusals
        }
    };
    Smpp {
        refusal: report.word("smpp.refusal", file.refusal, default.refusal, &MODES),
        status: report.word("smpp.refused_status", file.refused_status, default.status, &STATUSES),
        refusals,
        bind_idle: report.duration("smpp.bind_idle", file.bind_idle, default.bind_idle, SECOND..=DAY * 30),
    }
}

/// Whether calls that cannot be read for certain are refused.
const DOUBTFUL: [(&str, bool); 2] = [("pass", false), ("refuse", true)];

/// How requests over TCP are refused, as the kernel reads it.
fn sip_refusal(refusal: Field<String>, server: Field<String>, report: &mut Report<'_>) -> u8 {
    const REFUSALS: [(&str, RefusalMode); 3] =
        [("drop", RefusalMode::Drop), ("native", RefusalMode::Native), ("observe", RefusalMode::Observe)];
    const SERVERS: [(&str, StreamServer); 2] =
        [("proxy", StreamServer::Proxy), ("b2bua", StreamServer::B2bua)];
    stream_refusal_octet(
        report.word("sip.stream_refusal", refusal, RefusalMode::Drop, &REFUSALS),
        report.word("sip.stream_server", server, StreamServer::Proxy, &SERVERS),
    )
}

fn native_answer_within(native: Section<NativeFile>, report: &mut Report<'_>) -> Duration {
    let file = report.table("native", native);
    let default = defaults::NATIVE_ANSWER_WITHIN;
    report.duration("native.answer_within", file.answer_within, default, SECOND..=HOUR)
}

fn calls(file: CallsFile, report: &mut Report<'_>) -> Calls {
    let default = defaults::CALLS;
    Calls {
        unanswered: report.duration("calls.unanswered", file.unanswered, default.unanswered, SECOND..=DAY),
        answered: report.duration("calls.answered", file.answered, default.answered, SECOND..=DAY * 30),
    }
}

fn answered(answer: Section<AnswerFile>, report: &mut Report<'_>) -> BTreeSet<Class> {
    const WORDS: [(&str, bool); 2] = [("drop", false), ("answer", true)];
    let file = report.table("sip.answer", answer);
    let keys = [
        (Class::SipInvite, "sip.answer.invite", file.invite),
        (Class::SipRegister, "sip.answer.register", file.register),
        (Class::SipOptions, "sip.answer.options", file.options),
        (Class::SipMessage, "sip.answer.message", file.message),
        (Class::SipOther, "sip.answer.other", file.other),
    ];
    let mut is_answered = |(class, field, value)| {
        let default = defaults::ANSWERED.contains(&class);
        report.word(field, value, default, &WORDS).then_some(class)
    };
    keys.into_iter().filter_map(&mut is_answered).collect()
}

fn records(file: RecordsFile, report: &mut Report<'_>) -> Records {
    const NUMBERS: [(&str, Numbers); 3] =
        [("full", Numbers::Full), ("masked", Numbers::Masked), ("none", Numbers::None)];
    let default = defaults::RECORDS;
    Records {
        numbers: report.word("records.numbers", file.numbers, default.numbers, &NUMBERS),
        retention: report.duration(
            "records.retention",
            file.retention,
            default.retention,
            HOUR..=DAY * 3_660,
        ),
        max_rows: report.number("records.max_rows", file.max_rows, default.max_rows, 1_000..=1_000_000_000),
        messages: share("records.messages", file.messages, default.messages, report),
    }
}

fn share(field: &str, value: Field<String>, default: Share, report: &mut Report<'_>) -> Share {
    let Some(text) = report.given(field, value) else { return default };
    text.parse().unwrap_or_else(|fact: String| {
        report.say(field, fact, "nobody could say which messages leave a record");
        default
    })
}

fn paths(file: PathsFile, base: &Path, report: &mut Report<'_>) -> Paths {
    let default = defaults::paths();
    Paths {
        pin_dir: report.path("paths.pin_dir", file.pin_dir, default.pin_dir, base),
        database: report.path("paths.database", file.database, default.database, base),
        socket: report.path("paths.socket", file.socket, default.socket, base),
        socket_mode: socket_mode(file.socket_mode, default.socket_mode, report),
    }
}

fn socket_mode(value: Field<String>, default: u32, report: &mut Report<'_>) -> u32 {
    const FIELD: &str = "paths.socket_mode";
    let Some(text) = report.given(FIELD, value) else { return default };
    match u32::from_str_radix(&text, 8) {
        Ok(mode) if mode & !0o777 == 0 && mode & 0o600 == 0o600 && !for_everybody(mode) => mode,
        Ok(mode) if mode & !0o777 == 0 && for_everybody(mode) => {
            let fact = format!("`{text}` admits everybody on the host; write for example \"0660\"");
            report.say(FIELD, fact, "every local user could change limits");
            default
        }
        Ok(mode) if mode & !0o777 == 0 => {
            let fact = format!("`{text}` keeps the owner out; write for example \"0660\"");
            report.say(FIELD, fact, "nobody could use the control socket");
            default
        }
        _ => {
            let fact = format!("`{text}` is not a file mode; write for example \"0660\"");
            report.say(FIELD, fact, "the control socket could not be made");
            default
        }
    }
}

/// Whether users other than the owner and its group may do anything.
pub(super) fn for_everybody(mode: u32) -> bool {
    mode & 0o007 > 0
}

fn address(field: &str, value: Field<String>, default: SocketAddr, report: &mut Report<'_>) -> SocketAddr {
    let Some(text) = report.given(field, value) else { return default };
    text.parse().unwrap_or_else(|_| {
        let fact =
            format!("`{text}` is not an address and port; write for example \"{default}\" or \"[::1]:9000\"");
        report.say(field, fact, "metrics could not be served");
        default
    })
}
