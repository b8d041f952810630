//! Drives the SMPP framing's loops with `bpf_loop`, under the flow's lock.

use aya_ebpf::programs::XdpContext;
use edge_ebpf::abi::Settings;
use edge_ebpf::decide::Framed;
use edge_ebpf::wire::Headers;

use crate::accounts::Party;

/// The segment at hand.
pub(crate) struct Segment;

impl Segment {
    /// None yet.
    pub(crate) const NONE: Self = Self;

    #[inline(always)]
    pub(crate) fn frame(&mut self, _ctx: &XdpContext, _headers: &Headers, _settings: &Settings) -> Framed {
        Framed::Carried
    }

    #[inline(always)]
    pub(crate) fn keep(&mut self, _party: &Party, _settings: &Settings, _admitted: bool) {}

    #[inline(always)]
    pub(crate) fn forget(&mut self) {}
}
