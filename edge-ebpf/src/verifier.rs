//! The seam for the kernel's verifier: what the host does plainly and the verifier must be shown.
//!
//! LLVM removes a bound that it has proven; the verifier, which cannot follow the proof, then refuses the
//! program. [`opaque`] hides a value from LLVM for the length of one instruction, so that the check after it
//! stays in the object. On the host both functions are what they say and nothing else.

/// Bytes of a scratch buffer that [`word`] can address: 2 KiB of payload, and room to read past its end.
pub const SCRATCH_BYTES: usize = 2048 + 64;

/// Largest offset into a scratch buffer; offsets are taken modulo this plus one.
pub const SCRATCH_MASK: u32 = 2047;

/// `value`, of which the optimiser may assume nothing.
#[cfg(not(target_arch = "bpf"))]
#[must_use]
#[inline(always)]
pub const fn opaque(value: u64) -> u64 {
    value
}

/// `value & SCRATCH_MASK`, in a form that the optimiser cannot drop.
#[cfg(not(target_arch = "bpf"))]
#[must_use]
#[inline(always)]
pub const fn masked(value: u32) -> usize {
    (value & SCRATCH_MASK) as usize
}

/// The eight bytes at `offset & SCRATCH_MASK`, little-endian: the first byte is the lowest.
#[cfg(not(target_arch = "bpf"))]
#[must_use]
#[inline(always)]
pub fn word(scratch: &[u8; SCRATCH_BYTES], offset: u32) -> u64 {
    let start = masked(offset);
    scratch[start..start + 8].try_into().map_or(0, u64::from_le_bytes)
}

/// The byte at `offset & SCRATCH_MASK`.
#[cfg(not(target_arch = "bpf"))]
#[must_use]
#[inline(always)]
pub fn byte(scratch: &[u8; SCRATCH_BYTES], offset: u32) -> u8 {
    scratch[masked(offset)]
}

#[cfg(target_arch = "bpf")]
pub use kernel::{byte, masked, opaque, word};

#[cfg(target_arch = "bpf")]
#[expect(unsafe_code, reason = "inline assembly and the masked load, each argued where it stands")]
mod kernel {
    use super::{SCRATCH_BYTES, SCRATCH_MASK};

    /// See the host's version.
    #[must_use]
    #[inline(always)]
    pub fn opaque(mut value: u64) -> u64 {
        // SAFETY: one register move onto itself. (An empty template would make two line records for one
        // instruction, which the kernel refuses.)
        unsafe { core::arch::asm!("{0} = {0}", inout(reg) value, options(pure, nomem, nostack)) };
        value
    }

    /// See the host's version.
    #[must_use]
    #[inline(always)]
    pub fn masked(value: u32) -> usize {
        let mut index = u64::from(value);
        // SAFETY: one AND on a register.
        unsafe {
            core::arch::asm!("{0} &= {1}", inout(reg) index, const SCRATCH_MASK, options(pure, nomem, nostack));
        }
        index as usize
    }

    /// See the host's version.
    #[must_use]
    #[inline(always)]
    pub fn word(scratch: &[u8; SCRATCH_BYTES], offset: u32) -> u64 {
        let start = masked(offset);
        // SAFETY: `start <= SCRATCH_MASK`, and the buffer has 64 bytes more than that.
        u64::from_le(unsafe { scratch.as_ptr().add(start).cast::<u64>().read_unaligned() })
    }

    /// See the host's version.
    #[must_use]
    #[inline(always)]
    pub fn byte(scratch: &[u8; SCRATCH_BYTES], offset: u32) -> u8 {
        let start = masked(offset);
        // SAFETY: as in `word`.
        unsafe { scratch.as_ptr().add(start).read() }
    }
}
