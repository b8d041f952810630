//! The destinations of a `submit_multi`, as far as they are in sight.

use core::ops::ControlFlow;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{DEST_FLAG_ADDRESS, DEST_FLAG_LIST, PREFIX_ROOM, address_prefix, destination, string_length};
use crate::verifier::{forgotten, prefix_byte, prefix_word};

/// Destinations that are looked at, at most. No more than 15 can be in sight with a number: it needs five octets, and the first
/// begins behind 21.
pub const DESTINATIONS_MAX: u32 = 16;

/// One after the other. In map memory in the kernel, so that the verifier sees one way where there are many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Destinations {
    /// Octets of the PDU that are there.
    held: u32,
    /// Where the next begins, with its `dest_flag`.
    at: u32,
    /// How many are still to come (SMPP 3.4, 4.5.1: `number_of_dests`).
    left: u32,
}

impl Destinations {
    /// Before the first. `pdu` holds the first `held` octets of the PDU.
    #[inline(always)]
    pub fn begin(&mut self, pdu: &[u8; PREFIX_ROOM], held: u32) {
        self.held = held;
        let at = destination(pdu).unwrap_or(held);
        forgotten(&mut self.at, at + 1);
        forgotten(&mut self.left, if at < held { u32::from(prefix_byte(pdu, at)) } else { 0 });
    }

    /// The prefix of the next, as in [`super::called_prefix`]; breaks where there is none in sight. A distribution list has none.
    #[inline(always)]
    pub fn step(&mut self, pdu: &[u8; PREFIX_ROOM], digits: u32) -> ControlFlow<(), Option<u32>> {
        let Self { held, at, left } = *self;
        if left == 0 || at >= held {
            return ControlFlow::Break(());
        }
        self.left = left - 1;
        // dest_addr_ton and dest_addr_npi are an address's only (4.5.1.1).
        let (name, prefix) = match prefix_byte(pdu, at) {
            DEST_FLAG_ADDRESS => (at + 3, address_prefix(pdu, at + 1, held, digits)),
            DEST_FLAG_LIST => (at + 1, None),
            _ => return ControlFlow::Break(()),
        };
        let length = string_length(|after| prefix_word(pdu, name + after));
        forgotten(&mut self.at, name + length + 1);
        ControlFlow::Continue(prefix)
    }
}
