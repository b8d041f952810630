//! The control API's view of the daemon.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::change::store_error;
use super::state::Daemon;
use super::{clock, views, watch};
use crate::alert::Alert;
use crate::api::control::{Actor, Control};
use crate::api::types::{
    AccountDetail, AccountSummary, AlertQuery, AlertView, ApiError, AuditEntry, AuditQuery, CallRow,
    CallStats, DeliveryView, Detach, Detached, DropSlot, LimitQuery, LimitView, LiveBind, LiveBindQuery,
    LiveCall, LiveCallQuery, Measure, MessageQuery, MessageRow, MessageStats, PlanRequest, PlanView,
    RecordQuery, Resume, SetLimit, SetMeasure, StatsQuery, Status, Suspend, Suspension, TestWebhook,
    TestWebhookResult, Top, UnsetLimit, UnsetMeasure,
};
use crate::store::{self, Store, StoreError};

/// Entries of a list when the caller does not say how many.
const DEFAULT_LIMIT: u32 = 100;
/// Records in one answer, whatever the caller says.
const MOST_RECORDS: u32 = 10_000;
/// The answer to a detach is on its way before the daemon ends.
const GRACE: Duration = Duration::from_millis(300);

/// The daemon behind the API. A change runs in its own task: a caller that goes away does not stop it half-way.
pub(super) struct Handle(pub(super) Arc<Daemon>);

impl Control for Handle {
    async fn status(&self) -> Result<Status, ApiError> {
        self.0.status_view()
    }

    async fn accounts(&self) -> Result<Vec<AccountSummary>, ApiError> {
        Ok(self.0.account_summaries())
    }

    async fn account(&self, name: &str) -> Result<AccountDetail, ApiError> {
        self.0.account_detail(name)
    }

    async fn limits(&self, query: &LimitQuery) -> Result<Vec<LimitView>, ApiError> {
        self.0.limit_views(query.account.as_deref())
    }

    async fn set_limit(&self, actor: &Actor, request: SetLimit) -> Result<LimitView, ApiError> {
        let (daemon, actor) = (Arc::clone(&self.0), actor.clone());
        to_the_end(async move { daemon.set_limit(&actor, request).await }).await
    }

    async fn unset_limit(&self, actor: &Actor, request: UnsetLimit) -> Result<LimitView, ApiError> {
        let (daemon, actor) = (Arc::clone(&self.0), actor.clone());
        to_the_end(async move { daemon.unset_limit(&actor, request).await }).await
    }

    async fn measures(&self) -> Result<Vec<Measure>, ApiError> {
        let mut measures = match &self.0.state().kept {
            Some(kept) => kept.measures.clone(),
            None => return Err(store_error(&self.0.store.status())),
        };
        measures.sort_by(|a, b| a.prefix.cmp(&b.prefix));
        Ok(measures)
    }

    async fn set_measure(&self, actor: &Actor, request: SetMeasure) -> Result<Measure, ApiError> {
        let (daemon, actor) = (Arc::clone(&self.0), actor.clone());
        to_the_end(async move { daemon.set_measure(&actor, request).await }).await
    }

    async fn unset_measure(&self, actor: &Actor, request: UnsetMeasure) -> Result<Measure, ApiError> {
        let (daemon, actor) = (Arc::clone(&self.0), actor.clone());
        to_the_end(async move { daemon.unset_measure(&actor, request).await }).await
    }

    async fn suspensions(&self) -> Result<Vec<Suspension>, ApiError> {
        match &self.0.state().kept {
            Some(kept) => Ok(kept.suspensions.clone()),
            None => Err(store_error(&self.0.store.status())),
        }
    }

    async fn suspend(&self, actor: &Actor, request: Suspend) -> Result<Suspension, ApiError> {
        let (daemon, actor) = (Arc::clone(&self.0), actor.clone());
        to_the_end(async move { daemon.suspend(&actor, request).await }).await
    }

    async fn resume(&self, actor: &Actor, request: Resume) -> Result<Suspension, ApiError> {
        let (daemon, actor) = (Arc::clone(&self.0), actor.clone());
        to_the_end(async move { daemon.resume(&actor, request).await }).await
    }

    async fn live_binds(&self, query: &LiveBindQuery) -> Result<Vec<LiveBind>, ApiError> {
        self.0.live_binds(query).await
    }

    async fn live_bind(&self, id: &str) -> Result<LiveBind, ApiError> {
        self.0.live_bind(id)
    }

    async fn live_calls(&self, query: &LiveCallQuery) -> Result<Vec<LiveCall>, ApiError> {
        self.0.live_calls(query).await
    }

    async fn live_call(&self, id: &str, query: &LiveCallQuery) -> Result<LiveCall, ApiError> {
        self.0.live_call(id, query.full.unwrap_or(false))
    }

    async fn drop_slot(&self, actor: &Actor, request: DropSlot) -> Result<LiveCall, ApiError> {
        let (daemon, actor) = (Arc::clone(&self.0), actor.clone());
        to_the_end(async move { daemon.drop_slot(&actor, request).await }).await
    }

    async fn call_stats(&self, query: &StatsQuery) -> Result<Vec<CallStats>, ApiError> {
        self.0.call_stats(query).await
    }

    async fn call_records(&self, query: &RecordQuery) -> Result<Vec<CallRow>, ApiError> {
        self.0.check_recorded(query.account.as_deref(), Store::has_calls_of).await?;
        let stored = stored(query);
        let read = self.0.store.read(move |store| store.calls(&stored)).await;
        read.map_err(|error| store_error(&error.to_string()))
    }

    async fn messages(&self, query: &MessageQuery) -> Result<Vec<MessageRow>, ApiError> {
        self.0.newest_messages(query).await
    }

    async fn message_stats(&self, query: &StatsQuery) -> Result<Vec<MessageStats>, ApiError> {
        self.0.message_stats(query).await
    }

    async fn message_records(&self, query: &RecordQuery) -> Result<Vec<MessageRow>, ApiError> {
        self.0.check_recorded(query.account.as_deref(), Store::has_messages_of).await?;
        let stored = stored(query);
        let read = self.0.store.read(move |store| store.messages(&stored)).await;
        read.map_err(|error| store_error(&error.to_string()))
    }

    async fn top(&self) -> Result<Top, ApiError> {
        Ok(self.0.top_view())
    }

    async fn alerts(&self, query: &AlertQuery) -> Result<Vec<AlertView>, ApiError> {
        let limit = query.limit.unwrap_or(DEFAULT_LIMIT);
        let stored =
            store::AlertQuery { account: query.account.clone(), open: query.open, limit: u64::from(limit) };
        let read = self.0.store.read(move |store| {
            let view = |alert: crate::alert::Alert| {
                let deliveries = store.deliveries(&alert.id)?;
                Ok(AlertView { alert, deliveries })
            };
            store.alerts(&stored)?.into_iter().map(view).collect::<Result<Vec<_>, _>>()
        });
        match read.await {
            Ok(views) => Ok(views),
            // What is open is known without the database.
            Err(_) if query.open != Some(false) => Ok(self.open_alerts(query)),
            Err(error) => Err(store_error(&error.to_string())),
        }
    }

    async fn alert(&self, id: &str) -> Result<AlertView, ApiError> {
        let wanted = id.to_owned();
        let read =
            self.0.store.read(move |store| Ok((store.alert(&wanted)?, store.deliveries(&wanted)?))).await;
        // Without the database, what is open is known still.
        let open = || self.0.state().book.open().find(|alert| alert.id == id).cloned();
        found_alert(id, read, open)
    }

    async fn test_webhook(
        &self,
        actor: &Actor,
        request: TestWebhook,
    ) -> Result<Vec<TestWebhookResult>, ApiError> {
        let names = request.endpoint.map_or_else(|| self.0.deliverer.endpoints(), |name| vec![name]);
        let mut results = Vec::new();
        for name in names {
            match self.0.deliverer.test(&name).await {
                Some(result) => {
                    tracing::info!(actor = actor.name, endpoint = name, ok = result.ok, "webhook tested");
                    results.push(result);
                }
                None => {
                    return Err(ApiError::new(
                        "unknown_endpoint",
                        format!("there is no webhook `{name}`"),
                        configured(&self.0.deliverer.endpoints()),
                    ));
                }
            }
        }
        Ok(results)
    }

    async fn plan(&self, request: PlanRequest) -> Result<PlanView, ApiError> {
        self.0.plan(request.config_path).await
    }

    async fn reload(&self, actor: &Actor) -> Result<PlanView, ApiError> {
        let (daemon, actor) = (Arc::clone(&self.0), actor.name.clone());
        to_the_end(async move { daemon.reload(&actor).await }).await
    }

    async fn detach(&self, actor: &Actor, request: Detach) -> Result<Detached, ApiError> {
        let (daemon, actor) = (Arc::clone(&self.0), actor.clone());
        to_the_end(async move { daemon.detach(&actor, request).await }).await
    }

    async fn audit(&self, query: &AuditQuery) -> Result<Vec<AuditEntry>, ApiError> {
        let limit = u64::from(query.limit.unwrap_or(DEFAULT_LIMIT));
        let read = self.0.store.read(move |store| store.audit(limit)).await;
        read.map_err(|error| store_error(&error.to_string()))
    }
}

impl Handle {
    fn open_alerts(&self, query: &AlertQuery) -> Vec<AlertView> {
        let is_wanted = |account: &str| query.account.as_deref().is_none_or(|wanted| wanted == account);
        let state = self.0.state();
        let mut open: Vec<_> =
            state.book.open().filter(|alert| is_wanted(&alert.finding.account)).cloned().collect();
        open.sort_by_key(|alert| std::cmp::Reverse(alert.opened_at));
        open.truncate(query.limit.unwrap_or(DEFAULT_LIMIT) as usize);
        open.into_iter().map(|alert| AlertView { alert, deliveries: Vec::new() }).collect()
    }
}

impl Daemon {
    /// Whether records may be asked for by an account: one that is configured, or was when something was recorded of it.
    pub(super) async fn check_recorded(
        &self,
        account: Option<&str>,
        is_recorded: fn(&Store, &str) -> Result<bool, StoreError>,
    ) -> Result<(), ApiError> {
        let Some(name) = account else { return Ok(()) };
        let Err(unknown) = views::account(&self.state().config, name).map(drop) else { return Ok(()) };
        let name = name.to_owned();
        let read = self.store.read(move |store| is_recorded(store, &name)).await;
        if read.map_err(|error| store_error(&error.to_string()))? { Ok(()) } else { Err(unknown) }
    }

    async fn detach(self: &Arc<Self>, actor: &Actor, request: Detach) -> Result<Detached, ApiError> {
        let _change = self.changes.lock().await;
        let daemon = Arc::clone(self);
        let detached = tokio::task::spawn_blocking(move || {
            let mut kernel = daemon.kernel();
            let detached = kernel.interfaces.detach();
            if detached.is_err() {
                let mut changes = kernel.interfaces.watch();
                // That pins were removed is no news.
                changes.retain(|change| change.lost.is_none());
                watch::log_changes(&changes);
            }
            daemon.is_detached.store(detached.is_ok(), Ordering::Relaxed);
            detached
        });
        let report = match detached.await {
            Ok(Ok(report)) => report,
            Ok(Err(error)) => {
                tracing::error!(actor = actor.name, %error, "not detached; what was taken away for it is put back");
                let advice = "Edge is put back where it was; remove the cause and try again";
                return Err(ApiError::new("kernel_failed", error.to_string(), advice));
            }
            Err(error) => return Err(ApiError::new("internal", error.to_string(), "see the log of edged")),
        };
        let entry = AuditEntry {
            at: clock::now(),
            actor: actor.name.clone(),
            action: "detach".to_owned(),
            subject: report.interfaces.join(", "),
            reason: request.reason,
            before: "attached".to_owned(),
            after: "nothing is attached, limits and counters are gone".to_owned(),
        };
        self.audit(entry).await;
        tracing::warn!(actor = actor.name, "detached by command: nothing is enforced any more; edged ends");
        let shutdown = self.shutdown.clone();
        tokio::spawn(async move {
            tokio::time::sleep(GRACE).await;
            shutdown.cancel();
        });
        Ok(Detached { interfaces: report.interfaces })
    }
}

/// An alert as the database has it, else as it is open: what the database does not tell is not what there is not.
fn found_alert(
    id: &str,
    read: Result<(Option<Alert>, Vec<DeliveryView>), StoreError>,
    open: impl FnOnce() -> Option<Alert>,
) -> Result<AlertView, ApiError> {
    let (alert, deliveries, error) = match read {
        Ok((alert, deliveries)) => (alert, deliveries, None),
        Err(error) => (None, Vec::new(), Some(error)),
    };
    match (alert.or_else(open), error) {
        (Some(alert), _) => Ok(AlertView { alert, deliveries }),
        (None, Some(error)) => Err(store_error(&error.to_string())),
        (None, None) => Err(ApiError::new(
            "unknown_alert",
            format!("there is no alert {id}"),
            "`edgectl alerts list` lists them with their ids",
        )),
    }
}

/// A page of records, as it is asked of the database.
fn stored(query: &RecordQuery) -> store::RecordQuery {
    store::RecordQuery {
        account: query.account.clone(),
        since: query.since,
        after: query.after.unwrap_or(0),
        limit: u64::from(query.limit.unwrap_or(DEFAULT_LIMIT).min(MOST_RECORDS)),
    }
}

/// What could have been asked for.
fn configured(endpoints: &[String]) -> String {
    if endpoints.is_empty() {
        return "none is configured; add `[webhooks.NAME]` to the configuration".to_owned();
    }
    format!("configured are: {}", endpoints.join(", "))
}

async fn to_the_end<T: Send + 'static>(
    change: impl Future<Output = Result<T, ApiError>> + Send + 'static,
) -> Result<T, ApiError> {
    match tokio::spawn(change).await {
        Ok(result) => result,
        Err(error) => Err(ApiError::new("internal", error.to_string(), "see the log of edged")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alert_that_the_database_does_not_tell_of_is_not_said_to_be_none() {
        let broken = || StoreError::TaskDied { path: std::path::PathBuf::new() };
        let code = |read| found_alert("a", read, || None).map_err(|error| error.code).err();
        assert_eq!(code(Err(broken())).as_deref(), Some("store_unavailable"));
        assert_eq!(code(Ok((None, Vec::new()))).as_deref(), Some("unknown_alert"));
    }

    #[test]
    fn who_names_an_unknown_webhook_is_told_what_there_is() {
        assert_eq!(super::configured(&["ops".to_owned(), "noc".to_owned()]), "configured are: ops, noc");
        assert!(super::configured(&[]).contains("[webhooks.NAME]"));
    }
}
