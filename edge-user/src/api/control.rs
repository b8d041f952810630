//! What the daemon must be able to do, one method an endpoint; the server calls it and knows nothing else.

use std::fmt;

use super::types::{
    AccountDetail, AccountSummary, AlertQuery, AlertView, ApiError, AuditEntry, AuditQuery, CallRow,
    CallStats, Detach, Detached, DropSlot, LimitQuery, LimitView, LiveBind, LiveBindQuery, LiveCall,
    LiveCallQuery, Measure, MessageQuery, MessageRow, MessageStats, PlanRequest, PlanView, RecordQuery,
    Resume, SetLimit, SetMeasure, StatsQuery, Status, Suspend, Suspension, TestWebhook, TestWebhookResult,
    Top, UnsetLimit, UnsetMeasure,
};

/// The person or program at the other end of the socket, as the kernel vouches for it (`SO_PEERCRED`, unix(7)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// User name; `uid N` where the user database has no name for it.
    pub name: String,
    /// User id at the time of connect(2).
    pub uid: u32,
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.name)
    }
}

/// The daemon, as the API sees it.
///
/// Every method answers from what is true now or says why it cannot: an [`ApiError`] whose `code` also decides
/// the HTTP status (see [`ApiError::http_status`]). A method that changes something takes the [`Actor`] and
/// records it in the audit before it answers. Methods are called concurrently. A caller that goes away or waits
/// too long drops the future: a change that must not stop half-way runs in its own task.
pub trait Control: Send + Sync + 'static {
    /// `GET /v1/status`.
    fn status(&self) -> impl Future<Output = Result<Status, ApiError>> + Send;

    /// `GET /v1/accounts`: every account, by name.
    fn accounts(&self) -> impl Future<Output = Result<Vec<AccountSummary>, ApiError>> + Send;

    /// `GET /v1/accounts/{name}`; `unknown_account` when there is none.
    fn account(&self, name: &str) -> impl Future<Output = Result<AccountDetail, ApiError>> + Send;

    /// `GET /v1/limits`: limits in force, by account, scope and class; `unknown_account`.
    fn limits(&self, query: &LimitQuery) -> impl Future<Output = Result<Vec<LimitView>, ApiError>> + Send;

    /// `PUT /v1/limits`: answers with the limit now in force; `unknown_account`, `invalid_class`,
    /// `invalid_rate`.
    fn set_limit(
        &self,
        actor: &Actor,
        request: SetLimit,
    ) -> impl Future<Output = Result<LimitView, ApiError>> + Send;

    /// `POST /v1/limits/unset`: answers with the limit that holds again; `unknown_override` when none was set.
    fn unset_limit(
        &self,
        actor: &Actor,
        request: UnsetLimit,
    ) -> impl Future<Output = Result<LimitView, ApiError>> + Send;

    /// `GET /v1/measures`: bans and allowances in force, by prefix.
    fn measures(&self) -> impl Future<Output = Result<Vec<Measure>, ApiError>> + Send;

    /// `PUT /v1/measures`: a ban or an allowance; replaces the one on the same prefix. `invalid_prefix`.
    fn set_measure(
        &self,
        actor: &Actor,
        request: SetMeasure,
    ) -> impl Future<Output = Result<Measure, ApiError>> + Send;

    /// `POST /v1/measures/unset`: answers with the measure that was lifted; `unknown_measure`, `invalid_prefix`.
    fn unset_measure(
        &self,
        actor: &Actor,
        request: UnsetMeasure,
    ) -> impl Future<Output = Result<Measure, ApiError>> + Send;

    /// `GET /v1/suspensions`: suspended accounts, by name.
    fn suspensions(&self) -> impl Future<Output = Result<Vec<Suspension>, ApiError>> + Send;

    /// `PUT /v1/suspensions`: suspends an account; `unknown_account`.
    fn suspend(
        &self,
        actor: &Actor,
        request: Suspend,
    ) -> impl Future<Output = Result<Suspension, ApiError>> + Send;

    /// `POST /v1/suspensions/unset`: answers with the suspension that ended; `unknown_suspension`.
    fn resume(
        &self,
        actor: &Actor,
        request: Resume,
    ) -> impl Future<Output = Result<Suspension, ApiError>> + Send;

    /// `GET /v1/binds`: SMPP sessions, oldest first; `unknown_account`.
    fn live_binds(
        &self,
        query: &LiveBindQuery,
    ) -> impl Future<Output = Result<Vec<LiveBind>, ApiError>> + Send;

    /// `GET /v1/binds/{id}`; `unknown_bind` when it has ended.
    fn live_bind(&self, id: &str) -> impl Future<Output = Result<LiveBind, ApiError>> + Send;

    /// `GET /v1/calls`: calls that hold slots, longest first; `unknown_account`.
    fn live_calls(
        &self,
        query: &LiveCallQuery,
    ) -> impl Future<Output = Result<Vec<LiveCall>, ApiError>> + Send;

    /// `GET /v1/calls/{id}`; `unknown_call` when it holds no slot.
    fn live_call(
        &self,
        id: &str,
        query: &LiveCallQuery,
    ) -> impl Future<Output = Result<LiveCall, ApiError>> + Send;

    /// `POST /v1/calls/drop`: answers with the call whose slot was taken back; `unknown_call`.
    fn drop_slot(
        &self,
        actor: &Actor,
        request: DropSlot,
    ) -> impl Future<Output = Result<LiveCall, ApiError>> + Send;

    /// `GET /v1/calls/stats`: by account; `unknown_account`.
    fn call_stats(&self, query: &StatsQuery)
    -> impl Future<Output = Result<Vec<CallStats>, ApiError>> + Send;

    /// `GET /v1/calls/records`.
    fn call_records(
        &self,
        query: &RecordQuery,
    ) -> impl Future<Output = Result<Vec<CallRow>, ApiError>> + Send;

    /// `GET /v1/messages`: newest first; `unknown_account`.
    fn messages(
        &self,
        query: &MessageQuery,
    ) -> impl Future<Output = Result<Vec<MessageRow>, ApiError>> + Send;

    /// `GET /v1/messages/stats`: by account; `unknown_account`.
    fn message_stats(
        &self,
        query: &StatsQuery,
    ) -> impl Future<Output = Result<Vec<MessageStats>, ApiError>> + Send;

    /// `GET /v1/messages/records`.
    fn message_records(
        &self,
        query: &RecordQuery,
    ) -> impl Future<Output = Result<Vec<MessageRow>, ApiError>> + Send;

    /// `GET /v1/top`.
    fn top(&self) -> impl Future<Output = Result<Top, ApiError>> + Send;

    /// `GET /v1/alerts`: newest first.
    fn alerts(&self, query: &AlertQuery) -> impl Future<Output = Result<Vec<AlertView>, ApiError>> + Send;

    /// `GET /v1/alerts/{id}`; `unknown_alert`.
    fn alert(&self, id: &str) -> impl Future<Output = Result<AlertView, ApiError>> + Send;

    /// `POST /v1/webhooks/test`: one signed test message to each endpoint asked for; `unknown_endpoint`.
    fn test_webhook(
        &self,
        actor: &Actor,
        request: TestWebhook,
    ) -> impl Future<Output = Result<Vec<TestWebhookResult>, ApiError>> + Send;

    /// `POST /v1/plan`: what a reload would change; changes nothing. `invalid_config` with every problem.
    fn plan(&self, request: PlanRequest) -> impl Future<Output = Result<PlanView, ApiError>> + Send;

    /// `POST /v1/reload`: applies the daemon's own file; `invalid_config` leaves what was in force.
    fn reload(&self, actor: &Actor) -> impl Future<Output = Result<PlanView, ApiError>> + Send;

    /// `POST /v1/detach`: takes the programs off and the pins away. The daemon ends after it has answered.
    fn detach(
        &self,
        actor: &Actor,
        request: Detach,
    ) -> impl Future<Output = Result<Detached, ApiError>> + Send;

    /// `GET /v1/audit`: newest first.
    fn audit(&self, query: &AuditQuery) -> impl Future<Output = Result<Vec<AuditEntry>, ApiError>> + Send;
}
