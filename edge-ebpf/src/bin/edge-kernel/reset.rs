//! Turns a segment into a reset of its connection: for the server, with the segment's own sequence number, which the server
//! believes (RFC 9293 3.10.7.4); and when it comes again, because nobody has acknowledged it, for the client, with the number
//! that the client expects next. Of one packet there is no second copy to tell both at once.
//!
//! What a forged segment can do by this, a forged reset could do as well: both must meet the sequence number exactly.

use aya_ebpf::bindings::{xdp_action, xdp_md};
use aya_ebpf::helpers::generated::{
    bpf_xdp_adjust_tail, bpf_xdp_get_buff_len, bpf_xdp_load_bytes, bpf_xdp_store_bytes,
};
use aya_ebpf::programs::XdpContext;
use edge_ebpf::hash::mix;
use edge_ebpf::native::{Delta, fold, pseudo_sum};
use edge_ebpf::repeat;
use edge_ebpf::wire::transport::flag;
use edge_ebpf::wire::{Headers, ethernet};

use crate::xdp_packet::XdpPacket;
use crate::{binds, clock, connection, maps, refusal, sip};

/// Of TCP's header.
const FLAGS_AT: u32 = 13;
const CHECKSUM_AT: u32 = 16;
/// A header without options, and its fourth word: that it has none, and that it resets.
const TCP_BYTES: u32 = 20;
const RESET: [u8; 4] = [5 << 4, flag::RST, 0, 0];
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
    if is_told(headers) {
        return edge_reset_client(frame);
    }
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

/// LLVM writes two words at once, for which the verifier wants the stack aligned.
#[repr(C, align(8))]
struct TcpHeader([u32; TCP_BYTES as usize / 4]);

/// Whether the server was told by an earlier copy of this segment; if not, it is about to be.
#[inline(always)]
fn is_told(headers: &Headers) -> bool {
    let Some(settings) = maps::SETTINGS.get(0) else { return false };
    let (ip, transport) = (&headers.ip, &headers.transport);
    let [first, second] = settings.hash_key;
    let ([high, low], [to_high, to_low]): ([u64; 2], [u64; 2]) =
        (zerocopy::transmute!(ip.source), zerocopy::transmute!(ip.destination));
    let (from, to): (u16, u16) =
        (zerocopy::transmute!(transport.source_port), zerocopy::transmute!(transport.destination_port));
    let ports = u64::from(from) << 48 | u64::from(to) << 32;
    // Apart from the requests of SIP, which share the table.
    let hash = mix(mix(mix(first, second), high), low);
    let hash = mix(mix(mix(hash, to_high), to_low), ports | u64::from(transport.sequence));
    let fingerprint = repeat::as_fingerprint(hash);
    let now_ns = clock::now_ns();
    if sip::earlier(fingerprint, settings.repeat_window_ns, now_ns).is_some() {
        return true;
    }
    sip::remember_surely(fingerprint, now_ns);
    false
}

/// Turns the segment into a reset for its sender, and returns what the program does. A global function, for the stack.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn edge_reset_client(frame: *mut xdp_md) -> u64 {
    const DROPPED: u64 = xdp_action::XDP_DROP as u64;
    let Some(headers) = maps::HEADERS.get_ptr(0) else { return DROPPED };
    // SAFETY: this CPU's own value.
    let headers = unsafe { &*headers };
    let (ip, transport) = (&headers.ip, &headers.transport);
    // Without what its sender expects there is no number that it believes.
    if transport.flags & (flag::ACK | flag::RST) != flag::ACK {
        return DROPPED;
    }
    let Ok((_, ip_at)) = ethernet::parse(&XdpPacket(&XdpContext::new(frame))) else { return DROPPED };
    let (ip_at, tcp_at) = (ip_at as u32, ip.offset as u32);
    let end = tcp_at + TCP_BYTES;
    // SAFETY: a helper on the packet at hand.
    let cut = end.wrapping_sub(unsafe { bpf_xdp_get_buff_len(frame) } as u32).cast_signed();
    // SAFETY: as above.
    if unsafe { bpf_xdp_adjust_tail(frame, cut) } != 0
        || !turn_around(frame, ip_at, headers)
        || !set_length(frame, ip.is_ipv6, ip_at, end)
    {
        return DROPPED;
    }
    // Ports, sequence and acknowledgement number, data offset and flags, window, checksum, urgent pointer.
    let [to, from]: [u16; 2] =
        [zerocopy::transmute!(transport.source_port), zerocopy::transmute!(transport.destination_port)];
    let ports = u32::from(from) | u32::from(to) << 16;
    let mut header = TcpHeader([ports, transport.acknowledgement.to_be(), 0, u32::from_le_bytes(RESET), 0]);
    let sum = header.0.iter().fold(0_u64, |sum, word| sum + u64::from(*word));
    let pseudo = pseudo_sum(&ip.source, &ip.destination, ip.is_ipv6, TCP_BYTES);
    header.0[4] = u32::from(!fold(sum + u64::from(pseudo)));
    // SAFETY: the helper reads the header, and fails where the packet ends before.
    let failed = unsafe { bpf_xdp_store_bytes(frame, tcp_at, header.0.as_mut_ptr().cast(), TCP_BYTES) } != 0;
    u64::from(if failed { xdp_action::XDP_DROP } else { xdp_action::XDP_TX })
}

/// Sends the packet back to where it came from. The sum over the addresses stays what it is.
#[inline(always)]
fn turn_around(frame: *mut xdp_md, ip_at: u32, headers: &Headers) -> bool {
    let ip = &headers.ip;
    let (addresses_at, skipped) = if ip.is_ipv6 { (ip_at + 8, 0) } else { (ip_at + 12, 12) };
    let len = 16 - skipped as u32;
    let mut macs = [0_u8; 12];
    // SAFETY: the helpers read and write what they are given, whole, and fail where the packet ends before.
    unsafe {
        bpf_xdp_load_bytes(frame, 0, macs.as_mut_ptr().cast(), 12) == 0
            && bpf_xdp_store_bytes(frame, 0, macs.as_mut_ptr().add(6).cast(), 6) == 0
            && bpf_xdp_store_bytes(frame, 6, macs.as_mut_ptr().cast(), 6) == 0
            && bpf_xdp_store_bytes(
                frame,
                addresses_at,
                ip.destination.as_ptr().add(skipped).cast_mut().cast(),
                len,
            ) == 0
            && bpf_xdp_store_bytes(
                frame,
                addresses_at + len,
                ip.source.as_ptr().add(skipped).cast_mut().cast(),
                len,
            ) == 0
    }
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
