//! Rare facts for the daemon, through the ring buffer; what finds no room is counted.

use edge_ebpf::abi::{Event, EventKind};

use crate::maps;

/// Sends one event.
#[inline(always)]
pub(crate) fn send(kind: EventKind, account: u32, source: [u64; 2], detail: u64, value: u64, at_ns: u64) {
    let event =
        Event { at_ns, kind: kind as u32, account, source: zerocopy::transmute!(source), detail, value };
    let Some(mut entry) = maps::EVENTS.reserve::<Event>(0) else {
        if let Some(lost) = maps::EVENTS_LOST.get_ptr_mut(0) {
            // SAFETY: this CPU's own value.
            unsafe { *lost += 1 };
        }
        return;
    };
    entry.write(event);
    entry.submit(0);
}
