//! The daemon's end of the control API: routes, limits of a request, and the socket itself.
//!
//! Nothing here decides anything: a request is read, its peer named, [`Control`] asked, the answer written.

mod extract;
mod socket;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, Json, Path, Query, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Router, serve as http};
use serde::Serialize;
use tokio::net::UnixListener;
use tokio_util::sync::CancellationToken;

use self::extract::{Body, By, Failure, Part, Peer};
use super::control::Control;
use super::types::{
    AlertQuery, ApiError, AuditQuery, Detach, DropSlot, LimitQuery, LiveBindQuery, LiveCallQuery,
    MessageQuery, PlanRequest, RecordQuery, Resume, SetLimit, SetMeasure, StatsQuery, Suspend, TestWebhook,
    UnsetLimit, UnsetMeasure,
};

pub use self::socket::{BindError, bind};

/// The largest request body, in bytes; the largest request known (a limit with a long reason) is a hundredth.
pub const MAX_BODY_BYTES: usize = 64 * 1024;

/// How long a request may take. Longer than a webhook's attempt (30 s at most), because a test waits for one.
pub const REQUEST_TIMEOUT: Duration = Duration::from_mins(1);

/// How long requests that are under way may go on once shutdown was asked for.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// Serves the API on `listener` until `shutdown` completes; then finishes what is under way, for at most 5 s.
///
/// `listener` comes from [`bind`]. An error is one of the listener itself; a broken connection is not one.
pub async fn serve<C: Control>(
    listener: UnixListener,
    control: Arc<C>,
    shutdown: impl Future<Output = ()> + Send,
) -> io::Result<()> {
    let ending = CancellationToken::new();
    let app = router(control).into_make_service_with_connect_info::<Peer>();
    let serving = http(listener, app).with_graceful_shutdown(ending.clone().cancelled_owned()).into_future();
    let mut serving = std::pin::pin!(serving);

    tokio::select! {
        result = &mut serving => return result,
        () = shutdown => ending.cancel(),
    }
    if let Ok(result) = tokio::time::timeout(DRAIN_TIMEOUT, serving).await {
        return result;
    }
    tracing::warn!("control API: requests still under way at shutdown were cut off");
    Ok(())
}

fn router<C: Control>(control: Arc<C>) -> Router {
    Router::new()
        .route("/v1/status", get(status::<C>))
        .route("/v1/accounts", get(accounts::<C>))
        .route("/v1/accounts/{name}", get(account::<C>))
        .route("/v1/limits", get(limits::<C>).merge(put(set_limit::<C>)))
        .route("/v1/limits/unset", post(unset_limit::<C>))
        .route("/v1/measures", get(measures::<C>).merge(put(set_measure::<C>)))
        .route("/v1/measures/unset", post(unset_measure::<C>))
        .route("/v1/suspensions", get(suspensions::<C>).merge(put(suspend::<C>)))
        .route("/v1/suspensions/unset", post(resume::<C>))
        .route("/v1/binds", get(live_binds::<C>))
        .route("/v1/binds/{id}", get(live_bind::<C>))
        .route("/v1/calls", get(live_calls::<C>))
        .route("/v1/calls/{id}", get(live_call::<C>))
        .route("/v1/calls/drop", post(drop_slot::<C>))
        .route("/v1/calls/stats", get(call_stats::<C>))
        .route("/v1/calls/records", get(call_records::<C>))
        .route("/v1/messages", get(messages::<C>))
        .route("/v1/messages/stats", get(message_stats::<C>))
        .route("/v1/messages/records", get(message_records::<C>))
        .route("/v1/top", get(top::<C>))
        .route("/v1/alerts", get(alerts::<C>))
        .route("/v1/alerts/{id}", get(alert::<C>))
        .route("/v1/webhooks/test", post(test_webhook::<C>))
        .route("/v1/plan", post(plan::<C>))
        .route("/v1/reload", post(reload::<C>))
        .route("/v1/detach", post(detach::<C>))
        .route("/v1/audit", get(audit::<C>))
        .fallback(unknown_route)
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::from_fn(within_time))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .with_state(control)
}

type Answer<T> = Result<Json<T>, Failure>;

fn answer<T: Serialize>(result: Result<T, ApiError>) -> Answer<T> {
    result.map(Json).map_err(Failure)
}

async fn status<C: Control>(State(control): State<Arc<C>>) -> impl IntoResponse {
    answer(control.status().await)
}

async fn accounts<C: Control>(State(control): State<Arc<C>>) -> impl IntoResponse {
    answer(control.accounts().await)
}

async fn account<C: Control>(
    State(control): State<Arc<C>>,
    Part(Path(name)): Part<Path<String>>,
) -> impl IntoResponse {
    answer(control.account(&name).await)
}

async fn limits<C: Control>(
    State(control): State<Arc<C>>,
    Part(Query(query)): Part<Query<LimitQuery>>,
) -> impl IntoResponse {
    answer(control.limits(&query).await)
}

async fn set_limit<C: Control>(
    State(control): State<Arc<C>>,
    By(actor): By,
    Body(request): Body<SetLimit>,
) -> impl IntoResponse {
    answer(control.set_limit(&actor, request).await)
}

async fn unset_limit<C: Control>(
    State(control): State<Arc<C>>,
    By(actor): By,
    Body(request): Body<UnsetLimit>,
) -> impl IntoResponse {
    answer(control.unset_limit(&actor, request).await)
}

async fn measures<C: Control>(State(control): State<Arc<C>>) -> impl IntoResponse {
    answer(control.measures().await)
}

async fn set_measure<C: Control>(
    State(control): State<Arc<C>>,
    By(actor): By,
    Body(request): Body<SetMeasure>,
) -> impl IntoResponse {
    answer(control.set_measure(&actor, request).await)
}

async fn unset_measure<C: Control>(
    State(control): State<Arc<C>>,
    By(actor): By,
    Body(request): Body<UnsetMeasure>,
) -> impl IntoResponse {
    answer(control.unset_measure(&actor, request).await)
}

async fn suspensions<C: Control>(State(control): State<Arc<C>>) -> impl IntoResponse {
    answer(control.suspensions().await)
}

async fn suspend<C: Control>(
    State(control): State<Arc<C>>,
    By(actor): By,
    Body(request): Body<Suspend>,
) -> impl IntoResponse {
    answer(control.suspend(&actor, request).await)
}

async fn resume<C: Control>(
    State(control): State<Arc<C>>,
    By(actor): By,
    Body(request): Body<Resume>,
) -> impl IntoResponse {
    answer(control.resume(&actor, request).await)
}

async fn live_binds<C: Control>(
    State(control): State<Arc<C>>,
    Part(Query(query)): Part<Query<LiveBindQuery>>,
) -> impl IntoResponse {
    answer(control.live_binds(&query).await)
}

async fn live_bind<C: Control>(
    State(control): State<Arc<C>>,
    Part(Path(id)): Part<Path<String>>,
) -> impl IntoResponse {
    answer(control.live_bind(&id).await)
}

async fn live_calls<C: Control>(
    State(control): State<Arc<C>>,
    Part(Query(query)): Part<Query<LiveCallQuery>>,
) -> impl IntoResponse {
    answer(control.live_calls(&query).await)
}

async fn live_call<C: Control>(
    State(control): State<Arc<C>>,
    Part(Path(id)): Part<Path<String>>,
    Part(Query(query)): Part<Query<LiveCallQuery>>,
) -> impl IntoResponse {
    answer(control.live_call(&id, &query).await)
}

async fn drop_slot<C: Control>(
    State(control): State<Arc<C>>,
    By(actor): By,
    Body(request): Body<DropSlot>,
) -> impl IntoResponse {
    answer(control.drop_slot(&actor, request).await)
}

async fn call_stats<C: Control>(
    State(control): State<Arc<C>>,
    Part(Query(query)): Part<Query<StatsQuery>>,
) -> impl IntoResponse {
    answer(control.call_stats(&query).await)
}

async fn call_records<C: Control>(
    State(control): State<Arc<C>>,
    Part(Query(query)): Part<Query<RecordQuery>>,
) -> impl IntoResponse {
    answer(control.call_records(&query).await)
}

async fn messages<C: Control>(
    State(control): State<Arc<C>>,
    Part(Query(query)): Part<Query<MessageQuery>>,
) -> impl IntoResponse {
    answer(control.messages(&query).await)
}

async fn message_stats<C: Control>(
    State(control): State<Arc<C>>,
    Part(Query(query)): Part<Query<StatsQuery>>,
) -> impl IntoResponse {
    answer(control.message_stats(&query).await)
}

async fn message_records<C: Control>(
    State(control): State<Arc<C>>,
    Part(Query(query)): Part<Query<RecordQuery>>,
) -> impl IntoResponse {
    answer(control.message_records(&query).await)
}

async fn top<C: Control>(State(control): State<Arc<C>>) -> impl IntoResponse {
    answer(control.top().await)
}

async fn alerts<C: Control>(
    State(control): State<Arc<C>>,
    Part(Query(query)): Part<Query<AlertQuery>>,
) -> impl IntoResponse {
    answer(control.alerts(&query).await)
}

async fn alert<C: Control>(
    State(control): State<Arc<C>>,
    Part(Path(id)): Part<Path<String>>,
) -> impl IntoResponse {
    answer(control.alert(&id).await)
}

async fn test_webhook<C: Control>(
    State(control): State<Arc<C>>,
    By(actor): By,
    Body(request): Body<TestWebhook>,
) -> impl IntoResponse {
    answer(control.test_webhook(&actor, request).await)
}

async fn plan<C: Control>(
    State(control): State<Arc<C>>,
    Body(request): Body<PlanRequest>,
) -> impl IntoResponse {
    answer(control.plan(request).await)
}

async fn reload<C: Control>(State(control): State<Arc<C>>, By(actor): By) -> impl IntoResponse {
    answer(control.reload(&actor).await)
}

async fn detach<C: Control>(
    State(control): State<Arc<C>>,
    By(actor): By,
    Body(request): Body<Detach>,
) -> impl IntoResponse {
    answer(control.detach(&actor, request).await)
}

async fn audit<C: Control>(
    State(control): State<Arc<C>>,
    Part(Query(query)): Part<Query<AuditQuery>>,
) -> impl IntoResponse {
    answer(control.audit(&query).await)
}

async fn unknown_route(request: Request) -> Failure {
    let asked = format!("{} {}", request.method(), request.uri().path());
    Failure(ApiError::new(
        "unknown_route",
        format!("there is no {asked}"),
        "edged and the program that asks may be of different versions; `edgectl status` tells the daemon's",
    ))
}

async fn wrong_method(request: Request) -> Failure {
    let asked = format!("{} {}", request.method(), request.uri().path());
    Failure(ApiError::new(
        "not_allowed",
        format!("{asked} is not possible; the path takes other methods"),
        "",
    ))
}

async fn within_time(request: Request, next: Next) -> Response {
    match tokio::time::timeout(REQUEST_TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Failure(ApiError::new(
            "timeout",
            format!("edged did not answer within {} s", REQUEST_TIMEOUT.as_secs()),
            "it may still finish what was asked; look at `edgectl audit` before trying again",
        ))
        .into_response(),
    }
}
