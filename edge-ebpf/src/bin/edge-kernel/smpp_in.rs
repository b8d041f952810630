//! The client's segments of SMPP: from the source to the verdict.

use aya_ebpf::bindings::xdp_action;
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;
use edge_ebpf::abi::{IngressStage, Outcome, Service, SourceState};
use edge_ebpf::decide;
use edge_ebpf::stream::Flow;

use crate::accounts::Party;
use crate::ingress::{count, go_on, perform};
use crate::world::Kernel;
use crate::{connection, maps, segment, smpp, tcp};

/// Judges a segment of SMPP.
#[xdp(frags)]
#[inline(always)]
pub(crate) fn edge_smpp(ctx: XdpContext) -> u32 {
    let Some(scratch) = maps::SMPP_SCRATCH.get_ptr_mut(0) else { return count(Outcome::Unjudged) };
    let mut source = core::ptr::null_mut();
    let flow = open(&ctx, scratch, &mut source);
    if flow.is_null() {
        // SAFETY: this CPU's own value.
        return perform(&ctx, unsafe { (*scratch).handover.action });
    }
    let action = count(settle(&ctx, scratch, source, flow));
    if action == xdp_action::XDP_PASS && has_excerpts(scratch) {
        // Without the stage there are no records.
        go_on::<{ IngressStage::NoteMessages as u32 }>(&ctx);
    }
    action
}

/// Whether messages of the segment at hand leave a record.
#[inline(always)]
fn has_excerpts(scratch: *const segment::Scratch) -> bool {
    // SAFETY: this CPU's own value.
    let (reads, excerpts) = unsafe { ((*scratch).prices.reads, &(*scratch).excerpts) };
    reads != 0 && excerpts.used | excerpts.missed != 0
}

/// Finds the segment's source, which goes to `entered`, and its connection. Null: the journey has ended; else the connection,
/// locked.
#[inline(never)]
fn open(ctx: &XdpContext, scratch: *mut segment::Scratch, entered: &mut *mut SourceState) -> *mut Flow {
    let source = tcp::enter(ctx, scratch, Service::SmppTcp);
    if source.is_null() {
        return core::ptr::null_mut();
    }
    *entered = source;
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

/// Frames the segment on trial, judges it, and does what comes of that. In the program itself and not within [`open`], because
/// the loops below need what the stack has.
#[inline(always)]
fn settle(
    ctx: &XdpContext,
    scratch: *mut segment::Scratch,
    source: *mut SourceState,
    flow: *mut Flow,
) -> Outcome {
    // SAFETY: this CPU's own value.
    let handover = unsafe { &(*scratch).handover };
    let (Some(ports), Some(settings), Some(party)) =
        (maps::PORTS.get(0), maps::SETTINGS.get(0), Party::numbered(source, handover.number))
    else {
        connection::unlock(flow);
        return Outcome::Unjudged;
    };
    let mut world = Kernel::new(ctx, settings, ports);
    world.resume(party, handover.source);
    world.frame_segment(scratch, flow, handover.judging, handover.now_ns);
    // SAFETY: as above.
    let framed = unsafe { smpp::framed(&*scratch) };
    let outcome = decide::settle_segment(&mut world, handover.origin, framed, handover.now_ns);
    world.close_segment();
    outcome
}
