//! Binds, through client and server.

use edge_user::api::types::LiveBind;

use crate::edgectl::{edgectl, text};
use crate::fake::{Served, noon};

const ID: &str = "203.0.113.7:40000-198.51.100.10:2775";

pub(crate) fn live_bind() -> LiveBind {
    LiveBind {
        id: ID.to_owned(),
        account: "acme".to_owned(),
        system_id: "acmebulk".to_owned(),
        bind_type: "transceiver".to_owned(),
        state: "bound".to_owned(),
        source: "203.0.113.7:40000".to_owned(),
        server: "198.51.100.10".to_owned(),
        server_port: 2775,
        age_secs: 3725,
        requested_at: noon(),
        bound_at: Some(noon()),
        heard_at: None,
        submitted: 120,
        responded: 113,
        outstanding: 7,
        server_link_ms: Some(1.5),
        client_link_ms: None,
        refused: 12,
        answered: 11,
        unmatched: 0,
    }
}

#[test]
fn a_bind_is_a_line_and_what_is_not_known_a_dash() {
    let served = Served::start();
    assert_eq!(
        text(&edgectl(&served.socket, "binds list")),
        "\
ACCOUNT  SYSTEM ID  TYPE         STATE       AGE  HEARD  OUTSTANDING  REFUSED  ID
acme     acmebulk   transceiver  bound  1h 2m 5s  -                7       12  203.0.113.7:40000-198.51.100.10:2775
"
    );
    let cut = text(&edgectl(&served.socket, "binds list --limit 1"));
    assert!(cut.ends_with("\nthe 1 oldest; --limit shows more\n"), "{cut}");
}

#[test]
fn a_bind_is_shown_by_both_ends_of_its_connection() {
    let served = Served::start();
    let shown = text(&edgectl(&served.socket, &format!("binds show {ID}")));
    assert!(shown.contains("\nsystem id    acmebulk\n") && shown.contains("\nanswered     11\n"), "{shown}");
    assert!(shown.contains("\noutstanding  7\nsubmitted    120\nresponded    113\n"), "{shown}");
    let six = edgectl(&served.socket, "binds show [2001:db8::7]:1-[2001:db8::1]:2775");
    assert_eq!(six.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&six.stderr).contains("[2001:db8::7]:1-[2001:db8::1]:2775"), "{six:?}");
}
