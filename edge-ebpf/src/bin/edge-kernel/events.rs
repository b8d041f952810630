//! Rare facts for the daemon, through the ring buffer; what finds no room is counted.

use edge_ebpf::abi::{Event, EventKind};

use crate::maps;

/// Sends one event.
#[inline(always)]
pub(crate) fn send(kind: EventKind, account: u32, source: [u64; 2], detail: u64, value: u64, at_ns: u64) {
    put(u64::from(kind as u32) << 32 | u64::from(account), &source, detail, value, at_ns);
}

/// A function of its own, because the stack of the program that calls it is full; with kind and account in one
/// word, because it takes five arguments at most.
#[inline(never)]
fn put(kind_and_account: u64, source: &[u64; 2], detail: u64, value: u64, at_ns: u64) {
    let (kind, account) = ((kind_and_account >> 32) as u32, kind_and_account as u32);
    let event = Event { at_ns, kind, account, source: zerocopy::transmute!(*source), detail, value };
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
