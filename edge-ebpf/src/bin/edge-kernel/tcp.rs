//! Where the ways of SMPP and of SIP over TCP begin.

use aya_ebpf::programs::XdpContext;
use edge_ebpf::abi::{Outcome, Service, SourceState, StandingKind};
use edge_ebpf::decide::{self, Connecting, Origin};

use crate::accounts::Party;
use crate::ingress::count;
use crate::world::Kernel;
use crate::{maps, segment};

/// What the first part of a segment's journey hands to the second. They are functions side by side and not one within the other,
/// because the stack has no room for both; pointers cannot go this way, and are handed over beside it.
#[derive(Clone, Copy)]
pub(crate) struct Handover {
    /// What the program returns, where the journey has ended.
    pub(crate) action: u32,
    /// The account under which the segment is judged.
    pub(crate) number: u32,
    /// How its messages are judged, where each is judged by itself: bits of [`edge_ebpf::native::judging`].
    pub(crate) judging: u32,
    pub(crate) origin: Origin,
    pub(crate) source: [u64; 2],
    pub(crate) now_ns: u64,
}

/// Finds the segment's source. Null: the journey has ended, and the handover has what is returned.
#[inline(always)]
pub(crate) fn enter(ctx: &XdpContext, scratch: *mut segment::Scratch, service: Service) -> *mut SourceState {
    let (Some(ports), Some(settings), Some(headers)) =
        (maps::PORTS.get(0), maps::SETTINGS.get(0), maps::HEADERS.get_ptr(0))
    else {
        return end(scratch, Outcome::Unjudged);
    };
    let mut world = Kernel::new(ctx, settings, ports);
    // SAFETY: this CPU's own value, which the program before has filled.
    match decide::enter(&mut world, unsafe { &*headers }, service) {
        Ok((origin, now_ns)) => {
            let Some((source, address)) = world.entered() else { return end(scratch, Outcome::Unjudged) };
            // SAFETY: this CPU's own value.
            let handover = unsafe { &mut (*scratch).handover };
            handover.origin = origin;
            handover.source = address;
            handover.now_ns = now_ns;
            source
        }
        Err(outcome) => end(scratch, outcome),
    }
}

/// The journey has ended.
#[inline(always)]
pub(crate) fn end<T>(scratch: *mut segment::Scratch, outcome: Outcome) -> *mut T {
    // SAFETY: this CPU's own value.
    unsafe { (*scratch).handover.action = count(outcome) };
    core::ptr::null_mut()
}

/// [`decide::judge_connection`] by a call.
#[inline(always)]
pub(crate) fn judge_connection(
    source: *mut SourceState,
    origin: Origin,
    service: Service,
    segment: Connecting,
    now_ns: u64,
) -> Option<Outcome> {
    let Origin { standing, observe, flags } = origin;
    let packed = u64::from(flags) << 32 | u64::from(observe) << 8 | standing as u64;
    let segment = u64::from(segment.bits) << 8 | service.index() as u64;
    let outcome = edge_judge_connection(source, packed, segment, now_ns);
    // Of no packet that begins a connection this is the outcome.
    if outcome == Outcome::Unjudged as u64 { None } else { Outcome::from_index(outcome as usize) }
}

/// A global function: the verifier proves it once for all services.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn edge_judge_connection(source: *mut SourceState, origin: u64, segment: u64, now_ns: u64) -> u64 {
    const GOES_ON: u64 = Outcome::Unjudged as u64;
    let (Some(ports), Some(settings), Some(service), Some(standing)) = (
        maps::PORTS.get(0),
        maps::SETTINGS.get(0),
        Service::from_index(segment as usize & 0xff),
        StandingKind::from_index(origin as usize & 0xff),
    ) else {
        return GOES_ON;
    };
    if source.is_null() {
        return GOES_ON;
    }
    let Some(party) = Party::of(source) else { return GOES_ON };
    // It looks at no packet.
    let ctx = XdpContext::new(core::ptr::null_mut());
    let mut world = Kernel::sparing_stack(&ctx, settings, ports);
    world.resume(party, [0, 0]);
    let origin = Origin { standing, observe: origin >> 8 & 1 != 0, flags: (origin >> 32) as u32 };
    let segment = Connecting { bits: (segment >> 8) as u32 };
    decide::judge_connection(&mut world, origin, service, segment, now_ns)
        .map_or(GOES_ON, |outcome| outcome as u64)
}
