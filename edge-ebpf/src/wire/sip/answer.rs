//! The answer to a request that is refused: RFC 3261 8.2.6, made of the request's own lines.
//!
//! A machine with explicit steps, as the parser: [`Reply::begin`], then [`Reply::check_line`] until it breaks, then
//! [`Reply::read_via`], then [`Reply::write`].
//! The parser has noted where the lines stand that are repeated; what it has not read is looked through for more. Stateless (8.2.7): the To tag is a keyed hash of the Call-ID, so that a request sent again
//! gets the same answer and the ACK is known by it. Never longer than the request: nobody is flooded through us.

use core::ops::ControlFlow;

use super::spans::Spans;
use super::{PAYLOAD_BYTES_MAX, Scratch, WORDS_PER_LINE_MAX, header};
use crate::hash::mix;
use crate::verifier::{REPLY_BYTES, SCRATCH_BYTES, byte, forgotten, opaque, put_words, word, words_at};
use crate::wire::number;
use crate::wire::words::{
    HIGH_BITS, LOW_40, before, in_range, is_white, lane, lowest_bit, repeated, text, zero_bytes,
};

/// Port of SIP where a Via names none (RFC 3261 18.1.1).
const DEFAULT_PORT: u32 = 5060;

/// Headers that an answer repeats.
const REPEATED: u32 = header::VIA | header::FROM | header::TO | header::CALL_ID | header::CSEQ;

/// What an answer says.
#[derive(Clone, Copy, Debug)]
pub struct Saying<'a> {
    /// Why, as [`Reply`] writes it into the Warning: one of a few short words.
    pub code: Code,
    /// Address that the request came from, IPv4 mapped.
    pub source: &'a [u8; 16],
    /// Port that it came from.
    pub source_port: u16,
    /// Whether the address is IPv6.
    pub is_ipv6: bool,
}

/// The limit that fired, as an answer names it. Stable: operators and customers match on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Code {
    /// The rate of the source.
    SourceRate = 1,
    /// The rate of the account.
    AccountRate = 2,
    /// The concurrent calls of the account.
    AccountCalls = 3,
    /// The concurrent calls of the trunk.
    TrunkCalls = 4,
    /// The account is suspended.
    Suspended = 5,
    /// The caller ID is none that the account may show.
    CallerId = 6,
}

impl Code {
    /// Whether it is no matter of time: 403, and not 503.
    #[inline(always)]
    const fn is_final(self) -> bool {
        self as u32 >= Self::Suspended as u32
    }
}

/// The answer in the making. In the kernel a per-CPU map value.
#[repr(C)]
pub struct Reply {
    /// The message, and zeros behind it up to four octets.
    pub bytes: [u8; REPLY_BYTES],
    /// Bytes of the message.
    pub length: u32,
    /// Where the answer goes: the port of the top Via, or the request's own with `rport` (RFC 3581 4).
    pub port: u32,
    /// Port that the request came from.
    source_port: u32,
    /// Where the next line of the request starts.
    position: u32,
    /// Whether the blank line was reached, and all that an answer repeats stands before it, in one way.
    is_whole: u32,
    /// Where the first value of the top Via ends, its sent-by, and its empty `rport`; 0 for none.
    value_end: u32,
    sent_by_end: u32,
    rport_end: u32,
    /// For the verifier.
    cell: u32,
    /// Digits of the To tag.
    tag: [u64; 2],
    /// Where the request came from.
    source: [u64; 2],
    /// Not zero if that is IPv6.
    is_ipv6: u32,
}

impl Reply {
    /// To be filled from [`Self::begin`] on.
    #[cfg(not(target_arch = "bpf"))]
    pub const EMPTY: Self = Self {
        bytes: [0; REPLY_BYTES],
        length: 0,
        port: 0,
        source_port: 0,
        position: 0,
        is_whole: 0,
        value_end: 0,
        sent_by_end: 0,
        rport_end: 0,
        cell: 0,
        tag: [0; 2],
        source: [0; 2],
        is_ipv6: 0,
    };

    /// Begins an answer to the request that was read.
    #[inline(always)]
    pub fn begin(&mut self, scratch: &Scratch, saying: &Saying<'_>) {
        self.port = DEFAULT_PORT;
        self.source_port = u32::from(saying.source_port);
        self.position = scratch.spans.rest_at;
        self.is_whole = 0;
        self.tag = tag(scratch.call_id_hash, scratch.hash_key);
        self.source = words(saying.source);
        self.is_ipv6 = u32::from(saying.is_ipv6);
    }

    /// Looks at one line that the parser has not read. Breaks at the blank line, and at what cannot be answered.
    #[inline(always)]
    pub fn check_line(&mut self, scratch: &mut Scratch) -> ControlFlow<()> {
        let start = forgotten(&mut self.cell, self.position);
        let first = word(&scratch.bytes, start);
        let (bit, value) = scratch.header_at(first, start);
        // All names look alike to the verifier from here on: it walks what follows once, and not once for each.
        let (bit, value) = (forgotten(&mut self.cell, bit), forgotten(&mut self.cell, value));
        let Some(end) = scratch.line_end(start) else { return scratch.again() };
        if first & 0xff == u64::from(b'\r') {
            let spans = &scratch.spans;
            let is_whole = spans.rest_at != 0 && spans.from.end != 0 && spans.is_unclear == 0;
            self.is_whole = u32::from(is_whole);
            return ControlFlow::Break(());
        }
        let next = byte(&scratch.bytes, end + 1);
        if is_white(next) {
            return ControlFlow::Break(());
        }
        self.position = end + 1;
        if bit & REPEATED != 0 {
            if bit != header::FROM || scratch.spans.from.end != 0 {
                return ControlFlow::Break(());
            }
            scratch.from_at = value;
            scratch.spans.note(bit, start, end + 1);
        }
        ControlFlow::Continue(())
    }

    /// Writes the answer. `false` if it would be longer than the request.
    ///
    /// Where the next octet goes is passed on and never kept in memory: some thirty pieces are put together, and each
    /// would wait for what the one before it has stored.
    #[inline(always)]
    pub fn write(&mut self, scratch: &Scratch, code: Code, retry_after_s: u32) -> bool {
        let is_final = code.is_final();
        let at = if is_final {
            self.put(0, [b"SIP/2.0 ", b"403 Forb", b"idden\r\n\0"], 23)
        } else {
            self.put(0, [b"SIP/2.0 ", b"503 Serv", b"ice Unav", b"ailable\r", b"\n\0\0\0\0\0\0\0"], 33)
        };
        // From here on both look alike to the verifier: it walks what follows once.
        let at = forgotten(&mut self.cell, at);
        let at = self.write_vias(scratch, at);
        let at = self.write_dialog(scratch, at);
        let at = if retry_after_s == 0 || is_final {
            at
        } else {
            // Spread by half as much again, so that not all come back at once; the same for the same request.
            let most = retry_after_s / 2 + 1;
            let retry_after_s = retry_after_s + (scratch.call_id_hash >> 40) as u32 % most;
            let at = self.put(at, [b"Retry-Af", b"ter: \0\0\0"], 13);
            let at = self.put_decimal(at, retry_after_s);
            self.put(at, [b"\r\n\0\0\0\0\0\0"], 2)
        };
        let at = forgotten(&mut self.cell, at);
        let at = self.put(at, [b"Warning:", b" 399 edg", b"e \"\0\0\0\0\0"], 19);
        let at = match code {
            Code::SourceRate => self.put(at, [b"source.r", b"ate\0\0\0\0\0"], 11),
            Code::AccountRate => self.put(at, [b"account.", b"rate\0\0\0\0"], 12),
            Code::AccountCalls => self.put(at, [b"account.", b"calls\0\0\0"], 13),
            Code::TrunkCalls => self.put(at, [b"trunk.ca", b"lls\0\0\0\0\0"], 11),
            Code::Suspended => self.put(at, [b"suspende", b"d\0\0\0\0\0\0\0"], 9),
            Code::CallerId => self.put(at, [b"account.", b"caller_i", b"d\0\0\0\0\0\0\0"], 17),
        };
        let at = forgotten(&mut self.cell, at);
        let at = self.put(at, [b"\"\r\nConte", b"nt-Lengt", b"h: 0\r\n\r\n"], 24);
        // Zeros behind it, for the checksum's last words.
        put_words(&mut self.bytes, at, [0]);
        self.length = at;
        at <= scratch.length
    }

    /// The Via lines (RFC 3261 18.2.1, RFC 3581 4): `received` and the value of `rport` go into the first value.
    #[inline(always)]
    fn write_vias(&mut self, scratch: &Scratch, at: u32) -> u32 {
        let Spans { vias, .. } = scratch.spans;
        let (value_end, rport_end) = (self.value_end, self.rport_end);
        let (start, at) = if rport_end == 0 {
            let sent_by_end = if self.sent_by_end == 0 { value_end } else { self.sent_by_end };
            self.port = port_before(&scratch.bytes, sent_by_end);
            (vias.start, at)
        } else {
            self.port = self.source_port;
            let at = self.copy(scratch, at, vias.start, rport_end);
            let at = self.put(at, [b"=\0\0\0\0\0\0\0"], 1);
            (rport_end, self.put_decimal(at, self.source_port))
        };
        let start = forgotten(&mut self.cell, start);
        let at = forgotten(&mut self.cell, at);
        let at = self.copy(scratch, at, start, value_end);
        let at = self.put(at, [b";receive", b"d=\0\0\0\0\0\0"], 10);
        let at = self.put_address(at);
        let at = self.copy(scratch, at, value_end, vias.end);
        forgotten(&mut self.cell, at)
    }

    /// From, To with its tag, Call-ID and CSeq. In the usual order they need half the copies.
    #[inline(always)]
    fn write_dialog(&mut self, scratch: &Scratch, at: u32) -> u32 {
        let Spans { from, to, call_id, cseq, .. } = scratch.spans;
        let (start, at) = if from.end == to.start {
            (from.start, at)
        } else {
            (to.start, self.copy(scratch, at, from.start, from.end))
        };
        let start = forgotten(&mut self.cell, start);
        let at = forgotten(&mut self.cell, at);
        let at = self.copy(scratch, at, start, to.end - 2);
        let at = self.put(at, [b";tag=\0\0\0"], 5);
        let at = self.put_words(at, self.tag, 16);
        let at = self.put(at, [b"\r\n\0\0\0\0\0\0"], 2);
        let (start, at) = if call_id.end == cseq.start {
            (call_id.start, at)
        } else {
            (cseq.start, self.copy(scratch, at, call_id.start, call_id.end))
        };
        let start = forgotten(&mut self.cell, start);
        let at = forgotten(&mut self.cell, at);
        self.copy(scratch, at, start, cseq.end)
    }

    /// Finds the end of the top Via's first value, of its sent-by and of its empty `rport`: what follows the lines. `false` if
    /// there is no answer: a line that it repeats is missing, or the Via has a `received`, which is not the sender's to say.
    #[inline(always)]
    pub fn read_via(&mut self, scratch: &Scratch) -> bool {
        if self.is_whole == 0 {
            return false;
        }
        let end = scratch.spans.top_via_end - 1;
        self.value_end = end - 1;
        self.sent_by_end = 0;
        self.rport_end = 0;
        let mut position = forgotten(&mut self.cell, scratch.via_at);
        for _ in 0..WORDS_PER_LINE_MAX {
            if position >= end - 1 {
                break;
            }
            let here = word(&scratch.bytes, position);
            let marks = zero_bytes(here ^ repeated(b';')) | zero_bytes(here ^ repeated(b','));
            if marks == 0 {
                position += 8;
                continue;
            }
            position += lane(lowest_bit(marks));
            if position >= end - 1 {
                break;
            }
            if self.sent_by_end == 0 {
                self.sent_by_end = position;
            }
            if byte(&scratch.bytes, position) == b',' {
                self.value_end = position;
                break;
            }
            let name = word(&scratch.bytes, position + 1) | repeated(b' ');
            if name == text(b"received") {
                return false;
            }
            let after = byte(&scratch.bytes, position + 6);
            if name & LOW_40 == text(b"rport\0\0\0") && matches!(after, b';' | b',' | b'\r' | b' ') {
                self.rport_end = position + 6;
            }
            position = forgotten(&mut self.cell, position + 1);
        }
        true
    }

    /// Writes the request's octets from `from` up to `to` at `at`, and says where the next one goes.
    #[inline(always)]
    fn copy(&mut self, scratch: &Scratch, at: u32, from: u32, to: u32) -> u32 {
        let mut position = forgotten(&mut self.cell, from);
        let mut out = forgotten(&mut self.cell, at);
        for _ in 0..PAYLOAD_BYTES_MAX / 32 {
            if position >= to {
                break;
            }
            put_words(&mut self.bytes, out, words_at(&scratch.bytes, position));
            position += 32;
            out += 32;
        }
        at + (to - from)
    }

    #[inline(always)]
    fn put<const N: usize>(&mut self, at: u32, words: [&[u8; 8]; N], bytes: u32) -> u32 {
        put_words(&mut self.bytes, at, words.map(text));
        at + bytes
    }

    #[inline(always)]
    fn put_words<const N: usize>(&mut self, at: u32, words: [u64; N], bytes: u32) -> u32 {
        put_words(&mut self.bytes, at, words);
        at + bytes
    }

    /// A number below 100,000.
    #[inline(always)]
    fn put_decimal(&mut self, at: u32, number: u32) -> u32 {
        let (word, digits) = decimal(u64::from(number));
        self.put_words(at, [word], digits as u32)
    }

    /// The address that the request came from: as usual for IPv4, all groups in full for IPv6 (RFC 3261 25.1,
    /// hex4).
    #[inline(always)]
    fn put_address(&mut self, mut at: u32) -> u32 {
        if self.is_ipv6 == 0 {
            let [_, low] = self.source;
            for octet in 0..4 {
                let octet = OCTETS[(low >> (24 - 8 * octet) & 0xff) as usize];
                at = self.put_words(at, [octet], (octet >> 32) as u32);
            }
        } else {
            for group in 0..8 {
                let half = self.source[group / 4];
                let value = half >> (48 - 16 * (group % 4)) & 0xffff;
                let word = hexadecimal(value << 16) >> 32 | u64::from(b':') << 32;
                at = self.put_words(at, [word], 5);
            }
        }
        // Without the last dot or colon.
        let at = at - 1;
        forgotten(&mut self.cell, at)
    }
}

/// What an octet of an IPv4 address is in decimal, with the dot behind it: its characters, and from bit 32 on how many.
static OCTETS: [u64; 256] = octets();

const fn octets() -> [u64; 256] {
    let mut octets = [0; 256];
    let mut octet = 0;
    while octet < 256 {
        let (mut characters, mut bytes, mut rest) = (b'.' as u64, 1, octet as u64);
        while bytes == 1 || rest != 0 {
            characters = characters << 8 | (b'0' as u64 + rest % 10);
            bytes += 1;
            rest /= 10;
        }
        octets[octet] = bytes << 32 | characters;
        octet += 1;
    }
    octets
}

/// An address as two numbers.
#[inline(always)]
fn words(address: &[u8; 16]) -> [u64; 2] {
    let [high, low]: [u64; 2] = zerocopy::transmute!(*address);
    [u64::from_be(high), u64::from_be(low)]
}

/// The To tag of an answer: known again by the ACK.
#[must_use]
#[inline(always)]
pub(super) fn tag(call_id_hash: u64, hash_key: u64) -> [u64; 2] {
    let hash = mix(hash_key ^ call_id_hash, !hash_key);
    [hexadecimal(hash >> 32), hexadecimal(hash & 0xffff_ffff)]
}

/// Eight hexadecimal digits of the low half, the highest first.
#[inline(always)]
const fn hexadecimal(value: u64) -> u64 {
    // Each nibble into an octet of its own, by halves.
    let value = (value << 16 | value) & 0x0000_ffff_0000_ffff;
    let value = (value << 8 | value) & 0x00ff_00ff_00ff_00ff;
    let nibbles = ((value << 4 | value) & 0x0f0f_0f0f_0f0f_0f0f).swap_bytes();
    let letters = (nibbles + repeated(6)) >> 4 & repeated(1);
    nibbles + repeated(b'0') + letters * 39
}

/// Up to five decimal digits, the first in the lowest byte, and how many. Without branches, each of which would
/// double the verifier's ways, and without divisions, which cost as much as all the rest.
#[inline(always)]
fn decimal(value: u64) -> (u64, u64) {
    // Exact for all 32-bit numbers: the reciprocal of ten, rounded up, times 2^35.
    let tenth = |value: u64| value.wrapping_mul(0xcccc_cccd) >> 35;
    let (q1, q2) = (tenth(value), tenth(tenth(value)));
    let (q3, q4) = (tenth(q2), tenth(tenth(q2)));
    let digit = |above: u64, here: u64| here - 10 * above;
    let all = q4 | digit(q4, q3) << 8 | digit(q3, q2) << 16 | digit(q2, q1) << 24 | digit(q1, value) << 32;
    let above = |most: u64| opaque(most.wrapping_sub(value)) >> 63;
    let digits = 1 + above(9) + above(99) + above(999) + above(9_999);
    ((all + 0x30_3030_3030) >> (8 * (5 - digits)), digits)
}

/// The port at the end of a sent-by (RFC 3261 25.1), or the default. Read from its last digit to its first.
#[inline(always)]
fn port_before(bytes: &[u8; SCRATCH_BYTES], end: u32) -> u32 {
    let characters = word(bytes, end.wrapping_sub(8));
    let backwards = characters.swap_bytes();
    let first_other = lowest_bit(!in_range(backwards, b'0', b'9') & HIGH_BITS);
    let port = number::parse_eight(characters & before(first_other).swap_bytes());
    let is_port = first_other != 0
        && backwards >> (8 * lane(first_other)) & 0xff == u64::from(b':')
        && matches!(port, 1..=0xffff);
    if is_port { port } else { DEFAULT_PORT }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_octet_is_written_in_decimal_with_a_dot() {
        for (octet, entry) in OCTETS.into_iter().enumerate() {
            let bytes = (entry >> 32) as usize;
            assert_eq!(entry.to_le_bytes()[..bytes], *format!("{octet}.").as_bytes());
        }
    }

    #[test]
    fn the_port_is_what_stands_behind_the_last_colon() {
        let port = |sent_by: &str| {
            let mut bytes = [0; SCRATCH_BYTES];
            let text = format!("Via: SIP/2.0/UDP {sent_by}");
            bytes[..text.len()].copy_from_slice(text.as_bytes());
            port_before(&bytes, text.len() as u32)
        };
        for (sent_by, expected) in [
            ("203.0.113.7:5080", 5080),
            ("203.0.113.7:1", 1),
            ("[2001:db8::7]:65535", 65_535),
            ("[2001:db8::7]:005080", 5080),
            ("203.0.113.7", DEFAULT_PORT),
            ("[2001:db8::7]", DEFAULT_PORT),
            ("pbx.example.com", DEFAULT_PORT),
            ("203.0.113.7:0", DEFAULT_PORT),
            ("203.0.113.7:65536", DEFAULT_PORT),
            ("203.0.113.7:", DEFAULT_PORT),
            ("12345678", DEFAULT_PORT),
        ] {
            assert_eq!(port(sent_by), expected, "{sent_by}");
        }
    }
}
