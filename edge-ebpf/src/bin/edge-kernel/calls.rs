//! Calls and their slots: taken on the way in, given back on the way out.
//!
//! Whoever inserts an entry has counted its slot before; whoever removes it gives the slot back: the map decides,
//! exactly once, whatever races.

use aya_ebpf::bindings::BPF_NOEXIST;
use edge_ebpf::abi::{
    AccountState, CallCount, CallKey, CallPhase, CallRecord, CallState, EndedBy, SourceState,
};
use edge_ebpf::calls::{Consequence, consequence};
use edge_ebpf::decide::{Refusal, Slot};
use edge_ebpf::verifier::zero;
use edge_ebpf::wire::sip::Heard;

use crate::accounts::Party;
use crate::{atomic, counters, maps, records, sip};

/// What is too large for the stack. All that is not written is zero in it, always.
pub(crate) struct Scratch {
    key: CallKey,
    fresh: CallState,
    record: CallRecord,
}

/// Takes a slot for the call whose INVITE is in the parser's scratch; a [`Slot`] as integer comes back.
///
/// A global function, so that the verifier proves it once.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn edge_open_call(
    account: *mut AccountState,
    source: *mut SourceState,
    calls_max: u64,
    may_refuse: u64,
    now_ns: u64,
) -> u64 {
    let (Some(scratch), Some(parsed)) = (maps::CALL_SCRATCH.get_ptr_mut(0), maps::SIP_SCRATCH.get_ptr_mut(0))
    else {
        return Slot::Unkept as u64;
    };
    if account.is_null() || source.is_null() {
        return Slot::Unkept as u64;
    }
    // SAFETY: this CPU's own values, and a map value whose words each stand for themselves.
    let (scratch, parsed, source) = unsafe { (&mut *scratch, &mut *parsed, &*source) };
    scratch.key.account = source.account;
    scratch.key.call_id_hash = parsed.call_id_hash();
    let trunk = source.trunk;
    let cseq = parsed.cseq();
    let key: &CallKey = &scratch.key;
    if let Some(call) = maps::CALLS.get_ptr_mut(key) {
        // SAFETY: a map value; the words that change are written one at a time.
        unsafe {
            (*call).touched_ns = now_ns;
            if (*call).cseq == cseq && !sip::has_cookie() {
                // A retransmission that the branch cannot prove.
                return Slot::Kept as u64;
            }
        }
        // Another call under the same Call-ID, or the branch of a fork: a slot of its own, under the same entry.
        let slot = take(account, calls_max, trunk, may_refuse);
        if matches!(slot, Slot::Kept) || may_refuse == 0 {
            // SAFETY: as above; the low half of an aligned word.
            unsafe {
                (*call).cseq = cseq;
                atomic::add((&raw mut (*call).slots).cast(), 1);
            }
        }
        return slot as u64;
    }

    let slot = take(account, calls_max, trunk, may_refuse);
    if !matches!(slot, Slot::Kept) && may_refuse != 0 {
        return slot as u64;
    }
    sip::read_parties(parsed);
    let fresh = &mut scratch.fresh;
    fresh.trunk = trunk;
    fresh.setup_ns = now_ns;
    fresh.touched_ns = now_ns;
    fresh.cseq = cseq;
    fresh.slots = 1;
    records::copy_words(fresh.from.as_mut_ptr().cast(), parsed.parties.from.as_ptr());
    records::copy_words(fresh.to.as_mut_ptr().cast(), parsed.parties.to.as_ptr());
    let fresh: &CallState = fresh;
    if maps::CALLS.insert(key, fresh, u64::from(BPF_NOEXIST)).is_err() {
        release(account, trunk, 1);
        // Another CPU may have been first; else there is no room.
        if maps::CALLS.get_ptr(key).is_some() {
            return Slot::Kept as u64;
        }
        counters::call(account, CallCount::Unkept);
        return Slot::Unkept as u64;
    }
    counters::call(account, CallCount::Admitted);
    slot as u64
}

/// Writes the source's address where [`edge_open_call`] and [`edge_record_refused`] take it from.
#[inline(always)]
pub(crate) fn note_source(address: [u64; 2]) {
    if let Some(scratch) = maps::CALL_SCRATCH.get_ptr_mut(0) {
        // SAFETY: this CPU's own value.
        unsafe { (*scratch).fresh.source = zerocopy::transmute!(address) };
    }
}

/// Takes a slot for the call whose INVITE is in the parser's scratch.
#[inline(always)]
pub(crate) fn open(party: &Party, calls_max: u64, may_refuse: bool, now_ns: u64) -> Slot {
    match edge_open_call(party.account, party.source, calls_max, u64::from(may_refuse), now_ns) {
        0 => Slot::Kept,
        1 => Slot::OverAccount,
        2 => Slot::OverTrunk,
        _ => Slot::Unkept,
    }
}

/// Takes away the entry that [`open`] made last, so that a benchmark's next call is new.
#[cfg(feature = "bench")]
#[inline(always)]
pub(crate) fn forget_last() {
    if let Some(scratch) = maps::CALL_SCRATCH.get_ptr(0) {
        // SAFETY: this CPU's own value.
        let _ = maps::CALLS.remove(unsafe { &(*scratch).key });
    }
}

/// Leaves a record of the call whose INVITE is in the parser's scratch and is refused.
#[inline(always)]
pub(crate) fn record_refused(party: &Party, refusal: Refusal, now_ns: u64) {
    let status = u64::from(refusal.status());
    edge_record_refused(party.source, refusal.cause() as u64, status, now_ns);
}

/// See [`record_refused`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn edge_record_refused(source: *mut SourceState, cause: u64, status: u64, now_ns: u64) -> u64 {
    let (Some(scratch), Some(parsed)) = (maps::CALL_SCRATCH.get_ptr_mut(0), maps::SIP_SCRATCH.get_ptr_mut(0))
    else {
        return 0;
    };
    if source.is_null() {
        return 0;
    }
    // SAFETY: as in `edge_open_call`.
    let (scratch, parsed, source) = unsafe { (&mut *scratch, &mut *parsed, &*source) };
    sip::read_parties(parsed);
    let record = &mut scratch.record;
    record.account = source.account;
    record.trunk = source.trunk;
    record.source = scratch.fresh.source;
    records::copy_words(record.from.as_mut_ptr().cast(), parsed.parties.from.as_ptr());
    records::copy_words(record.to.as_mut_ptr().cast(), parsed.parties.to.as_ptr());
    record.setup_ns = now_ns;
    zero(&mut record.ring_ns);
    zero(&mut record.answer_ns);
    records::send(record, cause as u32, EndedBy::Edge, status as u32, now_ns);
    1
}

/// Does to a call what was heard of it.
#[inline(always)]
pub(crate) fn hear(number: u32, heard: &Heard, now_ns: u64) {
    let Some(scratch) = maps::CALL_SCRATCH.get_ptr_mut(0) else { return };
    // SAFETY: this CPU's own value.
    let Scratch { key, record, .. } = unsafe { &mut *scratch };
    key.account = number;
    key.call_id_hash = heard.call_id_hash;
    let key: &CallKey = key;
    let Some(pointer) = maps::CALLS.get_ptr_mut(key) else { return };
    let Some(account) = maps::ACCOUNTS.get_ptr_mut(number) else { return };
    // SAFETY: a map value; the words that change are written one at a time.
    let call = unsafe { &mut *pointer };
    match consequence(call, heard) {
        Consequence::Nothing => {}
        Consequence::Alive => {
            call.touched_ns = now_ns;
            if heard.session_expires_s != 0 {
                call.session_expires_s = heard.session_expires_s;
            }
        }
        Consequence::Rung => {
            call.ring_ns = now_ns;
            call.touched_ns = now_ns;
        }
        Consequence::Answered => {
            call.session_expires_s = heard.session_expires_s;
            call.answer_ns = now_ns;
            call.touched_ns = now_ns;
            call.phase = CallPhase::Answered as u32;
            counters::call(account, CallCount::Answered);
        }
        Consequence::Challenged => {
            if end(account, key, call, record) {
                counters::call(account, CallCount::Challenged);
            }
        }
        Consequence::Ended { cause, ended_by } => {
            if end(account, key, call, record) {
                counters::call(account, CallCount::Ended);
                let status = if heard.status == 0 { 200 } else { heard.status };
                records::send(record, cause as u32, ended_by, status, now_ns);
            }
        }
    }
}

/// Gives back one slot of a call; with the last one the call is over, and `true` says that we ended it.
#[inline(always)]
fn end(account: *mut AccountState, key: &CallKey, call: &mut CallState, record: &mut CallRecord) -> bool {
    records::describe(record, key.account, call);
    if call.slots > 1 {
        // The low half of an aligned word, whose high half is kept at zero by what was added before.
        atomic::add((&raw mut call.slots).cast(), u64::MAX);
        release(account, record.trunk, 1);
        return false;
    }
    let is_ours = maps::CALLS.remove(key).is_ok();
    if is_ours {
        release(account, record.trunk, 1);
    }
    is_ours
}

/// Counts a slot of the account and its trunk, unless it is refused.
#[inline(always)]
fn take(account: *mut AccountState, calls_max: u64, trunk: u32, may_refuse: u64) -> Slot {
    // SAFETY: within the map value that `account` points to.
    let before = atomic::add(unsafe { &raw mut (*account).calls_active }, 1);
    let mut slot = if calls_max != 0 && before >= calls_max { Slot::OverAccount } else { Slot::Kept };
    if trunk != 0
        && let (Some(state), Some(policy)) =
            (maps::TRUNKS.get_ptr_mut(trunk), maps::TRUNK_POLICIES.get(trunk))
    {
        // SAFETY: within map values.
        let (active, refused) = unsafe { (&raw mut (*state).calls_active, &raw mut (*state).refused) };
        let before = atomic::add(active, 1);
        if matches!(slot, Slot::Kept) && policy.calls_max != 0 && before >= u64::from(policy.calls_max) {
            slot = Slot::OverTrunk;
            atomic::add(refused, 1);
        }
    }
    if !matches!(slot, Slot::Kept) {
        if may_refuse == 0 {
            counters::call(account, CallCount::Observed);
        } else {
            release(account, trunk, 1);
            counters::call(account, CallCount::Refused);
        }
    }
    slot
}

/// Gives slots back.
#[inline(always)]
pub(crate) fn release(account: *mut AccountState, trunk: u32, slots: u64) {
    // SAFETY: within the map value that `account` points to.
    atomic::add(unsafe { &raw mut (*account).calls_active }, slots.wrapping_neg());
    if trunk != 0
        && let Some(state) = maps::TRUNKS.get_ptr_mut(trunk)
    {
        // SAFETY: within the map value.
        atomic::add(unsafe { &raw mut (*state).calls_active }, slots.wrapping_neg());
    }
}
