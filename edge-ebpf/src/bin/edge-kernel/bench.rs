//! Programs for `cargo xtask bench` only. What was judged once is not judged alike again: a segment is a
//! retransmission, a call is under way, an answer has taken the request's place. So each run puts that right first,
//! and a twin that does nothing else costs what is to be subtracted.

use core::ffi::c_void;

use aya_ebpf::bindings::{TC_ACT_UNSPEC, xdp_action};
use aya_ebpf::helpers::generated::{
    bpf_skb_store_bytes, bpf_xdp_adjust_tail, bpf_xdp_get_buff_len, bpf_xdp_store_bytes,
};
use aya_ebpf::macros::{classifier, map, xdp};
use aya_ebpf::maps::{Array, PerCpuArray};
use aya_ebpf::programs::{TcContext, XdpContext};
use edge_ebpf::abi::{BenchFrame, Class, FlowKey, Limit};
use edge_ebpf::packet::Packet;
use edge_ebpf::stream::sip::Phase;
use edge_ebpf::verifier::opaque;
use edge_ebpf::wire;

use crate::skb_packet::SkbPacket;
use crate::xdp_packet::XdpPacket;
use crate::{accounts, calls, clock, connection, egress, ingress, maps, smpp_out};

/// Written by the benchmark.
#[map]
static BENCH_FRAME: Array<BenchFrame> = Array::with_max_entries(1, 0);

/// What the segment at hand is called; too large for the stack.
#[map]
static BENCH_NAMES: PerCpuArray<Names> = PerCpuArray::with_max_entries(1, 0);

/// Puts the frame back and judges it.
#[xdp(frags)]
#[inline(always)]
pub(crate) fn edge_bench_sip(ctx: XdpContext) -> u32 {
    restore(&ctx);
    ingress::verdict(&ctx)
}

/// Takes the entry of the run before away and judges the call: it is new each time, in memory that is warm.
#[xdp(frags)]
#[inline(always)]
pub(crate) fn edge_bench_call(ctx: XdpContext) -> u32 {
    calls::forget_last();
    ingress::verdict(&ctx)
}

/// Charges one bucket and nothing else: the clock, a lookup and an exchange.
#[xdp(frags)]
#[inline(always)]
pub(crate) fn edge_bench_bucket(_ctx: XdpContext) -> u32 {
    const AMPLE: Limit = Limit { interval_ns: 1, burst_ns: 1_000_000_000 };
    let Some(account) = maps::ACCOUNTS.get_ptr_mut(0) else { return xdp_action::XDP_ABORTED };
    // SAFETY: within the map value.
    let bucket = unsafe { &raw mut (*account).buckets[Class::Packets.index()] };
    if accounts::charge(bucket, AMPLE, 1, clock::now_ns()) {
        xdp_action::XDP_PASS
    } else {
        xdp_action::XDP_DROP
    }
}

/// Puts the frame back.
#[xdp(frags)]
#[inline(always)]
pub(crate) fn edge_bench_restore(ctx: XdpContext) -> u32 {
    restore(&ctx);
    xdp_action::XDP_PASS
}

/// Sends a fresh frame out of the interface that it is said to have come from: the generator of the comparison with peers.
#[xdp(frags)]
#[inline(always)]
pub(crate) fn edge_bench_transmit(ctx: XdpContext) -> u32 {
    restore(&ctx);
    xdp_action::XDP_TX
}

/// The same, sent nowhere: what is subtracted.
#[xdp(frags)]
#[inline(always)]
pub(crate) fn edge_bench_swallow(ctx: XdpContext) -> u32 {
    restore(&ctx);
    xdp_action::XDP_DROP
}

/// Takes the answers.
#[xdp(frags)]
pub(crate) fn edge_bench_drop(_ctx: XdpContext) -> u32 {
    xdp_action::XDP_DROP
}

/// What a classifier costs that does nothing.
#[classifier]
pub(crate) fn edge_bench_empty_egress(_ctx: TcContext) -> i32 {
    TC_ACT_UNSPEC
}

/// Makes the packet what it was. A function of its own, as [`rewind`].
#[inline(never)]
fn restore(ctx: &XdpContext) {
    let Some(frame) = BENCH_FRAME.get_ptr_mut(0) else { return };
    // SAFETY: a map value that nothing else works on during a bench.
    let frame = unsafe { &mut *frame };
    let length = opaque(u64::from(frame.length));
    if length == 0 || length > BenchFrame::BYTES_MAX as u64 {
        return;
    }
    // SAFETY: helpers on the packet at hand, which reads from `length` bytes of the map's value.
    unsafe {
        let before = bpf_xdp_get_buff_len(ctx.ctx);
        if before != length {
            bpf_xdp_adjust_tail(ctx.ctx, (length.cast_signed() - before.cast_signed()) as i32);
        }
        let bytes: *mut c_void = frame.bytes.as_mut_ptr().cast();
        bpf_xdp_store_bytes(ctx.ctx, 0, bytes, length as u32);
    }
}

/// Rewinds the segment's flow and judges the segment.
#[xdp(frags)]
#[inline(always)]
pub(crate) fn edge_bench_smpp(ctx: XdpContext) -> u32 {
    rewind(&ctx);
    ingress::verdict(&ctx)
}

/// Rewinds the segment's flow.
#[xdp(frags)]
#[inline(always)]
pub(crate) fn edge_bench_rewind(ctx: XdpContext) -> u32 {
    rewind(&ctx);
    xdp_action::XDP_PASS
}

/// Takes back that the segment's messages were refused, and judges the segment.
#[xdp(frags)]
#[inline(always)]
pub(crate) fn edge_bench_refused(ctx: XdpContext) -> u32 {
    restore(&ctx);
    take_back(&ctx);
    ingress::verdict(&ctx)
}

/// Takes back that the segment's messages were refused.
#[xdp(frags)]
#[inline(always)]
pub(crate) fn edge_bench_take_back(ctx: XdpContext) -> u32 {
    restore(&ctx);
    take_back(&ctx);
    xdp_action::XDP_PASS
}

/// Makes the server's answers to refused messages unheard, and hears them.
#[classifier]
pub(crate) fn edge_bench_answered(ctx: TcContext) -> i32 {
    unhear(&ctx);
    egress::verdict(&ctx)
}

/// Makes the server's answers to refused messages unheard.
#[classifier]
pub(crate) fn edge_bench_unhear(ctx: TcContext) -> i32 {
    unhear(&ctx);
    TC_ACT_UNSPEC
}

/// Makes the segment the next that is due. A function of its own: where the way in begins, no stack is left for a key.
#[inline(never)]
fn rewind(ctx: &XdpContext) {
    if let Some(names) = Names::read(&XdpPacket(ctx)) {
        rewind_flow(names);
    }
}

/// As [`rewind`], and the places of the messages that the segment brings are free again.
#[inline(never)]
fn take_back(ctx: &XdpContext) {
    let Some(names) = Names::read(&XdpPacket(ctx)) else { return };
    rewind_flow(names);
    if let Some(refusals) = maps::REFUSALS.get_ptr_mut(&names.key) {
        for index in 1..=MESSAGES_MAX {
            // SAFETY: as in `rewind_flow`.
            unsafe { (*refusals).undo(index, names.sequence) };
        }
    }
}

/// Puts the server's frame back, and rewinds its flow and what was heard in it.
#[inline(never)]
fn unhear(ctx: &TcContext) {
    let Some(frame) = BENCH_FRAME.get_ptr_mut(0) else { return };
    // SAFETY: as in `restore`.
    let frame = unsafe { &mut *frame };
    let last = opaque(u64::from(frame.length).wrapping_sub(1));
    if last >= BenchFrame::BYTES_MAX as u64 {
        return;
    }
    // SAFETY: a helper on the packet at hand, which reads `length` bytes of the map's value.
    unsafe {
        bpf_skb_store_bytes(smpp_out::skb(ctx), 0, frame.bytes.as_ptr().cast(), (last + 1) as u32, 0);
    }
    let Some(names) = Names::read(&SkbPacket(ctx)) else { return };
    rewind_flow(names);
    if let Some(refusals) = maps::REFUSALS.get_ptr_mut(&names.reverse) {
        for index in 1..=MESSAGES_MAX {
            // SAFETY: as in `rewind_flow`.
            unsafe { (*refusals).unhear(index) };
        }
    }
}

/// Most messages of a segment that is put back: their sequence numbers are those from 1 on.
const MESSAGES_MAX: usize = 10;

/// What a segment's connection is called, and where the segment begins.
struct Names {
    key: FlowKey,
    reverse: FlowKey,
    sequence: u32,
}

impl Names {
    /// `None` if the packet has no such names.
    #[inline(always)]
    fn read<P: Packet>(packet: &P) -> Option<&'static Self> {
        let (headers, names) = (maps::HEADERS.get_ptr_mut(0)?, BENCH_NAMES.get_ptr_mut(0)?);
        // SAFETY: this CPU's own values.
        let (headers, names) = unsafe { (&mut *headers, &mut *names) };
        wire::parse(packet, headers).ok()?;
        connection::name(headers, &mut names.key, &mut names.reverse);
        names.sequence = headers.transport.sequence;
        Some(names)
    }
}

#[inline(always)]
fn rewind_flow(names: &Names) {
    if let Some(flow) = maps::FLOWS.get_ptr_mut(&names.key) {
        // SAFETY: a map value that nothing else works on during a bench.
        unsafe {
            (*flow).main.start = names.sequence;
            (*flow).main.end = names.sequence;
        }
    }
    if let Some(flow) = maps::SIP_FLOWS.get_ptr_mut(&names.key) {
        // SAFETY: as above.
        unsafe {
            (*flow).main.next = names.sequence;
            (*flow).main.phase = Phase::Between as u32;
            (*flow).main.kept = 0;
            (*flow).base = names.sequence;
        }
    }
}
