//! Kannel before the edge: a gateway that takes `ESME_RTHROTTLED` for what it is, and sends again.

use std::time::Duration;

use edge_tests::edge::Edge;
use edge_tests::kannel::Kannel;
use edge_tests::netns::{ACME, Lab};
use edge_tests::peers::{Smsc, SmscKind};
use edge_tests::process::wait_until;

use crate::limited;

const LONG: Duration = Duration::from_mins(1);

/// Far more than the burst: it is told so, waits, and brings everything through in the end, each message once.
#[test]
fn kannel_is_throttled_and_everything_arrives_once() {
    const MESSAGES: u32 = 60;
    let lab = Lab::make().unwrap();
    let rates = limited("smpp.submit = '20/s burst 10'");
    let edge = Edge::start(&lab, &format!("[smpp]\nrefusal = 'native'\n{rates}")).unwrap();
    let server = Smsc::start_kind(&lab, edge.directory(), SmscKind::Npm).unwrap();
    let kannel = Kannel::start(&lab, edge.directory(), ACME).unwrap();
    kannel.send(&lab, MESSAGES).unwrap();
    wait_until("Kannel has sent everything", LONG, || kannel.counts().unwrap().sent == u64::from(MESSAGES));
    let told = kannel.counts().unwrap();
    let got = server.stop().unwrap();
    assert!(told.throttled > 0 && told.failed == 0, "{told:?}\n{}", kannel.said());
    assert_eq!(u64::try_from(got.submits_at.len()).unwrap(), told.sent, "{told:?}");
    assert_eq!(edge.messages("acme", "smpp.submit", "admitted").unwrap(), told.sent);
    assert_eq!(edge.messages("acme", "smpp.submit", "refused").unwrap(), told.throttled);
}
