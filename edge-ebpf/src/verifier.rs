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

/// `value`, in a register of its own: what the verifier learns from a comparison of the copy does not narrow
/// the original, so that the paths behind the comparison become one again.
#[cfg(not(target_arch = "bpf"))]
#[must_use]
#[inline(always)]
pub const fn unlinked(value: u64) -> u64 {
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

/// The four words from `offset & SCRATCH_MASK` on, as [`word`] reads one.
#[cfg(not(target_arch = "bpf"))]
#[must_use]
#[inline(always)]
pub fn words_at(scratch: &[u8; SCRATCH_BYTES], offset: u32) -> [u64; 4] {
    let start = masked(offset);
    let at = |index: usize| {
        let from = start + 8 * index;
        scratch[from..from + 8].try_into().map_or(0, u64::from_le_bytes)
    };
    [at(0), at(1), at(2), at(3)]
}

/// Writes the first bytes of a scratch buffer.
#[cfg(not(target_arch = "bpf"))]
#[inline(always)]
pub fn put_front(scratch: &mut [u8; SCRATCH_BYTES], octets: &[u8; CUT_BYTES]) {
    scratch[..CUT_BYTES].copy_from_slice(octets);
}

/// The byte at `offset & SCRATCH_MASK`.
#[cfg(not(target_arch = "bpf"))]
#[must_use]
#[inline(always)]
pub fn byte(scratch: &[u8; SCRATCH_BYTES], offset: u32) -> u8 {
    scratch[masked(offset)]
}

/// Bytes of the buffer that an answer is made in; [`put_words`] reaches all of it.
pub const REPLY_BYTES: usize = REPLY_MASK as usize + 1 + 8 * REPLY_WORDS_MAX;

/// Most words that are written at once.
const REPLY_WORDS_MAX: usize = 8;

/// Largest offset into that buffer.
const REPLY_MASK: u32 = 4095;

/// Writes words of eight bytes from `offset & 4095` on, each with its lowest byte first. One mask for all of them.
#[cfg(not(target_arch = "bpf"))]
#[inline(always)]
pub fn put_words<const N: usize>(reply: &mut [u8; REPLY_BYTES], offset: u32, words: [u64; N]) {
    const { assert!(N <= REPLY_WORDS_MAX) };
    let start = (offset & REPLY_MASK) as usize;
    for (place, word) in reply[start..].chunks_exact_mut(8).zip(words) {
        place.copy_from_slice(&word.to_le_bytes());
    }
}

/// Bytes of the buffer for the beginning of a PDU: [`prefix_word`] reads within, [`append`] writes within.
const PREFIX_ROOM: usize = crate::wire::smpp::PREFIX_ROOM;

/// Largest offset into that buffer.
const PREFIX_MASK: u32 = 127;

/// What [`append`] writes.
const APPENDED: usize = crate::stream::PREFIX_BYTES;

/// What [`put_front`] writes.
const CUT_BYTES: usize = crate::messages::CUT_BYTES;

const _: () = assert!(PREFIX_MASK as usize + APPENDED <= PREFIX_ROOM);

/// The eight bytes at `offset`, at most 127, little-endian: the first byte is the lowest.
#[cfg(not(target_arch = "bpf"))]
#[must_use]
#[inline(always)]
pub fn prefix_word(prefix: &[u8; PREFIX_ROOM], offset: u32) -> u64 {
    let start = (offset & PREFIX_MASK) as usize;
    prefix[start..start + 8].try_into().map_or(0, u64::from_le_bytes)
}

/// The byte at `offset`, at most 127.
#[must_use]
#[inline(always)]
pub fn prefix_byte(prefix: &[u8; PREFIX_ROOM], offset: u32) -> u8 {
    (prefix_word(prefix, offset) & 0xff) as u8
}

/// Writes all of `more` at `offset`, at most 127.
#[cfg(not(target_arch = "bpf"))]
#[inline(always)]
pub fn append(prefix: &mut [u8; PREFIX_ROOM], offset: u32, more: &[u8; APPENDED]) {
    let start = (offset & PREFIX_MASK) as usize;
    prefix[start..start + APPENDED].copy_from_slice(more);
}

/// The first bytes of `prefix`, to be written.
#[inline(always)]
pub fn front(prefix: &mut [u8; PREFIX_ROOM]) -> &mut [u8; APPENDED] {
    const { assert!(APPENDED <= PREFIX_ROOM) };
    let (front, _) = prefix.split_first_chunk_mut().unwrap_or_else(|| unreachable!("asserted above"));
    front
}

/// Writes the first bytes of `prefix` to `into`. (A copy by assignment goes over the kernel's small stack.)
#[cfg(not(target_arch = "bpf"))]
#[inline(always)]
pub fn copy_prefix(into: &mut [u8; APPENDED], prefix: &[u8; PREFIX_ROOM]) {
    into.copy_from_slice(&prefix[..APPENDED]);
}

/// `value`, by way of `cell`, which lies in a map value: the verifier does not follow what memory holds, so that
/// paths which differ in `value` alone become one again.
#[cfg(not(target_arch = "bpf"))]
#[inline(always)]
pub const fn forgotten(cell: &mut u32, value: u32) -> u32 {
    *cell = value;
    value
}

/// Writes zero, in a store of its own: LLVM makes one `memset` of several, which goes octet by octet.
#[cfg(not(target_arch = "bpf"))]
#[inline(always)]
pub fn zero<T: zerocopy::FromZeros>(cell: &mut T) {
    *cell = T::new_zeroed();
}

#[cfg(target_arch = "bpf")]
pub use kernel::{
    append, byte, copy_prefix, forgotten, masked, opaque, prefix_word, put_front, put_words, unlinked, word,
    words_at, zero,
};

#[cfg(target_arch = "bpf")]
#[expect(unsafe_code, reason = "inline assembly and the masked load, each argued where it stands")]
#[expect(clippy::cast_ptr_alignment, reason = "read and written unaligned")]
mod kernel {
    use super::{
        APPENDED, CUT_BYTES, PREFIX_MASK, PREFIX_ROOM, REPLY_BYTES, REPLY_MASK, REPLY_WORDS_MAX,
        SCRATCH_BYTES, SCRATCH_MASK,
    };

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
    pub fn unlinked(mut value: u64) -> u64 {
        // SAFETY: adds nothing to a register; arithmetic ends the verifier's link between two copies.
        unsafe { core::arch::asm!("{0} += 0", inout(reg) value, options(nomem, nostack)) };
        value
    }

    /// See the host's version.
    #[inline(always)]
    pub fn forgotten(cell: &mut u32, value: u32) -> u32 {
        let cell = core::ptr::from_mut(cell);
        // SAFETY: a reference made into a pointer; volatile only so that the store and the load stay.
        unsafe {
            cell.write_volatile(value);
            cell.read_volatile()
        }
    }

    /// See the host's version.
    #[inline(always)]
    pub fn zero<T: zerocopy::FromZeros>(cell: &mut T) {
        // SAFETY: a reference made into a pointer; volatile only so that the stores stay apart.
        unsafe { core::ptr::from_mut(cell).write_volatile(T::new_zeroed()) };
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
    pub fn words_at(scratch: &[u8; SCRATCH_BYTES], offset: u32) -> [u64; 4] {
        let start = masked(offset);
        // SAFETY: `start <= SCRATCH_MASK`, and the buffer has 64 bytes more than that.
        let place = unsafe { scratch.as_ptr().add(start).cast::<u64>() };
        // SAFETY: 32 bytes from there.
        let at = |index: usize| u64::from_le(unsafe { place.add(index).read_unaligned() });
        [at(0), at(1), at(2), at(3)]
    }

    /// See the host's version.
    #[must_use]
    #[inline(always)]
    pub fn byte(scratch: &[u8; SCRATCH_BYTES], offset: u32) -> u8 {
        let start = masked(offset);
        // SAFETY: as in `word`.
        unsafe { scratch.as_ptr().add(start).read() }
    }

    /// See the host's version.
    #[inline(always)]
    pub fn put_words<const N: usize>(reply: &mut [u8; REPLY_BYTES], offset: u32, words: [u64; N]) {
        const { assert!(N <= REPLY_WORDS_MAX) };
        let mut start = u64::from(offset);
        // SAFETY: one AND on a register.
        unsafe {
            core::arch::asm!("{0} &= {1}", inout(reg) start, const REPLY_MASK, options(pure, nomem, nostack));
        }
        // SAFETY: `start <= REPLY_MASK`.
        let place = unsafe { reply.as_mut_ptr().add(start as usize).cast::<u64>() };
        for (index, word) in words.into_iter().enumerate() {
            // SAFETY: the buffer has `REPLY_WORDS_MAX` words more than the mask reaches.
            unsafe { place.add(index).write_unaligned(word.to_le()) };
        }
    }

    /// See the host's version.
    #[must_use]
    #[inline(always)]
    pub fn prefix_word(prefix: &[u8; PREFIX_ROOM], offset: u32) -> u64 {
        let start = prefix_masked(offset);
        // SAFETY: `start <= PREFIX_MASK`, and the buffer has more than eight bytes behind that.
        u64::from_le(unsafe { prefix.as_ptr().add(start).cast::<u64>().read_unaligned() })
    }

    /// See the host's version.
    #[inline(always)]
    pub fn append(prefix: &mut [u8; PREFIX_ROOM], offset: u32, more: &[u8; APPENDED]) {
        let start = prefix_masked(offset);
        // SAFETY: `start <= PREFIX_MASK`, and `PREFIX_MASK + APPENDED <= PREFIX_ROOM` is asserted above.
        let to = unsafe { prefix.as_mut_ptr().add(start).cast::<u64>() };
        let from = more.as_ptr().cast::<u64>();
        for index in 0..APPENDED / 8 {
            // SAFETY: both have `APPENDED` bytes from where they point.
            unsafe { to.add(index).write_unaligned(from.add(index).read_unaligned()) };
        }
    }

    /// See the host's version.
    #[inline(always)]
    pub fn copy_prefix(into: &mut [u8; APPENDED], prefix: &[u8; PREFIX_ROOM]) {
        let (to, from) = (into.as_mut_ptr().cast::<u64>(), prefix.as_ptr().cast::<u64>());
        for index in 0..APPENDED / 8 {
            // SAFETY: both have at least `APPENDED` bytes.
            unsafe { to.add(index).write_unaligned(from.add(index).read_unaligned()) };
        }
    }

    /// See the host's version.
    #[inline(always)]
    pub fn put_front(scratch: &mut [u8; SCRATCH_BYTES], octets: &[u8; CUT_BYTES]) {
        let (to, from) = (scratch.as_mut_ptr().cast::<u64>(), octets.as_ptr().cast::<u64>());
        for index in 0..CUT_BYTES / 8 {
            // SAFETY: both have at least `CUT_BYTES` bytes.
            unsafe { to.add(index).write_unaligned(from.add(index).read_unaligned()) };
        }
    }

    #[inline(always)]
    fn prefix_masked(offset: u32) -> usize {
        let mut index = u64::from(offset);
        // SAFETY: one AND on a register.
        unsafe {
            core::arch::asm!("{0} &= {1}", inout(reg) index, const PREFIX_MASK, options(pure, nomem, nostack));
        }
        index as usize
    }
}
