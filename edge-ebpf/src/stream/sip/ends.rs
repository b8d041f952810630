//! Where lines end, for everybody or for some, and whether all is there that tells what one is.

use super::HISTORY_BYTES;
use super::reader::Reader;
use crate::verifier::{byte, word};
use crate::wire::words::{behind_blanks, lane, low_bytes, lowest_bit, repeated, zero_bytes};

/// Words that one step looks through for the end of a line.
const WORDS: u32 = 16;

/// Where a line ends.
pub(super) enum LineEnd {
    /// At this LF.
    At(u32),
    /// For some servers at a bare CR, behind which the position is.
    Bare,
    /// Beyond what was looked at. Either more is there, or it has to come.
    Beyond { goes_on: bool },
}

impl Reader {
    /// Whether all is there of what tells a line: its whole name with what follows up to the colon, or its end.
    #[inline(always)]
    pub(super) fn has_name(&self) -> bool {
        let there = self.end - self.position;
        if there >= HISTORY_BYTES {
            return true;
        }
        let ends = |at: u32| {
            let marks = zero_bytes(word(&self.bytes, self.position + at) ^ repeated(b'\n'));
            if marks == 0 { HISTORY_BYTES } else { at + lane(lowest_bit(marks)) }
        };
        ends(0).min(ends(8)).min(ends(16)) < there
    }

    /// Looks for the end of the line at hand in as much as one step looks at, and moves on to where that is not certain.
    #[inline(always)]
    pub(super) fn line_end(&mut self) -> LineEnd {
        let mut position = self.position;
        for _ in 0..WORDS {
            if position >= self.end {
                break;
            }
            let marks = low_bytes(word(&self.bytes, position));
            if marks == 0 {
                position += 8;
                continue;
            }
            position += lane(lowest_bit(marks));
            if position < self.end {
                self.position = position;
                return self.at_mark(byte(&self.bytes, position));
            }
        }
        self.position = if position < self.end { position } else { self.end };
        LineEnd::Beyond { goes_on: position < self.end }
    }

    /// What a control character at the position says.
    #[inline(always)]
    fn at_mark(&mut self, octet: u8) -> LineEnd {
        if octet == b'\n' {
            return LineEnd::At(self.position);
        }
        if octet == b'\r' && self.is_last() {
            return LineEnd::Beyond { goes_on: false };
        }
        self.position += 1;
        if octet != b'\r' {
            LineEnd::Beyond { goes_on: true }
        } else if byte(&self.bytes, self.position) == b'\n' {
            LineEnd::At(self.position)
        } else {
            LineEnd::Bare
        }
    }

    /// Takes an octet; with it, whether it is a CR that ends no line for all. `None`: of a CR what comes behind it tells, and is
    /// not there yet.
    #[inline(always)]
    pub(super) fn take(&mut self) -> Option<(u8, bool)> {
        let octet = byte(&self.bytes, self.position);
        if octet == b'\r' && self.is_last() {
            return None;
        }
        self.position += 1;
        Some((octet, octet == b'\r' && byte(&self.bytes, self.position) != b'\n'))
    }

    /// Whether what comes behind the position is not there yet.
    #[inline(always)]
    pub(super) const fn is_last(&self) -> bool {
        self.position + 1 >= self.end
    }

    /// Whether somebody takes what stands here for a To header.
    #[inline(always)]
    pub(super) fn is_like_to(&self, first: u64) -> bool {
        let name = if (first >> 8) as u8 | 0x20 == b'o' { 2 } else { 1 };
        first as u8 | 0x20 == b't'
            && matches!(behind_blanks(word(&self.bytes, self.position + name)), Some((_, b':')) | None)
    }
}
