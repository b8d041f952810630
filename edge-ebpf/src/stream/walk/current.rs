//! The PDU at hand: what of it is held, what it is, and where its octets are.

use super::{HEADER_BYTES, PREFIX, Walk, before};
use crate::packet::{Packet, TooShort};
use crate::verifier;
use crate::wire::smpp::{Header, Kind};

impl Walk {
    /// Over octets that need no reading.
    #[inline(always)]
    pub(super) fn skip(&mut self) {
        if before(self.end, self.start) {
            self.end = if before(self.start, self.limit) { self.start } else { self.limit };
        }
    }

    /// Octets of the current PDU that are in `prefix`.
    #[inline(always)]
    pub(super) fn held(&self) -> u32 {
        let held = self.end.wrapping_sub(self.start);
        if held < PREFIX { held } else { 0 }
    }

    #[inline(always)]
    pub(super) fn held_header(&self) -> Header {
        let (first, second) = self.held_words();
        Header::from_words(first, second)
    }

    /// Compares the current PDU's name, and notes what it is.
    #[inline(always)]
    pub(super) fn note_name(&mut self, header: Header) -> Kind {
        // A copy is compared: what the verifier learns from that is not to make many ways of one.
        let id = verifier::unlinked(u64::from(header.id)) as u32;
        let command = Header { id, ..header }.command();
        Kind::from_index(verifier::forgotten(&mut self.command, command.index() as u32))
    }

    /// Where in the frame the walk stands.
    #[inline(always)]
    pub(super) fn offset(&self) -> usize {
        self.payload as usize + self.end.wrapping_sub(self.seq) as usize
    }

    /// The first sixteen octets that are held, as big-endian words.
    #[inline(always)]
    fn held_words(&self) -> (u64, u64) {
        let (first, second) =
            (verifier::prefix_word(&self.prefix, 0), verifier::prefix_word(&self.prefix, 8));
        (first.swap_bytes(), second.swap_bytes())
    }

    /// The octets of a header at `at` in the payload, as big-endian words. Nothing is held then.
    #[inline(always)]
    pub(super) fn header_words<P: Packet + ?Sized>(
        &mut self,
        packet: &P,
        at: u32,
    ) -> Result<(u64, u64), TooShort> {
        let offset = self.payload as usize + at as usize;
        if let (Ok(first), Ok(second)) = (packet.read(offset), packet.read(offset + 8)) {
            return Ok((u64::from_be_bytes(first), u64::from_be_bytes(second)));
        }
        // In the kernel: far into the frame, or beyond the first buffer of a frame of several.
        packet.copy_to(offset, &mut self.prefix, HEADER_BYTES)?;
        Ok(self.held_words())
    }
}
