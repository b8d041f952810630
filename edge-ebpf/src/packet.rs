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
}

impl Packet for [u8] {
    #[inline(always)]
    fn read<const N: usize>(&self, offset: usize) -> Result<[u8; N], TooShort> {
        let end = offset.checked_add(N).ok_or(TooShort)?;
        self.get(offset..end).and_then(|bytes| bytes.try_into().ok()).ok_or(TooShort)
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
}
