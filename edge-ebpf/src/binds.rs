//! Binds: what the server's side of a connection says of them.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::native::{Answerer, Refusals, Rewrite};
use crate::stream::{Finding, Sighting, Witness};
use crate::wire::smpp::is_bind_resp;

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

/// Looks at every response in the server's segment: for binds, and for answers to what was refused.
pub struct Hearer<'a, R: Rewrite> {
    /// The segment.
    pub rewrite: &'a mut R,
    /// The connection's, if messages were refused on it.
    pub refusals: Option<&'a mut Refusals>,
    /// `command_status` of the response that the client gets to a refused message.
    pub status: u32,
    /// The result.
    pub bind: &'a mut BindResponse,
}

impl<R: Rewrite> Witness for Hearer<'_, R> {
    #[inline(always)]
    fn see(&mut self, pdu: Sighting) -> Result<(), Finding> {
        if pdu.is_whole() && is_bind_resp(pdu.header.id) {
            self.bind.heard = 1;
            self.bind.sequence = pdu.header.sequence;
            self.bind.status = pdu.header.status;
        }
        match &mut self.refusals {
            Some(refusals) => Answerer { rewrite: self.rewrite, refusals, status: self.status }.see(pdu),
            None => Ok(()),
        }
    }
}
