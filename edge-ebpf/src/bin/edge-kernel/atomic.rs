//! Atomic operations on map memory. `AtomicU64` has no operation with a result on this target, so these are
//! the compiler's intrinsics (BPF ISA v3; kernel 5.12, commit 37086bfdc737).
//!
//! Sequentially consistent throughout: with a weaker order the compiler emits an addition without a result and
//! hands back the addend.

use core::intrinsics::{AtomicOrdering, atomic_cxchg, atomic_xadd};

const ORDER: AtomicOrdering = AtomicOrdering::SeqCst;

/// Adds, and returns what was there before.
#[inline(always)]
pub(crate) fn add(cell: *mut u64, value: u64) -> u64 {
    // SAFETY: every caller points into a map value, which outlives the program run; aligned as the type is.
    unsafe { atomic_xadd::<u64, u64, ORDER>(cell, value) }
}

/// Writes `new` if `old` is there; returns what was there, and whether it was `old`.
#[inline(always)]
pub(crate) fn compare_exchange(cell: *mut u64, old: u64, new: u64) -> (u64, bool) {
    // SAFETY: as in `add`.
    unsafe { atomic_cxchg::<u64, ORDER, ORDER>(cell, old, new) }
}

/// Reads; a volatile load, because the target cannot select an atomic one.
#[inline(always)]
pub(crate) fn load(cell: *const u64) -> u64 {
    // SAFETY: as in `add`; an aligned 64-bit load is one instruction.
    unsafe { cell.read_volatile() }
}
