//! Lines: where they end, which header they are, and what they hash to.

use core::ops::ControlFlow;

use super::{Scratch, WORDS_PER_LINE_MAX, header};
use crate::hash::mix;
use crate::verifier::{forgotten, masked, word};
use crate::wire::words::{
    HIGH_BITS, LOW_16, LOW_24, LOW_32, LOW_56, behind_blanks, blanks, exact_zero_bytes, lane, low_bytes,
    lowest_bit, repeated, text, through,
};

/// Which octets to look for in a word: those that, with bits flipped, lie below a bound.
#[derive(Clone, Copy)]
struct Marks {
    flips: u64,
    above: u64,
    /// How far they stand behind the CR.
    behind: u32,
}

impl Marks {
    /// The high bit of each; exact for the lowest.
    #[inline(always)]
    const fn of(self, word: u64) -> u64 {
        let word = word ^ self.flips;
        word.wrapping_sub(self.above) & !word & HIGH_BITS
    }
}

impl Scratch {
    /// Where the line that holds `start` ends: the place of its LF. `None` if it does not end within the payload, is too
    /// long, or does not end so for all servers.
    #[inline(always)]
    pub(super) fn line_end(&mut self, start: u32) -> Option<u32> {
        let marks = self.marks();
        let mut position = forgotten(&mut self.line_start, start);
        for _ in 0..WORDS_PER_LINE_MAX / 2 {
            if position >= self.length {
                return None;
            }
            let found = marks.of(word(&self.bytes, position));
            if found != 0 {
                return self.whole_line(position + lane(lowest_bit(found)) - marks.behind);
            }
            let found = marks.of(word(&self.bytes, position + 8));
            if found != 0 {
                return self.whole_line(position + 8 + lane(lowest_bit(found)) - marks.behind);
            }
            position += 16;
        }
        None
    }

    /// As [`Self::line_end`], with the keyed hash of what lies between.
    #[inline(always)]
    pub(super) fn line_hash(&mut self, start: u32) -> Option<(u32, u64)> {
        let mut hash = self.hash_key;
        let mut position = forgotten(&mut self.line_start, start);
        for _ in 0..WORDS_PER_LINE_MAX {
            if position >= self.length {
                return None;
            }
            let here = word(&self.bytes, position);
            let marks = low_bytes(here);
            if marks != 0 {
                let lowest = lowest_bit(marks);
                let end = self.whole_line(position + lane(lowest))?;
                // With the CR, or zeros at its end would be nothing.
                return Some((end, mix(hash, here & through(lowest))));
            }
            hash = mix(hash, here);
            position += 8;
        }
        None
    }

    /// The LF of a line that ends with the control character at `mark`, if it is CR LF. PJSIP ends a line at a bare CR, all at
    /// a bare LF, some a value at NUL: whoever goes on reads on in another header.
    #[inline(always)]
    fn whole_line(&mut self, mark: u32) -> Option<u32> {
        let mark = forgotten(&mut self.line_start, mark);
        if mark + 1 < self.length && word(&self.bytes, mark) & LOW_16 == text(b"\r\n\0\0\0\0\0\0") {
            return Some(mark + 1);
        }
        self.stopped_at = mark;
        None
    }

    /// Whether a line was not read for a tab in it: it is a space from now on, and the line can be read again.
    #[inline(always)]
    fn untab(&mut self) -> bool {
        let Some(octet) = self.bytes.get_mut(masked(self.stopped_at)) else { return false };
        let is_tab = *octet == b'\t';
        if is_tab {
            *octet = b' ';
        }
        is_tab
    }

    /// After a line that was not read.
    #[inline(always)]
    pub(super) fn again(&mut self) -> ControlFlow<()> {
        if self.untab() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    }

    /// What a line may end at. A server has made of its lines what it means, so that there they end with a LF.
    #[inline(always)]
    fn marks(&self) -> Marks {
        if self.hears {
            Marks { flips: repeated(b'\n'), above: repeated(1), behind: 1 }
        } else {
            Marks { flips: 0, above: repeated(14), behind: 0 }
        }
    }

    /// The header that a line is, as a bit, and where its value starts (at the colon or shortly before it).
    #[inline(always)]
    pub(super) fn header_at(&self, first: u64, start: u32) -> (u32, u32) {
        let (bit, name_bytes) = if first & LOW_24 | text(b"   \0\0\0\0\0") == text(b"via\0\0\0\0\0") {
            (header::VIA, 3)
        } else if first & LOW_16 | text(b"  \0\0\0\0\0\0") == text(b"to\0\0\0\0\0\0") {
            (header::TO, 2)
        } else if first & LOW_56 | text(b"    \0  \0") == text(b"call-id\0") {
            (header::CALL_ID, 7)
        } else if first & LOW_32 | text(b"    \0\0\0\0") == text(b"cseq\0\0\0\0") {
            (header::CSEQ, 4)
        } else if first & LOW_32 | text(b"    \0\0\0\0") == text(b"from\0\0\0\0") {
            (header::FROM, 4)
        } else if self.hears
            && first | text(b"        ") == text(b"session-")
            && word(&self.bytes, start + 8) & LOW_56 | text(b"       \0") == text(b"expires\0")
        {
            (header::SESSION_EXPIRES, 15)
        } else {
            // Compact forms (RFC 3261 20).
            match (first & 0xff) as u8 | 0x20 {
                b'v' => (header::VIA, 1),
                b't' => (header::TO, 1),
                b'i' => (header::CALL_ID, 1),
                b'f' => (header::FROM, 1),
                b'x' if self.hears => (header::SESSION_EXPIRES, 1),
                _ => return (0, 0),
            }
        };
        let behind = start + name_bytes;
        let here = word(&self.bytes, behind);
        if here & 0xff == u64::from(b':') {
            return (bit, behind);
        }
        match behind_blanks(here) {
            Some((_, b':')) => (bit, behind),
            Some(_) => (0, 0),
            // Nobody writes more, but a server may skip them all.
            None => (header::UNCLEAR, behind),
        }
    }

    /// HCOLON: white space may stand before the colon (RFC 3261 25.1); up to seven characters are looked at.
    #[inline(always)]
    pub(super) fn colon_follows(&self, position: u32) -> bool {
        let here = word(&self.bytes, position);
        here & 0xff == u64::from(b':') || matches!(behind_blanks(here), Some((_, b':')))
    }

    /// Where a value starts, behind the colon and the white space around it; up to seven characters are skipped.
    #[inline(always)]
    pub(super) fn value_at(&self, position: u32) -> u32 {
        let here = word(&self.bytes, position);
        let skipped = exact_zero_bytes(here ^ repeated(b':')) | blanks(here);
        position + lane(lowest_bit(!skipped & HIGH_BITS))
    }
}
