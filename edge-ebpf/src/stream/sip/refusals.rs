//! Refusing a request in SIP's own words: what is changed, and what is remembered of it.
//!
//! # Theory of operation
//!
//! 1. On the way in a request is changed so that the server must refuse it, in the same length ([`disguise`]). To a proxy
//!    the digits of Max-Forwards become zeros: it may not pass that on and says 483 (Too Many Hops; RFC 3261 16.3, 20.22).
//!    (Only to OPTIONS it may say what it likes.) To a B2BUA, which need not look at that, the name Max-Forwards of an INVITE
//!    becomes Require, and its number the tag of an extension that nobody has: it must say 420 (Bad Extension; 8.2.2.3,
//!    20.32). Where other requests ask for extensions, servers do not look. Either absorbs the ACK to it, and forgets.
//! 2. On the way out the code and the phrase of that answer become those of [`CODE`] and [`PHRASE`], in the same length.
//! 3. Of both the places in the stream are remembered, until who receives them has acknowledged them: what TCP sends again
//!    is changed again, however it is cut then, and is never judged again.
//!
//! # Invariants
//!
//! * An octet of the stream is changed in every copy that passes, or in none: only what is read for the first time and in
//!   order is changed, and where there is no room to remember it nothing is.
//! * What cannot be refused passes, and is owed. Nothing is withheld.
//! * Which of the server's answers is to which INVITE is not looked at: as many are changed as refusals wait. What an answer
//!   to them says is known from how they were changed, and not from the configuration, which may have changed since.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::cursor::WINDOW_MAX;
use crate::abi::{StreamServer, pod};
use crate::stream::{Segment, before};
use crate::verifier::opaque;

/// Places of one direction that are remembered at once. A round trip of 50 ms leaves room for 2,500 refusals a second.
pub const PLACES: usize = 128;

/// Places that one segment may bring; of what is beyond, requests pass and are owed, and answers stay as they are.
pub const SPOTS: usize = 16;

/// Longest number that is overwritten. One octet of value has at most three digits (RFC 3261 20.22).
pub(super) const DIGITS_MAX: u32 = 4;

/// What the name Max-Forwards becomes before a B2BUA, four octets each: white space may stand before the colon (RFC 3261
/// 25.1).
const NAME: [&[u8; 4]; 3] = [b"Requ", b"ire ", b"    "];

/// Octets of that name.
pub(super) const NAME_BYTES: u32 = 4 * NAME.len() as u32;

const _: () = assert!(NAME_BYTES > DIGITS_MAX, "the length of a place says what is in it");

/// What the client is told in place of what the server says.
pub const CODE: &[u8; 4] = b"503 ";

/// As long as the phrases that go with that, Too Many Hops and Bad Extension; spaces fill up a longer one.
pub const PHRASE: &[u8; 13] = b"Rate Exceeded";

/// Longest phrase that is changed to its end.
pub(super) const PHRASE_BYTES_MAX: u32 = 64;

/// Words that are written at most: the code, and the phrase.
const WORDS_MAX: u32 = 1 + PHRASE_BYTES_MAX / 4;

/// Places that one segment at most takes off a ring. More than it brings, so that the ring is empty in the end.
const RETIRED: usize = SPOTS + 4;

/// A place in a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Spot {
    /// Sequence number of its first octet.
    pub seq: u32,
    /// Octets.
    pub len: u32,
}

impl Spot {
    const fn end(self) -> u32 {
        self.seq.wrapping_add(self.len)
    }

    /// The server for which a request is changed there: a name has more octets than a number.
    #[inline(always)]
    const fn changed_for(self) -> StreamServer {
        if self.len <= DIGITS_MAX { StreamServer::Proxy } else { StreamServer::B2bua }
    }
}

/// The places in one direction that are changed, in the order in which they were.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Ring {
    /// Places that were ever taken.
    taken: u32,
    /// And those of them that are over.
    retired: u32,
    /// Up to where the receiver has acknowledged.
    acknowledged: u32,
    /// Not 0 if that was ever said.
    is_acknowledged: u32,
    places: [Spot; PLACES],
}

impl Ring {
    /// The receiver says what it has got.
    #[inline(always)]
    pub fn acknowledge(&mut self, acknowledged: u32) {
        if self.is_acknowledged == 0 || before(self.acknowledged, acknowledged) {
            self.acknowledged = acknowledged;
            self.is_acknowledged = 1;
        }
    }

    /// Takes places off that the receiver has acknowledged.
    #[inline(always)]
    pub fn retire(&mut self) {
        for _ in 0..RETIRED {
            let spot = self.places[index(self.retired)];
            if self.retired == self.taken
                || self.is_acknowledged == 0
                || before(self.acknowledged, spot.end())
            {
                break;
            }
            self.retired = self.retired.wrapping_add(1);
        }
    }

    /// Whether nothing is remembered.
    #[must_use]
    #[inline(always)]
    pub const fn is_empty(&self) -> bool {
        self.retired == self.taken
    }

    /// Remembers a place. `false`: there is no room.
    #[inline(always)]
    pub fn take(&mut self, spot: Spot) -> bool {
        if self.taken.wrapping_sub(self.retired) >= PLACES as u32 {
            return false;
        }
        self.places[index(self.taken)] = spot;
        self.taken = self.taken.wrapping_add(1);
        true
    }

    /// A place that is to be changed again if it lies in a segment from `seq` on; for every index up to [`PLACES`].
    #[must_use]
    #[inline(always)]
    pub fn remembered(&self, at: u32, seq: u32) -> Option<Spot> {
        if at >= self.taken.wrapping_sub(self.retired) {
            return None;
        }
        let spot = self.places[index(self.retired.wrapping_add(at))];
        // Farther away it is one of a stream that has gone round since.
        let is_near = spot.end().wrapping_sub(seq) <= WINDOW_MAX;
        if is_near { Some(spot) } else { None }
    }
}

/// Where a number lies in the ring.
#[inline(always)]
fn index(number: u32) -> usize {
    const { assert!(PLACES.is_power_of_two()) };
    (opaque(u64::from(number)) & (PLACES as u64 - 1)) as usize
}

/// The refusals of one connection. Map `SIP_REFUSALS`: of the words that are not of a ring, each says who writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SipRefusals {
    /// Requests that were refused. The way in.
    pub refused: u32,
    /// Refusals for whose answers nobody waits any more. The way in.
    pub let_go: u32,
    /// Answers to refusals. The way out.
    pub answered: u32,
    /// The servers, each its [`bit`], for which those that wait were changed. The way in.
    pub servers: u32,
    /// What was changed of requests. The way in, but for what the server acknowledges, which is the way out's.
    pub requests: Ring,
    /// Answers. The way out, but for what the client acknowledges, which is the way in's.
    pub answers: Ring,
}

impl SipRefusals {
    /// Refusals that the server has yet to answer.
    #[must_use]
    #[inline(always)]
    pub const fn waiting(&self) -> u32 {
        let waiting = self.refused.wrapping_sub(self.let_go).wrapping_sub(self.answered);
        if waiting.cast_signed() > 0 { waiting } else { 0 }
    }

    /// Nobody waits any more: the connection is over. How many there were.
    #[inline(always)]
    pub fn let_go(&mut self) -> u32 {
        let waiting = self.waiting();
        self.let_go = self.let_go.wrapping_add(waiting);
        waiting
    }

    /// A request is refused, which is changed at `spot`. `false`: it cannot be.
    #[inline(always)]
    pub fn refuse<O: Overwrite>(&mut self, spot: Spot, octets: &mut O) -> bool {
        if !self.requests.take(spot) {
            return false;
        }
        // Those that wait may be of before a change of the configuration.
        let waiting = if self.waiting() == 0 { 0 } else { self.servers };
        self.servers = waiting | bit(spot.changed_for());
        self.refused = self.refused.wrapping_add(1);
        disguise(spot, octets);
        true
    }

    /// The server refuses, with the code at `spot`.
    #[inline(always)]
    pub fn answer<O: Overwrite>(&mut self, spot: Spot, octets: &mut O) -> Answered {
        if self.waiting() == 0 {
            return Answered::Foreign;
        }
        self.answered = self.answered.wrapping_add(1);
        if !self.answers.take(spot) {
            return Answered::Unmatched;
        }
        octets.respond(spot);
        Answered::Matched
    }
}

/// What a refusal of the server's is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answered {
    /// To the client's own request: it stays.
    Foreign,
    /// To a refused one, but there was no room to change it.
    Unmatched,
    /// To a refused one, and the client is told so.
    Matched,
}

/// Who can change octets of the segment at hand.
pub trait Overwrite {
    /// Writes the first `len` of four octets from `seq` on, as far as they lie in the segment.
    fn overwrite(&mut self, seq: u32, octets: [u8; 4], len: u32);

    /// Makes of the answer at `spot` what the client is told: [`respond`].
    #[inline(always)]
    fn respond(&mut self, spot: Spot)
    where
        Self: Sized,
    {
        respond(spot, self);
    }
}

/// A server in a set of them.
#[must_use]
#[inline(always)]
pub const fn bit(server: StreamServer) -> u32 {
    1 << server as u32
}

/// Whether one of these servers answers so what was changed for it.
#[must_use]
#[inline(always)]
pub(super) const fn is_refusal(status: u32, servers: u32) -> bool {
    match status {
        483 => servers & bit(StreamServer::Proxy) != 0,
        420 => servers & bit(StreamServer::B2bua) != 0,
        _ => false,
    }
}

/// Changes a request so that the server refuses it: makes zeros of the digits of Max-Forwards, or Require of its name.
#[inline(always)]
pub fn disguise<O: Overwrite>(spot: Spot, octets: &mut O) {
    if matches!(spot.changed_for(), StreamServer::Proxy) {
        octets.overwrite(spot.seq, *b"0000", spot.len);
        return;
    }
    for (word, part) in (0..).zip(NAME) {
        octets.overwrite(spot.seq.wrapping_add(4 * word), *part, 4);
    }
}

/// Makes of the server's answer what the client is told.
#[inline(always)]
pub fn respond<O: Overwrite>(spot: Spot, octets: &mut O) {
    for word in 0..WORDS_MAX {
        let at = 4 * word;
        if at >= spot.len {
            break;
        }
        let left = spot.len - at;
        octets.overwrite(spot.seq.wrapping_add(at), told(word), if left < 4 { left } else { 4 });
    }
}

/// Four octets of code and phrase.
#[inline(always)]
const fn told(word: u32) -> [u8; 4] {
    const fn part(at: usize) -> [u8; 4] {
        let mut part = [b' '; 4];
        let mut octet = 0;
        while octet < 4 {
            if at + octet < PHRASE.len() {
                part[octet] = PHRASE[at + octet];
            }
            octet += 1;
        }
        part
    }
    match word {
        0 => *CODE,
        1 => const { part(0) },
        2 => const { part(4) },
        3 => const { part(8) },
        4 => const { part(12) },
        _ => [b' '; 4],
    }
}

/// Where in the frame the first of `len` octets from `seq` on lies that is in the segment, how many before it are not, and
/// how many are.
#[must_use]
#[inline(always)]
pub const fn within(segment: Segment, seq: u32, len: u32) -> Option<(usize, u32, u32)> {
    let ahead = seq.wrapping_sub(segment.seq);
    let (skipped, at) = if ahead.cast_signed() < 0 { (ahead.wrapping_neg(), 0) } else { (0, ahead) };
    if skipped >= len || at >= segment.len {
        return None;
    }
    let (wanted, room) = (len - skipped, segment.len - at);
    Some((segment.payload as usize + at as usize, skipped, if wanted < room { wanted } else { room }))
}

pod!(Spot, Ring, SipRefusals);
