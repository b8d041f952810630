//! Kamailio behind the edge: calls through a real proxy are counted and freed, with challenges and with CANCEL.

use std::time::Duration;

use edge_ebpf::abi::CallCount;
use edge_tests::edge::Edge;
use edge_tests::kamailio::Kamailio;
use edge_tests::kernel::Mirror;
use edge_tests::netns::{ACME, Lab, PEER_INTERFACE, SERVER};
use edge_tests::peers::{Caller, PATIENT, Sipp};
use edge_tests::pinned::{self, ACME_NUMBER};
use edge_tests::process::wait_until;

const LONG: Duration = Duration::from_mins(2);
const TEN: &str = "[plans.ten]\ncalls = 10\n[accounts.acme]\nsources = ['203.0.113.0/24']\nplan = 'ten'\n\
                   [sip.answer]\ninvite = 'answer'\n";

#[test]
fn calls_through_kamailio_are_counted_challenged_refused_and_freed() {
    let lab = Lab::make().unwrap();
    let _mirror = Mirror::hold(&lab.peer, PEER_INTERFACE).unwrap();
    let edge = Edge::start(&lab, TEN).unwrap();
    let kamailio =
        Kamailio::start(|program| lab.edge.command(program), "kamailio.cfg", &[], edge.directory()).unwrap();
    let answering = Sipp::server_at(&lab, edge.directory(), "callee", (SERVER, 5070)).unwrap();
    // Twenty a second of two seconds would be forty at once.
    let hold = Duration::from_secs(2);
    let caller = Caller {
        scenario: "caller",
        source: ACME,
        rate: 20,
        count: 100,
        hold,
        user: "441632960123",
        patience: PATIENT,
    };
    let sent = Sipp::caller(&lab, edge.directory(), &caller).unwrap().finish(LONG).unwrap();
    let of = |name: &str| sent.get(name).copied().unwrap_or(0);
    let count = |of: CallCount| pinned::account(edge.pins(), ACME_NUMBER).unwrap().counters.calls[of.index()];
    let freed = || {
        wait_until("every slot is back", LONG, || {
            let account = pinned::account(edge.pins(), ACME_NUMBER).unwrap();
            account.calls_active == 0 && pinned::calls(edge.pins()).unwrap().is_empty()
        });
    };
    freed();
    assert!(of("503_Recv") > 0 && of("BYE_Sent") >= 10, "{sent:?}\n{}", kamailio.said());
    assert_eq!((of("INVITE_Retrans"), of("503_Retrans")), (0, 0), "{sent:?}");
    assert_eq!(count(CallCount::Refused), of("503_Recv"));
    assert_eq!((count(CallCount::Answered), count(CallCount::Ended)), (of("BYE_Sent"), of("BYE_Sent")));

    // Each is challenged first, and gives its slot back with that. So few at once that none is refused.
    let caller = Caller { scenario: "caller_auth", rate: 2, count: 15, user: "12025550123", ..caller };
    let with_password = Sipp::caller(&lab, edge.directory(), &caller).unwrap().finish(LONG).unwrap();
    freed();
    let (answered, ended) = (count(CallCount::Answered), count(CallCount::Ended));
    assert_eq!(count(CallCount::Challenged), 15, "{with_password:?}\n{}", kamailio.said());
    assert_eq!((answered - of("BYE_Sent"), ended - of("BYE_Sent")), (15, 15), "{with_password:?}");
    assert_eq!(answering.stop().unwrap()["BYE_Recv"], answered);

    // And who gives up while it rings.
    let ringing = Sipp::server_at(&lab, edge.directory(), "callee_rings", (SERVER, 5071)).unwrap();
    let caller = Caller { scenario: "caller_cancel", rate: 5, count: 10, user: "999", ..caller };
    let given_up = Sipp::caller(&lab, edge.directory(), &caller).unwrap().finish(LONG).unwrap();
    freed();
    ringing.stop().unwrap();
    assert_eq!((given_up["CANCEL_Sent"], given_up["487_Recv"]), (10, 10), "{}", kamailio.said());
    assert_eq!(count(CallCount::Ended) - ended, 10);
    wait_until("the records say how each ended", LONG, || {
        let csv = edge.ctl(&["calls", "export", "--format", "csv"]).unwrap();
        let ended = |how: &str| csv.matches(how).count() as u64;
        ended(",487,cancelled,caller,") == 10 && ended(",200,completed,caller,") == answered
    });
    assert_eq!(edge.status().unwrap().calls.corrected, 0, "count and calls never differed");
}
