//! `edgectl doctor sip`: whether a SIP server over TCP looks at Max-Forwards, found out before it is relied on.
//!
//! Native refusal makes zeros of the digits of Max-Forwards, and 503 of the 483 that a proxy answers then (RFC 3261
//! 16.3). Here an INVITE comes in that very form, to a user whom nobody has.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{PATIENCE, Steps, connect};

/// The longest answer that is believed.
const LONGEST_BYTES: usize = 64 * 1024;
/// Too Many Hops.
const WANTED: u16 = 483;

/// Goes through all steps; `None` at the first that fails.
pub(super) async fn examine(server: &str, steps: &mut Steps) -> Option<()> {
    let mut stream = connect(server, steps).await?;
    let own = stream.local_addr().map_or_else(|_| "0.0.0.0:0".to_owned(), |own: SocketAddr| own.to_string());
    let call = format!("{own}-{}", std::process::id());
    let answered = ask(&mut stream, server, &own, &call).await;
    let found = match &answered {
        Ok(answer) if answer.status == WANTED => Ok(answer.line.clone()),
        Ok(answer) => Err(format!("{}; 483 is needed: the call goes on", answer.line)),
        Err(error) => Err(error.clone()),
    };
    // A call that goes on is given up; a final answer is acknowledged. Whatever becomes of that.
    let (method, to) = match &answered {
        Ok(answer) if answer.status >= 200 => ("ACK", answer.to.as_str()),
        _ => ("CANCEL", ""),
    };
    let _ = stream.write_all(request(method, server, &own, &call, to).as_bytes()).await;
    steps.note("INVITE with Max-Forwards 00", found)
}

/// What the server says first that is more than 100.
#[derive(Debug)]
struct Answer {
    status: u16,
    /// Its status line, without the version.
    line: String,
    /// The value of To.
    to: String,
}

async fn ask(stream: &mut TcpStream, server: &str, own: &str, call: &str) -> Result<Answer, String> {
    let asked = async {
        stream.write_all(request("INVITE", server, own, call, "").as_bytes()).await?;
        let mut heard = Vec::new();
        loop {
            let mut octets = [0; 4096];
            let read = stream.read(&mut octets).await?;
            if read == 0 {
                return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof));
            }
            heard.extend_from_slice(&octets[..read]);
            if let Some(answer) = answer(&heard) {
                return Ok(answer);
            }
            if heard.len() > LONGEST_BYTES {
                return Err(std::io::Error::other("the server says much, and nothing to the point"));
            }
        }
    };
    match tokio::time::timeout(PATIENCE, asked).await {
        Ok(answer) => answer.map_err(|error| match error.kind() {
            std::io::ErrorKind::UnexpectedEof => "the server closed the connection".to_owned(),
            _ => error.to_string(),
        }),
        Err(_) => Err(format!("no answer beyond 100 within {} s", PATIENCE.as_secs())),
    }
}

/// The first answer to an INVITE beyond 100 whose headers are all there. (No answer of that kind has a body that looks
/// like another.)
fn answer(heard: &[u8]) -> Option<Answer> {
    let text = String::from_utf8_lossy(heard);
    let (whole, _) = text.rsplit_once("\r\n\r\n")?;
    whole.split("\r\n\r\n").find_map(|head| {
        let mut lines = head.trim_start().lines();
        let line = lines.next()?.strip_prefix("SIP/2.0 ")?.to_owned();
        let status = line.get(..3)?.parse().ok().filter(|status| *status > 100)?;
        let named = |line: &str| {
            let (name, value) = line.split_once(':')?;
            let name = name.trim();
            (name.eq_ignore_ascii_case("to") || name.eq_ignore_ascii_case("t"))
                .then(|| value.trim().to_owned())
        };
        let to = lines.find_map(named).unwrap_or_default();
        Some(Answer { status, line, to })
    })
}

/// A request of the one call. `to`: the value of To, where the server gave it a tag.
fn request(method: &str, server: &str, own: &str, call: &str, to: &str) -> String {
    let uri = format!("sip:edge-doctor@{server}");
    let to = if to.is_empty() { format!("<{uri}>") } else { to.to_owned() };
    let hops = if method == "INVITE" { "00" } else { "70" };
    format!(
        "{method} {uri} SIP/2.0\r\n\
         Via: SIP/2.0/TCP {own};branch=z9hG4bK-{call}\r\n\
         Max-Forwards: {hops}\r\n\
         From: <sip:edge-doctor@{own}>;tag=doctor\r\n\
         To: {to}\r\n\
         Call-ID: {call}\r\n\
         CSeq: 1 {method}\r\n\
         Contact: <sip:edge-doctor@{own};transport=tcp>\r\n\
         Content-Length: 0\r\n\r\n"
    )
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    /// What is found at a server that says this; it hears what comes after.
    async fn diagnose(says: &'static [&'static str]) -> (bool, String, String) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut octets = [0; 4096];
            let read = stream.read(&mut octets).unwrap();
            assert!(String::from_utf8_lossy(&octets[..read]).contains("\r\nMax-Forwards: 00\r\n"));
            for part in says {
                stream.write_all(part.as_bytes()).unwrap();
            }
            let mut rest = String::new();
            if !says.is_empty() {
                stream.read_to_string(&mut rest).unwrap();
            }
            rest
        });
        let mut steps = Steps::default();
        let fits = examine(&address, &mut steps).await.is_some();
        (fits, steps.0.pop().unwrap().found, server.join().unwrap())
    }

    #[tokio::test]
    async fn a_proxy_that_answers_483_is_fit_and_gets_its_ack() {
        let (fits, found, rest) = diagnose(&[
            "SIP/2.0 100 Trying\r\n\r\nSIP/2.0 483 Too Many",
            " Hops\r\nTo: <sip:a>;tag=x\r\nContent-Length: 0\r\n\r\n",
        ])
        .await;
        assert!(fits, "{found}");
        assert_eq!(found, "483 Too Many Hops");
        assert!(rest.starts_with("ACK ") && rest.contains("\r\nTo: <sip:a>;tag=x\r\n"), "{rest}");
    }

    #[tokio::test]
    async fn a_server_that_rings_is_not_and_the_call_is_given_up() {
        let (fits, found, rest) = diagnose(&["SIP/2.0 180 Ringing\r\nTo: <sip:a>;tag=x\r\n\r\n"]).await;
        assert!(!fits);
        assert!(found.starts_with("180 Ringing"), "{found}");
        assert!(rest.starts_with("CANCEL "), "{rest}");
    }

    #[tokio::test]
    async fn a_server_that_hangs_up_is_not() {
        let (fits, found, _) = diagnose(&[]).await;
        assert!(!fits);
        assert_eq!(found, "the server closed the connection");
    }
}
