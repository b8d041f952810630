//! The kernel shell: programs, maps, clock, and the few unsafe lines around the pure core.
//!
//! [`ingress`] shows the journey; [`world`] is what the decision may know and do.
#![no_std]
#![no_main]
#![expect(
    clippy::inline_always,
    reason = "a function that is not inlined is a call that the verifier walks anew, with a stack of its own"
)]
#![expect(clippy::needless_pass_by_value, reason = "the program macro hands the context over by value")]
#![expect(
    clippy::cast_possible_truncation,
    reason = "offsets in a frame and arguments of helpers: they fit, or are cut on purpose"
)]
#![feature(core_intrinsics)]
#![feature(asm_experimental_arch)]
#![expect(internal_features, reason = "the target has no other atomic operation with a result; see `atomic`")]

mod accounts;
mod agents;
mod answer;
mod atomic;
mod awaited;
#[cfg(feature = "bench")]
mod bench;
mod binds;
mod callers;
mod calls;
mod clock;
mod connection;
mod counters;
mod egress;
mod events;
mod ingress;
mod maps;
mod messages;
mod receipts;
mod records;
mod refusal;
mod reset;
mod segment;
mod senders;
mod sip;
mod sip_answers;
mod sip_refusal;
mod sip_stream;
mod skb_packet;
mod smpp;
mod smpp_in;
mod smpp_out;
mod sweep;
mod tcp;
mod turn;
mod world;
mod xdp_packet;

use aya_ebpf::bindings::xdp_action;
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;

/// Passes everything: what a benchmark subtracts.
#[xdp(frags)]
pub(crate) fn edge_empty(_ctx: XdpContext) -> u32 {
    xdp_action::XDP_PASS
}

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    // The verifier refuses a program that can get here, so that a possible panic fails the load.
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
