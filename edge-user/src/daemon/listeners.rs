//! SMPP ports: whether their refusals are answered.

use edge_ebpf::abi::RefusalMode;

use super::clock;
use super::state::{Daemon, State};
use crate::api::types::ListenerStatus;
use crate::dataplane::ListenerUse;

impl Daemon {
    /// Every SMPP port; none where the map cannot be read, which is told elsewhere.
    pub(super) fn listeners(&self, state: &State) -> Vec<ListenerUse> {
        self.listeners.read(&state.config.ports.smpp_tcp).unwrap_or_else(|error| {
            tracing::error!(%error, "how refusals go cannot be read");
            Vec::new()
        })
    }

    /// As `GET /v1/status` shows them.
    pub(super) fn listener_status(&self, state: &State) -> Vec<ListenerStatus> {
        let clocks = clock::clocks();
        let is_native = state.config.smpp.refusal == RefusalMode::Native;
        let shown = |it: &ListenerUse| ListenerStatus {
            port: it.port,
            refusal: state.config.smpp.refusal.name().to_owned(),
            refused: it.counts.refused,
            answered: it.counts.answered,
            unmatched: it.counts.unmatched,
            waiting: waiting(it),
            fallen_back_at: it.fallen_back_ns.filter(|_| is_native).map(|ns| clocks.wall_at(ns)),
        };
        self.listeners(state).iter().map(shown).collect()
    }

    /// Ports that should answer refusals and drop, with the refusals that nobody has answered.
    pub(super) fn fallen_back(&self, state: &State) -> Vec<(u16, u64)> {
        if state.config.smpp.refusal != RefusalMode::Native {
            return Vec::new();
        }
        let fallen = self.listeners(state).into_iter().filter(|it| it.fallen_back_ns.is_some());
        fallen.map(|it| (it.port, waiting(&it))).collect()
    }
}

/// Refusals without an answer. The kernel's count may pass below zero for a moment.
pub(super) fn waiting(listener: &ListenerUse) -> u64 {
    u64::try_from(listener.counts.waiting.cast_signed()).unwrap_or(0)
}
