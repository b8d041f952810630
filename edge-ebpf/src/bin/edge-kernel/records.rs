//! Records of calls for the daemon, through a ring buffer of their own; what finds no room is counted.

use edge_ebpf::abi::{CallRecord, CallState, EndedBy};

use crate::maps;

/// Fills a record with what is known of a call. In place: a record is too large for the stack.
#[inline(always)]
pub(crate) fn describe(record: &mut CallRecord, account: u32, call: &CallState) {
    record.account = account;
    record.trunk = call.trunk;
    record.source = call.source;
    copy_words(record.from.as_mut_ptr().cast(), call.from.as_ptr().cast());
    copy_words(record.to.as_mut_ptr().cast(), call.to.as_ptr().cast());
    record.setup_ns = call.setup_ns;
    record.ring_ns = call.ring_ns;
    record.answer_ns = call.answer_ns;
}

/// Completes a record and sends it. `cause` is a [`edge_ebpf::abi::CallCause`] as integer.
#[inline(always)]
pub(crate) fn send(record: &mut CallRecord, cause: u32, ended_by: EndedBy, status: u32, end_ns: u64) {
    record.end_ns = end_ns;
    record.status = status;
    record.cause = cause;
    record.ended_by = ended_by as u32;
    let record: &CallRecord = record;
    if maps::RECORDS.output::<CallRecord>(record, 0).is_err()
        && let Some(lost) = maps::RECORDS_LOST.get_ptr_mut(0)
    {
        // SAFETY: this CPU's own value.
        unsafe { *lost += 1 };
    }
}

/// A number, word by word: LLVM would have `memcpy` move it, byte after byte.
#[inline(always)]
pub(crate) fn copy_words(to: *mut u64, from: *const u64) {
    for index in 0..3 {
        // SAFETY: both are numbers of 24 bytes within map values, on 8-byte boundaries.
        unsafe { to.add(index).write(from.add(index).read()) };
    }
}
