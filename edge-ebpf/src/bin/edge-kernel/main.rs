//! The kernel shell: maps, programs and the few unsafe lines around the pure core.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

mod maps;

use aya_ebpf::bindings::xdp_action;
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;

/// Meters what comes in.
#[xdp(frags)]
pub fn edge_ingress(_ctx: XdpContext) -> u32 {
    touch();
    xdp_action::XDP_PASS
}

/// Passes everything: what a benchmark subtracts.
#[xdp(frags)]
pub fn edge_empty(_ctx: XdpContext) -> u32 {
    xdp_action::XDP_PASS
}

fn touch() {
    if let Some(outcomes) = maps::OUTCOMES.get_ptr_mut(0) {
        unsafe { (*outcomes)[0] += 1 };
    }
}

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    // The verifier refuses a program that can get here, so that a possible panic fails the load.
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
