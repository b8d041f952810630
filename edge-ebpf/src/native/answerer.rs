//! The way out: the answers to what was refused.

use super::refusals::Refusals;
use super::rewrite::Rewrite;
use crate::stream::{Finding, Sighting, Witness};
use crate::wire::smpp::{PREFIX_ROOM, RESPONSE};

/// Looks at every response in the server's segment.
pub struct Answerer<'a, R: Rewrite> {
    /// The segment.
    pub rewrite: &'a mut R,
    /// The connection's.
    pub refusals: &'a mut Refusals,
    /// `command_status` of the response that the client gets.
    pub status: u32,
}

impl<R: Rewrite> Answerer<'_, R> {
    /// What the client is told, if the PDU, whose whole header is in sight, answers a refused message.
    #[inline(always)]
    pub(crate) fn answers(&mut self, pdu: Sighting) -> Option<u32> {
        if pdu.header.id & RESPONSE == 0 {
            return None;
        }
        self.refusals.answer(pdu, self.status, self.rewrite)
    }
}

impl<R: Rewrite> Witness for Answerer<'_, R> {
    #[inline(always)]
    fn see(&mut self, pdu: Sighting, _octets: &[u8; PREFIX_ROOM]) -> Result<(), Finding> {
        self.answers(pdu);
        Ok(())
    }
}
