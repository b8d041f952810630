//! The daemon: wires everything together, reads the clocks, owns start and shutdown.
//!
//! Start: configuration → database → programs and maps → limits → interfaces → sockets → ready. Limits are in the
//! maps before a packet is judged. Then, until shutdown:
//! * [`tick`], once a second: counters → detectors → alerts → database and webhooks; expiry; history;
//! * [`watch`]: interfaces, called prefixes, events;
//! * [`control`]: what `edgectl` asks for; [`reload`] for SIGHUP too.
//!
//! The end of the daemon is not the end of enforcement: programs and maps stay pinned with the limits they have.
//! Neither is the loss of the database: limits come from the configuration, and what was set by command stays in
//! the kernel until the database answers again.

mod binds;
mod calls;
mod change;
mod changes;
mod clock;
mod control;
mod describe;
mod exposition;
mod faults;
mod guard;
mod listeners;
mod messages;
mod minute;
mod rates;
mod reconcile;
mod records;
mod reload;
mod slots;
mod start;
mod state;
mod suspend;
mod systemd;
mod tick;
mod views;
mod waiting;
mod watch;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

pub use reconcile::ReconcileError;

use self::control::Handle;
use self::start::Started;
use self::state::Daemon;
use crate::api::server::{self, BindError};
use crate::config::Config;
use crate::dataplane::DataplaneError;
use crate::metrics;

/// Why the daemon did not start, or ended before it was told to. What was enforced before is enforced still.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DaemonError {
    /// Programs or maps.
    #[error(transparent)]
    Dataplane(#[from] DataplaneError),
    /// Limits.
    #[error(transparent)]
    Reconcile(#[from] ReconcileError),
    /// Interfaces that are there and refuse.
    #[error("{}", .0.join("\n"))]
    Interfaces(Vec<String>),
    /// The control socket.
    #[error(transparent)]
    Socket(#[from] BindError),
    /// The address for metrics.
    #[error("cannot serve metrics on {address}: {source}. Set another `metrics_listen`")]
    Metrics {
        /// Address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The HTTP client of webhooks: TLS.
    #[error("webhooks cannot be sent: {0}")]
    HttpClient(#[from] reqwest::Error),
    /// A part of the daemon ended before it was told to.
    #[error(
        "the {0} ended before edged was told to; limits stay in force, and the next start goes on from here"
    )]
    Ended(&'static str),
    /// A part of the daemon died.
    #[error("a part of the daemon died: {0}; limits stay in force, and the next start goes on from here")]
    Died(#[from] JoinError),
    /// Signals, the ring buffer, a listener.
    #[error("cannot {doing}: {source}")]
    System {
        /// What was tried.
        doing: &'static str,
        /// Why it failed.
        source: io::Error,
    },
}

/// Runs until SIGTERM, SIGINT or a detach by command. Needs a tokio runtime with more than one thread.
pub async fn run(config: Config) -> Result<(), DaemonError> {
    let (mut hangup, mut terminate, mut interrupt) = signals()?;
    let started = tokio::select! {
        started = start::start(config) => started?,
        _ = terminate.recv() => return stopped_at_start(),
        _ = interrupt.recv() => return stopped_at_start(),
    };
    let Started { daemon, prefixes, events, records, messages, logs } = started;
    let config = daemon.state().config.clone();
    let listener = server::bind(&config.paths.socket, config.paths.socket_mode)?;
    let address = config.metrics_listen;
    let failed = |source| DaemonError::Metrics { address, source };
    let metrics_listener = metrics::listen(address).await.map_err(failed)?;

    let mut tasks = JoinSet::new();
    let shutdown = daemon.shutdown.clone();
    let api =
        server::serve(listener, Arc::new(Handle(Arc::clone(&daemon))), shutdown.clone().cancelled_owned());
    let served = metrics::serve(metrics_listener, Arc::clone(&daemon), shutdown.clone());
    tasks.spawn(part("control API", say("control API", api)));
    tasks.spawn(part("metrics", say("metrics", served)));
    daemon.turn(clock::now()).await;
    let of = || Arc::clone(&daemon);
    tasks.spawn(part("tick", tick::run(of())));
    tasks.spawn(part("watch over interfaces", watch::interfaces(of())));
    tasks.spawn(part("turn of called prefixes", watch::prefixes(of(), prefixes)));
    tasks.spawn(part("reading of events", watch::events(of(), events)));
    tasks.spawn(part(
        "reading of call records",
        waiting::take(of(), records, "call records", Daemon::take_records),
    ));
    tasks.spawn(part(
        "reading of records of messages",
        waiting::take(of(), messages, "records of messages", Daemon::take_messages),
    ));
    tasks.spawn(part("comparison of slots with calls", slots::run(of())));
    tasks.spawn(part("count of entries", watch::entries(of())));
    let deliverer = daemon.deliverer.clone();
    let until = shutdown.clone();
    tasks.spawn(part("sending of alerts", async move { deliverer.run(until).await }));
    if let Some(logs) = logs {
        // Ends with the runtime.
        tokio::spawn(say("log lines of the programs", logs.forward()));
    }

    let summary = daemon.summary();
    tracing::info!(socket = %config.paths.socket.display(), metrics = %address, "ready: {summary}");
    systemd::ready(&summary);

    let result = loop {
        tokio::select! {
            _ = hangup.recv() => {
                // Refusals are logged, audited and in the status.
                let _ = daemon.reload("SIGHUP").await;
            }
            _ = terminate.recv() => break Ok(()),
            _ = interrupt.recv() => break Ok(()),
            () = shutdown.cancelled() => break Ok(()),
            Some(ended) = tasks.join_next() => break too_early(ended, &shutdown),
        }
    };
    if let Err(error) = &result {
        tracing::error!(%error, "edged ends");
    }
    stop(&daemon, tasks).await;
    result
}

/// What the end of a part means for the daemon, whose service manager starts it again when it fails: no part is to end
/// before all are told to.
fn too_early(
    ended: Result<&'static str, JoinError>,
    shutdown: &CancellationToken,
) -> Result<(), DaemonError> {
    match ended? {
        _ if shutdown.is_cancelled() => Ok(()),
        name => Err(DaemonError::Ended(name)),
    }
}

/// A task that says which part it was when it has ended.
async fn part(name: &'static str, task: impl Future<Output = ()>) -> &'static str {
    task.await;
    name
}

#[expect(clippy::unnecessary_wraps, reason = "the answer of `run`")]
fn stopped_at_start() -> Result<(), DaemonError> {
    tracing::info!("stopped before the start was complete: what was in force before is in force still");
    Ok(())
}

async fn stop(daemon: &Arc<Daemon>, mut tasks: JoinSet<&'static str>) {
    systemd::stopping();
    daemon.shutdown.cancel();
    while tasks.join_next().await.is_some() {}
    daemon.keep_detectors().await;
    daemon.keep_records().await;
    if daemon.is_detached.load(std::sync::atomic::Ordering::Relaxed) {
        tracing::info!("stopped: detached, nothing is enforced");
    } else {
        tracing::info!(
            "stopped: programs and limits stay in force; the next start goes on from here, `edgectl detach` ends it"
        );
    }
}

fn signals() -> Result<(Signal, Signal, Signal), DaemonError> {
    let take =
        |kind| signal(kind).map_err(|source| DaemonError::System { doing: "listen to signals", source });
    Ok((take(SignalKind::hangup())?, take(SignalKind::terminate())?, take(SignalKind::interrupt())?))
}

/// A task that should not end by itself says why it did.
async fn say(what: &'static str, task: impl Future<Output = io::Result<()>>) {
    if let Err(error) = task.await {
        tracing::error!(%error, "{what} ended");
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_part_that_ends_or_dies_before_the_end_is_a_failure_of_the_daemon() {
        let (going_on, ending) = (CancellationToken::new(), CancellationToken::new());
        ending.cancel();
        let mut tasks = JoinSet::new();
        for shutdown in [&going_on, &ending] {
            tasks.spawn(part("tick", async {}));
            let ended = too_early(tasks.join_next().await.unwrap(), shutdown);
            let is_failure = matches!(ended, Err(DaemonError::Ended("tick")));
            assert_eq!(is_failure, !shutdown.is_cancelled());
            tasks.spawn(part("tick", async { panic!("on purpose") }));
            let died = too_early(tasks.join_next().await.unwrap(), shutdown);
            assert!(matches!(died, Err(DaemonError::Died(_))));
        }
    }
}
