//! Refusing requests in SIP's own words: what [`edge_ebpf::stream::sip`] needs of maps and packets on the way in.

use core::ffi::c_void;

use aya_ebpf::bindings::{BPF_NOEXIST, xdp_md};
use aya_ebpf::programs::XdpContext;
use edge_ebpf::abi::{
    FlowKey, Ports, RefusalMode, Settings, SourceState, StreamServer, refusal_of, stream_server_of,
};
use edge_ebpf::decide;
use edge_ebpf::stream::Segment;
use edge_ebpf::stream::sip::{Overwrite, PLACES, SPOTS, SipRefusals, Spot, Tally, disguise, within};
use edge_ebpf::verifier::opaque;
use edge_ebpf::wire::transport::flag;

use crate::accounts::Party;
use crate::segment::run;
use crate::world::Kernel;
use crate::{atomic, maps, refusal};

/// Changes octets of a client's segment.
struct Client {
    frame: *mut xdp_md,
    segment: Segment,
}

impl Overwrite for Client {
    #[inline(always)]
    fn overwrite(&mut self, seq: u32, octets: [u8; 4], len: u32) {
        if let Some((offset, skipped, len)) = within(self.segment, seq, len) {
            let octets = u64::from(u32::from_le_bytes(octets)) >> (8 * skipped);
            refusal::edge_rewrite(self.frame, offset as u64, u64::from(len), octets);
        }
    }
}

/// As many refusals may go unanswered without a word: answers that could not be found in the server's stream, or whose
/// connection has ended without one.
const UNANSWERED_MAX: i64 = 8;

/// How requests over a limit are refused on the port of the segment at hand now.
#[inline(always)]
pub(crate) fn mode(ports: &Ports, settings: &Settings, now_ns: u64) -> RefusalMode {
    let port = port();
    let few = maps::LISTENERS.get_ptr(u32::from(port)).is_some_and(|listener| {
        // SAFETY: a map value, of which two words are read.
        let (waiting, fallen_ns) = unsafe { ((*listener).waiting, (*listener).fallen_back_ns) };
        waiting.cast_signed() <= UNANSWERED_MAX && fallen_ns <= settings.refusals_armed_ns
    });
    if few {
        return refusal_of(ports.refusals[(opaque(u64::from(port)) & 0xffff) as usize]).0;
    }
    refusal::mode(ports, settings, port, now_ns)
}

/// So many refusals are waited for no longer. Not below zero: which of them were counted since the last answer nobody knows.
#[inline(always)]
pub(crate) fn let_go_at_listener(port: u16, refusals: u32) {
    let Some(listener) = maps::LISTENERS.get_ptr_mut(u32::from(port)) else { return };
    // SAFETY: a map value; what another CPU adds meanwhile may be lost, which only puts off the fall-back.
    unsafe {
        let left = (*listener).waiting.cast_signed() - i64::from(refusals);
        (*listener).waiting = if left > 0 { left.cast_unsigned() } else { 0 };
    }
}

/// Counts answers: what the server has answered shows that it does, whatever else waits.
#[inline(always)]
pub(crate) fn count_answered(port: u16, answered: u32, unmatched: u32) {
    let Some(listener) = maps::LISTENERS.get_ptr_mut(u32::from(port)) else { return };
    // SAFETY: within the map value.
    unsafe {
        atomic::add(&raw mut (*listener).answered, u64::from(answered));
        atomic::add(&raw mut (*listener).unmatched, u64::from(unmatched));
        (*listener).waiting = 0;
    }
}

/// What stands behind a port.
#[inline(always)]
pub(crate) fn server_behind(port: u16) -> StreamServer {
    let octet =
        maps::PORTS.get(0).map_or(0, |ports| ports.refusals[(opaque(u64::from(port)) & 0xffff) as usize]);
    stream_server_of(octet)
}

/// The port of the segment at hand.
#[inline(always)]
pub(crate) fn port() -> u16 {
    maps::SIP_STREAM.get_ptr(0).map_or(0, |scratch| {
        // SAFETY: this CPU's own value.
        u16::from_be_bytes(unsafe { (*scratch).key.destination_port })
    })
}

/// Whether the client says nothing more after the segment at hand.
#[inline(always)]
pub(crate) fn closes() -> bool {
    maps::HEADERS.get_ptr(0).is_some_and(|headers| {
        // SAFETY: this CPU's own value.
        unsafe { (*headers).transport.flags & flag::FIN != 0 }
    })
}

/// The payload of the segment at hand.
#[inline(always)]
pub(crate) fn segment() -> Option<Segment> {
    let headers = maps::HEADERS.get_ptr(0)?;
    // SAFETY: this CPU's own value.
    let transport = unsafe { &(*headers).transport };
    let seq = transport.sequence.wrapping_add(u32::from(transport.flags & flag::SYN != 0));
    let len = (transport.end - transport.payload) as u32;
    Some(Segment { seq, payload: transport.payload as u32, len })
}

/// What the loop over a segment's requests is given.
struct Turn {
    frame: *mut xdp_md,
    source: *mut SourceState,
    tally: *mut Tally,
    now_ns: u64,
}

/// Judges the requests of the segment at hand that can be refused, one by one.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn edge_judge_requests(
    frame: *mut xdp_md,
    source: *mut SourceState,
    tally: *mut Tally,
    now_ns: u64,
) -> u64 {
    if source.is_null() || tally.is_null() {
        return 0;
    }
    let mut turn = Turn { frame, source, tally, now_ns };
    run(SPOTS as u32, judge_request, (&raw mut turn).cast());
    1
}

extern "C" fn judge_request(index: u64, context: *mut c_void) -> i64 {
    // SAFETY: `edge_judge_requests` passes a `Turn`; what it points to outlives the loop.
    let turn = unsafe { &*context.cast::<Turn>() };
    let (Some(ports), Some(settings), Some(scratch), Some(party)) =
        (maps::PORTS.get(0), maps::SETTINGS.get(0), maps::SIP_STREAM.get_ptr(0), Party::of(turn.source))
    else {
        return 1;
    };
    // SAFETY: this CPU's own value.
    let Some(request) = (unsafe { (*scratch).reader.request(index as u32) }) else { return 1 };
    let ctx = XdpContext::new(turn.frame);
    let mut world = Kernel::sparing_stack(&ctx, settings, ports);
    world.resume(party, [0, 0]);
    // SAFETY: checked by `edge_judge_requests`.
    decide::judge_request(&mut world, unsafe { &mut *turn.tally }, request, turn.now_ns);
    0
}

/// Refuses a request of the segment at hand. 0: it cannot be.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn edge_refuse_request(frame: *mut xdp_md, seq: u64, len: u64, now_ns: u64) -> u64 {
    let (Some(scratch), Some(segment)) = (maps::SIP_STREAM.get_ptr(0), segment()) else { return 0 };
    // SAFETY: this CPU's own value.
    let key = unsafe { &(*scratch).key };
    let Some(refusals) = find(key) else { return 0 };
    if let Some(flow) = maps::SIP_FLOWS.get_ptr_mut(key) {
        // SAFETY: the flow is locked by us.
        unsafe { (*flow).refusing = 1 };
    }
    let spot = Spot { seq: seq as u32, len: len as u32 };
    // SAFETY: a map value; under the lock of the client's flow.
    if !unsafe { (*refusals).refuse(spot, &mut Client { frame, segment }) } {
        return 0;
    }
    refusal::count_at_listener(port(), 1, UNANSWERED_MAX, now_ns);
    1
}

/// The connection's refusals, made where there are none.
#[inline(always)]
fn find(key: &FlowKey) -> Option<*mut SipRefusals> {
    if let Some(refusals) = maps::SIP_REFUSALS.get_ptr_mut(key) {
        return Some(refusals);
    }
    let fresh = maps::FRESH_SIP_REFUSALS.get_ptr(0)?;
    // SAFETY: this CPU's own value, which is zero, always.
    let fresh: &SipRefusals = unsafe { &*fresh };
    let _ = maps::SIP_REFUSALS.insert(key, fresh, u64::from(BPF_NOEXIST));
    maps::SIP_REFUSALS.get_ptr_mut(key)
}

/// What the loop over what is remembered is given.
struct Again {
    client: Client,
    refusals: *mut SipRefusals,
}

/// Notes what the client has acknowledged and, where a segment brings `old` data, changes again what was changed in it.
/// 0: the connection has no refusals.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn edge_disguise_again(frame: *mut xdp_md, seq: u64, len: u64, old: u64) -> u64 {
    let (Some(scratch), Some(headers)) = (maps::SIP_STREAM.get_ptr(0), maps::HEADERS.get_ptr(0)) else {
        return 1;
    };
    // SAFETY: this CPU's own values.
    let (key, transport) = unsafe { (&(*scratch).key, &(*headers).transport) };
    let Some(refusals) = maps::SIP_REFUSALS.get_ptr_mut(key) else { return 0 };
    // SAFETY: a map value; under the lock of the client's flow.
    unsafe {
        if transport.flags & flag::ACK != 0 {
            (*refusals).answers.acknowledge(transport.acknowledgement);
        }
        (*refusals).requests.retire();
    }
    // SAFETY: as above.
    if old != 0 && !unsafe { (*refusals).requests.is_empty() } {
        let segment = Segment { seq: seq as u32, payload: transport.payload as u32, len: len as u32 };
        let mut again = Again { client: Client { frame, segment }, refusals };
        run(PLACES as u32, disguise_again, (&raw mut again).cast());
    }
    1
}

extern "C" fn disguise_again(index: u64, context: *mut c_void) -> i64 {
    // SAFETY: `edge_disguise_again` passes an `Again`.
    let again = unsafe { &mut *context.cast::<Again>() };
    let seq = again.client.segment.seq;
    // SAFETY: a map value.
    let Some(spot) = (unsafe { (*again.refusals).requests.remembered(index as u32, seq) }) else { return 0 };
    disguise(spot, &mut again.client);
    0
}

/// The connection is over: nobody waits for answers any more. `forget`: nor does anything of it come again.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn edge_let_go(forget: u64) -> u64 {
    let Some(scratch) = maps::SIP_STREAM.get_ptr(0) else { return 0 };
    // SAFETY: this CPU's own value.
    let key = unsafe { &(*scratch).key };
    let Some(refusals) = maps::SIP_REFUSALS.get_ptr_mut(key) else { return 0 };
    // SAFETY: a map value; only the way in writes this word.
    let waiting = unsafe { (*refusals).let_go() };
    if waiting != 0 {
        let_go_at_listener(port(), waiting);
    }
    if forget != 0 {
        let _ = maps::SIP_REFUSALS.remove(key);
    }
    1
}

/// Nothing of the segment at hand is changed yet.
#[inline(always)]
pub(crate) fn begin() {
    if let Some(scratch) = maps::SMPP_SCRATCH.get_ptr_mut(0) {
        // SAFETY: this CPU's own value.
        unsafe { (*scratch).delta.0 = 0 };
    }
}

/// Makes the checksum right, if anything was changed.
#[inline(always)]
pub(crate) fn seal(frame: *mut xdp_md) {
    // SAFETY: this CPU's own value.
    if maps::SMPP_SCRATCH.get_ptr(0).is_some_and(|scratch| unsafe { (*scratch).delta.0 } != 0) {
        refusal::edge_seal(frame);
    }
}
