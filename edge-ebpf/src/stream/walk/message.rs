//! What a message says of itself, once its first octets are there.

use core::ops::ControlFlow;

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
        let is_multi = header.id == id::SUBMIT_MULTI;
        if is_multi {
            self.tally.destinations += witness.weigh(self.start, header, &self.prefix);
        }
        witness.read(self.start, header, &self.prefix);
        if witness.is_disguised(self.start, header) {
            return true;
        }
        if is_multi {
            self.called.begin(&self.prefix, wanted);
            witness.call(self);
        } else if let Some(prefix) = smpp::called_prefix(&self.prefix, wanted, self.digits) {
            self.tally.count_called(prefix);
        }
        true
    }

    /// Counts the next destination of the `submit_multi` at hand by its called prefix; breaks where none is in sight.
    #[inline(always)]
    pub fn call_step(&mut self) -> ControlFlow<()> {
        if let Some(prefix) = self.called.step(&self.prefix, self.digits)? {
            self.tally.count_called(prefix);
        }
        ControlFlow::Continue(())
    }
}
