//! One worker an endpoint: sends what is due, one message at a time, and waits for the rest.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::queue::{FollowUp, Next};
use super::{Inner, lock, send};

/// How often what the database did not take is offered to it again.
const SAVE_AGAIN: Duration = Duration::from_secs(2);

/// Keeps a worker for every endpoint until shutdown.
pub(super) async fn run(inner: &Arc<Inner>, shutdown: &CancellationToken) {
    inner.save().await;
    let mut changes = inner.changes.subscribe();
    let mut workers = JoinSet::new();
    let mut working = std::collections::BTreeSet::new();
    let mut save_again = tokio::time::interval(SAVE_AGAIN);
    save_again.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let names: Vec<String> = lock(&inner.endpoints).keys().cloned().collect();
        for name in names {
            if working.insert(name.clone()) {
                workers.spawn(work(Arc::clone(inner), name, shutdown.clone()));
            }
        }
        tokio::select! {
            () = shutdown.cancelled() => break,
            _ = changes.changed() => {}
            Some(ended) = workers.join_next() => {
                // It ended because its endpoint is gone. Should it ever die otherwise, all are looked at again.
                if let Ok(name) = ended {
                    working.remove(&name);
                } else {
                    workers.abort_all();
                    working.clear();
                }
            }
            _ = save_again.tick() => inner.save().await,
        }
    }
    while workers.join_next().await.is_some() {}
}

/// Sends one endpoint's messages until it is gone from the configuration, and answers with its name.
async fn work(inner: Arc<Inner>, name: String, shutdown: CancellationToken) -> String {
    let mut changes = inner.changes.subscribe();
    loop {
        changes.mark_unchanged();
        let Some(endpoint) = inner.endpoint(&name) else { return name };
        let now = (inner.clock)();
        let next = lock(&inner.queue).next(&name, endpoint.give_up_after, now);
        let wait = match next {
            Next::Send(delivery) => {
                let sending = send::send(&inner.client, &endpoint, &delivery.id, &delivery.body, now);
                let answer = tokio::select! {
                    // Whether it arrived is not known then: it stays pending, and is sent again with its id.
                    () = shutdown.cancelled() => return name,
                    answer = sending => answer,
                };
                let failures = lock(&inner.queue).attempts(&name, &delivery.id).saturating_add(1);
                let follow_up =
                    FollowUp { wait: inner.retry.wait(failures), give_up_after: endpoint.give_up_after };
                tracing::debug!(endpoint = name, id = delivery.id, ?answer, "webhook attempt");
                let now = (inner.clock)();
                lock(&inner.queue).settle(&name, &delivery.id, &answer, follow_up, now);
                inner.save().await;
                continue;
            }
            Next::WaitUntil(at) => at.duration_since(now).unsigned_abs(),
            Next::Idle => IDLE,
        };
        tokio::select! {
            () = shutdown.cancelled() => return name,
            _ = changes.changed() => {}
            () = tokio::time::sleep(wait.min(IDLE)) => {}
        }
    }
}

/// Nobody waits longer than this before looking at the clock again, which may have been set.
const IDLE: Duration = Duration::from_mins(1);
