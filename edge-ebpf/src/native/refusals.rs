//! What is remembered of refusals under way.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::rewrite::Rewrite;
use crate::abi::{indexed_enum, pod};
use crate::stream::{Flow, NAMED, Segment, Sighting, before};
use crate::verifier::opaque;
use crate::wire::smpp::{ENQUIRE_LINK_RESP, HEADER_BYTES, Header, RESPONSE, id};

/// Refusals of one connection that may be under way at once: refused, and the client has not acknowledged the
/// answer. A round trip of 50 ms leaves room for 10,000 a second; what finds none is dropped and comes again.
pub const PLACES: usize = 512;

/// The place of a refusal whose `sequence_number` is not in sight yet: one PDU at most is cut there.
const CUT: usize = PLACES;

/// Tag of a parameter that the specification leaves to vendors (SMPP 3.4, 5.3.2: 0x1400 to 0x3fff); a receiver
/// skips a parameter that it does not know (3.3).
const VENDOR_TAG: u32 = 0x1400;
/// Tag and length of a parameter.
const PARAMETER_BYTES: u32 = 4;
/// Octets of a PDU up to the last that is changed.
const CHANGED: u32 = HEADER_BYTES as u32 + PARAMETER_BYTES;

indexed_enum! {
    /// How far a refusal has come.
    Stage {
        /// The place is free.
        Free = 0, "free";
        /// The server has not answered.
        Waiting = 1, "waiting";
        /// The answer has passed; the client has not acknowledged it, as far as is known.
        Answered = 2, "answered";
        /// It was cut, and has got its place by now.
        Placed = 3, "placed";
    }
}

/// One refused message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Refusal {
    /// TCP's sequence number of its first octet.
    seq: u32,
    /// Its `command_length`.
    length: u32,
    /// The `command_id` that it had.
    id: u32,
    /// Its `sequence_number`; 0 while that is not in sight.
    sequence: u32,
    /// TCP's sequence number of its answer's first octet.
    answer: u32,
    /// [`Stage`] as integer; anything else counts as free.
    stage: u32,
    /// `command_status` that the client is told; 0 is the listener's.
    status: u32,
    /// Not 0 if it was refused before all octets had come that are changed: what comes of them is disguised when it is read.
    is_cut: u32,
}

impl Refusal {
    #[inline(always)]
    const fn is(&self, stage: Stage) -> bool {
        self.stage == stage as u32
    }

    /// Whether the place may be taken.
    #[inline(always)]
    const fn is_free(&self, acknowledged: u32) -> bool {
        let is_over =
            self.is(Stage::Answered) && !before(acknowledged, self.answer.wrapping_add(HEADER_BYTES as u32));
        !(self.is(Stage::Waiting) || self.is(Stage::Answered)) || is_over
    }

    /// Makes an `enquire_link` of the message.
    #[inline(always)]
    fn disguise<R: Rewrite>(&self, rewrite: &mut R) {
        rewrite.write(self.seq.wrapping_add(4), id::ENQUIRE_LINK.to_be_bytes());
        if self.length >= CHANGED {
            let parameter = VENDOR_TAG << 16 | ((self.length - CHANGED) & 0xffff);
            rewrite.write(self.seq.wrapping_add(HEADER_BYTES as u32), parameter.to_be_bytes());
        }
    }

    /// Makes of the answer the response that the client waits for; what it says comes back.
    #[inline(always)]
    fn respond<R: Rewrite>(&self, rewrite: &mut R, listener: u32) -> u32 {
        let status = if self.status == 0 { listener } else { self.status };
        rewrite.write(self.answer.wrapping_add(4), (self.id | RESPONSE).to_be_bytes());
        rewrite.write(self.answer.wrapping_add(8), status.to_be_bytes());
        status
    }
}

/// The refusals of one connection, by the low bits of their `sequence_number`. Map `REFUSALS`: places are taken by
/// the way in under the lock of the client's flow, and answered by the way out under that of the server's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Refusals {
    /// What the server is expected to answer next, if it answers in order.
    next: u32,
    /// Index of the refusal whose answer was taken for it before its `sequence_number` was in sight.
    guess: u32,
    /// Answers whose first octets had passed before they were known to be ours, or that were taken for another.
    pub unmatched: u32,
    /// Answers to refused messages that have come, those that could not be changed included.
    pub answered: u32,
    /// Messages refused in segments that have passed.
    pub refused: u32,
    /// Not 0 while the server's direction cannot be framed: nothing more is refused then.
    pub is_deaf: u32,
    places: [Refusal; PLACES + 1],
}

impl Refusals {
    #[inline(always)]
    fn place(&mut self, sequence: u32) -> &mut Refusal {
        &mut self.places[place_of(sequence)]
    }

    /// Takes a place for a message. `false`: there is none. `acknowledged`: the client's acknowledgement. `status`: what the
    /// client is told, 0 for what the listener says.
    #[inline(always)]
    pub(super) fn refuse<R: Rewrite>(
        &mut self,
        pdu: Sighting,
        acknowledged: u32,
        status: u32,
        rewrite: &mut R,
    ) -> bool {
        let Header { length, id, .. } = pdu.header;
        self.expect(pdu);
        let sequence = if pdu.is_whole() { pdu.header.sequence } else { 0 };
        let place = if pdu.is_whole() { self.place(sequence) } else { &mut self.places[CUT] };
        if !place.is_free(acknowledged) {
            return false;
        }
        place.seq = pdu.start;
        place.length = length;
        place.id = id;
        place.sequence = sequence;
        place.status = status;
        place.is_cut = u32::from(pdu.seen < CHANGED);
        place.answer = 0;
        place.stage = Stage::Waiting as u32;
        place.disguise(rewrite);
        true
    }

    /// The rest of a header has come into sight. `false`: the message was refused, and there is no place for it.
    #[inline(always)]
    pub(super) fn complete(&mut self, pdu: Sighting, acknowledged: u32) -> bool {
        self.expect(pdu);
        let cut = self.places[CUT];
        if cut.seq != pdu.start || !cut.is(Stage::Waiting) {
            return true;
        }
        let place = self.place(pdu.header.sequence);
        if !place.is_free(acknowledged) {
            return false;
        }
        place.seq = cut.seq;
        place.length = cut.length;
        place.id = cut.id;
        place.sequence = pdu.header.sequence;
        place.status = cut.status;
        place.is_cut = cut.is_cut;
        place.answer = 0;
        place.stage = Stage::Waiting as u32;
        self.places[CUT].stage = Stage::Placed as u32;
        true
    }

    /// Whether the message that begins at `start` was refused before all of it had come that is changed.
    #[inline(always)]
    pub(super) fn disguises(&self, start: u32, sequence: u32) -> bool {
        let place = &self.places[place_of(sequence)];
        place.is_cut != 0 && place.seq == start && place.sequence == sequence
    }

    /// Whether the message that begins at `start` was refused.
    #[inline(always)]
    pub(super) fn has_refused(&self, start: u32, sequence: u32) -> bool {
        let place = &self.places[place_of(sequence)];
        place.is(Stage::Waiting) && place.seq == start && place.sequence == sequence
    }

    /// The segment was dropped after all: what was refused in it did not pass, and will be judged anew. With every
    /// index up to [`PLACES`]. `committed`: up to where the client's stream has passed.
    #[inline(always)]
    pub fn undo(&mut self, index: usize, committed: u32) {
        if let Some(place) = self.places.get_mut(index)
            && place.is(Stage::Waiting)
            && before(committed, place.seq.wrapping_add(NAMED))
        {
            place.stage = Stage::Free as u32;
        }
    }

    /// The connection's first message is what the server answers first.
    #[inline(always)]
    pub(super) fn expect(&mut self, pdu: Sighting) {
        if self.next == 0 && pdu.is_whole() {
            self.next = pdu.header.sequence;
        }
    }

    /// The client's segment begins where its stream ends: of what was refused before, only the PDU that is cut
    /// there can lie in it.
    #[inline(always)]
    pub fn disguise_current<R: Rewrite>(&self, flow: &Flow, rewrite: &mut R) {
        if !ends_within_changed(flow) {
            return;
        }
        let start = flow.main.start;
        let held = flow.main.end.wrapping_sub(start);
        let cut = &self.places[CUT];
        if cut.seq == start && (cut.is(Stage::Waiting) || cut.is(Stage::Placed)) {
            cut.disguise(rewrite);
        } else if held >= HEADER_BYTES as u32 {
            let [.., s0, s1, s2, s3] = *flow.main.header();
            let place = &self.places[place_of(u32::from_be_bytes([s0, s1, s2, s3]))];
            if place.seq == start {
                place.disguise_passed(rewrite);
            }
        }
    }

    /// Changes again what of one refusal lies in the client's segment: for segments that bring old data, with
    /// every index up to [`PLACES`].
    #[inline(always)]
    pub fn disguise_again<R: Rewrite>(&self, index: usize, rewrite: &mut R) {
        if let Some(place) = self.places.get(index) {
            place.disguise_passed(rewrite);
        }
    }

    /// The server's segment begins where its stream ends: only the answer that is cut there can lie in it.
    #[inline(always)]
    pub fn respond_current<R: Rewrite>(&self, flow: &Flow, status: u32, rewrite: &mut R) {
        let place = &self.places[place_of(self.guess)];
        if before(flow.main.start, flow.main.end)
            && place.is(Stage::Answered)
            && place.answer == flow.main.start
        {
            place.respond(rewrite, status);
        }
    }

    /// Changes again what of one answer lies in the server's segment, as [`Self::disguise_again`].
    #[inline(always)]
    pub fn respond_again<R: Rewrite>(&self, index: usize, status: u32, rewrite: &mut R) {
        if let Some(place) = self.places.get(index)
            && place.is(Stage::Answered)
        {
            place.respond(rewrite, status);
        }
    }

    /// The server's PDU, if it answers a refusal, becomes the response that the client waits for. What that says, if it does
    /// answer one, once its whole header is in sight. `status`: the listener's.
    #[inline(always)]
    pub(super) fn answer<R: Rewrite>(&mut self, pdu: Sighting, status: u32, rewrite: &mut R) -> Option<u32> {
        let Header { length, sequence, .. } = pdu.header;
        if !pdu.is_whole() {
            let next = self.next;
            let guess = next % PLACES as u32;
            let place = self.place(next);
            if pdu.is_first()
                && place.is(Stage::Waiting)
                && place.sequence == next
                && place.is_answer(pdu.header)
            {
                let is_in_time = place.take(pdu);
                if is_in_time {
                    place.respond(rewrite, status);
                    self.guess = guess;
                } else {
                    self.unmatched = self.unmatched.wrapping_add(1);
                }
                self.answered = self.answered.wrapping_add(1);
            }
            return None;
        }
        self.next = sequence.wrapping_add(1);
        if !pdu.is_first() && self.settle_guess(pdu) {
            let own = self.place(self.guess).status;
            return Some(if own == 0 { status } else { own });
        }
        let place = self.place(sequence);
        if length == HEADER_BYTES as u32
            && place.is(Stage::Waiting)
            && place.sequence == sequence
            && place.is_answer(pdu.header)
        {
            let is_in_time = place.take(pdu);
            // In another's words, where it is too late for the client's.
            let mut told = pdu.header.status;
            if is_in_time {
                told = place.respond(rewrite, status);
            } else {
                self.unmatched = self.unmatched.wrapping_add(1);
            }
            self.answered = self.answered.wrapping_add(1);
            return Some(told);
        }
        None
    }

    /// Whether the PDU was taken for the answer to a refusal before its `sequence_number` was in sight, and is it.
    #[inline(always)]
    fn settle_guess(&mut self, pdu: Sighting) -> bool {
        let guess = self.guess;
        let place = self.place(guess);
        if !place.is(Stage::Answered) || place.answer != pdu.start {
            return false;
        }
        if place.sequence == pdu.header.sequence {
            return true;
        }
        place.stage = Stage::Waiting as u32;
        self.answered = self.answered.wrapping_sub(1);
        self.unmatched = self.unmatched.wrapping_add(1);
        false
    }

    /// Messages whose refusals the server has still to answer, or never will.
    #[must_use]
    #[inline(always)]
    pub const fn outstanding(&self) -> u32 {
        self.refused.wrapping_sub(self.answered)
    }

    /// Makes an answer unheard, for a benchmark that hears it again.
    #[cfg(feature = "bench")]
    #[inline(always)]
    pub fn unhear(&mut self, index: usize) {
        if let Some(place) = self.places.get_mut(index)
            && place.is(Stage::Answered)
        {
            place.stage = Stage::Waiting as u32;
        }
    }

    /// Refusals that the server has not answered.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.places.iter().filter(|place| place.is(Stage::Waiting)).count()
    }
}

impl Refusal {
    #[inline(always)]
    fn disguise_passed<R: Rewrite>(&self, rewrite: &mut R) {
        if !self.is(Stage::Free) {
            self.disguise(rewrite);
        }
    }

    /// Whether a server answers a disguised message like this: to an `enquire_link`, to something it does not
    /// know, or, where it keeps to the `sequence_number` alone, to the message.
    #[inline(always)]
    const fn is_answer(&self, header: Header) -> bool {
        header.length == HEADER_BYTES as u32
            && (header.id == ENQUIRE_LINK_RESP
                || header.id == id::GENERIC_NACK
                || header.id == self.id | RESPONSE)
    }

    /// The answer has come. `false`: what would have to be changed of it has gone ahead, so it stays as it is.
    #[inline(always)]
    const fn take(&mut self, answer: Sighting) -> bool {
        let is_late = answer.held > first_changed(self.id == id::DATA_SM);
        self.answer = answer.start;
        self.stage = if is_late { Stage::Free as u32 } else { Stage::Answered as u32 };
        !is_late
    }
}

/// Where the refusal with that `sequence_number` has its place. Masked behind a veil: the optimiser would mask the octets before
/// it turns their order round, and the verifier of 6.1 knows nothing of a number that was turned.
#[inline(always)]
fn place_of(sequence: u32) -> usize {
    const { assert!(PLACES.is_power_of_two()) };
    (opaque(u64::from(sequence)) & (PLACES as u64 - 1)) as usize
}

/// The first octet of a message that is changed, and of its answer: the first in which their names differ from an
/// `enquire_link` and its response.
#[inline(always)]
pub(super) const fn first_changed(is_data_sm: bool) -> u32 {
    if is_data_sm { 6 } else { 7 }
}

/// Whether a stream ends within the octets of a PDU that a refusal changes.
#[must_use]
#[inline(always)]
pub const fn ends_within_changed(flow: &Flow) -> bool {
    let held = flow.main.end.wrapping_sub(flow.main.start);
    held != 0 && held < CHANGED
}

/// Whether the client's segment brings anything but the next octets, so that every refusal must be looked at.
#[must_use]
#[inline(always)]
pub const fn brings_old(flow: &Flow, segment: Segment) -> bool {
    segment.seq != flow.main.end
}

pod!(Refusal, Refusals);
