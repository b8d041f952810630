//! Turns a segment into a reset of its connection, for the server: the segment itself goes on, so that the reset has a
//! sequence number that the server believes (RFC 9293 3.10.7.4). The client is told nothing: its next segments become
//! resets, too, and nobody answers those.
//!
//! What a forged segment can do by this, a forged reset could do as well: both must meet the sequence number exactly.

use aya_ebpf::bindings::{xdp_action, xdp_md};
use aya_ebpf::helpers::generated::{
    bpf_xdp_adjust_tail, bpf_xdp_get_buff_len, bpf_xdp_load_bytes, bpf_xdp_store_bytes,
};
use aya_ebpf::programs::XdpContext;
use edge_ebpf::native::{Delta, fold, pseudo_sum};
use edge_ebpf::wire::transport::flag;
use edge_ebpf::wire::{Headers, ethernet};

use crate::xdp_packet::XdpPacket;
use crate::{binds, connection, maps, refusal};

/// Of TCP's header.
const FLAGS_AT: u32 = 13;
const CHECKSUM_AT: u32 = 16;
/// Of IPv4's header.
const IPV4_LENGTH_AT: u32 = 2;
const IPV4_CHECKSUM_AT: u32 = 10;
/// Of IPv6's header, whose length counts from its end.
const IPV6_LENGTH_AT: u32 = 4;
const IPV6_BYTES: u32 = 40;

/// Turns the TCP segment whose headers were read into a reset without payload, and returns what the program does.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn edge_reset(frame: *mut xdp_md) -> u64 {
    const DROPPED: u64 = xdp_action::XDP_DROP as u64;
    let Some(headers) = maps::HEADERS.get_ptr(0) else { return DROPPED };
    // SAFETY: this CPU's own value.
    let headers = unsafe { &*headers };
    let (ip, transport) = (&headers.ip, &headers.transport);
    let Ok((_, ip_at)) = ethernet::parse(&XdpPacket(&XdpContext::new(frame))) else { return DROPPED };
    let (ip_at, tcp_at, end) = (ip_at as u32, ip.offset as u32, transport.payload as u32);
    let pseudo = |length| pseudo_sum(&ip.source, &ip.destination, ip.is_ipv6, length);
    let Some(sum_before) = load(frame, tcp_at + CHECKSUM_AT) else { return DROPPED };
    // An interface that is to complete the checksum finds the pseudo-header's in its place.
    let is_partial = sum_before == pseudo((ip.end - ip.offset) as u32);

    // SAFETY: a helper on the packet at hand.
    let cut = end.wrapping_sub(unsafe { bpf_xdp_get_buff_len(frame) } as u32).cast_signed();
    let flags = flag::RST | transport.flags & flag::ACK;
    // SAFETY: the helpers read one octet, and fail where the packet ends before.
    unsafe {
        if bpf_xdp_adjust_tail(frame, cut) != 0
            || bpf_xdp_store_bytes(frame, tcp_at + FLAGS_AT, (&raw const flags).cast_mut().cast(), 1) != 0
        {
            return DROPPED;
        }
    }
    if !set_length(frame, ip.is_ipv6, ip_at, end) || !store(frame, tcp_at + CHECKSUM_AT, 0) {
        return DROPPED;
    }
    let length = end - tcp_at;
    let pseudo = pseudo(length);
    let sum = if is_partial {
        pseudo
    } else {
        !fold(refusal::edge_sum(frame, u64::from(tcp_at), u64::from(length)) + u64::from(pseudo))
    };
    if !store(frame, tcp_at + CHECKSUM_AT, sum) {
        return DROPPED;
    }
    forget(headers);
    u64::from(xdp_action::XDP_PASS)
}

/// Tells the IP header that the packet ends at `end`.
#[inline(always)]
fn set_length(frame: *mut xdp_md, is_ipv6: bool, ip_at: u32, end: u32) -> bool {
    if is_ipv6 {
        return store(frame, ip_at + IPV6_LENGTH_AT, ((end - ip_at - IPV6_BYTES) as u16).to_be());
    }
    let length = ((end - ip_at) as u16).to_be();
    let (Some(before), Some(sum)) =
        (load(frame, ip_at + IPV4_LENGTH_AT), load(frame, ip_at + IPV4_CHECKSUM_AT))
    else {
        return false;
    };
    let mut delta = Delta(0);
    delta.add(u32::from(before), u32::from(length), false);
    store(frame, ip_at + IPV4_LENGTH_AT, length)
        && store(frame, ip_at + IPV4_CHECKSUM_AT, delta.applied_to(sum))
}

/// A session of SMPP that ends so gives its place back, as with a reset from the client.
#[inline(always)]
fn forget(headers: &Headers) {
    let Some(scratch) = maps::SMPP_SCRATCH.get_ptr_mut(0) else { return };
    // SAFETY: this CPU's own value.
    let scratch = unsafe { &mut *scratch };
    connection::name(headers, &mut scratch.key, &mut scratch.reverse);
    let key = &scratch.key;
    if let Some(flow) = maps::FLOWS.get_ptr(key)
        // SAFETY: a map value; where another CPU moves the flow on, the reset is not the next byte either.
        && unsafe { (*flow).ends_at(headers.transport.sequence) }
    {
        binds::edge_end_connection(0, 1);
        let _ = maps::FLOWS.remove(key);
    }
}

/// Two octets in memory's order.
#[inline(always)]
fn load(frame: *mut xdp_md, at: u32) -> Option<u16> {
    let mut octets = 0_u16;
    // SAFETY: the helper writes two octets, or fails.
    let failed = unsafe { bpf_xdp_load_bytes(frame, at, (&raw mut octets).cast(), 2) } != 0;
    if failed { None } else { Some(octets) }
}

#[inline(always)]
fn store(frame: *mut xdp_md, at: u32, octets: u16) -> bool {
    // SAFETY: the helper reads two octets.
    unsafe { bpf_xdp_store_bytes(frame, at, (&raw const octets).cast_mut().cast(), 2) == 0 }
}
