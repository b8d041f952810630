//! Calls under way as the API shows them, and the taking back of a slot by command; what calls that are over add up to.

use std::net::Ipv6Addr;
use std::sync::Arc;

use edge_ebpf::abi::{CallKey, CallPhase, CallState};
use jiff::Timestamp;

use super::change::store_error;
use super::clock;
use super::records::shown;
use super::state::Daemon;
use super::views;
use crate::api::control::Actor;
use crate::api::types::{ApiError, AuditEntry, CallStats, DropSlot, LiveCall, LiveCallQuery, StatsQuery};
use crate::config::{Numbers, UNKNOWN_ACCOUNT};
use crate::dataplane::{Clocks, DataplaneError};
use crate::store::Store;

/// Calls of a list when the caller does not say how many, and at most.
const DEFAULT_LIMIT: u32 = 100;
const MOST: u32 = 10_000;

impl Daemon {
    /// `GET /v1/calls`, those that have lasted longest first.
    pub(super) async fn live_calls(
        self: &Arc<Self>,
        query: &LiveCallQuery,
    ) -> Result<Vec<LiveCall>, ApiError> {
        let account = match &query.account {
            Some(name) => Some(self.number_of(name)?),
            None => None,
        };
        let daemon = Arc::clone(self);
        let held = tokio::task::spawn_blocking(move || daemon.calls.held(account));
        let held = held.await.map_err(|error| internal(&error))?;
        let mut calls: Vec<_> = held.into_iter().collect();
        calls.sort_by_key(|(key, call)| (call.setup_ns, key.account, key.call_id_hash));
        calls.truncate(query.limit.unwrap_or(DEFAULT_LIMIT).min(MOST) as usize);
        let view = self.view(query.full.unwrap_or(false));
        Ok(calls.iter().map(|(key, call)| view.call(key, call)).collect())
    }

    /// `GET /v1/calls/{id}`.
    pub(super) fn live_call(&self, id: &str, full: bool) -> Result<LiveCall, ApiError> {
        let key = key(id)?;
        let call = self.calls.get(&key).map_err(|error| unreadable(&error))?;
        let call = call.ok_or_else(|| unknown(id))?;
        Ok(self.view(full).call(&key, &call))
    }

    /// `POST /v1/calls/drop`.
    pub(super) async fn drop_slot(
        self: &Arc<Self>,
        actor: &Actor,
        request: DropSlot,
    ) -> Result<LiveCall, ApiError> {
        let key = key(&request.id)?;
        let before = self.live_call(&request.id, false)?;
        let entry = AuditEntry {
            at: clock::now(),
            actor: actor.to_string(),
            action: "call.slot_dropped".to_owned(),
            subject: format!("{} {}", before.account, before.id),
            reason: request.reason,
            before: format!("{}, {} slots, {} s old", before.state, before.slots, before.age_secs),
            after: "no slot; the call itself goes on".to_owned(),
        };
        self.write(move |store| store.record(&entry)).await?;
        let daemon = Arc::clone(self);
        let dropped = tokio::task::spawn_blocking(move || {
            let dropped = daemon.calls.mark_dropped(&key)?;
            daemon.kernel().interfaces.sweep()?;
            Ok::<_, DataplaneError>(dropped)
        });
        let dropped = dropped.await.map_err(|error| internal(&error))?.map_err(|error| unreadable(&error))?;
        let call = dropped.ok_or_else(|| unknown(&before.id))?;
        Ok(LiveCall { state: CallPhase::Dropped.name().to_owned(), ..self.view(false).call(&key, &call) })
    }

    /// `GET /v1/calls/stats`.
    pub(super) async fn call_stats(&self, query: &StatsQuery) -> Result<Vec<CallStats>, ApiError> {
        let (account, since) = (query.account.clone(), query.since);
        self.check_recorded(account.as_deref(), Store::has_calls_of).await?;
        let read = self.store.read(move |store| store.call_figures(account.as_deref(), since)).await;
        let figures = read.map_err(|error| store_error(&error.to_string()))?;
        Ok(figures.iter().map(|(account, figures)| figures.stats(account)).collect())
    }

    pub(super) fn number_of(&self, name: &str) -> Result<u32, ApiError> {
        let state = self.state();
        views::account(&state.config, name)?;
        Ok(state.installed.get(name).map_or(0, |account| account.number))
    }

    fn view(&self, full: bool) -> View {
        let state = self.state();
        let kept = state.config.records.numbers;
        // What records do not keep is not shown either.
        let numbers = if full || kept == Numbers::None { kept } else { Numbers::Masked };
        View { accounts: state.names(), trunks: state.trunk_names(), numbers, clocks: clock::clocks() }
    }
}

/// What turns an entry into words.
struct View {
    accounts: std::collections::BTreeMap<u32, String>,
    trunks: std::collections::BTreeMap<u32, String>,
    numbers: Numbers,
    clocks: Clocks,
}

impl View {
    fn call(&self, key: &CallKey, call: &CallState) -> LiveCall {
        let phase = usize::try_from(call.phase).ok().and_then(CallPhase::from_index);
        let at = |ns: u64| self.clocks.wall_at(ns);
        let maybe = |ns: u64| (ns != 0).then(|| at(ns));
        LiveCall {
            id: id(key),
            account: self.accounts.get(&key.account).map_or(UNKNOWN_ACCOUNT, String::as_str).to_owned(),
            trunk: trunk_of(&self.trunks, call.trunk),
            source: Ipv6Addr::from(call.source).to_canonical().to_string(),
            state: phase.map_or("unknown", CallPhase::name).to_owned(),
            age_secs: self.clocks.monotonic_ns.saturating_sub(call.setup_ns) / 1_000_000_000,
            from: shown(&call.from, self.numbers),
            to: shown(&call.to, self.numbers),
            setup_at: at(call.setup_ns),
            ring_at: maybe(call.ring_ns),
            answer_at: maybe(call.answer_ns),
            heard_at: at(call.touched_ns),
            session_expires_secs: (call.session_expires_s != 0).then_some(call.session_expires_s),
            slots: call.slots,
        }
    }
}

/// A trunk's name within its account.
pub(super) fn trunk_of(trunks: &std::collections::BTreeMap<u32, String>, number: u32) -> Option<String> {
    let name = trunks.get(&number)?;
    Some(name.split_once('/').map_or(name.as_str(), |(_, trunk)| trunk).to_owned())
}

/// Account and keyed hash: as good as the Call-ID, and no word of anybody's.
fn id(key: &CallKey) -> String {
    format!("{:x}-{:016x}", key.account, key.call_id_hash)
}

fn key(id: &str) -> Result<CallKey, ApiError> {
    let parts = id.split_once('-').filter(|(_, hash)| hash.len() == 16).and_then(|(account, hash)| {
        Some((u32::from_str_radix(account, 16).ok()?, u64::from_str_radix(hash, 16).ok()?))
    });
    let (account, call_id_hash) = parts.ok_or_else(|| unknown(id))?;
    Ok(CallKey { account, reserved: 0, call_id_hash })
}

fn unknown(id: &str) -> ApiError {
    ApiError::new(
        "unknown_call",
        format!("no call `{id}` holds a slot"),
        "`edgectl calls list` lists those that do; calls that are over are in `edgectl calls export`",
    )
}

pub(super) fn unreadable(error: &DataplaneError) -> ApiError {
    ApiError::new("kernel_failed", error.to_string(), "see the log of edged")
}

pub(super) fn internal(error: &tokio::task::JoinError) -> ApiError {
    ApiError::new("internal", error.to_string(), "see the log of edged")
}

impl Clocks {
    /// The wall-clock time of a monotonic one that is past.
    pub(super) fn wall_at(&self, ns: u64) -> Timestamp {
        let ago = std::time::Duration::from_nanos(self.monotonic_ns.saturating_sub(ns));
        self.wall.checked_sub(ago).unwrap_or(Timestamp::UNIX_EPOCH)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    #[test]
    fn an_id_names_the_call_and_nothing_else_does() {
        let call = CallKey { account: 26, reserved: 0, call_id_hash: 0xfe_dcba };
        assert_eq!(id(&call), "1a-0000000000fedcba");
        assert_eq!(key(&id(&call)).unwrap(), call);
        for wrong in ["", "1a", "1a-", "-1", "x-1", "1-x", "1a-0000000000fedcba0"] {
            assert_eq!(key(wrong).unwrap_err().code, "unknown_call", "{wrong}");
        }
    }
}
