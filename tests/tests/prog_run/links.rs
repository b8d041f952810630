//! `enquire_link` and its answer in the kernel: each side of a bind is timed.

use edge_ebpf::abi::FlowKey;
use edge_tests::fixtures::world::{ACME_SOURCE, SERVER, SMPP_PORT, Scenario, mapped};
use edge_tests::lent::Lent;
use edge_tests::packet::{Frame, Tcp};
use edge_tests::smpp::{bind, bind_response, command, enquire_link, pdu};

const PORT: u16 = 40_000;
const ISN: u32 = 1000;
const ENQUIRE_LINK_RESP: u32 = command::ENQUIRE_LINK | 0x8000_0000;

/// A connection with a bind.
struct Session<'a> {
    kernel: &'a mut Lent,
    /// Sequence numbers of the next octet, of the client and of the server.
    next: [u32; 2],
}

impl<'a> Session<'a> {
    fn begin(kernel: &'a mut Lent) -> Self {
        kernel.prepare(&Scenario::open()).unwrap();
        let mut session = Self { kernel, next: [ISN, ISN] };
        session.client(Tcp::syn(PORT, SMPP_PORT, ISN), b"");
        session.server(Tcp::syn(SMPP_PORT, PORT, ISN).flags(Tcp::SYN | Tcp::ACK), b"");
        session.next = [ISN + 1; 2];
        session.asks(&bind(command::BIND_TRANSCEIVER, 1, "acme"));
        session.says(&bind_response(command::BIND_TRANSCEIVER, 0, 1));
        session
    }

    fn client(&mut self, header: Tcp, payload: &[u8]) {
        self.kernel.send(&Frame::ipv4(ACME_SOURCE, SERVER).tcp(header).payload(payload).bytes()).unwrap();
    }

    fn server(&mut self, header: Tcp, payload: &[u8]) {
        self.kernel.leave(&Frame::ipv4(SERVER, ACME_SOURCE).tcp(header).payload(payload).bytes()).unwrap();
    }

    /// The client sends what follows.
    fn asks(&mut self, octets: &[u8]) {
        self.client(Tcp::data(PORT, SMPP_PORT, self.next[0]), octets);
        self.next[0] += u32::try_from(octets.len()).unwrap();
    }

    /// The server does.
    fn says(&mut self, octets: &[u8]) {
        self.server(Tcp::data(SMPP_PORT, PORT, self.next[1]), octets);
        self.next[1] += u32::try_from(octets.len()).unwrap();
    }

    /// Whether an `enquire_link` to the server has been timed, and one to the client.
    fn timed(&self) -> (bool, bool) {
        let bind = self
            .kernel
            .bind(&FlowKey {
                source: mapped(ACME_SOURCE),
                destination: mapped(SERVER),
                source_port: PORT.to_be_bytes(),
                destination_port: SMPP_PORT.to_be_bytes(),
            })
            .unwrap();
        (bind.server_link_ns != 0, bind.client_link_ns != 0)
    }
}

fn answer(sequence: u32) -> Vec<u8> {
    pdu(ENQUIRE_LINK_RESP, 0, sequence, &[])
}

/// Any `sequence_number`: 0 is none of SMPP's (SMPP 3.4, 5.1.4), and there are peers that begin with it.
#[test]
fn an_enquire_link_is_timed_by_its_answer() {
    let mut kernel = Lent::take().unwrap();
    for sequence in [0, 1, u32::MAX] {
        let mut session = Session::begin(&mut kernel);
        session.says(&answer(sequence));
        session.asks(&answer(sequence));
        assert_eq!(session.timed(), (false, false), "nobody has asked, {sequence}");
        session.asks(&enquire_link(sequence));
        session.says(&answer(sequence ^ 2));
        assert_eq!(session.timed(), (false, false), "another's answer, {sequence}");
        session.says(&answer(sequence));
        assert_eq!(session.timed(), (true, false), "{sequence}");
        session.says(&enquire_link(sequence));
        session.asks(&answer(sequence));
        assert_eq!(session.timed(), (true, true), "{sequence}");
    }
}
