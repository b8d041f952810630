//! Accounts of all files together: what is wrong with one, and what two of them claim.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::{IpAddr, Ipv6Addr};
use std::path::PathBuf;

use edge_ebpf::abi::Mode;
use ipnet::{IpNet, Ipv6Net};

use super::check::limits;
use super::field::{Field, Named, Section};
use super::file::{AccountFile, TrunkFile, UnknownFile};
use super::problem::{Report, suggestion};
use super::shown::{caller_ids, sender_ids};
use super::values::MODES;
use super::{Account, Capacity, ForeignMode, Plan, Trunk, UNKNOWN_ACCOUNT, defaults};

/// `system_id` is a C-octet string of at most 16 octets with its zero (SMPP 3.4, 5.2.1).
const SYSTEM_ID_BYTES: usize = 15;

/// What the rest of the configuration says.
pub(super) struct Surroundings<'a> {
    /// `None` when the file that holds them could not be read.
    pub(super) plans: Option<&'a BTreeMap<String, Plan>>,
    /// For accounts that do not say.
    pub(super) mode: Mode,
    pub(super) ipv6_source_prefix: u8,
    /// Whether no SMPP port refuses in SMPP's own words; not where the file that says so could not be read.
    pub(super) lacks_native_refusals: bool,
}

/// Where a thing was seen first: the file, and what is there.
type Place = (PathBuf, String);

/// Accounts so far.
#[expect(clippy::struct_field_names, reason = "the accounts of `Accounts` are what it is for")]
pub(super) struct Accounts<'a> {
    surroundings: Surroundings<'a>,
    accounts: BTreeMap<String, Account>,
    names: BTreeMap<String, PathBuf>,
    prefixes: BTreeMap<IpNet, Place>,
    system_ids: BTreeMap<String, Place>,
}

impl<'a> Accounts<'a> {
    pub(super) fn new(surroundings: Surroundings<'a>) -> Self {
        Self {
            surroundings,
            accounts: BTreeMap::new(),
            names: BTreeMap::new(),
            prefixes: BTreeMap::new(),
            system_ids: BTreeMap::new(),
        }
    }

    /// `[unknown]`: the account of sources that no account names.
    pub(super) fn add_unknown(&mut self, section: Section<UnknownFile>, report: &mut Report<'_>) {
        let file = report.table(UNKNOWN_ACCOUNT, section);
        let account =
            self.common(UNKNOWN_ACCOUNT, file.plan, defaults::UNKNOWN_PLAN, file.mode, file.limits, report);
        self.accounts.insert(UNKNOWN_ACCOUNT.to_owned(), account);
    }

    /// `[accounts.*]` of one file.
    pub(super) fn add_all(&mut self, named: Named<AccountFile>, report: &mut Report<'_>) {
        for (name, section) in report.table("accounts", named) {
            let field = format!("accounts.{name}");
            let file = report.table(&field, section);
            self.add(&field, name, file, report);
        }
    }

    /// All of them, the account of unknown sources included.
    pub(super) fn finish(self, capacity: Capacity, report: &mut Report<'_>) -> BTreeMap<String, Account> {
        let mut fits = |field: &str, count: usize, capacity: u32, what: &str| {
            if u32::try_from(count).map_or(true, |count| count > capacity) {
                let fact = format!("{capacity} is less than the {count} {what} configured");
                report.say(field, fact, "the kernel's tables could not hold them");
            }
        };
        fits("capacity.accounts", self.accounts.len(), capacity.accounts, "accounts (`unknown` included)");
        fits("capacity.prefixes", self.prefixes.len(), capacity.prefixes, "source prefixes");
        let shown = self.accounts.values().map(|account| account.caller_ids.len() + account.sender_ids.len());
        fits("capacity.caller_ids", shown.sum(), capacity.caller_ids, "caller and sender IDs");
        self.accounts
    }

    fn add(&mut self, field: &str, name: String, file: AccountFile, report: &mut Report<'_>) {
        if name == UNKNOWN_ACCOUNT {
            let fact = "the name is that of unknown sources; write their limits under `[unknown]`";
            report.say(field, fact, "two accounts would have one name");
            return;
        }
        report.name(field, &name);
        let mut account =
            self.common(field, file.plan, defaults::ACCOUNT_PLAN, file.mode, file.limits, report);
        account.sources = self.sources(&format!("{field}.sources"), &name, file.sources, report);
        account.trunks =
            self.trunks(&format!("{field}.trunks"), &name, &account.sources, file.trunks, report);
        account.system_ids = self.system_ids(&format!("{field}.system_ids"), &name, file.system_ids, report);
        account.caller_ids = caller_ids(&format!("{field}.caller_ids"), file.caller_ids, report);
        let has_none = account.caller_ids.is_empty();
        let mode_field = format!("{field}.caller_id_mode");
        account.caller_id_mode = foreign_mode(&mode_field, file.caller_id_mode, has_none, report);
        if has_none && account.caller_id_mode != ForeignMode::Off {
            let fact = "`caller_ids` names none; write for example `caller_ids = [\"441632\"]`";
            report.say(&mode_field, fact, "every call that shows a number would be a violation");
        }
        account.sender_ids = sender_ids(&format!("{field}.sender_ids"), file.sender_ids, report);
        let has_none = account.sender_ids.is_empty();
        let mode_field = format!("{field}.sender_id_mode");
        account.sender_id_mode = foreign_mode(&mode_field, file.sender_id_mode, has_none, report);
        if has_none && account.sender_id_mode != ForeignMode::Off {
            let fact = "`sender_ids` names none; write for example `sender_ids = [\"ACME\", \"441632\"]`";
            report.say(&mode_field, fact, "every message that shows a sender would be a violation");
        } else if account.sender_id_mode == ForeignMode::Refuse && self.surroundings.lacks_native_refusals {
            let fact = "no SMPP port refuses in SMPP's own words; write `refusal = \"native\"` under `[smpp]`, or \
                        `count` here";
            report.say(&mode_field, fact, "messages from other senders would be counted and pass");
        }
        if let Some(first) = self.names.get(&name) {
            let fact = format!("the account stands in {} already", first.display());
            report.say(field, fact, "only one of them could hold");
        } else {
            self.names.insert(name.clone(), report.file().to_owned());
            self.accounts.insert(name, account);
        }
    }

    /// What `[unknown]` and `[accounts.*]` share.
    fn common(
        &self,
        field: &str,
        plan: Field<String>,
        default_plan: &str,
        mode: Field<String>,
        own: Section<super::file::LimitsFile>,
        report: &mut Report<'_>,
    ) -> Account {
        let plan_field = format!("{field}.plan");
        let plan = report.given(&plan_field, plan).unwrap_or_else(|| default_plan.to_owned());
        if let Some(plans) = self.surroundings.plans.filter(|plans| !plans.contains_key(&plan)) {
            let near = suggestion(&plan, plans.keys().map(String::as_str));
            let known = plans.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
            let fact = format!("there is no plan `{plan}`{near} (plans: {known})");
            report.say(&plan_field, fact, "the account would have no limits");
        }
        let mode = report.word(&format!("{field}.mode"), mode, self.surroundings.mode, &MODES);
        let limits_field = format!("{field}.limits");
        let own = report.table(&limits_field, own);
        let overrides = limits(&limits_field, own, report);
        Account {
            sources: Vec::new(),
            system_ids: Vec::new(),
            caller_ids: Vec::new(),
            caller_id_mode: ForeignMode::Off,
            sender_ids: Vec::new(),
            sender_id_mode: ForeignMode::Off,
            plan,
            mode,
            overrides,
            trunks: BTreeMap::new(),
        }
    }

    fn sources(
        &mut self,
        field: &str,
        account: &str,
        value: Field<Vec<Field<String>>>,
        report: &mut Report<'_>,
    ) -> Vec<IpNet> {
        let missing = matches!(value, Field::Missing);
        let list = report.list(field, value);
        if missing || list.as_ref().is_some_and(Vec::is_empty) {
            let fact = "no source; write for example `sources = [\"203.0.113.0/24\"]`";
            report.say(field, fact, "no packet would ever be this account's");
        }
        let mut sources = Vec::new();
        for (path, text) in list.unwrap_or_default() {
            let Some(prefix) = self.source(&path, &text, report) else { continue };
            match self.prefixes.entry(prefix) {
                Entry::Vacant(vacant) => {
                    vacant.insert((report.file().to_owned(), account.to_owned()));
                    sources.push(prefix);
                }
                // The account stands twice, which is a problem of its own.
                Entry::Occupied(first) if first.get().1 == account && first.get().0 != report.file() => {}
                Entry::Occupied(first) => {
                    let (file, owner) = first.get();
                    let fact = format!("{prefix} belongs to account {owner} ({}) already", file.display());
                    report.say(&path, fact, "a packet can be only one account's");
                }
            }
        }
        sources
    }

    fn trunks(
        &mut self,
        field: &str,
        account: &str,
        sources: &[IpNet],
        named: Named<TrunkFile>,
        report: &mut Report<'_>,
    ) -> BTreeMap<String, Trunk> {
        let mut owners: BTreeMap<IpNet, String> = BTreeMap::new();
        let mut trunks = BTreeMap::new();
        for (name, section) in report.table(field, named) {
            let field = format!("{field}.{name}");
            let file = report.table(&field, section);
            report.name(&field, &name);
            let calls = report.number(&format!("{field}.calls"), file.calls, 0, 0..=1_000_000);
            let list = report.list(&format!("{field}.sources"), file.sources).unwrap_or_default();
            if list.is_empty() {
                let fact = "no source; name some of the account's own";
                report.say(&format!("{field}.sources"), fact, "no call would ever be this trunk's");
            }
            let mut trunk = Trunk { sources: Vec::new(), calls };
            for (path, text) in list {
                let Some(prefix) = self.source(&path, &text, report) else { continue };
                if !sources.iter().any(|source| source.contains(&prefix)) {
                    let fact = format!("{prefix} is within no source of the account");
                    report.say(&path, fact, "a trunk is a part of its account");
                } else if let Some(owner) = owners.insert(prefix, name.clone()) {
                    let fact = format!("{prefix} belongs to trunk {owner} already");
                    report.say(&path, fact, "a call can be only one trunk's");
                } else if let Entry::Occupied(first) = self.prefixes.entry(prefix)
                    && first.get().1 != account
                {
                    let (file, owner) = first.get();
                    let fact = format!("{prefix} belongs to account {owner} ({}) already", file.display());
                    report.say(&path, fact, "a packet can be only one account's");
                } else {
                    self.prefixes
                        .entry(prefix)
                        .or_insert_with(|| (report.file().to_owned(), account.to_owned()));
                    trunk.sources.push(prefix);
                }
            }
            trunks.insert(name, trunk);
        }
        trunks
    }

    /// A prefix, or a single address as the prefix of all its bits.
    fn source(&self, field: &str, text: &str, report: &mut Report<'_>) -> Option<IpNet> {
        let prefix = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        let Ok(prefix) = prefix else {
            let fact = format!(
                "`{text}` is not a prefix; write for example \"203.0.113.0/24\" or \"2001:db8::/48\""
            );
            report.say(field, fact, "no packet would match it");
            return None;
        };
        let network = prefix.trunc();
        if network != prefix {
            let address = prefix.addr();
            let fact = format!(
                "{prefix} has host bits set; write {network} for the network or {} for the address",
                IpNet::from(address)
            );
            report.say(field, fact, "it would match more addresses than it names");
            return None;
        }
        let IpNet::V6(v6) = prefix else { return Some(prefix) };
        let longest = self.surroundings.ipv6_source_prefix;
        if let Some(fact) = conflict_with_ipv4(v6) {
            report.say(field, fact, "it would match IPv4 sources, which are kept as ::ffff:0:0/96");
            return None;
        }
        if v6.prefix_len() > longest {
            let fact = format!("{v6} is longer than ipv6_source_prefix, /{longest}");
            report.say(
                field,
                fact,
                "sources are told apart by that many bits only, so that it would never match",
            );
            return None;
        }
        Some(prefix)
    }

    fn system_ids(
        &mut self,
        field: &str,
        account: &str,
        value: Field<Vec<Field<String>>>,
        report: &mut Report<'_>,
    ) -> Vec<String> {
        let mut system_ids = Vec::new();
        for (path, id) in report.list(field, value).unwrap_or_default() {
            if id.is_empty() || id.len() > SYSTEM_ID_BYTES || !id.bytes().all(|byte| byte.is_ascii_graphic())
            {
                let fact = format!(
                    "`{id}` is not 1 to {SYSTEM_ID_BYTES} printable ASCII characters (SMPP 3.4, 5.2.1)"
                );
                report.say(&path, fact, "no bind could carry it");
                continue;
            }
            match self.system_ids.entry(id.clone()) {
                Entry::Vacant(vacant) => {
                    vacant.insert((report.file().to_owned(), account.to_owned()));
                    system_ids.push(id);
                }
                Entry::Occupied(first) if first.get().1 == account && first.get().0 != report.file() => {}
                Entry::Occupied(first) => {
                    let (file, owner) = first.get();
                    let fact = format!("`{id}` belongs to account {owner} ({}) already", file.display());
                    report.say(&path, fact, "a bind can be only one account's");
                }
            }
        }
        system_ids
    }
}

/// An account that names what it may show has the rest counted, unless it says otherwise.
fn foreign_mode(field: &str, value: Field<String>, has_none: bool, report: &mut Report<'_>) -> ForeignMode {
    let default = if has_none { ForeignMode::Off } else { ForeignMode::Count };
    report.word(field, value, default, &ForeignMode::WORDS)
}

/// What is wrong with an IPv6 prefix that meets the range in which IPv4 addresses are kept.
pub(crate) fn conflict_with_ipv4(prefix: Ipv6Net) -> Option<String> {
    let mapped = Ipv6Net::new_assert(Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96);
    if mapped.contains(&prefix) {
        Some(format!("{prefix} is an IPv4 prefix in IPv6 form; write it as IPv4"))
    } else if prefix.contains(&mapped) {
        Some(format!("{prefix} holds the IPv4-mapped addresses; write a longer prefix, such as 2000::/3"))
    } else {
        None
    }
}
