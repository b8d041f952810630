//! What the daemon runs: the sweep, once a second, expires calls of which nothing is heard any more; the correction
//! puts a count of slots right that has come to differ from the entries.
//!
//! A raw tracepoint that is attached nowhere: `BPF_PROG_TEST_RUN` runs it in the daemon's own time, preemptible,
//! 75 ns an entry. (Timers in the map would be finer, but the kernel refuses most of them in soft interrupts.)

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_for_each_map_elem;
use aya_ebpf::macros::raw_tracepoint;
use aya_ebpf::programs::RawTracePointContext;
use edge_ebpf::abi::{
    BindCount, BindPhase, BindState, CallCount, CallKey, CallState, EndedBy, FlowKey, Settings,
};
use edge_ebpf::calls::expiry;

use crate::{atomic, binds, calls, clock, counters, maps, records, refusal};

/// What the callback is given: on the stack, where the helper wants it.
struct Round {
    settings: *const Settings,
    now_ns: u64,
}

/// After so long without a segment nothing of a connection is under way any more: TCP's longest retransmission timeout
/// (RFC 6298 2.5 allows 60 s, Linux has 120 s).
const REFUSALS_IDLE_NS: u64 = 120_000_000_000;

/// Expires calls, binds, and what is remembered of refusals.
#[raw_tracepoint]
pub(crate) fn edge_sweep(_ctx: RawTracePointContext) -> i32 {
    let Some(settings) = maps::SETTINGS.get_ptr(0) else { return 0 };
    let mut round = Round { settings, now_ns: clock::now_ns() };
    // SAFETY: the helper calls `visit` with each entry and with `round`, which lives on this stack meanwhile.
    unsafe {
        bpf_for_each_map_elem(
            (&raw const maps::CALLS).cast_mut().cast(),
            visit as *const () as *mut c_void,
            (&raw mut round).cast(),
            0,
        );
        bpf_for_each_map_elem(
            (&raw const maps::BINDS).cast_mut().cast(),
            visit_bind as *const () as *mut c_void,
            (&raw mut round).cast(),
            0,
        );
        bpf_for_each_map_elem(
            (&raw const maps::REFUSALS).cast_mut().cast(),
            visit_refusals as *const () as *mut c_void,
            (&raw mut round).cast(),
            0,
        )
    };
    0
}

/// How long a connection's client has not been heard.
#[inline(always)]
fn idle_ns(key: &FlowKey, known_ns: u64, now_ns: u64) -> u64 {
    let heard_ns = match maps::FLOWS.get_ptr(key) {
        // SAFETY: a map value, of which one word is read.
        Some(flow) => unsafe { (*flow).touched_ns },
        None => 0,
    };
    now_ns.saturating_sub(if heard_ns > known_ns { heard_ns } else { known_ns })
}

extern "C" fn visit_bind(
    _map: *mut c_void,
    key: *mut c_void,
    value: *mut c_void,
    context: *mut c_void,
) -> i64 {
    // SAFETY: as in `visit`.
    let (round, key, bind) =
        unsafe { (&*context.cast::<Round>(), &*key.cast::<FlowKey>(), &*value.cast::<BindState>()) };
    // SAFETY: a map value.
    let limit_ns = unsafe { (*round.settings).bind_idle_ns };
    let (phase, number) = (bind.phase, bind.account);
    let known_ns = if bind.bound_ns == 0 { bind.requested_ns } else { bind.bound_ns };
    if limit_ns != 0
        && idle_ns(key, known_ns, round.now_ns) > limit_ns
        && maps::BINDS.remove(key).is_ok()
        && phase == BindPhase::Bound as u32
    {
        binds::move_place(number, u64::MAX);
        if let Some(account) = maps::ACCOUNTS.get_ptr_mut(number) {
            counters::bind(account, BindCount::Expired);
        }
    }
    0
}

extern "C" fn visit_refusals(
    _map: *mut c_void,
    key: *mut c_void,
    value: *mut c_void,
    context: *mut c_void,
) -> i64 {
    // SAFETY: as in `visit`.
    let (round, key) = unsafe { (&*context.cast::<Round>(), &*key.cast::<FlowKey>()) };
    if idle_ns(key, 0, round.now_ns) > REFUSALS_IDLE_NS {
        refusal::stop_waiting(u16::from_be_bytes(key.destination_port), value.cast());
        let _ = maps::REFUSALS.remove(key);
    }
    0
}

/// Adds to the slots that are counted for an account or a trunk, beside what the packets of this moment add: the
/// daemon itself could only write the whole value over theirs.
///
/// Arguments: the number, whether it is a trunk's (1) or an account's (0), and what to add, wrapping.
#[raw_tracepoint]
pub(crate) fn edge_correct(ctx: RawTracePointContext) -> i32 {
    let (number, is_trunk, slots) = (ctx.arg::<u64>(0) as u32, ctx.arg::<u64>(1), ctx.arg::<u64>(2));
    // SAFETY: within map values.
    let active = unsafe {
        if is_trunk == 0 {
            let Some(account) = maps::ACCOUNTS.get_ptr_mut(number) else { return 0 };
            &raw mut (*account).calls_active
        } else {
            let Some(trunk) = maps::TRUNKS.get_ptr_mut(number) else { return 0 };
            &raw mut (*trunk).calls_active
        }
    };
    atomic::add(active, slots);
    0
}

extern "C" fn visit(_map: *mut c_void, key: *mut c_void, value: *mut c_void, context: *mut c_void) -> i64 {
    // SAFETY: `edge_sweep` passes a `Round`; key and value are those of the map.
    let (round, key, call) =
        unsafe { (&*context.cast::<Round>(), &*key.cast::<CallKey>(), &*value.cast::<CallState>()) };
    // SAFETY: a map value.
    let Some(cause) = expiry(call, unsafe { &*round.settings }, round.now_ns) else { return 0 };
    let (Some(record), Some(account)) =
        (maps::SWEPT_RECORD.get_ptr_mut(0), maps::ACCOUNTS.get_ptr_mut(key.account))
    else {
        return 0;
    };
    // SAFETY: only the daemon runs the sweep, and never twice at once.
    let record = unsafe { &mut *record };
    let (slots, status) = (u64::from(call.slots), if call.answer_ns == 0 { 0 } else { 200 });
    records::describe(record, key.account, call);
    if maps::CALLS.remove(key).is_ok() {
        calls::release(account, record.trunk, slots);
        counters::call(account, CallCount::Expired);
        records::send(record, cause as u32, EndedBy::Sweep, status, round.now_ns);
    }
    0
}
