//! Delivery receipts: where they lie in the server's segment, and what they say of messages.
//!
//! A receipt is a `deliver_sm` or a `data_sm` whose `esm_class` says so (SMPP 3.4, 5.2.12). The state of the message is in the
//! parameter `message_state` (5.3.2.35) or, as nearly all servers write it, in a text of the form of appendix B:
//! `stat:DELIVRD`.
//!
//! One that the segment's end cuts is kept as far as it is there, and read with the next segment ([`CutReceipt`]).

mod cut;

use core::ops::ControlFlow;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

pub use self::cut::{CUT_BYTES, CutReceipt};
use crate::abi::{ADDRESS_BYTES, ReceiptKind};
use crate::stream::{Flow, Segment, Sighting, Walk};
use crate::verifier::{self, SCRATCH_BYTES, SCRATCH_MASK, byte, forgotten, opaque, word};
use crate::wire::number;
use crate::wire::smpp::{HEADER_BYTES, Header, id, leading_signs, string_length};

/// Receipts of one segment that can be read. A full segment of 1448 octets holds about ten; those beyond are counted in
/// [`Receipts::missed`].
pub const RECEIPTS_MAX: usize = 64;
/// Parameters of one receipt that are looked at; servers send two or three.
pub const PARAMETERS_MAX: u32 = 16;
/// Turns in which any text of a `short_message` is searched (254 octets, SMPP 3.4, 5.2.22), eight octets each.
pub const TEXT_STEPS: u32 = 32;

/// Bits of `esm_class` that say what a message is, and what they are in a delivery receipt (SMPP 3.4, 5.2.12).
const MESSAGE_TYPE: u8 = 0x3c;
const DELIVERY_RECEIPT: u8 = 0x04;
/// Tag of `message_state` (SMPP 3.4, 5.3.2.35).
const MESSAGE_STATE: u32 = 0x0427;
/// Tag of `message_payload` (SMPP 3.4, 5.3.2.32): the text, where `short_message` is empty or, in a `data_sm`, not there.
const MESSAGE_PAYLOAD: u32 = 0x0424;
/// Sets the case of letters in a word.
const LOWER: u32 = 0x2020_2020;
const STAT: u32 = u32::from_le_bytes(*b"stat");

/// Where one lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Place {
    /// Of its first octet in the frame.
    pub offset: u32,
    /// Its `command_length`; of a rest, all that the segment has from there on.
    pub length: u32,
    /// Its `command_id`; 0 is none, where it is the rest of one that was cut.
    pub id: u32,
}

impl Place {
    /// Whether its beginning lies in [`CutReceipt`].
    #[must_use]
    #[inline(always)]
    pub const fn is_rest(&self) -> bool {
        self.id == 0
    }
}

/// The `deliver_sm` and `data_sm` of one segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Receipts {
    /// Whom they are for.
    pub account: u32,
    /// How many of `list` are in use.
    pub used: u32,
    /// Those that lie in more than two segments, or in two of which the second is not the next in order, or found no room.
    pub missed: u32,
    /// Sequence number of the octet behind what is kept of one.
    pub next: u32,
    /// That which the segment's end cuts; none if it has no length.
    pub cut: Place,
    /// In the order of the stream.
    pub list: [Place; RECEIPTS_MAX],
}

impl Receipts {
    /// None yet.
    #[inline(always)]
    pub fn clear(&mut self) {
        self.used = opaque(0) as u32;
        self.missed = opaque(0) as u32;
        self.cut.length = opaque(0) as u32;
    }

    /// Whether there are any.
    #[must_use]
    #[inline(always)]
    pub const fn are_any(&self) -> bool {
        self.used | self.missed | self.cut.length != 0
    }

    /// Notes a PDU whose header is whole, if it may be a receipt.
    #[inline(always)]
    pub fn take(&mut self, segment: Segment, pdu: Sighting) {
        let Header { length, id, .. } = pdu.header;
        if id != id::DELIVER_SM && id != id::DATA_SM {
            return;
        }
        // Before the segment, where that brings the rest of the header: of the header nothing more is read.
        let at = pdu.start.wrapping_sub(segment.seq);
        let place = Place { offset: segment.payload.wrapping_add(at), length, id };
        let seen = segment.len.wrapping_sub(at);
        if length <= seen {
            self.put(place);
        } else if self.cut.length == 0 && seen <= CUT_BYTES as u32 {
            self.cut = place;
        } else {
            self.missed += 1;
        }
    }

    /// Moves the flow on with its segment, and takes up what the end of the segment before has cut.
    #[inline(always)]
    pub fn commit(&mut self, walk: &Walk, flow: &mut Flow) {
        let (was_cut, end) = (flow.cut, flow.main.end);
        walk.commit(flow);
        if was_cut | self.cut.length == 0 {
            return;
        }
        let segment = walk.segment();
        if was_cut != 0 && (flow.main.end != end || !flow.is_synchronised()) {
            flow.cut = 0;
            self.next = end;
            let at = end.wrapping_sub(segment.seq);
            if at < segment.len {
                self.put(Place { offset: segment.payload + at, length: segment.len - at, id: 0 });
            } else {
                self.missed += 1;
            }
        }
        if self.cut.length != 0 {
            // Not so where it goes ahead, on an island.
            let is_next = flow.is_synchronised() && flow.main.end == segment.seq.wrapping_add(segment.len);
            if is_next {
                flow.cut = 1;
            } else {
                self.cut.length = 0;
                self.missed += 1;
            }
        }
    }

    #[inline(always)]
    fn put(&mut self, place: Place) {
        let index = opaque(u64::from(self.used)) as usize;
        match self.list.get_mut(index) {
            Some(free) => {
                *free = place;
                self.used += 1;
            }
            None => self.missed += 1,
        }
    }
}

/// What a receipt says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The state of the message.
    pub kind: ReceiptKind,
    /// The beginning of the number that the message went to, as [`number::prefix`] gives it; 0 where that is no number.
    pub prefix: u32,
}

/// Where one is read. In map memory in the kernel, so that the verifier sees one way where there are many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ReceiptReading {
    /// Octets of it that are there.
    held: u32,
    /// Where the next field, parameter or part of the text begins.
    at: u32,
    /// Where the text begins and ends.
    text: u32,
    text_end: u32,
    /// See [`Receipt::prefix`].
    prefix: u32,
    /// [`ReceiptKind`] as integer: unread until it is known.
    kind: u32,
    /// The octets: the beginning of the PDU, for the caller to fill in.
    pub pdu: [u8; SCRATCH_BYTES],
}

impl ReceiptReading {
    /// Octets of a PDU that are read at most.
    pub const HELD_MAX: u32 = SCRATCH_MASK + 1;

    /// Puts there what is kept of a PDU that was cut.
    #[inline(always)]
    pub fn resume(&mut self, kept: &CutReceipt) {
        verifier::put_front(&mut self.pdu, &kept.octets);
    }

    /// Begins to read a PDU of which the first `held` octets are there. Whether it is a receipt.
    #[inline(always)]
    pub fn begin(&mut self, command_id: u32, held: u32, digits: u32) -> bool {
        self.held = held;
        forgotten(&mut self.kind, ReceiptKind::Unread as u32);
        forgotten(&mut self.prefix, 0);
        // service_type.
        forgotten(&mut self.at, HEADER_BYTES as u32);
        if !self.skip_string() {
            return false;
        }
        // source_addr_ton, source_addr_npi: of a receipt the source is whom the message went to.
        self.skip(2);
        self.read_prefix(digits);
        // dest_addr_ton, dest_addr_npi.
        if !self.skip_string() {
            return false;
        }
        self.skip(2);
        if !self.skip_string() || byte(&self.pdu, self.at) & MESSAGE_TYPE != DELIVERY_RECEIPT {
            return false;
        }
        // esm_class, protocol_id, priority_flag; of a data_sm esm_class, registered_delivery, data_coding (4.7.1).
        self.skip(3);
        let mut length = 0;
        if command_id == id::DELIVER_SM {
            // schedule_delivery_time, validity_period.
            if !self.skip_string() || !self.skip_string() {
                return false;
            }
            // registered_delivery, replace_if_present_flag, data_coding, sm_default_msg_id; sm_length.
            length = u32::from(byte(&self.pdu, self.at + 4));
            self.skip(5);
        }
        if self.at > self.held {
            return false;
        }
        let (text, end) = (self.at, self.at + length);
        forgotten(&mut self.text, text);
        forgotten(&mut self.text_end, if end < self.held { end } else { self.held });
        forgotten(&mut self.at, end);
        true
    }

    /// Looks at the next parameter; breaks when no more is to be looked at.
    #[inline(always)]
    pub fn parameter_step(&mut self) -> ControlFlow<()> {
        let at = self.at;
        if at + 4 > self.held {
            return ControlFlow::Break(());
        }
        let head = word(&self.pdu, at).swap_bytes();
        let (tag, length) = ((head >> 48) as u32, (head >> 32) as u32 & 0xffff);
        let end = at + 4 + length;
        if end > self.held {
            return ControlFlow::Break(());
        }
        if tag == MESSAGE_STATE && length == 1 {
            let kind = ReceiptKind::of(byte(&self.pdu, at + 4));
            forgotten(&mut self.kind, kind as u32);
            return ControlFlow::Break(());
        }
        if tag == MESSAGE_PAYLOAD && self.text == self.text_end {
            forgotten(&mut self.text, at + 4);
            forgotten(&mut self.text_end, end);
        }
        forgotten(&mut self.at, end);
        ControlFlow::Continue(())
    }

    /// Begins to search the text.
    #[inline(always)]
    pub fn begin_text(&mut self) {
        let text = self.text;
        forgotten(&mut self.at, text);
    }

    /// Searches its next eight octets; breaks when nothing more is to be searched.
    #[inline(always)]
    pub fn text_step(&mut self) -> ControlFlow<()> {
        let at = self.at;
        if self.kind != ReceiptKind::Unread as u32 || at + 9 > self.text_end {
            return ControlFlow::Break(());
        }
        let (low, high) = (word(&self.pdu, at), word(&self.pdu, at + 8));
        let mut found = u32::MAX;
        for index in 0..8_u32 {
            let from = if index == 0 { low } else { low >> (8 * index) | high << (64 - 8 * index) };
            if from as u32 | LOWER == STAT && (from >> 32) as u8 == b':' {
                found = index;
            }
        }
        if found != u32::MAX {
            if at + found + 9 <= self.text_end {
                let word = word(&self.pdu, at + found + 5) as u32 | LOWER;
                forgotten(&mut self.kind, ReceiptKind::of_word(word) as u32);
            }
            return ControlFlow::Break(());
        }
        forgotten(&mut self.at, at + 8);
        ControlFlow::Continue(())
    }

    /// What it says.
    #[must_use]
    #[inline(always)]
    pub const fn receipt(&self) -> Receipt {
        let kind = match ReceiptKind::from_index(self.kind as usize) {
            Some(kind) => kind,
            None => ReceiptKind::Unread,
        };
        Receipt { kind, prefix: self.prefix }
    }

    /// Reads a whole PDU with plain loops: the host's version of what the kernel does with `bpf_loop`. `None` if it is no
    /// receipt.
    #[cfg(not(target_arch = "bpf"))]
    pub fn read(&mut self, command_id: u32, pdu: &[u8], digits: u32) -> Option<Receipt> {
        let held = pdu.len().min(Self::HELD_MAX as usize);
        self.pdu[..held].copy_from_slice(&pdu[..held]);
        if !self.begin(command_id, held as u32, digits) {
            return None;
        }
        for _ in 0..PARAMETERS_MAX {
            if self.parameter_step().is_break() {
                break;
            }
        }
        self.begin_text();
        for _ in 0..TEXT_STEPS {
            if self.text_step().is_break() {
                break;
            }
        }
        Some(self.receipt())
    }

    #[inline(always)]
    fn skip(&mut self, octets: u32) {
        let at = self.at + octets;
        forgotten(&mut self.at, at);
    }

    /// Over a C-octet string of at most 24 with its zero. `false` if it does not end within what is there.
    #[inline(always)]
    fn skip_string(&mut self) -> bool {
        let at = self.at;
        let length = string_length(|after| word(&self.pdu, at + after));
        self.skip(length + 1);
        length < ADDRESS_BYTES as u32 && self.at <= self.held
    }

    #[inline(always)]
    fn read_prefix(&mut self, digits: u32) {
        let mut text = word(&self.pdu, self.at);
        let signs = leading_signs(text);
        if signs != 0 {
            text = word(&self.pdu, self.at + signs);
        }
        if let Some(prefix) = number::prefix(text, digits) {
            forgotten(&mut self.prefix, prefix);
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on panics where it stands")]
mod tests;
