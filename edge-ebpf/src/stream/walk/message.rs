//! What a message says of itself, once its first octets are there.

use super::{PREFIX, Walk, Witness};
use crate::wire::smpp::{self, Header, id};

impl Walk {
    /// Reads the message at hand, of which `total` octets are there. `false`: more are needed.
    #[inline(always)]
    pub(super) fn read_message<W: Witness>(&mut self, header: Header, total: u32, witness: &mut W) -> bool {
        let wanted = header.length.min(PREFIX);
        if total < wanted {
            return false;
        }
        if header.id == id::SUBMIT_MULTI {
            self.tally.destinations += witness.weigh(self.start, header, &self.prefix);
        }
        witness.read(self.start, header, &self.prefix);
        if !witness.is_disguised(self.start, header)
            && let Some(prefix) = smpp::called_prefix(&self.prefix, header, wanted, self.digits)
        {
            self.tally.count_called(prefix);
        }
        true
    }
}
