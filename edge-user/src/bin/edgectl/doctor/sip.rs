//! `edgectl doctor sip`: which of the two checks a SIP server over TCP makes that native refusal makes use of, found out before
//! it is relied on.
//!
//! Of a proxy's Max-Forwards the digits become zeros, and 503 of the 483 that it answers then (RFC 3261 16.3); of a B2BUA's the
//! name becomes Require, and 503 of its 420 (8.2.2.3). Here an INVITE comes in the one form and then in the other, to a user whom
//! nobody has. In this order, because a proxy that does not look passes the second on, and who is behind it may say 420.

use std::net::SocketAddr;

use edge_ebpf::abi::StreamServer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{PATIENCE, Steps, connect};
use crate::cli::SipArgs;

/// The longest answer that is believed.
const LONGEST_BYTES: usize = 64 * 1024;

/// Goes through all steps. `None`: the server makes neither check.
pub(super) async fn examine(args: &SipArgs, steps: &mut Steps) -> Option<StreamServer> {
    for kind in [StreamServer::Proxy, StreamServer::B2bua] {
        // A connection each: on the first one more may be said of the first call.
        if attempt(args, kind, steps).await? {
            return Some(kind);
        }
    }
    None
}

/// What is tried, the header line that tries it, and the status that is wanted.
const fn trial(kind: StreamServer) -> (&'static str, &'static str, u16) {
    match kind {
        StreamServer::Proxy => ("INVITE with Max-Forwards 00", "Max-Forwards: 00", 483),
        StreamServer::B2bua => ("INVITE that requires extension 70", "Require     : 70", 420),
    }
}

/// Whether the server makes that check; `None` if there is no connection to it.
async fn attempt(args: &SipArgs, kind: StreamServer, steps: &mut Steps) -> Option<bool> {
    let (what, line, wanted) = trial(kind);
    let mut stream = connect(&args.server, steps).await?;
    let own = stream.local_addr().map_or_else(|_| "0.0.0.0:0".to_owned(), |own: SocketAddr| own.to_string());
    let id = format!("{own}-{}", std::process::id());
    let call = Call { uri: format!("sip:{}@{}", args.user, args.server), own, id };
    let answered = ask(&mut stream, &call.request("INVITE", line, "")).await;
    let found = match &answered {
        Ok(answer) if answer.status == wanted => Ok(answer.line.clone()),
        Ok(answer) => Err(format!("{}; {wanted} is needed", answer.line)),
        Err(error) => Err(error.clone()),
    };
    // A call that goes on is given up, a final answer is acknowledged, and who has answered is left. Whatever becomes of that.
    let (methods, to): (&[_], _) = match &answered {
        Ok(answer) if answer.status >= 300 => (&["ACK"], answer.to.as_str()),
        Ok(answer) if answer.status >= 200 => (&["ACK", "BYE"], answer.to.as_str()),
        _ => (&["CANCEL"], ""),
    };
    for method in methods {
        let _ = stream.write_all(call.request(method, "Max-Forwards: 70", to).as_bytes()).await;
    }
    Some(steps.note(what, found).is_some())
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

async fn ask(stream: &mut TcpStream, invite: &str) -> Result<Answer, String> {
    let asked = async {
        stream.write_all(invite.as_bytes()).await?;
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

/// The one call of a connection.
struct Call {
    /// Whom it is to.
    uri: String,
    /// Address and port of this end.
    own: String,
    /// Its Call-ID.
    id: String,
}

impl Call {
    /// A request of it. `line`: its Max-Forwards. `to`: the value of To, where the server gave it a tag.
    fn request(&self, method: &str, line: &str, to: &str) -> String {
        let Self { uri, own, id } = self;
        let to = if to.is_empty() { format!("<{uri}>") } else { to.to_owned() };
        let number = if method == "BYE" { 2 } else { 1 };
        format!(
            "{method} {uri} SIP/2.0\r\n\
             Via: SIP/2.0/TCP {own};branch=z9hG4bK-{id}\r\n\
             {line}\r\n\
             From: <sip:edge-doctor@{own}>;tag=doctor\r\n\
             To: {to}\r\n\
             Call-ID: {id}\r\n\
             CSeq: {number} {method}\r\n\
             Contact: <sip:edge-doctor@{own};transport=tcp>\r\n\
             Content-Length: 0\r\n\r\n"
        )
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    /// What is found at a server that says this, on one connection and on the next; it hears what comes after.
    async fn diagnose(
        says: &'static [&'static [&'static str]],
    ) -> (Option<StreamServer>, Vec<String>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = thread::spawn(move || {
            let mut heard = String::new();
            for (parts, line) in says.iter().zip(["\r\nMax-Forwards: 00\r\n", "\r\nRequire     : 70\r\n"]) {
                let (mut stream, _) = listener.accept().unwrap();
                let mut octets = [0; 4096];
                let read = stream.read(&mut octets).unwrap();
                assert!(String::from_utf8_lossy(&octets[..read]).contains(line));
                for part in *parts {
                    stream.write_all(part.as_bytes()).unwrap();
                }
                if !parts.is_empty() {
                    stream.read_to_string(&mut heard).unwrap();
                }
            }
            heard
        });
        let mut steps = Steps::default();
        let args = SipArgs { server: address, user: "441632960123".into() };
        let fits = examine(&args, &mut steps).await;
        let found = steps.0.into_iter().map(|step| step.found).filter(|found| found != "connected").collect();
        (fits, found, server.join().unwrap())
    }

    #[tokio::test]
    async fn a_proxy_that_answers_483_is_fit_and_gets_its_ack() {
        let (fits, found, rest) = diagnose(&[&[
            "SIP/2.0 100 Trying\r\n\r\nSIP/2.0 483 Too Many",
            " Hops\r\nTo: <sip:a>;tag=x\r\nContent-Length: 0\r\n\r\n",
        ]])
        .await;
        assert_eq!(fits, Some(StreamServer::Proxy), "{found:?}");
        assert_eq!(found, ["483 Too Many Hops"]);
        assert!(rest.starts_with("ACK ") && rest.contains("\r\nTo: <sip:a>;tag=x\r\n"), "{rest}");
    }

    #[tokio::test]
    async fn a_b2bua_that_answers_420_is_fit_and_the_call_that_it_took_is_ended() {
        let (fits, found, rest) = diagnose(&[
            &["SIP/2.0 200 OK\r\nTo: <sip:a>;tag=x\r\n\r\n"],
            &["SIP/2.0 420 Bad Extension\r\nTo: <sip:a>;tag=y\r\nUnsupported: 70\r\n\r\n"],
        ])
        .await;
        assert_eq!(fits, Some(StreamServer::B2bua), "{found:?}");
        assert!(found[0].starts_with("200 OK; 483 is needed"), "{found:?}");
        assert_eq!(found[1], "420 Bad Extension");
        let methods: Vec<_> = rest.split("\r\n\r\n").filter_map(|head| head.split(' ').next()).collect();
        assert_eq!(methods, ["ACK", "BYE", "ACK", ""], "{rest}");
    }

    #[tokio::test]
    async fn a_server_that_rings_whatever_is_asked_is_not() {
        const RINGS: &[&str] = &["SIP/2.0 180 Ringing\r\nTo: <sip:a>;tag=x\r\n\r\n"];
        let (fits, found, rest) = diagnose(&[RINGS, RINGS]).await;
        assert_eq!(fits, None, "{found:?}");
        assert!(found[1].starts_with("180 Ringing; 420 is needed"), "{found:?}");
        assert_eq!(rest.matches("CANCEL sip:").count(), 2, "{rest}");
    }

    #[tokio::test]
    async fn a_server_that_hangs_up_is_not() {
        let (fits, found, _) = diagnose(&[&[], &[]]).await;
        assert_eq!(fits, None);
        assert_eq!(found, ["the server closed the connection"; 2]);
    }
}
