//! The client's segments of SMPP: from the source to the verdict.

use aya_ebpf::bindings::{xdp_action, xdp_md};
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;
use edge_ebpf::abi::{IngressStage, Outcome, Service, SourceState};
use edge_ebpf::decide;
use edge_ebpf::native::Refusals;
use edge_ebpf::stream::Flow;

use crate::accounts::Party;
use crate::ingress::{count, go_on, perform};
use crate::world::Kernel;
use crate::{maps, segment, smpp, tcp};

/// Judges a segment of SMPP.
#[xdp(frags)]
#[inline(always)]
pub(crate) fn edge_smpp(ctx: XdpContext) -> u32 {
    let Some(scratch) = maps::SMPP_SCRATCH.get_ptr_mut(0) else { return count(Outcome::Unjudged) };
    let source = tcp::enter(&ctx, scratch, Service::SmppTcp);
    if !source.is_null() {
        let flow = open(&ctx, source, scratch);
        if !flow.is_null() {
            let refusals = frame(&ctx, source, flow, scratch);
            let action = edge_settle_segment(ctx.ctx, source, flow, refusals) as u32;
            if action == xdp_action::XDP_PASS && has_excerpts(scratch) {
                // Without the stage there are no records.
                go_on::<{ IngressStage::NoteMessages as u32 }>(&ctx);
            }
            return action;
        }
    }
    // SAFETY: this CPU's own value.
    perform(&ctx, unsafe { (*scratch).handover.action })
}

/// Whether messages of the segment at hand leave a record.
#[inline(always)]
fn has_excerpts(scratch: *const segment::Scratch) -> bool {
    // SAFETY: this CPU's own value.
    let (reads, excerpts) = unsafe { ((*scratch).prices.reads, &(*scratch).excerpts) };
    reads != 0 && excerpts.used | excerpts.missed != 0
}

/// Finds the segment's connection. Null: the journey has ended; else the connection, locked.
#[inline(never)]
fn open(ctx: &XdpContext, source: *mut SourceState, scratch: *mut segment::Scratch) -> *mut Flow {
    let (Some(ports), Some(settings), Some(headers), Some(party)) =
        (maps::PORTS.get(0), maps::SETTINGS.get(0), maps::HEADERS.get_ptr(0), Party::of(source))
    else {
        return tcp::end(scratch, Outcome::Unjudged);
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
        Err(outcome) => tcp::end(scratch, outcome),
    }
}

/// Frames the segment on trial; the connection's refusals, if it has any. Beside [`open`] and not within it, because the loops
/// below need what the stack has.
#[inline(never)]
fn frame(
    ctx: &XdpContext,
    source: *mut SourceState,
    flow: *mut Flow,
    scratch: *mut segment::Scratch,
) -> *mut Refusals {
    let Some(settings) = maps::SETTINGS.get(0) else { return core::ptr::null_mut() };
    // SAFETY: this CPU's own value.
    let handover = unsafe { &(*scratch).handover };
    let Some(party) = Party::numbered(source, handover.number) else { return core::ptr::null_mut() };
    let mut segment = smpp::Segment::opened(ctx.ctx, scratch, flow);
    segment.frame(&party, handover.judging, settings, handover.now_ns);
    segment.refusals
}

/// Judges a segment that was framed, counts its outcome and returns what the program does. A global function: the verifier
/// proves it once.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn edge_settle_segment(
    ctx: *mut xdp_md,
    source: *mut SourceState,
    flow: *mut Flow,
    refusals: *mut Refusals,
) -> u64 {
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
    world.resume_segment(scratch, flow, refusals);
    let outcome = decide::settle_segment(&mut world, handover.origin, framed, handover.now_ns);
    u64::from(count(outcome))
}
