//! `edgectl doctor sip`: which of the two checks a SIP server over TCP makes that native refusal makes use of, found out before
//! it is relied on.
//!
//! Of a proxy's Max-Forwards the digits become zeros, and 503 of the 483 that it answers then (RFC 3261 16.3); of a B2BUA's the
//! name becomes Require, and 503 of its 420 (8.2.2.3). Here an INVITE comes in the one form and then in the other, to a user whom
//! nobody has. In this order, because a proxy that does not look passes the second on, and who is behind it may say 420. Of a
//! proxy more than INVITE is refused, so that is tried, too: a registrar need not look at Max-Forwards.

mod answers;
mod dialog;

use std::net::SocketAddr;

use edge_ebpf::abi::StreamServer;
use tokio::time::timeout;

use self::answers::{Answer, Server};
use self::dialog::Dialog;
use super::{PATIENCE, Steps, connect};
use crate::cli::SipArgs;

/// The header line of a request that may go on.
const GOES_ON: &str = "Max-Forwards: 70";

/// A request that the server must refuse.
struct Trial {
    what: &'static str,
    method: &'static str,
    /// The line that stands where Max-Forwards did.
    line: &'static str,
    /// The status that is wanted.
    wanted: u16,
}

/// Nothing else is refused through a B2BUA.
const OF_B2BUA: Trial = Trial {
    what: "INVITE that requires extension 70",
    method: "INVITE",
    line: "Require     : 70",
    wanted: 420,
};

/// To OPTIONS a proxy may say what it likes, and they are not refused through it.
const OF_PROXY: [Trial; 3] = [
    of_proxy("INVITE with Max-Forwards 00", "INVITE"),
    of_proxy("REGISTER with Max-Forwards 00", "REGISTER"),
    of_proxy("MESSAGE with Max-Forwards 00", "MESSAGE"),
];

const fn of_proxy(what: &'static str, method: &'static str) -> Trial {
    Trial { what, method, line: "Max-Forwards: 00", wanted: 483 }
}

/// Goes through all steps. `None`: the server makes neither check, or not for all that is refused through it.
pub(super) async fn examine(args: &SipArgs, steps: &mut Steps) -> Option<StreamServer> {
    let [calls, others @ ..] = &OF_PROXY;
    if !calls.attempt(args, steps).await? {
        return OF_B2BUA.attempt(args, steps).await?.then_some(StreamServer::B2bua);
    }
    let mut fits = true;
    for trial in others {
        fits &= trial.attempt(args, steps).await?;
    }
    fits.then_some(StreamServer::Proxy)
}

impl Trial {
    /// Whether the server makes that check; `None` if there is no connection to it.
    async fn attempt(&self, args: &SipArgs, steps: &mut Steps) -> Option<bool> {
        // A connection each: on the one before more may be said of what was asked there.
        let stream = connect(&args.server, steps).await?;
        let own =
            stream.local_addr().map_or_else(|_| "0.0.0.0:0".to_owned(), |own: SocketAddr| own.to_string());
        let dialog = Dialog::open(self.method, &args.user, &args.server, own);
        let mut server = Server::new(stream);
        let answered = self.ask(&mut server, &dialog).await;
        let found = match &answered {
            Ok(answer) if answer.status == self.wanted => Ok(answer.line.clone()),
            Ok(answer) => Err(format!("{}; {} is needed{}", answer.line, self.wanted, self.meaning(answer))),
            Err(error) => Err(error.clone()),
        };
        if self.method == "INVITE" {
            end(&mut server, &dialog, answered.ok()).await;
        }
        server.leave().await;
        Some(steps.note(self.what, found).is_some())
    }

    /// What the server says first that is more than 100.
    async fn ask(&self, server: &mut Server, dialog: &Dialog) -> Result<Answer, String> {
        let asked = async {
            server.say(&dialog.request(self.method, "1", 1, self.line)).await?;
            server.answer(self.method, 101).await
        };
        match timeout(PATIENCE, asked).await {
            Ok(answer) => answer.map_err(|error| match error.kind() {
                std::io::ErrorKind::UnexpectedEof => "the server closed the connection".to_owned(),
                _ => error.to_string(),
            }),
            Err(_) => Err(format!("no answer beyond 100 within {} s", PATIENCE.as_secs())),
        }
    }

    /// What it means that the server gave another answer, where that needs a word.
    fn meaning(&self, answer: &Answer) -> &'static str {
        match (self.wanted, self.method, answer.status) {
            (420, _, 400) => {
                ". What is refused through a B2BUA has no Max-Forwards any more, and this server seems to insist on one"
            }
            (483, "REGISTER" | "MESSAGE", 200..300) => {
                ". It looks at Max-Forwards in calls, and not in these: they would be counted as refused, and were taken"
            }
            (483, "REGISTER" | "MESSAGE", _) => ". It must look at Max-Forwards before all else",
            _ => "",
        }
    }
}

/// A call that goes on is given up, a final answer is acknowledged, and who has taken the call is left, also where his answer
/// has crossed the CANCEL. Whatever becomes of that.
async fn end(server: &mut Server, dialog: &Dialog, answered: Option<Answer>) {
    let last = match answered.filter(|answer| answer.status >= 200) {
        Some(last) => Some(last),
        None if server.say(&dialog.request("CANCEL", "1", 1, GOES_ON)).await.is_ok() => {
            timeout(PATIENCE, server.answer("INVITE", 200)).await.ok().and_then(Result::ok)
        }
        None => None,
    };
    match last {
        Some(last) if last.status < 300 => {
            let dialog = dialog.accepted(&last);
            // Such an ACK is a transaction of its own (RFC 3261 13.2.2.4).
            let _ = server.say(&dialog.request("ACK", "2", 1, GOES_ON)).await;
            let _ = server.say(&dialog.request("BYE", "3", 2, GOES_ON)).await;
        }
        Some(last) => {
            let _ = server.say(&dialog.refused(&last).request("ACK", "1", 1, GOES_ON)).await;
        }
        None => {}
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    /// What the server says to one request, in parts; to the next it says something on a connection of its own.
    type Says = &'static [&'static str];

    const TOO_MANY: Says =
        &["SIP/2.0 483 Too Many Hops\r\nCSeq: 1 REGISTER\r\n\r\nSIP/2.0 483 Too Many Hops\r\n\
                              CSeq: 1 MESSAGE\r\n\r\n"];

    /// What is found at a server that says this, on one connection and on the next; it hears what comes after.
    async fn diagnose(says: &'static [(&'static str, Says)]) -> (Option<StreamServer>, Vec<String>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = thread::spawn(move || {
            let mut heard = String::new();
            for (asked, parts) in says {
                let (mut stream, _) = listener.accept().unwrap();
                let mut octets = [0; 4096];
                let read = stream.read(&mut octets).unwrap();
                let first = String::from_utf8_lossy(&octets[..read]);
                let (method, line) = asked.split_once(' ').unwrap();
                assert!(first.starts_with(method) && first.contains(&format!("\r\n{line}\r\n")), "{first}");
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

    const HOPS: &str = "INVITE Max-Forwards: 00";
    const EXTENSION: &str = "INVITE Require     : 70";
    const REGISTER: &str = "REGISTER Max-Forwards: 00";
    const MESSAGE: &str = "MESSAGE Max-Forwards: 00";

    fn methods(rest: &str) -> Vec<&str> {
        rest.split("\r\n\r\n").filter_map(|head| head.split(' ').next()).filter(|it| !it.is_empty()).collect()
    }

    const REFUSES: Says = &[
        "SIP/2.0 100 Trying\r\nCSeq: 1 INVITE\r\n\r\nSIP/2.0 483 Too Many",
        " Hops\r\nCSeq: 1 INVITE\r\nTo: <sip:a>;tag=x\r\nContent-Length: 0\r\n\r\n",
    ];

    #[tokio::test]
    async fn a_proxy_that_answers_483_is_fit_and_gets_its_ack() {
        let (fits, found, rest) =
            diagnose(&[(HOPS, REFUSES), (REGISTER, TOO_MANY), (MESSAGE, TOO_MANY)]).await;
        assert_eq!(fits, Some(StreamServer::Proxy), "{found:?}");
        assert_eq!(found, ["483 Too Many Hops"; 3]);
        assert!(rest.starts_with("ACK ") && rest.contains("\r\nTo: <sip:a>;tag=x\r\n"), "{rest}");
        assert!(rest.contains("-1\r\n"), "in the transaction of its INVITE: {rest}");
    }

    #[tokio::test]
    async fn a_registrar_that_looks_at_hops_in_calls_alone_is_not() {
        const TAKEN: Says = &["SIP/2.0 200 OK\r\nCSeq: 1 REGISTER\r\n\r\n"];
        const ASKED: Says = &["SIP/2.0 401 Unauthorized\r\nCSeq: 1 MESSAGE\r\n\r\n"];
        let (fits, found, _) = diagnose(&[(HOPS, REFUSES), (REGISTER, TAKEN), (MESSAGE, ASKED)]).await;
        assert_eq!(fits, None, "{found:?}");
        assert!(
            found[1].starts_with("200 OK; 483 is needed. It looks at Max-Forwards in calls"),
            "{found:?}"
        );
        assert!(found[2].ends_with("It must look at Max-Forwards before all else"), "{found:?}");
    }

    #[tokio::test]
    async fn a_b2bua_that_answers_420_is_fit_and_the_call_that_it_took_is_ended() {
        let (fits, found, rest) = diagnose(&[
            (HOPS, &["SIP/2.0 200 OK\r\nCSeq: 1 INVITE\r\nTo: <sip:a>;tag=x\r\nContact: <sip:b@c>\r\n\
               Record-Route: <sip:near;lr>,<sip:far;lr>\r\n\r\n"]),
            (EXTENSION, &["SIP/2.0 420 Bad Extension\r\nCSeq: 1 INVITE\r\nTo: <sip:a>;tag=y\r\nUnsupported: 70\r\n\r\n"]),
        ])
        .await;
        assert_eq!(fits, Some(StreamServer::B2bua), "{found:?}");
        assert!(found[0].starts_with("200 OK; 483 is needed"), "{found:?}");
        assert_eq!(found[1], "420 Bad Extension");
        assert_eq!(methods(&rest), ["ACK", "BYE", "ACK"], "{rest}");
        for (request, transaction) in rest.split_inclusive("\r\n\r\n").zip(["-2\r\n", "-3\r\n"]) {
            assert!(request.contains(" sip:b@c SIP/2.0\r\n") && request.contains(transaction), "{request}");
            assert!(request.contains("Route: <sip:far;lr>\r\nRoute: <sip:near;lr>\r\n"), "{request}");
        }
    }

    #[tokio::test]
    async fn a_server_that_rings_whatever_is_asked_is_not() {
        const RINGS: Says = &[
            "SIP/2.0 180 Ringing\r\nCSeq: 1 INVITE\r\nTo: <sip:a>;tag=x\r\n\r\n",
            "SIP/2.0 200 OK\r\nCSeq: 1 CANCEL\r\n\r\nSIP/2.0 487 Request Terminated\r\nCSeq: 1 INVITE\r\n\
             To: <sip:a>;tag=x\r\n\r\n",
        ];
        let (fits, found, rest) = diagnose(&[(HOPS, RINGS), (EXTENSION, RINGS)]).await;
        assert_eq!(fits, None, "{found:?}");
        assert!(found[1].starts_with("180 Ringing; 420 is needed"), "{found:?}");
        assert_eq!(methods(&rest), ["CANCEL", "ACK", "CANCEL", "ACK"], "{rest}");
    }

    #[tokio::test]
    async fn a_call_that_is_taken_while_it_is_given_up_is_ended() {
        const TAKES: Says = &["SIP/2.0 180 Ringing\r\nCSeq: 1 INVITE\r\nContent-Length: 3\r\n\r\n\r\n\r\
            SIP/2.0 200 OK\r\nCSeq: 1 INVITE\r\nTo: <sip:a>;tag=x\r\nm: <sip:b@c>\r\n\r\n\
            SIP/2.0 481 Too late\r\nCSeq: 1 CANCEL\r\n\r\n"];
        const INSISTS: Says = &["SIP/2.0 400 Max-Forwards missing\r\nCSeq: 1 INVITE\r\n\r\n"];
        let (fits, found, rest) = diagnose(&[(HOPS, TAKES), (EXTENSION, INSISTS)]).await;
        assert_eq!(fits, None, "{found:?}");
        assert_eq!(methods(&rest), ["CANCEL", "ACK", "BYE", "ACK"], "{rest}");
        assert!(rest.contains("\r\n\r\nBYE sip:b@c SIP/2.0\r\n"), "{rest}");
        assert!(
            found[1].starts_with("400 Max-Forwards missing; 420 is needed. What is refused"),
            "{found:?}"
        );
    }

    #[tokio::test]
    async fn a_server_that_hangs_up_is_not() {
        let (fits, found, _) = diagnose(&[(HOPS, &[]), (EXTENSION, &[])]).await;
        assert_eq!(fits, None);
        assert_eq!(found, ["the server closed the connection"; 2]);
    }
}
