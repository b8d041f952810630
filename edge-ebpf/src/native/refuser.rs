//! The way in: which messages are admitted, and what becomes of the others.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::refusals::{Refusals, first_changed};
use super::rewrite::Rewrite;
use crate::abi::Command;
use crate::decide::Scope;
use crate::stream::{Finding, Flow, Nobody, Sighting, Walk, Witness};
use crate::verifier::{opaque, zero};
use crate::wire::smpp::{self, HEADER_BYTES, Header, PREFIX_ROOM};

/// `ESME_RINVSRCADR` (SMPP 3.4, 5.1.3).
const INVALID_SOURCE: u32 = 0x0a;

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
    /// What comes from a sender that the account may not show is refused.
    pub const SENDERS: u32 = 16;

    /// With [`SENDERS`], if the account's policy says so. `is_lenient`: see [`crate::stream::Flow::lenient`].
    #[must_use]
    #[inline(always)]
    pub const fn with_senders(judging: u32, policy_flags: u32, is_lenient: bool) -> u32 {
        let asks = policy_flags & crate::abi::policy_flag::SENDER_IDS_ENFORCED != 0;
        if asks && !is_lenient && judging & (OBSERVE | EXEMPT) == 0 { judging | SENDERS } else { judging }
    }
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
    /// Not 0 if the message at hand is one of those observed, be it that its name came with a segment before.
    pub is_observed: u32,
    /// What the client is told of the message at hand, if it is refused; 0 is what the listener says.
    pub status: u32,
}

impl Judged {
    /// Nothing yet of the client's segment on a connection.
    #[inline(always)]
    pub fn begin(&mut self, flow: &Flow) {
        self.clear();
        self.is_observed = flow.cut;
    }

    /// The segment passes: what is to be known of it with the next.
    #[inline(always)]
    pub const fn leave(&self, flow: &mut Flow) {
        flow.cut = self.is_observed;
    }

    /// Nothing yet.
    #[inline(always)]
    pub fn clear(&mut self) {
        // Words in one go would become a call to clear them byte by byte.
        self.admitted = opaque(0) as u32;
        self.refused = opaque(0) as u32;
        self.observed = opaque(0) as u32;
        self.over_account = opaque(0) as u32;
        self.wants_refusals = opaque(0) as u32;
        self.is_observed = opaque(0) as u32;
    }
}

/// Limits, and the segment at hand.
pub trait Judge: Rewrite {
    /// Charges one message to a bucket, if it has room; where there is no limit it has.
    fn charge(&mut self, scope: Scope) -> bool;

    /// Gives back what [`Self::charge`] took.
    fn refund(&mut self, scope: Scope);

    /// Charges messages to a bucket, whether it has room or not.
    fn owe(&mut self, scope: Scope, messages: u32);

    /// Whether the source may have another message refused in SMPP's words.
    fn may_refuse(&mut self) -> bool;

    /// Whether a message comes from a sender that its account may not show; `octets` begin with the first `seen` of it. What is
    /// not in sight is nobody's.
    #[inline(always)]
    fn is_foreign(&mut self, octets: &[u8; PREFIX_ROOM], seen: u32) -> bool {
        let _ = (octets, seen);
        false
    }

    /// See [`Witness::weigh`].
    #[inline(always)]
    fn weigh(&mut self, header: Header, octets: &[u8; PREFIX_ROOM]) -> u32 {
        smpp::further_destinations(octets, header.length)
    }

    /// See [`Witness::call`].
    #[inline(always)]
    fn call(&mut self, walk: &mut Walk) {
        Nobody.call(walk);
    }

    /// See [`Witness::read`].
    #[inline(always)]
    fn read(&mut self, start: u32, header: Header, octets: &[u8; PREFIX_ROOM]) {
        let _ = (start, header, octets);
    }
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

    /// Whether the message is one that may be refused in SMPP's words.
    #[inline(always)]
    const fn is_refusable(&self, pdu: Sighting) -> bool {
        // The first octet that differs from an enquire_link's must not have gone ahead.
        self.judging & judging::NATIVE != 0
            && pdu.certain
            && pdu.held <= first_changed(pdu.kind.is(Command::DataSm))
    }

    /// Whether the message is to be refused for its sender. Only where it can be: a message that is dropped for that would
    /// come again for ever.
    #[inline(always)]
    fn is_foreign(&mut self, pdu: Sighting, octets: &[u8; PREFIX_ROOM]) -> bool {
        let asks = self.judging & (judging::SENDERS | judging::SUSPENDED) == judging::SENDERS;
        let is_heard = self.refusals.as_ref().is_none_or(|refusals| refusals.is_deaf == 0);
        // What is in sight may go on with the next PDU.
        let seen = pdu.seen.min(pdu.header.length);
        asks && is_heard && self.is_refusable(pdu) && self.judge.is_foreign(octets, seen)
    }

    #[inline(always)]
    fn refuse(&mut self, pdu: Sighting) -> bool {
        if !self.is_refusable(pdu) {
            return false;
        }
        let Some(refusals) = &mut self.refusals else {
            self.judged.wants_refusals = 1;
            return false;
        };
        refusals.is_deaf == 0
            && self.judge.may_refuse()
            && refusals.refuse(pdu, self.acknowledged, self.judged.status, self.judge)
    }
}

impl<J: Judge> Witness for Refuser<'_, J> {
    #[inline(always)]
    fn read(&mut self, start: u32, header: Header, octets: &[u8; PREFIX_ROOM]) {
        // What follows the header of a disguised one is not what the client wrote.
        let length = if self.is_disguised(start, header) { HEADER_BYTES as u32 } else { header.length };
        self.judge.read(start, Header { length, ..header }, octets);
    }

    #[inline(always)]
    fn call(&mut self, walk: &mut Walk) {
        self.judge.call(walk);
    }

    #[inline(always)]
    fn is_disguised(&self, start: u32, header: Header) -> bool {
        self.refusals.as_ref().is_some_and(|refusals| refusals.disguises(start, header.sequence))
    }

    /// It was let through where there was room for one message, and owes the others: before its first octets are there nobody
    /// knows how many it stands for, and then its name has gone ahead. Of a suspended account, too: what is admitted is given
    /// back with a segment that is dropped, and must have been taken.
    #[inline(always)]
    fn weigh(&mut self, start: u32, header: Header, octets: &[u8; PREFIX_ROOM]) -> u32 {
        if self.refusals.as_ref().is_some_and(|refusals| refusals.has_refused(start, header.sequence)) {
            return 0;
        }
        let further = self.judge.weigh(header, octets);
        if self.judged.is_observed != 0 {
            self.judged.observed += further;
            return further;
        }
        if self.judging & judging::EXEMPT == 0 && further != 0 {
            self.judge.owe(Scope::Source, further);
            self.judge.owe(Scope::Account, further);
        }
        self.judged.admitted += further;
        further
    }

    /// What came before it has been admitted or refused: it is owed.
    #[inline(always)]
    fn lose(&mut self, messages: u32) {
        if self.judging & judging::EXEMPT == 0 {
            self.judge.owe(Scope::Source, messages);
            self.judge.owe(Scope::Account, messages);
        }
        self.judged.admitted += messages;
    }

    #[inline(always)]
    fn see(&mut self, pdu: Sighting, octets: &[u8; PREFIX_ROOM]) -> Result<(), Finding> {
        if !pdu.kind.is_submit() {
            return Ok(());
        }
        if !pdu.is_first() {
            let has_place = match &mut self.refusals {
                Some(refusals) if pdu.is_whole() => refusals.complete(pdu, self.acknowledged),
                _ => true,
            };
            return if has_place { Ok(()) } else { Err(Finding::Withheld) };
        }
        zero(&mut self.judged.status);
        zero(&mut self.judged.is_observed);
        let over = if self.is_foreign(pdu, octets) {
            self.judged.status = INVALID_SOURCE;
            Some(Scope::Account)
        } else if self.judging & judging::EXEMPT == 0 {
            self.over()
        } else {
            None
        };
        let Some(scope) = over else {
            self.judged.admitted += 1;
            self.expect(pdu);
            return Ok(());
        };
        if self.judging & judging::OBSERVE != 0 {
            self.judged.observed += 1;
            self.judged.is_observed = 1;
            self.expect(pdu);
            return Ok(());
        }
        self.judged.over_account = u32::from(matches!(scope, Scope::Account));
        if self.refuse(pdu) {
            self.judged.refused += 1;
            return Ok(());
        }
        if pdu.is_ahead && self.judging & judging::NATIVE != 0 && self.judged.admitted != 0 {
            // What fills a hole before it has taken the room, and would each time that the segment comes again.
            self.judge.owe(Scope::Source, 1);
            self.judge.owe(Scope::Account, 1);
            self.judged.admitted += 1;
            self.expect(pdu);
            return Ok(());
        }
        Err(Finding::Withheld)
    }
}
