//! The way in: which messages are admitted, and what becomes of the others.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::refusals::{Refusals, first_changed};
use super::rewrite::Rewrite;
use crate::decide::Scope;
use crate::stream::{Finding, Sighting, Witness};
use crate::verifier::opaque;

/// How the messages of a segment are judged: bits.
pub mod judging {
    /// What is over a limit is refused in SMPP's words; else the segment is dropped for it.
    pub const NATIVE: u32 = 1;
    /// Nothing is refused.
    pub const OBSERVE: u32 = 2;
    /// Nothing is charged.
    pub const EXEMPT: u32 = 4;
    /// Everything is over its limit.
    pub const SUSPENDED: u32 = 8;
}

/// What became of a segment's messages, each on its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Judged {
    /// Within the limits, and charged.
    pub admitted: u32,
    /// Over a limit, and refused in SMPP's words.
    pub refused: u32,
    /// Over a limit, and passed because nothing is to be refused.
    pub observed: u32,
    /// Not 0 if a message was over its account's limit rather than its source's.
    pub over_account: u32,
    /// Not 0 if a message could have been refused in SMPP's words, had there been [`Refusals`].
    pub wants_refusals: u32,
}

impl Judged {
    /// Nothing yet.
    #[inline(always)]
    pub fn clear(&mut self) {
        // Words in one go would become a call to clear them byte by byte.
        self.admitted = opaque(0) as u32;
        self.refused = opaque(0) as u32;
        self.observed = opaque(0) as u32;
        self.over_account = opaque(0) as u32;
        self.wants_refusals = opaque(0) as u32;
    }
}

/// Limits, and the segment at hand.
pub trait Judge: Rewrite {
    /// Charges one message to a bucket, if it has room; where there is no limit it has.
    fn charge(&mut self, scope: Scope) -> bool;

    /// Gives back what [`Self::charge`] took.
    fn refund(&mut self, scope: Scope);

    /// Whether the source may have another message refused in SMPP's words.
    fn may_refuse(&mut self) -> bool;
}

/// Judges every message of the client's segment.
pub struct Refuser<'a, J: Judge> {
    /// Limits, and the segment.
    pub judge: &'a mut J,
    /// The connection's; none before the first refusal.
    pub refusals: Option<&'a mut Refusals>,
    /// The result.
    pub judged: &'a mut Judged,
    /// The client's acknowledgement.
    pub acknowledged: u32,
    /// Bits of [`judging`].
    pub judging: u32,
}

impl<J: Judge> Refuser<'_, J> {
    /// Whose bucket has no room for another message.
    #[inline(always)]
    fn over(&mut self) -> Option<Scope> {
        if self.judging & judging::SUSPENDED != 0 {
            return Some(Scope::Account);
        }
        if !self.judge.charge(Scope::Source) {
            return Some(Scope::Source);
        }
        if !self.judge.charge(Scope::Account) {
            self.judge.refund(Scope::Source);
            return Some(Scope::Account);
        }
        None
    }

    #[inline(always)]
    fn expect(&mut self, pdu: Sighting) {
        if let Some(refusals) = &mut self.refusals {
            refusals.expect(pdu);
        }
    }

    #[inline(always)]
    fn refuse(&mut self, pdu: Sighting) -> bool {
        // The first octet that differs from an enquire_link's must not have gone ahead.
        if self.judging & judging::NATIVE == 0 || !pdu.certain || pdu.held > first_changed(pdu.header.id) {
            return false;
        }
        let Some(refusals) = &mut self.refusals else {
            self.judged.wants_refusals = 1;
            return false;
        };
        refusals.is_deaf == 0
            && self.judge.may_refuse()
            && refusals.refuse(pdu, self.acknowledged, self.judge)
    }
}

impl<J: Judge> Witness for Refuser<'_, J> {
    #[inline(always)]
    fn see(&mut self, pdu: Sighting) -> Result<(), Finding> {
        if !pdu.header.is_submit() {
            return Ok(());
        }
        if !pdu.is_first() {
            let has_place = match &mut self.refusals {
                Some(refusals) if pdu.is_whole() => refusals.complete(pdu, self.acknowledged),
                _ => true,
            };
            return if has_place { Ok(()) } else { Err(Finding::Withheld) };
        }
        let over = if self.judging & judging::EXEMPT == 0 { self.over() } else { None };
        let Some(scope) = over else {
            self.judged.admitted += 1;
            self.expect(pdu);
            return Ok(());
        };
        if self.judging & judging::OBSERVE != 0 {
            self.judged.observed += 1;
            self.expect(pdu);
            return Ok(());
        }
        self.judged.over_account = u32::from(matches!(scope, Scope::Account));
        if self.refuse(pdu) {
            self.judged.refused += 1;
            return Ok(());
        }
        Err(Finding::Withheld)
    }
}
