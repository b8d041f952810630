//! Every row of the table, whole and cut short.

use edge_ebpf::abi::{Outcome, Verdict};
use edge_tests::fixtures::packets::{Row, table};
use edge_tests::kernel::{Kernel, Run, SHORTEST_FRAME, XDP_DROP, XDP_PASS, XDP_TX};

#[test]
fn every_row_ends_in_its_outcome_with_that_outcomes_verdict() {
    let mut kernel = Kernel::load().unwrap();
    let mut wrong = Vec::new();
    for row in table() {
        let run = send(&mut kernel, &row, &row.frame);
        if run != (Run { verdict: verdict(row.outcome), outcome: row.outcome }) {
            wrong.push(format!("{}: {} ({}), not {}", row.name, run.outcome, run.verdict, row.outcome));
        }
    }
    assert!(wrong.is_empty(), "{} rows end otherwise:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn a_packet_cut_anywhere_is_judged_and_dropped_only_by_a_limit() {
    let mut kernel = Kernel::load().unwrap();
    for row in table() {
        for frame in row.truncations(SHORTEST_FRAME) {
            let run = send(&mut kernel, &row, frame);
            let at = format!("{} cut to {} bytes: {run:?}", row.name, frame.len());
            assert_eq!(run.verdict, verdict(run.outcome), "{at}");
            let may_drop = row.before.can_drop() || row.outcome == Outcome::SmppBeyondHole;
            assert!(run.verdict == XDP_PASS || may_drop, "{at}");
        }
    }
}

#[test]
fn the_outcomes_sum_to_the_packets_seen() {
    let mut kernel = Kernel::load().unwrap();
    let before: u64 = kernel.outcomes().unwrap().iter().sum();
    let mut sent = 0;
    for row in table() {
        kernel.prepare(&row.before).unwrap();
        for frame in std::iter::once(&row.frame[..]).chain(row.truncations(SHORTEST_FRAME).step_by(7)) {
            kernel.send(frame).unwrap();
            sent += 1;
        }
        sent += row.before.earlier.iter().filter(|frame| !row.before.is_outward(frame)).count() as u64;
    }
    let after: u64 = kernel.outcomes().unwrap().iter().sum();
    assert_eq!(after - before, sent);
}

fn send(kernel: &mut Kernel, row: &Row, frame: &[u8]) -> Run {
    kernel.prepare(&row.before).unwrap();
    kernel.send(frame).unwrap()
}

fn verdict(outcome: Outcome) -> u32 {
    match outcome.verdict() {
        Verdict::Pass => XDP_PASS,
        Verdict::Drop => XDP_DROP,
        Verdict::Answer => XDP_TX,
    }
}
