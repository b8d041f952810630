//! Alerts to HTTP: Standard Webhooks with a durable outbox.
//!
//! 1. [`Deliverer::publish`] turns each alert into one delivery for every endpoint that wants its severity and
//!    stores alert and deliveries in one transaction.
//! 2. One worker an endpoint sends its deliveries in order, one at a time, so that a slow endpoint holds up
//!    nobody else.
//! 3. What fails is tried again by a table of waits until the endpoint's `give_up_after`.
//! 4. When the database cannot be written, steps 1 to 3 go on in memory, within a bound, and are written down
//!    when it can be.

mod endpoint;
mod message;
mod queue;
mod send;
#[cfg(test)]
mod tests;
mod worker;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::{ContextV7, Uuid};

use crate::alert::Alert;
use crate::api::types::TestWebhookResult;
use crate::store::{Delivery, DeliveryState, Shared};
use message::Message;
use queue::Queue;

pub use endpoint::{Endpoint, EndpointError};

/// Where the time comes from; the daemon gives the system's clock, tests their own.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// How failures are spaced.
#[derive(Clone)]
pub struct Retry {
    /// Wait after the first, second, … failure; the last one repeats.
    pub waits: Vec<Duration>,
    /// A number from 0 to 1 each time it is called; moves a wait by up to a fifth either way.
    pub jitter: Arc<dyn Fn() -> f64 + Send + Sync>,
}

/// Counters of one endpoint, since the start of the daemon, and what is wrong with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndpointStatus {
    /// Deliveries answered with 2xx.
    pub delivered: u64,
    /// Attempts that failed.
    pub failed_attempts: u64,
    /// Deliveries given up.
    pub given_up: u64,
    /// Deliveries dropped because too many were waiting.
    pub dropped: u64,
    /// Deliveries waiting.
    pub pending: u64,
    /// Why nothing is sent until the next reload, where that is so: the endpoint answered 410.
    pub disabled: Option<String>,
}

/// The outbox as it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutboxStatus {
    /// By endpoint name.
    pub endpoints: BTreeMap<String, EndpointStatus>,
    /// Alerts and deliveries whose latest state is only in memory.
    pub unsaved: u64,
    /// Why they are, in a sentence, while the database cannot be written.
    pub store_error: Option<String>,
}

impl OutboxStatus {
    /// Deliveries waiting, over all endpoints.
    #[must_use]
    pub fn pending(&self) -> u64 {
        self.endpoints.values().map(|endpoint| endpoint.pending).sum()
    }
}

/// Sends alerts. Cheap to clone: clones share one outbox.
#[derive(Clone)]
pub struct Deliverer {
    inner: Arc<Inner>,
}

struct Inner {
    endpoints: Mutex<BTreeMap<String, Arc<Endpoint>>>,
    queue: Mutex<Queue>,
    /// Held while the database is written, so that an older state is never written over a newer one.
    saving: tokio::sync::Mutex<Saving>,
    store_error: Mutex<Option<String>>,
    store: Shared,
    clock: Clock,
    retry: Retry,
    client: reqwest::Client,
    ids: Mutex<Ids>,
    /// Changes whenever workers should look again.
    changes: watch::Sender<u64>,
}

/// What ids are made of.
struct Ids {
    counter: ContextV7,
    last: Timestamp,
}

#[derive(Default)]
struct Saving {
    /// What was pending when the daemon last stopped is in the queue.
    loaded: bool,
}

impl Retry {
    /// 5 s, 30 s, 2 min, 10 min, 30 min, 1 h, 2 h, then every 4 h; as the schedule of Standard Webhooks 1.0
    /// ("Deliverability and reliability"), but denser at its start, since an alert is worth little after an hour.
    #[must_use]
    pub fn standard() -> Self {
        let waits = [5, 30, 2 * 60, 10 * 60, 30 * 60, 3_600, 2 * 3_600, 4 * 3_600];
        Self { waits: waits.map(Duration::from_secs).into(), jitter: Arc::new(fastrand::f64) }
    }

    /// The wait after so many failures, at least one.
    fn wait(&self, failures: u32) -> Duration {
        let index = usize::try_from(failures.saturating_sub(1)).unwrap_or(usize::MAX);
        let wait = self.waits.get(index).or(self.waits.last()).copied().unwrap_or(Duration::from_mins(1));
        wait.mul_f64(0.8 + 0.4 * (self.jitter)().clamp(0.0, 1.0))
    }
}

impl Deliverer {
    /// Nothing is sent before [`Self::run`]. Fails when the HTTP client cannot be made (no TLS).
    pub fn new(
        endpoints: Vec<Endpoint>,
        store: Shared,
        clock: Clock,
        retry: Retry,
    ) -> Result<Self, reqwest::Error> {
        let inner = Inner {
            endpoints: Mutex::default(),
            queue: Mutex::default(),
            saving: tokio::sync::Mutex::default(),
            store_error: Mutex::default(),
            store,
            clock,
            retry,
            client: send::client()?,
            ids: Mutex::new(Ids { counter: ContextV7::new(), last: Timestamp::UNIX_EPOCH }),
            changes: watch::Sender::new(0),
        };
        let deliverer = Self { inner: Arc::new(inner) };
        deliverer.reload(endpoints);
        Ok(deliverer)
    }

    /// Stores alerts with their deliveries and has them sent. Returns when they are on disk, or in memory if
    /// the database cannot be written ([`OutboxStatus::store_error`] then says why).
    pub async fn publish(&self, alerts: &[Alert]) {
        if alerts.is_empty() {
            return;
        }
        let inner = &self.inner;
        let now = (inner.clock)();
        let deliveries: Vec<Delivery> = {
            let endpoints = lock(&inner.endpoints);
            let wanted = |alert: &Alert| {
                endpoints
                    .values()
                    .filter(|endpoint| alert.finding.severity >= endpoint.min_severity)
                    .map(|endpoint| endpoint.name.clone())
                    .collect::<Vec<_>>()
            };
            alerts
                .iter()
                .flat_map(|alert| wanted(alert).into_iter().map(move |endpoint| (alert, endpoint)))
                .filter_map(|(alert, endpoint)| inner.delivery(alert, endpoint, now))
                .collect()
        };
        lock(&inner.queue).stage(alerts, &deliveries);
        inner.save().await;
        lock(&inner.queue).admit(deliveries, now);
        self.wake();
    }

    /// Sends until shutdown. What is not delivered by then stays in the database.
    pub async fn run(&self, shutdown: CancellationToken) {
        worker::run(&self.inner, &shutdown).await;
        self.inner.save().await;
    }

    /// Has every worker look at its deliveries now.
    pub fn wake(&self) {
        self.inner.changes.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// The clock was set by so much: what waits for its next attempt waits no longer and no shorter for it.
    pub fn clock_was_set(&self, by: SignedDuration) {
        lock(&self.inner.queue).shift(by);
        self.wake();
    }

    /// Takes new endpoints and secrets; endpoints that were disabled are tried again. Deliveries to an endpoint
    /// that is gone are given up.
    pub fn reload(&self, endpoints: Vec<Endpoint>) {
        let endpoints: BTreeMap<_, _> =
            endpoints.into_iter().map(|endpoint| (endpoint.name.clone(), Arc::new(endpoint))).collect();
        let names: BTreeSet<String> = endpoints.keys().cloned().collect();
        *lock(&self.inner.endpoints) = endpoints;
        lock(&self.inner.queue).reset(&names, (self.inner.clock)());
        self.wake();
    }

    /// Those of these endpoints that are in use with other secrets, by name.
    #[must_use]
    pub fn other_secrets(&self, endpoints: &[Endpoint]) -> Vec<String> {
        let in_use = lock(&self.inner.endpoints);
        let differs = |endpoint: &&Endpoint| {
            in_use.get(&endpoint.name).is_some_and(|before| !before.signs_like(endpoint))
        };
        endpoints.iter().filter(differs).map(|endpoint| endpoint.name.clone()).collect()
    }

    /// Sends one signed test message past the outbox; `None` when no endpoint has that name.
    pub async fn test(&self, endpoint: &str) -> Option<TestWebhookResult> {
        let inner = &self.inner;
        let endpoint = inner.endpoint(endpoint)?;
        let now = (inner.clock)();
        let message = Message {
            kind: "edge.test".to_owned(),
            timestamp: now,
            data: BTreeMap::from([("endpoint", &endpoint.name)]),
        };
        let mut result = TestWebhookResult {
            endpoint: endpoint.name.clone(),
            ok: false,
            status: None,
            error: String::new(),
            took_ms: 0,
        };
        match serde_json::to_vec(&message) {
            Err(error) => result.error = error.to_string(),
            Ok(body) => {
                let answer = send::send(&inner.client, &endpoint, &inner.new_id(now), &body, now).await;
                result.ok = matches!(answer, send::Answer::Delivered(_));
                result.status = answer.status();
                result.error = answer.error();
            }
        }
        let took = (inner.clock)().duration_since(now).as_millis();
        result.took_ms = u64::try_from(took).unwrap_or_default();
        Some(result)
    }

    /// Names of the endpoints, in order.
    #[must_use]
    pub fn endpoints(&self) -> Vec<String> {
        lock(&self.inner.endpoints).keys().cloned().collect()
    }

    /// Counters, for metrics and `edgectl status`.
    #[must_use]
    pub fn status(&self) -> OutboxStatus {
        let queue = lock(&self.inner.queue);
        OutboxStatus {
            endpoints: queue.status(),
            unsaved: u64::try_from(queue.unsaved()).unwrap_or(u64::MAX),
            store_error: lock(&self.inner.store_error).clone(),
        }
    }
}

impl Inner {
    fn endpoint(&self, name: &str) -> Option<Arc<Endpoint>> {
        lock(&self.endpoints).get(name).cloned()
    }

    fn delivery(&self, alert: &Alert, endpoint: String, now: Timestamp) -> Option<Delivery> {
        let body = message::alert_body(alert)
            .inspect_err(|error| tracing::error!(alert = alert.id, %error, "alert cannot be written as JSON"))
            .ok()?;
        Some(Delivery {
            id: self.new_id(now),
            endpoint,
            alert_id: alert.id.clone(),
            phase: alert.phase,
            body,
            state: DeliveryState::Pending,
            attempts: 0,
            at: now,
            last_error: None,
            created_at: now,
        })
    }

    /// A UUID v7 with a counter: ids made by one daemon sort in the order in which they were made.
    fn new_id(&self, now: Timestamp) -> String {
        let mut ids = lock(&self.ids);
        // A clock that is set back must not put what comes before what was there.
        ids.last = ids.last.max(now);
        let since_epoch = ids.last.as_duration().unsigned_abs();
        let time =
            uuid::Timestamp::from_unix(&ids.counter, since_epoch.as_secs(), since_epoch.subsec_nanos());
        format!("msg_{}", Uuid::new_v7(time).simple())
    }

    /// Writes down what is not written yet, and takes up what the database has from before a restart. What the
    /// database does not take stays in memory.
    async fn save(&self) {
        let mut saving = self.saving.lock().await;
        let batch = Arc::new(lock(&self.queue).take_unsaved());
        if batch.is_empty() && saving.loaded {
            return;
        }
        let (load, to_write) = (!saving.loaded, Arc::clone(&batch));
        let written = self.store.run(move |store| {
            let before = if load { store.pending_deliveries(LOAD_AT_MOST)? } else { Vec::new() };
            let alerts: Vec<_> = to_write.alerts.values().cloned().collect();
            let deliveries: Vec<_> = to_write.deliveries.values().cloned().collect();
            store.save(&alerts, &deliveries)?;
            Ok(before)
        });
        match written.await {
            Ok(before) => {
                saving.loaded = true;
                let was = lock(&self.store_error).take();
                if was.is_some() {
                    tracing::info!("the database takes alerts again; those kept in memory are written");
                }
                let names: BTreeSet<String> = lock(&self.endpoints).keys().cloned().collect();
                let now = (self.clock)();
                let mut queue = lock(&self.queue);
                queue.take_up(before, now);
                if load {
                    queue.reset(&names, now);
                }
            }
            Err(error) => {
                let error = error.to_string();
                let was = lock(&self.store_error).replace(error.clone());
                if was.is_none() {
                    tracing::error!(%error, "alerts are kept in memory and sent from there");
                }
                let batch = Arc::try_unwrap(batch).unwrap_or_else(|shared| shared.as_ref().clone());
                lock(&self.queue).put_back(batch);
            }
        }
    }
}

/// Pending deliveries taken up at start: more than any configuration leaves behind.
const LOAD_AT_MOST: u32 = 100_000;

/// A holder that panicked has left the value as it was before or after one whole step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
