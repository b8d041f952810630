//! INVITEs over TCP that are refused in SIP's own words: Kamailio answers them, or baresip, and SIPp is told 503.

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use edge_tests::baresip::Baresip;
use edge_tests::edge::{Edge, binary};
use edge_tests::kamailio::Kamailio;
use edge_tests::netns::{ACME, Lab, SERVER};
use edge_tests::peers::{Caller, PATIENT, Sipp};
use edge_tests::process::wait_until;
use edge_tests::sip::Request;

use crate::{connections, limited};

const LONG: Duration = Duration::from_mins(2);
const SOON: Duration = Duration::from_secs(30);
const RATE: u32 = 20;
/// What is earned while a client stands still for three seconds, so that nothing of it is lost.
const BURST: u32 = 3 * RATE;

const USER: &str = "441632960123";

fn native() -> String {
    native_through("proxy")
}

fn native_through(server: &str) -> String {
    let limit = format!("sip.invite = '{RATE}/s burst {BURST}'");
    let sip = format!("[sip]\nstream_refusal = 'native'\nstream_server = '{server}'");
    format!("{sip}\n[native]\nanswer_within = '1s'\n{}", limited(&limit))
}

fn caller(rate: u32, count: u32) -> Caller<'static> {
    Caller {
        scenario: "caller",
        source: ACME,
        rate,
        count,
        hold: Duration::from_millis(200),
        user: USER,
        patience: PATIENT,
    }
}

fn kamailio(lab: &Lab, edge: &Edge<'_>, options: &[&str]) -> Kamailio {
    let here = |program: &Path| lab.edge.command(program);
    Kamailio::start(here, "kamailio.cfg", &[&["-A", "WITH_TCP"], options].concat(), edge.directory()).unwrap()
}

/// Five times what is allowed, to Kamailio.
fn push(is_shared: bool) {
    let lab = Lab::make().unwrap();
    let edge = Edge::start(&lab, &native()).unwrap();
    let kamailio = kamailio(&lab, &edge, &[]);
    let answering = Sipp::server_at(&lab, edge.directory(), "callee", (SERVER, 5070)).unwrap();
    let passed = push_at(&lab, &edge, is_shared, || kamailio.said());
    assert_eq!(answering.stop().unwrap()["BYE_Recv"], passed, "each call ended");
}

/// Five times what is allowed: each is answered, and those that were refused are told so. How many passed.
fn push_at(lab: &Lab, edge: &Edge<'_>, is_shared: bool, said: impl Fn() -> String) -> u64 {
    let (rate, count) = (100, 1000);
    let began = Instant::now();
    let client = Sipp::tcp_client(lab, edge.directory(), &caller(rate, count), is_shared).unwrap();
    let sent = client.finish(LONG).unwrap();
    let most = began.elapsed();
    let of = |name: &str| sent.get(name).copied().unwrap_or(0);
    let (passed, refused) = (of("BYE_Sent"), of("503_Recv"));
    assert_eq!(of("INVITE_Sent"), u64::from(count), "{sent:?}");
    assert_eq!(passed + refused, u64::from(count), "each is answered: {sent:?}\n{}", said());

    let counted = |allowance: &str| edge.messages("acme", "sip.invite", allowance).unwrap();
    edge.settled("acme").unwrap();
    assert_eq!(counted("refused"), refused);
    assert_eq!(counted("admitted") + counted("observed"), passed);
    assert_metered(passed, Duration::from_millis(u64::from(1000 * (count - 1) / rate)), most);
    let listener = edge.status().unwrap().listeners.into_iter().find(|it| it.port == 5060).unwrap();
    assert_eq!((listener.refused, listener.answered, listener.unmatched), (refused, refused, 0));
    assert_eq!((listener.waiting, listener.fallen_back_at), (0, None));
    passed
}

/// Burst and rate x time, to one percent.
fn assert_metered(passed: u64, least: Duration, most: Duration) {
    let of = |time: Duration| f64::from(BURST) + f64::from(RATE) * time.as_secs_f64();
    let passed = f64::from(u32::try_from(passed).unwrap());
    assert!((of(least) * 0.99..=of(most) * 1.01).contains(&passed), "{passed} passed, {least:?} to {most:?}");
}

#[test]
fn calls_over_the_limit_on_one_connection_are_told_so_and_the_others_go_through() {
    push(true);
}

#[test]
fn calls_over_the_limit_on_a_connection_each_are_told_so_and_the_others_go_through() {
    push(false);
}

/// Not calls alone: a proxy may pass on no request without hops, and so a registrar behind it does not hear of it.
#[test]
fn registrations_over_the_limit_are_told_so_by_a_proxy() {
    const ALL: usize = 10;
    let lab = Lab::make().unwrap();
    let edge =
        Edge::start(&lab, &native().replace("sip.invite", "sip.register = '1/hour burst 3'\nsip.invite"))
            .unwrap();
    let _kamailio = kamailio(&lab, &edge, &[]);
    let mut stream = connections::open(&lab.peer, 5060).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    let (mut heard, mut octets) = (String::new(), [0; 4096]);
    for number in 0..ALL {
        stream.write_all(&Request::new("REGISTER").call_id(&number.to_string()).bytes()).unwrap();
        while heard.matches("\r\n\r\n").count() <= number {
            let read = stream.read(&mut octets).unwrap();
            assert_ne!(read, 0, "Kamailio has hung up; it said:\n{heard}");
            heard.push_str(&String::from_utf8_lossy(&octets[..read]));
        }
    }
    let told = |status: &str| heard.matches(&format!("SIP/2.0 {status}")).count();
    // Three were asked for credentials.
    assert_eq!((told("401 "), told("503 Rate Exceeded")), (3, ALL - 3), "{heard}");
    edge.settled("acme").unwrap();
    let counted = |allowance: &str| edge.messages("acme", "sip.register", allowance).unwrap();
    assert_eq!((counted("admitted"), counted("refused"), counted("observed")), (3, 7, 0));
}

/// A server that ends calls itself does not look at Max-Forwards; it must look at Require.
#[test]
fn a_user_agent_refuses_what_asks_more_of_it_than_it_knows() {
    let lab = Lab::make().unwrap();
    let edge = Edge::start(&lab, &native_through("b2bua")).unwrap();
    let baresip = Baresip::start(&lab, edge.directory(), USER).unwrap();
    let passed = push_at(&lab, &edge, true, || baresip.said());
    assert!(passed >= u64::from(BURST), "{passed} passed");
}

/// A server that passes calls on whatever their hops: the port drops in their place, until a person says otherwise.
#[test]
fn a_port_whose_server_does_not_look_at_hops_drops_until_a_reload() {
    let lab = Lab::make().unwrap();
    let edge = Edge::start(&lab, &native()).unwrap();
    let _kamailio = kamailio(&lab, &edge, &["-A", "WITHOUT_HOPS"]);
    let answering = Sipp::server_at(&lab, edge.directory(), "callee", (SERVER, 5070)).unwrap();
    let listener = |edge: &Edge<'_>| {
        let listeners = edge.status().unwrap().listeners;
        listeners.into_iter().find(|it| it.port == 5060).unwrap()
    };
    let client = Sipp::tcp_client(&lab, edge.directory(), &caller(60, 1000), true).unwrap();
    wait_until("the port drops", SOON, || listener(&edge).fallen_back_at.is_some());
    assert!(edge.ctl(&["status"]).unwrap().contains("PORT 5060 DROPS"));
    let alerts = |edge: &Edge<'_>| edge.ctl(&["alerts", "list", "--open"]).unwrap();
    wait_until("an alert tells", SOON, || alerts(&edge).contains("refusals_unanswered"));
    let shown = listener(&edge);
    assert!(shown.refused > 0 && shown.answered == 0, "{shown:?}");
    drop(client);
    edge.ctl(&["reload"]).unwrap();
    assert_eq!(listener(&edge).fallen_back_at, None);
    wait_until("the alert is over", SOON, || !alerts(&edge).contains("refusals_unanswered"));
    drop(answering);
}

/// The doctor asks through Edge, as a customer would: a proxy bears it and rings nobody; who passes calls on does not, and they are
/// ended where they were taken; a user agent bears the other form.
#[test]
fn the_doctor_finds_out_who_looks_at_what() {
    let lab = Lab::make().unwrap();
    let edge = Edge::start(&lab, &native()).unwrap();
    let callee = || Sipp::server_at(&lab, edge.directory(), "callee_takes", (SERVER, 5070)).unwrap();
    let asked = || {
        let mut doctor = lab.peer.command(binary("edgectl").unwrap());
        doctor.args(["--json", "doctor", "sip", &format!("{SERVER}:5060"), "--user", USER]);
        let output = doctor.output().unwrap();
        let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(said["native"] == true, output.status.success(), "{said}");
        said
    };
    let (proxy, answering) = (kamailio(&lab, &edge, &[]), callee());
    let said = asked();
    assert!(said["stream_server"] == "proxy" && said["steps"].as_array().unwrap().len() == 6, "{said}");
    for step in [1, 3, 5] {
        assert_eq!(said["steps"][step]["found"], "483 Too Many Hops", "{said}");
    }
    assert_eq!(answering.stop().unwrap()["INVITE_Recv"], 0, "nobody was rung");
    drop(proxy);
    let (proxy, answering) = (kamailio(&lab, &edge, &["-A", "WITHOUT_HOPS"]), callee());
    let said = asked();
    assert!(said["native"] == false && said["stream_server"].is_null(), "{said}");
    let heard = answering.stop().unwrap();
    assert_eq!(["INVITE_Recv", "ACK_Recv", "BYE_Recv"].map(|it| heard[it]), [2; 3], "taken, and ended");
    drop(proxy);
    let _baresip = Baresip::start(&lab, edge.directory(), USER).unwrap();
    let said = asked();
    assert!(said["stream_server"] == "b2bua" && said["steps"][3]["found"] == "420 Bad Extension", "{said}");
}
