//! The one hash: fast, keyed by its first argument, for tables that forget; not for cryptography.

/// 2^64 over the golden ratio, odd.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// One step of a multiplicative hash.
///
/// The multiplier depends on the state, which is secret from the key on. With a constant one, flipping the top
/// bit of a word would flip the same two bits of the state whatever the key, and the next word could put them
/// back: requests with one fingerprint at will.
#[must_use]
#[inline(always)]
pub const fn mix(hash: u64, word: u64) -> u64 {
    let product = (hash ^ word).wrapping_mul(hash ^ GOLDEN | 1);
    product ^ product >> 32
}
