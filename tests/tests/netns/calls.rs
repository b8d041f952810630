//! Concurrent calls under a real server and a real caller: slots come back.

use std::path::Path;
use std::time::Duration;

use aya::maps::{Array, Map, MapData};
use edge_ebpf::abi::{ABI_VERSION, AccountState, CallCount, map};
use edge_tests::edge::Edge;
use edge_tests::netns::{ACME, Lab};
use edge_tests::peers::Sipp;
use edge_tests::process::wait_until;

use crate::OPEN;

const LONG: Duration = Duration::from_mins(1);

#[test]
fn every_call_of_a_real_caller_gives_its_slot_back() {
    let lab = Lab::make().unwrap();
    let edge = Edge::start(&lab, OPEN).unwrap();
    let server = Sipp::server(&lab, edge.directory()).unwrap();
    let sent = Sipp::client(&lab, edge.directory(), "uac", ACME, 100, 300).unwrap().finish(LONG).unwrap();
    assert_eq!(server.stop().unwrap()["BYE_Recv"], sent["INVITE_Sent"]);
    let account = || pinned_account(edge.pins());
    wait_until("every slot is back", LONG, || account().calls_active == 0);
    let calls = account().counters.calls;
    for what in [CallCount::Admitted, CallCount::Answered, CallCount::Ended] {
        assert_eq!(calls[what.index()], sent["INVITE_Sent"], "{what}");
    }
}

/// The state of account `acme`, number 1, as the kernel has it.
fn pinned_account(pins: &Path) -> AccountState {
    let map = MapData::from_pin(pins.join(format!("v{ABI_VERSION}/{}", map::ACCOUNTS))).unwrap();
    let accounts: Array<_, AccountState> = Array::try_from(Map::Array(map)).unwrap();
    accounts.get(&1, 0).unwrap()
}
