//! Refusals in SIP's own words that are under way while the configuration changes.

use edge_ebpf::abi::{Class, StreamServer};
use edge_tests::fixtures::world::{SIP_PORT, Scenario, at_once};
use edge_tests::host::Host;
use edge_tests::lent::Lent;
use edge_tests::packet::Tcp;
use edge_tests::sip::response;

use crate::stream_refusals::{ISN, NOW_NS, PORT, SERVER_ISN, Session, message, refusal};

/// A connection all of whose INVITEs are over the limit, and where both its streams stand.
struct Connection<'a> {
    session: Session<'a>,
    up: u32,
    down: u32,
}

impl Connection<'_> {
    fn reload(&mut self, scenario: &Scenario) {
        self.session.kernel.set_ports(scenario.ports()).unwrap();
        self.session.host.set_ports(scenario.ports());
    }

    /// An INVITE, and what the server hears of it.
    fn invites(&mut self) -> Vec<u8> {
        let invite = message(8, 0);
        let arrived = self.comes(&invite);
        self.up = self.up.wrapping_add(u32::try_from(invite.len()).unwrap());
        arrived
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
            let before = native(is);
            kernel.prepare(&before).unwrap();
            let session = Session { kernel: &mut kernel, host: Host::prepare(&before, NOW_NS) };
            let (up, down) = (ISN.wrapping_add(1), SERVER_ISN.wrapping_add(1));
            let mut connection = Connection { session, up, down };
            connection.session.comes(Tcp::syn(PORT, SIP_PORT, ISN), b"").unwrap();
            let last = (0..3).map(|_| connection.invites()).last().unwrap();

            connection.reload(&after);
            connection.up = connection.up.wrapping_sub(u32::try_from(last.len()).unwrap());
            assert_eq!(connection.comes(&message(8, 0)), last, "what comes again is as it was");
            connection.up = connection.up.wrapping_add(u32::try_from(last.len()).unwrap());
            assert_eq!(connection.answers(&answer(is)), told);
            if refuses {
                connection.invites();
                assert_eq!(connection.answers(&answer(other)), told, "how others wait is remembered, too");
            }
            assert_eq!(connection.answers(&answer(is)), told);
            assert_eq!(connection.leaves(&answer(is)), told);
            assert_eq!(connection.answers(&answer(is)), told, "the same again");
            for own in BOTH {
                assert_eq!(connection.answers(&answer(own)), answer(own), "nobody waits");
            }
            let refused = 3 + u64::from(refuses);
            let listener = connection.session.kernel.listener(SIP_PORT).unwrap();
            let counted = (listener.refused, listener.answered, listener.unmatched, listener.waiting);
            assert_eq!(counted, (refused, refused, 0, 0));
        }
    }
}
