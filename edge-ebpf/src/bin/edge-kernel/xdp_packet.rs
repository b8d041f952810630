//! The one unsafe read of packet memory, and the copy of payloads.

use aya_ebpf::helpers::generated::{bpf_xdp_load_bytes, bpf_xdp_store_bytes};
use aya_ebpf::programs::XdpContext;
use edge_ebpf::packet::{Packet, TooShort};
use edge_ebpf::verifier::opaque;

/// Headers end before this offset: 14 + 8 bytes of link layer, an IPv6 header, six extension headers of at
/// most 264 bytes and a TCP header make fewer; so the verifier knows a bound for offsets.
const HEADER_OFFSET_MAX: usize = 2047;

/// Buffers up to this size, a multiple of eight bytes, are filled whole and by words where the frame has as
/// much: the helper costs three times that.
const COPY_INLINE_MAX: usize = 96;

/// Bytes that are copied at once where a buffer is larger than that.
const BLOCK: usize = 32;

/// A frame as XDP sees it. Reads reach the linear part, which holds the headers; payloads are copied by
/// helper from wherever they lie.
pub(crate) struct XdpPacket<'a>(pub(crate) &'a XdpContext);

impl Packet for XdpPacket<'_> {
    #[inline(always)]
    fn read<const N: usize>(&self, offset: usize) -> Result<[u8; N], TooShort> {
        let offset = opaque(offset as u64) as usize;
        if offset > HEADER_OFFSET_MAX {
            return Err(TooShort);
        }
        let start = self.0.data() + offset;
        if start + N > self.0.data_end() {
            return Err(TooShort);
        }
        // SAFETY: `start .. start + N` lies between data and data_end, as was just checked, and the verifier
        // holds us to it; any bytes are valid for `[u8; N]`.
        Ok(unsafe { (start as *const [u8; N]).read_unaligned() })
    }

    #[inline(always)]
    fn copy_to<const N: usize>(
        &self,
        offset: usize,
        buffer: &mut [u8; N],
        len: usize,
    ) -> Result<(), TooShort> {
        // One less, so that the sum below is at least one: the verifier of 6.1 learns nothing from `!= 0`.
        let last = opaque((len as u64).wrapping_sub(1));
        if last >= N as u64 {
            return Err(TooShort);
        }
        let len = last + 1;
        if N <= COPY_INLINE_MAX {
            let offset = opaque(offset as u64) as usize;
            let start = self.0.data() + offset;
            if offset <= HEADER_OFFSET_MAX && start + N <= self.0.data_end() {
                #[expect(clippy::cast_ptr_alignment, reason = "read and written unaligned")]
                let (from, to) = (start as *const u64, buffer.as_mut_ptr().cast::<u64>());
                for index in 0..N / 8 {
                    // SAFETY: `start .. start + N` lies in the frame, as was just checked; the buffer has `N`.
                    unsafe { to.add(index).write_unaligned(from.add(index).read_unaligned()) };
                }
                return Ok(());
            }
            if offset <= HEADER_OFFSET_MAX && self.copy_words(start, buffer) >= len {
                return Ok(());
            }
        } else if self.copy_blocks(offset, buffer, len) {
            return Ok(());
        }
        // SAFETY: the helper writes at most `len <= N` bytes; it fails where the frame ends before.
        let result =
            unsafe { bpf_xdp_load_bytes(self.0.ctx, offset as u32, buffer.as_mut_ptr().cast(), len as u32) };
        if result == 0 { Ok(()) } else { Err(TooShort) }
    }
}

impl XdpPacket<'_> {
    /// Writes four octets, the first in the lowest, and returns what was there. `None` beyond the frame's first buffer.
    #[inline(always)]
    pub(crate) fn replace(&self, offset: u64, octets: u32) -> Option<u32> {
        let offset = opaque(offset) as usize;
        if offset > HEADER_OFFSET_MAX {
            return None;
        }
        let place = self.0.data() + offset;
        if place + 4 > self.0.data_end() {
            return None;
        }
        let place = place as *mut u32;
        // SAFETY: four bytes between data and data_end, as was just checked.
        unsafe {
            let before = place.read_unaligned();
            place.write_unaligned(octets);
            Some(before)
        }
    }

    /// Copies the `len` bytes at `offset` where the frame's first buffer has them all, and they are more than a block.
    #[inline(always)]
    fn copy_blocks<const N: usize>(&self, offset: usize, buffer: &mut [u8; N], len: u64) -> bool {
        let offset = opaque(offset as u64) as usize;
        if offset > HEADER_OFFSET_MAX {
            return false;
        }
        let start = self.0.data() + offset;
        let last = opaque(len.wrapping_sub(BLOCK as u64)) as usize;
        // The last block first, which overlaps the one before it: behind it all others lie in the frame, too.
        if last > N - BLOCK || !self.copy_block(start + last, buffer.as_mut_ptr().wrapping_add(last)) {
            return false;
        }
        for index in 0..N / BLOCK {
            let at = index * BLOCK;
            // Hidden: LLVM would count on this to end the loop, and the verifier of 6.1 does not know that it does.
            if opaque(at as u64) as usize >= last {
                break;
            }
            if !self.copy_block(start + at, buffer.as_mut_ptr().wrapping_add(at)) {
                return false;
            }
        }
        true
    }

    /// The other way round than [`Packet::copy_to`]: writes the first `len` bytes of a buffer at `offset`. `false` where the
    /// frame ends before.
    #[inline(always)]
    pub(crate) fn put<const N: usize>(&self, offset: u64, bytes: &[u8; N], len: u64) -> bool {
        if self.put_blocks(offset, bytes, len) {
            return true;
        }
        // As there.
        let last = opaque(len.wrapping_sub(1));
        if last >= N as u64 {
            return false;
        }
        // SAFETY: the helper reads at most `len <= N` bytes; it fails where the frame ends before.
        let failed = unsafe {
            bpf_xdp_store_bytes(self.0.ctx, offset as u32, bytes.as_ptr().cast_mut().cast(), last as u32 + 1)
        };
        failed == 0
    }

    /// Writes the first `len` bytes of a buffer at `offset`, where the frame's first buffer has as many there, and they are
    /// more than a block. `false` if not.
    #[inline(always)]
    fn put_blocks<const N: usize>(&self, offset: u64, bytes: &[u8; N], len: u64) -> bool {
        let offset = opaque(offset) as usize;
        if offset > HEADER_OFFSET_MAX {
            return false;
        }
        let start = self.0.data() + offset;
        let last = opaque(len.wrapping_sub(BLOCK as u64)) as usize;
        if last > N - BLOCK || !self.put_block(start + last, bytes.as_ptr().wrapping_add(last)) {
            return false;
        }
        for index in 0..N / BLOCK {
            let at = index * BLOCK;
            // Hidden: LLVM would count on this to end the loop, and the verifier of 6.1 does not know that it does.
            if opaque(at as u64) as usize >= last {
                break;
            }
            if !self.put_block(start + at, bytes.as_ptr().wrapping_add(at)) {
                return false;
            }
        }
        true
    }

    /// The other way round than [`Self::copy_block`].
    #[inline(always)]
    fn put_block(&self, to: usize, from: *const u8) -> bool {
        // Hidden, as there.
        let to = opaque(to as u64) as usize;
        if to + BLOCK > self.0.data_end() {
            return false;
        }
        #[expect(clippy::cast_ptr_alignment, reason = "read and written unaligned")]
        let (from, to) = (from.cast::<u64>(), to as *mut u64);
        for index in 0..BLOCK / 8 {
            // SAFETY: as in `copy_block`.
            unsafe { to.add(index).write_unaligned(from.add(index).read_unaligned()) };
        }
        true
    }

    /// Copies a block of the frame's first buffer to a buffer that has room for it. `false` if it does not lie in there.
    #[inline(always)]
    fn copy_block(&self, from: usize, to: *mut u8) -> bool {
        // Hidden: LLVM would compare one sum and read at another, and the verifier would not know them for the same.
        let from = opaque(from as u64) as usize;
        if from + BLOCK > self.0.data_end() {
            return false;
        }
        #[expect(clippy::cast_ptr_alignment, reason = "read and written unaligned")]
        let (from, to) = (from as *const u64, to.cast::<u64>());
        for index in 0..BLOCK / 8 {
            // SAFETY: the block lies between data and data_end, as was just checked; the caller has seen to the room.
            unsafe { to.add(index).write_unaligned(from.add(index).read_unaligned()) };
        }
        true
    }

    /// Copies what the frame's first buffer has from `start` on, at most `N` bytes; how many, comes back. The last
    /// message of a segment is as a rule shorter than the buffer, and the helper costs four returns.
    #[inline(always)]
    fn copy_words<const N: usize>(&self, start: usize, buffer: &mut [u8; N]) -> u64 {
        let to = buffer.as_mut_ptr();
        let end = self.0.data_end();
        let mut done = 0;
        while done + 8 <= N {
            if start + done + 8 > end {
                break;
            }
            // SAFETY: eight bytes of the frame, as was just checked, and of the buffer.
            unsafe {
                let word = ((start + done) as *const u64).read_unaligned();
                to.add(done).cast::<u64>().write_unaligned(word);
            }
            done += 8;
        }
        if done + 4 <= N && start + done + 4 <= end {
            // SAFETY: as above, four bytes.
            unsafe {
                let word = ((start + done) as *const u32).read_unaligned();
                to.add(done).cast::<u32>().write_unaligned(word);
            }
            done += 4;
        }
        if done + 2 <= N && start + done + 2 <= end {
            // SAFETY: as above, two bytes.
            unsafe {
                let word = ((start + done) as *const u16).read_unaligned();
                to.add(done).cast::<u16>().write_unaligned(word);
            }
            done += 2;
        }
        // Hidden: LLVM would compare without the one, which shows the verifier nothing.
        if done < N && opaque((start + done + 1) as u64) <= end as u64 {
            // SAFETY: as above, one byte.
            unsafe { to.add(done).write(((start + done) as *const u8).read()) };
            done += 1;
        }
        done as u64
    }
}
