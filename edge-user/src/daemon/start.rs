//! From a configuration to a daemon whose limits are in force.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex};

use tokio_util::sync::CancellationToken;

use super::changes::{dead_measures, orphans};
use super::faults::Faults;
use super::messages::Messages;
use super::rates::Rates;
use super::reconcile::{log_lines, reconcile, shortened};
use super::records::Records;
use super::reload::endpoints;
use super::slots::Slots;
use super::state::{Daemon, Kept, Kernel, State};
use super::tick::{DETECTORS_VALUE, read_kept};
use super::{DaemonError, clock, watch};
use crate::alert::{Alert, Book};
use crate::api::types::AuditEntry;
use crate::config::Config;
use crate::dataplane::{
    Adoption, Dataplane, EventStream, Interfaces, MessageStream, Prefixes, ProgramLogs, RecordStream, Ring,
    RingStream,
};
use crate::detect::Detectors;
use crate::store::Shared;
use crate::webhook::{Clock, Deliverer, Retry};

/// A daemon whose limits are in force, and what its tasks will own.
pub(super) struct Started {
    pub(super) daemon: Arc<Daemon>,
    pub(super) prefixes: Prefixes,
    pub(super) events: EventStream,
    pub(super) records: RecordStream,
    pub(super) messages: MessageStream,
    pub(super) logs: Option<ProgramLogs>,
}

/// What the database knew.
#[derive(Default)]
struct Remembered {
    kept: Option<Kept>,
    open: Vec<Alert>,
    detectors: Option<serde_json::Value>,
    error: Option<String>,
}

pub(super) async fn start(config: Config) -> Result<Started, DaemonError> {
    let clocks = clock::clocks();
    let now = clocks.wall;
    let plane = load(&config).await?;
    tell_adoption(&plane.adoption);
    let Dataplane {
        accounts,
        interfaces,
        counters,
        binds,
        listeners,
        calls,
        prefixes,
        events,
        records,
        messages,
        logs,
        adoption,
    } = plane;
    let events = listen(events, "listen to the ring buffer")?;
    let records = listen(records, "listen to the call records")?;
    let messages = listen(messages, "listen to the records of messages")?;

    if let Some(directory) = config.paths.database.parent() {
        // Where it cannot be made, the database says why it does not open.
        let _ = std::fs::create_dir_all(directory);
    }
    let store = Shared::at(&config.paths.database);
    let remembered = remember(&store).await;
    let mut kernel = Kernel { accounts, interfaces };
    let (plan, in_place) = reconcile(&mut kernel, &config, remembered.kept.as_ref(), &clock::clocks())?;
    let changes = plan.lines();
    log_lines(&changes);
    tell_idle(remembered.kept.as_ref(), &config);
    attach(&mut kernel.interfaces, &config).inspect_err(|_| {
        // A first start that fails leaves nothing behind: what it made nobody would look after. Where there was something
        // before, that goes on.
        if matches!(adoption, Adoption::Fresh)
            && !kernel.interfaces.has_others()
            && let Err(error) = kernel.interfaces.detach()
        {
            tracing::error!(%error, "what this start made cannot be taken away");
        }
    })?;

    let (endpoints, problems) = endpoints(&config);
    for problem in &problems {
        tracing::error!("{problem}; alerts do not go there");
    }
    let clock: Clock = Arc::new(clock::now);
    let deliverer = Deliverer::new(endpoints, store.clone(), clock, Retry::standard())?;

    let detectors = detectors(&config, remembered.detectors, &remembered.open, now);
    let mut faults = Faults::default();
    faults.adopt(remembered.open.iter().map(|alert| &alert.finding), now);

    let config_path = config.path.clone();
    let state = State {
        config: Arc::new(config),
        config_applied_at: now,
        config_error: (!problems.is_empty()).then(|| problems.join("\n")),
        expiry_is_owed: remembered.kept.is_some(),
        behind: None,
        kept: remembered.kept,
        installed: in_place.accounts,
        trunks: in_place.trunks,
        slots: Slots::default(),
        detectors,
        faults,
        repairs: BTreeMap::new(),
        records: Records::default(),
        messages: Messages::default(),
        book: Book::new(remembered.open),
        bans_are_full: false,
        refused_at_opening: BTreeMap::new(),
        drift: clock::Drift::default(),
        last: None,
        rates: Rates::new(),
        prefix_turn: None,
        minute: None,
        alerts_opened: BTreeMap::new(),
        reloads: [0, 0],
        store_is_up: remembered.error.is_none(),
    };
    let daemon = Arc::new(Daemon {
        config_path,
        started: clocks,
        store,
        deliverer,
        counters,
        binds,
        listeners,
        calls,
        kernel: Mutex::new(kernel),
        state: Mutex::new(state),
        changes: tokio::sync::Mutex::new(()),
        shutdown: CancellationToken::new(),
        is_detached: AtomicBool::new(false),
        counted_entries: [AtomicU64::new(0), AtomicU64::new(0)],
    });
    daemon.audit_start(changes).await;
    Ok(Started { daemon, prefixes, events, records, messages, logs })
}

impl Daemon {
    /// One line for the log and the service manager.
    pub(super) fn summary(&self) -> String {
        let states = self.interface_states();
        let interfaces: Vec<String> =
            states.iter().map(|(name, (_, it))| format!("{name} {}", super::views::mode_name(it))).collect();
        let state = self.state();
        format!("{} accounts, mode {}, {}", state.installed.len(), state.config.mode, interfaces.join(", "))
    }

    async fn audit_start(&self, changes: Vec<String>) {
        if self.state().kept.is_none() {
            return;
        }
        let entry = AuditEntry {
            at: self.started.wall,
            actor: "edge".to_owned(),
            action: "config.applied".to_owned(),
            subject: self.config_path.display().to_string(),
            reason: "start".to_owned(),
            before: String::new(),
            after: shortened(&changes).join("\n"),
        };
        self.audit(entry).await;
    }
}

fn listen<T>(ring: Ring<T>, doing: &'static str) -> Result<RingStream<T>, DaemonError> {
    ring.listen().map_err(|source| DaemonError::System { doing, source })
}

/// The verifier may take seconds, during which the daemon still hears signals.
async fn load(config: &Config) -> Result<Dataplane, DaemonError> {
    let (pin_dir, capacity) = (config.paths.pin_dir.clone(), config.capacity);
    match tokio::task::spawn_blocking(move || Dataplane::load(&pin_dir, &capacity)).await {
        Ok(loaded) => loaded.map_err(DaemonError::from),
        Err(error) => {
            Err(DaemonError::System { doing: "load the programs", source: std::io::Error::other(error) })
        }
    }
}

async fn remember(store: &Shared) -> Remembered {
    let read = store.run(|store| {
        let kept = read_kept(store)?;
        Ok((kept, store.open_alerts()?, store.value(DETECTORS_VALUE)?))
    });
    match read.await {
        Ok((kept, open, detectors)) => Remembered { kept: Some(kept), open, detectors, error: None },
        Err(error) => {
            tracing::error!(
                %error,
                "limits and measures set by command are not known until the database answers: those that the kernel \
                 has stay, beside the limits of the configuration"
            );
            Remembered { error: Some(error.to_string()), ..Remembered::default() }
        }
    }
}

/// An interface that is absent is waited for; one that is there and refuses is an error.
fn attach(interfaces: &mut Interfaces, config: &Config) -> Result<(), DaemonError> {
    watch::log_changes(&interfaces.set(&config.interfaces));
    let failed: Vec<String> = interfaces.failures().into_values().collect();
    if failed.is_empty() { Ok(()) } else { Err(DaemonError::Interfaces(failed)) }
}

/// Detectors that go on where those of the daemon before ended.
fn detectors(
    config: &Config,
    kept: Option<serde_json::Value>,
    open: &[Alert],
    now: jiff::Timestamp,
) -> Detectors {
    let mut detectors = Detectors::new(&config.detect);
    if let Some(value) = kept
        && let Err(error) = detectors.restore(value)
    {
        tracing::warn!(%error, "baselines start anew");
    }
    detectors.adopt(open.iter().map(|alert| &alert.finding), now);
    detectors
}

/// What was set by command and holds for nobody.
fn tell_idle(kept: Option<&Kept>, config: &Config) {
    let Some(kept) = kept else { return };
    for orphan in orphans(kept, config) {
        tracing::warn!("{orphan} holds for nobody: there is no such account");
    }
    for measure in dead_measures(kept, config) {
        tracing::warn!(
            prefix = measure.prefix,
            "holds for nobody: less than an IPv6 source (`ipv6_source_prefix`)"
        );
    }
}

fn tell_adoption(adoption: &Adoption) {
    match adoption {
        Adoption::Fresh => tracing::info!("maps made anew: counters and buckets start from nothing"),
        Adoption::Adopted { kept_capacity } => {
            tracing::info!("maps adopted: counters and buckets go on");
            for line in kept_capacity {
                tracing::warn!("{line}");
            }
        }
        Adoption::Replaced { reason } => {
            tracing::warn!(reason, "maps replaced: counters and buckets start from nothing");
        }
    }
}
