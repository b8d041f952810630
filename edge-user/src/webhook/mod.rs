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

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::alert::Alert;
use crate::api::types::TestWebhookResult;
use crate::store::Shared;

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
    /// Deliveries dropped because the outbox was full.
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
    /// Alerts and deliveries that are only in memory because the database cannot be written.
    pub unsaved: u64,
    /// Why they are, in a sentence.
    pub store_error: Option<String>,
}

/// Sends alerts. Cheap to clone: clones share one outbox.
#[derive(Clone)]
pub struct Deliverer {
    store: Shared,
}

impl Deliverer {
    /// Nothing is sent before [`Self::run`].
    #[must_use]
    pub fn new(_endpoints: Vec<Endpoint>, store: Shared, _clock: Clock, _retry: Retry) -> Self {
        Self { store }
    }

    /// Stores alerts with their deliveries and has them sent. Returns when they are on disk, or in memory if
    /// the database cannot be written ([`OutboxStatus::store_error`] then says why).
    pub async fn publish(&self, alerts: &[Alert]) {
        let alerts = alerts.to_vec();
        let _ = self.store.run(move |store| store.save(&alerts, &[])).await;
    }

    /// Sends until shutdown. What is not delivered by then stays in the database.
    pub async fn run(&self, shutdown: CancellationToken) {
        shutdown.cancelled().await;
    }

    /// Has every worker look at its deliveries now, whatever they were waiting for.
    pub fn wake(&self) {}

    /// Takes new endpoints and secrets; endpoints that were disabled are tried again. Deliveries to an endpoint
    /// that is gone are given up.
    pub fn reload(&self, _endpoints: Vec<Endpoint>) {}

    /// Sends one signed test message past the outbox; `None` when no endpoint has that name.
    pub async fn test(&self, _endpoint: &str) -> Option<TestWebhookResult> {
        None
    }

    /// Names of the endpoints, in order.
    #[must_use]
    pub fn endpoints(&self) -> Vec<String> {
        Vec::new()
    }

    /// Counters, for metrics and `edgectl status`.
    #[must_use]
    pub fn status(&self) -> OutboxStatus {
        OutboxStatus::default()
    }
}
