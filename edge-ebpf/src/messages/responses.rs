//! Responses of the server, counted by kind.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::abi::ResponseKind;
use crate::verifier::{forgotten, opaque};
use crate::wire::smpp::{Header, id, is_message_resp};

/// Responses to messages that a segment brings, counted on scratch: the account and the flow have them once the segment
/// has passed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Responses {
    /// All of them, answers to refused messages included.
    pub heard: u32,
    /// Bit `n`: `kinds[n]` is not 0.
    kinds_seen: u32,
    /// Where an index is put, so that the verifier does not follow it.
    index: u32,
    /// The server's own by [`ResponseKind`]; valid where `kinds_seen` has its bit.
    kinds: [u32; ResponseKind::SLOTS],
}

impl Responses {
    /// Nothing yet.
    #[inline(always)]
    pub fn clear(&mut self) {
        self.heard = opaque(0) as u32;
        self.kinds_seen = opaque(0) as u32;
    }

    /// A response whose header is whole. `to_refusal`: it answers a message that the server never saw.
    ///
    /// A `generic_nack` says to what request by its `sequence_number` alone: it is taken for one to a message, which
    /// nearly all requests are.
    #[inline(always)]
    pub fn hear(&mut self, header: Header, to_refusal: bool) {
        let to_message = is_message_resp(header.id);
        if to_refusal || to_message || header.id == id::GENERIC_NACK {
            self.heard += 1;
        }
        if to_refusal || !to_message {
            return;
        }
        let index = forgotten(&mut self.index, ResponseKind::of(header.status) as u32);
        let index = opaque(u64::from(index)) as usize;
        if let Some(kind) = self.kinds.get_mut(index) {
            let bit = 1 << index;
            *kind = if self.kinds_seen & bit == 0 { 1 } else { *kind + 1 };
            self.kinds_seen |= bit;
        }
    }

    /// The server's own of one kind, by its index.
    #[must_use]
    #[inline(always)]
    pub fn of_kind(&self, index: usize) -> u32 {
        match self.kinds.get(index) {
            Some(kind) if self.kinds_seen & 1 << index != 0 => *kind,
            _ => 0,
        }
    }

    /// Whether there are any of the server's own.
    #[must_use]
    #[inline(always)]
    pub const fn are_any(&self) -> bool {
        self.kinds_seen != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::smpp::RESPONSE;

    #[test]
    fn responses_to_messages_are_told_apart_and_others_left_out() {
        let mut responses = Responses::default();
        let mut hear = |id, status, to_refusal| {
            responses.hear(Header { length: 16, id, status, sequence: 1 }, to_refusal);
        };
        for status in [0, 0, 0x58, 0x14, 0x45, 0x0b, 0x0a, 0x0c] {
            hear(id::SUBMIT_SM | RESPONSE, status, false);
        }
        hear(id::DATA_SM | RESPONSE, 0, false);
        hear(id::SUBMIT_MULTI | RESPONSE, 8, false);
        hear(id::ENQUIRE_LINK | RESPONSE, 0, true);
        hear(id::GENERIC_NACK, 3, false);
        for other in [id::ENQUIRE_LINK, id::BIND_TRANSCEIVER, id::QUERY_SM, id::UNBIND] {
            hear(other | RESPONSE, 0, false);
        }
        hear(id::DELIVER_SM, 0, false);
        let kinds: Vec<u32> = (0..ResponseKind::SLOTS).map(|index| responses.of_kind(index)).collect();
        assert_eq!(kinds, [3, 1, 1, 1, 1, 1, 2, 0]);
        assert_eq!(responses.heard, 12);
        responses.clear();
        assert_eq!((responses.heard, responses.of_kind(0), responses.are_any()), (0, 0, false));
    }
}
