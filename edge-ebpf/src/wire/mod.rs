//! One protocol a file, each in the same order: constants, types, parse, tests.
//!
//! [`parse`] walks them from the wire inwards: [`ethernet`] (with VLAN tags), [`ip`] (IPv4 with options, IPv6
//! with extension headers, fragments), [`transport`] (UDP, TCP). Lengths on the wire are never trusted further
//! than the frame goes, and every subtraction on them is checked.

pub mod ethernet;
pub mod ip;
pub mod number;
pub mod sip;
pub mod smpp;
pub mod transport;
pub(crate) mod words;

use core::mem::offset_of;

use network_types::eth::{EthHdr, EtherType};
use network_types::ip::Ipv4Hdr;

use crate::packet::{Packet, TooShort};

/// Why a frame has no [`Headers`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The frame ends within a header, or a length on the wire contradicts itself.
    Truncated,
    /// A protocol that we do not read: ARP, ICMP, SCTP, a tunnel.
    Foreign,
}

impl From<TooShort> for Reason {
    fn from(_: TooShort) -> Self {
        Self::Truncated
    }
}

/// A frame's addresses and ports, and where its payload lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Headers {
    /// Addresses and the place of the transport header.
    pub ip: ip::Header,
    /// Ports and the place of the payload; meaningless where [`ip::Header`] says that there are none.
    pub transport: transport::Header,
}

impl Headers {
    /// To be filled by [`parse`].
    pub const EMPTY: Self = Self { ip: ip::Header::EMPTY, transport: transport::Header::EMPTY };
}

/// Reads the headers of a frame into `headers`: in place, because the kernel's stack has no room for copies.
#[inline(always)]
pub fn parse<P: Packet + ?Sized>(packet: &P, headers: &mut Headers) -> Result<(), Reason> {
    let (ether_type, offset) = ethernet::parse(packet)?;
    ip::parse(packet, ether_type, offset, &mut headers.ip)?;
    if headers.ip.is_later_fragment || headers.ip.is_too_deep {
        return Ok(());
    }
    transport::parse(packet, &headers.ip, &mut headers.transport)
}

/// Where most packets end: protocol number, source and destination port of an untagged IPv4 packet without options
/// that is no fragment. `None` where it takes [`parse`] to tell.
#[inline(always)]
pub fn glance<P: Packet + ?Sized>(packet: &P) -> Option<(u8, u16, u16)> {
    const TYPE: usize = offset_of!(EthHdr, ether_type);
    const IP: usize = EthHdr::LEN - TYPE;
    const PORTS: usize = IP + Ipv4Hdr::LEN;
    let bytes: [u8; PORTS + 4] = packet.read(TYPE).ok()?;
    let ether_type = u16::from_ne_bytes([bytes[0], bytes[1]]);
    let fragment = [bytes[IP + offset_of!(Ipv4Hdr, frags)], bytes[IP + offset_of!(Ipv4Hdr, frags) + 1]];
    let is_plain = ether_type == EtherType::Ipv4 as u16
        && bytes[IP] == 0x45
        && u16::from_be_bytes(fragment) & ip::IPV4_FRAGMENT == 0;
    let protocol = bytes[IP + offset_of!(Ipv4Hdr, proto)];
    let port = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
    is_plain.then_some((protocol, port(PORTS), port(PORTS + 2)))
}
