//! The way in: which messages are admitted, and what becomes of the others.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::refusals::{Refusals, first_changed};
use super::rewrite::Rewrite;
use crate::stream::{Finding, Sighting, Witness};

/// What became of a segment's messages, each on its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Judged {
    /// Within the limits, and charged.
    pub admitted: u32,
    /// Over a limit, and refused in SMPP's words.
    pub refused: u32,
}

/// Limits, and the segment at hand.
pub trait Judge: Rewrite {
    /// Charges one message, if it is within the limits.
    fn admit(&mut self) -> bool;
}

/// Judges every message of the client's segment.
pub struct Refuser<'a, J: Judge> {
    /// Limits, and the segment.
    pub judge: &'a mut J,
    /// The connection's.
    pub refusals: &'a mut Refusals,
    /// The result.
    pub judged: &'a mut Judged,
    /// The client's acknowledgement.
    pub acknowledged: u32,
}

impl<J: Judge> Witness for Refuser<'_, J> {
    #[inline(always)]
    fn see(&mut self, pdu: Sighting) -> Result<(), Finding> {
        if !pdu.header.is_submit() {
            return Ok(());
        }
        if !pdu.is_first() {
            let has_place = !pdu.is_whole() || self.refusals.complete(pdu, self.acknowledged);
            return if has_place { Ok(()) } else { Err(Finding::Withheld) };
        }
        if self.judge.admit() {
            self.judged.admitted += 1;
            self.refusals.expect(pdu);
            return Ok(());
        }
        // The first octet that differs from an enquire_link's must not have gone ahead.
        if pdu.certain
            && pdu.held <= first_changed(pdu.header.id)
            && self.refusals.refuse(pdu, self.acknowledged, self.judge)
        {
            self.judged.refused += 1;
            return Ok(());
        }
        Err(Finding::Withheld)
    }
}
