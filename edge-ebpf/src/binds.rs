//! Binds: what the server's side of a connection says of them.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::messages::{Answers, Receipts, Responses};
use crate::native::{Answerer, Refusals, Rewrite};
use crate::stream::{Finding, Segment, Sighting, Walk, Witness};
use crate::wire::smpp::{PREFIX_ROOM, id, is_bind_resp, is_message_resp};

/// The answer to a bind that a segment brings: the last, if there are several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct BindResponse {
    /// Not 0 if there is one.
    pub heard: u32,
    /// Its `sequence_number`: that of the request.
    pub sequence: u32,
    /// Its `command_status`: 0 is yes.
    pub status: u32,
}

/// Looks at every response in the server's segment: for binds, for messages, and for answers to what was refused.
pub struct Hearer<'a, R: Rewrite> {
    /// The segment.
    pub rewrite: &'a mut R,
    /// The connection's, if messages were refused on it.
    pub refusals: Option<&'a mut Refusals>,
    /// `command_status` of the response that the client gets to a refused message.
    pub status: u32,
    /// What is said of a bind.
    pub bind: &'a mut BindResponse,
    /// What is said of messages.
    pub responses: &'a mut Responses,
    /// What is said of those that leave a record.
    pub answers: &'a mut Answers,
    /// Where its delivery receipts lie.
    pub receipts: &'a mut Receipts,
    /// Where it lies itself.
    pub segment: Segment,
}

impl<R: Rewrite> Witness for Hearer<'_, R> {
    /// A server submits nothing.
    #[inline(always)]
    fn call(&mut self, _walk: &mut Walk) {}

    #[inline(always)]
    fn see(&mut self, pdu: Sighting, _octets: &[u8; PREFIX_ROOM]) -> Result<(), Finding> {
        if pdu.is_whole() && is_bind_resp(pdu.header.id) {
            self.bind.heard = 1;
            self.bind.sequence = pdu.header.sequence;
            self.bind.status = pdu.header.status;
        }
        let to_refusal = match &mut self.refusals {
            Some(refusals) => Answerer { rewrite: self.rewrite, refusals, status: self.status }.answers(pdu),
            None => None,
        };
        if pdu.is_whole() {
            self.receipts.take(self.segment, pdu);
            self.responses.hear(pdu.header, to_refusal.is_some());
            if let Some(status) = to_refusal {
                self.answers.take(pdu.header.sequence, status, true);
            } else if is_message_resp(pdu.header.id) || pdu.header.id == id::GENERIC_NACK {
                self.answers.take(pdu.header.sequence, pdu.header.status, false);
            }
        }
        Ok(())
    }
}
