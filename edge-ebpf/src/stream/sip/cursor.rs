//! What is remembered of a connection.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::super::before;
use super::hole::OwnHole;
use crate::abi::{indexed_enum, pod};

/// The largest window that TCP can offer (RFC 7323 2.3): no hole stays open over more than that.
pub(super) const WINDOW_MAX: u32 = 1 << 30;

indexed_enum! {
    /// What the next octet is part of.
    Phase {
        /// Not known: the next segment that begins with a start line tells.
        Unknown = 0, "unknown";
        /// Nothing yet: a message may begin, or empty lines go before it.
        Between = 1, "between";
        /// A start line, whose first octets were read.
        StartLine = 2, "start_line";
        /// A line of the headers begins.
        Line = 3, "line";
        /// The rest of a line that does not matter.
        Skipped = 4, "skipped";
        /// The value of a To header.
        To = 5, "to";
        /// The value of a Content-Length header.
        Length = 6, "length";
        /// A body.
        Body = 7, "body";
        /// The value of a Max-Forwards header.
        Hops = 8, "hops";
        /// The white space that begins a folded line, or what stands behind a bare CR.
        Folded = 9, "folded";
        /// Lost for what the client has sent, and for good: who reads it otherwise finds messages anywhere in it.
        Spoilt = 10, "spoilt";
    }
}

/// A place in the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Cursor {
    /// Sequence number after the last octet that was read.
    pub next: u32,
    /// [`Phase`] as integer; any other value counts as unknown.
    pub phase: u32,
    /// In a body, octets of it to come; in the headers, its length as far as it is known.
    pub body: u32,
    /// Sequence number of the message's first octet.
    pub begun: u32,
    /// The message's method, as [`crate::abi::Method`], and bits of [`seen`].
    pub message: u32,
    /// State of the walk over a To header, a Content-Length or a Max-Forwards.
    pub walk: u32,
    /// [`Phase`] of the header line before, which a folded line goes on with.
    pub folded: u32,
    /// Sequence number of the first digit of its Max-Forwards, or, with [`seen::NAMED`], of its name.
    pub hops: u32,
    /// Its digits; 0 where there are none, or none that everybody would read alike.
    pub hops_digits: u32,
    /// Octets at the end of `last` that belong to a line whose name was not complete.
    pub kept: u32,
    /// The last octets that were read, in memory's order.
    pub last: [u64; 3],
}

/// Bits of [`Cursor::message`].
pub(super) mod seen {
    /// The method's.
    pub(in crate::stream::sip) const METHOD: u32 = 0xff;
    /// It is a response.
    pub(in crate::stream::sip) const RESPONSE: u32 = 0x100;
    /// A To header was read.
    pub(in crate::stream::sip) const TO: u32 = 0x200;
    /// It had a tag.
    pub(in crate::stream::sip) const TAG: u32 = 0x400;
    /// A Content-Length was read.
    pub(in crate::stream::sip) const LENGTH: u32 = 0x800;
    /// And digits in it.
    pub(in crate::stream::sip) const DIGITS: u32 = 0x1000;
    /// A Max-Forwards was read.
    pub(in crate::stream::sip) const HOPS: u32 = 0x2000;
    /// It is a response that says what a refused INVITE is answered with.
    pub(in crate::stream::sip) const REFUSES: u32 = 0x4000;
    /// The server is a B2BUA: of Max-Forwards the name is noted, and not the digits.
    pub(in crate::stream::sip) const NAMED: u32 = 0x8000;
    /// Servers may read it otherwise: its tag is not believed.
    pub(in crate::stream::sip) const ODD: u32 = 0x1_0000;
    /// The stream was read from its SYN on, without a guess.
    pub(in crate::stream::sip) const CERTAIN: u32 = 0x2_0000;
}

/// The client's direction of a connection, or the server's where it has refusals. Map `SIP_FLOWS`, written by the kernel
/// under its own lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SipFlow {
    /// Not 0 while a CPU works on the flow.
    pub lock: u64,
    /// The farthest place.
    pub main: Cursor,
    /// The place before a hole.
    pub parked: Cursor,
    /// Where that hole ends; there is none if that is not after `parked.next`.
    pub parked_end: u32,
    /// From here to `main.next` everything was read: what comes again in between is a retransmission.
    pub base: u32,
    /// The same before the hole.
    pub parked_base: u32,
    /// What Edge has dropped and TCP is to send again.
    pub own: OwnHole,
    /// Not 0 if the connection may have entries in `SIP_REFUSALS`.
    pub refusing: u32,
    /// Sequence number after the farthest octet that has passed, read or not; valid if `has_passed`.
    pub passed: u32,
    /// Not 0 if anything has.
    pub has_passed: u32,
}

impl SipFlow {
    /// A flow whose SYN was not seen.
    #[inline(always)]
    pub fn begin_midstream(&mut self) {
        self.begin(0, Phase::Unknown);
        // It may be one that was forgotten.
        self.refusing = 1;
        self.has_passed = 0;
    }

    /// A SYN.
    #[inline(always)]
    pub fn syn(&mut self, isn: u32) {
        self.begin(isn.wrapping_add(1), Phase::Between);
        self.main.message = seen::CERTAIN;
    }

    /// Whether a reset at `seq` ends the connection: see [`crate::stream::Flow::ends_at`].
    #[must_use]
    #[inline(always)]
    pub const fn ends_at(&self, seq: u32) -> bool {
        self.main.phase != Phase::Unknown as u32 && self.main.next == seq
    }

    /// Whether it was lost for what the client has sent.
    #[inline(always)]
    pub(super) const fn is_spoilt(&self) -> bool {
        self.main.phase == Phase::Spoilt as u32
    }

    /// It is.
    #[inline(always)]
    pub(super) fn spoil(&mut self) {
        self.main.phase = Phase::Spoilt as u32;
    }

    /// Whether something is missing before `parked_end`.
    #[inline(always)]
    const fn has_hole(&self) -> bool {
        before(self.parked.next, self.parked_end)
    }

    /// Whether `seq` is so far from where the stream stands that it cannot be of the same connection's window.
    #[inline(always)]
    pub(super) const fn is_strange(&self, seq: u32) -> bool {
        let distance = seq.wrapping_sub(self.main.next);
        distance.wrapping_add(WINDOW_MAX) > 2 * WINDOW_MAX
    }

    /// Whether the octets from `seq` to `end` bring what comes next before the hole.
    #[inline(always)]
    pub(super) const fn fills_hole(&self, seq: u32, end: u32) -> bool {
        self.has_hole() && !before(self.parked.next, seq) && before(self.parked.next, end)
    }

    /// Whether `seq` lies within the hole, and not where it begins.
    #[inline(always)]
    pub(super) const fn is_within_hole(&self, seq: u32) -> bool {
        before(self.parked.next, seq) && before(seq, self.parked_end)
    }

    /// What lies in the hole from `seq` to `end` was read. Where that is its end, the hole ends before it; else it stays as it
    /// is, for no more than one is known.
    #[inline(always)]
    pub(super) fn shrink_hole(&mut self, seq: u32, end: u32) {
        if end == self.parked_end {
            self.parked_end = seq;
            self.base = seq;
        }
    }

    /// Whether they lie before the hole, where all was read.
    #[inline(always)]
    pub(super) const fn is_before_hole(&self, seq: u32, end: u32) -> bool {
        self.has_hole() && !before(seq, self.parked_base) && !before(self.parked.next, end)
    }

    /// What was missing first in the hole of Edge's own making has passed, and a cursor has moved over it.
    #[inline(always)]
    pub(super) fn pass_own(&mut self, is_parked: bool) {
        let next = if is_parked && self.has_hole() { self.parked.next } else { self.main.next };
        self.own.filled(next);
    }

    /// Octets up to `end` have passed.
    #[inline(always)]
    pub(super) fn pass_to(&mut self, end: u32) {
        if self.has_passed == 0 || before(self.passed, end) {
            self.passed = end;
            self.has_passed = 1;
        }
    }

    /// The main cursor goes on beyond a hole, from `seq` on.
    #[inline(always)]
    pub(super) fn park(&mut self, seq: u32) {
        self.parked = self.main;
        self.parked_base = self.base;
        self.parked_end = seq;
        self.base = seq;
    }

    /// The main cursor has begun anew at `seq`.
    #[inline(always)]
    pub(super) fn begin_at(&mut self, seq: u32) {
        self.base = seq;
        self.parked_end = self.parked.next;
    }

    /// A cursor has moved: the hole may be filled, and `base` must not fall behind so far that it seems to lie ahead.
    #[inline(always)]
    pub(super) fn settle(&mut self, filled: bool) {
        if filled {
            self.base = self.parked_base;
            // What came behind the hole began with a message, as was guessed.
            let is_right = self.parked.phase == Phase::Between as u32;
            self.main.message |= if is_right { self.parked.message & seen::CERTAIN } else { 0 };
        }
        let oldest = self.main.next.wrapping_sub(WINDOW_MAX);
        if before(self.base, oldest) {
            self.base = oldest;
        }
    }

    #[inline(always)]
    fn begin(&mut self, next: u32, phase: Phase) {
        self.main.next = next;
        self.main.phase = phase as u32;
        self.main.message = 0;
        self.main.kept = 0;
        self.parked.next = next;
        self.parked_end = next;
        self.base = next;
        self.parked_base = next;
        self.own.close(next);
        self.refusing = 0;
        self.passed = next;
        self.has_passed = 1;
    }
}

pod!(Cursor, SipFlow);
