//! Connections: their two names, their entries, their locks, and their end.

use aya_ebpf::bindings::BPF_NOEXIST;
use edge_ebpf::abi::{Command, FlowKey};
use edge_ebpf::stream::{Flow, Walk};
use edge_ebpf::wire::transport::flag;
use edge_ebpf::wire::{Headers, ip};

use crate::{atomic, maps};

/// Tries to lock a flow: about a microsecond. A connection comes over one queue, so the other CPU is one that
/// the sender's process just left; it needs less than that.
const LOCK_TRIES: usize = 128;

/// The two directions of a segment's connection.
#[inline(always)]
pub(crate) fn name(headers: &Headers, key: &mut FlowKey, reverse: &mut FlowKey) {
    let transport = &headers.transport;
    let (source, destination) = (&headers.ip.source, &headers.ip.destination);
    ip::copy(source, &mut key.source);
    ip::copy(destination, &mut key.destination);
    key.source_port = transport.source_port;
    key.destination_port = transport.destination_port;
    ip::copy(destination, &mut reverse.source);
    ip::copy(source, &mut reverse.destination);
    reverse.source_port = transport.destination_port;
    reverse.destination_port = transport.source_port;
}

/// Whether the client's session ends with this segment: the client confirms that it does, or closes.
#[inline(always)]
pub(crate) fn ends(walk: &Walk, flow: &Flow) -> bool {
    const UNBIND_RESP: u32 = 1 << Command::UnbindResp as u32;
    let closes = maps::HEADERS.get_ptr(0).is_some_and(|headers| {
        // SAFETY: this CPU's own value.
        unsafe { (*headers).transport.flags & flag::FIN != 0 }
    });
    let segment = walk.segment();
    let is_last = closes && flow.is_synchronised() && flow.main.end == segment.seq.wrapping_add(segment.len);
    is_last || walk.tally.commands_seen & UNBIND_RESP != 0
}

/// The flow's entry; one that is not known is made.
#[inline(always)]
pub(crate) fn find(key: &FlowKey) -> Option<*mut Flow> {
    if let Some(flow) = maps::FLOWS.get_ptr_mut(key) {
        return Some(flow);
    }
    let fresh = maps::FRESH_FLOW.get_ptr_mut(0)?;
    // SAFETY: this CPU's own value; all that is not written here is zero in it, always.
    let fresh = unsafe { &mut *fresh };
    fresh.begin_midstream();
    // It may be one that was forgotten: what is known of it elsewhere is looked for.
    fresh.bound = 1;
    fresh.refusing = 1;
    // Another CPU may have been first; then its entry is found below.
    let fresh: &Flow = fresh;
    let _ = maps::FLOWS.insert(key, fresh, u64::from(BPF_NOEXIST));
    maps::FLOWS.get_ptr_mut(key)
}

#[inline(always)]
pub(crate) fn lock(flow: *mut Flow) -> bool {
    // SAFETY: within the map value.
    take(unsafe { &raw mut (*flow).lock })
}

#[inline(always)]
pub(crate) fn unlock(flow: *mut Flow) {
    // SAFETY: within the map value.
    release(unsafe { &raw mut (*flow).lock });
}

/// Takes a lock. `false` if another CPU holds it.
#[inline(always)]
pub(crate) fn take(lock: *mut u64) -> bool {
    for _ in 0..LOCK_TRIES {
        if atomic::compare_exchange(lock, 0, 1).1 {
            return true;
        }
    }
    false
}

/// Gives it back.
#[inline(always)]
pub(crate) fn release(lock: *mut u64) {
    // With full ordering: what was written to the flow is seen by whoever locks it next.
    atomic::compare_exchange(lock, 1, 0);
}
