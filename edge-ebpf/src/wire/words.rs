//! Eight characters at a time: what a loop over bytes would cost the kernel five times as much for.
//!
//! A word holds eight bytes as they lie in memory, the first in the lowest place. Results mark a byte by its
//! high bit, so that they combine with `&` and `|`.

/// The lowest two bytes.
pub(crate) const LOW_16: u64 = 0xffff;
/// The lowest three bytes.
pub(crate) const LOW_24: u64 = 0xff_ffff;
/// The lowest four bytes.
pub(crate) const LOW_32: u64 = 0xffff_ffff;
/// The lowest five bytes.
pub(crate) const LOW_40: u64 = 0xff_ffff_ffff;
/// The lowest six bytes.
pub(crate) const LOW_48: u64 = 0xffff_ffff_ffff;
/// The lowest seven bytes.
pub(crate) const LOW_56: u64 = 0xff_ffff_ffff_ffff;
/// The mark of every byte.
pub(crate) const HIGH_BITS: u64 = repeated(0x80);

/// Eight characters as [`word`] reads them. Or-ed with blanks, letters become lower case.
#[inline(always)]
pub(crate) const fn text(characters: &[u8; 8]) -> u64 {
    u64::from_le_bytes(*characters)
}

/// One byte in all eight places.
#[inline(always)]
pub(crate) const fn repeated(byte: u8) -> u64 {
    byte as u64 * 0x0101_0101_0101_0101
}

/// The high bit of each byte that is zero. Exact for the lowest such byte, which is all that is asked of it.
#[inline(always)]
pub(crate) const fn zero_bytes(word: u64) -> u64 {
    word.wrapping_sub(repeated(1)) & !word & HIGH_BITS
}

/// The high bit of each byte below 14: NUL, TAB, the ends of lines. Exact for the lowest such byte.
#[inline(always)]
pub(crate) const fn low_bytes(word: u64) -> u64 {
    word.wrapping_sub(repeated(14)) & !word & HIGH_BITS
}

/// The high bit of each byte that is zero, exact for all.
#[inline(always)]
pub(crate) const fn exact_zero_bytes(word: u64) -> u64 {
    !(((word & !HIGH_BITS) + !HIGH_BITS) | word) & HIGH_BITS
}

/// The high bit of each byte that is white space (RFC 3261 25.1, WSP), exact for all.
#[inline(always)]
pub(crate) const fn blanks(word: u64) -> u64 {
    exact_zero_bytes(word ^ repeated(b' ')) | exact_zero_bytes(word ^ repeated(b'\t'))
}

/// The high bit of each CR and LF, exact for all.
#[inline(always)]
pub(crate) const fn line_ends(word: u64) -> u64 {
    exact_zero_bytes(word ^ repeated(b'\r')) | exact_zero_bytes(word ^ repeated(b'\n'))
}

/// White space within a line (RFC 3261 25.1, WSP).
#[inline(always)]
pub(crate) const fn is_white(octet: u8) -> bool {
    octet == b' ' || octet == b'\t'
}

/// The lowest bit that is set, alone.
#[inline(always)]
pub(crate) const fn lowest_bit(word: u64) -> u64 {
    word & word.wrapping_neg()
}

/// Which of the eight places a high bit is in. BPF cannot count zeros.
#[inline(always)]
pub(crate) const fn lane(high_bit: u64) -> u32 {
    ((high_bit >> 7).wrapping_mul(0x0001_0203_0405_0607) >> 56) as u32
}

/// What stands behind white space at the start of eight characters, and in which place; `None` if they are nothing else. Up to a
/// colon that is HCOLON (RFC 3261 25.1), of which so much is looked at.
#[inline(always)]
pub(crate) const fn behind_blanks(characters: u64) -> Option<(u32, u8)> {
    let lowest = lowest_bit(!blanks(characters) & HIGH_BITS);
    if lowest == 0 {
        return None;
    }
    let place = lane(lowest);
    Some((place, (characters >> (8 * place)) as u8))
}

/// All bits of the places below a high bit's.
#[inline(always)]
pub(crate) const fn before(high_bit: u64) -> u64 {
    (high_bit >> 7).wrapping_sub(1)
}

/// All bits of the places up to a high bit's.
#[inline(always)]
pub(crate) const fn through(high_bit: u64) -> u64 {
    (high_bit << 1).wrapping_sub(1)
}

/// The high bit of each byte that lies in a range of ASCII.
#[inline(always)]
pub(crate) const fn in_range(word: u64, low: u8, high: u8) -> u64 {
    let ascii = word & !HIGH_BITS;
    let from_low = ascii + repeated(0x80 - low);
    let past_high = ascii + repeated(0x7f - high);
    from_low & !past_high & !word & HIGH_BITS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_is_told_from_what_follows_it() {
        for (characters, behind) in [
            (b": x\r\nTo:", Some((0, b':'))),
            (b" \t :    ", Some((3, b':'))),
            (b"       :", Some((7, b':'))),
            (b"        ", None),
            (b" !: x\r\nT", Some((1, b'!'))),
            (b"\t\x08: x\r\nT", Some((1, 8))),
            (b"\0\0\0\0\0\0\0\0", Some((0, 0))),
        ] {
            assert_eq!(behind_blanks(text(characters)), behind, "{characters:?}");
        }
    }
}
