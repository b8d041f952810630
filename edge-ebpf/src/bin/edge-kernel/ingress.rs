//! Ingress: from the frame to its verdict.

use aya_ebpf::bindings::xdp_action;
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;
use edge_ebpf::abi::{Outcome, Verdict};
use edge_ebpf::decide;
use edge_ebpf::wire::{self, Headers};

use crate::world::{self, Kernel};
use crate::xdp_packet::XdpPacket;
use crate::{counters, maps};

/// Meters what comes in.
#[xdp(frags)]
pub(crate) fn edge_ingress(ctx: XdpContext) -> u32 {
    verdict(&ctx)
}

/// Judges a packet and counts its outcome.
#[inline(always)]
pub(crate) fn verdict(ctx: &XdpContext) -> u32 {
    let outcome = judge(ctx);
    counters::outcome(outcome);
    match outcome.verdict() {
        Verdict::Pass => xdp_action::XDP_PASS,
        Verdict::Drop => xdp_action::XDP_DROP,
        Verdict::Answer => xdp_action::XDP_TX,
    }
}

#[inline(always)]
fn judge(ctx: &XdpContext) -> Outcome {
    // No map can lack its entry: arrays have them all. Without them nothing is ours.
    let Some(ports) = maps::PORTS.get(0) else { return Outcome::Unjudged };
    if decide::is_foreign(&XdpPacket(ctx), |port| world::services(ports, port)) {
        return Outcome::NotOurs;
    }
    let (Some(settings), Some(headers)) = (maps::SETTINGS.get(0), maps::HEADERS.get_ptr_mut(0)) else {
        return Outcome::Unjudged;
    };
    // SAFETY: this CPU's own value; XDP does not run twice at once on a CPU.
    let headers = unsafe { &mut *headers };
    let parsed = wire::parse(&XdpPacket(ctx), headers);
    decide::judge(&mut Kernel::new(ctx, settings, ports), parsed, reread(headers))
}

/// The same reference, of which the optimiser must assume that all it points to has changed: what follows
/// reads the map value, and not the registers that hold what was written there.
#[inline(always)]
pub(crate) fn reread(headers: &Headers) -> &Headers {
    let mut pointer = core::ptr::from_ref(headers);
    // SAFETY: one register move onto itself.
    unsafe { core::arch::asm!("{0} = {0}", inout(reg) pointer, options(nostack)) };
    // SAFETY: the reference that came in.
    unsafe { &*pointer }
}
