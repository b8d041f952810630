//! Drives the framing of SIP over TCP with `bpf_loop`, under the flow's lock.

use core::ffi::c_void;

use aya_ebpf::bindings::{BPF_NOEXIST, xdp_md};
use aya_ebpf::helpers::generated::bpf_loop;
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;
use edge_ebpf::abi::{FlowKey, Outcome, Service, SourceState};
use edge_ebpf::decide;
use edge_ebpf::stream::Segment;
use edge_ebpf::stream::sip::{Reader, STEPS, SipFlow, Sought, bit};
use edge_ebpf::wire::Headers;
use edge_ebpf::wire::transport::flag;

use crate::accounts::Party;
use crate::ingress::{count, perform};
use crate::tcp::Handover;
use crate::world::Kernel;
use crate::xdp_packet::XdpPacket;
use crate::{connection, maps, segment, sip_refusal, tcp};

/// What is too large for the stack.
#[repr(C)]
pub(crate) struct Scratch {
    pub(crate) reader: Reader,
    /// The direction at hand, and the other.
    pub(crate) key: FlowKey,
    pub(crate) reverse: FlowKey,
}

/// What the loop's body is given: on the stack, where `bpf_loop` wants it.
struct Turn {
    frame: *mut xdp_md,
    reader: *mut Reader,
}

/// Judges a segment of SIP over TCP.
#[xdp(frags)]
pub(crate) fn edge_sip_stream(ctx: XdpContext) -> u32 {
    let Some(scratch) = maps::SMPP_SCRATCH.get_ptr_mut(0) else { return count(Outcome::Unjudged) };
    let source = enter(&ctx, scratch);
    let action = if source.is_null() {
        // SAFETY: this CPU's own value.
        unsafe { (*scratch).handover.action }
    } else {
        count(judge(ctx.ctx, source))
    };
    perform(&ctx, action)
}

/// [`tcp::enter`] by a call, because the stack has no room for it beside the rest.
#[inline(never)]
fn enter(ctx: &XdpContext, scratch: *mut segment::Scratch) -> *mut SourceState {
    tcp::enter(ctx, scratch, Service::SipTcp)
}

#[inline(always)]
fn judge(frame: *mut xdp_md, source: *mut SourceState) -> Outcome {
    let (Some(scratch), Some(headers), Some(handover)) =
        (maps::SIP_STREAM.get_ptr_mut(0), maps::HEADERS.get_ptr(0), maps::SMPP_SCRATCH.get_ptr(0))
    else {
        return Outcome::Unjudged;
    };
    // SAFETY: this CPU's own values.
    let (shared, headers, handover) = unsafe { (&mut *scratch, &*headers, &(*handover).handover) };
    sip_refusal::begin();
    let is_plain = headers.transport.flags & (flag::SYN | flag::RST) == 0;
    let is_empty = is_plain && headers.transport.end == headers.transport.payload;
    if is_empty && headers.transport.flags & flag::FIN == 0 {
        return decide::spare_allowed(handover.origin, Outcome::SipStream);
    }
    connection::name(headers, &mut shared.key, &mut shared.reverse);
    if is_empty {
        sip_refusal::edge_let_go(0);
        return decide::spare_allowed(handover.origin, Outcome::SipStream);
    }
    let key: &FlowKey = &shared.key;
    if headers.transport.flags & flag::RST != 0 {
        if let Some(flow) = maps::SIP_FLOWS.get_ptr(key)
            // SAFETY: a map value, of which two words are read.
            && unsafe { (*flow).ends_at(headers.transport.sequence) }
        {
            let _ = maps::SIP_FLOWS.remove(key);
            sip_refusal::edge_let_go(1);
        }
        return decide::spare_allowed(handover.origin, Outcome::SipStream);
    }
    let flow = read(frame, scratch, headers);
    let outcome = if flow.is_null() {
        decide::spare_allowed(handover.origin, Outcome::SipUnframed)
    } else {
        settle(frame, source, scratch, flow, handover)
    };
    sip_refusal::seal(frame);
    outcome
}

/// Judges what was read, and lets the flow move on if the segment passes.
#[inline(always)]
fn settle(
    frame: *mut xdp_md,
    source: *mut SourceState,
    scratch: *mut Scratch,
    flow: *mut SipFlow,
    handover: &Handover,
) -> Outcome {
    let ctx = XdpContext::new(frame);
    let (Some(ports), Some(settings), Some(party)) =
        (maps::PORTS.get(0), maps::SETTINGS.get(0), Party::of(source))
    else {
        connection::release(lock_of(flow));
        return Outcome::Unjudged;
    };
    let mut world = Kernel::new(&ctx, settings, ports);
    world.resume(party, handover.source);
    // SAFETY: this CPU's own value.
    let reader = unsafe { &mut (*scratch).reader };
    let finding = reader.finding();
    let outcome =
        decide::settle_stream(&mut world, handover.origin, finding, &mut reader.tally, handover.now_ns);
    // SAFETY: the flow is locked by us.
    let state = unsafe { &mut *flow };
    reader.settle(state, outcome.verdict());
    let is_refusing = state.refusing != 0;
    connection::release(lock_of(flow));
    if is_refusing && sip_refusal::closes() {
        sip_refusal::edge_let_go(0);
    }
    outcome
}

/// [`decide::count_passed`] of the segment that was read. A global function, because several ways lead to it.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn edge_count_passed(source: *mut SourceState, is_allowed: u64) -> u64 {
    let (Some(ports), Some(settings), Some(scratch)) =
        (maps::PORTS.get(0), maps::SETTINGS.get(0), maps::SIP_STREAM.get_ptr(0))
    else {
        return 0;
    };
    if source.is_null() {
        return 0;
    }
    let Some(party) = Party::of(source) else { return 0 };
    // Counting looks at no packet: one that is handed over and not looked at would be handed over as anything.
    let ctx = XdpContext::new(core::ptr::null_mut());
    let mut world = Kernel::sparing_stack(&ctx, settings, ports);
    world.resume(party, [0, 0]);
    // SAFETY: this CPU's own value, of which the caller's borrow is a shared one.
    let tally = unsafe { &(*scratch).reader.tally };
    decide::count_passed(&mut world, tally, is_allowed != 0);
    1
}

/// Finds the segment's flow, locks it, and reads the segment on trial. Null: another CPU is at work on it, or there is no
/// room. A function of its own, because it needs the stack that judging needs, too.
#[inline(never)]
fn read(frame: *mut xdp_md, scratch: *mut Scratch, headers: &Headers) -> *mut SipFlow {
    // SAFETY: this CPU's own value.
    let Scratch { reader, key, .. } = unsafe { &mut *scratch };
    let Some(flow) = find(key) else { return core::ptr::null_mut() };
    let transport = &headers.transport;
    let len = (transport.end - transport.payload) as u32;
    let mut seq = transport.sequence;
    if !connection::take(lock_of(flow)) {
        // It passes unread, but what it brings again is changed again.
        sip_refusal::edge_disguise_again(frame, u64::from(seq), u64::from(len), 1);
        return core::ptr::null_mut();
    }
    // SAFETY: the flow is locked by us.
    let state = unsafe { &mut *flow };
    if transport.opens() {
        if state.refusing != 0 {
            sip_refusal::edge_let_go(1);
        }
        state.syn(seq);
        seq = seq.wrapping_add(1);
    }
    if state.refusing != 0 {
        state.refusing = sip_refusal::edge_disguise_again(
            frame,
            u64::from(seq),
            u64::from(len),
            u64::from(state.main.next != seq),
        ) as u32;
    }
    reader.seek(Sought::Requests, bit(sip_refusal::server_behind(sip_refusal::port())));
    if reader.start(state, Segment { seq, payload: transport.payload as u32, len }) {
        let mut turn = Turn { frame, reader };
        // SAFETY: the helper calls `step` with `turn`, which lives on this stack meanwhile.
        unsafe { bpf_loop(STEPS, step as *const () as *mut c_void, (&raw mut turn).cast(), 0) };
    }
    flow
}

extern "C" fn step(_turn: u64, context: *mut c_void) -> i64 {
    // SAFETY: `read` passes a `Turn`, whose reader outlives the loop.
    let turn = unsafe { &*context.cast::<Turn>() };
    // SAFETY: this CPU's own value.
    let reader = unsafe { &mut *turn.reader };
    i64::from(reader.step(&XdpPacket(&XdpContext::new(turn.frame))).is_break())
}

/// The flow's entry; one that is not known is made.
#[inline(always)]
pub(crate) fn find(key: &FlowKey) -> Option<*mut SipFlow> {
    if let Some(flow) = maps::SIP_FLOWS.get_ptr_mut(key) {
        return Some(flow);
    }
    let fresh = maps::FRESH_SIP_FLOW.get_ptr_mut(0)?;
    // SAFETY: this CPU's own value; all that is not written here is zero in it, always.
    let fresh = unsafe { &mut *fresh };
    fresh.begin_midstream();
    // Another CPU may have been first; then its entry is found below.
    let fresh: &SipFlow = fresh;
    let _ = maps::SIP_FLOWS.insert(key, fresh, u64::from(BPF_NOEXIST));
    maps::SIP_FLOWS.get_ptr_mut(key)
}

#[inline(always)]
pub(crate) fn lock_of(flow: *mut SipFlow) -> *mut u64 {
    // SAFETY: within the map value.
    unsafe { &raw mut (*flow).lock }
}
