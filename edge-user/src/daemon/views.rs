//! What the daemon knows, in the words of the API.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use edge_ebpf::abi::{
    ABI_VERSION, AccountCounters, Allowance, CallCount, Class, Command, Method, ReceiptKind, ResponseKind,
    map,
};

use super::state::{Daemon, State};
use crate::api::types::{
    AccountDetail, AccountSummary, ApiError, CallsStatus, InterfaceStatus, LimitView, MapStatus, Repair,
    Scope, Status, Top, TopRow, TrunkView,
};
use crate::config::{Account, Config, Origin, Trunk, XdpModeRequest};
use crate::dataplane::InterfaceState;
use crate::rate::Rate;
use crate::reconcile::{InstalledAccount, set_by_command};
use crate::store::LimitOverride;

impl Daemon {
    /// `GET /v1/status`.
    pub(super) fn status_view(&self) -> Result<Status, ApiError> {
        let outcomes = self.counters.outcomes().map_err(|error| unreadable(&error))?;
        let events_lost = self.counters.events_lost().map_err(|error| unreadable(&error))?;
        let interfaces = self.interface_states();
        let maps = self.map_status();
        let outbox = self.deliverer.status();
        let store = self.store.status();
        let state = self.state();
        Ok(Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            abi_version: ABI_VERSION,
            started_at: self.started.wall,
            config_applied_at: state.config_applied_at,
            config_path: self.config_path.display().to_string(),
            config_error: state.config_error.clone(),
            mode: state.config.mode.name().to_owned(),
            interfaces: interfaces
                .iter()
                .map(|(name, it)| interface_status(name, it, state.repairs.get(name)))
                .collect(),
            accounts: state.installed.len() as u64,
            packets: outcomes.values().sum(),
            outcomes: outcomes
                .into_iter()
                .filter(|(_, count)| *count > 0)
                .map(|(outcome, count)| (outcome.name().to_owned(), count))
                .collect(),
            calls: self.calls_status(&state),
            listeners: self.listener_status(&state),
            maps,
            alerts_open: state.book.open().len() as u64,
            outbox_pending: outbox.endpoints.values().map(|endpoint| endpoint.pending).sum(),
            events_lost,
            store: match outbox.store_error {
                Some(error) if outbox.unsaved > 0 => {
                    format!("{error} ({} alerts and deliveries in memory only)", outbox.unsaved)
                }
                Some(error) => error,
                None => store,
            },
        })
    }

    /// Tables of the kernel, with the entries that are known.
    pub(super) fn map_status(&self) -> Vec<MapStatus> {
        let (members, standings, caller_ids) = self.kernel().accounts.trie_entries();
        let (accounts, calls) = {
            let state = self.state();
            (state.installed.len() as u64, state.slots.walked.as_ref().map(|walked| walked.entries))
        };
        let counted = |index: usize| self.counted_entries[index].load(Ordering::Relaxed);
        let status = |(name, capacity): (&&'static str, &u32)| {
            let entries = match *name {
                map::ACCOUNTS => Some(accounts),
                map::MEMBERS => Some(members),
                map::STANDINGS => Some(standings),
                map::CALLER_IDS => Some(caller_ids),
                map::SOURCES => Some(counted(0)),
                map::FLOWS => Some(counted(1)),
                map::CALLS => calls,
                _ => None,
            };
            MapStatus { name: (*name).to_owned(), entries, capacity: u64::from(*capacity) }
        };
        self.counters.capacities().iter().map(status).collect()
    }

    /// `GET /v1/accounts`.
    pub(super) fn account_summaries(&self) -> Vec<AccountSummary> {
        let state = self.state();
        let open = open_by_account(&state);
        let summary = |(name, account): (&String, &Account)| AccountSummary {
            name: name.clone(),
            plan: account.plan.clone(),
            mode: state.config.mode_in_force(account).name().to_owned(),
            sources: account.sources.len() as u64,
            messages: self.counters_now(&state, name).as_ref().map(messages_by_allowance).unwrap_or_default(),
            alerts_open: open.get(name.as_str()).copied().unwrap_or(0),
        };
        state.config.accounts.iter().map(summary).collect()
    }

    /// `GET /v1/accounts/{name}`.
    pub(super) fn account_detail(&self, name: &str) -> Result<AccountDetail, ApiError> {
        let state = self.state();
        let account = account(&state.config, name)?;
        let read = self.counters_now(&state, name);
        let counters = read.unwrap_or(AccountCounters::NOTHING);
        let limit = |(scope, class): (Scope, &Class)| state.limit_view(name, account, scope, *class);
        Ok(AccountDetail {
            name: name.to_owned(),
            plan: account.plan.clone(),
            mode: state.config.mode_in_force(account).name().to_owned(),
            sources: account.sources.iter().map(ToString::to_string).collect(),
            system_ids: account.system_ids.clone(),
            caller_ids: account.caller_ids.clone(),
            caller_id_mode: account.caller_id_mode.name().to_owned(),
            caller_id_violations: counters.foreign_callers,
            sender_ids: account.sender_ids.iter().map(ToString::to_string).collect(),
            sender_id_mode: account.sender_id_mode.name().to_owned(),
            sender_id_violations: counters.foreign_senders,
            limits: pairs().map(limit).collect(),
            calls_active: self.calls_active(&state, name),
            calls_max: state.policy(name).map_or(0, |policy| policy.calls_max),
            calls: nonzero(CallCount::ALL.iter().map(|it| (it.name(), counters.calls[it.index()]))),
            stats: state.records.figures.get(name).cloned().unwrap_or_default().stats(name),
            message_stats: state.messages.figures.get(name).cloned().unwrap_or_default().stats(name),
            trunks: self.trunk_views(&state, name, account),
            suspension: state
                .kept
                .as_ref()
                .and_then(|kept| kept.suspensions.iter().find(|it| it.account == name).cloned()),
            messages: read.as_ref().map(messages_by_class).unwrap_or_default(),
            sip: nonzero(Method::ALL.iter().map(|it| (it.name(), counters.sip[it.index()]))),
            smpp: nonzero(Command::ALL.iter().map(|it| (it.name(), counters.smpp[it.index()]))),
            responses: nonzero(
                ResponseKind::ALL.iter().map(|it| (it.name(), counters.responses[it.index()])),
            ),
            receipts: nonzero(ReceiptKind::ALL.iter().map(|it| (it.name(), counters.receipts[it.index()]))),
            alerts: state.book.open().filter(|alert| alert.finding.account == name).cloned().collect(),
        })
    }

    /// An account's counters as the kernel has them at this moment: who asks after the fact must not be told of
    /// the second before.
    fn counters_now(&self, state: &State, name: &str) -> Option<AccountCounters> {
        let number = state.installed.get(name)?.number;
        self.counters.account(number).ok()
    }

    fn calls_active(&self, state: &State, name: &str) -> u64 {
        let number = state.installed.get(name).map(|account| account.number);
        number.and_then(|number| self.counters.calls_active(number).ok()).unwrap_or(0)
    }

    fn trunk_views(&self, state: &State, name: &str, account: &Account) -> Vec<TrunkView> {
        let view = |(trunk, configured): (&String, &Trunk)| {
            let number = state.trunks.get(&format!("{name}/{trunk}")).map(|trunk| trunk.number);
            let counts = number.and_then(|number| self.calls.trunk(number).ok());
            TrunkView {
                name: trunk.clone(),
                sources: configured.sources.iter().map(ToString::to_string).collect(),
                calls_active: counts.map_or(0, |counts| counts.calls_active),
                calls_max: configured.calls,
                refused: counts.map_or(0, |counts| counts.refused),
            }
        };
        account.trunks.iter().map(view).collect()
    }

    fn calls_status(&self, state: &State) -> CallsStatus {
        let counted = |account: &InstalledAccount| self.counters.calls_active(account.number).unwrap_or(0);
        let walked = state.slots.walked.as_ref();
        CallsStatus {
            counted: state.installed.values().map(counted).sum(),
            held: walked.map_or(0, |walked| walked.held.values().sum()),
            walked_at: walked.map(|walked| walked.at),
            corrected: state.slots.corrected.values().sum(),
        }
    }

    /// `GET /v1/limits`: those that are set, of one account or of all; with them those set by command for accounts that
    /// there are not.
    pub(super) fn limit_views(&self, only: Option<&str>) -> Result<Vec<LimitView>, ApiError> {
        let state = self.state();
        let is_meant = |name: &String| only.is_none_or(|only| only == name);
        let set = state.kept.iter().flat_map(|kept| &kept.limits);
        let orphans =
            set.filter(|set| is_meant(&set.account) && !state.config.accounts.contains_key(&set.account));
        let orphans: Vec<LimitView> = orphans.map(orphan_view).collect();
        if let Some(name) = only.filter(|_| orphans.is_empty()) {
            account(&state.config, name)?;
        }
        let accounts = state.config.accounts.iter().filter(|(name, _)| is_meant(name));
        let of_account = |(name, account): (&String, &Account)| {
            pairs().map(|(scope, class)| state.limit_view(name, account, scope, *class)).collect::<Vec<_>>()
        };
        let unset = Origin::Unset.to_string();
        Ok(accounts.flat_map(of_account).filter(|view| view.origin != unset).chain(orphans).collect())
    }

    /// One limit in force; `unknown_account`.
    pub(super) fn limit_view(&self, name: &str, scope: Scope, class: Class) -> Result<LimitView, ApiError> {
        let state = self.state();
        let account = account(&state.config, name)?;
        Ok(state.limit_view(name, account, scope, class))
    }

    /// What holds when nothing is set by command.
    pub(super) fn configured_limit(&self, name: &str, scope: Scope, class: Class) -> String {
        let state = self.state();
        let configured = state.config.accounts.get(name);
        configured.map_or_else(
            || "no such account".to_owned(),
            |account| state.config.limit(account, scope, class).0.to_string(),
        )
    }

    /// `GET /v1/top`.
    pub(super) fn top_view(&self) -> Top {
        let state = self.state();
        let mut rows: Vec<TopRow> = Vec::new();
        for (account, classes) in &state.rates {
            for (class, rates) in classes {
                let limit = state
                    .policy(account)
                    .map_or(Rate::Unlimited, |policy| Rate::from_limit(policy.account[class.index()]));
                rows.push(TopRow {
                    account: account.clone(),
                    class: class.name().to_owned(),
                    offered_per_sec: rates.offered_per_sec,
                    admitted_per_sec: rates.admitted_per_sec,
                    refused_per_sec: rates.refused_per_sec,
                    limit: limit.to_string(),
                    utilization: limit
                        .per_sec()
                        .filter(|limit| *limit > 0.0)
                        .map(|limit| rates.admitted_per_sec / limit),
                    baseline_per_sec: state.detectors.baseline_per_sec(account, *class),
                });
            }
        }
        rows.sort_by(|a, b| b.offered_per_sec.total_cmp(&a.offered_per_sec));
        Top { at: state.last.as_ref().map_or(self.started.wall, |reading| reading.at), rows }
    }
}

impl State {
    fn limit_view(&self, name: &str, account: &Account, scope: Scope, class: Class) -> LimitView {
        let (configured, origin) = self.config.limit(account, scope, class);
        let set = match &self.kept {
            Some(kept) => kept
                .limits
                .iter()
                .find(|it| it.account == name && it.scope == scope && it.class == class.name())
                .map(|set| (set.limit.clone(), Some(set.change.clone()))),
            // By whom and until when, the database will tell; what holds, the kernel does.
            None => self
                .policy(name)
                .and_then(|policy| set_by_command(policy).find(|it| (it.0, it.1) == (scope, class)))
                .map(|(.., limit)| (limit.to_string(), None)),
        };
        let (limit, origin, change) = match set {
            Some((limit, change)) => (limit, "override".to_owned(), change),
            None => (configured.to_string(), origin.to_string(), None),
        };
        LimitView { account: name.to_owned(), scope, class: class.name().to_owned(), limit, origin, change }
    }
}

/// The account in the configuration; `unknown_account`.
pub(super) fn account<'a>(config: &'a Config, name: &str) -> Result<&'a Account, ApiError> {
    config.accounts.get(name).ok_or_else(|| {
        ApiError::new(
            "unknown_account",
            format!("there is no account `{name}`"),
            "`edgectl accounts list` lists them",
        )
    })
}

/// A limit that holds once there is its account.
fn orphan_view(set: &LimitOverride) -> LimitView {
    LimitView {
        account: set.account.clone(),
        scope: set.scope,
        class: set.class.clone(),
        limit: set.limit.clone(),
        origin: "override, no such account".to_owned(),
        change: Some(set.change.clone()),
    }
}

/// The limit of an account that is not configured any more.
pub(super) fn gone_limit(name: &str, scope: Scope, class: Class) -> LimitView {
    LimitView {
        account: name.to_owned(),
        scope,
        class: class.name().to_owned(),
        limit: Rate::Unlimited.to_string(),
        origin: Origin::Unset.to_string(),
        change: None,
    }
}

/// The mode asked for, as the configuration writes it.
pub(super) const fn request_name(request: XdpModeRequest) -> &'static str {
    match request {
        XdpModeRequest::Native => "native",
        XdpModeRequest::Generic => "generic",
        XdpModeRequest::Auto => "auto",
    }
}

/// The mode that an interface really has.
pub(super) const fn mode_name(state: &InterfaceState) -> &'static str {
    match state {
        InterfaceState::Attached { mode, .. } => mode.name(),
        InterfaceState::Absent => "absent",
        InterfaceState::Failed { .. } => "failed",
    }
}

fn interface_status(
    name: &str,
    (request, state): &(XdpModeRequest, InterfaceState),
    repaired: Option<&Repair>,
) -> InterfaceStatus {
    let reason = match state {
        InterfaceState::Attached { reason, .. } => reason.clone(),
        InterfaceState::Absent => Some("there is no interface of that name".to_owned()),
        InterfaceState::Failed { reason } => Some(reason.clone()),
    };
    InterfaceStatus {
        name: name.to_owned(),
        xdp_mode: mode_name(state).to_owned(),
        requested_mode: request_name(*request).to_owned(),
        reason,
        egress: match state {
            InterfaceState::Attached { egress, .. } => egress.name().to_owned(),
            InterfaceState::Absent | InterfaceState::Failed { .. } => "none".to_owned(),
        },
        pinned: matches!(state, InterfaceState::Attached { .. }),
        repaired: repaired.cloned(),
    }
}

fn pairs() -> impl Iterator<Item = (Scope, &'static Class)> {
    Scope::ALL.into_iter().flat_map(|scope| Class::ALL.iter().map(move |class| (scope, class)))
}

fn open_by_account(state: &State) -> BTreeMap<&str, u64> {
    let mut open = BTreeMap::new();
    for alert in state.book.open() {
        *open.entry(alert.finding.account.as_str()).or_default() += 1;
    }
    open
}

fn messages_by_allowance(counters: &AccountCounters) -> BTreeMap<String, u64> {
    let sum = |allowance: &Allowance| {
        Class::ALL
            .iter()
            .filter(|class| class.is_of_messages())
            .map(|class| counters.messages[class.index()][allowance.index()])
            .sum()
    };
    Allowance::ALL.iter().map(|allowance| (allowance.name().to_owned(), sum(allowance))).collect()
}

fn messages_by_class(counters: &AccountCounters) -> BTreeMap<String, BTreeMap<String, u64>> {
    let of_class = |class: &Class| {
        let counts = &counters.messages[class.index()];
        let counts = Allowance::ALL.iter().map(|it| (it.name().to_owned(), counts[it.index()])).collect();
        (class.name().to_owned(), counts)
    };
    Class::ALL.iter().map(of_class).collect()
}

fn nonzero(counts: impl Iterator<Item = (&'static str, u64)>) -> BTreeMap<String, u64> {
    counts.filter(|(_, count)| *count > 0).map(|(name, count)| (name.to_owned(), count)).collect()
}

fn unreadable(error: &crate::dataplane::DataplaneError) -> ApiError {
    ApiError::new("kernel_failed", error.to_string(), "see the log of edged")
}
