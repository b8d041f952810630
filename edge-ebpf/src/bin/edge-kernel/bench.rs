//! Programs for `cargo xtask bench` only: a segment that is sent again is a retransmission, so its flow is
//! rewound before each run. [`edge_bench_rewind`] costs what the rewinding does, and is subtracted.

use aya_ebpf::bindings::xdp_action;
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;
use edge_ebpf::abi::FlowKey;
use edge_ebpf::wire;

use crate::xdp_packet::XdpPacket;
use crate::{ingress, maps};

/// Rewinds the segment's flow and judges the segment.
#[xdp(frags)]
pub(crate) fn edge_bench_smpp(ctx: XdpContext) -> u32 {
    rewind(&ctx);
    ingress::verdict(&ctx)
}

/// Rewinds the segment's flow.
#[xdp(frags)]
pub(crate) fn edge_bench_rewind(ctx: XdpContext) -> u32 {
    rewind(&ctx);
    xdp_action::XDP_PASS
}

/// Makes the segment the next that is due.
#[inline(always)]
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
