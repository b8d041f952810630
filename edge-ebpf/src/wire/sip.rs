//! SIP

use crate::verifier::SCRATCH_BYTES;

/// Where a payload is parsed.
#[repr(C)]
pub struct Scratch {
    /// Payload
    pub bytes: [u8; SCRATCH_BYTES],
}
