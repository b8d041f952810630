//! Requests whose answers are waited for, in the table of what may come again.
//!
//! Global functions: few messages need them, and the verifier proves each once.

use edge_ebpf::abi::{Method, REPEAT_SETS_DEFAULT};
use edge_ebpf::awaited::fingerprint;
use edge_ebpf::repeat;

use crate::{maps, sip, world};

/// Waits for the answer to the request in the parser's scratch.
#[inline(always)]
pub(crate) fn await_answer([high, low]: [u64; 2], method: Method, now_ns: u64) {
    edge_await_answer(high, low, u64::from(matches!(method, Method::Register)), now_ns);
}

/// Whether the answer in the parser's scratch was waited for. It is no more.
#[inline(always)]
pub(crate) fn take_answer([high, low]: [u64; 2], method: Method, now_ns: u64) -> bool {
    edge_take_answer(high, low, u64::from(matches!(method, Method::Register)), now_ns) != 0
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn edge_await_answer(high: u64, low: u64, is_register: u64, now_ns: u64) -> u64 {
    sip::remember_surely(of_scratch([high, low], is_register != 0), now_ns);
    1
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn edge_take_answer(high: u64, low: u64, is_register: u64, now_ns: u64) -> u64 {
    let Some(settings) = maps::SETTINGS.get(0) else { return 0 };
    let fingerprint = of_scratch([high, low], is_register != 0);
    let set = repeat::set_of(fingerprint, REPEAT_SETS_DEFAULT);
    let Some(set) = maps::REPEATS.get_ptr_mut(set) else { return 0 };
    // SAFETY: a map value; its words are read and written one at a time, and a race of two answers has both believed.
    u64::from(repeat::take(unsafe { &mut *set }, fingerprint, settings.repeat_window_ns, now_ns))
}

/// The fingerprint of what was read; one that nothing has where there is nothing.
#[inline(always)]
fn of_scratch(source: [u64; 2], is_register: bool) -> u64 {
    let (Some(settings), Some(scratch)) = (maps::SETTINGS.get(0), maps::SIP_SCRATCH.get_ptr(0)) else {
        return 0;
    };
    // SAFETY: this CPU's own value.
    let scratch = unsafe { &*scratch };
    let source_key = world::source_key(source, settings);
    fingerprint(source_key, scratch.call_id_hash(), scratch.cseq(), is_register)
}
