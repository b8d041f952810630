//! The one hash: fast, keyed by its first argument, for tables that forget; not for cryptography.

/// One step of a multiplicative hash; the odd constant is 2^64 over the golden ratio.
#[must_use]
#[inline(always)]
pub const fn mix(hash: u64, word: u64) -> u64 {
    let product = (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    product ^ product >> 32
}
