//! Ethernet II, with up to two VLAN tags (IEEE 802.1Q, 802.1ad).

use core::mem::offset_of;

use network_types::eth::{EthHdr, EtherType};
use network_types::vlan::VlanHdr;

use crate::packet::{Packet, TooShort};

/// Tags that are looked through; a third one makes the frame foreign.
pub const VLAN_TAGS_MAX: usize = 2;

/// The type of the payload, as it is on the wire (big-endian in memory), and the payload's offset.
#[inline(always)]
pub fn parse<P: Packet + ?Sized>(packet: &P) -> Result<(u16, usize), TooShort> {
    let mut ether_type = u16::from_ne_bytes(packet.read(offset_of!(EthHdr, ether_type))?);
    let mut offset = EthHdr::LEN;
    for _ in 0..VLAN_TAGS_MAX {
        if ether_type != EtherType::Ieee8021q as u16 && ether_type != EtherType::Ieee8021ad as u16 {
            break;
        }
        ether_type = u16::from_ne_bytes(packet.read(offset + offset_of!(VlanHdr, ether_type))?);
        offset += VlanHdr::LEN;
    }
    Ok((ether_type, offset))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MACS: [u8; 12] = [2; 12];

    fn frame(tail: &[u8]) -> Vec<u8> {
        [&MACS[..], tail].concat()
    }

    #[test]
    fn tags_are_looked_through_up_to_two() {
        let ipv4 = EtherType::Ipv4 as u16;
        let cases: [(&[u8], u16, usize); 4] = [
            (&[0x08, 0x00], ipv4, 14),
            (&[0x81, 0x00, 0, 5, 0x08, 0x00], ipv4, 18),
            (&[0x88, 0xa8, 0, 5, 0x81, 0x00, 0, 6, 0x08, 0x00], ipv4, 22),
            (
                &[0x88, 0xa8, 0, 5, 0x81, 0x00, 0, 6, 0x81, 0x00, 0, 7, 0x08, 0x00],
                EtherType::Ieee8021q as u16,
                22,
            ),
        ];
        for (tail, ether_type, offset) in cases {
            assert_eq!(parse(&frame(tail)[..]), Ok((ether_type, offset)), "{tail:02x?}");
        }
    }

    #[test]
    fn every_truncation_is_too_short() {
        let whole = frame(&[0x88, 0xa8, 0, 5, 0x81, 0x00, 0, 6, 0x08, 0x00]);
        for length in 0..whole.len() {
            assert_eq!(parse(&whole[..length]), Err(TooShort), "length {length}");
        }
    }
}
