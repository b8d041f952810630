//! What the server says to the messages that leave a record, kept while its segment is heard.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::Sample;
use crate::verifier::opaque;

/// Answers of one segment that can become records; a full segment of 1448 octets holds 85. Those beyond are counted in
/// [`Answers::missed`].
pub const ANSWERS_MAX: usize = 96;

/// One answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Answer {
    /// `sequence_number`.
    pub sequence: u32,
    /// `command_status`, as the client gets it.
    pub status: u32,
    /// Not 0 if the server never saw the message.
    pub refused: u32,
}

/// Those of one segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Answers {
    /// Which messages.
    pub sample: Sample,
    /// How many of `list` are in use.
    pub used: u32,
    /// Answers that found no room.
    pub missed: u32,
    /// In the order of the stream.
    pub list: [Answer; ANSWERS_MAX],
}

impl Answers {
    /// None yet.
    #[inline(always)]
    pub fn clear(&mut self) {
        self.used = opaque(0) as u32;
        self.missed = opaque(0) as u32;
    }

    /// Keeps an answer, if its message leaves a record.
    #[inline(always)]
    pub fn take(&mut self, sequence: u32, status: u32, to_refusal: bool) {
        if !self.sample.takes(sequence) {
            return;
        }
        let index = opaque(u64::from(self.used)) as usize;
        let Some(answer) = self.list.get_mut(index) else {
            self.missed += 1;
            return;
        };
        *answer = Answer { sequence, status, refused: u32::from(to_refusal) };
        self.used += 1;
    }
}
