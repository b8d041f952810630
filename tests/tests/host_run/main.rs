//! The packet table on the host: the same core as in the kernel, without root.

mod reference;

use edge_ebpf::abi::{Outcome, Verdict};
use edge_tests::fixtures::packets::{row, table};
use edge_tests::fixtures::world::SMPP_PORT;
use edge_tests::host::Host;

const NOW_NS: u64 = 1_000_000_000_000;

#[test]
fn every_row_ends_in_its_outcome() {
    let wrong: Vec<String> = table()
        .iter()
        .map(|row| (row, Host::prepare(&row.before, NOW_NS).send(&row.frame)))
        .filter(|(row, outcome)| *outcome != row.outcome)
        .map(|(row, outcome)| format!("{}: {outcome}, not {} ({})", row.name, row.outcome, row.description))
        .collect();
    assert!(wrong.is_empty(), "{} rows end otherwise:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn a_packet_cut_anywhere_is_dropped_only_by_a_limit() {
    for row in table() {
        for frame in row.truncations(0) {
            let mut host = Host::prepare(&row.before, NOW_NS);
            let outcome = host.send(frame);
            let may_drop = row.may_be_dropped(outcome);
            let at = format!("{} cut to {} bytes: {outcome}", row.name, frame.len());
            assert!(outcome.verdict() == Verdict::Pass || may_drop, "{at}");
        }
    }
}

/// A cut SMPP segment must not be charged for what it does not show, nor a cut request be taken for another.
#[test]
fn a_packet_that_lost_its_last_byte_is_never_counted_twice() {
    for row in table() {
        let Some(cut) = row.truncations(0).next() else { continue };
        let mut host = Host::prepare(&row.before, NOW_NS);
        let earlier: u64 = host.outcomes.values().sum();
        host.send(cut);
        host.send(&row.frame);
        assert_eq!(host.outcomes.values().sum::<u64>(), earlier + 2, "{}", row.name);
    }
}

#[test]
fn a_connection_that_is_not_smpp_is_told_once() {
    let row = row("smpp_garbage");
    let mut host = Host::prepare(&row.before, NOW_NS);
    for _ in 0..3 {
        assert_eq!(host.send(&row.frame), Outcome::SmppMalformed);
    }
    assert_eq!(host.connections.unframed, [SMPP_PORT]);
}
