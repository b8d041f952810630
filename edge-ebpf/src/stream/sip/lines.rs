//! The machine: from one octet of the stream to the next that matters, eight at a time where that is certain.
//!
//! Every decision is made from octets that are all there, or not at all yet: so it is the same however the stream was cut.

use super::HEADERS_BYTES_MAX;
use super::cursor::{Phase, seen};
use super::ends::LineEnd;
use super::reader::Reader;
use super::refusals::is_refusal;
use crate::abi::Method;
use crate::verifier::{byte, opaque, word};
use crate::wire::sip::{self, request_method, spaced, status_code, walk};
use crate::wire::words::{
    HIGH_BITS, LOW_48, LOW_56, behind_blanks, in_range, is_white, lane, line_ends, low_bytes, lowest_bit,
    repeated, text, zero_bytes,
};

/// States of the reading of a Content-Length or a Max-Forwards.
mod digits {
    pub(super) const NONE: u32 = 0;
    pub(super) const SOME: u32 = 1;
    /// White space after them.
    pub(super) const OVER: u32 = 2;
}

impl Reader {
    /// Reads on from where the cursor stands. `false`: it needs more octets, or it is lost.
    #[inline(always)]
    pub(super) fn advance(&mut self) -> bool {
        if self.position >= self.end {
            return false;
        }
        match opaque(u64::from(self.cursor.phase)) {
            1 => self.between(),
            2 => self.start_line(),
            3 => self.line(),
            4 => self.skipped(),
            5 => self.to(),
            6 => self.length(),
            8 => self.hops(),
            9 => self.folded(),
            _ => self.lose(),
        }
    }

    /// Empty lines go before a message (RFC 3261 7.5, RFC 5626 3.5.1).
    #[inline(always)]
    fn between(&mut self) -> bool {
        let first = word(&self.bytes, self.position);
        let others = !line_ends(first) & HIGH_BITS;
        let empty = if others == 0 { 8 } else { lane(lowest_bit(others)) };
        if empty != 0 {
            self.over(empty);
            return true;
        }
        if is_white(first as u8) && self.unproven == 0 {
            // Some servers skip it (PJSIP).
            self.cursor.message |= seen::ODD;
            self.position += 1;
            return true;
        }
        if !self.has_name() {
            return false;
        }
        let second = word(&self.bytes, self.position + 8);
        let message = if first | text(b"   \0\0\0\0\0") == text(b"sip/2.0 ") {
            match status_code(second) {
                Some((method, status)) if is_refusal(status, self.servers) => {
                    method as u32 | seen::RESPONSE | seen::REFUSES
                }
                Some((method, _)) => method as u32 | seen::RESPONSE,
                None => return self.lose(),
            }
        } else {
            let (mut method, mut uri) = request_method(first, second);
            let is_odd = uri == 0;
            if is_odd && self.unproven == 0 {
                (method, uri) = request_method(spaced(first), spaced(second));
            }
            if uri == 0 {
                return self.lose();
            }
            method as u32 | if is_odd { seen::ODD } else { 0 }
        };
        self.cursor.message = message | self.cursor.message & (seen::CERTAIN | seen::ODD);
        self.cursor.begun = self.here();
        self.cursor.body = opaque(0) as u32;
        self.cursor.hops_digits = opaque(0) as u32;
        self.cursor.phase = Phase::StartLine as u32;
        true
    }

    #[inline(always)]
    fn start_line(&mut self) -> bool {
        let end = match self.line_end() {
            LineEnd::At(end) => end,
            LineEnd::Bare => return self.lose(),
            LineEnd::Beyond { goes_on } => return goes_on,
        };
        if self.cursor.message & seen::RESPONSE == 0 {
            // Request-Line ends with SP SIP-Version CRLF (RFC 3261 25.1), or with LF alone.
            let line = end - u32::from(byte(&self.bytes, end - 1) == b'\r');
            if word(&self.bytes, line - 8) | text(b"\0   \0\0\0\0") != text(b" sip/2.0") {
                // Servers take some such lines (white space or more behind the version), and frame by the headers.
                let is_known = self.method() != Method::Extension;
                if self.unproven != 0 || !is_known {
                    return self.lose();
                }
                self.cursor.message |= seen::ODD;
            }
        } else if self.cursor.message & seen::REFUSES != 0 {
            self.spot_answer(end);
        }
        self.unproven = opaque(0) as u32;
        self.begin_line(end, Phase::Skipped)
    }

    /// The start of a header line.
    #[inline(always)]
    fn line(&mut self) -> bool {
        if !self.has_name() {
            return false;
        }
        let first = word(&self.bytes, self.position);
        let initial = (first & 0xff) as u8;
        if initial == b'\n' {
            // An empty line for some, but PJSIP waits for one with a CR.
            return self.lose();
        }
        if first & 0xffff == u64::from(u16::from_le_bytes(*b"\r\n")) {
            self.position += 2;
            return self.end_headers();
        }
        if is_white(initial) {
            // White space ends what stands before it, in a To and in a number.
            if self.cursor.folded == Phase::To as u32 {
                self.cursor.walk = walk::step(self.cursor.walk, initial);
            } else if self.cursor.walk != digits::NONE {
                self.cursor.walk = digits::OVER;
            }
            self.cursor.phase = Phase::Folded as u32;
            return true;
        }
        if self.here().wrapping_sub(self.cursor.begun) > HEADERS_BYTES_MAX {
            return self.lose();
        }
        let (phase, value) = self.header(first);
        if matches!(phase, Phase::Unknown) {
            return self.lose();
        }
        if value != 0 && matches!(phase, Phase::Length) {
            // Two lengths: which one holds depends on who reads them.
            if self.cursor.message & seen::LENGTH != 0 {
                return self.lose();
            }
            self.cursor.message |= seen::LENGTH;
            self.cursor.walk = digits::NONE;
        } else if value != 0 && matches!(phase, Phase::Hops) {
            self.cursor.message |= seen::HOPS;
            self.cursor.walk = digits::NONE;
            if self.is_before_b2bua() {
                self.cursor.message |= seen::NAMED;
                self.cursor.hops = self.here();
            }
        } else if value != 0 {
            self.cursor.message |= seen::TO;
            self.cursor.walk = opaque(0) as u32;
        }
        self.position += value;
        self.cursor.phase = phase as u32;
        self.cursor.folded = phase as u32;
        true
    }

    /// The start of a folded line, of which some (Kamailio) read a length as if it were a line of its own.
    #[inline(always)]
    fn folded(&mut self) -> bool {
        let first = word(&self.bytes, self.position);
        let white = behind_blanks(first).map_or(8, |(blanks, _)| blanks);
        if white != 0 {
            self.over(white);
            return true;
        }
        if !self.has_name() {
            return false;
        }
        let second = word(&self.bytes, self.position + 8);
        let behind = (first >> 8) as u8;
        let is_compact = first as u8 | 0x20 == b'l' && matches!(behind, b':' | b' ' | b'\t' | b'\r' | b'\n');
        if is_compact || is_like_length(first, second) {
            return self.lose();
        }
        if self.is_like_to(first) {
            self.cursor.message |= seen::ODD;
        }
        self.cursor.phase = self.cursor.folded;
        true
    }

    /// What a line is, and how far its value is from its start; 0 for one that does not matter. Unknown: others may read it as
    /// one that does.
    #[inline(always)]
    fn header(&mut self, first: u64) -> (Phase, u32) {
        let second = word(&self.bytes, self.position + 8);
        let is_length = first | text(b"       \0") == text(b"content-")
            && (second | repeated(b' ')) & LOW_48 == text(b"length\0\0");
        let is_hops = first | text(b"   \0    ") == text(b"max-forw")
            && (second | repeated(b' ')) & 0xffff_ffff == text(b"ards\0\0\0\0");
        let (phase, name) = if is_length {
            (Phase::Length, 14)
        } else if is_like_length(first, second) {
            return (Phase::Unknown, 0);
        } else if is_hops {
            (Phase::Hops, 12)
        } else {
            match (first & 0xff) as u8 | 0x20 {
                b'l' => (Phase::Length, 1),
                b't' if (first >> 8 & 0xff) as u8 | 0x20 == b'o' => (Phase::To, 2),
                b't' => (Phase::To, 1),
                _ => return (Phase::Skipped, 0),
            }
        };
        if matches!(phase, Phase::Hops) && self.cursor.message & seen::HOPS != 0 {
            // Which of two holds depends on who reads them.
            self.cursor.hops_digits = opaque(0) as u32;
            return (Phase::Skipped, 0);
        }
        let blanks = match behind_blanks(word(&self.bytes, self.position + name)) {
            Some((blanks, b':')) => blanks,
            // To some the colon may stand on the next line. More blanks nobody writes, but a server may skip them all, and find
            // a length that was not looked at here.
            Some((_, b'\r' | b'\n')) | None => return (Phase::Unknown, 0),
            Some(_) => return (Phase::Skipped, 0),
        };
        if matches!(phase, Phase::To) && self.cursor.message & seen::TO != 0 {
            // Which of two holds depends on who reads them.
            self.cursor.message |= seen::ODD;
            return (Phase::Skipped, 0);
        }
        (phase, name + blanks + 1)
    }

    #[inline(always)]
    fn skipped(&mut self) -> bool {
        match self.line_end() {
            LineEnd::At(end) => self.begin_line(end, Phase::Skipped),
            LineEnd::Bare => {
                self.cursor.phase = Phase::Folded as u32;
                true
            }
            LineEnd::Beyond { goes_on } => goes_on,
        }
    }

    /// Over a To header.
    #[inline(always)]
    fn to(&mut self) -> bool {
        let here = word(&self.bytes, self.position);
        let ends = low_bytes(here);
        let state = self.cursor.walk;
        let has = |octet| zero_bytes(here ^ repeated(octet));
        let marks = match state & walk::PLACE {
            walk::OUTSIDE => has(b'"') | has(b'[') | in_range(here, b';', b'>'),
            walk::QUOTED => has(b'"') | has(b'\\'),
            walk::BRACKETED => has(b'>'),
            _ => HIGH_BITS,
        };
        let marks = marks | ends;
        let plain = if marks == 0 { 8 } else { lane(lowest_bit(marks)) };
        if plain != 0 {
            self.over(plain);
            return true;
        }
        let octet = (here & 0xff) as u8;
        if octet == b'\r' && self.is_last() {
            return false;
        }
        self.position += 1;
        if octet == b'\n' {
            // A folded line may go on with it.
            let tag = if walk::is_tagged(state) { seen::TAG } else { 0 };
            self.cursor.message = self.cursor.message & !seen::TAG | tag;
            self.cursor.phase = Phase::Line as u32;
        } else if octet >= 14 || octet == b'\t' {
            self.cursor.walk = walk::step(state, octet);
        } else if octet != b'\r' || here >> 8 & 0xff != u64::from(b'\n') {
            // To some the value ends here, and another header may begin.
            self.cursor.message |= seen::ODD;
            self.cursor.phase = Phase::Folded as u32;
        }
        true
    }

    /// An octet of a Content-Length.
    #[inline(always)]
    fn length(&mut self) -> bool {
        let Some((octet, is_bare)) = self.take() else { return false };
        let walk = self.cursor.walk;
        let digit = octet.wrapping_sub(b'0');
        if digit <= 9 && walk != digits::OVER {
            self.cursor.body = self.cursor.body * 10 + u32::from(digit);
            self.cursor.walk = digits::SOME;
            self.cursor.message |= seen::DIGITS;
            return self.has_sane_length() || self.lose();
        }
        match octet {
            b'\n' => self.cursor.phase = Phase::Line as u32,
            // To some it ends here.
            b'\r' if is_bare => return self.lose(),
            b' ' | b'\t' | b'\r' if walk != digits::NONE => self.cursor.walk = digits::OVER,
            b' ' | b'\t' | b'\r' => {}
            _ => return self.lose(),
        }
        true
    }

    /// An octet of a Max-Forwards.
    #[inline(always)]
    fn hops(&mut self) -> bool {
        let here = self.here();
        let Some((octet, is_bare)) = self.take() else { return false };
        let walk = self.cursor.walk;
        if octet.wrapping_sub(b'0') <= 9 && walk != digits::OVER {
            if walk == digits::NONE && self.cursor.message & seen::NAMED == 0 {
                self.cursor.hops = here;
            }
            self.cursor.hops_digits += 1;
            self.cursor.walk = digits::SOME;
            return true;
        }
        match octet {
            b'\n' => self.cursor.phase = Phase::Line as u32,
            b'\r' if is_bare => {
                self.cursor.hops_digits = opaque(0) as u32;
                self.cursor.phase = Phase::Folded as u32;
                self.cursor.folded = Phase::Skipped as u32;
            }
            b' ' | b'\t' | b'\r' if walk == digits::NONE => {}
            b' ' | b'\t' | b'\r' => self.cursor.walk = digits::OVER,
            _ => {
                self.cursor.hops_digits = opaque(0) as u32;
                self.cursor.phase = Phase::Skipped as u32;
                self.cursor.folded = Phase::Skipped as u32;
            }
        }
        true
    }

    /// The message is complete but for its body.
    #[inline(always)]
    fn end_headers(&mut self) -> bool {
        let message = self.cursor.message;
        if message & seen::LENGTH != 0 && message & seen::DIGITS == 0 {
            return self.lose();
        }
        let method = self.method();
        // The To of a REGISTER names no dialog (RFC 3261 10.2).
        let is_tagged = message & (seen::TAG | seen::ODD) == seen::TAG && !matches!(method, Method::Register);
        self.tally.count(method, message & seen::RESPONSE != 0, is_tagged);
        if message & seen::RESPONSE == 0 && !is_tagged {
            if self.has_hops() && is_refused_by(method, message & seen::NAMED != 0) {
                self.spot_request(sip::class(method));
            } else if !self.has_hops() && is_refused_by(method, self.is_before_b2bua()) {
                self.tally.unrefusable += 1;
            }
        }
        let phase = if self.cursor.body == 0 { Phase::Between } else { Phase::Body };
        self.cursor.phase = phase as u32;
        self.cursor.message = message & seen::CERTAIN;
        true
    }

    #[inline(always)]
    fn method(&self) -> Method {
        sip::method_of(self.cursor.message & seen::METHOD)
    }

    #[inline(always)]
    fn begin_line(&mut self, end: u32, before: Phase) -> bool {
        self.position = end + 1;
        self.cursor.phase = Phase::Line as u32;
        self.cursor.folded = before as u32;
        true
    }

    /// Over octets, as many as there are.
    #[inline(always)]
    fn over(&mut self, octets: u32) {
        let there = self.end - self.position;
        self.position += if octets < there { octets } else { there };
    }
}

/// Whether a name is Content-Length to somebody: Kamailio takes `Content_Length`, PJSIP whatever differs in case's bit.
#[inline(always)]
const fn is_like_length(first: u64, second: u64) -> bool {
    first & LOW_56 | text(b"       \0") == text(b"content\0")
        && (second | repeated(b' ')) & LOW_48 == text(b"length\0\0")
}

/// Whether a server must refuse a request of that method when it is changed for it: an INVITE, whoever it is, and of a proxy all
/// that it passes on but OPTIONS (RFC 3261 16.3 step 3).
#[inline(always)]
const fn is_refused_by(method: Method, is_b2bua: bool) -> bool {
    match method {
        Method::Invite => true,
        Method::Ack | Method::Bye | Method::Cancel | Method::Options => false,
        _ => !is_b2bua,
    }
}
