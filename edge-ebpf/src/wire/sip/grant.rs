//! For how long a registrar has accepted what it accepted: the `expires` parameters of Contact in the 200, or else its
//! Expires header (RFC 3261 10.2.1.1, 10.3 step 8).
//!
//! A machine with explicit steps, as the parser: [`Scratch::begin_grants`], then [`Scratch::grant`] until it breaks, then
//! [`Scratch::granted_s`].

use core::ops::ControlFlow;

use super::Scratch;
use crate::verifier::{byte, word};
use crate::wire::words::{LOW_56, exact_zero_bytes, lane, lowest_bit, repeated, text};

/// Most steps of the walk: header lines, and words and marks of Contacts.
pub const GRANT_STEPS_MAX: u32 = 512;

/// Characters in `expires`, and in `contact`.
const NAME_BYTES: u32 = 7;

/// Where the walk is, as [`Scratch`] keeps it.
mod at {
    /// At the start of a line.
    pub(super) const LINE: u32 = 0;
    /// In a Contact, outside of what may hold semicolons of its own.
    pub(super) const CONTACT: u32 = 1;
    /// In a quoted name.
    pub(super) const QUOTED: u32 = 2;
    /// In a URI, whose parameters are not Contact's.
    pub(super) const BRACKETED: u32 = 3;
}

/// The walk's state. What was granted is in seconds plus one, and 0 where nothing was said.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct Grants {
    /// Of [`at`].
    walk: u32,
    /// Where the Contact at hand ends, behind its LF.
    end: u32,
    /// By the Contact of which it is longest.
    contact: u32,
    /// By the Expires header.
    header: u32,
}

impl Grants {
    /// Before the walk.
    #[cfg(not(target_arch = "bpf"))]
    pub(super) const NONE: Self = Self { walk: at::LINE, end: 0, contact: 0, header: 0 };
}

impl Scratch {
    /// Starts the walk.
    #[inline(always)]
    pub fn begin_grants(&mut self) {
        self.position = self.headers_at;
        self.grants.walk = at::LINE;
        self.grants.contact = 0;
        self.grants.header = 0;
    }

    /// One step of the walk. Breaks where the headers are over, or cannot be read on.
    #[inline(always)]
    pub fn grant(&mut self) -> ControlFlow<()> {
        if self.grants.walk != at::LINE {
            self.grant_in_contact();
            return ControlFlow::Continue(());
        }
        let start = self.position;
        let first = word(&self.bytes, start);
        let Some(end) = self.line_end(start) else { return ControlFlow::Break(()) };
        if first & 0xff == u64::from(b'\r') {
            return ControlFlow::Break(());
        }
        self.position = end + 1;
        let name = first & LOW_56 | text(b"       \0");
        let is_named = self.colon_follows(start + NAME_BYTES);
        if name == text(b"expires\0") && is_named {
            self.grants.header = self.seconds_at(start + NAME_BYTES);
        } else if name == text(b"contact\0") && is_named
            // The compact form (RFC 3261 7.3.3).
            || first & 0xff | 0x20 == u64::from(b'm') && self.colon_follows(start + 1)
        {
            self.position = start + 1;
            self.grants.end = end + 1;
            self.grants.walk = at::CONTACT;
        }
        ControlFlow::Continue(())
    }

    /// Seconds that were granted to the binding that lasts longest; `None` where nothing is said of it.
    #[must_use]
    #[inline(always)]
    pub const fn granted_s(&self) -> Option<u32> {
        let told = if self.grants.contact != 0 { self.grants.contact } else { self.grants.header };
        told.checked_sub(1)
    }

    /// The next eight characters of a Contact, or those to the next that means something.
    #[inline(always)]
    fn grant_in_contact(&mut self) {
        let (position, end) = (self.position, self.grants.end);
        if position >= end {
            return self.leave_contact();
        }
        let here = word(&self.bytes, position);
        let marked = |mark: u8| exact_zero_bytes(here ^ repeated(mark));
        let marks = match self.grants.walk {
            at::CONTACT => marked(b'"') | marked(b'<') | marked(b';'),
            at::QUOTED => marked(b'"') | marked(b'\\'),
            _ => marked(b'>'),
        };
        if marks == 0 {
            self.position = position + 8;
            return;
        }
        let mark = position + lane(lowest_bit(marks));
        self.position = mark + 1;
        if mark >= end {
            return;
        }
        match byte(&self.bytes, mark) {
            b';' => {
                let name = self.value_at(mark + 1);
                let equals = self.value_at(name + NAME_BYTES);
                if word(&self.bytes, name) & LOW_56 | text(b"       \0") == text(b"expires\0")
                    && byte(&self.bytes, equals) == b'='
                {
                    let told = self.seconds_at(equals + 1);
                    self.grants.contact = if told > self.grants.contact { told } else { self.grants.contact };
                }
            }
            // What is escaped ends nothing (RFC 3261 25.1, quoted-pair).
            b'\\' => self.position = mark + 2,
            b'<' => self.grants.walk = at::BRACKETED,
            b'"' if self.grants.walk == at::CONTACT => self.grants.walk = at::QUOTED,
            _ => self.grants.walk = at::CONTACT,
        }
    }

    /// Behind a line: the Contact goes on where it is folded (RFC 3261 7.3.1).
    #[inline(always)]
    fn leave_contact(&mut self) {
        let start = self.grants.end;
        self.position = start;
        self.grants.walk = at::LINE;
        if matches!(byte(&self.bytes, start), b' ' | b'\t')
            && let Some(end) = self.line_end(start)
        {
            self.grants.end = end + 1;
            self.grants.walk = at::CONTACT;
        }
    }

    /// A number of seconds behind a colon or a sign of equality, plus one; 0 where there is none.
    #[inline(always)]
    fn seconds_at(&self, position: u32) -> u32 {
        let value = self.value_at(position);
        let (seconds, end) = self.number_and_end(value);
        if end == value { 0 } else { seconds.saturating_add(1) }
    }
}

#[cfg(test)]
mod tests {
    use crate::wire::sip::{Reading, read};

    fn granted(headers: &str) -> Option<u32> {
        let message = format!(
            "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nTo: <sip:1@h>;tag=1\r\nCall-ID: c\r\n\
             CSeq: 1 REGISTER\r\n{headers}\r\nContent-Length: 0\r\n\r\nExpires: 99\r\n"
        );
        let reading = Reading { hash_key: 1, source_key: 0, prefix_digits: 5, hears: true, answers: false };
        read(message.as_bytes(), reading).read_grants()
    }

    #[test]
    fn the_longest_that_was_granted_is_read() {
        let cases = [
            ("Contact: <sip:1@203.0.113.7>;expires=60", Some(60)),
            ("contact : sip:1@203.0.113.7;q=0.5 ; EXPIRES = 3600;x", Some(3600)),
            ("m:<sip:1@h:5060;ob>;+sip.instance=\"<urn:uuid:1>\";expires=120", Some(120)),
            ("Contact: <sip:1@h>;expires=60, <sip:2@h>;expires=7200,<sip:3@h>;expires=0", Some(7200)),
            ("Contact: <sip:1@h>;expires=60\r\nContact: <sip:2@h>;expires=90\r\nExpires: 5", Some(90)),
            ("Contact: \"A \\\";expires=9;\" <sip:1@h;expires=8>;expires=7", Some(7)),
            ("Contact: <sip:1@h>\r\n ;q=1\r\n\t;expires=61\r\nX: ;expires=99", Some(61)),
            ("Contact: <sip:1@h>\r\nExpires: 300", Some(300)),
            ("expires:300\r\nContact: <sip:1@h;expires=9>", Some(300)),
            ("Contact: <sip:1@h>;expires=0", Some(0)),
            ("Expires: 0", Some(0)),
            ("Contact: <sip:1@h>;expires=4294967295", Some(u32::MAX - 1)),
            ("Contact: <sip:1@h>;expires=soon\r\nExpires: 30", Some(30)),
            ("Contact: <sip:1@h>;expires", None),
            ("Contact: <sip:1@h>;xexpires=60;expiresx=60", None),
            ("X-Expires: 60\r\nExpiresX: 60\r\nContacts: <sip:1@h>;expires=60", None),
            ("Session-Expires: 60\r\nMin-Expires: 60", None),
            ("X: y", None),
        ];
        for (headers, expected) in cases {
            assert_eq!(granted(headers), expected, "{headers}");
        }
    }
}
