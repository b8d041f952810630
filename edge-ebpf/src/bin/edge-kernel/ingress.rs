//! Ingress: from the frame to its verdict.

use aya_ebpf::bindings::xdp_action;
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;
use edge_ebpf::abi::{IngressStage, Outcome, Service, Verdict};
use edge_ebpf::decide::{self, Route};
use edge_ebpf::wire::{self, Headers};

use crate::world::{self, Kernel};
use crate::xdp_packet::XdpPacket;
use crate::{counters, maps, reset};

/// Meters what comes in: finds the way of a packet, which then goes on in a program of its own.
#[xdp(frags)]
#[inline(always)]
pub(crate) fn edge_ingress(ctx: XdpContext) -> u32 {
    verdict(&ctx)
}

/// Routes a packet. It comes back only with those whose journey ends here.
#[inline(always)]
pub(crate) fn verdict(ctx: &XdpContext) -> u32 {
    // No map can lack its entry: arrays have them all. Without them nothing is ours.
    let Some(ports) = maps::PORTS.get(0) else { return count(Outcome::Unjudged) };
    let services = |port| world::services(ports, port);
    if decide::is_foreign(&XdpPacket(ctx), services) {
        return count(Outcome::NotOurs);
    }
    let Some(headers) = maps::HEADERS.get_ptr_mut(0) else { return count(Outcome::Unjudged) };
    // SAFETY: this CPU's own value; XDP does not run twice at once on a CPU.
    let headers = unsafe { &mut *headers };
    let parsed = wire::parse(&XdpPacket(ctx), headers);
    match decide::route(parsed, reread(headers), services) {
        Route::Ends(outcome) => return count(outcome),
        Route::Service(Service::SipUdp) => go_on::<{ IngressStage::Sip as u32 }>(ctx),
        Route::Service(Service::SipTcp) => go_on::<{ IngressStage::SipStream as u32 }>(ctx),
        Route::Service(Service::SmppTcp) => go_on::<{ IngressStage::Smpp as u32 }>(ctx),
        Route::Service(Service::SipTls | Service::SmppTls) | Route::Portless => {
            go_on::<{ IngressStage::Unread as u32 }>(ctx);
        }
    }
    count(Outcome::Unjudged)
}

/// Goes on in another program; back only where that is missing.
#[inline(always)]
pub(crate) fn go_on<const STAGE: u32>(ctx: &XdpContext) {
    // SAFETY: nothing is left to be done here.
    unsafe { maps::INGRESS_STAGES.tail_call(ctx, STAGE) };
    // SAFETY: writes a register that the call has used up. It differs from stage to stage, so that LLVM does not make one
    // call of several, with a stage that varies: the kernel makes a jump of a tail call only where the verifier knows where
    // it leads.
    unsafe { core::arch::asm!("r0 = {0}", const STAGE, out("r0") _, options(nomem, nostack)) };
}

/// Judges what is not read: segments of TLS, and packets without ports.
#[xdp(frags)]
pub(crate) fn edge_unread(ctx: XdpContext) -> u32 {
    let (Some(ports), Some(settings), Some(headers)) =
        (maps::PORTS.get(0), maps::SETTINGS.get(0), maps::HEADERS.get_ptr(0))
    else {
        return count(Outcome::Unjudged);
    };
    // SAFETY: this CPU's own value, which the program before has filled.
    let headers = unsafe { &*headers };
    let mut world = Kernel::new(&ctx, settings, ports);
    let route = decide::route(Ok(()), headers, |port| world::services(ports, port));
    let outcome = match route {
        Route::Ends(outcome) => outcome,
        Route::Portless => decide::judge_portless(&mut world, headers),
        Route::Service(service) => match decide::enter(&mut world, headers, service) {
            Ok((origin, now_ns)) => decide::judge_tls(&mut world, origin, headers, now_ns),
            Err(outcome) => outcome,
        },
    };
    perform(&ctx, count(outcome))
}

/// What the program returns; a reset is made here, where there is room on the stack.
#[inline(always)]
pub(crate) fn perform(ctx: &XdpContext, action: u32) -> u32 {
    if action == RESET { reset::edge_reset(ctx.ctx) as u32 } else { action }
}

/// What a part of the journey says instead of an action, where the packet is to become a reset.
const RESET: u32 = u32::MAX;

#[inline(always)]
pub(crate) fn count(outcome: Outcome) -> u32 {
    counters::outcome(outcome);
    match outcome.verdict() {
        Verdict::Pass => xdp_action::XDP_PASS,
        Verdict::Drop => xdp_action::XDP_DROP,
        Verdict::Answer => xdp_action::XDP_TX,
        Verdict::Reset => RESET,
    }
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
