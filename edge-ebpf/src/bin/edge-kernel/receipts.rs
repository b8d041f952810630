//! Delivery receipts, read and counted in a stage once their segment has passed.

use core::ffi::c_void;

use aya_ebpf::bindings::{__sk_buff, TC_ACT_UNSPEC};
use aya_ebpf::helpers::generated::bpf_skb_load_bytes;
use aya_ebpf::macros::classifier;
use aya_ebpf::programs::TcContext;
use edge_ebpf::abi::{EgressStage, FlowKey, ReceiptKind, receipt_digits};
use edge_ebpf::messages::{
    CUT_BYTES, CutReceipt, PARAMETERS_MAX, Place, RECEIPTS_MAX, Receipt, ReceiptReading, Receipts, TEXT_STEPS,
};
use edge_ebpf::verifier::opaque;

use crate::segment::run;
use crate::{atomic, counters, maps, smpp_out};

/// Counts the delivery receipts of the segment at hand, and goes on to the records of messages. The segment goes out.
#[classifier]
pub(crate) fn edge_count_receipts(ctx: TcContext) -> i32 {
    if let Some(scratch) = maps::SMPP_SCRATCH.get_ptr(0) {
        // SAFETY: this CPU's own value.
        let (account, used, missed) =
            unsafe { ((*scratch).receipts.account, (*scratch).receipts.used, (*scratch).receipts.missed) };
        let mut turn = Turn { frame: smpp_out::skb(&ctx) };
        run(used, count, (&raw mut turn).cast());
        // SAFETY: as above.
        if unsafe { (*scratch).receipts.cut.length } != 0 {
            keep(smpp_out::skb(&ctx));
        }
        if missed != 0 {
            add(account, ReceiptKind::Unread, u64::from(missed));
        }
    }
    if smpp_out::has_answers() {
        // SAFETY: nothing is left to be done here; without the stage there are no records.
        unsafe { maps::EGRESS_STAGES.tail_call(&ctx, EgressStage::RecordMessages as u32) };
    }
    TC_ACT_UNSPEC
}

/// What the loop over receipts is given.
struct Turn {
    frame: *mut __sk_buff,
}

extern "C" fn count(index: u64, context: *mut c_void) -> i64 {
    // SAFETY: `run` passes a `Turn`, which outlives the loop.
    let frame = unsafe { (*context.cast::<Turn>()).frame };
    let (Some(segment), Some(scratch), Some(settings)) =
        (maps::SMPP_SCRATCH.get_ptr(0), maps::MESSAGE_SCRATCH.get_ptr_mut(0), maps::SETTINGS.get(0))
    else {
        return 1;
    };
    // SAFETY: this CPU's own values.
    let (receipts, reading) = unsafe { (&(*segment).receipts, &mut (*scratch).receipt) };
    let index = opaque(index) as usize;
    if index >= RECEIPTS_MAX {
        return 1;
    }
    let place = receipts.list[index];
    let loaded = if place.is_rest() {
        // SAFETY: this CPU's own value.
        load_rest(frame, reading, receipts, place, unsafe { &(*segment).key })
    } else {
        load(frame, reading, place.offset, place.length).map(|held| (place.id, held))
    };
    let Some((id, held)) = loaded else {
        add(receipts.account, ReceiptKind::Unread, 1);
        return 0;
    };
    if !reading.begin(id, held, settings.prefix_digits) {
        return 0;
    }
    run(PARAMETERS_MAX, parameter, core::ptr::null_mut());
    reading.begin_text();
    run(TEXT_STEPS, text, core::ptr::null_mut());
    let Receipt { kind, prefix } = reading.receipt();
    add(receipts.account, kind, 1);
    if prefix != 0 {
        counters::called(receipts.account, settings.prefix_epoch, receipt_digits(kind, prefix), 1);
    }
    0
}

/// Copies what is kept of a PDU, and its rest behind it; its name, and how much of it is there. It is not kept any longer.
#[inline(always)]
fn load_rest(
    frame: *mut __sk_buff,
    reading: &mut ReceiptReading,
    receipts: &Receipts,
    place: Place,
    key: &FlowKey,
) -> Option<(u32, u32)> {
    // SAFETY: a map value, which only the connection's own segments write.
    let kept = unsafe { &*maps::CUT_RECEIPTS.get_ptr(key)? };
    let (id, held, rest) = (kept.id, kept.held, kept.rest(receipts, place));
    reading.resume(kept);
    let _ = maps::CUT_RECEIPTS.remove(key);
    let (held, last) = (opaque(u64::from(held)), opaque(u64::from(rest.wrapping_sub(1))));
    if held > CUT_BYTES as u64 || last >= u64::from(ReceiptReading::HELD_MAX) - CUT_BYTES as u64 {
        return None;
    }
    let rest = last as u32 + 1;
    // SAFETY: both together are within the buffer; the helper fails where the packet ends before.
    let error = unsafe {
        let to = reading.pdu.as_mut_ptr().add(held as usize);
        bpf_skb_load_bytes(frame.cast(), place.offset, to.cast(), rest)
    };
    if error == 0 { Some((id, held as u32 + rest)) } else { None }
}

/// Keeps the beginning of what the end of the segment cuts. What cannot be kept is unread with the next segment.
#[inline(always)]
fn keep(frame: *mut __sk_buff) {
    let (Some(segment), Some(scratch)) =
        (maps::SMPP_SCRATCH.get_ptr(0), maps::MESSAGE_SCRATCH.get_ptr_mut(0))
    else {
        return;
    };
    // SAFETY: this CPU's own values.
    let (segment, cut) = unsafe { (&*segment, &mut (*scratch).cut) };
    let held = cut.keep(&segment.receipts, segment.walk.segment());
    let last = opaque(u64::from(held.wrapping_sub(1)));
    if last >= CUT_BYTES as u64 {
        return;
    }
    let (held, offset) = (last as u32 + 1, segment.receipts.cut.offset);
    // SAFETY: the helper writes at most as many octets as there is room for; it fails where the packet ends before.
    let error = unsafe { bpf_skb_load_bytes(frame.cast(), offset, cut.octets.as_mut_ptr().cast(), held) };
    if error == 0 {
        let (key, cut): (&FlowKey, &CutReceipt) = (&segment.key, cut);
        let _ = maps::CUT_RECEIPTS.insert(key, cut, 0);
    }
}

/// Copies the beginning of a PDU; how much of it is there.
#[inline(always)]
fn load(frame: *mut __sk_buff, reading: &mut ReceiptReading, offset: u32, length: u32) -> Option<u32> {
    // One less, so that the sum below is at least one: the verifier of 6.1 learns nothing from `!= 0`.
    let last = length.wrapping_sub(1);
    let last = if last < ReceiptReading::HELD_MAX { last } else { ReceiptReading::HELD_MAX - 1 };
    let last = opaque(u64::from(last));
    if last >= u64::from(ReceiptReading::HELD_MAX) {
        return None;
    }
    let held = last as u32 + 1;
    // SAFETY: the helper writes at most as many octets as the buffer has; it fails where the packet ends before.
    let error = unsafe { bpf_skb_load_bytes(frame.cast(), offset, reading.pdu.as_mut_ptr().cast(), held) };
    if error == 0 { Some(held) } else { None }
}

extern "C" fn parameter(_turn: u64, _context: *mut c_void) -> i64 {
    let Some(scratch) = maps::MESSAGE_SCRATCH.get_ptr_mut(0) else { return 1 };
    // SAFETY: this CPU's own value.
    i64::from(unsafe { (*scratch).receipt.parameter_step() }.is_break())
}

extern "C" fn text(_turn: u64, _context: *mut c_void) -> i64 {
    let Some(scratch) = maps::MESSAGE_SCRATCH.get_ptr_mut(0) else { return 1 };
    // SAFETY: as above.
    i64::from(unsafe { (*scratch).receipt.text_step() }.is_break())
}

#[inline(always)]
fn add(number: u32, kind: ReceiptKind, receipts: u64) {
    let kind = opaque(kind.index() as u64) as usize;
    if let Some(account) = maps::ACCOUNTS.get_ptr_mut(number)
        && kind < ReceiptKind::SLOTS
    {
        // SAFETY: within the map value that `account` points to.
        atomic::add(unsafe { &raw mut (*account).counters.receipts[kind] }, receipts);
    }
}
