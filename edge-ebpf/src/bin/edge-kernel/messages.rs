//! Records of messages: excerpts on the way in become notes, notes and answers on the way out become records.
//!
//! Notes and records are made in stages, programs of their own, once their segment has passed.

use core::ffi::c_void;
use core::ptr;

use aya_ebpf::bindings::{TC_ACT_UNSPEC, xdp_action};
use aya_ebpf::macros::{classifier, xdp};
use aya_ebpf::programs::{TcContext, XdpContext};
use edge_ebpf::abi::{FlowKey, MessageNote, MessageRecord, NoteKey, Settings, policy_flag};
use edge_ebpf::messages::{ANSWERS_MAX, CutReceipt, EXCERPTS_MAX, Reading, ReceiptReading, describe};
use edge_ebpf::native::judging;
use edge_ebpf::stream::{Finding, Flow, Sighting, Walk, Witness};
use edge_ebpf::verifier::opaque;
use edge_ebpf::wire::smpp::{self, DESTINATIONS_MAX, Header, PREFIX_ROOM};

use crate::segment::run;
use crate::{clock, maps, senders};

/// What is too large for the stack.
pub(crate) struct Scratch {
    reading: Reading,
    key: NoteKey,
    note: MessageNote,
    record: MessageRecord,
    pub(crate) receipt: ReceiptReading,
    /// What is kept of a receipt, before it is inserted.
    pub(crate) cut: CutReceipt,
}

/// Reads messages, and judges nothing.
pub(crate) struct Reader {
    /// See [`crate::refusal::Prices`].
    pub(crate) reads: u32,
}

impl Witness for Reader {
    #[inline(always)]
    fn weigh(&mut self, _start: u32, header: Header, octets: &[u8; PREFIX_ROOM]) -> u32 {
        further_destinations(header, octets)
    }

    #[inline(always)]
    fn call(&mut self, walk: &mut Walk) {
        edge_call_destinations(walk);
    }

    #[inline(always)]
    fn see(&mut self, _pdu: Sighting, _octets: &[u8; PREFIX_ROOM]) -> Result<(), Finding> {
        Ok(())
    }

    #[inline(always)]
    fn read(&mut self, _start: u32, header: Header, octets: &[u8; PREFIX_ROOM]) {
        if self.reads != 0 {
            edge_excerpt(octets, u64::from(header.id), u64::from(header.sequence), u64::from(header.length));
            senders::note(octets, header.length);
        }
    }
}

/// [`smpp::further_destinations`].
#[inline(always)]
pub(crate) fn further_destinations(header: Header, octets: &[u8; PREFIX_ROOM]) -> u32 {
    edge_further_destinations(octets, u64::from(header.length)) as u32 & 0xff
}

/// A global function, so that the verifier proves it once: hardly anybody sends `submit_multi`.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn edge_further_destinations(pdu: *const [u8; PREFIX_ROOM], length: u64) -> u64 {
    if pdu.is_null() {
        return 0;
    }
    // SAFETY: the caller's borrow.
    u64::from(smpp::further_destinations(unsafe { &*pdu }, length as u32))
}

/// Counts the destinations of the `submit_multi` at hand that are in sight. A global function, as above.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn edge_call_destinations(walk: *mut Walk) -> u64 {
    if walk.is_null() {
        return 0;
    }
    let mut turn = CallTurn { walk };
    run(DESTINATIONS_MAX, call, (&raw mut turn).cast());
    1
}

/// What the loop over destinations is given.
struct CallTurn {
    walk: *mut Walk,
}

extern "C" fn call(_turn: u64, context: *mut c_void) -> i64 {
    // SAFETY: `run` passes a `CallTurn`; its walk is the caller's borrow.
    let walk = unsafe { &mut *(*context.cast::<CallTurn>()).walk };
    i64::from(walk.call_step().is_break())
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn edge_excerpt(pdu: *const [u8; PREFIX_ROOM], id: u64, sequence: u64, length: u64) -> u64 {
    let Some(scratch) = maps::SMPP_SCRATCH.get_ptr_mut(0) else { return 0 };
    if pdu.is_null() {
        return 0;
    }
    let header = Header { length: length as u32, id: id as u32, status: 0, sequence: sequence as u32 };
    // SAFETY: this CPU's own value, of which the caller has borrowed only the walk.
    unsafe { (*scratch).excerpts.take(header, &*pdu) };
    1
}

/// Whether anything is read of an account's messages.
#[inline(always)]
pub(crate) const fn are_read(settings: &Settings, policy_flags: u32) -> bool {
    settings.message_records != 0 || policy_flags & policy_flag::SENDER_IDS_CHECKED != 0
}

/// Tells what is read of the messages of the client's segment at hand, whose account and judging are in the scratch, where
/// [`are_read`] says that anything is. Nothing is yet.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn edge_begin_reading(flow: *mut Flow) -> u64 {
    let (Some(scratch), Some(settings)) = (maps::SMPP_SCRATCH.get_ptr_mut(0), maps::SETTINGS.get(0)) else {
        return 0;
    };
    // SAFETY: this CPU's own value.
    let scratch = unsafe { &mut *scratch };
    scratch.excerpts.clear();
    scratch.senders.clear();
    let number = scratch.handover.number;
    let Some(policy) = maps::POLICIES.get_ptr(number) else { return 0 };
    choose(&mut scratch.excerpts.sample, settings, scratch.key.source_port);
    // SAFETY: a map value.
    let flags = unsafe { (*policy).flags };
    scratch.senders.choose(number, flags);
    // SAFETY: the flow is locked by us.
    let is_lenient = !flow.is_null() && unsafe { (*flow).lenient } != 0;
    scratch.judging = judging::with_senders(scratch.judging, flags, is_lenient);
    1
}

/// Tells the segment at hand which messages of its connection leave a record.
#[inline(always)]
pub(crate) fn choose(sample: &mut edge_ebpf::messages::Sample, settings: &Settings, client_port: [u8; 2]) {
    let [hash_key, _] = settings.hash_key;
    sample.choose(settings.message_records, hash_key, client_port);
}

/// Makes a note of each message of the segment at hand that leaves a record. The segment passes.
#[xdp(frags)]
pub(crate) fn edge_note_messages(_ctx: XdpContext) -> u32 {
    if let Some(scratch) = maps::SMPP_SCRATCH.get_ptr(0) {
        // SAFETY: this CPU's own value.
        let (used, missed) = unsafe { ((*scratch).excerpts.used, (*scratch).excerpts.missed) };
        run(used, note, ptr::null_mut());
        lose(missed);
    }
    xdp_action::XDP_PASS
}

extern "C" fn note(index: u64, _context: *mut c_void) -> i64 {
    let (Some(segment), Some(scratch)) =
        (maps::SMPP_SCRATCH.get_ptr(0), maps::MESSAGE_SCRATCH.get_ptr_mut(0))
    else {
        return 1;
    };
    // SAFETY: this CPU's own values.
    let (segment, scratch) = unsafe { (&*segment, &mut *scratch) };
    let index = opaque(index) as usize;
    if index >= EXCERPTS_MAX {
        return 1;
    }
    let excerpt = &segment.excerpts.list[index];
    let Scratch { reading, key, note, .. } = scratch;
    describe(reading, excerpt, note);
    note.account = segment.handover.number;
    note.submitted_ns = segment.handover.now_ns;
    name(key, &segment.key, excerpt.sequence);
    let (key, note): (&NoteKey, &MessageNote) = (key, note);
    let _ = maps::NOTES.insert(key, note, 0);
    0
}

/// Makes a record of each message to which the segment at hand has brought the answer. The segment goes out.
#[classifier]
pub(crate) fn edge_record_messages(_ctx: TcContext) -> i32 {
    if let Some(scratch) = maps::SMPP_SCRATCH.get_ptr(0) {
        // SAFETY: this CPU's own value.
        let (used, missed) = unsafe { ((*scratch).answers.used, (*scratch).answers.missed) };
        run(used, record, ptr::null_mut());
        lose(missed);
    }
    TC_ACT_UNSPEC
}

extern "C" fn record(index: u64, _context: *mut c_void) -> i64 {
    let (Some(segment), Some(scratch)) =
        (maps::SMPP_SCRATCH.get_ptr(0), maps::MESSAGE_SCRATCH.get_ptr_mut(0))
    else {
        return 1;
    };
    // SAFETY: this CPU's own values.
    let (segment, scratch) = unsafe { (&*segment, &mut *scratch) };
    let index = opaque(index) as usize;
    if index >= ANSWERS_MAX {
        return 1;
    }
    let answer = &segment.answers.list[index];
    let Scratch { key, record, .. } = scratch;
    let client = &segment.reverse;
    name(key, client, answer.sequence);
    name(&mut record.key, client, answer.sequence);
    let key: &NoteKey = key;
    // Not noted: forgotten for newer ones, or not submitted while records were on.
    let Some(note) = maps::NOTES.get_ptr(key) else { return 0 };
    copy_note(&raw mut record.note, note);
    let _ = maps::NOTES.remove(key);
    record.answered_ns = clock::now_ns();
    record.status = answer.status;
    record.refused = answer.refused;
    record.system_id = [0; 16];
    if let Some(bind) = maps::BINDS.get_ptr(client) {
        // SAFETY: a map value, whose name is written before it is inserted.
        record.system_id = unsafe { (*bind).system_id };
    }
    let record: &MessageRecord = record;
    if maps::MESSAGES.output::<MessageRecord>(record, 0).is_err() {
        lose(1);
    }
    0
}

/// Records that found no room.
#[inline(always)]
fn lose(records: u32) {
    if records != 0
        && let Some(lost) = maps::MESSAGES_LOST.get_ptr_mut(0)
    {
        // SAFETY: this CPU's own value.
        unsafe { *lost += u64::from(records) };
    }
}

#[inline(always)]
fn name(key: &mut NoteKey, client: &FlowKey, sequence: u32) {
    key.client = *client;
    key.sequence = sequence.to_be_bytes();
}

/// Word by word: LLVM would have `memcpy` move it, octet after octet.
#[inline(always)]
fn copy_note(to: *mut MessageNote, from: *const MessageNote) {
    const { assert!(size_of::<MessageNote>().is_multiple_of(8) && align_of::<MessageNote>() == 8) };
    let (to, from) = (to.cast::<u64>(), from.cast::<u64>());
    for index in 0..size_of::<MessageNote>() / 8 {
        // SAFETY: both are notes within map values.
        unsafe { to.add(index).write(from.add(index).read()) };
    }
}
