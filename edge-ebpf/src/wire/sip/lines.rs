//! Lines: where they end, which header they are, and what they hash to.

use super::{Scratch, WORDS_PER_LINE_MAX, header};
use crate::hash::mix;
use crate::verifier::{byte, forgotten, word};
use crate::wire::words::{
    HIGH_BITS, LOW_16, LOW_24, LOW_32, LOW_56, before, behind_blanks, blanks, exact_zero_bytes, lane,
    lowest_bit, repeated, text, zero_bytes,
};

impl Scratch {
    /// Where the line that holds `start` ends: the place of its LF. `None` if it does not end within the payload,
    /// is too long, or ends with a bare LF.
    #[inline(always)]
    pub(super) fn line_end(&mut self, start: u32) -> Option<u32> {
        let mut position = forgotten(&mut self.line_start, start);
        for _ in 0..WORDS_PER_LINE_MAX / 2 {
            if position >= self.length {
                return None;
            }
            let feeds = zero_bytes(word(&self.bytes, position) ^ repeated(b'\n'));
            if feeds != 0 {
                return self.whole_line(position + lane(lowest_bit(feeds)));
            }
            let feeds = zero_bytes(word(&self.bytes, position + 8) ^ repeated(b'\n'));
            if feeds != 0 {
                return self.whole_line(position + 8 + lane(lowest_bit(feeds)));
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
            let feeds = zero_bytes(here ^ repeated(b'\n'));
            if feeds != 0 {
                let lowest = lowest_bit(feeds);
                let end = self.whole_line(position + lane(lowest))?;
                return Some((end, mix(hash, here & before(lowest))));
            }
            hash = mix(hash, here);
            position += 8;
        }
        None
    }

    /// The end of a line, if it lies within the payload and a CR stands before it.
    #[inline(always)]
    pub(super) fn whole_line(&mut self, end: u32) -> Option<u32> {
        let end = forgotten(&mut self.line_start, end);
        (end < self.length && byte(&self.bytes, end.wrapping_sub(1)) == b'\r').then_some(end)
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
