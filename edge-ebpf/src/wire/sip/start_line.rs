//! What stands before and at the start of a request line: keep-alives, line ends, the method and the place of the
//! Request-URI (RFC 3261 25.1).

use core::ops::ControlFlow;

use super::Scratch;
use crate::abi::Method;
use crate::verifier::{forgotten, word};
use crate::wire::number;
use crate::wire::words::{
    HIGH_BITS, LOW_16, LOW_32, LOW_40, LOW_48, LOW_56, before, blanks, exact_zero_bytes, in_range, lane,
    line_ends, lowest_bit, repeated, text, zero_bytes,
};

/// Words of line ends that are skipped before a start line.
const LEADING_WORDS_MAX: u32 = 16;

impl Scratch {
    #[inline(always)]
    pub(super) fn is_keepalive(&self, first: u64) -> bool {
        // CRLF, CRLF CRLF, a lone NUL: no message is that short.
        if self.length <= 4 {
            return true;
        }
        // STUN: two zero bits, and the magic cookie (RFC 8489 5).
        self.length >= 20 && first & 0xc0 == 0 && first >> 32 == 0x42a4_1221
    }

    /// CR and LF before the start line: servers skip them (RFC 3261 7.5), so what follows must be metered like any
    /// message. Where the first other character is, within [`LEADING_WORDS_MAX`] words; and whether there is white space
    /// among them, which some servers skip as well (PJSIP).
    #[inline(always)]
    pub(super) fn leading_blanks(&mut self, first: u64) -> (u32, bool) {
        let mut here = first;
        let mut white = 0;
        let mut position = forgotten(&mut self.line_start, 0);
        for _ in 0..LEADING_WORDS_MAX {
            let blanks = blanks(here);
            let others = !(line_ends(here) | blanks) & HIGH_BITS;
            if others != 0 {
                let first = lowest_bit(others);
                white |= blanks & before(first);
                return (forgotten(&mut self.line_start, position + lane(first)), white != 0);
            }
            white |= blanks;
            position += 8;
            here = word(&self.bytes, position);
        }
        (forgotten(&mut self.line_start, position), white != 0)
    }

    /// A start line that is none by the grammar. Servers take some of them (white space before, within or behind it, more
    /// behind the version), so that one with a method that is known, or as long as a request's, is doubtful.
    #[inline(always)]
    pub(super) fn odd_line(&mut self, is_short: bool, version: u64) -> ControlFlow<()> {
        let is_http = version & LOW_40 | text(b"    \0\0\0\0") == text(b"http/\0\0\0");
        if self.method == Method::Extension as u32 && (is_short || is_http) {
            return ControlFlow::Break(());
        }
        self.doubtful()
    }
}

/// White space or the end of a line.
#[inline(always)]
pub(super) fn is_blank(character: u64) -> bool {
    matches!(character as u8, b' ' | b'\t' | b'\r' | b'\n')
}

/// A word whose white space and line ends are spaces: PJSIP takes them all for what parts method and Request-URI.
#[inline(always)]
pub(crate) const fn spaced(word: u64) -> u64 {
    let ones = (blanks(word) | line_ends(word)) >> 7;
    (word & !(ones * 0xff)) | (ones * 0x20)
}

/// The method of a request line and where its Request-URI starts; 0 there if it is no request line.
///
/// Names of methods have a case (RFC 3261 7.1), but servers take `invite` for INVITE: methods with a limit of
/// their own are known in any case, or the limit could be walked around.
#[inline(always)]
pub(crate) fn request_method(first: u64, second: u64) -> (Method, u32) {
    let seven = first & LOW_56;
    if seven | text(b"      \0\0") == text(b"invite \0") {
        (Method::Invite, 7)
    } else if first & LOW_32 == text(b"ACK \0\0\0\0") {
        (Method::Ack, 4)
    } else if first & LOW_32 == text(b"BYE \0\0\0\0") {
        (Method::Bye, 4)
    } else if first | text(b"        ") == text(b"register") && second & 0xff == u64::from(b' ') {
        (Method::Register, 9)
    } else if first | text(b"       \0") == text(b"options ") {
        (Method::Options, 8)
    } else if seven == text(b"CANCEL \0") {
        (Method::Cancel, 7)
    } else if first | text(b"       \0") == text(b"message ") {
        (Method::Message, 8)
    } else if first == text(b"SUBSCRIB") && second & LOW_16 == text(b"E \0\0\0\0\0\0") {
        (Method::Subscribe, 10)
    } else if seven == text(b"NOTIFY \0") {
        (Method::Notify, 7)
    } else if first == text(b"PUBLISH ") {
        (Method::Publish, 8)
    } else if first & LOW_40 == text(b"INFO \0\0\0") {
        (Method::Info, 5)
    } else if first & LOW_48 == text(b"REFER \0\0") {
        (Method::Refer, 6)
    } else if seven == text(b"UPDATE \0") {
        (Method::Update, 7)
    } else if first & LOW_48 == text(b"PRACK \0\0") {
        (Method::Prack, 6)
    } else {
        extension_method(first, second)
    }
}

/// A status and its hundred: three digits, then SP (RFC 3261 25.1). `None` for what is none.
#[inline(always)]
pub(crate) fn status_code(text: u64) -> Option<(Method, u32)> {
    let with_one = number::prefix(text, 3)?;
    let method = match with_one {
        1100..=1199 => Method::Status1xx,
        1200..=1299 => Method::Status2xx,
        1300..=1399 => Method::Status3xx,
        1400..=1499 => Method::Status4xx,
        1500..=1599 => Method::Status5xx,
        1600..=1699 => Method::Status6xx,
        _ => return None,
    };
    if text >> 24 & 0xff == u64::from(b' ') { Some((method, with_one - 1000)) } else { None }
}

/// An extension method: a token of at most 15 letters, digits, `-` and `.`, then SP.
#[inline(always)]
fn extension_method(first: u64, second: u64) -> (Method, u32) {
    let space = repeated(b' ');
    let in_first = zero_bytes(first ^ space);
    if in_first != 0 {
        let lowest = lowest_bit(in_first);
        let is_token = token_bytes(first) & before(lowest) == HIGH_BITS & before(lowest);
        let bytes = lane(lowest);
        return (Method::Extension, if is_token && bytes != 0 { bytes + 1 } else { 0 });
    }
    let in_second = zero_bytes(second ^ space);
    if in_second == 0 || token_bytes(first) != HIGH_BITS {
        return (Method::Extension, 0);
    }
    let lowest = lowest_bit(in_second);
    let is_token = token_bytes(second) & before(lowest) == HIGH_BITS & before(lowest);
    (Method::Extension, if is_token { 8 + lane(lowest) + 1 } else { 0 })
}

/// The high bit of each byte that may stand in a method's name.
#[inline(always)]
const fn token_bytes(word: u64) -> u64 {
    in_range(word | repeated(0x20), b'a', b'z')
        | in_range(word, b'0', b'9')
        | exact_zero_bytes(word ^ repeated(b'-'))
        | exact_zero_bytes(word ^ repeated(b'.'))
}
