//! Where the ways of SMPP and of SIP over TCP begin.

use aya_ebpf::programs::XdpContext;
use edge_ebpf::abi::{Outcome, Service, SourceState};
use edge_ebpf::decide::{self, Origin};

use crate::ingress::count;
use crate::world::Kernel;
use crate::{maps, segment};

/// What each part of a segment's journey hands to the next. They are functions side by side and not one within the other,
/// because the stack has no room for all; pointers cannot go this way, and are returned.
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
#[inline(never)]
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
