//! The server's segments: framed like the client's, for answers to binds and to what was refused.

use core::ffi::c_void;

use aya_ebpf::EbpfContext as _;
use aya_ebpf::bindings::__sk_buff;
use aya_ebpf::helpers::generated::{bpf_l4_csum_replace, bpf_skb_load_bytes, bpf_skb_store_bytes};
use aya_ebpf::programs::TcContext;
use edge_ebpf::abi::{EgressOutcome, refusal_of};
use edge_ebpf::binds::Hearer;
use edge_ebpf::native::{Delta, PLACES, Refusals, Rewrite, brings_old, fold, overlap};
use edge_ebpf::stream::{self, Finding, Flow, Walk};
use edge_ebpf::verifier::opaque;
use edge_ebpf::wire::Headers;

use crate::segment::{self, Scratch, run};
use crate::skb_packet::SkbPacket;
use crate::{binds, clock, connection, counters, maps, messages, refusal};

/// Where TCP's checksum lies in its header (RFC 9293 3.1).
const CHECKSUM_AT: usize = 16;

/// The segment at hand: pointers only, as in [`crate::smpp::Segment`].
struct Segment {
    frame: *mut __sk_buff,
    scratch: *mut Scratch,
    flow: *mut Flow,
    refusals: *mut Refusals,
}

/// Changes octets of the segment.
struct SkbSegment {
    frame: *mut __sk_buff,
    segment: stream::Segment,
}

impl Rewrite for SkbSegment {
    #[inline(always)]
    fn write(&mut self, seq: u32, octets: [u8; 4]) {
        if let Some(overlap) = overlap(self.segment, seq) {
            let octets = u64::from(u32::from_le_bytes(octets)) >> (8 * overlap.skipped);
            edge_rewrite_skb(self.frame, overlap.offset as u64, u64::from(overlap.len), octets);
        }
    }
}

/// Hears a segment whose headers were read; an [`EgressOutcome`] as integer comes back.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn edge_hear_segment(frame: *mut __sk_buff) -> u64 {
    let (Some(scratch), Some(headers), Some(settings)) =
        (maps::SMPP_SCRATCH.get_ptr_mut(0), maps::HEADERS.get_ptr(0), maps::SETTINGS.get(0))
    else {
        return EgressOutcome::Unjudged as u64;
    };
    // SAFETY: this CPU's own values.
    let headers = unsafe {
        (*scratch).answers.clear();
        (*scratch).receipts.clear();
        &*headers
    };
    if !segment::matters(headers) {
        return EgressOutcome::SmppSegment as u64;
    }
    let flow = open(headers, scratch);
    if flow.is_null() {
        // SAFETY: as above.
        return match unsafe { (*scratch).walk.finding() } {
            Finding::Repeated => EgressOutcome::SmppSegment as u64,
            Finding::BeyondHole => EgressOutcome::SmppBusy as u64,
            _ => EgressOutcome::Unjudged as u64,
        };
    }
    let mut segment = Segment { frame, scratch, flow, refusals: opaque(0) as *mut Refusals };
    // SAFETY: as above, and the flow is locked by us.
    let (shared, state) = unsafe { (&mut *scratch, &mut *flow) };
    if state.refusing != 0 {
        let client = &shared.reverse;
        match maps::REFUSALS.get_ptr_mut(client) {
            Some(refusals) => segment.refusals = refusals,
            None => state.refusing = 0,
        }
    }
    let port = u16::from_be_bytes(shared.key.source_port);
    let octet =
        maps::PORTS.get(0).map_or(0, |ports| ports.refusals[(opaque(u64::from(port)) & 0xffff) as usize]);
    shared.status = refusal_of(octet).1.code();
    shared.response.heard = 0;
    shared.responses.clear();
    messages::choose(&mut shared.answers.sample, settings, shared.reverse.source_port);
    shared.delta.0 = 0;
    let before = tell(segment.refusals);
    walk(&mut segment, settings.prefix_digits);
    // SAFETY: as above.
    let (shared, state) = unsafe { (&mut *scratch, &mut *flow) };
    let is_beyond = matches!(shared.walk.finding(), Finding::BeyondHole);
    if is_beyond && !segment.refusals.is_null() {
        shared.walk.refuse(state);
        connection::unlock(flow);
        return EgressOutcome::SmppBeyondHole as u64;
    }
    if is_beyond {
        shared.walk.refuse(state);
        shared.answers.clear();
        shared.receipts.clear();
    } else {
        keep(shared, state);
    }
    let is_known = state.is_synchronised();
    let is_over = connection::ends(&shared.walk, state);
    let tells = !is_beyond && (shared.responses.are_any() || shared.receipts.are_any());
    if tells && state.generation != settings.generation {
        state.account = binds::edge_resolve_server() as u32;
        state.generation = settings.generation;
    }
    let number = state.account;
    shared.receipts.account = number;
    if is_over {
        // What comes after it is not the bind's.
        state.generation = 0;
    }
    connection::unlock(flow);
    if tells {
        counters::edge_count_responses(number);
    }
    if shared.response.heard != 0 {
        binds::edge_hear_bind();
    }
    let mut outcome = if is_known { EgressOutcome::SmppSegment } else { EgressOutcome::SmppUnsynchronised };
    if !segment.refusals.is_null() {
        // SAFETY: a map value; only the way out writes this word.
        unsafe { (*segment.refusals).is_deaf = u32::from(!is_known) };
        let after = tell(segment.refusals);
        let answered = after.0.wrapping_sub(before.0);
        if answered.cast_signed() > 0 || after.1 != before.1 {
            let answered = if answered.cast_signed() > 0 { answered } else { 0 };
            refusal::count_answered(port, answered, before.2, after.1.wrapping_sub(before.1));
        }
        if shared.delta.0 != 0 {
            outcome = EgressOutcome::SmppAnswered;
            seal(frame, headers, shared.delta);
        }
    }
    if is_over {
        binds::edge_end_connection(1, 0);
    }
    outcome as u64
}

/// Moves the flow on.
#[inline(always)]
fn keep(shared: &mut Scratch, state: &mut Flow) {
    shared.receipts.commit(&shared.walk, state);
    state.responses = state.responses.wrapping_add(shared.responses.heard);
    // What the server says to a refused message is no answer to the client's.
    if shared.walk.tally.answers_enquiry() && shared.delta.0 == 0 {
        binds::edge_hear_link(1, state.touched_ns);
    }
}

/// Answered, unmatched and outstanding, as counted so far.
#[inline(always)]
fn tell(refusals: *mut Refusals) -> (u32, u32, u32) {
    if refusals.is_null() {
        return (0, 0, 0);
    }
    // SAFETY: a map value.
    unsafe { ((*refusals).answered, (*refusals).unmatched, (*refusals).outstanding()) }
}

/// Whether the segment at hand has brought delivery receipts.
#[inline(always)]
pub(crate) fn has_receipts() -> bool {
    // SAFETY: this CPU's own value.
    maps::SMPP_SCRATCH.get_ptr(0).is_some_and(|scratch| unsafe { (*scratch).receipts.are_any() })
}

/// Whether the segment at hand has brought answers to messages that leave a record.
#[inline(always)]
pub(crate) fn has_answers() -> bool {
    maps::SMPP_SCRATCH.get_ptr(0).is_some_and(|scratch| {
        // SAFETY: this CPU's own value.
        let answers = unsafe { &(*scratch).answers };
        answers.sample.is_on() && answers.used | answers.missed != 0
    })
}

/// [`segment::open`] for the server's direction. A function of its own, as that of the way in.
#[inline(never)]
fn open(headers: &Headers, scratch: *mut Scratch) -> *mut Flow {
    segment::open(headers, scratch, 1, clock::now_ns())
}

/// Walks the segment, and changes answers to what was refused, those that come again included.
#[inline(never)]
fn walk(segment: &mut Segment, digits: u32) {
    // SAFETY: this CPU's own value, and the flow is locked by us.
    let (trial, state) = unsafe { (&mut (*segment.scratch).walk, &*segment.flow) };
    let turn = core::ptr::from_mut(segment).cast();
    let at_hand = trial.segment();
    if !segment.refusals.is_null() && at_hand.len != 0 {
        if brings_old(state, at_hand) {
            run(PLACES as u32, respond_again, turn);
        } else {
            respond_current(segment);
        }
    }
    let packet = &SkbPacket(&TcContext::new(segment.frame));
    segment::walk(trial, state, digits, packet, (scan_step, step), turn);
}

#[inline(never)]
fn respond_current(segment: &mut Segment) {
    // SAFETY: map values, under the lock of the flow.
    let (scratch, flow, refusals) = unsafe { (&*segment.scratch, &*segment.flow, &*segment.refusals) };
    let mut changes = SkbSegment { frame: segment.frame, segment: scratch.walk.segment() };
    refusals.respond_current(flow, scratch.status, &mut changes);
}

extern "C" fn respond_again(index: u64, context: *mut c_void) -> i64 {
    // SAFETY: `run` passes a `Segment`.
    let segment = unsafe { &*context.cast::<Segment>() };
    // SAFETY: as above.
    let (scratch, refusals) = unsafe { (&*segment.scratch, &*segment.refusals) };
    let mut changes = SkbSegment { frame: segment.frame, segment: scratch.walk.segment() };
    refusals.respond_again(opaque(index) as usize, scratch.status, &mut changes);
    0
}

extern "C" fn step(_turn: u64, context: *mut c_void) -> i64 {
    // SAFETY: `run` passes a `Segment`; what it points to outlives the loop.
    let turn = unsafe { &*context.cast::<Segment>() };
    // SAFETY: map values, and the flow is locked by us.
    let (scratch, flow) = unsafe { (&mut *turn.scratch, &*turn.flow) };
    let walk: &mut Walk = &mut scratch.walk;
    let mut changes = SkbSegment { frame: turn.frame, segment: walk.segment() };
    let refusals = if turn.refusals.is_null() {
        None
    } else {
        // SAFETY: a map value; its places are answered under the lock of our flow.
        Some(unsafe { &mut *turn.refusals })
    };
    let mut witness = Hearer {
        rewrite: &mut changes,
        refusals,
        status: scratch.status,
        bind: &mut scratch.response,
        responses: &mut scratch.responses,
        answers: &mut scratch.answers,
        receipts: &mut scratch.receipts,
        segment: walk.segment(),
    };
    i64::from(walk.step(flow, &SkbPacket(&TcContext::new(turn.frame)), &mut witness).is_break())
}

extern "C" fn scan_step(_turn: u64, context: *mut c_void) -> i64 {
    // SAFETY: as in `step`.
    let turn = unsafe { &*context.cast::<Segment>() };
    // SAFETY: as above, this CPU's own value.
    let walk = unsafe { &mut (*turn.scratch).walk };
    i64::from(walk.scan_step(&SkbPacket(&TcContext::new(turn.frame))).is_break())
}

/// Makes the checksum of the segment at hand that of the changed segment.
#[inline(always)]
pub(crate) fn seal(frame: *mut __sk_buff, headers: &Headers, delta: Delta) {
    let at = (headers.ip.offset + CHECKSUM_AT) as u32;
    // SAFETY: a helper on the packet at hand.
    unsafe { bpf_l4_csum_replace(frame, at, 0, u64::from(fold(delta.0)), 0) };
}

/// As [`refusal`]'s on the way in.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn edge_rewrite_skb(frame: *mut __sk_buff, offset: u64, len: u64, octets: u64) -> u64 {
    let Some(scratch) = maps::SMPP_SCRATCH.get_ptr_mut(0) else { return 0 };
    let last = opaque(len.wrapping_sub(1));
    if last > 3 {
        return 0;
    }
    let len = last + 1;
    let (mut old, new) = (0_u32, octets as u32 & (u32::MAX >> (8 * (4 - len as u32))));
    // SAFETY: the helpers read and write at most four octets; they fail where the packet ends before.
    unsafe {
        if bpf_skb_load_bytes(frame.cast(), offset as u32, (&raw mut old).cast(), len as u32) != 0
            || old == new
            || bpf_skb_store_bytes(frame, offset as u32, (&raw const new).cast(), len as u32, 0) != 0
        {
            return 0;
        }
        (*scratch).delta.add(old, new, offset & 1 != 0);
    }
    1
}

/// The packet of a context.
#[inline(always)]
pub(crate) fn skb(ctx: &TcContext) -> *mut __sk_buff {
    ctx.as_ptr().cast()
}
