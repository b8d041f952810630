//! Reading a packet on its way out.

use core::mem::MaybeUninit;

use aya_ebpf::helpers::generated::bpf_skb_load_bytes;
use aya_ebpf::programs::TcContext;
use edge_ebpf::packet::{Packet, TooShort};
use edge_ebpf::verifier::opaque;

/// As for XDP: headers end before this offset, and so the verifier knows a bound.
const HEADER_OFFSET_MAX: usize = 2047;

/// A packet as `tc` sees it. The stack keeps headers in the linear part as a rule, where they are read directly;
/// what lies elsewhere is copied by helper.
pub(crate) struct SkbPacket<'a>(pub(crate) &'a TcContext);

impl Packet for SkbPacket<'_> {
    #[inline(always)]
    fn read<const N: usize>(&self, offset: usize) -> Result<[u8; N], TooShort> {
        let offset = opaque(offset as u64) as usize;
        if offset > HEADER_OFFSET_MAX {
            return Err(TooShort);
        }
        let start = self.0.data() + offset;
        if start + N <= self.0.data_end() {
            // SAFETY: `start .. start + N` lies between data and data_end, as was just checked, and the verifier
            // holds us to it; any bytes are valid for `[u8; N]`.
            return Ok(unsafe { (start as *const [u8; N]).read_unaligned() });
        }
        let mut bytes = MaybeUninit::<[u8; N]>::uninit();
        // SAFETY: the helper writes all `N` bytes, or fails.
        unsafe {
            if bpf_skb_load_bytes(self.0.skb.skb.cast(), offset as u32, bytes.as_mut_ptr().cast(), N as u32)
                == 0
            {
                Ok(bytes.assume_init())
            } else {
                Err(TooShort)
            }
        }
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
        // SAFETY: the helper writes at most `len <= N` bytes; it fails where the packet ends before.
        let result = unsafe {
            bpf_skb_load_bytes(self.0.skb.skb.cast(), offset as u32, buffer.as_mut_ptr().cast(), len as u32)
        };
        if result == 0 { Ok(()) } else { Err(TooShort) }
    }
}
