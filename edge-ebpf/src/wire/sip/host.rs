//! The parser's loops on the host, where the kernel has `bpf_loop`.

use super::{LINE_BYTES_MAX, LINES_MAX, Message, PAYLOAD_BYTES_MAX, Scratch};
use crate::verifier::SCRATCH_BYTES;

/// Parses a payload on the host, as the kernel does.
#[must_use]
pub fn parse(payload: &[u8], hash_key: u64, prefix_digits: u32) -> Message {
    let length = payload.len().min(PAYLOAD_BYTES_MAX as usize);
    let mut scratch = Scratch {
        bytes: [0; SCRATCH_BYTES],
        hash_key,
        length: length as u32,
        prefix_digits,
        position: 0,
        line_start: 0,
        found: 0,
        kind: 0,
        method: 0,
        called: 0,
        to_end: 0,
        to_start: 0,
        walk: 0,
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
        if scratch.needs_tag_walk() {
            scratch.begin_tag_walk();
            for _ in 0..LINE_BYTES_MAX {
                if scratch.tag_byte().is_break() {
                    break;
                }
            }
        }
    }
    scratch.message()
}
