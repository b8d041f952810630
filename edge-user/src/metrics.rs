//! Prometheus metrics, and the two questions of an orchestrator: alive, ready.
//!
//! Names, labels and meanings are in `docs/metrics.md`, which a test compares with what is exposed. Labels are
//! names of the configuration and of the contract, never an address or a phone number: cardinality is bounded
//! by what the operator has written.

mod bounded;
mod smpp;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use edge_ebpf::abi::{
    ABI_VERSION, AccountCounters, Allowance, Class, Command, Limit, Method, Outcome, Policy,
};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::alert::Severity;
use crate::dataplane::Windows;
use crate::figures::{CallFigures, ResponseTimes};
use crate::rate::Rate;
use bounded::Bounds;
pub use smpp::ListenerMeasures;

const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Everything that is exposed, at one moment.
#[derive(Clone, Debug, Default)]
pub struct Measures {
    /// Packets by outcome.
    pub outcomes: BTreeMap<Outcome, u64>,
    /// By account name.
    pub accounts: BTreeMap<String, AccountMeasures>,
    /// Trunks.
    pub trunks: Vec<TrunkMeasures>,
    /// SMPP ports.
    pub listeners: Vec<ListenerMeasures>,
    /// Alerts opened since the start, by rule and severity.
    pub alerts_opened: BTreeMap<(String, Severity), u64>,
    /// Alerts open now, by rule.
    pub alerts_open: BTreeMap<String, u64>,
    /// Webhook deliveries since the start, by what became of them.
    pub deliveries: BTreeMap<&'static str, u64>,
    /// Deliveries waiting.
    pub outbox_pending: u64,
    /// Interface and the mode that it really has.
    pub xdp_modes: Vec<(String, &'static str)>,
    /// Map, its entries where they are known, its capacity.
    pub maps: Vec<(String, Option<u64>, u64)>,
    /// Events that the ring buffer had no room for.
    pub events_lost: u64,
    /// Call records that were lost: no room in the ring buffer, or too many waiting for the database.
    pub records_lost: u64,
    /// Records of messages that were lost, likewise.
    pub messages_lost: u64,
    /// Reloads applied and refused since the start.
    pub reloads: [u64; 2],
    /// Whether the database answers.
    pub store_is_up: bool,
}

/// One account.
#[derive(Clone, Debug)]
pub struct AccountMeasures {
    /// What the kernel has counted.
    pub counters: AccountCounters,
    /// Limits in force.
    pub policy: Policy,
    /// Calls that hold a slot now.
    pub calls_active: u64,
    /// Binds that the server has said yes to, now.
    pub binds_active: u64,
    /// SMPP messages that wait for their responses, on the account's binds.
    pub windows: Windows,
    /// Slots of the entries when they were last walked, once they were.
    pub slots_held: Option<u64>,
    /// Slots put right since the start.
    pub slots_corrected: u64,
    /// What the records of calls add up to.
    pub calls: CallFigures,
    /// From a message to the response of its server, of messages that left records.
    pub responses: ResponseTimes,
    /// Admitted messages per second over the last second; classes without traffic left out.
    pub admitted_per_sec: BTreeMap<Class, f64>,
}

/// One trunk.
#[derive(Clone, Debug)]
pub struct TrunkMeasures {
    /// Its account.
    pub account: String,
    /// Its name.
    pub trunk: String,
    /// Calls that hold a slot now.
    pub calls_active: u64,
    /// Most calls at once; 0 is no limit.
    pub calls_max: u32,
    /// Calls refused because none was left.
    pub refused: u64,
}

/// Where the figures come from, and whether traffic may be sent here.
pub trait Source: Send + Sync + 'static {
    /// Figures of this moment.
    fn measures(&self) -> Measures;

    /// `Err` says why not.
    fn ready(&self) -> Result<(), String>;
}

/// Serves `/metrics`, `/healthz` and `/readyz` until shutdown.
pub async fn serve<S: Source>(
    listener: TcpListener,
    source: Arc<S>,
    shutdown: CancellationToken,
) -> io::Result<()> {
    bounded::serve(listener, Bounds::STANDARD, router(source), shutdown).await
}

/// Listens for [`serve`].
pub async fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// The text of `/metrics` (`OpenMetrics` 1.0).
pub fn render(measures: Measures) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(measures));
    let mut out = String::new();
    text::encode(&mut out, &registry)?;
    Ok(out)
}

fn router<S: Source>(source: Arc<S>) -> Router {
    Router::new()
        .route("/metrics", get(metrics::<S>))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz::<S>))
        .layer(map_response(once))
        .with_state(source)
}

/// A connection that nobody asks on any more is one less for others.
async fn once(mut response: Response) -> Response {
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

async fn metrics<S: Source>(State(source): State<Arc<S>>) -> impl IntoResponse {
    let rendered = tokio::task::spawn_blocking(move || render(source.measures())).await;
    match rendered {
        Ok(Ok(text)) => Ok(([(header::CONTENT_TYPE, CONTENT_TYPE)], text)),
        Ok(Err(error)) => Err((StatusCode::INTERNAL_SERVER_ERROR, error.to_string())),
        Err(error) => Err((StatusCode::INTERNAL_SERVER_ERROR, error.to_string())),
    }
}

async fn readyz<S: Source>(State(source): State<Arc<S>>) -> impl IntoResponse {
    match source.ready() {
        Ok(()) => (StatusCode::OK, "ready\n".to_owned()),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {reason}\n")),
    }
}

impl Collector for Measures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        self.traffic(&mut encoder)?;
        self.limits(&mut encoder)?;
        self.slots(&mut encoder)?;
        self.smpp(&mut encoder)?;
        self.calls(&mut encoder)?;
        self.alerts(&mut encoder)?;
        self.daemon(&mut encoder)
    }
}

type Count = fn(&CallFigures) -> u64;
type Time = fn(&CallFigures) -> Duration;

impl Measures {
    fn traffic(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut packets = counter(encoder, "edge_packets", "Packets by what became of them")?;
        for (outcome, count) in &self.outcomes {
            count_one(&mut packets, [("outcome", outcome.name())], *count)?;
        }
        let mut messages = counter(encoder, "edge_messages", "Messages by account, class and allowance")?;
        for (name, account) in &self.accounts {
            for class in Class::ALL {
                for allowance in Allowance::ALL {
                    let count = account.counters.messages[class.index()][allowance.index()];
                    let labels = [
                        ("account", name.as_str()),
                        ("class", class.name()),
                        ("allowance", allowance.name()),
                    ];
                    count_if_any(&mut messages, labels, count)?;
                }
            }
        }
        let mut sip =
            counter(encoder, "edge_sip_messages", "SIP messages by account and method or status class")?;
        for (name, account) in &self.accounts {
            for method in Method::ALL {
                let labels = [("account", name.as_str()), ("method", method.name())];
                count_if_any(&mut sip, labels, account.counters.sip[method.index()])?;
            }
        }
        let help = "Calls and messages that showed a caller ID which is none of the account's";
        let mut callers = counter(encoder, "edge_caller_id_violations", help)?;
        for (name, account) in &self.accounts {
            count_if_any(&mut callers, [("account", name.as_str())], account.counters.foreign_callers)?;
        }
        let help = "SMPP messages that showed a sender ID which is none of the account's";
        let mut senders = counter(encoder, "edge_sender_id_violations", help)?;
        for (name, account) in &self.accounts {
            count_if_any(&mut senders, [("account", name.as_str())], account.counters.foreign_senders)?;
        }
        let mut smpp = counter(encoder, "edge_smpp_pdus", "SMPP PDUs passed, by account and command")?;
        for (name, account) in &self.accounts {
            for command in Command::ALL {
                let labels = [("account", name.as_str()), ("command", command.name())];
                count_if_any(&mut smpp, labels, account.counters.smpp[command.index()])?;
            }
        }
        Ok(())
    }

    fn limits(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut limits = gauge(encoder, "edge_limit_per_sec", "Limits in force, in messages per second")?;
        for (name, account) in &self.accounts {
            let policy = &account.policy;
            for (scope, table) in
                [("account", &policy.account), ("source", &policy.source), ("registered", &policy.registered)]
            {
                for class in Class::ALL {
                    if let Some(per_sec) = per_sec(table[class.index()]) {
                        let labels = [("account", name.as_str()), ("scope", scope), ("class", class.name())];
                        set(&mut limits, labels, per_sec)?;
                    }
                }
            }
        }
        let help = "Admitted over limit of the account, over the last second";
        let mut utilization = gauge(encoder, "edge_limit_utilization_ratio", help)?;
        for (name, account) in &self.accounts {
            for class in Class::ALL {
                let limit = per_sec(account.policy.account[class.index()]).filter(|limit| *limit > 0.0);
                if let Some(limit) = limit {
                    let admitted = account.admitted_per_sec.get(class).copied().unwrap_or(0.0);
                    let labels = [("account", name.as_str()), ("class", class.name())];
                    set(&mut utilization, labels, admitted / limit)?;
                }
            }
        }
        Ok(())
    }

    fn slots(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut active = gauge(encoder, "edge_calls_active", "Calls that hold a slot now")?;
        for (name, account) in &self.accounts {
            set(&mut active, [("account", name.as_str())], float(account.calls_active))?;
        }
        let mut limit = gauge(encoder, "edge_calls_limit", "Most calls at once")?;
        for (name, account) in &self.accounts {
            if account.policy.calls_max > 0 {
                set(&mut limit, [("account", name.as_str())], f64::from(account.policy.calls_max))?;
            }
        }
        let help = "Slots of the calls that the kernel keeps, as last counted";
        let mut slots = gauge(encoder, "edge_calls_held", help)?;
        for (name, account) in &self.accounts {
            if let Some(held) = account.slots_held {
                set(&mut slots, [("account", name.as_str())], float(held))?;
            }
        }
        let help = "Slots put right, because count and calls differed lastingly";
        let mut corrected = counter(encoder, "edge_calls_slots_corrected", help)?;
        for (name, account) in &self.accounts {
            count_one(&mut corrected, [("account", name.as_str())], account.slots_corrected)?;
        }
        let mut active = gauge(encoder, "edge_trunk_calls_active", "Calls of a trunk that hold a slot now")?;
        for trunk in &self.trunks {
            set(&mut active, trunk.labels(), float(trunk.calls_active))?;
        }
        let mut limit = gauge(encoder, "edge_trunk_calls_limit", "Most calls of a trunk at once")?;
        for trunk in self.trunks.iter().filter(|trunk| trunk.calls_max > 0) {
            set(&mut limit, trunk.labels(), f64::from(trunk.calls_max))?;
        }
        let help = "Calls refused because the trunk had no slot left";
        let mut refused = counter(encoder, "edge_trunk_calls_refused", help)?;
        for trunk in &self.trunks {
            count_one(&mut refused, trunk.labels(), trunk.refused)?;
        }
        Ok(())
    }

    fn calls(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut ended =
            counter(encoder, "edge_calls_ended", "Calls that are over or were refused, by cause")?;
        for (name, account) in &self.accounts {
            for (cause, count) in &account.calls.by_cause {
                count_one(&mut ended, [("account", name.as_str()), ("cause", cause.as_str())], *count)?;
            }
        }
        let counts: [(&str, &str, Count); 3] = [
            ("edge_calls_answered", "Ended calls that had been answered", |it| it.answered),
            ("edge_calls_short", "Ended calls that had been answered for less than six seconds", |it| {
                it.short
            }),
            ("edge_calls_rung", "Ended calls that had rung or been answered", |it| it.rung),
        ];
        for (metric, help, of) in counts {
            let mut family = counter(encoder, metric, help)?;
            for (name, account) in &self.accounts {
                count_if_any(&mut family, [("account", name.as_str())], of(&account.calls))?;
            }
        }
        let times: [(&str, &str, Time); 2] = [
            ("edge_calls_talk_seconds", "Time from answer to end of ended calls", |it| it.talk),
            ("edge_calls_dial_delay_seconds", "Time from INVITE to ringing of ended calls", |it| {
                it.dial_delay
            }),
        ];
        for (metric, help, of) in times {
            let mut family = counter(encoder, metric, help)?;
            for (name, account) in &self.accounts {
                let seconds = of(&account.calls).as_secs_f64();
                if seconds > 0.0 {
                    let labels = escaped([("account", name.as_str())]);
                    ConstCounter::new(seconds).encode(family.encode_family(&labels)?)?;
                }
            }
        }
        let lost = counter(encoder, "edge_call_records_lost", "Call records that were lost")?;
        ConstCounter::new(self.records_lost).encode(lost)
    }

    fn alerts(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut opened = counter(encoder, "edge_alerts", "Alerts opened since the start")?;
        for ((rule, severity), count) in &self.alerts_opened {
            count_one(&mut opened, [("rule", rule.as_str()), ("severity", severity.name())], *count)?;
        }
        let mut open = gauge(encoder, "edge_alerts_open", "Alerts open now")?;
        for (rule, count) in &self.alerts_open {
            set(&mut open, [("rule", rule.as_str())], float(*count))?;
        }
        let mut deliveries =
            counter(encoder, "edge_webhook_deliveries", "Webhook deliveries since the start")?;
        for (outcome, count) in &self.deliveries {
            count_one(&mut deliveries, [("outcome", *outcome)], *count)?;
        }
        single(
            encoder,
            "edge_outbox_pending",
            "Deliveries that wait in the outbox",
            float(self.outbox_pending),
        )
    }

    fn daemon(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut modes = gauge(encoder, "edge_xdp_mode", "1 for the mode that an interface really has")?;
        for (interface, mode) in &self.xdp_modes {
            set(&mut modes, [("interface", interface.as_str()), ("mode", *mode)], 1.0)?;
        }
        let mut entries = gauge(encoder, "edge_map_entries", "Entries of the kernel's tables")?;
        for (map, count, _) in &self.maps {
            if let Some(count) = count {
                set(&mut entries, [("map", map.as_str())], float(*count))?;
            }
        }
        let mut capacity = gauge(encoder, "edge_map_capacity", "Room of the kernel's tables, in entries")?;
        for (map, _, room) in &self.maps {
            set(&mut capacity, [("map", map.as_str())], float(*room))?;
        }
        let lost = counter(encoder, "edge_events_lost", "Events that the ring buffer had no room for")?;
        ConstCounter::new(self.events_lost).encode(lost)?;
        let mut reloads = counter(encoder, "edge_config_reloads", "Reloads since the start")?;
        for (result, count) in ["applied", "refused"].into_iter().zip(self.reloads) {
            count_one(&mut reloads, [("result", result)], count)?;
        }
        let mut build = gauge(encoder, "edge_build_info", "Always 1; what runs")?;
        let abi = ABI_VERSION.to_string();
        set(&mut build, [("version", env!("CARGO_PKG_VERSION")), ("abi", abi.as_str())], 1.0)?;
        let is_up = if self.store_is_up { 1.0 } else { 0.0 };
        single(encoder, "edge_store_up", "1 while the database answers", is_up)
    }
}

impl TrunkMeasures {
    fn labels(&self) -> [(&'static str, &str); 2] {
        [("account", self.account.as_str()), ("trunk", self.trunk.as_str())]
    }
}

fn counter<'a>(
    encoder: &'a mut DescriptorEncoder<'_>,
    name: &'a str,
    help: &str,
) -> Result<MetricEncoder<'a>, fmt::Error> {
    encoder.encode_descriptor(name, help, None, MetricType::Counter)
}

fn gauge<'a>(
    encoder: &'a mut DescriptorEncoder<'_>,
    name: &'a str,
    help: &str,
) -> Result<MetricEncoder<'a>, fmt::Error> {
    encoder.encode_descriptor(name, help, None, MetricType::Gauge)
}

fn count_one<const N: usize>(
    family: &mut MetricEncoder<'_>,
    labels: [(&'static str, &str); N],
    count: u64,
) -> Result<(), fmt::Error> {
    ConstCounter::new(count).encode(family.encode_family(&escaped(labels))?)
}

/// An account has hundreds of counters and uses a handful: those that never counted are left out.
fn count_if_any<const N: usize>(
    family: &mut MetricEncoder<'_>,
    labels: [(&'static str, &str); N],
    count: u64,
) -> Result<(), fmt::Error> {
    if count == 0 { Ok(()) } else { count_one(family, labels, count) }
}

fn set<const N: usize>(
    family: &mut MetricEncoder<'_>,
    labels: [(&'static str, &str); N],
    value: f64,
) -> Result<(), fmt::Error> {
    ConstGauge::new(value).encode(family.encode_family(&escaped(labels))?)
}

/// As `OpenMetrics` 1.0 asks ("escaped-string"); the encoder writes label values as they are.
fn escaped<'a, const N: usize>(labels: [(&'static str, &'a str); N]) -> [(&'static str, Cow<'a, str>); N] {
    labels.map(|(name, value)| {
        let is_plain = !value.contains(['\\', '"', '\n']);
        let value = if is_plain {
            Cow::Borrowed(value)
        } else {
            Cow::Owned(value.replace('\\', r"\\").replace('"', r#"\""#).replace('\n', r"\n"))
        };
        (name, value)
    })
}

fn single(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: f64) -> Result<(), fmt::Error> {
    ConstGauge::new(value).encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)
}

fn per_sec(limit: Limit) -> Option<f64> {
    Rate::from_limit(limit).per_sec()
}

#[expect(clippy::cast_precision_loss, reason = "gauges are floats in Prometheus")]
const fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
#[path = "metrics_tests.rs"]
mod tests;
