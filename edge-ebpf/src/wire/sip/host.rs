//! The parser's loops on the host, where the kernel has `bpf_loop`.

use super::caller::Callers;
use super::grant::Grants;
use super::spans::Spans;
use super::{
    CALLER_STEPS_MAX, Caller, GRANT_STEPS_MAX, LINE_BYTES_MAX, LINES_MAX, Message, PAYLOAD_BYTES_MAX,
    Parties, Reply, Saying, Scratch,
};
use crate::abi::CALLER_ID_DIGITS;
use crate::verifier::SCRATCH_BYTES;

impl Scratch {
    /// Looks for a User-Agent where the parser has not, as the kernel does.
    pub fn find_agent(&mut self) {
        if self.begin_agent() {
            for _ in 0..LINES_MAX {
                if self.agent_line().is_break() {
                    break;
                }
            }
        }
    }

    /// Reads caller and called, as the kernel does.
    pub fn read_all_parties(&mut self) {
        if !self.has_from() {
            for _ in 0..LINES_MAX {
                if self.from_line().is_break() {
                    break;
                }
            }
        }
        self.read_parties();
    }

    /// Reads for how long a REGISTER was accepted, as the kernel does.
    pub fn read_grants(&mut self) -> Option<u32> {
        self.begin_grants();
        for _ in 0..GRANT_STEPS_MAX {
            if self.grant().is_break() {
                break;
            }
        }
        self.granted_s()
    }
}

impl Scratch {
    /// One step of the walk over caller IDs.
    pub(super) fn next_caller(&mut self) -> Caller {
        let mut found = self.caller_line();
        if found == Caller::Value {
            found = self.caller_uri();
        }
        if found == Caller::Value {
            found = self.begin_caller();
        }
        if found != Caller::Value {
            return found;
        }
        for _ in 0..CALLER_ID_DIGITS {
            if self.caller_digit().is_break() {
                break;
            }
        }
        self.end_caller()
    }

    /// Whether a caller ID cannot be read, or is a number that `is_own` does not know; as the kernel does.
    pub fn has_foreign_caller(&mut self, mut is_own: impl FnMut(&[u8; CALLER_ID_DIGITS]) -> bool) -> bool {
        self.begin_callers();
        for _ in 0..CALLER_STEPS_MAX {
            match self.next_caller() {
                Caller::Nothing => {}
                Caller::Number if is_own(&self.caller_digits()) => {}
                Caller::Number | Caller::Unreadable | Caller::Value => return true,
                Caller::Done => return false,
            }
        }
        true
    }
}

/// Keys and settings of a parser.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    /// Keys the hashes.
    pub hash_key: u64,
    /// Keys the fingerprint with the source.
    pub source_key: u64,
    /// Digits of a called number's prefix.
    pub prefix_digits: u32,
    /// As [`Scratch::hears`].
    pub hears: bool,
    /// As [`Scratch::answers`].
    pub answers: bool,
}

/// Parses a payload on the host, as the kernel does.
#[must_use]
pub fn parse(payload: &[u8], hash_key: u64, prefix_digits: u32) -> Message {
    read(payload, Reading { hash_key, source_key: 0, prefix_digits, hears: false, answers: false }).message()
}

/// As [`parse`], with all that was read.
#[must_use]
pub fn read(payload: &[u8], reading: Reading) -> Scratch {
    let Reading { hash_key, source_key, prefix_digits, hears, answers } = reading;
    let length = payload.len().min(PAYLOAD_BYTES_MAX as usize);
    let mut scratch = Scratch {
        bytes: [0; SCRATCH_BYTES],
        hash_key,
        source_key,
        length: length as u32,
        prefix_digits,
        hears,
        answers,
        headers_at: 0,
        position: 0,
        line_start: 0,
        stopped_at: 0,
        found: 0,
        kind: 0,
        method: 0,
        called: 0,
        to_end: 0,
        to_start: 0,
        walk: 0,
        wanted: 0,
        status: 0,
        uri: 0,
        via_at: 0,
        from_at: 0,
        cseq_at: 0,
        session_at: 0,
        agent_at: 0,
        agent_line: 0,
        callers: Callers::NONE,
        grants: Grants::NONE,
        spans: Spans::NONE,
        parties: Parties { from: [0; 3], to: [0; 3] },
        has_parties: false,
        has_cookie: 0,
        start_hash: 0,
        via_hash: 0,
        call_id_hash: 0,
        cseq_hash: 0,
    };
    scratch.bytes[..length].copy_from_slice(&payload[..length]);
    if scratch.begin().is_continue() {
        for _ in 0..LINES_MAX {
            if scratch.line().is_break() {
                break;
            }
        }
        if scratch.look_for_tag() {
            scratch.begin_tag_walk();
            for _ in 0..LINE_BYTES_MAX {
                if scratch.tag_byte().is_break() {
                    break;
                }
            }
            scratch.end_tag_walk();
        }
        if scratch.begin_whole() {
            for _ in 0..LINES_MAX {
                if scratch.whole_line_is_plain().is_break() {
                    break;
                }
            }
        }
        scratch.look_for_cookie();
    }
    scratch
}

impl Reply {
    /// The answer to a request that was read; `None` if it has none.
    #[must_use]
    pub fn to(scratch: &mut Scratch, saying: &Saying<'_>, retry_after_s: u32) -> Option<Self> {
        let mut reply = Self::EMPTY;
        reply.begin(scratch, saying);
        for _ in 0..LINES_MAX {
            if reply.check_line(scratch).is_break() {
                break;
            }
        }
        (reply.read_via(scratch) && reply.write(scratch, saying.code, retry_after_s)).then_some(reply)
    }

    /// The message.
    #[must_use]
    pub fn message(&self) -> &[u8] {
        &self.bytes[..self.length as usize]
    }
}
