//! Alerts reach their receiver: signed, once, and late rather than never.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use edge_tests::edge::Edge;
use edge_tests::netns::{ACME, Lab};
use edge_tests::peers::Sipp;
use edge_tests::process::wait_until;
use edge_tests::sink::{Delivery, Manner, SECRET, Sink};

const LONG: Duration = Duration::from_mins(1);

#[test]
fn an_alert_is_delivered_once_after_the_receiver_was_down_and_the_daemon_killed() {
    let lab = Lab::make().unwrap();
    let mut edge = with_webhook(&lab);
    // Nobody listens while the alert opens, and the daemon dies before anybody does.
    pump(&lab, &edge);
    wait_until("an alert waits in the outbox", LONG, || {
        edge.status().is_ok_and(|status| status.outbox_pending > 0)
    });
    edge.kill().unwrap();
    let sink = Sink::serve(lab.edge.listen(receiver()).unwrap(), Manner::Accept).unwrap();
    edge.start_daemon().unwrap();
    wait_until("the alert arrives", LONG, || !opened(&sink).is_empty());
    let alert = &opened(&sink)[0];
    assert!(alert.is_signed);
    assert_eq!(alert.body["data"]["finding"]["account"], "acme", "{}", alert.body);
    // Time for a second delivery, if there were one.
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(opened(&sink).len(), 1, "delivered once");
}

#[test]
fn a_receiver_that_fails_gets_the_same_message_again() {
    let lab = Lab::make().unwrap();
    let sink = Sink::serve(lab.edge.listen(receiver()).unwrap(), Manner::Fail).unwrap();
    let edge = with_webhook(&lab);
    pump(&lab, &edge);
    wait_until("an attempt fails", LONG, || !opened(&sink).is_empty());
    let refused = opened(&sink).len();
    sink.set_manner(Manner::Accept);
    wait_until("it is tried again", LONG, || opened(&sink).len() > refused);
    let ids: std::collections::BTreeSet<_> = opened(&sink).into_iter().map(|delivery| delivery.id).collect();
    assert_eq!(ids.len(), 1, "one id for every attempt: {ids:?}");
}

#[test]
fn a_redirect_is_not_followed_and_a_hanging_receiver_holds_nothing_up() {
    let lab = Lab::make().unwrap();
    let sink = Sink::serve(lab.edge.listen(receiver()).unwrap(), Manner::Redirect).unwrap();
    let edge = with_webhook(&lab);
    let redirected = edge.edgectl(&["webhook", "test", "noc"]).unwrap();
    assert!(!redirected.status.success(), "a redirect is a failure");
    let came = sink.deliveries().len();
    assert_eq!(came, 1, "and it is not followed: {}", String::from_utf8_lossy(&redirected.stderr));
    sink.set_manner(Manner::Hang);
    assert!(!edge.edgectl(&["webhook", "test", "noc"]).unwrap().status.success());
    assert!(edge.status().is_ok(), "the daemon answers meanwhile and afterwards");
}

fn receiver() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 9911))
}

fn opened(sink: &Sink) -> Vec<Delivery> {
    sink.deliveries().into_iter().filter(|delivery| delivery.kind() == "alert.opened").collect()
}

/// A daemon that takes many calls to one prefix for pumping, and tells `noc`.
fn with_webhook(lab: &Lab) -> Edge<'_> {
    let mut edge = Edge::prepare(lab, crate::OPEN).unwrap();
    let secret = edge.file("webhook.secret");
    fs::write(&secret, SECRET).unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    let sections = format!(
        "{}\n[detect.spike]\nenabled = false\n\
         [detect.pumping]\nwindow = '30s'\nmin_messages = 200\nshare = 0.5\nresolve_share = 0.1\n\
         [webhooks.noc]\nurl = 'http://{}/'\nsecret_files = ['{}']\nmin_severity = 'info'\ntimeout = '2s'\n",
        crate::OPEN,
        receiver(),
        secret.display(),
    );
    edge.configure(&sections).unwrap();
    edge.start_daemon().unwrap();
    edge
}

fn pump(lab: &Lab, edge: &Edge<'_>) {
    let server = Sipp::server(lab, edge.directory()).unwrap();
    Sipp::client(lab, edge.directory(), "uac", ACME, 200, 1000).unwrap().finish(LONG).unwrap();
    drop(server);
}
