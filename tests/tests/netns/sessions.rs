//! SMPP sessions in great number, and one that is none.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use edge_tests::crowd::{Sessions, allow_files};
use edge_tests::edge::Edge;
use edge_tests::netns::{ACME, ACME_OTHER, Lab, SERVER};
use edge_tests::peers::{Esme, Smsc};
use edge_tests::process::wait_until;
use edge_tests::smpp;
use edge_user::api::types::LiveBind;

use crate::limited;

const LONG: Duration = Duration::from_mins(1);
const SOON: Duration = Duration::from_secs(30);

const MANY: usize = 10_000;

#[test]
fn ten_thousand_binds_are_alive_at_once_and_each_is_counted() {
    allow_files().unwrap();
    let lab = Lab::make().unwrap();
    let edge = Edge::start(
        &lab,
        "[capacity]\nflows = 65536\n[plans.open]\n[unknown]\nplan = 'open'\n\
         [accounts.acme]\nsources = ['203.0.113.0/24']\nplan = 'open'\nsystem_ids = ['acme']\n",
    )
    .unwrap();
    let server = Smsc::start(&lab, edge.directory()).unwrap();
    let mut sessions = lab.peer.enter(|| Sessions::bind(ACME, MANY, "acme")).unwrap();

    let many = MANY.to_string();
    let binds: Vec<LiveBind> = edge.read(&["binds", "list", "--account", "acme", "--limit", &many]).unwrap();
    assert_eq!(binds.iter().filter(|bind| bind.state == "bound").count(), MANY);
    let metric = |name: &str| metric(&lab, name);
    // What is alive is read at the scrape, what was counted once a second.
    wait_until("the metrics say so", SOON, || {
        metric("edge_binds_active{account=\"acme\"}") == Some(10_000.0)
            && metric("edge_binds_total{account=\"acme\",result=\"accepted\"}") == Some(10_000.0)
    });

    sessions.submit().unwrap();
    wait_until("the server has them all", LONG, || server.so_far().unwrap().submits_at.len() == MANY);
    assert_eq!(edge.messages("acme", "smpp.submit", "admitted").unwrap(), 10_000);
    let status = edge.status().unwrap();
    assert_eq!(
        status.outcomes.get("smpp_unsynchronised"),
        None,
        "every connection was kept: {:?}",
        status.outcomes
    );

    sessions.unbind().unwrap();
    wait_until("none is left", LONG, || {
        metric("edge_binds_active{account=\"acme\"}") == Some(0.0)
            && metric("edge_binds_total{account=\"acme\",result=\"ended\"}") == Some(10_000.0)
    });
    assert!(edge.read::<Vec<LiveBind>>(&["binds", "list"]).unwrap().is_empty());
}

/// A length that no PDU has: from there on nobody knows where PDUs begin. Each segment is as many messages as have room in
/// it, so the account's limit holds, and its other bind is framed and answered as ever.
#[test]
fn garbage_on_a_bind_is_told_of_and_metered_by_length_and_the_accounts_other_bind_goes_on() {
    const GARBAGE: u32 = 20;
    let lab = Lab::make().unwrap();
    let rates = limited("smpp.submit = '1/hour burst 60'")
        .replace("plan = 'tested'", "plan = 'tested'\nsystem_ids = ['acme']");
    let edge = Edge::start(&lab, &format!("[smpp]\nrefusal = 'native'\n{rates}")).unwrap();
    let server = Smsc::start(&lab, edge.directory()).unwrap();
    let other = ["--count", "50", "--window", "10", "--rate", "10", "--enquire-links", "2"];
    let other = Esme::start(&lab, edge.directory(), ACME_OTHER, &other).unwrap();

    // Closed when the test ends: the server waits for what the length promises.
    let _garbled = lab
        .peer
        .enter(|| {
            let mut stream = TcpStream::connect((SERVER, 2775))?;
            stream.set_nodelay(true)?;
            stream.write_all(&smpp::bind(smpp::command::BIND_TRANSCEIVER, 1, "acme"))?;
            // The server answers with the system_id that it was given.
            stream.set_read_timeout(Some(SOON))?;
            stream.read_exact(&mut [0; 16 + "acme\0".len()])?;
            for _ in 0..GARBAGE {
                // Room for two.
                stream.write_all(&[0xfe; 40])?;
                // Acknowledged by then, and so a segment of its own.
                thread::sleep(Duration::from_millis(50));
            }
            Ok(stream)
        })
        .unwrap();
    let told = other.finish(LONG).unwrap();
    let got = server.stop().unwrap();

    let status = edge.status().unwrap();
    assert_eq!(status.outcomes["smpp_malformed"], u64::from(GARBAGE), "{:?}", status.outcomes);
    let metric = metric(&lab, "edge_packets_total{outcome=\"smpp_malformed\"}");
    assert_eq!(metric, Some(f64::from(GARBAGE)));
    let throttled = told.statuses.get("0x58").copied().unwrap_or_default();
    assert_eq!((told.ok, throttled, &told.error), (20, 30, &None), "sixty less the garbage: {told:?}");
    assert_eq!(told.answered["enquire_link_resp"], 2, "{told:?}");
    assert_eq!(u64::try_from(got.submits_at.len()).unwrap(), told.ok);
    assert_eq!(edge.messages("acme", "smpp.submit", "admitted").unwrap(), 60);
    assert_eq!(edge.messages("acme", "smpp.submit", "refused").unwrap(), throttled);
}

/// An operator takes an account away and brings it back while it is bound: the bind that ends then is one that was counted.
#[test]
fn an_account_that_went_and_came_back_binds_again_when_its_old_bind_has_ended() {
    let without = "[plans.open]\n[plans.single]\nbinds = 1\n[unknown]\nplan = 'open'\n";
    let with = format!(
        "{without}[accounts.acme]\nsources = ['203.0.113.0/24']\nplan = 'single'\nsystem_ids = ['acme']\n"
    );
    let lab = Lab::make().unwrap();
    let edge = Edge::start(&lab, &with).unwrap();
    let _server = Smsc::start(&lab, edge.directory()).unwrap();
    let bind = || lab.peer.enter(|| Sessions::bind(ACME, 1, "acme"));
    let first = bind().unwrap();
    for configuration in [without, &with] {
        edge.configure(configuration).unwrap();
        edge.ctl(&["reload"]).unwrap();
    }
    first.unbind().unwrap();
    wait_until("the bind is over", SOON, || {
        edge.read::<Vec<LiveBind>>(&["binds", "list"]).unwrap().is_empty()
    });
    bind().unwrap().unbind().unwrap();
}

/// The value of one series.
pub(crate) fn metric(lab: &Lab, series: &str) -> Option<f64> {
    let text = lab
        .edge
        .enter(|| {
            let mut stream = TcpStream::connect("127.0.0.1:9912")?;
            stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: edge\r\nConnection: close\r\n\r\n")?;
            let mut text = String::new();
            stream.read_to_string(&mut text)?;
            Ok(text)
        })
        .unwrap();
    text.lines().find_map(|line| line.strip_prefix(series))?.trim().parse().ok()
}
