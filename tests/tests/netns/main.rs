//! The real daemon and real peers over a veth: what the kernel counted is what the peers sent, limits hold,
//! and enforcement outlives whatever goes wrong beside it. Needs root; traffic stays in the test's namespaces.
#![expect(clippy::unwrap_used, reason = "a test panics: the backtrace says where")]

mod alerts;
mod bad_input;
mod binds;
mod call_limit;
mod callers;
mod calls;
mod capacity;
mod control;
mod counts;
mod database;
mod janitor;
mod limits;
mod proxy;
mod records;
mod refusals;
mod reload;
mod scanners;
mod scanning;
mod survival;
mod webhook;

/// A plan without limits for `acme` and for unknown sources.
const OPEN: &str = "[plans.open]\n[accounts.acme]\nsources = ['203.0.113.0/24', '2001:db8:1::/48']\nplan = 'open'\n\
                    [unknown]\nplan = 'open'\nmode = 'enforce'";

/// `acme` under a plan of these limits, as lines of TOML below `[plans.tested.account]`; strangers unlimited.
fn limited(account: &str) -> String {
    format!(
        "[plans.open]\n[plans.tested.account]\n{account}\n\
         [accounts.acme]\nsources = ['203.0.113.0/24', '2001:db8:1::/48']\nplan = 'tested'\n\
         [unknown]\nplan = 'open'\nmode = 'enforce'"
    )
}
