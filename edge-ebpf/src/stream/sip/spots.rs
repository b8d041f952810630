//! The places of a segment that native refusal changes, found while it is read.

use super::cursor::seen;
use super::reader::{Finding, Reader, target};
use super::refusals::{DIGITS_MAX, NAME_BYTES, PHRASE_BYTES_MAX, SPOTS, Spot, bit};
use super::tally;
use crate::abi::{Class, StreamServer, indexed_enum};
use crate::stream::before;
use crate::verifier::{byte, opaque};

indexed_enum! {
    /// Which places of a segment are remembered while it is read.
    Sought {
        /// None.
        Nothing = 0, "nothing";
        /// What is changed of requests outside dialogs: the digits of Max-Forwards, or its name.
        Requests = 1, "requests";
        /// Code and phrase of answers that say what refused requests are answered with.
        Answers = 2, "answers";
    }
}

impl Reader {
    /// Says what is to be remembered, and who the servers are, each its [`super::bit`], before [`Reader::start`].
    #[inline(always)]
    pub fn seek(&mut self, sought: Sought, servers: u32) {
        self.sought = sought as u32;
        self.servers = servers;
    }

    /// Whether the server is a [`StreamServer::B2bua`].
    #[inline(always)]
    pub(super) const fn is_before_b2bua(&self) -> bool {
        self.servers & bit(StreamServer::B2bua) != 0
    }

    /// How many places were found.
    #[must_use]
    #[inline(always)]
    pub fn spotted(&self) -> u32 {
        // The rest of a stream that was lost may be read otherwise the next time.
        if self.finding == Finding::Framed as u32 { self.spotted } else { 0 }
    }

    /// One of them.
    #[must_use]
    #[inline(always)]
    pub fn spot(&self, at: u32) -> Option<Spot> {
        let index = opaque(u64::from(at)) as usize;
        if at < self.spotted() && index < SPOTS { Some(self.spots[index]) } else { None }
    }

    /// One of them, of requests: with its class.
    #[must_use]
    #[inline(always)]
    pub fn request(&self, at: u32) -> Option<(Class, Spot)> {
        let spot = self.spot(at)?;
        let index = opaque(u64::from(at)) as usize;
        if index < SPOTS { Some((tally::class(self.classes[index] as usize), spot)) } else { None }
    }

    /// The headers of a request outside a dialog have ended. It may be changed in a place that is read in order, and has
    /// never passed: not even unread; and for the server that it was read for.
    #[inline(always)]
    pub(super) fn spot_request(&mut self, class: Class) {
        let (seq, digits) = (self.cursor.hops, self.cursor.hops_digits);
        let is_in_order = self.target == target::MAIN && self.guessed == 0;
        let is_new = is_in_order && !before(seq, self.passed);
        let is_named = self.cursor.message & seen::NAMED != 0;
        let is_meant = self.sought == Sought::Requests as u32 && is_named == self.is_before_b2bua();
        if is_meant && is_new {
            self.remember(Spot { seq, len: if is_named { NAME_BYTES } else { digits } }, class);
        }
    }

    /// Whether the request at hand has one Max-Forwards with a number that everybody reads alike.
    #[inline(always)]
    pub(super) const fn has_hops(&self) -> bool {
        let digits = self.cursor.hops_digits;
        digits != 0 && digits <= DIGITS_MAX
    }

    /// A status line that refuses ends at `end` in the buffer.
    #[inline(always)]
    pub(super) fn spot_answer(&mut self, end: u32) {
        if self.sought != Sought::Answers as u32 {
            return;
        }
        let line_end = end - u32::from(byte(&self.bytes, end - 1) == b'\r');
        let seq = self.cursor.begun.wrapping_add(8);
        let len = self.at(line_end).wrapping_sub(seq);
        let spot = Spot { seq, len: if len < PHRASE_BYTES_MAX { len } else { PHRASE_BYTES_MAX } };
        self.remember(spot, Class::SipInvite);
    }

    #[inline(always)]
    fn remember(&mut self, spot: Spot, class: Class) {
        let index = opaque(u64::from(self.spotted)) as usize;
        if before(spot.seq, self.fresh) || index >= SPOTS {
            self.missed += 1;
            return;
        }
        self.spots[index] = spot;
        self.classes[index] = class as u32;
        self.spotted = index as u32 + 1;
    }
}
