//! Whether a To header has a tag, and so the request is within a dialog: read eight bytes at a time where that
//! is certain, else left to the walk, byte by byte.

use core::ops::ControlFlow;

use super::walk::{self, is_token};
use super::{Kind, Scratch, WORDS_PER_LINE_MAX, header};
use crate::verifier::{byte, forgotten, word};
use crate::wire::words::{LOW_24, in_range, lane, lowest_bit, repeated, text, zero_bytes};

/// Whether a To value has a tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tag {
    Absent,
    Present,
    /// Only a byte-by-byte walk can tell.
    Unclear,
}

impl Scratch {
    /// Looks for a tag in the To header: what follows the lines, whether or not all were there. Comes back with `true` if it has
    /// to be walked byte by byte: it holds quotes or white space around a parameter. Not where the line is read, because the
    /// verifier would walk this for each line that one call of the loop's body reads.
    #[inline(always)]
    pub fn look_for_tag(&mut self) -> bool {
        if self.to_end == 0 || self.wanted != header::ALL {
            return false;
        }
        let (start, end) = (self.to_start, self.to_end);
        match self.tag_between(start, end) {
            Tag::Present => {
                self.kind = Kind::InDialog as u32;
                false
            }
            Tag::Absent => false,
            Tag::Unclear => true,
        }
    }

    /// Starts that walk.
    #[inline(always)]
    pub fn begin_tag_walk(&mut self) {
        self.position = self.to_start;
        self.walk = 0;
    }

    /// One byte of that walk; at most [`LINE_BYTES_MAX`] of them.
    #[inline(always)]
    pub fn tag_byte(&mut self) -> ControlFlow<()> {
        let position = self.position;
        if position >= self.to_end {
            return ControlFlow::Break(());
        }
        self.position = position + 1;
        self.walk = walk::step(self.walk, byte(&self.bytes, position));
        ControlFlow::Continue(())
    }

    /// What that walk has found.
    #[inline(always)]
    pub fn end_tag_walk(&mut self) {
        if walk::is_tagged(self.walk) {
            self.kind = Kind::InDialog as u32;
        }
    }

    /// Looks for a `tag` parameter among the header parameters of a To value.
    #[inline(always)]
    fn tag_between(&mut self, start: u32, end: u32) -> Tag {
        // Parameters of the header follow the `>`; without one, all parameters are the header's
        // (RFC 3261 20.10). A quoted string may hold anything: left to the walk.
        let mut parameters = start;
        let mut position = forgotten(&mut self.walk, start);
        for _ in 0..WORDS_PER_LINE_MAX {
            if position >= end {
                break;
            }
            let here = word(&self.bytes, position);
            if zero_bytes(here ^ repeated(b'"')) != 0 {
                return Tag::Unclear;
            }
            let closing = zero_bytes(here ^ repeated(b'>'));
            if closing != 0 {
                // The word may reach into the next line.
                let bracket = position + lane(lowest_bit(closing));
                parameters = if bracket < end { bracket } else { start };
                break;
            }
            position += 8;
        }
        let mut tag = 0;
        let mut position = forgotten(&mut self.walk, parameters);
        for _ in 0..WORDS_PER_LINE_MAX {
            if position >= end {
                return Tag::Absent;
            }
            let here = word(&self.bytes, position);
            // A bracket that opens here was not closed, or is a second one: no parameters stand in it.
            if zero_bytes(here ^ repeated(b'"')) | zero_bytes(here ^ repeated(b'<')) | square(here) != 0 {
                return Tag::Unclear;
            }
            let semicolons = zero_bytes(here ^ repeated(b';'));
            if semicolons == 0 {
                position += 8;
                continue;
            }
            position += lane(lowest_bit(semicolons)) + 1;
            if position >= end {
                return Tag::Absent;
            }
            let name = word(&self.bytes, position);
            let blank = |character: u64| character == u64::from(b' ') || character == u64::from(b'\t');
            if blank(name & 0xff) {
                return Tag::Unclear;
            }
            if zero_bytes(name ^ repeated(b'%')) & LOW_24 != 0 {
                return Tag::Unclear;
            }
            if name & LOW_24 | text(b"   \0\0\0\0\0") == text(b"tag\0\0\0\0\0") {
                let (after, value) = ((name >> 24 & 0xff) as u8, (name >> 32 & 0xff) as u8);
                if after == b'=' && is_token(value) {
                    tag = position + 4;
                    break;
                }
                if !is_token(after) {
                    return Tag::Unclear;
                }
            }
        }
        if tag == 0 { Tag::Unclear } else { self.last_tag(tag, end) }
    }

    /// A tag stands at `position`: it counts if nothing follows its value.
    #[inline(always)]
    fn last_tag(&mut self, position: u32, end: u32) -> Tag {
        let mut position = forgotten(&mut self.walk, position);
        for _ in 0..WORDS_PER_LINE_MAX {
            if position >= end {
                return Tag::Present;
            }
            let here = word(&self.bytes, position);
            let marks = in_range(here, b';', b'>') | square(here);
            if marks != 0 {
                // The word may reach into the next line.
                let first = position + lane(lowest_bit(marks));
                return if first < end { Tag::Unclear } else { Tag::Present };
            }
            position += 8;
        }
        Tag::Unclear
    }
}

/// The high bit of each bracket around a value that some servers take whole, whatever is in it.
#[inline(always)]
const fn square(word: u64) -> u64 {
    zero_bytes(word ^ repeated(b'['))
}
