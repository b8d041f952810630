//! What calls need of a message beyond the decision: who calls whom, which call a message belongs to, and whether
//! its branch is one that tells transactions apart. Read for what is admitted or heard only.

use core::ops::ControlFlow;

use super::{Kind, Scratch, WORDS_PER_LINE_MAX, header, method_of};
use crate::abi::{Method, NUMBER_DIGITS};
use crate::verifier::{byte, forgotten, word};
use crate::wire::number;
use crate::wire::words::{
    HIGH_BITS, LOW_24, LOW_32, LOW_40, LOW_48, LOW_56, before, exact_zero_bytes, in_range, lane, lowest_bit,
    repeated, text, zero_bytes,
};

/// A number as it lies in memory: ASCII digits, zero-padded.
type Digits = [u64; NUMBER_DIGITS / 8];

/// Caller and called number of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Parties {
    /// The user of the From URI.
    pub from: Digits,
    /// The user of the Request-URI.
    pub to: Digits,
}

/// What the way out heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard {
    /// Response, request or neither.
    pub kind: Kind,
    /// Of a request its method; of a response that of its CSeq.
    pub method: Method,
    /// Of a response; 0 for a request.
    pub status: u32,
    /// Number of the CSeq.
    pub cseq: u32,
    /// Keyed hash of the Call-ID.
    pub call_id_hash: u64,
    /// Seconds of Session-Expires (RFC 4028 4) in a 2xx; 0 without.
    pub session_expires_s: u32,
}

impl Heard {
    /// Not readable.
    pub const NOTHING: Self = Self {
        kind: Kind::Malformed,
        method: Method::Extension,
        status: 0,
        cseq: 0,
        call_id_hash: 0,
        session_expires_s: 0,
    };
}

impl Scratch {
    /// Keyed hash of the Call-ID.
    #[must_use]
    #[inline(always)]
    pub const fn call_id_hash(&self) -> u64 {
        self.call_id_hash
    }

    /// Number of the CSeq; 0 where it has none.
    #[must_use]
    #[inline(always)]
    pub fn cseq(&self) -> u32 {
        self.number_and_end(self.value_at(self.cseq_at)).0
    }

    /// What was heard.
    #[must_use]
    #[inline(always)]
    pub fn heard(&self) -> Heard {
        let kind = self.message().kind;
        let (cseq, end) = self.number_and_end(self.value_at(self.cseq_at));
        let method = if matches!(kind, Kind::Response) {
            self.cseq_method(self.value_at(end))
        } else {
            method_of(self.method)
        };
        let session_expires_s =
            if self.session_at == 0 { 0 } else { self.number_and_end(self.value_at(self.session_at)).0 };
        Heard { kind, method, status: self.status, cseq, call_id_hash: self.call_id_hash, session_expires_s }
    }

    /// Whether the From header was among those that were read.
    #[must_use]
    #[inline(always)]
    pub const fn has_from(&self) -> bool {
        self.from_at != 0
    }

    /// One line more in search of the From header, where the decision did not need to come so far. Breaks when it
    /// is found or when there is none.
    #[inline(always)]
    pub fn from_line(&mut self) -> ControlFlow<()> {
        let start = self.position;
        let first = word(&self.bytes, start);
        let (bit, value) = self.header_at(first, start);
        let Some(end) = self.line_end(start) else { return self.again() };
        if first & 0xff == u64::from(b'\r') {
            return ControlFlow::Break(());
        }
        self.position = end + 1;
        if bit == header::FROM {
            self.from_at = value;
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }

    /// Reads caller and called.
    #[inline(always)]
    pub fn read_parties(&mut self) {
        let user = self.user_at(self.uri);
        self.parties.to = self.digits_at(user);
        let from = if self.has_from() { self.address_at(self.value_at(self.from_at)) } else { 0 };
        let user = if from == 0 { 0 } else { self.user_at(from) };
        self.parties.from = self.digits_at(user);
        self.has_parties = true;
    }

    /// Whether caller and called have been read.
    #[must_use]
    #[inline(always)]
    pub const fn has_parties(&self) -> bool {
        self.has_parties
    }

    /// Whether the top Via's branch begins with the cookie of RFC 3261 8.1.1.7, and so is unique to a transaction.
    #[must_use]
    #[inline(always)]
    pub const fn has_cookie(&self) -> bool {
        self.has_cookie != 0
    }

    /// Looks for that cookie in an initial request: what follows its lines.
    #[inline(always)]
    pub fn look_for_cookie(&mut self) {
        if self.kind != Kind::Initial as u32 {
            return;
        }
        let mut position = forgotten(&mut self.line_start, self.via_at);
        for _ in 0..WORDS_PER_LINE_MAX {
            if position >= self.length {
                return;
            }
            let here = word(&self.bytes, position);
            let marks = zero_bytes(here ^ repeated(b';')) | zero_bytes(here ^ repeated(b'\n'));
            if marks == 0 {
                position += 8;
                continue;
            }
            position += lane(lowest_bit(marks)) + 1;
            if byte(&self.bytes, position.wrapping_sub(1)) == b'\n' {
                return;
            }
            let name = word(&self.bytes, position);
            let value = word(&self.bytes, position + 7);
            if name & LOW_56 | text(b"      \0\0") == text(b"branch=\0")
                && value & LOW_56 | text(b"       \0") == text(b"z9hg4bk\0")
            {
                self.has_cookie = 1;
                return;
            }
        }
    }

    /// The prefix of the user part of a `sip:`, `sips:` or `tel:` URI, or 0.
    #[inline(always)]
    pub(super) fn called_prefix(&self, uri: u32) -> u32 {
        match self.user_at(uri) {
            0 => 0,
            user => number::prefix(word(&self.bytes, user), self.prefix_digits).unwrap_or(0),
        }
    }

    /// Where the user part of a `sip:`, `sips:` or `tel:` URI starts, behind a `+`; 0 if it is another URI.
    #[inline(always)]
    pub(super) fn user_at(&self, uri: u32) -> u32 {
        let scheme = word(&self.bytes, uri);
        let scheme_bytes = if scheme & LOW_32 | text(b"   \0\0\0\0\0") == text(b"sip:\0\0\0\0")
            || scheme & LOW_32 | text(b"   \0\0\0\0\0") == text(b"tel:\0\0\0\0")
        {
            4
        } else if scheme & LOW_40 | text(b"    \0\0\0\0") == text(b"sips:\0\0\0") {
            5
        } else {
            return 0;
        };
        let plus = u32::from(byte(&self.bytes, uri + scheme_bytes) == b'+');
        uri + scheme_bytes + plus
    }

    /// A decimal number and where it ends; (0, `position`) where there is none. Beyond 32 bits it wraps.
    #[inline(always)]
    pub(super) fn number_and_end(&self, position: u32) -> (u32, u32) {
        let (digits, value) = leading_number(word(&self.bytes, position));
        if digits < 8 {
            return (value, position + digits);
        }
        let (more, low) = leading_number(word(&self.bytes, position + 8));
        (value.wrapping_mul(number::power_of_ten(more)).wrapping_add(low), position + 8 + more)
    }

    /// The method at the end of a CSeq; [`Method::Extension`] where none of those that matter on the way out.
    #[inline(always)]
    fn cseq_method(&self, position: u32) -> Method {
        let here = word(&self.bytes, position) | repeated(b' ');
        if here & LOW_48 == text(b"invite\0\0") {
            Method::Invite
        } else if here & LOW_24 == text(b"bye\0\0\0\0\0") {
            Method::Bye
        } else if here == text(b"register") {
            Method::Register
        } else if here & LOW_48 == text(b"update\0\0") {
            Method::Update
        } else if here & LOW_56 == text(b"options\0") {
            Method::Options
        } else {
            Method::Extension
        }
    }

    /// The digits at `position` as far as a number keeps them; nothing where another character than the end of a
    /// URI's user follows them, or `position` is 0.
    #[inline(always)]
    fn digits_at(&self, position: u32) -> Digits {
        const NONE: Digits = [0; NUMBER_DIGITS / 8];
        if position == 0 {
            return NONE;
        }
        let mut digits = NONE;
        let mut ended = false;
        let mut is_number = true;
        for (index, place) in digits.iter_mut().enumerate() {
            let here = word(&self.bytes, position + 8 * index as u32);
            let others = !in_range(here, b'0', b'9') & HIGH_BITS;
            let lowest = lowest_bit(others);
            if !ended {
                *place = if others == 0 { here } else { here & before(lowest) };
                if others != 0 {
                    ended = true;
                    is_number = ends_user((here >> (8 * lane(lowest)) & 0xff) as u8);
                }
            }
        }
        if is_number { digits } else { NONE }
    }

    /// Where the URI of a From value starts: behind the `<`, or at once; 0 if that cannot be told.
    #[inline(always)]
    pub(super) fn address_at(&mut self, value: u32) -> u32 {
        let mut start = value;
        if byte(&self.bytes, value) == b'"' {
            // A quoted name may hold anything but an unescaped quote (RFC 3261 25.1).
            let mut position = forgotten(&mut self.line_start, value + 1);
            start = 0;
            for _ in 0..WORDS_PER_LINE_MAX {
                if position >= self.length {
                    break;
                }
                let here = word(&self.bytes, position);
                let marks = zero_bytes(here ^ repeated(b'"')) | zero_bytes(here ^ repeated(b'\\'));
                if marks == 0 {
                    position += 8;
                    continue;
                }
                position += lane(lowest_bit(marks));
                if byte(&self.bytes, position) == b'"' {
                    start = position + 1;
                    break;
                }
                position += 2;
            }
            if start == 0 {
                return 0;
            }
        }
        let mut position = forgotten(&mut self.line_start, start);
        for _ in 0..WORDS_PER_LINE_MAX {
            if position >= self.length {
                return 0;
            }
            let here = word(&self.bytes, position);
            let marks = exact_zero_bytes(here ^ repeated(b'<'))
                | exact_zero_bytes(here ^ repeated(b'\n'))
                | exact_zero_bytes(here ^ repeated(b'"'));
            if marks == 0 {
                position += 8;
                continue;
            }
            let mark = position + lane(lowest_bit(marks));
            return match byte(&self.bytes, mark) {
                b'<' => mark + 1,
                // A quote within a name that is none: whatever follows it may be quoted.
                b'"' => 0,
                _ => value,
            };
        }
        0
    }
}

/// How many digits lead a word, and their value.
#[inline(always)]
fn leading_number(here: u64) -> (u32, u32) {
    let others = !in_range(here, b'0', b'9') & HIGH_BITS;
    let digits = if others == 0 { 8 } else { lane(lowest_bit(others)) };
    (digits, number::value(here, digits))
}

/// Whether a character ends the user part of a URI, or the URI.
#[inline(always)]
const fn ends_user(character: u8) -> bool {
    matches!(character, b'@' | b';' | b':' | b'>' | b'?' | b' ' | b'\t' | b'\r')
}
