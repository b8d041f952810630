//! Ingress: from the frame to its verdict.

use aya_ebpf::bindings::{xdp_action, xdp_md};
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;
use edge_ebpf::abi::{IngressStage, Outcome, Ports, Service, SourceState, Verdict};
use edge_ebpf::decide::{self, Course, Origin};
use edge_ebpf::stream::Flow;
use edge_ebpf::wire::{self, Headers};

use crate::accounts::Party;
use crate::world::{self, Kernel};
use crate::xdp_packet::XdpPacket;
use crate::{counters, maps, reset, segment, smpp};

/// Meters what comes in.
#[xdp(frags)]
#[inline(always)]
pub(crate) fn edge_ingress(ctx: XdpContext) -> u32 {
    verdict(&ctx)
}

/// Judges a packet and counts its outcome.
#[inline(always)]
pub(crate) fn verdict(ctx: &XdpContext) -> u32 {
    // No map can lack its entry: arrays have them all. Without them nothing is ours.
    let Some(ports) = maps::PORTS.get(0) else { return count(Outcome::Unjudged) };
    if decide::is_foreign(&XdpPacket(ctx), |port| world::services(ports, port)) {
        return count(Outcome::NotOurs);
    }
    let source = judge(ctx, ports);
    let Some(scratch) = maps::SMPP_SCRATCH.get_ptr_mut(0) else { return xdp_action::XDP_PASS };
    if !source.is_null() {
        // SAFETY: this CPU's own value.
        if unsafe { (*scratch).handover.is_stream } != 0 {
            // SAFETY: nothing is left to be done here; it comes back only where the stage is missing.
            unsafe { maps::INGRESS_STAGES.tail_call(ctx, IngressStage::SipStream as u32) };
            return count(Outcome::Unjudged);
        }
        let flow = open(ctx, source, scratch);
        if !flow.is_null() {
            frame(ctx, source, flow, scratch);
            let action = edge_settle_segment(ctx.ctx, source, flow) as u32;
            if action == xdp_action::XDP_PASS && has_excerpts(scratch) {
                // SAFETY: as above; without the stage there are no records.
                unsafe { maps::INGRESS_STAGES.tail_call(ctx, IngressStage::NoteMessages as u32) };
            }
            return action;
        }
    }
    // SAFETY: this CPU's own value.
    perform(ctx, unsafe { (*scratch).handover.action })
}

/// What the program returns; a reset is made here, where there is room on the stack.
#[inline(always)]
pub(crate) fn perform(ctx: &XdpContext, action: u32) -> u32 {
    if action == RESET { reset::edge_reset(ctx.ctx) as u32 } else { action }
}

/// Whether messages of the segment at hand leave a record.
#[inline(always)]
fn has_excerpts(scratch: *const segment::Scratch) -> bool {
    // SAFETY: this CPU's own value.
    let (reads, excerpts) = unsafe { ((*scratch).prices.reads, &(*scratch).excerpts) };
    reads != 0 && excerpts.used | excerpts.missed != 0
}

/// What a part of the journey says instead of an action, where the packet is to become a reset.
const RESET: u32 = u32::MAX;

/// What each part of a packet's journey hands to the next. They are functions side by side and not one within the other,
/// because the stack has no room for all; pointers cannot go this way, and are returned.
#[derive(Clone, Copy)]
pub(crate) struct Handover {
    /// What the program returns, where the journey has ended.
    action: u32,
    /// The account under which the segment is judged.
    pub(crate) number: u32,
    /// Not 0 if it is of SIP.
    is_stream: u32,
    /// How its messages are judged, where each is judged by itself: bits of [`edge_ebpf::native::judging`].
    judging: u32,
    pub(crate) origin: Origin,
    pub(crate) source: [u64; 2],
    pub(crate) now_ns: u64,
}

/// Judges what needs no connection. Null: the packet's journey has ended, and the handover has what is returned; else
/// the source of a segment.
#[inline(never)]
fn judge(ctx: &XdpContext, ports: &'static Ports) -> *mut SourceState {
    let Some(scratch) = maps::SMPP_SCRATCH.get_ptr_mut(0) else { return core::ptr::null_mut() };
    let (Some(settings), Some(headers)) = (maps::SETTINGS.get(0), maps::HEADERS.get_ptr_mut(0)) else {
        return end(scratch, Outcome::Unjudged);
    };
    // SAFETY: this CPU's own value; XDP does not run twice at once on a CPU.
    let headers = unsafe { &mut *headers };
    let parsed = wire::parse(&XdpPacket(ctx), headers);
    let mut world = Kernel::new(ctx, settings, ports);
    match decide::judge(&mut world, parsed, reread(headers)) {
        Course::Ends(outcome) => end(scratch, outcome),
        Course::Segment(origin, service, now_ns) => {
            let Some((source, address)) = world.entered() else { return end(scratch, Outcome::Unjudged) };
            // SAFETY: as above.
            let handover = unsafe { &mut (*scratch).handover };
            handover.is_stream = u32::from(matches!(service, Service::SipTcp));
            handover.origin = origin;
            handover.source = address;
            handover.now_ns = now_ns;
            source
        }
    }
}

/// The journey has ended.
#[inline(always)]
fn end<T>(scratch: *mut segment::Scratch, outcome: Outcome) -> *mut T {
    // SAFETY: this CPU's own value.
    unsafe { (*scratch).handover.action = count(outcome) };
    core::ptr::null_mut()
}

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

/// Finds the segment's connection. Null: the journey has ended; else the connection, locked.
#[inline(never)]
fn open(ctx: &XdpContext, source: *mut SourceState, scratch: *mut segment::Scratch) -> *mut Flow {
    let (Some(ports), Some(settings), Some(headers), Some(party)) =
        (maps::PORTS.get(0), maps::SETTINGS.get(0), maps::HEADERS.get_ptr(0), Party::of(source))
    else {
        return end(scratch, Outcome::Unjudged);
    };
    // SAFETY: this CPU's own values.
    let (headers, handover) = unsafe { (&*headers, &(*scratch).handover) };
    let now_ns = handover.now_ns;
    let mut world = Kernel::new(ctx, settings, ports);
    world.resume(party, handover.source);
    match decide::open_segment(&mut world, handover.origin, headers, now_ns) {
        Ok((origin, judging)) => {
            // SAFETY: as above.
            let handover = unsafe { &mut (*scratch).handover };
            handover.origin = origin;
            handover.judging = judging;
            handover.number = world.number();
            world.flow()
        }
        Err(outcome) => end(scratch, outcome),
    }
}

/// Frames the segment on trial. Beside [`open`] and not within it, because the loops below need what the stack has.
#[inline(never)]
fn frame(ctx: &XdpContext, source: *mut SourceState, flow: *mut Flow, scratch: *mut segment::Scratch) {
    let Some(settings) = maps::SETTINGS.get(0) else { return };
    // SAFETY: this CPU's own value.
    let handover = unsafe { &(*scratch).handover };
    if let Some(party) = Party::numbered(source, handover.number) {
        smpp::Segment::opened(ctx.ctx, scratch, flow).frame(
            &party,
            handover.judging,
            settings,
            handover.now_ns,
        );
    }
}

/// Judges a segment that was framed, counts its outcome and returns what the program does. A global function: the verifier
/// proves it once.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn edge_settle_segment(ctx: *mut xdp_md, source: *mut SourceState, flow: *mut Flow) -> u64 {
    const UNJUDGED: u64 = xdp_action::XDP_PASS as u64;
    let (Some(ports), Some(settings), Some(scratch)) =
        (maps::PORTS.get(0), maps::SETTINGS.get(0), maps::SMPP_SCRATCH.get_ptr_mut(0))
    else {
        return UNJUDGED;
    };
    if source.is_null() || flow.is_null() {
        return UNJUDGED;
    }
    // SAFETY: this CPU's own values.
    let (handover, framed) = unsafe { (&(*scratch).handover, smpp::framed(&*scratch)) };
    let ctx = XdpContext::new(ctx);
    let Some(party) = Party::numbered(source, handover.number) else { return UNJUDGED };
    let mut world = Kernel::new(&ctx, settings, ports);
    world.resume(party, handover.source);
    world.resume_segment(scratch, flow);
    let outcome = decide::settle_segment(&mut world, handover.origin, framed, handover.now_ns);
    u64::from(count(outcome))
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
