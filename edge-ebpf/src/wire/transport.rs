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
    /// See [`flag`]; 0 for UDP.
    pub flags: u8,
    /// Where the payload starts.
    pub payload: usize,
    /// Where the payload ends, by the headers' account.
    pub end: usize,
}

/// Reads the transport header that `ip` points to.
#[inline(always)]
pub fn parse<P: Packet + ?Sized>(packet: &P, ip: &ip::Header) -> Result<Header, Reason> {
    if ip.protocol == IpProto::Udp as u8 {
        parse_udp(packet, ip)
    } else if ip.protocol == IpProto::Tcp as u8 {
        parse_tcp(packet, ip)
    } else {
        Err(Reason::Foreign)
    }
}

#[inline(always)]
fn parse_udp<P: Packet + ?Sized>(packet: &P, ip: &ip::Header) -> Result<Header, Reason> {
    let header: [u8; UdpHdr::LEN] = packet.read(ip.offset)?;
    let [s0, s1, d0, d1, l0, l1, ..] = header;
    let length = usize::from(u16::from_be_bytes([l0, l1]));
    let end = ip.offset + length;
    // A first fragment carries the whole datagram's length, which reaches beyond this packet.
    if length < UdpHdr::LEN || (end > ip.end && !ip.is_fragment) {
        return Err(Reason::Truncated);
    }
    Ok(Header {
        is_tcp: false,
        source_port: [s0, s1],
        destination_port: [d0, d1],
        sequence: 0,
        flags: 0,
        payload: ip.offset + UdpHdr::LEN,
        end,
    })
}

#[inline(always)]
fn parse_tcp<P: Packet + ?Sized>(packet: &P, ip: &ip::Header) -> Result<Header, Reason> {
    let header: [u8; 16] = packet.read(ip.offset)?;
    let [s0, s1, d0, d1, q0, q1, q2, q3, ..] = header;
    const BITS: usize = offset_of!(TcpHdr, _bitfield_1);
    let header_bytes = usize::from(header[BITS] >> 4) * 4;
    let payload = ip.offset + header_bytes;
    if header_bytes < TcpHdr::LEN || payload > ip.end {
        return Err(Reason::Truncated);
    }
    Ok(Header {
        is_tcp: true,
        source_port: [s0, s1],
        destination_port: [d0, d1],
        sequence: u32::from_be_bytes([q0, q1, q2, q3]),
        flags: header[BITS + 1],
        payload,
        end: ip.end,
    })
}
