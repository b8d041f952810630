//! First octets of the messages that leave a record, kept while their segment is judged.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::Sample;
use crate::stream::PREFIX_BYTES;
use crate::verifier::{copy_prefix, opaque};
use crate::wire::smpp::{Header, PREFIX_ROOM};

/// Messages of one segment that can leave a record. A full segment holds about twenty messages with a text; those beyond are
/// counted in [`Excerpts::missed`].
pub const EXCERPTS_MAX: usize = 32;

/// The first octets of one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Excerpt {
    /// `command_id`.
    pub id: u32,
    /// `sequence_number`.
    pub sequence: u32,
    /// How many of the octets are its own.
    pub held: u32,
    /// Reserved, zero.
    reserved: u32,
    /// The octets.
    pub octets: [u8; PREFIX_BYTES],
}

/// Those of one segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Excerpts {
    /// Which messages.
    pub sample: Sample,
    /// How many of `list` are in use.
    pub used: u32,
    /// Messages that found no room.
    pub missed: u32,
    /// In the order of the stream.
    pub list: [Excerpt; EXCERPTS_MAX],
}

impl Excerpts {
    /// None yet.
    #[inline(always)]
    pub fn clear(&mut self) {
        self.used = opaque(0) as u32;
        self.missed = opaque(0) as u32;
    }

    /// Keeps the first octets of a message, if it leaves a record.
    #[inline(always)]
    pub fn take(&mut self, header: Header, pdu: &[u8; PREFIX_ROOM]) {
        if !self.sample.takes(header.sequence) {
            return;
        }
        let index = opaque(u64::from(self.used)) as usize;
        let Some(excerpt) = self.list.get_mut(index) else {
            self.missed += 1;
            return;
        };
        excerpt.id = header.id;
        excerpt.sequence = header.sequence;
        excerpt.held = if header.length < PREFIX_BYTES as u32 { header.length } else { PREFIX_BYTES as u32 };
        copy_prefix(&mut excerpt.octets, pdu);
        self.used += 1;
    }
}
