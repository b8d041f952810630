//! Binds, and how refusals in SMPP's own words go.

use std::fmt;
use std::time::Duration;

use edge_ebpf::abi::{AccountCounters, BindCount, ReceiptKind, ResponseKind};
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;

use super::{Measures, count_if_any, count_one, counter, escaped, float, gauge, set};

/// One port, and how its refusals in its protocol's own words go.
#[derive(Clone, Copy, Debug)]
pub struct ListenerMeasures {
    /// TCP port.
    pub port: u16,
    /// What is spoken on it: `smpp` or `sip`.
    pub protocol: &'static str,
    /// Refused, answered, unmatched.
    pub refusals: [u64; 3],
    /// Refused and not answered yet.
    pub waiting: u64,
    /// Whether it drops what it should answer.
    pub has_fallen_back: bool,
}

impl Measures {
    pub(super) fn smpp(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut active = gauge(encoder, "edge_binds_active", "SMPP binds alive now")?;
        for (name, account) in &self.accounts {
            set(&mut active, [("account", name.as_str())], float(account.binds_active))?;
        }
        let binds = counter(encoder, "edge_binds", "SMPP binds by what became of them")?;
        self.by_kind(binds, "result", |counters| {
            BindCount::ALL.iter().map(|it| (it.name(), counters.binds[it.index()]))
        })?;
        let help = "The server's responses to SMPP messages, by kind of command_status";
        let responses = counter(encoder, "edge_smpp_responses", help)?;
        self.by_kind(responses, "status", |counters| {
            ResponseKind::ALL.iter().map(|it| (it.name(), counters.responses[it.index()]))
        })?;
        let help = "Delivery receipts of the server, by what they say of messages";
        let receipts = counter(encoder, "edge_smpp_receipts", help)?;
        self.by_kind(receipts, "state", |counters| {
            ReceiptKind::ALL.iter().map(|it| (it.name(), counters.receipts[it.index()]))
        })?;
        self.responses(encoder)?;
        let help = "SMPP messages that wait for their responses, over all binds";
        let mut outstanding = gauge(encoder, "edge_smpp_outstanding", help)?;
        for (name, account) in &self.accounts {
            set(&mut outstanding, [("account", name.as_str())], float(account.windows.sum))?;
        }
        let help = "SMPP messages that wait for their responses, on the bind that has most";
        let mut outstanding = gauge(encoder, "edge_smpp_outstanding_max", help)?;
        for (name, account) in &self.accounts {
            set(&mut outstanding, [("account", name.as_str())], float(account.windows.max))?;
        }
        let help = "Time that the last enquire_link took, on the bind where it took longest, by the side that answers";
        let mut link = gauge(encoder, "edge_smpp_enquire_link_seconds_max", help)?;
        for (name, account) in &self.accounts {
            let sides =
                [("server", account.windows.server_link_ns), ("client", account.windows.client_link_ns)];
            for (side, ns) in sides.into_iter().filter(|(_, ns)| *ns != 0) {
                let labels = [("account", name.as_str()), ("side", side)];
                set(&mut link, labels, Duration::from_nanos(ns).as_secs_f64())?;
            }
        }
        self.listeners(encoder, "smpp")?;
        self.listeners(encoder, "sip")
    }

    /// How refusals of a protocol's ports go.
    fn listeners(&self, encoder: &mut DescriptorEncoder<'_>, protocol: &str) -> Result<(), fmt::Error> {
        let listeners = self.listeners.iter().filter(|it| it.protocol == protocol);
        let ports = || listeners.clone().map(|it| (it.port.to_string(), it));
        if protocol != "smpp" && ports().next().is_none() {
            return Ok(());
        }
        let [refusals_name, waiting_name, fallen_name] =
            ["refusals", "refusals_waiting", "fallen_back"].map(|what| format!("edge_{protocol}_{what}"));
        let help = "Messages refused in the protocol's own words";
        let mut refusals = counter(encoder, &refusals_name, help)?;
        for (port, listener) in ports() {
            for (result, count) in ["refused", "answered", "unmatched"].into_iter().zip(listener.refusals) {
                count_one(&mut refusals, [("port", port.as_str()), ("result", result)], count)?;
            }
        }
        let mut waiting = gauge(encoder, &waiting_name, "Refusals not answered yet")?;
        for (port, listener) in ports() {
            set(&mut waiting, [("port", port.as_str())], float(listener.waiting))?;
        }
        let help = "1 while a port drops what it should answer";
        let mut fallen = gauge(encoder, &fallen_name, help)?;
        for (port, listener) in ports() {
            set(&mut fallen, [("port", port.as_str())], f64::from(u8::from(listener.has_fallen_back)))?;
        }
        Ok(())
    }

    /// One series for each account and kind of which there was any.
    fn by_kind<'a, K: Iterator<Item = (&'static str, u64)>>(
        &'a self,
        mut family: MetricEncoder<'_>,
        label: &'static str,
        kinds: impl Fn(&'a AccountCounters) -> K,
    ) -> Result<(), fmt::Error> {
        for (name, account) in &self.accounts {
            for (kind, count) in kinds(&account.counters) {
                count_if_any(&mut family, [("account", name.as_str()), (label, kind)], count)?;
            }
        }
        Ok(())
    }

    /// What records of messages tell.
    fn responses(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let help = "Time from an SMPP message to its server's response, of messages that left records";
        let mut family =
            encoder.encode_descriptor("edge_smpp_response_seconds", help, None, MetricType::Histogram)?;
        for (name, account) in self.accounts.iter().filter(|(_, account)| account.responses.count > 0) {
            let (sum, buckets) = account.responses.in_seconds();
            let labels = escaped([("account", name.as_str())]);
            let mut series = family.encode_family(&labels)?;
            series.encode_histogram::<NoLabelSet>(sum, account.responses.count, &buckets, None)?;
        }
        let lost = counter(encoder, "edge_message_records_lost", "Records of messages that were lost")?;
        ConstCounter::new(self.messages_lost).encode(lost)
    }
}
