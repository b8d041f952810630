//! User agents of known scanners. The parser notes a User-Agent that stands before the last header that a decision needs; what
//! it has not read is looked through where somebody asks.

use core::ops::ControlFlow;

use super::Scratch;
use crate::verifier::word;
use crate::wire::words::{LOW_16, LOW_32, LOW_48, repeated, text};

impl Scratch {
    /// Begins to look for a User-Agent in the lines that the parser has not read. `false`: one was seen, or there are none.
    #[inline(always)]
    pub fn begin_agent(&mut self) -> bool {
        self.agent_line = self.spans.rest_at;
        self.agent_at == 0 && self.spans.rest_at != 0
    }

    /// Looks at one of them. Breaks when it is found or when there is none.
    #[inline(always)]
    pub fn agent_line(&mut self) -> ControlFlow<()> {
        let start = self.agent_line;
        let first = word(&self.bytes, start);
        if first & 0xff == u64::from(b'\r') {
            return ControlFlow::Break(());
        }
        // Behind the payload stands what is left over from another.
        let Some(end) = self.line_end(start) else { return self.again() };
        if first | repeated(b' ') == text(b"user-age") {
            self.agent_at = start;
            return ControlFlow::Break(());
        }
        self.agent_line = end + 1;
        ControlFlow::Continue(())
    }

    /// The first eight characters of the User-Agent, the first in the lowest byte, if it is that of a known scanner;
    /// else 0.
    #[must_use]
    #[inline(always)]
    pub fn scanner(&self) -> u64 {
        const NAME_BYTES: u32 = 10;
        if self.agent_at == 0 {
            return 0;
        }
        let name_end = word(&self.bytes, self.agent_at + 8) | text(b"  \0\0\0\0\0\0");
        let colon = self.agent_at + NAME_BYTES;
        if name_end & LOW_16 != text(b"nt\0\0\0\0\0\0") || !self.colon_follows(colon) {
            return 0;
        }
        let agent = word(&self.bytes, self.value_at(colon));
        let lower = agent | repeated(b' ');
        // friendly-scanner and friendly-request (sipvicious), sipvicious, sundayddr, sip-scan, VaxSIPUserAgent,
        // siparmyknife; sipcli, pplsip; iWar, smap.
        let is_known = lower == text(b"friendly")
            || lower == text(b"sipvicio")
            || lower == text(b"sundaydd")
            || lower == text(b"sip-scan")
            || lower == text(b"vaxsipus")
            || lower == text(b"siparmyk")
            || lower & LOW_48 == text(b"sipcli\0\0")
            || lower & LOW_48 == text(b"pplsip\0\0")
            || lower & LOW_32 == text(b"iwar\0\0\0\0")
            || lower & LOW_32 == text(b"smap\0\0\0\0");
        if is_known { agent } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use crate::wire::sip::{Reading, read};

    fn scanner_in(message: &str) -> u64 {
        let reading = Reading { hash_key: 1, source_key: 0, prefix_digits: 5, hears: false, answers: false };
        let mut scratch = read(message.as_bytes(), reading);
        scratch.find_agent();
        scratch.scanner()
    }

    fn scanner(headers: &str) -> u64 {
        scanner_in(&format!("OPTIONS sip:100@h SIP/2.0\r\n{headers}\r\nTo: <sip:100@h>\r\n\r\n"))
    }

    #[test]
    fn it_may_stand_behind_all_that_a_decision_needs() {
        const NEEDED: &str =
            "Via: SIP/2.0/UDP h;branch=z9hG4bK1\r\nTo: <sip:100@h>\r\nCall-ID: 1\r\nCSeq: 1 OPTIONS\r\n";
        let behind = |rest: &str| scanner_in(&format!("OPTIONS sip:100@h SIP/2.0\r\n{NEEDED}{rest}"));
        let known = u64::from_le_bytes(*b"sipcli/v");
        assert_eq!(behind("User-Agent: sipcli/v1.8\r\n\r\n"), known);
        assert_eq!(behind("Contact: <sip:a@b>\r\nUSER-AGENT: sipcli/v1.8\r\nAccept: x\r\n\r\n"), known);
        let many = "X: y\r\n".repeat(63);
        assert_eq!(behind(&format!("{many}User-Agent: sipcli/v1.8\r\n\r\n")), known);
        for rest in [
            "",
            "\r\nUser-Agent: sipcli/v1.8\r\n\r\n",
            "X: y\r\n\r\nUser-Agent: sipcli/v1.8\r\n\r\n",
            "X: y\nUser-Agent: sipcli/v1.8\r\n\r\n",
            "X: User-Agent: sipcli/v1.8\r\n\r\n",
            "User-Agent: sipcli/v1.8",
            "X: y\r\nUser-Agent: sipcli/v1.8\n",
        ] {
            assert_eq!(behind(rest), 0, "{rest:?}");
        }
    }

    #[test]
    fn known_scanners_are_known_by_how_their_name_begins() {
        for agent in ["friendly-scanner", "sipvicious 0.3", "sipcli/v1.8", "VaxSIPUserAgent/3.5", "SIP-SCAN"]
        {
            assert_eq!(scanner(&format!("user-agent :  {agent}")).to_le_bytes(), agent.as_bytes()[..8]);
        }
        for header in
            ["User-Agent: Asterisk PBX", "User-Agent:", "X: sipcli", "User-Agents: sipcli", "User-Age: smap"]
        {
            assert_eq!(scanner(header), 0, "{header}");
        }
    }
}
