//! The server's segments of SIP over TCP: answers to what was refused.

use core::ffi::c_void;

use aya_ebpf::bindings::{__sk_buff, TC_ACT_UNSPEC};
use aya_ebpf::helpers::generated::bpf_loop;
use aya_ebpf::macros::classifier;
use aya_ebpf::programs::TcContext;
use edge_ebpf::stream::Segment;
use edge_ebpf::stream::sip::{
    Answered, Overwrite, PLACES, Reader, SPOTS, STEPS, SipFlow, SipRefusals, Sought, Spot, respond, within,
};
use edge_ebpf::wire::Headers;
use edge_ebpf::wire::transport::flag;

use crate::segment::run;
use crate::sip_stream::{self, Scratch};
use crate::skb_packet::SkbPacket;
use crate::{connection, maps, sip_refusal, smpp_out};

/// Changes octets of the server's segment at hand.
struct Server {
    frame: *mut __sk_buff,
    segment: Segment,
}

impl Overwrite for Server {
    #[inline(always)]
    fn overwrite(&mut self, seq: u32, octets: [u8; 4], len: u32) {
        edge_overwrite_skb(self.frame, u64::from(seq), u64::from(u32::from_le_bytes(octets)), u64::from(len));
    }

    #[inline(always)]
    fn respond(&mut self, spot: Spot) {
        edge_respond(self.frame, u64::from(spot.seq), u64::from(spot.len));
    }
}

/// [`respond`], as a global function: the verifier proves it once, and not in each loop.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn edge_respond(frame: *mut __sk_buff, seq: u64, len: u64) -> u64 {
    let Some(segment) = sip_refusal::segment() else { return 0 };
    respond(Spot { seq: seq as u32, len: len as u32 }, &mut Server { frame, segment });
    1
}

/// A global function: the verifier proves it once, and not for each word of each answer.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn edge_overwrite_skb(frame: *mut __sk_buff, seq: u64, octets: u64, len: u64) -> u64 {
    let Some(segment) = sip_refusal::segment() else { return 0 };
    let Some((offset, skipped, len)) = within(segment, seq as u32, len as u32) else { return 0 };
    smpp_out::edge_rewrite_skb(frame, offset as u64, u64::from(len), octets >> (8 * skipped))
}

/// What the loops are given: on the stack, where `bpf_loop` wants it.
struct Turn {
    server: Server,
    refusals: *mut SipRefusals,
    reader: *mut Reader,
    answered: u32,
    unmatched: u32,
}

/// Whether answers of the port at hand may be to refused requests: where any ever was, however it refuses now. What waits, and
/// what may come again, outlives a change of the configuration.
#[inline(always)]
pub(crate) fn may_follow() -> bool {
    let Some(headers) = maps::HEADERS.get_ptr(0) else { return false };
    // SAFETY: this CPU's own value.
    let port = u16::from_be_bytes(unsafe { (*headers).transport.source_port });
    // SAFETY: a map value, of which one word is read.
    maps::LISTENERS.get_ptr(u32::from(port)).is_some_and(|listener| unsafe { (*listener).refused } != 0)
}

/// Turns the server's answers to refused INVITEs into what the client is told.
#[classifier]
pub(crate) fn edge_sip_answers(ctx: TcContext) -> i32 {
    hear(smpp_out::skb(&ctx));
    TC_ACT_UNSPEC
}

#[inline(always)]
fn hear(frame: *mut __sk_buff) {
    let (Some(scratch), Some(shared), Some(headers)) =
        (maps::SIP_STREAM.get_ptr_mut(0), maps::SMPP_SCRATCH.get_ptr_mut(0), maps::HEADERS.get_ptr(0))
    else {
        return;
    };
    // SAFETY: this CPU's own values.
    let (own, headers) = unsafe { (&mut *scratch, &*headers) };
    connection::name(headers, &mut own.key, &mut own.reverse);
    let client = &own.reverse;
    let Some(refusals) = maps::SIP_REFUSALS.get_ptr_mut(client) else { return };
    let transport = &headers.transport;
    // SAFETY: a map value; only the way out writes this word.
    unsafe { (*refusals).requests.acknowledge(transport.acknowledgement) };
    // SAFETY: this CPU's own value.
    unsafe { (*shared).delta.0 = 0 };
    if transport.end != transport.payload && transport.flags & (flag::SYN | flag::RST) == 0 {
        tell(frame, scratch, headers, refusals);
    }
    if transport.flags & (flag::FIN | flag::RST) != 0 {
        // SAFETY: a map value.
        let waiting = unsafe { (*refusals).let_go() };
        sip_refusal::let_go_at_listener(u16::from_be_bytes(transport.source_port), waiting);
    }
    // SAFETY: as above.
    let delta = unsafe { (*shared).delta };
    if delta.0 != 0 {
        smpp_out::seal(frame, headers, delta);
    }
}

/// Reads a segment and changes what answers refusals, what comes again included.
#[inline(never)]
fn tell(frame: *mut __sk_buff, scratch: *mut Scratch, headers: &Headers, refusals: *mut SipRefusals) {
    // SAFETY: this CPU's own value.
    let Scratch { reader, key, .. } = unsafe { &mut *scratch };
    let key: &_ = key;
    let transport = &headers.transport;
    let len = (transport.end - transport.payload) as u32;
    let segment = Segment { seq: transport.sequence, payload: transport.payload as u32, len };
    let mut turn = Turn { server: Server { frame, segment }, refusals, reader, answered: 0, unmatched: 0 };
    let context: *mut c_void = (&raw mut turn).cast();
    let Some(flow) = sip_stream::find(key) else { return };
    let is_ours = connection::take(sip_stream::lock_of(flow));
    // SAFETY: a map value, of which one word is read.
    if !is_ours || unsafe { (*flow).main.next } != segment.seq {
        run(PLACES as u32, respond_again, context);
    }
    if !is_ours {
        return;
    }
    // SAFETY: the flow is locked by us; a map value; this CPU's own value.
    let (state, refusals): (&mut SipFlow, _) = unsafe { (&mut *flow, &mut *refusals) };
    refusals.answers.retire();
    let waiting = refusals.waiting();
    // SAFETY: as above.
    let reader = unsafe { &mut (*scratch).reader };
    reader.seek(Sought::Answers, refusals.servers);
    if reader.start(state, segment) {
        // SAFETY: the helper calls `step` with `turn`, which lives on this stack meanwhile.
        unsafe { bpf_loop(STEPS, step as *const () as *mut c_void, context, 0) };
    }
    // SAFETY: as above.
    let reader = unsafe { &mut (*scratch).reader };
    if reader.spotted() != 0 {
        run(SPOTS as u32, respond_first, context);
    }
    if reader.missed != 0 && waiting > turn.answered {
        let left = waiting - turn.answered;
        let missed = if reader.missed < left { reader.missed } else { left };
        refusals.answered = refusals.answered.wrapping_add(missed);
        turn.answered += missed;
        turn.unmatched += missed;
    }
    reader.settle(state, edge_ebpf::abi::Verdict::Pass);
    connection::release(sip_stream::lock_of(flow));
    if turn.answered != 0 {
        let port = u16::from_be_bytes(transport.source_port);
        sip_refusal::count_answered(port, turn.answered, turn.unmatched);
    }
}

extern "C" fn step(_turn: u64, context: *mut c_void) -> i64 {
    // SAFETY: `tell` passes a `Turn`, whose reader outlives the loop.
    let turn = unsafe { &*context.cast::<Turn>() };
    // SAFETY: this CPU's own value.
    let reader = unsafe { &mut *turn.reader };
    i64::from(reader.step(&SkbPacket(&TcContext::new(turn.server.frame))).is_break())
}

extern "C" fn respond_first(index: u64, context: *mut c_void) -> i64 {
    // SAFETY: as in `step`.
    let turn = unsafe { &mut *context.cast::<Turn>() };
    // SAFETY: as above; the refusals are a map value, and the flow of the server's direction is locked by us.
    let (reader, refusals) = unsafe { (&*turn.reader, &mut *turn.refusals) };
    let Some(spot) = reader.spot(index as u32) else { return 1 };
    match refusals.answer(spot, &mut turn.server) {
        Answered::Foreign => {}
        Answered::Matched => turn.answered += 1,
        Answered::Unmatched => {
            turn.answered += 1;
            turn.unmatched += 1;
        }
    }
    0
}

extern "C" fn respond_again(index: u64, context: *mut c_void) -> i64 {
    // SAFETY: as in `step`.
    let turn = unsafe { &mut *context.cast::<Turn>() };
    // SAFETY: a map value.
    let refusals = unsafe { &*turn.refusals };
    if let Some(spot) = refusals.answers.remembered(index as u32, turn.server.segment.seq) {
        turn.server.respond(spot);
    }
    0
}
