//! Caller IDs against those that an account may show.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_loop;
use aya_ebpf::maps::lpm_trie::Key;
use edge_ebpf::abi::{CALLER_ID_DIGITS, CallerId, EventKind};
use edge_ebpf::verifier::opaque;
use edge_ebpf::wire::sip::{CALLER_STEPS_MAX, Caller, Scratch};

use crate::accounts::Party;
use crate::{atomic, events, maps};

/// Bits of a key that names an account and all digits.
pub(crate) const KEY_BITS: u32 = 32 + 8 * CALLER_ID_DIGITS as u32;
/// Violations between two events, once they are many.
pub(crate) const TELL_EVERY: u64 = 1024;

/// What the loop's body is given: on the stack, where `bpf_loop` wants it.
struct Turn {
    scratch: *mut Scratch,
    account: u32,
    is_foreign: u32,
}

/// Whether the request in this CPU's scratch shows a caller ID that the account does not have.
#[inline(always)]
pub(crate) fn has_foreign(account: u32) -> bool {
    edge_has_foreign_caller(account) != 0
}

/// A global function, so that the verifier proves it once; it runs only for accounts whose caller IDs are checked.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn edge_has_foreign_caller(account: u32) -> u64 {
    let Some(scratch) = maps::SIP_SCRATCH.get_ptr_mut(0) else { return 0 };
    // SAFETY: this CPU's own value; the parser's borrow has ended.
    unsafe { &mut *scratch }.begin_callers();
    // Until the end of the headers has been reached.
    let mut turn = Turn { scratch, account, is_foreign: 1 };
    run(CALLER_STEPS_MAX, step, &mut turn);
    u64::from(turn.is_foreign)
}

extern "C" fn step(_turn: u64, context: *mut c_void) -> i64 {
    // SAFETY: `edge_has_foreign_caller` passes a `Turn`, whose scratch outlives the loop.
    let turn = unsafe { &mut *context.cast::<Turn>() };
    let mut found = edge_caller_line();
    if found == Caller::Value as u64 {
        found = edge_caller_uri();
    }
    if found == Caller::Value as u64 {
        found = edge_read_caller();
    }
    match Caller::from_index(found) {
        Caller::Nothing => 0,
        // Opaque, or what is returned would be a difference and not 0 or 1, as a callback has to.
        Caller::Number => i64::from(opaque(edge_owns_caller(turn.account)) == 0),
        Caller::Unreadable | Caller::Value => {
            // SAFETY: as above.
            unsafe { &mut *turn.scratch }.forget_caller();
            1
        }
        Caller::Done => {
            turn.is_foreign = 0;
            1
        }
    }
}

// The parts of a step are global functions, so that the verifier proves each once and by itself.

/// Whether the account has the caller ID that was read. The trie's key lies on this function's own stack.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn edge_owns_caller(account: u32) -> u64 {
    let Some(scratch) = maps::SIP_SCRATCH.get_ptr(0) else { return 0 };
    // SAFETY: this CPU's own value, which nobody else has borrowed.
    let digits = unsafe { &*scratch }.caller_digits();
    u64::from(maps::CALLER_IDS.get(Key::new(KEY_BITS, CallerId { account, digits })).is_some())
}

/// See [`Scratch::caller_line`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn edge_caller_line() -> u64 {
    let Some(scratch) = maps::SIP_SCRATCH.get_ptr_mut(0) else { return Caller::Unreadable as u64 };
    // SAFETY: this CPU's own value, which nobody else has borrowed.
    unsafe { &mut *scratch }.caller_line() as u64
}

/// See [`Scratch::caller_uri`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn edge_caller_uri() -> u64 {
    let Some(scratch) = maps::SIP_SCRATCH.get_ptr_mut(0) else { return Caller::Unreadable as u64 };
    // SAFETY: as in `edge_caller_line`.
    unsafe { &mut *scratch }.caller_uri() as u64
}

/// See [`Scratch::begin_caller`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn edge_read_caller() -> u64 {
    let Some(scratch) = maps::SIP_SCRATCH.get_ptr_mut(0) else { return Caller::Unreadable as u64 };
    // SAFETY: as in `edge_caller_line`.
    let found = unsafe { &mut *scratch }.begin_caller();
    if !matches!(found, Caller::Value) {
        return found as u64;
    }
    let mut turn = Turn { scratch, account: 0, is_foreign: 0 };
    run(CALLER_ID_DIGITS as u32, digit, &mut turn);
    // SAFETY: as above; the loop's borrows have ended.
    unsafe { &mut *scratch }.end_caller() as u64
}

extern "C" fn digit(_turn: u64, context: *mut c_void) -> i64 {
    // SAFETY: `edge_read_caller` passes a `Turn`, whose scratch outlives the loop.
    let scratch = unsafe { &mut *(*context.cast::<Turn>()).scratch };
    i64::from(scratch.caller_digit().is_break())
}

#[inline(always)]
fn run(turns: u32, body: extern "C" fn(u64, *mut c_void) -> i64, turn: &mut Turn) {
    // SAFETY: the helper calls `body` with `turn`, which lives on its caller's stack meanwhile.
    unsafe { bpf_loop(turns, body as *const () as *mut c_void, core::ptr::from_mut(turn).cast(), 0) };
}

/// Counts a violation of the account, and tells the 1st, 2nd, 4th, 8th … and each 1024th.
#[inline(always)]
pub(crate) fn tell(party: &Party, source: [u64; 2], is_read: bool, now_ns: u64) {
    // SAFETY: within the map value that `account` points to.
    let count = 1 + atomic::add(unsafe { &raw mut (*party.account).counters.foreign_callers }, 1);
    if count.is_power_of_two() || count.is_multiple_of(TELL_EVERY) {
        let number = if is_read { edge_caller_in_decimal() } else { 0 };
        events::send(EventKind::ForeignCaller, party.number, source, number, count, now_ns);
    }
}

/// A global function, as [`edge_has_foreign_caller`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn edge_caller_in_decimal() -> u64 {
    match maps::SIP_SCRATCH.get_ptr(0) {
        // SAFETY: this CPU's own value.
        Some(scratch) => unsafe { &*scratch }.caller_in_decimal(),
        None => 0,
    }
}
