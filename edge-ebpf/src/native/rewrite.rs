//! Changing octets of a segment, and its checksum with them.

use crate::stream::Segment;

/// Four octets of the stream that lie at least partly in a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overlap {
    /// Where in the frame the first of them lies.
    pub offset: usize,
    /// Octets of the four that lie before the segment.
    pub skipped: u32,
    /// Octets that lie in the segment, 1 to 4.
    pub len: u32,
}

/// Which of the four octets from `seq` on lie in the segment.
#[must_use]
#[inline(always)]
pub const fn overlap(segment: Segment, seq: u32) -> Option<Overlap> {
    let ahead = seq.wrapping_sub(segment.seq);
    let (skipped, at) = if ahead.cast_signed() < 0 { (ahead.wrapping_neg(), 0) } else { (0, ahead) };
    if skipped >= 4 || at >= segment.len {
        return None;
    }
    let (wanted, room) = (4 - skipped, segment.len - at);
    let len = if wanted < room { wanted } else { room };
    Some(Overlap { offset: segment.payload as usize + at as usize, skipped, len })
}

/// Who can change octets of the segment at hand.
pub trait Rewrite {
    /// Writes what of four octets from `seq` on lies in the segment.
    fn write(&mut self, seq: u32, octets: [u8; 4]);
}

/// What changes have added to a segment's checksum (RFC 1624), as a sum of its 16-bit words in memory's order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delta(pub u64);

impl Delta {
    /// Octets changed from `old` to `new`, the first in the lowest byte and zeros for those that are not there.
    /// `odd`: the first lies at an odd distance from the transport header.
    #[inline(always)]
    pub const fn add(&mut self, old: u32, new: u32, odd: bool) {
        let change = old as u64 ^ 0xffff_ffff;
        let change = fold(change + new as u64);
        // At an odd place the octets weigh as the other half of their words.
        self.0 += if odd { change.swap_bytes() as u64 } else { change as u64 };
    }

    /// The checksum field after the changes, in memory's order like the one before.
    #[must_use]
    #[inline(always)]
    pub const fn applied_to(self, checksum: u16) -> u16 {
        !fold(!checksum as u64 + self.0)
    }
}

/// The sum of a pseudo-header for TCP (RFC 9293 3.1), in memory's order: what an interface that is to complete a
/// checksum finds in its field. `length`: of TCP's header and payload.
#[must_use]
#[inline(always)]
pub fn pseudo_sum(source: &[u8; 16], destination: &[u8; 16], is_ipv6: bool, length: u32) -> u16 {
    const TCP: u64 = 6;
    let (source, destination): ([u32; 4], [u32; 4]) =
        (zerocopy::transmute!(*source), zerocopy::transmute!(*destination));
    let mut sum = u64::from(source[3]) + u64::from(destination[3]);
    if is_ipv6 {
        for index in 0..3 {
            sum += u64::from(source[index]) + u64::from(destination[index]);
        }
    }
    fold(sum + u64::from(length.swap_bytes()) + (TCP << 8))
}

/// A sum of 16-bit words, its carries added (RFC 1071).
#[must_use]
#[inline(always)]
pub const fn fold(sum: u64) -> u16 {
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    sum as u16
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// RFC 1071, octet by octet.
    fn checksum(octets: &[u8]) -> u16 {
        let words =
            octets.chunks(2).map(|pair| u64::from(pair[0]) | u64::from(*pair.get(1).unwrap_or(&0)) << 8);
        !fold(words.sum())
    }

    proptest! {
        #[test]
        fn a_changed_checksum_is_that_of_the_changed_segment(
            mut octets in proptest::collection::vec(any::<u8>(), 8..80),
            changes in proptest::collection::vec((any::<u32>(), any::<[u8; 4]>()), 1..6),
        ) {
            // Never the one value with two names.
            octets[0] |= 1;
            let before = checksum(&octets);
            let mut delta = Delta::default();
            let segment = Segment { seq: 1000, payload: 0, len: octets.len() as u32 };
            for (at, new) in changes {
                let seq = 996 + at % (octets.len() as u32 + 8);
                let Some(Overlap { offset, skipped, len }) = overlap(segment, seq) else { continue };
                let (mut old_word, mut new_word) = ([0; 4], [0; 4]);
                for index in 0..len as usize {
                    if offset + index == 0 { continue }
                    old_word[index] = octets[offset + index];
                    new_word[index] = new[skipped as usize + index];
                    octets[offset + index] = new_word[index];
                }
                delta.add(u32::from_le_bytes(old_word), u32::from_le_bytes(new_word), offset % 2 == 1);
            }
            prop_assert_eq!(delta.applied_to(before), checksum(&octets));
        }

        #[test]
        fn an_overlap_is_what_both_have(seq: u32, len in 1_u32..40, at in -10_i32..50) {
            let segment = Segment { seq, payload: 7, len };
            let expected: Vec<i32> = (at..at + 4).filter(|octet| (0..len.cast_signed()).contains(octet)).collect();
            let found = overlap(segment, seq.wrapping_add_signed(at)).map(|overlap| {
                let first = i32::try_from(overlap.offset).unwrap_or(i32::MAX) - 7;
                prop_assert_eq!(first, at + overlap.skipped.cast_signed());
                Ok((first..first + overlap.len.cast_signed()).collect::<Vec<_>>())
            });
            prop_assert_eq!(found.transpose()?.unwrap_or_default(), expected);
        }
    }
}
