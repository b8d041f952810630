//! What a server says on a connection, message by message.

use std::io::{Error, ErrorKind, Result};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// The longest message that is believed.
const LONGEST_BYTES: usize = 64 * 1024;
/// How long the server may take to read what it was told last.
const FAREWELL: Duration = Duration::from_secs(1);

/// An answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// Its status line, without the version.
    pub(super) line: String,
    /// The method of the request that it answers.
    pub(super) method: String,
    /// The value of To.
    pub(super) to: String,
    /// Those of Contact.
    pub(super) contacts: Vec<String>,
    /// Those of Record-Route, from the nearest to the server on.
    pub(super) record_routes: Vec<String>,
}

/// A connection to it.
pub(super) struct Server {
    stream: TcpStream,
    heard: Vec<u8>,
}

impl Server {
    pub(super) const fn new(stream: TcpStream) -> Self {
        Self { stream, heard: Vec::new() }
    }

    pub(super) async fn say(&mut self, request: &str) -> Result<()> {
        self.stream.write_all(request.as_bytes()).await
    }

    /// Its next answer to a request of that method which is at least `least`.
    pub(super) async fn answer(&mut self, method: &str, least: u16) -> Result<Answer> {
        loop {
            while let Some(head) = message(&mut self.heard)? {
                // What it asks meanwhile is not ours to answer.
                if let Some(answer) = answer(&head).filter(|it| it.method == method && it.status >= least) {
                    return Ok(answer);
                }
            }
            if self.heard.len() > LONGEST_BYTES {
                return Err(Error::other("the server says much, and nothing to the point"));
            }
            let mut octets = [0; 4096];
            let read = self.stream.read(&mut octets).await?;
            if read == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            self.heard.extend_from_slice(&octets[..read]);
        }
    }

    /// Closes the connection; not before the server has read what it was told, which a reset might keep from it.
    pub(super) async fn leave(mut self) {
        let last = async {
            self.stream.shutdown().await?;
            let mut octets = [0; 4096];
            while self.stream.read(&mut octets).await? != 0 {}
            Ok::<_, Error>(())
        };
        let _ = timeout(FAREWELL, last).await;
    }
}

/// Takes the first message, if it is all there: its headers.
fn message(stream: &mut Vec<u8>) -> Result<Option<String>> {
    // Empty lines may go before it (RFC 3261 7.5).
    let empty = stream.iter().take_while(|octet| matches!(octet, b'\r' | b'\n')).count();
    stream.drain(..empty);
    let Some(end) = stream.windows(4).position(|octets| octets == b"\r\n\r\n") else { return Ok(None) };
    // A folded line goes on with the one before (RFC 3261 7.3.1).
    let head = String::from_utf8_lossy(&stream[..end]).replace("\r\n ", " ").replace("\r\n\t", " ");
    let length = values(&head, &["content-length", "l"]).next().map_or(Ok(0), str::parse::<usize>);
    let length = length.ok().filter(|length| *length <= LONGEST_BYTES);
    let length = length.ok_or_else(|| Error::other("the server's messages have no sane length"))?;
    let whole = end + 4 + length;
    if stream.len() < whole {
        return Ok(None);
    }
    stream.drain(..whole);
    Ok(Some(head))
}

/// The values of a header, line by line.
fn values<'a>(head: &'a str, names: &'a [&str]) -> impl Iterator<Item = &'a str> {
    head.split("\r\n").skip(1).filter_map(|line| {
        let (name, value) = line.split_once(':')?;
        let name = name.trim_end();
        names.iter().any(|it| it.eq_ignore_ascii_case(name)).then(|| value.trim())
    })
}

/// An answer by its headers; `None` for a request.
fn answer(head: &str) -> Option<Answer> {
    let line = head.split("\r\n").next()?.strip_prefix("SIP/2.0 ")?.to_owned();
    let status = line.get(..3)?.parse().ok()?;
    let method = values(head, &["cseq"]).next()?.rsplit([' ', '\t']).next()?.to_owned();
    let to = values(head, &["to", "t"]).next().unwrap_or_default().to_owned();
    let all = |names: &[&str]| values(head, names).flat_map(split).collect();
    let (contacts, record_routes) = (all(&["contact", "m"]), all(&["record-route"]));
    Some(Answer { status, line, method, to, contacts, record_routes })
}

/// The values of one line, which commas separate outside quotes and angle brackets.
fn split(line: &str) -> Vec<String> {
    let (mut is_quoted, mut is_escaped, mut is_bracketed) = (false, false, false);
    let between = |octet: char| {
        let was_escaped = std::mem::take(&mut is_escaped);
        match octet {
            '\\' if is_quoted => is_escaped = !was_escaped,
            '"' if !is_bracketed && !was_escaped => is_quoted = !is_quoted,
            '<' if !is_quoted => is_bracketed = true,
            '>' if !is_quoted => is_bracketed = false,
            ',' => return !is_quoted && !is_bracketed,
            _ => {}
        }
        false
    };
    line.split(between).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty()).collect()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    #[test]
    fn messages_are_told_apart_by_their_lengths_and_read_to_the_header() {
        let first = "\r\n\r\nSIP/2.0 200 OK\r\nCSeq: 1\tINVITE\r\nt: <sip:a>\r\n ;tag=x\r\n\
             Record-Route: <sip:a;lr>, \"a \\\", <b\" <sip:b,c;lr>\r\nrecord-route : <sip:d>\r\n\
             m: <sip:me@h>\r\nl: 22\r\n\r\nSIP/2.0 487 No\r\n\r\n\r\n..";
        let second = "OPTIONS sip:a SIP/2.0\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n";
        let mut stream = [first, second, "SIP/2.0 1"].concat().into_bytes();
        let head = message(&mut stream).unwrap().unwrap();
        let owned = |values: &[&str]| values.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
        let expected = Answer {
            status: 200,
            line: "200 OK".into(),
            method: "INVITE".into(),
            to: "<sip:a> ;tag=x".into(),
            contacts: owned(&["<sip:me@h>"]),
            record_routes: owned(&["<sip:a;lr>", "\"a \\\", <b\" <sip:b,c;lr>", "<sip:d>"]),
        };
        assert_eq!(answer(&head).unwrap(), expected);
        let head = message(&mut stream).unwrap().unwrap();
        assert_eq!(answer(&head), None);
        assert_eq!(message(&mut stream).unwrap(), None);
        assert_eq!(stream, b"SIP/2.0 1");
        assert!(message(&mut b"SIP/2.0 200 OK\r\nl: -1\r\n\r\n".to_vec()).is_err());
    }
}
