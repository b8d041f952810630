//! Caller IDs: every number that a request claims to come from, in From and in P-Asserted-Identity (RFC 3325 9.1).
//!
//! A machine with explicit steps, as the parser: [`Scratch::begin_callers`], then [`Scratch::caller_line`],
//! [`Scratch::caller_uri`], [`Scratch::begin_caller`], [`Scratch::caller_digit`] and [`Scratch::end_caller`], each as the
//! one before asks for it, until the headers are over. In parts, because the kernel proves each by itself. Read only for accounts whose caller IDs are checked, and stricter than the parser: what
//! claims a number and cannot be read is somebody else's, or a list of numbers could be walked around by writing
//! them unusually.

use core::ops::ControlFlow;

use super::{Scratch, WORDS_PER_LINE_MAX, header};
use crate::abi::CALLER_ID_DIGITS;
use crate::verifier::{byte, forgotten, opaque, word};
use crate::wire::words::{
    LOW_16, LOW_24, LOW_32, exact_zero_bytes, is_white, lane, lowest_bit, repeated, text, zero_bytes,
};

/// Most steps of the walk: header lines, further values, and parts of lines that are very long.
pub const CALLER_STEPS_MAX: u32 = 128;
/// Digits that [`Scratch::caller_in_decimal`] takes: what 64 bits hold.
const DECIMAL_DIGITS: usize = 18;
/// Words behind a number in which the `@` of its URI is looked for.
const USER_WORDS: u32 = 8;

/// What a part of a step found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Caller {
    /// Nothing; there is more.
    Nothing = 0,
    /// A number: it is in [`Scratch::caller_digits`].
    Number = 1,
    /// What cannot be read for sure.
    Unreadable = 2,
    /// The headers are over.
    Done = 3,
    /// A value, its URI, to be looked at by the next part.
    Value = 4,
}

impl Caller {
    /// Back from the integer that a global function returns.
    #[must_use]
    #[inline(always)]
    pub const fn from_index(index: u64) -> Self {
        match index {
            0 => Self::Nothing,
            1 => Self::Number,
            3 => Self::Done,
            4 => Self::Value,
            _ => Self::Unreadable,
        }
    }
}

/// Where the walk is, as [`Scratch`] keeps it.
mod at {
    /// At the start of a line.
    pub(super) const LINE: u32 = 0;
    /// Within a line that is none of ours and longer than one step reads.
    pub(super) const LONG: u32 = 1;
    /// At a further value of the line that was read last.
    pub(super) const VALUE: u32 = 2;
}

/// The walk's state.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct Callers {
    /// The number at hand: ASCII digits, zero-padded.
    digits: [u64; CALLER_ID_DIGITS / 8],
    /// Of [`at`].
    walk: u32,
    /// Where the next line starts, behind the value at hand.
    next: u32,
    /// Where the name of the header at hand ends; 0 if it shows no caller.
    name: u32,
    /// Where the URI at hand starts.
    uri: u32,
    /// Digits of the number at hand.
    length: u32,
    /// Where its next character is.
    at: u32,
}

impl Callers {
    /// Before the walk.
    #[cfg(not(target_arch = "bpf"))]
    pub(super) const NONE: Self = Self {
        digits: [0; CALLER_ID_DIGITS / 8],
        walk: at::LINE,
        next: 0,
        name: 0,
        uri: 0,
        length: 0,
        at: 0,
    };
}

impl Scratch {
    /// Starts the walk.
    #[inline(always)]
    pub fn begin_callers(&mut self) {
        self.position = self.headers_at;
        self.callers.walk = at::LINE;
        self.found = 0;
        self.callers.digits = [0; CALLER_ID_DIGITS / 8];
    }

    /// First part of a step: the next value, where the last line had another one, or else the next line.
    #[inline(always)]
    pub fn caller_line(&mut self) -> Caller {
        if self.callers.walk == at::VALUE {
            return Caller::Value;
        }
        let start = self.position;
        let first = word(&self.bytes, start);
        self.find_caller_header(first, start);
        let Some(end) = self.feed_after(start) else {
            if self.callers.name != 0 || start + WORDS_PER_LINE_MAX * 8 >= self.length {
                return Caller::Unreadable;
            }
            self.position = start + WORDS_PER_LINE_MAX * 8;
            self.callers.walk = at::LONG;
            return Caller::Nothing;
        };
        let was_long = self.callers.walk == at::LONG;
        self.callers.walk = at::LINE;
        self.position = end + 1;
        if was_long {
            return Caller::Nothing;
        }
        if first & 0xff == u64::from(b'\n') || first & LOW_16 == text(b"\r\n\0\0\0\0\0\0") {
            return if self.found & header::FROM == 0 { Caller::Unreadable } else { Caller::Done };
        }
        if self.callers.name == 0 {
            return Caller::Nothing;
        }
        // Folded: the value goes on where it is not looked for.
        let next = byte(&self.bytes, end + 1);
        if is_white(next) {
            return Caller::Unreadable;
        }
        self.callers.next = end + 1;
        self.position = self.value_at(self.callers.name);
        Caller::Value
    }

    /// Second part: the URI of a value, and whether another value follows.
    #[inline(always)]
    pub fn caller_uri(&mut self) -> Caller {
        let value = self.position;
        self.callers.walk = at::LINE;
        self.position = self.callers.next;
        // More white space than is skipped might hide a quote.
        if matches!(byte(&self.bytes, value), b' ' | b'\t' | b':') {
            return Caller::Unreadable;
        }
        let uri = self.address_at(value);
        self.callers.uri = uri;
        if uri == 0 || uri >= self.callers.next {
            return Caller::Unreadable;
        }
        // RFC 3325 9.1: two values, one of them tel.
        let comma = self.comma_after(uri);
        if comma != 0 {
            self.callers.walk = at::VALUE;
            self.position = self.value_at(comma + 1);
        }
        Caller::Value
    }

    /// Forgets the number at hand: what cannot be read has none.
    #[inline(always)]
    pub fn forget_caller(&mut self) {
        self.callers.digits = [0; CALLER_ID_DIGITS / 8];
    }

    /// The number of [`Caller::Number`] as a decimal with a 1 before it; 0 where it is longer than that can be.
    #[must_use]
    #[inline(always)]
    pub fn caller_in_decimal(&self) -> u64 {
        let digits = self.caller_digits();
        let mut decimal = 1_u64;
        for digit in &digits[..DECIMAL_DIGITS] {
            if *digit != 0 {
                decimal = decimal * 10 + u64::from(*digit & 15);
            }
        }
        if digits[0] == 0 || digits[DECIMAL_DIGITS] != 0 { 0 } else { decimal }
    }

    /// The number of [`Caller::Number`]: ASCII digits, zero-padded.
    #[must_use]
    #[inline(always)]
    pub fn caller_digits(&self) -> [u8; CALLER_ID_DIGITS] {
        zerocopy::transmute!(self.callers.digits)
    }

    /// Where the name of a From or P-Asserted-Identity header ends, into `callers.name`; 0 for another header.
    #[inline(always)]
    fn find_caller_header(&mut self, first: u64, start: u32) {
        let (bit, name) = self.header_at(first, start);
        if bit == header::FROM {
            self.found |= header::FROM;
            self.callers.name = name;
            return;
        }
        let is_asserted = first | text(b" \0      ") == text(b"p-assert")
            && word(&self.bytes, start + 8) | text(b"  \0     ") == text(b"ed-ident")
            && word(&self.bytes, start + 16) & LOW_24 | text(b"   \0\0\0\0\0") == text(b"ity\0\0\0\0\0")
            && self.colon_follows(start + 19);
        self.callers.name = if is_asserted { start + 19 } else { 0 };
    }

    /// The place of the next LF within as much as one step reads.
    #[inline(always)]
    fn feed_after(&mut self, start: u32) -> Option<u32> {
        let mut position = forgotten(&mut self.line_start, start);
        for _ in 0..WORDS_PER_LINE_MAX {
            if position >= self.length {
                return None;
            }
            let feeds = zero_bytes(word(&self.bytes, position) ^ repeated(b'\n'));
            if feeds != 0 {
                let feed = position + lane(lowest_bit(feeds));
                return (feed < self.length).then_some(feed);
            }
            position += 8;
        }
        None
    }

    /// The next comma of the line; 0 if there is none.
    #[inline(always)]
    fn comma_after(&mut self, start: u32) -> u32 {
        let mut position = forgotten(&mut self.line_start, start);
        for _ in 0..WORDS_PER_LINE_MAX {
            if position >= self.callers.next {
                return 0;
            }
            let commas = exact_zero_bytes(word(&self.bytes, position) ^ repeated(b','));
            if commas != 0 {
                let comma = position + lane(lowest_bit(commas));
                return if comma < self.callers.next { comma } else { 0 };
            }
            position += 8;
        }
        0
    }

    /// Third part: the user of a `sip:`, `sips:` or `tel:` URI. [`Caller::Value`] if it claims to be a number, to be read
    /// by [`Self::caller_digit`] until it breaks.
    #[inline(always)]
    pub fn begin_caller(&mut self) -> Caller {
        self.callers.digits = [0; CALLER_ID_DIGITS / 8];
        self.callers.length = 0;
        let user = self.user_at(self.callers.uri);
        self.callers.at = user;
        if user == 0 {
            return Caller::Unreadable;
        }
        let first = byte(&self.bytes, user);
        let claims = self.is_tel()
            || byte(&self.bytes, user.wrapping_sub(1)) == b'+'
            || first.is_ascii_digit()
            || is_separator(first)
            || first == b'%';
        if claims { Caller::Value } else { Caller::Nothing }
    }

    /// One character of a number, at most [`CALLER_ID_DIGITS`] of them; visual separators are left out (RFC 3966 5.1.1).
    #[inline(always)]
    pub fn caller_digit(&mut self) -> ControlFlow<()> {
        let character = byte(&self.bytes, self.callers.at);
        if character.is_ascii_digit() {
            let place = opaque(u64::from(self.callers.length)) as usize;
            if place >= CALLER_ID_DIGITS {
                return ControlFlow::Break(());
            }
            self.callers.digits[place / 8] |= u64::from(character) << ((place & 7) * 8);
            self.callers.length += 1;
        } else if !is_separator(character) {
            return ControlFlow::Break(());
        }
        self.callers.at += 1;
        ControlFlow::Continue(())
    }

    /// Last part: whether what was read is a number, by what follows it.
    #[inline(always)]
    pub fn end_caller(&mut self) -> Caller {
        let end = self.callers.at;
        let is_tel = self.is_tel();
        if self.callers.length == 0 {
            return Caller::Unreadable;
        }
        match byte(&self.bytes, end) {
            b'@' => Caller::Number,
            b';' | b':' if is_tel || self.has_user(end) => Caller::Number,
            b'>' | b'\r' | b'\n' | b' ' | b'\t' | b'?' | b',' if is_tel => Caller::Number,
            // The host of a URI without a user, which begins as a number does.
            b'>' | b'\r' | b'\n' | b';' | b':' | b'?' => Caller::Nothing,
            _ => Caller::Unreadable,
        }
    }

    #[inline(always)]
    fn is_tel(&self) -> bool {
        word(&self.bytes, self.callers.uri) & LOW_32 | text(b"   \0\0\0\0\0") == text(b"tel:\0\0\0\0")
    }

    /// Whether an `@` follows within the URI.
    #[inline(always)]
    fn has_user(&mut self, start: u32) -> bool {
        let mut position = forgotten(&mut self.line_start, start);
        for _ in 0..USER_WORDS {
            let here = word(&self.bytes, position);
            let marks = exact_zero_bytes(here ^ repeated(b'@'))
                | exact_zero_bytes(here ^ repeated(b'>'))
                | exact_zero_bytes(here ^ repeated(b'\n'));
            if marks != 0 {
                return byte(&self.bytes, position + lane(lowest_bit(marks))) == b'@';
            }
            position += 8;
        }
        true
    }
}

/// RFC 3966 5.1.1: visual-separator.
#[inline(always)]
const fn is_separator(character: u8) -> bool {
    matches!(character, b'-' | b'.' | b'(' | b')')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::sip::{Reading, read};

    /// Every number that is claimed; `None` if one cannot be read.
    fn callers(headers: &str) -> Option<Vec<String>> {
        let message = format!(
            "INVITE sip:1@h SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nTo: <sip:1@h>\r\nCall-ID: c\r\n\
             CSeq: 1 INVITE\r\n{headers}\r\nContent-Length: 0\r\n\r\nFrom: <sip:999@h>\r\n"
        );
        let reading = Reading { hash_key: 1, source_key: 0, prefix_digits: 5, hears: false, answers: false };
        let mut scratch = read(message.as_bytes(), reading);
        let mut numbers = Vec::new();
        scratch.begin_callers();
        for _ in 0..CALLER_STEPS_MAX {
            match scratch.next_caller() {
                Caller::Nothing => {}
                Caller::Number => {
                    let digits = scratch.caller_digits();
                    let digits = digits.iter().take_while(|digit| **digit != 0);
                    numbers.push(digits.map(|digit| char::from(*digit)).collect());
                }
                Caller::Unreadable | Caller::Value => return None,
                Caller::Done => return Some(numbers),
            }
        }
        None
    }

    #[test]
    fn every_number_that_is_claimed_is_read() {
        let long = format!("X: {}\r\nFrom: <sip:44@h>", "y".repeat(1200));
        let cases: [(&str, &[&str]); 20] = [
            ("From: <sip:+441632960001@h>;tag=1", &["441632960001"]),
            ("f:sip:441632960001@h;tag=1", &["441632960001"]),
            ("FROM : \"A \\\" <sip:999@h>\" <sips:+44@h>;tag=1", &["44"]),
            ("From: <tel:+44-(1632).96>;tag=1", &["44163296"]),
            ("From: <tel:44;phone-context=h>", &["44"]),
            ("From: <sip:44;ext=1@h>", &["44"]),
            ("From: <sip:44:secret@h>", &["44"]),
            ("From: <sip:alice@h>", &[]),
            ("From: \"Anonymous\" <sip:anonymous@anonymous.invalid>", &[]),
            ("From: <sip:203.0.113.7>", &[]),
            ("From: <sip:203.0.113.7:5060>", &[]),
            ("From: <sip:203.0.113.7;transport=udp>", &[]),
            ("From: <sip:1@h>\r\nP-Asserted-Identity: <sip:2@h>", &["1", "2"]),
            ("P-Asserted-Identity: \"B, C\" <sip:2@h>, <tel:+3>\r\nFrom: <sip:1@h>", &["2", "3", "1"]),
            ("p-asserted-identity:tel:+3\r\nFrom: <sip:1@h>", &["3", "1"]),
            ("From: <sip:1@h>\r\nFrom: <sip:2@h>", &["1", "2"]),
            ("From: <sip:1@h>\r\nP-Asserted-Identity-X: <sip:2@h>", &["1"]),
            ("X: <sip:1@h>\r\n From: <sip:2@h>\r\nFrom: <sip:3@h>", &["3"]),
            ("From: <sip:1@h>\nP-Asserted-Identity: <sip:2@h>", &["1", "2"]),
            (&long, &["44"]),
        ];
        for (headers, expected) in cases {
            let expected: Vec<String> = expected.iter().map(|number| (*number).to_owned()).collect();
            assert_eq!(callers(headers), Some(expected), "{headers}");
        }
    }

    #[test]
    fn what_claims_a_number_and_cannot_be_read_is_told() {
        let long = format!("From: {}<sip:1@h>", " ".repeat(1100));
        let endless = format!("From: <sip:1@h>\r\nX: {}", "y".repeat(2000));
        let cases = [
            "X: y",
            "From:\r\n <sip:1@h>",
            "From: <sip:1@h>\r\nP-Asserted-Identity:\r\n\t<sip:2@h>",
            "From: <sip:1a@h>",
            "From: <sip:+a@h>",
            "From: <sip:%31@h>",
            "From: <sip:1%32@h>",
            "From: <tel:alice>",
            "From: <urn:service:sos>",
            "From:          \"<sip:1@h>\" <sip:2@h>",
            "From: a \"<sip:1@h>\" <sip:2@h>",
            "From: <sip:1111111111111111111111111111111111111@h>",
            &long,
            &endless,
        ];
        for headers in cases {
            assert_eq!(callers(headers), None, "{headers}");
        }
    }

    #[test]
    fn a_number_is_told_with_a_one_before_it() {
        let mut scratch = read(
            b"INVITE sip:1@h SIP/2.0\r\nFrom: <sip:0441632@h>\r\n\r\n",
            Reading { hash_key: 1, source_key: 0, prefix_digits: 5, hears: false, answers: false },
        );
        scratch.begin_callers();
        assert_eq!(scratch.next_caller(), Caller::Number);
        assert_eq!(scratch.caller_in_decimal(), 10_441_632);
    }
}
