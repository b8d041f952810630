//! Refusals in SIP's own words that are under way while the configuration changes, many in one segment, and some that the
//! server does not give.

use edge_ebpf::abi::{Allowance, Class, Outcome, StreamServer};
use edge_tests::fixtures::world::{ACME, SIP_PORT, Scenario, at_once};
use edge_tests::host::Host;
use edge_tests::lent::Lent;
use edge_tests::packet::Tcp;
use edge_tests::sip::response;

use crate::stream_refusals::{ISN, NOW_NS, PORT, SERVER_ISN, Session, message, refusal};

/// A connection, and where both its streams stand.
struct Connection<'a> {
    session: Session<'a>,
    up: u32,
    down: u32,
}

impl<'a> Connection<'a> {
    fn open(kernel: &'a mut Lent, before: &Scenario) -> Self {
        kernel.prepare(before).unwrap();
        let mut session = Session { kernel, host: Host::prepare(before, NOW_NS) };
        session.comes(Tcp::syn(PORT, SIP_PORT, ISN), b"").unwrap();
        Self { session, up: ISN.wrapping_add(1), down: SERVER_ISN.wrapping_add(1) }
    }

    fn reload(&mut self, scenario: &Scenario) {
        self.session.kernel.set_ports(scenario.ports()).unwrap();
        self.session.host.set_ports(scenario.ports());
    }

    /// A segment of the client's, and what the server hears of it.
    fn asks(&mut self, said: &[u8]) -> Vec<u8> {
        let arrived = self.comes(said);
        self.up = self.up.wrapping_add(u32::try_from(said.len()).unwrap());
        arrived
    }

    /// How the port's refusals go: refused, answered, unmatched and waiting.
    fn listener(&self) -> [u64; 4] {
        let listener = self.session.kernel.listener(SIP_PORT).unwrap();
        [listener.refused, listener.answered, listener.unmatched, listener.waiting]
    }

    fn comes(&mut self, payload: &[u8]) -> Vec<u8> {
        let header = Tcp { acknowledgement: self.down, ..Tcp::data(PORT, SIP_PORT, self.up) };
        self.session.comes(header, payload).unwrap()
    }

    fn leaves(&mut self, payload: &[u8]) -> Vec<u8> {
        let header = Tcp { acknowledgement: self.up, ..Tcp::data(SIP_PORT, PORT, self.down) };
        self.session.leaves(header, payload).unwrap()
    }

    /// The server's answer, and what the client hears of it.
    fn answers(&mut self, said: &[u8]) -> Vec<u8> {
        let heard = self.leaves(said);
        self.down = self.down.wrapping_add(u32::try_from(said.len()).unwrap());
        heard
    }
}

fn answer(server: StreamServer) -> Vec<u8> {
    let (status, phrase) = refusal(server);
    response(status, phrase, "INVITE")
}

/// Three calls are refused as one server would have it, and then it is said that there is another, or that nothing is refused so
/// any more.
#[test]
fn what_was_refused_before_a_reload_is_told_so_after_it() {
    const BOTH: [StreamServer; 2] = [StreamServer::Proxy, StreamServer::B2bua];
    let told = response(503, "Rate Exceeded", "INVITE");
    let mut kernel = Lent::take().unwrap();
    for (is, other) in [(BOTH[0], BOTH[1]), (BOTH[1], BOTH[0])] {
        let native = |server| {
            Scenario::open().native_streams_through(server).account_limit(Class::SipInvite, at_once(0))
        };
        let drops = || Scenario::open().account_limit(Class::SipInvite, at_once(0));
        for (after, refuses) in [(native(other), true), (drops(), false), (drops().streams_observed(), false)]
        {
            let mut connection = Connection::open(&mut kernel, &native(is));
            let last = (0..3).map(|_| connection.asks(&message(8, 0))).last().unwrap();

            connection.reload(&after);
            connection.up = connection.up.wrapping_sub(u32::try_from(last.len()).unwrap());
            assert_eq!(connection.comes(&message(8, 0)), last, "what comes again is as it was");
            connection.up = connection.up.wrapping_add(u32::try_from(last.len()).unwrap());
            assert_eq!(connection.answers(&answer(is)), told);
            if refuses {
                connection.asks(&message(8, 0));
                assert_eq!(connection.answers(&answer(other)), told, "how others wait is remembered, too");
            }
            assert_eq!(connection.answers(&answer(is)), told);
            assert_eq!(connection.leaves(&answer(is)), told);
            assert_eq!(connection.answers(&answer(is)), told, "the same again");
            for own in BOTH {
                assert_eq!(connection.answers(&answer(own)), answer(own), "nobody waits");
            }
            let refused = 3 + u64::from(refuses);
            assert_eq!(connection.listener(), [refused, refused, 0, 0]);
        }
    }
}

/// A message that came in part before the server was another is changed for the one that is there now, or not at all: never for
/// the one before.
#[test]
fn a_message_that_a_reload_cuts_is_changed_for_the_server_that_is_there_now() {
    let native =
        |server| Scenario::open().native_streams_through(server).account_limit(Class::SipInvite, at_once(0));
    let blanks = String::from_utf8(message(8, 0)).unwrap().replace("Forwards: ", "Forwards:              ");
    let mut kernel = Lent::take().unwrap();
    let mut changed = 0;
    for invite in [message(8, 0), blanks.into_bytes()] {
        let name = invite.windows(12).position(|octets| octets == b"Max-Forwards").unwrap();
        let digits = name + invite[name..].iter().position(u8::is_ascii_digit).unwrap();
        for (was, is) in
            [(StreamServer::Proxy, StreamServer::B2bua), (StreamServer::B2bua, StreamServer::Proxy)]
        {
            let mut wanted = invite.clone();
            match is {
                StreamServer::Proxy => wanted[digits..digits + 2].copy_from_slice(b"00"),
                StreamServer::B2bua => wanted[name..name + 12].copy_from_slice(b"Require     "),
            }
            for cut in name - 30..digits + 10 {
                let mut connection = Connection::open(&mut kernel, &native(was));
                let mut arrived = connection.asks(&invite[..cut]);
                connection.reload(&native(is));
                arrived.extend(connection.asks(&invite[cut..]));
                let place = if is == StreamServer::Proxy { digits } else { name };
                let is_changed = arrived != invite;
                assert!(
                    !is_changed || arrived == wanted,
                    "cut at {cut}: {}",
                    String::from_utf8_lossy(&arrived)
                );
                assert!(is_changed || cut > name, "nothing of it had come");
                assert!(!is_changed || cut <= place, "it had passed");
                assert_eq!(connection.listener(), [u64::from(is_changed), 0, 0, u64::from(is_changed)]);
                changed += u32::from(is_changed);
            }
        }
    }
    assert!(changed > 100, "{changed}");
}

/// Sixteen of a segment are judged one by one, whatever they are; those behind them pass, and are owed where they are over.
#[test]
fn what_is_beyond_sixteen_of_a_segment_is_counted_in_its_class() {
    let (invite, register, text) = (message(8, 1), message(12, 2), message(13, 3));
    let three = [invite, register, text].concat();
    let segment =
        [&three.repeat(3)[..], &message(3, 4), &message(2, 5), &three.repeat(3), &message(3, 6)].concat();
    let before = Scenario::open()
        .native_streams()
        .account_limit(Class::SipInvite, at_once(2))
        .account_limit(Class::SipRegister, at_once(1))
        .account_limit(Class::SipMessage, at_once(0));
    let mut kernel = Lent::take().unwrap();
    let mut connection = Connection::open(&mut kernel, &before);
    let mut expected = [[0; 3]; 4];
    for round in 0..2 {
        connection.asks(&segment);
        let counters = connection.session.kernel.account(ACME).unwrap().counters;
        assert_eq!(counters, connection.session.host.accounts[&ACME].counters);
        // Of the six of each the last REGISTER and the last MESSAGE are the 17th and the 18th.
        let admitted = |some: u64| if round == 0 { some } else { 0 };
        let round = [
            (Class::SipInvite, [admitted(2), 6 - admitted(2), 0]),
            (Class::SipRegister, [admitted(1), 5 - admitted(1), 1]),
            (Class::SipMessage, [0, 5, 1]),
            (Class::SipOptions, [2, 0, 0]),
        ];
        for (expected, (class, more)) in expected.iter_mut().zip(round) {
            let kinds = [Allowance::Admitted, Allowance::Refused, Allowance::Observed];
            let counted = kinds.map(|kind| counters.messages[class.index()][kind.index()]);
            *expected = [0, 1, 2].map(|at| expected[at] + more[at]);
            assert_eq!(counted, *expected, "{class:?}");
        }
    }
    assert_eq!(connection.listener(), [29, 0, 0, 29]);
    // As many answers at once: sixteen are told, of the others it is known that they came.
    let [answer, told] = ["483 Too Many Hops", "503 Rate Exceeded"]
        .map(|line| format!("SIP/2.0 {line}\r\nl: 0\r\n\r\n").into_bytes());
    assert_eq!(connection.answers(&answer.repeat(29)), [told.repeat(16), answer.repeat(13)].concat());
    assert_eq!(connection.listener(), [29, 29, 13, 0]);
}

/// A registrar that does not look takes what was changed, and the client hears so; it is counted as refused, and waits.
#[test]
fn a_refused_registration_that_the_server_takes_is_left_to_it() {
    let before = Scenario::open().native_streams().account_limit(Class::SipRegister, at_once(0));
    let mut kernel = Lent::take().unwrap();
    let mut connection = Connection::open(&mut kernel, &before);
    let register = message(12, 0);
    let refused = |connection: &Connection<'_>| {
        connection.session.kernel.outcomes().unwrap()[Outcome::SipRefused.index()]
    };
    let before = refused(&connection);
    assert_ne!(connection.asks(&register), register);
    let taken = response(200, "OK", "REGISTER");
    assert_eq!(connection.answers(&taken), taken);
    assert_eq!(connection.listener(), [1, 0, 0, 1]);
    let counters = connection.session.kernel.account(ACME).unwrap().counters;
    assert_eq!(counters.messages[Class::SipRegister.index()][Allowance::Refused.index()], 1);
    assert_eq!(refused(&connection) - before, 1);
    // Its connection is over: nobody waits.
    let fin = Tcp { flags: Tcp::FIN | Tcp::ACK, ..Tcp::data(SIP_PORT, PORT, connection.down) };
    connection.session.leaves(fin, b"").unwrap();
    assert_eq!(connection.listener(), [1, 0, 0, 0]);
}
