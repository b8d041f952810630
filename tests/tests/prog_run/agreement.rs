//! The kernel build against the host build of the same core: whatever comes, both say the same.

use std::cell::RefCell;

use edge_ebpf::abi::{AccountState, Class, Verdict};
use edge_tests::fixtures::packets::{Row, table};
use edge_tests::fixtures::world::{ACME, Scenario, at_once};
use edge_tests::host::Host;
use edge_tests::kernel::{Kernel, Run, SHORTEST_FRAME, XDP_DROP, XDP_PASS, xdp_action};
use edge_tests::lent::Lent;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

const NOW_NS: u64 = 1_000_000_000_000;

/// Cut anywhere, a packet is judged as on the host, and dropped only by a limit.
#[test]
fn every_truncation_of_every_row_ends_as_on_the_host() {
    // An emulated machine asks for a part of it, another of each row: there this test is most of the suite's time.
    let step = std::env::var("EDGE_TRUNCATION_STEP").map_or(1, |step| step.parse().unwrap());
    let mut kernel = Lent::take().unwrap();
    for (number, row) in table().iter().enumerate() {
        for frame in row.truncations(SHORTEST_FRAME).skip(number % step).step_by(step) {
            let run = agree(&mut kernel, &row.before, &[frame], row.name).unwrap();
            let at = || format!("{} cut to {} bytes: {run:?}", row.name, frame.len());
            // What ends within its own headers cannot become a reset, and is dropped.
            let is_dropped = run.outcome.verdict() == Verdict::Reset && run.verdict == XDP_DROP;
            assert!(is_dropped || run.verdict == xdp_action(run.outcome), "{}", at());
            assert!(run.verdict == XDP_PASS || row.may_be_dropped(run.outcome), "{}", at());
        }
    }
}

#[test]
fn any_damage_to_any_row_ends_as_on_the_host() {
    let kernel = RefCell::new(Lent::take().unwrap());
    let rows = table();
    let damage = proptest::collection::vec((any::<Index>(), any::<u8>()), 0..6);
    let strategy = (any::<Index>(), damage, any::<Index>(), any::<bool>());
    let mut runner = TestRunner::new(Config { cases: 20_000, ..Config::default() });
    runner
        .run(&strategy, |(row, damage, length, cut)| {
            let row: &Row = row.get(&rows);
            let mut frame = row.frame.clone();
            for (at, byte) in damage {
                let at = at.index(frame.len());
                frame[at] = byte;
            }
            if cut {
                frame.truncate(SHORTEST_FRAME + length.index(frame.len() - SHORTEST_FRAME + 1));
            }
            agree(&mut kernel.borrow_mut(), &row.before, &[&frame], row.name).map(drop)
        })
        .unwrap();
}

/// Buckets of three, so that within a run of packets some are admitted and some are not.
#[test]
fn any_sequence_of_rows_ends_as_on_the_host() {
    let kernel = RefCell::new(Lent::take().unwrap());
    let rows = table();
    let strategy = proptest::collection::vec(any::<Index>(), 1..24);
    let tight = Class::ALL.iter().filter(|class| **class != Class::Packets).fold(
        Scenario::open(),
        |before, class| {
            before
                .account_limit(*class, at_once(3))
                .source_limit(*class, at_once(2))
                .unknown_limit(*class, at_once(1))
        },
    );
    let mut runner = TestRunner::new(Config { cases: 1000, ..Config::default() });
    runner
        .run(&strategy, |sequence| {
            let frames: Vec<&[u8]> = sequence.iter().map(|index| &index.get(&rows).frame[..]).collect();
            let names: Vec<&str> = sequence.iter().map(|index| index.get(&rows).name).collect();
            agree(&mut kernel.borrow_mut(), &tight, &frames, &names.join(", ")).map(drop)
        })
        .unwrap();
}

/// Runs packets here and there; what became of the last one.
fn agree(kernel: &mut Kernel, before: &Scenario, frames: &[&[u8]], what: &str) -> Result<Run, TestCaseError> {
    kernel.prepare(before).unwrap();
    let mut host = Host::prepare(before, NOW_NS);
    let mut last = None;
    for (at, frame) in frames.iter().enumerate() {
        let run = kernel.send(frame).unwrap();
        last = Some(run);
        prop_assert_eq!(
            run.outcome,
            host.send(frame),
            "kernel and host; packet {} of {}: {:02x?}",
            at,
            what,
            frame
        );
    }
    for number in [0, ACME] {
        let (in_kernel, on_host) = (kernel.account(number).unwrap(), host.accounts[&number]);
        prop_assert_eq!(
            in_kernel.counters,
            on_host.counters,
            "counters of account {}, after {}",
            number,
            what
        );
        prop_assert_eq!(used(&in_kernel), used(&on_host), "buckets of account {}, after {}", number, what);
    }
    last.ok_or_else(|| TestCaseError::fail("no packet"))
}

/// Which buckets were charged; the instants differ, as the clocks do.
fn used(account: &AccountState) -> Vec<bool> {
    account.buckets.iter().map(|tat| *tat != 0).collect()
}
