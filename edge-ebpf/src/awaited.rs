//! Answers that say something of a source: a REGISTER accepted, credentials or guesses refused.
//!
//! A proxy sends a response that is none of its transactions' on to where the second Via says (RFC 3261 16.7, 18.1.2), so
//! that anybody can have any words sent to any source. Such an answer is believed once, and only where the very request
//! came from there and passed. The table is that of [`crate::repeat`]: what it forgets is not believed.

use crate::abi::Method;
use crate::hash::mix;
use crate::outbound::is_rejection;
use crate::repeat::as_fingerprint;
use crate::wire::sip::Heard;

/// Tells fingerprints of requests that wait from those of requests that may come again.
const WAITING: u64 = 0x6177_6169_7465_6421;

/// Whether the answer to a request that passes is waited for.
#[must_use]
#[inline(always)]
pub const fn is_awaited(method: Method, account: u32) -> bool {
    matches!(method, Method::Register) || account == 0
}

/// Whether a message is believed only as an answer that is waited for. All final answers to a REGISTER are: none may leave
/// the request waiting for another.
#[must_use]
#[inline(always)]
pub const fn must_be_awaited(heard: &Heard, account: u32) -> bool {
    heard.status >= 200
        && (matches!(heard.method, Method::Register) || account == 0 && is_rejection(heard.status))
}

/// What a request and its answer have in common. `source_key` is made of the source, by a key.
#[must_use]
#[inline(always)]
pub const fn fingerprint(source_key: u64, call_id_hash: u64, cseq: u32, is_register: bool) -> u64 {
    let hash = mix(mix(source_key, WAITING), call_id_hash);
    as_fingerprint(mix(hash, (cseq as u64) << 1 | is_register as u64))
}
