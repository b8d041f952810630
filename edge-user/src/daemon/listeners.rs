//! Ports that refuse in their protocol's own words: whether their refusals are answered.

use edge_ebpf::abi::{RefusalMode, refusal_of};

use super::clock;
use super::state::{Daemon, State};
use crate::api::types::ListenerStatus;
use crate::dataplane::ListenerUse;

/// One port, with what is configured for it.
pub(super) struct Listener {
    /// `smpp` or `sip`.
    pub(super) protocol: &'static str,
    pub(super) refusal: RefusalMode,
    pub(super) used: ListenerUse,
}

impl Listener {
    /// Whether it drops what it should answer.
    pub(super) fn has_fallen_back(&self) -> bool {
        self.refusal == RefusalMode::Native && self.used.fallen_back_ns.is_some()
    }
}

impl Daemon {
    /// Every SMPP port, and those of SIP over TCP that refuse natively; none where the map cannot be read, which is told
    /// elsewhere.
    pub(super) fn listeners(&self, state: &State) -> Vec<Listener> {
        let ports = &state.config.ports;
        let of_sip = refusal_of(ports.sip_refusal).0;
        let sip_tcp = if of_sip == RefusalMode::Native { &ports.sip_tcp[..] } else { &[] };
        let mut listeners = Vec::new();
        for (protocol, refusal, ports) in
            [("smpp", state.config.smpp.refusal, &ports.smpp_tcp[..]), ("sip", of_sip, sip_tcp)]
        {
            let read = self.listeners.read(ports).unwrap_or_else(|error| {
                tracing::error!(%error, "how refusals go cannot be read");
                Vec::new()
            });
            listeners.extend(read.into_iter().map(|used| Listener { protocol, refusal, used }));
        }
        listeners
    }

    /// As `GET /v1/status` shows them.
    pub(super) fn listener_status(&self, state: &State) -> Vec<ListenerStatus> {
        let clocks = clock::clocks();
        let shown = |it: &Listener| ListenerStatus {
            port: it.used.port,
            protocol: it.protocol.to_owned(),
            refusal: it.refusal.name().to_owned(),
            refused: it.used.counts.refused,
            answered: it.used.counts.answered,
            unmatched: it.used.counts.unmatched,
            waiting: waiting(&it.used),
            fallen_back_at: it
                .used
                .fallen_back_ns
                .filter(|_| it.has_fallen_back())
                .map(|ns| clocks.wall_at(ns)),
        };
        self.listeners(state).iter().map(shown).collect()
    }

    /// Ports that should answer refusals and drop, with the refusals that nobody has answered.
    pub(super) fn fallen_back(&self, state: &State) -> Vec<(u16, u64)> {
        let fallen = self.listeners(state).into_iter().filter(Listener::has_fallen_back);
        fallen.map(|it| (it.used.port, waiting(&it.used))).collect()
    }
}

/// Refusals without an answer. The kernel's count may pass below zero for a moment.
pub(super) fn waiting(listener: &ListenerUse) -> u64 {
    u64::try_from(listener.counts.waiting.cast_signed()).unwrap_or(0)
}
