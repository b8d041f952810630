//! Every row of the table.

use edge_tests::fixtures::packets::{Row, table};
use edge_tests::kernel::{Kernel, Run, SHORTEST_FRAME, xdp_action};
use edge_tests::lent::Lent;

#[test]
fn every_row_ends_in_its_outcome_with_that_outcomes_verdict() {
    let mut kernel = Lent::take().unwrap();
    let mut wrong = Vec::new();
    for row in table() {
        let run = send(&mut kernel, &row, &row.frame);
        if run != (Run { verdict: xdp_action(row.outcome), outcome: row.outcome }) {
            wrong.push(format!("{}: {} ({}), not {}", row.name, run.outcome, run.verdict, row.outcome));
        }
    }
    assert!(wrong.is_empty(), "{} rows end otherwise:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn the_outcomes_sum_to_the_packets_seen() {
    let mut kernel = Lent::take().unwrap();
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
