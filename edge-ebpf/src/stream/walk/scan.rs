//! The search for a header, where the place of the next one is not known.
//!
//! A header is believed only if nothing before it in the segment may be a message's. That way what is passed over unread holds
//! no message: servers take headers that are none by the specification, so a plausible one says little of what stands before
//! it.

use core::ops::ControlFlow;

use super::{ASTRAY, Finding, HEADER, MAIN, Next, PREFIX, Walk};
use crate::packet::Packet;
use crate::wire::smpp::{self, Header};

impl Walk {
    /// Looks at one place for a header.
    #[inline(always)]
    pub fn scan_step<P: Packet + ?Sized>(&mut self, packet: &P) -> ControlFlow<()> {
        let room = self.limit.wrapping_sub(self.seq);
        let at = self.scan_at;
        if at + HEADER > room {
            return ControlFlow::Break(());
        }
        let Ok((first, second)) = self.header_words(packet, at) else {
            return ControlFlow::Break(());
        };
        // The first octet of a length is zero: text without zeros is passed over eight octets at a time.
        let zero = smpp::first_zero(first.swap_bytes());
        if zero != 0 {
            self.scan_at = at + zero;
            return ControlFlow::Continue(());
        }
        let header = Header::from_words(first, second);
        if self.names == 0
            && self.target != ASTRAY
            && header.is_plausible()
            && self.next_is_plausible(packet, at + header.length, room)
        {
            self.scan_found = 1;
            return ControlFlow::Break(());
        }
        self.names += header.messages_at_most();
        self.scan_at = at + 1;
        ControlFlow::Continue(())
    }

    /// What the scan means.
    #[inline(always)]
    pub fn scanned<P: Packet + ?Sized>(&mut self, packet: &P) {
        let next = self.begin_scanned(packet);
        self.next = next as u32;
    }

    #[inline(always)]
    fn begin_scanned<P: Packet + ?Sized>(&mut self, packet: &P) -> Next {
        let is_main = self.target == MAIN;
        if self.scan_found == 0 {
            if is_main || self.target == ASTRAY {
                return self.unsynchronised();
            }
            return self.done(Finding::BeyondHole);
        }
        self.begun = 1;
        self.end = self.seq;
        self.start = self.seq.wrapping_add(self.scan_at);
        if !is_main {
            let len = self.limit.wrapping_sub(self.seq).min(PREFIX);
            if packet.copy_to(self.payload as usize, &mut self.head, len as usize).is_err() {
                return self.done(Finding::Truncated);
            }
        }
        self.go()
    }

    /// The segment costs what it names, one more whose name its beginning may have cut, and what the scan did not reach by
    /// its length.
    #[inline(always)]
    fn unsynchronised(&mut self) -> Next {
        let unseen = self.limit.wrapping_sub(self.seq).wrapping_sub(self.scan_at);
        let unseen = if unseen < HEADER { 0 } else { smpp::messages_in(unseen) };
        self.tally.unread = 1 + self.names + unseen;
        self.done(Finding::Unsynchronised)
    }

    #[inline(always)]
    fn next_is_plausible<P: Packet + ?Sized>(&mut self, packet: &P, at: u32, room: u32) -> bool {
        if at + HEADER > room {
            return true;
        }
        self.header_words(packet, at)
            .is_ok_and(|(first, second)| Header::from_words(first, second).is_plausible())
    }

    #[inline(always)]
    pub(super) fn scan(&mut self) -> Next {
        self.scan_at = 0;
        self.scan_found = 0;
        self.names = 0;
        Next::Scan
    }
}
