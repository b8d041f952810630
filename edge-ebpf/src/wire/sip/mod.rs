//! SIP over UDP (RFC 3261): as much of a message as the decision needs, and no more.
//!
//! The parser is a machine with explicit steps, because the kernel drives its loops with `bpf_loop` and the
//! host with `while`: [`Scratch::begin`], then [`Scratch::line`] until it breaks, then, rarely,
//! [`Scratch::tag_byte`] until it breaks, then [`Scratch::message`].
//!
//! It stops as early as it can: responses, ACK, BYE and CANCEL end with the start line; other requests end
//! with the last of Via, To, Call-ID and CSeq. What it cannot be sure of (folded lines, a bare LF, a header
//! missing, a line beyond [`LINE_BYTES_MAX`]) it calls malformed and never guesses.

#[cfg(not(target_arch = "bpf"))]
mod host;
mod start_line;
mod to_tag;
mod walk;

use core::ops::ControlFlow;

#[cfg(not(target_arch = "bpf"))]
pub use self::host::parse;
use self::start_line::request_method;
use self::to_tag::Tag;
use super::number;
use super::words::{
    HIGH_BITS, LOW_16, LOW_24, LOW_32, LOW_40, LOW_56, before, exact_zero_bytes, lane, lowest_bit, repeated,
    text, zero_bytes,
};
use crate::abi::{Class, Method};
use crate::hash::mix;
use crate::verifier::{SCRATCH_BYTES, byte, forgotten, word};

/// Payload that is looked at; all headers that matter stand before it in practice.
pub const PAYLOAD_BYTES_MAX: u32 = 2048;
/// Longest header line that is read.
pub const LINE_BYTES_MAX: u32 = 1024;
/// Most header lines that are read.
pub const LINES_MAX: u32 = 64;

const WORDS_PER_LINE_MAX: u32 = LINE_BYTES_MAX / 8;

/// The headers that a request must have for a decision (RFC 3261 8.1.1), as bits of [`Scratch::found`].
mod header {
    pub(super) const VIA: u32 = 1;
    pub(super) const TO: u32 = 2;
    pub(super) const CALL_ID: u32 = 4;
    pub(super) const CSEQ: u32 = 8;
    pub(super) const ALL: u32 = VIA | TO | CALL_ID | CSEQ;
    /// What makes the fingerprint.
    pub(super) const HASHED: u32 = VIA | CALL_ID | CSEQ;
}

/// What a datagram on a SIP port is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Kind {
    /// Not readable as SIP, or not surely.
    Malformed = 0,
    /// CRLF, nothing, or STUN (RFC 5626 3.5).
    Keepalive = 1,
    /// A response.
    Response = 2,
    /// ACK, BYE, CANCEL or a request with a To tag.
    InDialog = 3,
    /// A request outside a dialog: what limits are for.
    Initial = 4,
}

/// What the decision needs to know of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// What it is.
    pub kind: Kind,
    /// Its method, or the hundred of its status; meaningless for keep-alives and the malformed.
    pub method: Method,
    /// Equal for retransmissions of one request and, but for a chance of 2^-64, for nothing else; 0 unless
    /// initial. Made of the top Via line (hence its branch), Call-ID and CSeq: RFC 3261 17.2.3 and 8.2.2.2.
    pub fingerprint: u64,
    /// The called number's prefix as [`number::prefix`] gives it; 0 where the user part is no such number.
    pub called: u32,
}

impl Message {
    /// Not readable.
    pub const MALFORMED: Self =
        Self { kind: Kind::Malformed, method: Method::Extension, fingerprint: 0, called: 0 };
}

/// The class that a request is metered under.
#[must_use]
#[inline(always)]
pub const fn class(method: Method) -> Class {
    match method {
        Method::Invite => Class::SipInvite,
        Method::Register => Class::SipRegister,
        Method::Options => Class::SipOptions,
        Method::Message => Class::SipMessage,
        _ => Class::SipOther,
    }
}

/// The payload and the parser's whole state.
///
/// In the kernel this is a per-CPU map value: the verifier does not follow memory, so that the paths of the
/// loops' bodies merge instead of multiplying.
#[repr(C)]
pub struct Scratch {
    /// The payload; what follows its length is left over from another.
    pub bytes: [u8; SCRATCH_BYTES],
    /// Keys the fingerprint.
    pub hash_key: u64,
    /// Payload bytes held.
    pub length: u32,
    /// Digits of a called number's prefix.
    pub prefix_digits: u32,
    /// Where the next line starts; in a walk over the To header, the next byte.
    position: u32,
    /// Where the line at hand starts.
    line_start: u32,
    /// Headers seen, as bits.
    found: u32,
    /// [`Kind`] so far.
    kind: u32,
    /// [`Method`].
    method: u32,
    /// Prefix of the called number.
    called: u32,
    /// Where the value of a To header ends that has to be walked byte by byte; 0 if none has.
    to_end: u32,
    /// Where it starts.
    to_start: u32,
    /// State of that walk.
    walk: u32,
    /// Hash of the top Via line.
    via_hash: u64,
    /// Hash of the Call-ID line.
    call_id_hash: u64,
    /// Hash of the CSeq line.
    cseq_hash: u64,
}

impl Scratch {
    /// Reads the start line. Breaks when nothing more is needed.
    ///
    /// The caller has set `bytes`, `length` (at most [`PAYLOAD_BYTES_MAX`]), `hash_key` and `prefix_digits`.
    #[inline(always)]
    pub fn begin(&mut self) -> ControlFlow<()> {
        self.kind = Kind::Malformed as u32;
        self.method = Method::Extension as u32;
        self.found = 0;
        self.called = 0;
        self.to_end = 0;
        let mut first = word(&self.bytes, 0);
        if self.is_keepalive(first) {
            self.kind = Kind::Keepalive as u32;
            return ControlFlow::Break(());
        }
        let mut start = 0;
        if is_line_end(first & 0xff) {
            start = forgotten(&mut self.line_start, leading_line_ends(first));
            first = word(&self.bytes, start);
        }
        let second = word(&self.bytes, start + 8);
        if first | text(b"   \0\0\0\0\0") == text(b"sip/2.0 ") {
            return self.begin_response(second);
        }
        let (method, uri) = request_method(first, second);
        self.method = method as u32;
        if uri == 0 {
            return ControlFlow::Break(());
        }
        let uri = forgotten(&mut self.position, start + uri);
        let Some(end) = self.line_end(uri) else { return ControlFlow::Break(()) };
        // Request-Line ends with SP SIP-Version CRLF (RFC 3261 25.1), after a Request-URI of at least a byte.
        if end < uri + 10
            || word(&self.bytes, end.wrapping_sub(9)) | text(b"\0   \0\0\0\0") != text(b" sip/2.0")
        {
            return ControlFlow::Break(());
        }
        let method = method_of(forgotten(&mut self.method, method as u32));
        if matches!(method, Method::Ack | Method::Bye | Method::Cancel) {
            self.kind = Kind::InDialog as u32;
            return ControlFlow::Break(());
        }
        let called = self.called_prefix(uri);
        self.called = called;
        self.position = end + 1;
        ControlFlow::Continue(())
    }

    /// Reads one header line. Breaks after the last one that is needed, and at anything doubtful.
    #[inline(always)]
    pub fn line(&mut self) -> ControlFlow<()> {
        let start = self.position;
        let first = word(&self.bytes, start);
        let (bit, value) = self.header_at(first, start);
        let is_hashed = bit & !self.found & header::HASHED != 0;
        let read = if is_hashed { self.line_hash(start) } else { self.line_end(start).map(|end| (end, 0)) };
        let Some((end, hash)) = read else { return self.doubtful() };
        if first & 0xff == u64::from(b'\r') {
            // The blank line, before all headers were found.
            return self.doubtful();
        }
        // A folded line continues what was just read (RFC 3261 7.3.1), possibly with the tag we look for.
        let next = byte(&self.bytes, end + 1);
        if next == b' ' || next == b'\t' {
            return self.doubtful();
        }
        self.position = end + 1;

        if bit == 0 {
            return ControlFlow::Continue(());
        }
        if bit == header::VIA {
            if self.found & header::VIA == 0 {
                self.via_hash = hash;
            }
        } else if self.found & bit != 0 {
            return self.doubtful();
        } else if bit == header::CALL_ID {
            self.call_id_hash = hash;
        } else if bit == header::CSEQ {
            self.cseq_hash = hash;
        } else if self.method != Method::Register as u32 {
            // The To of a REGISTER names no dialog (RFC 3261 10.2): it is metered whatever it carries.
            match self.tag_between(value, end - 1) {
                Tag::Present => {
                    self.kind = Kind::InDialog as u32;
                    return ControlFlow::Break(());
                }
                Tag::Absent => {}
                Tag::Unclear => {
                    self.to_start = value;
                    self.to_end = end - 1;
                }
            }
        }
        self.found |= bit;
        if self.found == header::ALL {
            self.kind = Kind::Initial as u32;
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }

    /// Whether the To header has to be walked byte by byte: it holds quotes or white space around a parameter.
    #[must_use]
    #[inline(always)]
    pub const fn needs_tag_walk(&self) -> bool {
        self.to_end != 0
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
        let next = walk::step(self.walk, byte(&self.bytes, position));
        self.walk = next;
        if next == walk::FOUND {
            self.kind = Kind::InDialog as u32;
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }

    /// What was read.
    #[must_use]
    #[inline(always)]
    pub fn message(&self) -> Message {
        let kind = match self.kind {
            1 => Kind::Keepalive,
            2 => Kind::Response,
            3 => Kind::InDialog,
            4 => Kind::Initial,
            _ => return Message::MALFORMED,
        };
        let fingerprint = if matches!(kind, Kind::Initial) {
            let hash = mix(mix(self.via_hash, self.call_id_hash), self.cseq_hash);
            // 0 marks an empty place in the table.
            if hash == 0 { 1 } else { hash }
        } else {
            0
        };
        Message { kind, method: method_of(self.method), fingerprint, called: self.called }
    }

    #[inline(always)]
    fn doubtful(&mut self) -> ControlFlow<()> {
        self.kind = Kind::Malformed as u32;
        ControlFlow::Break(())
    }

    #[inline(always)]
    fn is_keepalive(&self, first: u64) -> bool {
        // CRLF, CRLF CRLF, a lone NUL: no message is that short.
        if self.length <= 4 {
            return true;
        }
        // STUN: two zero bits, and the magic cookie (RFC 8489 5).
        self.length >= 20 && first & 0xc0 == 0 && first >> 32 == 0x42a4_1221
    }

    #[inline(always)]
    fn begin_response(&mut self, status: u64) -> ControlFlow<()> {
        // Status-Code is three digits, then SP (RFC 3261 25.1).
        let Some(with_one) = number::prefix(status, 3) else { return ControlFlow::Break(()) };
        let method = match with_one {
            1100..=1199 => Method::Status1xx,
            1200..=1299 => Method::Status2xx,
            1300..=1399 => Method::Status3xx,
            1400..=1499 => Method::Status4xx,
            1500..=1599 => Method::Status5xx,
            1600..=1699 => Method::Status6xx,
            _ => return ControlFlow::Break(()),
        };
        if self.length < 12 || status >> 24 & 0xff != u64::from(b' ') {
            return ControlFlow::Break(());
        }
        self.method = method as u32;
        self.kind = Kind::Response as u32;
        ControlFlow::Break(())
    }

    /// Where the line that holds `start` ends: the place of its LF. `None` if it does not end within the payload,
    /// is too long, or ends with a bare LF.
    #[inline(always)]
    fn line_end(&mut self, start: u32) -> Option<u32> {
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
    fn line_hash(&mut self, start: u32) -> Option<(u32, u64)> {
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
    fn whole_line(&self, end: u32) -> Option<u32> {
        (end < self.length && byte(&self.bytes, end.wrapping_sub(1)) == b'\r').then_some(end)
    }

    /// The header that a line is, as a bit, and where its value starts (at the colon or shortly before it).
    #[inline(always)]
    fn header_at(&self, first: u64, start: u32) -> (u32, u32) {
        let (bit, name_bytes) = if first & LOW_24 | text(b"   \0\0\0\0\0") == text(b"via\0\0\0\0\0") {
            (header::VIA, 3)
        } else if first & LOW_16 | text(b"  \0\0\0\0\0\0") == text(b"to\0\0\0\0\0\0") {
            (header::TO, 2)
        } else if first & LOW_56 | text(b"    \0  \0") == text(b"call-id\0") {
            (header::CALL_ID, 7)
        } else if first & LOW_32 | text(b"    \0\0\0\0") == text(b"cseq\0\0\0\0") {
            (header::CSEQ, 4)
        } else {
            // Compact forms (RFC 3261 20).
            match (first & 0xff) as u8 | 0x20 {
                b'v' => (header::VIA, 1),
                b't' => (header::TO, 1),
                b'i' => (header::CALL_ID, 1),
                _ => return (0, 0),
            }
        };
        if self.colon_follows(start + name_bytes) { (bit, start + name_bytes) } else { (0, 0) }
    }

    /// HCOLON: white space may stand before the colon (RFC 3261 25.1); up to seven characters are looked at.
    #[inline(always)]
    fn colon_follows(&self, position: u32) -> bool {
        let here = word(&self.bytes, position);
        if here & 0xff == u64::from(b':') {
            return true;
        }
        let blanks = zero_bytes(here ^ repeated(b' ')) | zero_bytes(here ^ repeated(b'\t'));
        let others = !blanks & HIGH_BITS;
        let lowest = lowest_bit(others);
        others != 0 && here >> (8 * lane(lowest)) & 0xff == u64::from(b':')
    }

    /// The prefix of the user part of a `sip:`, `sips:` or `tel:` URI, or 0.
    #[inline(always)]
    fn called_prefix(&self, uri: u32) -> u32 {
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
        let digits = word(&self.bytes, uri + scheme_bytes + plus);
        number::prefix(digits, self.prefix_digits).unwrap_or(0)
    }
}

/// CR and LF before the start line: servers skip them (RFC 3261 7.5), so what follows must be metered like any
/// message. Seven at most are skipped.
#[inline(always)]
fn leading_line_ends(first: u64) -> u32 {
    let ends = exact_zero_bytes(first ^ repeated(b'\r')) | exact_zero_bytes(first ^ repeated(b'\n'));
    lane(lowest_bit(!ends & HIGH_BITS))
}

#[inline(always)]
fn is_line_end(character: u64) -> bool {
    character == u64::from(b'\r') || character == u64::from(b'\n')
}

/// Back from the index; every index that [`Scratch`] holds was a method's.
#[inline(always)]
fn method_of(index: u32) -> Method {
    match Method::from_index(index as usize) {
        Some(method) => method,
        None => Method::Extension,
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on panics where it stands")]
mod tests;
