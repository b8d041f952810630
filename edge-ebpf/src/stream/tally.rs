//! What a segment brings: counted on scratch, charged and added to the account only if it is let through.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::abi::{Command, SystemId};
use crate::verifier::opaque;
use crate::wire::smpp::{Header, Kind};

/// Runs of called prefixes that one segment can report. A full segment of 1448 octets holds 44 of the
/// smallest messages, or 15 to many of whom four are in sight; what a larger one has beyond this is counted in
/// [`Tally::called_missed`].
pub const CALLED_MAX: usize = 64;

/// Bits of [`Tally::enquiries`].
mod enquiry {
    pub(super) const ASKED: u32 = 1;
    pub(super) const ANSWERED: u32 = 2;
}

/// Consecutive messages to one called prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Called {
    /// See [`crate::wire::number::prefix`].
    pub prefix: u32,
    /// Messages.
    pub count: u32,
}

/// The PDUs whose headers a segment completes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Tally {
    /// Messages, by PDU.
    pub submits: u32,
    /// Destinations of `submit_multi` beyond the first of each: a message each, too.
    pub destinations: u32,
    /// Messages that may be in octets whose framing is not known.
    pub unread: u32,
    /// What it costs in `smpp.bind`.
    pub binds: u32,
    /// Bit `n`: `commands[n]` is not 0.
    pub commands_seen: u32,
    /// Index of the last PDU's command, where there is one.
    pub command_last: u32,
    /// How many of `called` are in use.
    pub called_used: u32,
    /// Messages whose prefix found no room in `called`.
    pub called_missed: u32,
    /// `command_id` of the last bind whose `system_id` the segment completes; 0 if there is none.
    pub bind_command: u32,
    /// Its `sequence_number`.
    pub bind_sequence: u32,
    /// Its `system_id` in memory's order, zero-padded.
    pub bind_system_id: [u32; 4],
    /// Whether the segment completes headers of `enquire_link` and of answers to them: any `sequence_number` may be theirs, so
    /// that none says that there are none. Bits of [`enquiry`].
    pub enquiries: u32,
    /// `sequence_number` of the last `enquire_link`; valid with its bit.
    pub enquired: u32,
    /// That of the last answer to one; valid with its bit.
    pub enquiry_answered: u32,
    /// PDUs by [`Command`]; valid where `commands_seen` has its bit.
    pub commands: [u32; Command::SLOTS],
    /// Called prefixes of messages whose first octets the segment completes.
    pub called: [Called; CALLED_MAX],
}

impl Tally {
    /// PDUs of one command.
    #[must_use]
    #[inline(always)]
    pub fn command(&self, command: Command) -> u32 {
        if self.commands_seen & (1 << command.index()) == 0 { 0 } else { self.commands[command.index()] }
    }

    /// The `system_id` of the last bind.
    #[must_use]
    pub fn bind_system_id(&self) -> SystemId {
        zerocopy::transmute!(self.bind_system_id)
    }

    /// The called prefixes, in the order of the stream.
    #[must_use]
    pub fn called(&self) -> &[Called] {
        self.called.get(..self.called_used as usize).unwrap_or(&[])
    }

    /// Whether there is an `enquire_link`.
    #[must_use]
    #[inline(always)]
    pub const fn enquires(&self) -> bool {
        self.enquiries & enquiry::ASKED != 0
    }

    /// Whether there is an answer to one.
    #[must_use]
    #[inline(always)]
    pub const fn answers_enquiry(&self) -> bool {
        self.enquiries & enquiry::ANSWERED != 0
    }

    /// Nothing yet. Leaves what the bits and numbers say is not in use as it is: clearing it would cost more
    /// than reading the PDU.
    #[inline(always)]
    pub(super) fn clear(&mut self) {
        // Words in one go would become a call to clear them byte by byte.
        self.submits = opaque(0) as u32;
        self.destinations = opaque(0) as u32;
        self.unread = opaque(0) as u32;
        self.binds = opaque(0) as u32;
        self.commands_seen = opaque(0) as u32;
        self.called_used = opaque(0) as u32;
        self.called_missed = opaque(0) as u32;
        self.bind_command = opaque(0) as u32;
        self.enquiries = opaque(0) as u32;
    }

    /// Counts a PDU by the index of its [`Command`].
    #[inline(always)]
    pub(super) fn count(&mut self, command: u32) {
        let kind = Kind::from_index(command);
        let bit = 1_u32 << (command & 31);
        if let Some(slot) = self.commands.get_mut(command as usize) {
            let before = if self.commands_seen & bit == 0 { 0 } else { *slot };
            *slot = before + 1;
        }
        self.commands_seen |= bit;
        self.command_last = command;
        self.submits += u32::from(kind.is_submit());
        self.binds += u32::from(kind.is_bind());
    }

    /// Its header is whole.
    #[inline(always)]
    pub(super) const fn note_enquiry(&mut self, kind: Kind, header: Header) {
        if kind.is(Command::EnquireLink) {
            self.enquired = header.sequence;
            self.enquiries |= enquiry::ASKED;
        } else if kind.is(Command::EnquireLinkResp) {
            self.enquiry_answered = header.sequence;
            self.enquiries |= enquiry::ANSWERED;
        }
    }

    #[inline(always)]
    pub(super) fn note_bind(&mut self, header: Header, system_id: [u64; 2]) {
        let [first, second] = system_id;
        self.bind_command = header.id;
        self.bind_sequence = header.sequence;
        self.bind_system_id = [first as u32, (first >> 32) as u32, second as u32, (second >> 32) as u32];
    }

    #[inline(always)]
    pub(super) fn count_called(&mut self, prefix: u32) {
        let used = self.called_used as usize;
        if let Some(last) = self.called.get_mut(used.wrapping_sub(1))
            && last.prefix == prefix
        {
            last.count += 1;
        } else if let Some(next) = self.called.get_mut(used) {
            *next = Called { prefix, count: 1 };
            self.called_used += 1;
        } else {
            self.called_missed += 1;
        }
    }
}
