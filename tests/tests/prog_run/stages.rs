//! A stage that is missing: what would have gone on there passes, and is counted.

use edge_ebpf::abi::{EgressOutcome, EgressStage, IngressStage, Outcome, map, program};
use edge_tests::fixtures::packets::row;
use edge_tests::fixtures::world::{ACME, ACME_SOURCE, SERVER, SMPP_PORT, Scenario};
use edge_tests::kernel::{Kernel, XDP_PASS};
use edge_tests::lent::Lent;
use edge_tests::packet::{Frame, Tcp};
use edge_tests::smpp::{command, data_sm_receipt, pdu, submit_sm};

const PORT: u16 = 40_000;
const ISN: u32 = 1000;
/// The packet goes on to the next program (`linux/pkt_cls.h`).
const TC_ACT_UNSPEC: u32 = u32::MAX;

/// Even what would have been refused.
#[test]
fn a_packet_whose_stage_is_missing_passes_unjudged() {
    let mut kernel = Lent::take().unwrap();
    for (stage, name) in [
        (IngressStage::Sip, "sip_over_limit"),
        (IngressStage::SipReply, "sip_refused_503"),
        (IngressStage::SipStream, "sip_tcp_over_account"),
        (IngressStage::Smpp, "smpp_over_limit"),
        (IngressStage::Unread, "banned_tls"),
    ] {
        let row = row(name);
        kernel.prepare(&row.before).unwrap();
        let run = kernel
            .without(map::INGRESS_STAGES, stage.index(), |kernel| kernel.send(&row.frame).unwrap())
            .unwrap();
        assert_eq!((run.outcome, run.verdict), (Outcome::Unjudged, XDP_PASS), "{name} without {stage}");
        kernel.prepare(&row.before).unwrap();
        let run = kernel.send(&row.frame).unwrap();
        assert_eq!(run.outcome, row.outcome, "{name} with {stage}");
    }
}

/// What follows when a packet is judged is left out, and the packet stays what it was judged to be.
#[test]
fn what_leaves_passes_though_what_would_follow_is_missing() {
    let mut kernel = Lent::take().unwrap();
    let mut before = Scenario::open();
    before.message_records = u32::MAX;
    let message = submit_sm(1, "4416329601", b"hi");
    let says =
        [pdu(command::SUBMIT_SM | 0x8000_0000, 0, 1, b"id\0"), data_sm_receipt(2, "441632960100", 4, 2)];
    for missing in [None, Some(EgressStage::RecordMessages), Some(EgressStage::CountReceipts)] {
        kernel.prepare(&before).unwrap();
        let _ = kernel.messages().unwrap();
        let came =
            |header, payload: &[u8]| Frame::ipv4(ACME_SOURCE, SERVER).tcp(header).payload(payload).bytes();
        let left =
            |header, payload: &[u8]| Frame::ipv4(SERVER, ACME_SOURCE).tcp(header).payload(payload).bytes();
        kernel.send(&came(Tcp::syn(PORT, SMPP_PORT, ISN), b"")).unwrap();
        kernel.leave(&left(Tcp::syn(SMPP_PORT, PORT, ISN).flags(Tcp::SYN | Tcp::ACK), b"")).unwrap();
        kernel.send(&came(Tcp::data(PORT, SMPP_PORT, ISN + 1), &message)).unwrap();
        let frame = left(Tcp::data(SMPP_PORT, PORT, ISN + 1), &says.concat());
        let leave = |kernel: &mut Kernel| {
            let before = kernel.egress_outcomes().unwrap()[EgressOutcome::SmppSegment.index()];
            let (verdict, _) = kernel.became(program::EGRESS, &frame).unwrap();
            (verdict, kernel.egress_outcomes().unwrap()[EgressOutcome::SmppSegment.index()] - before)
        };
        let heard = match missing {
            None => leave(&mut kernel),
            Some(stage) => kernel.without(map::EGRESS_STAGES, stage.index(), leave).unwrap(),
        };
        assert_eq!(heard, (TC_ACT_UNSPEC, 1), "without {missing:?}");
        let counted: u64 = kernel.account(ACME).unwrap().counters.receipts.iter().sum();
        let recorded = kernel.messages().unwrap().len();
        // Where the receipts are counted is the way to the records.
        let expected = match missing {
            None => (1, 1),
            Some(EgressStage::RecordMessages) => (1, 0),
            Some(_) => (0, 0),
        };
        assert_eq!((counted, recorded), expected, "without {missing:?}");
    }
}
