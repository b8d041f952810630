//! UDP (RFC 768) and TCP (RFC 9293): ports, and where the payload lies.

use core::mem::offset_of;

use network_types::ip::IpProto;
use network_types::tcp::TcpHdr;
use network_types::udp::UdpHdr;

use super::{Reason, ip};
use crate::packet::Packet;

/// TCP flags that matter here (RFC 9293 3.1).
pub mod flag {
    /// No more data from sender.
    pub const FIN: u8 = 0x01;
    /// Synchronise sequence numbers.
    pub const SYN: u8 = 0x02;
    /// Reset the connection.
    pub const RST: u8 = 0x04;
    /// The acknowledgement number is meant.
    pub const ACK: u8 = 0x10;
    /// The urgent pointer is meant.
    pub const URG: u8 = 0x20;
}

/// What the transport header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Whether it is TCP; else it is UDP.
    pub is_tcp: bool,
    /// Sender's port, big-endian.
    pub source_port: [u8; 2],
    /// Receiver's port, big-endian.
    pub destination_port: [u8; 2],
    /// Sequence number of the first payload byte (or of SYN); 0 for UDP.
    pub sequence: u32,
    /// The next sequence number that the sender expects; 0 for UDP and for fragments.
    pub acknowledgement: u32,
    /// See [`flag`]; 0 for UDP.
    pub flags: u8,
    /// Whether a server's TCP may take other octets than stand in it: it is a fragment, or as [`is_unclear`] says.
    pub is_unclear: bool,
    /// Where the payload starts.
    pub payload: usize,
    /// Where the payload ends, by the headers' account.
    pub end: usize,
}

impl Header {
    /// Whether it asks for a new connection.
    #[must_use]
    #[inline(always)]
    pub const fn opens(&self) -> bool {
        self.is_tcp && self.flags & (flag::SYN | flag::ACK | flag::RST) == flag::SYN
    }

    /// Whether it belongs to a connection that there is, for all that one can see in it.
    #[must_use]
    #[inline(always)]
    pub const fn continues(&self) -> bool {
        self.is_tcp && self.flags & flag::SYN == 0
    }

    /// To be filled by [`parse`].
    pub const EMPTY: Self = Self {
        is_tcp: false,
        source_port: [0; 2],
        destination_port: [0; 2],
        sequence: 0,
        acknowledgement: 0,
        flags: 0,
        is_unclear: false,
        payload: 0,
        end: 0,
    };
}

/// Reads the transport header that `ip` points to.
#[inline(always)]
pub fn parse<P: Packet + ?Sized>(packet: &P, ip: &ip::Header, into: &mut Header) -> Result<(), Reason> {
    if ip.protocol == IpProto::Udp as u8 {
        parse_udp(packet, ip, into)
    } else if ip.protocol == IpProto::Tcp as u8 {
        parse_tcp(packet, ip, into)
    } else {
        Err(Reason::Foreign)
    }
}

#[inline(always)]
fn parse_udp<P: Packet + ?Sized>(packet: &P, ip: &ip::Header, into: &mut Header) -> Result<(), Reason> {
    let header: [u8; UdpHdr::LEN] = packet.read(ip.offset)?;
    let [s0, s1, d0, d1, l0, l1, ..] = header;
    let mut length = usize::from(u16::from_be_bytes([l0, l1]));
    if length == 0 && ip.is_ipv6 {
        // As long as the packet (RFC 2675 4), to Linux in any packet.
        length = ip.end.saturating_sub(ip.offset);
    }
    let end = ip.offset + length;
    // A first fragment carries the whole datagram's length, which reaches beyond this packet.
    if length < UdpHdr::LEN || (end > ip.end && !ip.is_fragment) {
        return Err(Reason::Truncated);
    }
    into.is_tcp = false;
    into.source_port = [s0, s1];
    into.destination_port = [d0, d1];
    into.sequence = 0;
    into.acknowledgement = 0;
    into.flags = 0;
    into.is_unclear = false;
    into.payload = ip.offset + UdpHdr::LEN;
    into.end = if end < ip.end { end } else { ip.end };
    Ok(())
}

#[inline(always)]
fn parse_tcp<P: Packet + ?Sized>(packet: &P, ip: &ip::Header, into: &mut Header) -> Result<(), Reason> {
    const BITS: usize = offset_of!(TcpHdr, _bitfield_1);
    if ip.is_fragment {
        return parse_tcp_fragment(packet, ip, into);
    }
    let header: [u8; 16] = packet.read(ip.offset)?;
    let [s0, s1, d0, d1, q0, q1, q2, q3, a0, a1, a2, a3, ..] = header;
    let header_bytes = usize::from(header[BITS] >> 4) * 4;
    let payload = ip.offset + header_bytes;
    if header_bytes < TcpHdr::LEN || payload > ip.end {
        return Err(Reason::Truncated);
    }
    into.is_tcp = true;
    into.source_port = [s0, s1];
    into.destination_port = [d0, d1];
    into.sequence = u32::from_be_bytes([q0, q1, q2, q3]);
    into.acknowledgement = u32::from_be_bytes([a0, a1, a2, a3]);
    into.flags = header[BITS + 1];
    into.is_unclear = is_unclear(into.flags, payload < ip.end);
    into.payload = payload;
    into.end = ip.end;
    Ok(())
}

/// Whether a server's TCP may take other octets from a segment than stand in it: an urgent one is taken out of the stream
/// (RFC 6093), data with a SYN count only where both have agreed to that (RFC 7413), and what acknowledges nothing is not
/// taken at all (RFC 9293 3.10.7.4), nor is a SYN that ends the connection.
#[inline(always)]
const fn is_unclear(flags: u8, has_data: bool) -> bool {
    const BEGINS_AND_ENDS: u8 = flag::SYN | flag::FIN;
    flags & flag::URG != 0
        || flags & flag::SYN != 0 && has_data
        || flags & BEGINS_AND_ENDS == BEGINS_AND_ENDS
        || flags & (flag::SYN | flag::RST | flag::ACK) == 0
}

/// Of a first fragment only the ports: it may hold as little as eight bytes (RFC 791 3.2), and must not hide
/// behind that.
#[inline(always)]
fn parse_tcp_fragment<P: Packet + ?Sized>(
    packet: &P,
    ip: &ip::Header,
    into: &mut Header,
) -> Result<(), Reason> {
    let [s0, s1, d0, d1]: [u8; 4] = packet.read(ip.offset)?;
    into.is_tcp = true;
    into.source_port = [s0, s1];
    into.destination_port = [d0, d1];
    into.sequence = 0;
    into.acknowledgement = 0;
    into.flags = 0;
    into.is_unclear = true;
    into.payload = ip.end;
    into.end = ip.end;
    Ok(())
}
