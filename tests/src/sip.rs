//! SIP messages (RFC 3261), as a well-behaved and as a hostile peer writes them.

use std::fmt::Write as _;

/// A SIP request in the making. What is not set has a plain value.
#[derive(Clone, Debug)]
pub struct Request {
    method: String,
    uri: String,
    branch: String,
    from_tag: String,
    to_tag: Option<String>,
    call_id: String,
    cseq: u32,
    compact: bool,
    headers: Vec<String>,
    body: String,
}

impl Request {
    /// A request outside a dialog.
    #[must_use]
    pub fn new(method: &str) -> Self {
        Self {
            method: method.to_owned(),
            uri: "sip:+441632960123@198.51.100.10".to_owned(),
            branch: "z9hG4bK776asdhds".to_owned(),
            from_tag: "1928301774".to_owned(),
            to_tag: None,
            call_id: "a84b4c76e66710@203.0.113.7".to_owned(),
            cseq: 314_159,
            compact: false,
            headers: Vec::new(),
            body: String::new(),
        }
    }

    /// Request-URI.
    #[must_use]
    pub fn uri(mut self, uri: &str) -> Self {
        uri.clone_into(&mut self.uri);
        self
    }

    /// Makes it a request within a dialog (RFC 3261 12.2).
    #[must_use]
    pub fn in_dialog(mut self, to_tag: &str) -> Self {
        self.to_tag = Some(to_tag.to_owned());
        self
    }

    /// `Call-ID`.
    #[must_use]
    pub fn call_id(mut self, call_id: &str) -> Self {
        call_id.clone_into(&mut self.call_id);
        self
    }

    /// Number of the `CSeq`.
    #[must_use]
    pub const fn cseq(mut self, number: u32) -> Self {
        self.cseq = number;
        self
    }

    /// Branch of the top `Via`.
    #[must_use]
    pub fn branch(mut self, branch: &str) -> Self {
        branch.clone_into(&mut self.branch);
        self
    }

    /// Uses compact header names (RFC 3261 7.3.3).
    #[must_use]
    pub const fn compact(mut self) -> Self {
        self.compact = true;
        self
    }

    /// Adds a header line, without its CRLF.
    #[must_use]
    pub fn header(mut self, line: &str) -> Self {
        self.headers.push(line.to_owned());
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn body(mut self, body: &str) -> Self {
        body.clone_into(&mut self.body);
        self
    }

    /// The message, padded by a header to exactly `size` bytes.
    ///
    /// # Panics
    /// When the message is already too large for a header of padding.
    #[must_use]
    pub fn padded_to(self, size: usize) -> Vec<u8> {
        const EMPTY: &str = "X-Padding: ";
        let missing = size.checked_sub(self.bytes().len() + EMPTY.len() + 2);
        let missing = missing.unwrap_or_else(|| panic!("{} bytes do not fit in {size}", self.bytes().len()));
        let padding = "x".repeat(missing);
        self.header(&format!("{EMPTY}{padding}")).bytes()
    }

    /// The message.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let [via, from, to, call_id, length] = if self.compact {
            ["v", "f", "t", "i", "l"]
        } else {
            ["Via", "From", "To", "Call-ID", "Content-Length"]
        };
        let mut text = format!("{} {} SIP/2.0\r\n", self.method, self.uri);
        let to_tag = self.to_tag.as_ref().map_or_else(String::new, |tag| format!(";tag={tag}"));
        let lines = [
            format!("{via}: SIP/2.0/UDP 203.0.113.7:5060;branch={}", self.branch),
            "Max-Forwards: 70".to_owned(),
            format!("{from}: \"Caller\" <sip:+441632960001@203.0.113.7>;tag={}", self.from_tag),
            format!("{to}: <{}>{to_tag}", self.uri),
            format!("{call_id}: {}", self.call_id),
            format!("CSeq: {} {}", self.cseq, self.method),
        ];
        for line in lines.iter().chain(&self.headers) {
            text.push_str(line);
            text.push_str("\r\n");
        }
        // Writing to a String cannot fail.
        let _ = write!(text, "{length}: {}\r\n\r\n{}", self.body.len(), self.body);
        text.into_bytes()
    }
}

/// A response to a request of [`Request::new`]'s plain values.
#[must_use]
pub fn response(status: u16, reason: &str, method: &str) -> Vec<u8> {
    format!(
        "SIP/2.0 {status} {reason}\r\n\
         Via: SIP/2.0/UDP 198.51.100.10:5060;branch=z9hG4bKnashds8\r\n\
         From: <sip:+441632960001@198.51.100.10>;tag=a6c85cf\r\n\
         To: <sip:+441632960123@203.0.113.7>;tag=314159\r\n\
         Call-ID: 70710@198.51.100.10\r\n\
         CSeq: 1 {method}\r\n\
         Content-Length: 0\r\n\r\n"
    )
    .into_bytes()
}

/// A session description of an audio call (RFC 8866).
pub const SDP: &str = "v=0\r\no=- 2890844526 2890844526 IN IP4 203.0.113.7\r\ns=-\r\nc=IN IP4 203.0.113.7\r\n\
                       t=0 0\r\nm=audio 49172 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_gives_exactly_the_size_asked_for() {
        for size in [474, 1095] {
            assert_eq!(Request::new("INVITE").padded_to(size).len(), size);
        }
    }

    #[test]
    fn the_content_length_is_that_of_the_body() {
        let bytes = Request::new("INVITE").body(SDP).bytes();
        let text = String::from_utf8_lossy(&bytes);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { panic!("no blank line: {text}") };
        assert!(head.ends_with(&format!("Content-Length: {}", body.len())), "{head}");
    }
}
