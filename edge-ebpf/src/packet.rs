//! Reading a frame, bounds-checked.

/// The frame ends before what was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooShort;

/// A frame that can be read at any offset.
///
/// The kernel implements it over `xdp_md`'s data, the host over `[u8]`.
pub trait Packet {
    /// The `N` bytes at `offset`.
    fn read<const N: usize>(&self, offset: usize) -> Result<[u8; N], TooShort>;

    /// Copies the `len` bytes at `offset` to the front of `buffer`, also where a frame lies in several buffers
    /// and [`Packet::read`] sees the first only. `len` is from 1 to `N`; what is behind it in the buffer may be
    /// overwritten.
    fn copy_to<const N: usize>(
        &self,
        offset: usize,
        buffer: &mut [u8; N],
        len: usize,
    ) -> Result<(), TooShort>;
}

impl Packet for [u8] {
    #[inline(always)]
    fn read<const N: usize>(&self, offset: usize) -> Result<[u8; N], TooShort> {
        let end = offset.checked_add(N).ok_or(TooShort)?;
        self.get(offset..end).and_then(|bytes| bytes.try_into().ok()).ok_or(TooShort)
    }

    #[inline(always)]
    fn copy_to<const N: usize>(
        &self,
        offset: usize,
        buffer: &mut [u8; N],
        len: usize,
    ) -> Result<(), TooShort> {
        let end = offset.checked_add(len).ok_or(TooShort)?;
        let bytes = self.get(offset..end).ok_or(TooShort)?;
        buffer.get_mut(..len).ok_or(TooShort)?.copy_from_slice(bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_succeeds_exactly_when_the_bytes_are_there() {
        let frame = [1_u8, 2, 3, 4];
        for offset in 0..8 {
            let expected = (offset + 2 <= frame.len()).then(|| [frame[offset], frame[offset + 1]]);
            assert_eq!(frame[..].read::<2>(offset).ok(), expected, "offset {offset}");
        }
        assert_eq!(frame[..].read::<2>(usize::MAX), Err(TooShort));
    }

    #[test]
    fn a_copy_succeeds_exactly_when_the_bytes_are_there_and_fit() {
        let frame = [1_u8, 2, 3, 4];
        let mut buffer = [0_u8; 3];
        assert_eq!(frame[..].copy_to(1, &mut buffer, 2), Ok(()));
        assert_eq!(buffer, [2, 3, 0]);
        assert_eq!(frame[..].copy_to(3, &mut buffer, 2), Err(TooShort));
        assert_eq!(frame[..].copy_to(0, &mut buffer, 4), Err(TooShort));
        assert_eq!(frame[..].copy_to(usize::MAX, &mut buffer, 2), Err(TooShort));
    }
}
