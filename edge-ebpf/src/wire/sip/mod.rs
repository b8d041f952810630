//! SIP over UDP (RFC 3261): as much of a message as the decision needs, and no more.
//!
//! The parser is a machine with explicit steps, because the kernel drives its loops with `bpf_loop` and the
//! host with `while`: [`Scratch::begin`], then [`Scratch::line`] until it breaks, then [`Scratch::look_for_tag`] and, rarely,
//! [`Scratch::tag_byte`] until it breaks, of a request with a tag [`Scratch::whole_line_is_plain`] until it breaks, then
//! [`Scratch::look_for_cookie`], then [`Scratch::message`].
//!
//! It stops as early as it can: responses, ACK, BYE and CANCEL end with the start line; other requests end
//! with the last of Via, To, Call-ID and CSeq, or with the headers where they have a To tag. What it cannot be
//! sure of (folded lines, a bare CR or LF, a header missing, a line beyond [`LINE_BYTES_MAX`]) it calls doubtful and
//! never guesses.

mod agent;
mod answer;
mod caller;
mod grant;
#[cfg(not(target_arch = "bpf"))]
mod host;
mod lines;
mod party;
mod spans;
mod start_line;
mod to_tag;
pub(crate) mod walk;
mod whole;

use core::ops::ControlFlow;

pub use self::answer::{Code, Reply, Saying};
use self::caller::Callers;
pub use self::caller::{CALLER_STEPS_MAX, Caller};
pub use self::grant::GRANT_STEPS_MAX;
use self::grant::Grants;
#[cfg(not(target_arch = "bpf"))]
pub use self::host::{Reading, parse, read};
pub use self::party::{Heard, Parties};
use self::spans::Spans;
use self::start_line::is_blank;
pub(crate) use self::start_line::{request_method, spaced, status_code};
use super::words::{LOW_40, is_white, repeated, text};
use crate::abi::{Class, Method};
use crate::hash::mix;
use crate::repeat;
use crate::verifier::{SCRATCH_BYTES, byte, forgotten, word, zero};

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
    pub(super) const FROM: u32 = 16;
    pub(super) const SESSION_EXPIRES: u32 = 32;
    /// One of them to a server that skips more white space than is looked at here.
    pub(super) const UNCLEAR: u32 = 64;
    /// What a decision needs.
    pub(super) const ALL: u32 = VIA | TO | CALL_ID | CSEQ;
    /// What tells a call.
    pub(super) const CALL: u32 = CALL_ID | CSEQ;
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
    /// ACK, BYE, CANCEL or a request with one To, and a tag in it.
    InDialog = 3,
    /// A request outside a dialog: what limits are for.
    Initial = 4,
    /// A request whose method is clear and whose headers or the rest of its start line are not: folded, ended by a bare CR
    /// or LF, too long or too many, doubled, missing. Servers may take it, so that it is metered; nothing else of it is believed.
    Doubtful = 5,
    /// An ACK for an answer of ours: nobody else waits for it.
    Absorbed = 6,
}

/// What the decision needs to know of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// What it is.
    pub kind: Kind,
    /// Its method, or the hundred of its status; meaningless for keep-alives and the malformed.
    pub method: Method,
    /// Equal for retransmissions of one request and, but for a chance of 2^-64, for nothing else; 0 unless
    /// initial. Made of the Request-URI, the top Via line (hence its branch), Call-ID and CSeq: RFC 3261 17.2.3 and
    /// 8.2.2.2. Its lowest bits are zero ([`crate::repeat::MARK_MASK`]).
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
    /// Keys the hashes.
    pub hash_key: u64,
    /// Keys the fingerprint with the source, so that nobody travels on another's admission.
    pub source_key: u64,
    /// Payload bytes held.
    pub length: u32,
    /// Digits of a called number's prefix.
    pub prefix_digits: u32,
    /// Whether the way out hears: Call-ID and CSeq of any message are read, and nothing is judged.
    pub hears: bool,
    /// Whether requests are answered here, so that an ACK may be for one of our answers.
    pub answers: bool,
    /// Where the next line starts; in a walk over the To header, the next byte.
    position: u32,
    /// Where the line at hand starts.
    line_start: u32,
    /// Where the last line that was not read has a control character.
    stopped_at: u32,
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
    /// The headers to read, as bits: [`header::ALL`], or more than [`header::CALL`].
    wanted: u32,
    /// Status of a response.
    status: u32,
    /// Where the headers start.
    headers_at: u32,
    /// Where the Request-URI starts.
    uri: u32,
    /// Where the value of the top Via starts, or shortly before; 0 until it is seen. So for the four that follow.
    via_at: u32,
    from_at: u32,
    cseq_at: u32,
    session_at: u32,
    /// Where a line starts that may be a User-Agent; 0 until one is seen.
    agent_at: u32,
    /// Of the lines that the parser has not read, where the next starts that may be one.
    agent_line: u32,
    /// Of the walk over caller IDs.
    callers: Callers,
    /// Of the walk over what a registrar granted.
    grants: Grants,
    /// The lines that an answer repeats.
    spans: Spans,
    /// Caller and called as [`Scratch::read_parties`] finds them.
    pub parties: Parties,
    /// Whether it has.
    has_parties: bool,
    /// Not 0 if the top Via's branch has the cookie.
    has_cookie: u32,
    /// Hash of what follows the method in the start line.
    start_hash: u64,
    /// Hash of the top Via line.
    via_hash: u64,
    /// Hash of the Call-ID's value.
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
        self.status = 0;
        zero(&mut self.via_at);
        zero(&mut self.from_at);
        zero(&mut self.cseq_at);
        zero(&mut self.session_at);
        zero(&mut self.agent_at);
        self.spans.clear();
        self.has_parties = false;
        zero(&mut self.has_cookie);
        self.wanted = if self.hears { header::CALL } else { header::ALL };
        let mut first = word(&self.bytes, 0);
        if self.is_keepalive(first) {
            self.kind = Kind::Keepalive as u32;
            return ControlFlow::Break(());
        }
        let (mut start, mut is_odd) = (0, false);
        if is_blank(first & 0xff) {
            (start, is_odd) = self.leading_blanks(first);
            if start >= self.length {
                return ControlFlow::Break(());
            }
            first = word(&self.bytes, start);
            if is_blank(first & 0xff) {
                // Nobody sends so many before a message, but a server may skip them all.
                self.method = Method::Invite as u32;
                return self.doubtful();
            }
        }
        let second = word(&self.bytes, start + 8);
        if first | text(b"   \0\0\0\0\0") == text(b"sip/2.0 ") {
            return self.begin_response(start, second);
        }
        let (mut method, mut uri) = request_method(first, second);
        if uri == 0 {
            is_odd = true;
            (method, uri) = request_method(spaced(first), spaced(second));
        }
        self.method = method as u32;
        if uri == 0 || start + uri >= self.length {
            return ControlFlow::Break(());
        }
        let uri = forgotten(&mut self.uri, start + uri);
        // The method may end with the line.
        let is_over = is_odd && byte(&self.bytes, uri) == b'\n';
        let Some((end, start_hash)) = self.line_hash(uri - u32::from(is_over)) else {
            return self.doubtful();
        };
        self.start_hash = start_hash;
        // Request-Line ends with SP SIP-Version CRLF (RFC 3261 25.1), after a Request-URI of at least a byte.
        let is_short = end < uri + 10;
        let version = word(&self.bytes, end.wrapping_sub(9));
        if is_odd || is_short || version | text(b"\0   \0\0\0\0") != text(b" sip/2.0") {
            return self.odd_line(is_short, version);
        }
        let method = method_of(forgotten(&mut self.method, method as u32));
        self.position = end + 1;
        self.headers_at = end + 1;
        // Until the headers have been read to the last that is needed.
        self.kind = Kind::Doubtful as u32;
        if self.hears {
            self.kind = Kind::InDialog as u32;
            return ControlFlow::Continue(());
        }
        if matches!(method, Method::Ack) && self.answers {
            // Is it for an answer of ours? Its To tag tells, and it is within a dialog otherwise.
            self.kind = Kind::InDialog as u32;
            self.wanted = header::TO | header::CALL_ID;
            return ControlFlow::Continue(());
        }
        if matches!(method, Method::Ack | Method::Bye | Method::Cancel) {
            self.kind = Kind::InDialog as u32;
            return ControlFlow::Break(());
        }
        let called = self.called_prefix(self.uri);
        self.called = called;
        ControlFlow::Continue(())
    }

    /// Reads one header line. Breaks after the last one that is needed, and at anything doubtful.
    #[inline(always)]
    pub fn line(&mut self) -> ControlFlow<()> {
        let start = self.position;
        let first = word(&self.bytes, start);
        let (bit, value) = self.header_at(first, start);
        // All names look alike to the verifier from here on: it walks what follows once, and not once for each.
        let (bit, value) = (forgotten(&mut self.line_start, bit), forgotten(&mut self.line_start, value));
        let is_hashed = bit & !self.found & header::HASHED != 0;
        let read = if is_hashed {
            // The Call-ID by its value alone: the server writes the name in its own way.
            let from = if bit == header::CALL_ID { self.value_at(value) } else { start };
            self.line_hash(from)
        } else {
            self.line_end(start).map(|end| (end, 0))
        };
        let Some((end, hash)) = read else { return self.again_or_doubtful() };
        if bit == header::UNCLEAR {
            return self.doubtful();
        }
        if first & 0xff == u64::from(b'\r') {
            // The blank line. Without Session-Expires there is none to wait for; else headers are missing.
            if self.hears && self.found & header::CALL == header::CALL {
                return ControlFlow::Break(());
            }
            return self.doubtful();
        }
        // A folded line continues what was just read (RFC 3261 7.3.1), possibly with the tag we look for.
        // Behind the payload stands what is left over from another.
        let next = if end + 1 < self.length { byte(&self.bytes, end + 1) } else { 0 };
        if is_white(next) && !self.hears {
            return self.doubtful();
        }
        self.position = end + 1;

        if bit == 0 {
            if first | repeated(b' ') == text(b"user-age") {
                self.agent_at = start;
            }
            return ControlFlow::Continue(());
        }
        if self.answers {
            self.spans.note(bit, start, end + 1);
        }
        if bit == header::VIA {
            if self.found & header::VIA == 0 {
                self.via_hash = hash;
                self.via_at = value;
            }
        } else if bit == header::FROM {
            self.from_at = value;
        } else if bit == header::SESSION_EXPIRES {
            self.session_at = value;
        } else if self.found & bit != 0 {
            return self.doubtful();
        } else if bit == header::CALL_ID {
            self.call_id_hash = hash;
        } else if bit == header::CSEQ {
            self.cseq_hash = hash;
            self.cseq_at = value;
        } else if self.wanted != header::ALL && !self.hears {
            // An ACK repeats the To as it was answered (RFC 3261 17.1.1.3), so the tag stands at its end.
            self.to_end = end - 1;
        } else if self.hears {
            // Whatever the dialog is, the Call-ID tells the call.
        } else if self.method != Method::Register as u32 {
            // The To of a REGISTER names no dialog (RFC 3261 10.2): it is metered whatever it carries.
            self.to_start = value;
            self.to_end = end - 1;
        }
        self.found |= bit;
        if self.found & self.wanted == self.wanted {
            if self.wanted == header::ALL {
                self.spans.rest_at = end + 1;
                self.kind = Kind::Initial as u32;
            } else if !self.hears && self.is_tagged_by_us() {
                self.kind = Kind::Absorbed as u32;
            }
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
            5 => Kind::Doubtful,
            6 => Kind::Absorbed,
            _ => return Message::MALFORMED,
        };
        let fingerprint = if matches!(kind, Kind::Initial) {
            let hash = mix(mix(mix(self.via_hash, self.call_id_hash), self.cseq_hash), self.start_hash);
            repeat::as_fingerprint(mix(hash, self.source_key))
        } else {
            0
        };
        Message { kind, method: method_of(self.method), fingerprint, called: self.called }
    }

    /// Whether the To that ends at `to_end` ends with the tag that an answer of ours gave it.
    #[inline(always)]
    fn is_tagged_by_us(&self) -> bool {
        let [high, low] = answer::tag(self.call_id_hash, self.hash_key);
        let tag = self.to_end.wrapping_sub(16);
        word(&self.bytes, tag) == high
            && word(&self.bytes, tag + 8) == low
            && word(&self.bytes, tag.wrapping_sub(5)) & LOW_40 == text(b";tag=\0\0\0")
    }

    /// A line was not read.
    #[inline(always)]
    fn again_or_doubtful(&mut self) -> ControlFlow<()> {
        if self.again().is_continue() { ControlFlow::Continue(()) } else { self.doubtful() }
    }

    #[inline(always)]
    fn doubtful(&mut self) -> ControlFlow<()> {
        if self.kind == Kind::InDialog as u32 && !self.hears {
            // An ACK that was looked at for its tag.
            return ControlFlow::Break(());
        }
        self.kind = if self.hears { Kind::Malformed as u32 } else { Kind::Doubtful as u32 };
        ControlFlow::Break(())
    }

    #[inline(always)]
    fn begin_response(&mut self, start: u32, status: u64) -> ControlFlow<()> {
        // Status-Code is three digits, then SP (RFC 3261 25.1).
        let Some((method, status)) = status_code(status) else { return ControlFlow::Break(()) };
        if self.length < 12 {
            return ControlFlow::Break(());
        }
        self.method = method as u32;
        self.kind = Kind::Response as u32;
        if !self.hears {
            return ControlFlow::Break(());
        }
        self.status = status;
        if matches!(method, Method::Status2xx) {
            self.wanted = header::CALL | header::SESSION_EXPIRES;
        }
        let Some(end) = self.line_end(start) else { return self.doubtful() };
        self.position = end + 1;
        self.headers_at = end + 1;
        ControlFlow::Continue(())
    }
}

/// Back from the index; every index that is held was a method's.
#[inline(always)]
pub(crate) fn method_of(index: u32) -> Method {
    match Method::from_index(index as usize) {
        Some(method) => method,
        None => Method::Extension,
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on panics where it stands")]
mod tests;
