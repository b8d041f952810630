//! IPv4 (RFC 791) with options, IPv6 (RFC 8200) with extension headers, fragments of both.

use core::mem::offset_of;

use network_types::eth::EtherType;
use network_types::ip::{IpProto, Ipv4Hdr, Ipv6Hdr};

use super::Reason;
use crate::packet::Packet;
use crate::verifier::opaque;

/// Extension headers that are looked through: as many as RFC 8200 4.1 has in one packet, but for ESP. One more
/// makes the packet too deep.
pub const EXTENSION_HEADERS_MAX: usize = 6;

/// The fragment offset, of the 16 bits that hold flags and offset (RFC 791 3.1).
const IPV4_OFFSET_MASK: u16 = 0x1fff;
/// More fragments (RFC 791 3.1).
const IPV4_MORE: u16 = 0x2000;
/// Any sign of a fragment: an offset, or more to come.
pub(super) const IPV4_FRAGMENT: u16 = IPV4_OFFSET_MASK | IPV4_MORE;
/// The option that says how long a packet is which says that it has no length (RFC 2675 2).
const JUMBO_PAYLOAD: u8 = 0xc2;
/// Octets that a fragment's length is counted in, but the last one's (RFC 791 3.2).
const FRAGMENT_UNIT: usize = 8;
/// The fragment offset, in RFC 8200 4.5's layout.
const IPV6_OFFSET_MASK: u16 = 0xfff8;
/// More fragments, in RFC 8200 4.5's layout.
const IPV6_MORE: u16 = 0x0001;

/// What the IP header says.
#[expect(clippy::struct_excessive_bools, reason = "four answers that packets give independently")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Whether it is IPv6.
    pub is_ipv6: bool,
    /// Sender, IPv4 mapped.
    pub source: [u8; 16],
    /// Receiver, IPv4 mapped.
    pub destination: [u8; 16],
    /// Protocol number of what follows (IANA).
    pub protocol: u8,
    /// Whether this is a part of a larger packet, the first part included.
    pub is_fragment: bool,
    /// Whether there is no transport header, because an earlier fragment carried it.
    pub is_later_fragment: bool,
    /// Whether the transport header lies behind more extension headers than are followed, or in a later fragment, or where the
    /// header says that there is nothing. No honest sender makes such a packet, but the host behind us would read it.
    pub is_too_deep: bool,
    /// Where the transport header starts.
    pub offset: usize,
    /// Where the packet ends by its own account; the frame may be longer (Ethernet padding) or shorter.
    pub end: usize,
}

impl Header {
    /// To be filled by [`parse`].
    pub const EMPTY: Self = Self {
        is_ipv6: false,
        source: [0; 16],
        destination: [0; 16],
        protocol: 0,
        is_fragment: false,
        is_later_fragment: false,
        is_too_deep: false,
        offset: 0,
        end: 0,
    };
}

/// An IPv4 address as IPv4-mapped IPv6, `::ffff:a.b.c.d` (RFC 4291 2.5.5.2).
///
/// By words, here and in [`address_at`]: LLVM moves byte arrays by a call, byte after byte.
#[must_use]
#[inline(always)]
pub fn mapped(address: [u8; 4]) -> [u8; 16] {
    let low = u64::from(u32::from_be_bytes(address)) | 0xffff_0000_0000;
    zerocopy::transmute!([0, low.to_be()])
}

/// Copies an address. By words, as [`mapped`]: a key whose octets were written one by one is hashed a word at a time, and
/// each of these reads would wait for the octets to reach the cache.
#[inline(always)]
pub fn copy(from: &[u8; 16], to: &mut [u8; 16]) {
    let [high, low]: [u64; 2] = zerocopy::transmute!(*from);
    *to = zerocopy::transmute!([opaque(high), opaque(low)]);
}

/// Reads the IP header at `offset`. `ether_type` as [`super::ethernet::parse`] returns it.
#[inline(always)]
pub fn parse<P: Packet + ?Sized>(
    packet: &P,
    ether_type: u16,
    offset: usize,
    into: &mut Header,
) -> Result<(), Reason> {
    if ether_type == EtherType::Ipv4 as u16 {
        parse_ipv4(packet, offset, into)
    } else if ether_type == EtherType::Ipv6 as u16 {
        parse_ipv6(packet, offset, into)
    } else {
        Err(Reason::Foreign)
    }
}

#[inline(always)]
fn parse_ipv4<P: Packet + ?Sized>(packet: &P, offset: usize, into: &mut Header) -> Result<(), Reason> {
    let header: [u8; Ipv4Hdr::LEN] = packet.read(offset)?;
    let version_and_length = header[offset_of!(Ipv4Hdr, vihl)];
    let header_bytes = usize::from(version_and_length & 0x0f) * 4;
    if version_and_length >> 4 != 4 || header_bytes < Ipv4Hdr::LEN {
        return Err(Reason::Truncated);
    }
    let total_bytes = usize::from(u16_at(&header, offset_of!(Ipv4Hdr, tot_len)));
    if total_bytes < header_bytes {
        return Err(Reason::Truncated);
    }
    let fragment = u16_at(&header, offset_of!(Ipv4Hdr, frags));
    into.is_ipv6 = false;
    into.source = mapped(ipv4_at(&header, offset_of!(Ipv4Hdr, src_addr)));
    into.destination = mapped(ipv4_at(&header, offset_of!(Ipv4Hdr, dst_addr)));
    into.protocol = header[offset_of!(Ipv4Hdr, proto)];
    into.is_fragment = fragment & IPV4_FRAGMENT != 0;
    into.is_later_fragment = fragment & IPV4_OFFSET_MASK != 0;
    into.is_too_deep = false;
    into.offset = offset + header_bytes;
    into.end = offset + total_bytes;
    if fragment & IPV4_MORE != 0 {
        // Linux takes no more of it (net/ipv4/ip_fragment.c, ip_frag_queue).
        into.end = into.offset + (total_bytes - header_bytes) / FRAGMENT_UNIT * FRAGMENT_UNIT;
    }
    Ok(())
}

#[inline(always)]
fn parse_ipv6<P: Packet + ?Sized>(packet: &P, offset: usize, into: &mut Header) -> Result<(), Reason> {
    let fixed: [u8; 8] = packet.read(offset)?;
    if fixed[0] >> 4 != 6 {
        return Err(Reason::Truncated);
    }
    into.is_ipv6 = true;
    into.source = address_at(packet, offset + offset_of!(Ipv6Hdr, src_addr))?;
    into.destination = address_at(packet, offset + offset_of!(Ipv6Hdr, dst_addr))?;
    into.end = offset + Ipv6Hdr::LEN + usize::from(u16_at(&fixed, offset_of!(Ipv6Hdr, payload_len)));
    into.is_fragment = false;
    into.is_later_fragment = false;
    let mut protocol = fixed[offset_of!(Ipv6Hdr, next_hdr)];
    let mut at = offset + Ipv6Hdr::LEN;
    if into.end == at && protocol == IpProto::HopOpt as u8 {
        // Linux reads the frame to its end then, whatever the options say (net/ipv6/ip6_input.c, ip6_rcv_core).
        let options: [u8; 8] = packet.read(at)?;
        if options[2] == JUMBO_PAYLOAD {
            let [.., l0, l1, l2, l3] = options;
            into.end += u32::from_be_bytes([l0, l1, l2, l3]) as usize;
        } else {
            into.is_too_deep = true;
            return Ok(());
        }
    }

    for _ in 0..EXTENSION_HEADERS_MAX {
        if into.is_fragment && at + FRAGMENT_UNIT > into.end {
            break;
        }
        if protocol == IpProto::Ipv6Frag as u8 {
            let extension: [u8; 4] = packet.read(at)?;
            let fragment = u16_at(&extension, 2);
            into.is_fragment |= fragment & (IPV6_OFFSET_MASK | IPV6_MORE) != 0;
            protocol = extension[0];
            at += 8;
            if fragment & IPV6_OFFSET_MASK != 0 {
                into.is_later_fragment = true;
                break;
            }
        } else if is_extension(protocol) {
            let extension: [u8; 2] = packet.read(at)?;
            // RFC 4302 2.2 counts the authentication header in 4-byte units less 2, the others are counted in
            // 8-byte units less 1 (RFC 8200 4).
            at += if protocol == IpProto::Ah as u8 {
                (usize::from(extension[1]) + 2) * 4
            } else {
                (usize::from(extension[1]) + 1) * 8
            };
            protocol = extension[0];
        } else {
            break;
        }
    }
    let goes_on = is_extension(protocol) || protocol == IpProto::Ipv6Frag as u8;
    // The first fragment has all headers (RFC 7112 5), but Linux does not insist.
    let is_beyond = into.is_fragment && at + FRAGMENT_UNIT > into.end;
    into.is_too_deep = (goes_on || is_beyond) && !into.is_later_fragment;
    into.protocol = protocol;
    into.offset = at;
    Ok(())
}

#[inline(always)]
fn address_at<P: Packet + ?Sized>(packet: &P, offset: usize) -> Result<[u8; 16], Reason> {
    let high = u64::from_ne_bytes(packet.read(offset)?);
    let low = u64::from_ne_bytes(packet.read(offset + 8)?);
    Ok(zerocopy::transmute!([high, low]))
}

#[inline(always)]
const fn is_extension(protocol: u8) -> bool {
    protocol == IpProto::HopOpt as u8
        || protocol == IpProto::Ipv6Route as u8
        || protocol == IpProto::Ipv6Opts as u8
        || protocol == IpProto::Ah as u8
}

#[inline(always)]
fn u16_at<const N: usize>(header: &[u8; N], at: usize) -> u16 {
    u16::from_be_bytes([header[at], header[at + 1]])
}

#[inline(always)]
fn ipv4_at<const N: usize>(header: &[u8; N], at: usize) -> [u8; 4] {
    [header[at], header[at + 1], header[at + 2], header[at + 3]]
}
