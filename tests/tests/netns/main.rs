//! The real daemon and real peers over a veth: what the kernel counted is what the peers sent, limits hold,
//! and enforcement outlives whatever goes wrong beside it. Needs root; traffic stays in the test's namespaces.
#![expect(clippy::unwrap_used, reason = "a test panics: the backtrace says where")]

use std::time::Duration;

use edge_tests::edge::Edge;
use edge_tests::netns::{ACME, Lab};
use edge_tests::peers::{Caller, IMPATIENT, Sipp};

mod alerts;
mod bad_input;
mod binds;
mod call_limit;
mod callers;
mod calls;
mod capacity;
mod connections;
mod control;
mod counts;
mod database;
mod janitor;
mod kannel;
mod limits;
mod messages;
mod proxy;
mod records;
mod refusals;
mod reload;
mod rough;
mod scanners;
mod scanning;
mod senders;
mod sessions;
mod sip_native;
mod sip_tcp;
mod survival;
mod webhook;

/// A plan without limits for `acme` and for unknown sources.
const OPEN: &str = "[plans.open]\n[accounts.acme]\nsources = ['203.0.113.0/24', '2001:db8:1::/48']\nplan = 'open'\n\
                    [unknown]\nplan = 'open'\nmode = 'enforce'";

const LONG: Duration = Duration::from_mins(1);

/// Calls of `acme` that reach the server, of those offered; the others are given up soon.
fn arrived(lab: &Lab, edge: &Edge<'_>, count: u32) -> u64 {
    let server = Sipp::server(lab, edge.directory()).unwrap();
    let (hold, user) = (Duration::ZERO, "441632960123");
    let caller = Caller { scenario: "uac", source: ACME, rate: 100, count, hold, user, patience: IMPATIENT };
    Sipp::once(lab, edge.directory(), &caller).unwrap().finish(LONG).unwrap();
    server.stop().unwrap()["INVITE_Recv"]
}

/// `acme` under a plan of these limits, as lines of TOML below `[plans.tested.account]`; strangers unlimited.
fn limited(account: &str) -> String {
    format!(
        "[plans.open]\n[plans.tested.account]\n{account}\n\
         [accounts.acme]\nsources = ['203.0.113.0/24', '2001:db8:1::/48']\nplan = 'tested'\n\
         [unknown]\nplan = 'open'\nmode = 'enforce'"
    )
}
