//! Sender IDs of messages on the host.

use edge_ebpf::abi::{CALLER_ID_DIGITS, policy_flag};
use edge_ebpf::stream::{Finding, PREFIX_BYTES, Sighting, Witness};
use edge_ebpf::wire::smpp::{Header, PREFIX_ROOM, Sender, sender};

use crate::fixtures::world::{ACME, is_of_digits};
use crate::host_segments::narrow;

/// What is known of the senders of the segment at hand.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Senders<'a> {
    /// Whose they may be; `None` if they are not checked.
    own: Option<&'a [&'static str]>,
    /// Messages of others.
    pub(crate) foreign: u32,
}

impl<'a> Senders<'a> {
    /// Those of an account whose policy has these flags; `own` are those of `acme`.
    pub(crate) const fn of(account: u32, flags: u32, own: &'a [&'static str]) -> Self {
        let is_checked = account != 0 && flags & policy_flag::SENDER_IDS_CHECKED != 0;
        let own = match (is_checked, account) {
            (true, ACME) => Some(own),
            (true, _) => Some([].as_slice()),
            (false, _) => None,
        };
        Self { own, foreign: 0 }
    }

    /// Whether a message, of which the first `held` octets are here, comes from somebody else.
    pub(crate) fn is_foreign(&self, pdu: &[u8; PREFIX_ROOM], held: u32) -> bool {
        let mut text = [0; CALLER_ID_DIGITS];
        let put =
            |index: usize, word: u64| text[8 * index..8 * index + 8].copy_from_slice(&word.to_le_bytes());
        let Some(own) = self.own else { return false };
        match sender(pdu, held.min(narrow(PREFIX_BYTES)), put) {
            Sender::Named => {}
            Sender::Unreadable => return true,
            Sender::Cut | Sender::Empty => return false,
        }
        !own.iter().any(|id| {
            let ends = is_of_digits(id) || text.get(id.len()) == Some(&0);
            text.starts_with(id.as_bytes()) && ends
        })
    }

    /// Counts a message that does.
    pub(crate) fn note(&mut self, pdu: &[u8; PREFIX_ROOM], length: u32) {
        self.foreign += u32::from(self.is_foreign(pdu, length));
    }
}

impl Witness for Senders<'_> {
    fn see(&mut self, _pdu: Sighting, _octets: &[u8; PREFIX_ROOM]) -> Result<(), Finding> {
        Ok(())
    }

    fn read(&mut self, _start: u32, header: Header, octets: &[u8; PREFIX_ROOM]) {
        self.note(octets, header.length);
    }
}
