//! Programs for `cargo xtask bench` only. What was judged once is not judged alike again: a segment is a
//! retransmission, a call is under way, an answer has taken the request's place. So each run puts that right first,
//! and a twin that does nothing else costs what is to be subtracted.

use core::ffi::c_void;

use aya_ebpf::bindings::{TC_ACT_UNSPEC, xdp_action};
use aya_ebpf::helpers::generated::{bpf_xdp_adjust_tail, bpf_xdp_get_buff_len, bpf_xdp_store_bytes};
use aya_ebpf::macros::{classifier, map, xdp};
use aya_ebpf::maps::Array;
use aya_ebpf::programs::{TcContext, XdpContext};
use edge_ebpf::abi::{BenchFrame, FlowKey};
use edge_ebpf::verifier::opaque;
use edge_ebpf::wire;

use crate::xdp_packet::XdpPacket;
use crate::{calls, ingress, maps};

/// Written by the benchmark.
#[map]
static BENCH_FRAME: Array<BenchFrame> = Array::with_max_entries(1, 0);

/// Puts the frame back and judges it.
#[xdp(frags)]
#[inline(always)]
pub(crate) fn edge_bench_sip(ctx: XdpContext) -> u32 {
    restore(&ctx);
    ingress::verdict(&ctx)
}

/// Judges a new call and takes its entry away again: the next run's is new, in memory that is warm.
#[xdp(frags)]
#[inline(always)]
pub(crate) fn edge_bench_call(ctx: XdpContext) -> u32 {
    let verdict = ingress::verdict(&ctx);
    calls::forget_last();
    verdict
}

/// Puts the frame back.
#[xdp(frags)]
#[inline(always)]
pub(crate) fn edge_bench_restore(ctx: XdpContext) -> u32 {
    restore(&ctx);
    xdp_action::XDP_PASS
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

/// Makes the segment the next that is due. A function of its own: where the way in begins, no stack is left for a key.
#[inline(never)]
fn rewind(ctx: &XdpContext) {
    let Some(headers) = maps::HEADERS.get_ptr_mut(0) else { return };
    // SAFETY: this CPU's own value.
    let headers = unsafe { &mut *headers };
    if wire::parse(&XdpPacket(ctx), headers).is_err() {
        return;
    }
    let key = FlowKey {
        source: headers.ip.source,
        destination: headers.ip.destination,
        source_port: headers.transport.source_port,
        destination_port: headers.transport.destination_port,
    };
    if let Some(flow) = maps::FLOWS.get_ptr_mut(key) {
        // SAFETY: a map value that nothing else works on during a bench.
        unsafe {
            (*flow).main.start = headers.transport.sequence;
            (*flow).main.end = headers.transport.sequence;
        }
    }
}
