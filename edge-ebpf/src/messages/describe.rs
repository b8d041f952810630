//! What a record says of a message, read from its first octets (SMPP 3.4, 4.4.1, 4.5.1, 4.7.1).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::Excerpt;
use crate::abi::{ADDRESS_BYTES, DATA_CODING_UNKNOWN, MessageAddress, MessageNote};
use crate::verifier::{append, forgotten, prefix_byte, prefix_word};
use crate::wire::smpp::{
    ADDRESS_WORDS, DEST_FLAG_ADDRESS, HEADER_BYTES, PREFIX_ROOM, first_zero, id, lowest, string_length,
};

/// `esm_class`: the text begins with a user data header (SMPP 3.4, 5.2.12).
const UDH_INDICATOR: u8 = 0x40;
/// Information elements of concatenated messages, with references of 8 and 16 bits (3GPP TS 23.040, 9.2.3.24).
const CONCATENATED: [u8; 2] = [0x00, 0x03];
const CONCATENATED_16: [u8; 2] = [0x08, 0x04];

/// Where a message is read. In map memory in the kernel, so that the verifier sees one way where there are many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Reading {
    /// How many octets there are.
    held: u32,
    /// Where the next field begins.
    at: u32,
    /// The octets.
    pdu: [u8; PREFIX_ROOM],
}

impl Reading {
    /// Whether the next `octets` are there.
    #[inline(always)]
    fn has(&self, octets: u32) -> bool {
        self.at + octets <= self.held
    }

    /// The octet that many behind the next field's beginning.
    #[inline(always)]
    fn octet(&self, after: u32) -> u8 {
        prefix_byte(&self.pdu, self.at + after)
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
        let length = string_length(|after| prefix_word(&self.pdu, at + after));
        self.skip(length + 1);
        length < ADDRESS_BYTES as u32 && self.has(0)
    }

    /// An address: type, plan, and text. `false` if it is not there as a whole, and then nothing is written.
    #[inline(always)]
    fn address(&mut self, address: &mut MessageAddress) -> bool {
        if !self.has(3) {
            return false;
        }
        let text_at = self.at + 2;
        let (ton, npi) = (self.octet(0), self.octet(1));
        self.skip(2);
        if !self.skip_string() {
            return false;
        }
        address.ton = u32::from(ton);
        address.npi = u32::from(npi);
        let mut ended = false;
        for index in 0..ADDRESS_WORDS {
            let word = prefix_word(&self.pdu, text_at + 8 * index as u32);
            let length = first_zero(word);
            let kept = if ended { 0 } else { lowest(word, length) };
            ended |= length < 8;
            if let Some((octets, _)) = address.text[8 * index..].split_first_chunk_mut() {
                *octets = kept.to_le_bytes();
            }
        }
        true
    }
}

/// Fills in a note what the excerpt says; its account and its time are the caller's. What is not in sight stays empty.
#[inline(always)]
pub fn describe(reading: &mut Reading, excerpt: &Excerpt, note: &mut MessageNote) {
    clear(note);
    note.command = excerpt.id;
    reading.held = if excerpt.held < PREFIX_ROOM as u32 { excerpt.held } else { 0 };
    append(&mut reading.pdu, 0, &excerpt.octets);
    forgotten(&mut reading.at, HEADER_BYTES as u32);
    // service_type.
    if !reading.skip_string() || !reading.address(&mut note.from) {
        return;
    }
    let is_multi = excerpt.id == id::SUBMIT_MULTI;
    if is_multi {
        if !reading.has(2) {
            return;
        }
        note.destinations = u32::from(reading.octet(0));
        if reading.octet(1) != DEST_FLAG_ADDRESS {
            return;
        }
        reading.skip(2);
    }
    if !reading.address(&mut note.to) || is_multi && note.destinations != 1 {
        return;
    }
    if !reading.has(1) {
        return;
    }
    let esm_class = reading.octet(0);
    if excerpt.id == id::DATA_SM {
        // esm_class, registered_delivery.
        if reading.has(3) {
            note.data_coding = u32::from(reading.octet(2));
        }
        return;
    }
    // esm_class, protocol_id, priority_flag; schedule_delivery_time, validity_period.
    reading.skip(3);
    if !reading.skip_string() || !reading.skip_string() || !reading.has(3) {
        return;
    }
    // registered_delivery, replace_if_present_flag.
    note.data_coding = u32::from(reading.octet(2));
    if esm_class & UDH_INDICATOR == 0 {
        return;
    }
    // sm_default_msg_id, sm_length, and the length of the user data header.
    reading.skip(6);
    if !reading.has(5) {
        return;
    }
    let element = [reading.octet(0), reading.octet(1)];
    if element == CONCATENATED {
        note.parts = u32::from(reading.octet(3));
        note.part = u32::from(reading.octet(4));
    } else if element == CONCATENATED_16 && reading.has(6) {
        note.parts = u32::from(reading.octet(4));
        note.part = u32::from(reading.octet(5));
    }
}

/// Word by word: more at once would become a call that writes octets.
#[inline(always)]
fn clear(note: &mut MessageNote) {
    for address in [&mut note.from, &mut note.to] {
        for index in 0..ADDRESS_WORDS {
            if let Some((octets, _)) = address.text[8 * index..].split_first_chunk_mut::<8>() {
                crate::verifier::zero(octets);
            }
        }
        crate::verifier::zero(&mut address.ton);
        crate::verifier::zero(&mut address.npi);
    }
    note.destinations = 1;
    note.data_coding = DATA_CODING_UNKNOWN;
    crate::verifier::zero(&mut note.part);
    crate::verifier::zero(&mut note.parts);
}
