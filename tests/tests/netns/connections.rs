//! TCP connections of real stacks: how many may begin, and how those of the banned and the suspended end.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd as _;
use std::time::Duration;

use edge_ebpf::abi::Outcome;
use edge_tests::edge::Edge;
use edge_tests::netns::{ACME, Lab, Namespace, SERVER};
use edge_tests::sip::Request;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, socket};

use crate::limited;

const SOON: Duration = Duration::from_secs(30);

/// Both ends of a connection from `acme` to a port of the server.
pub(crate) fn connection(lab: &Lab, port: u16) -> (TcpStream, TcpStream) {
    let listener = listen(lab, port);
    let client = open(&lab.peer, port).unwrap();
    let (server, _) = listener.accept().unwrap();
    for end in [&client, &server] {
        end.set_nodelay(true).unwrap();
        end.set_read_timeout(Some(SOON)).unwrap();
    }
    (client, server)
}

fn listen(lab: &Lab, port: u16) -> TcpListener {
    lab.edge.listen(SocketAddr::new(SERVER.parse().unwrap(), port)).unwrap()
}

/// Connects from a source of `acme`; an error after a while without an answer, in which the SYN is sent again.
pub(crate) fn open(namespace: &Namespace, port: u16) -> anyhow::Result<TcpStream> {
    namespace.enter(move || {
        let socket = socket(AddressFamily::Inet, SockType::Stream, SockFlag::empty(), None)?;
        let address = |host: &str, port| -> anyhow::Result<SockaddrStorage> {
            Ok(SocketAddr::new(host.parse()?, port).into())
        };
        bind(socket.as_raw_fd(), &address(ACME, 0)?)?;
        let stream = TcpStream::from(socket);
        stream.set_write_timeout(Some(Duration::from_secs(2)))?;
        connect(stream.as_raw_fd(), &address(SERVER, port)?)?;
        Ok(stream)
    })
}

fn says(mut from: &TcpStream, mut to: &TcpStream) -> std::io::Result<usize> {
    from.write_all(b"hello")?;
    to.read(&mut [0; 16])
}

fn packets(edge: &Edge<'_>, outcome: Outcome) -> u64 {
    edge.status().unwrap().outcomes.get(outcome.name()).copied().unwrap_or(0)
}

#[test]
fn a_ban_ends_connections_at_both_ends_and_lets_none_begin() {
    let lab = Lab::make().unwrap();
    let _mirror = edge_tests::kernel::Mirror::hold(&lab.peer, "peer0").unwrap();
    let edge = Edge::start(&lab, &limited("sip.invite = '50/s'")).unwrap();
    let open_ones = [5060, 5061, 2775].map(|port| connection(&lab, port));
    for (client, server) in &open_ones {
        assert_eq!(says(client, server).unwrap(), 5);
    }
    edge.ctl(&["ban", ACME, "--for", "1h", "--reason", "test"]).unwrap();
    for (client, server) in &open_ones {
        let error = says(client, server).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "the server lets go at once");
        // What it said comes again, because nobody has acknowledged it.
        let error = { client }.read(&mut [0; 16]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "the client hears of it, too");
    }
    assert!(packets(&edge, Outcome::ResetBanned) >= 3);
    let _listener = listen(&lab, 5061);
    open(&lab.peer, 5061).unwrap_err();
    assert!(packets(&edge, Outcome::Banned) >= 1);
}

#[test]
fn a_suspended_accounts_tls_ends_and_its_plain_connections_stay() {
    let lab = Lab::make().unwrap();
    let edge = Edge::start(&lab, &limited("sip.invite = '50/s'")).unwrap();
    let (client, server) = connection(&lab, 5061);
    let (plain_client, plain_server) = connection(&lab, 2775);
    edge.ctl(&["suspend", "acme", "--for", "1h", "--reason", "test"]).unwrap();
    assert_eq!(says(&client, &server).unwrap_err().kind(), ErrorKind::ConnectionReset);
    let plain = says(&plain_server, &plain_client).unwrap();
    assert_eq!(plain, 5, "what the server says, it hears");
    let _listener = listen(&lab, 5061);
    open(&lab.peer, 5061).unwrap_err();
    assert!(
        packets(&edge, Outcome::ResetSuspended) >= 1 && packets(&edge, Outcome::ConnectionSuspended) >= 1
    );
    edge.ctl(&["resume", "acme"]).unwrap();
    open(&lab.peer, 5061).unwrap();
}

/// Over plain SIP the calls under way are still hung up; the first new one ends the connection, and the client hears of it.
#[test]
fn a_suspended_accounts_sip_connection_ends_with_its_first_call() {
    let lab = Lab::make().unwrap();
    let edge = Edge::start(&lab, &limited("sip.invite = '50/s'")).unwrap();
    let (client, mut server) = connection(&lab, 5060);
    edge.ctl(&["suspend", "acme", "--for", "1h", "--reason", "test"]).unwrap();
    let mut buffer = [0; 4096];
    let bye = Request::new("BYE").in_dialog("x").bytes();
    (&client).write_all(&bye).unwrap();
    assert_eq!(server.read(&mut buffer).unwrap(), bye.len(), "within a dialog nothing is refused");
    (&client).write_all(&Request::new("INVITE").bytes()).unwrap();
    assert_eq!(server.read(&mut buffer).unwrap_err().kind(), ErrorKind::ConnectionReset);
    // The server knows nothing of that connection any more, and says so. At once: when the INVITE has come again, nothing else
    // is sent before it is acknowledged, which it never is.
    (&client).write_all(&bye).unwrap();
    assert_eq!((&client).read(&mut buffer).unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!(packets(&edge, Outcome::ResetSuspended), 1);
    let _listener = listen(&lab, 5060);
    open(&lab.peer, 5060).unwrap();
}

/// Three at once and no more for an hour. A refused SYN comes again while the client waits.
#[test]
fn connections_over_the_limit_do_not_begin() {
    let lab = Lab::make().unwrap();
    let edge = Edge::start(&lab, &limited("connections = '1/day burst 3'")).unwrap();
    let _listener = listen(&lab, 5060);
    let opened: Vec<_> = (0..5).map(|_| open(&lab.peer, 5060)).collect();
    let began = opened.iter().filter(|stream| stream.is_ok()).count();
    assert_eq!(began, 3, "{opened:?}");
    assert_eq!(edge.messages("acme", "connections", "admitted").unwrap(), 3);
    let refused = edge.messages("acme", "connections", "refused").unwrap();
    assert_eq!(packets(&edge, Outcome::ConnectionOverAccount), refused);
    assert!(refused >= 2, "{refused} refused");
}
