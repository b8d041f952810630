//! Called numbers: the leading digits of an E.164 number (ITU-T E.164), as one integer.

/// Most digits that a prefix can have: what one word holds.
pub const PREFIX_DIGITS_MAX: u32 = 8;

/// The first `digits` digits of `text` (eight characters, the first in the lowest byte) as a decimal number
/// with a 1 before them; `None` if fewer digits lead the text. `digits` beyond 1 to 8 is taken as 8.
#[must_use]
#[inline(always)]
pub fn prefix(text: u64, digits: u32) -> Option<u32> {
    let digits = if digits == 0 || digits > PREFIX_DIGITS_MAX { PREFIX_DIGITS_MAX } else { digits };
    // The digits to the upper end of the word, zeros below: an eight-digit number with leading zeros.
    let spare_bits = 8 * (PREFIX_DIGITS_MAX - digits);
    let zeros = 0x3030_3030_3030_3030 & ((1_u64 << spare_bits) - 1);
    let filled = text << spare_bits | zeros;
    if !all_digits(filled) {
        return None;
    }
    Some(parse_eight(filled) + power_of_ten(digits))
}

/// The value of the first `digits` characters of `text`, which are digits; 0 for none of them.
#[must_use]
#[inline(always)]
pub(super) const fn value(text: u64, digits: u32) -> u32 {
    if digits == 0 {
        return 0;
    }
    let spare_bits = 8 * (PREFIX_DIGITS_MAX - digits);
    parse_eight(text << spare_bits | 0x3030_3030_3030_3030 & ((1_u64 << spare_bits) - 1))
}

/// Whether each byte is an ASCII digit: its high half is 3, also after adding 6.
#[inline(always)]
const fn all_digits(word: u64) -> bool {
    let high = 0xf0f0_f0f0_f0f0_f0f0;
    word & high == 0x3030_3030_3030_3030 && (word + 0x0606_0606_0606_0606) & high == 0x3030_3030_3030_3030
}

/// Eight ASCII digits, the first in the lowest byte: pairs, fours, eight, three multiplications.
#[inline(always)]
pub(super) const fn parse_eight(word: u64) -> u32 {
    let pairs = (word & 0x0f0f_0f0f_0f0f_0f0f).wrapping_mul((10 << 8) + 1) >> 8;
    let fours = (pairs & 0x00ff_00ff_00ff_00ff).wrapping_mul((100 << 16) + 1) >> 16;
    ((fours & 0x0000_ffff_0000_ffff).wrapping_mul((10_000 << 32) + 1) >> 32) as u32
}

/// Ten to the power of `digits`, at most 8.
#[inline(always)]
pub(super) const fn power_of_ten(digits: u32) -> u32 {
    match digits {
        0 => 1,
        1 => 10,
        2 => 100,
        3 => 1_000,
        4 => 10_000,
        5 => 100_000,
        6 => 1_000_000,
        7 => 10_000_000,
        _ => 100_000_000,
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on panics where it stands")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn reference(text: [u8; 8], digits: u32) -> Option<u32> {
        let lead = &text[..digits as usize];
        if !lead.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let mut with_one = String::from("1");
        with_one.extend(lead.iter().map(|&byte| char::from(byte)));
        with_one.parse().ok()
    }

    #[test]
    fn leading_zeros_count() {
        assert_eq!(prefix(u64::from_le_bytes(*b"0447700@"), 6), Some(1_044_770));
        assert_eq!(prefix(u64::from_le_bytes(*b"4477@xyz"), 6), None);
        assert_eq!(prefix(u64::from_le_bytes(*b"99999999"), 8), Some(199_999_999));
    }

    proptest! {
        #[test]
        fn as_a_plain_reading_says(text in "[0-9]{0,8}[ -~]{8}", digits in 1_u32..=8) {
            let bytes: [u8; 8] = text.as_bytes()[..8].try_into().unwrap();
            prop_assert_eq!(prefix(u64::from_le_bytes(bytes), digits), reference(bytes, digits));
        }

        #[test]
        fn as_a_plain_reading_says_of_any_bytes(bytes: [u8; 8], digits in 1_u32..=8) {
            prop_assert_eq!(prefix(u64::from_le_bytes(bytes), digits), reference(bytes, digits));
        }
    }
}
