//! User agents of known scanners, looked at where a User-Agent header stands before the last that a decision needs.

use super::Scratch;
use crate::verifier::word;
use crate::wire::words::{LOW_16, LOW_32, LOW_48, repeated, text};

impl Scratch {
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

    fn scanner(headers: &str) -> u64 {
        let message = format!("OPTIONS sip:100@h SIP/2.0\r\n{headers}\r\nTo: <sip:100@h>\r\n\r\n");
        let reading = Reading { hash_key: 1, source_key: 0, prefix_digits: 5, hears: false, answers: false };
        read(message.as_bytes(), reading).scanner()
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
