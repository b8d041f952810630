//! The kernel's meter against the host's: one bucket, random limits, the kernel's own clock.

use std::cell::RefCell;

use edge_ebpf::abi::{AccountState, Class, Limit, Outcome};
use edge_ebpf::meter::charge;
use edge_tests::fixtures::packets::row;
use edge_tests::fixtures::world::{ACME, Scenario};
use edge_tests::lent::Lent;
use nix::time::{ClockId, clock_gettime};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use zerocopy::FromZeros as _;

#[test]
fn the_kernels_bucket_moves_as_the_hosts_for_any_limit_and_any_state() {
    let kernel = RefCell::new(Lent::take().unwrap());
    let frame = row("sip_options").frame;
    let mut runner = TestRunner::new(Config { cases: 3000, ..Config::default() });
    // The state lies around now: a little in debt, a little in credit, or never used.
    let limits = (prop_oneof![Just(0), 1..2_000_000_000_u64, Just(u64::MAX)], 0..4_000_000_000_u64);
    let states = prop_oneof![Just(None), (-3_000_000_000_i64..3_000_000_000).prop_map(Some)];
    runner
        .run(&(limits, states), |((interval_ns, burst_ns), ahead)| {
            let mut kernel = kernel.borrow_mut();
            let limit = Limit { interval_ns, burst_ns };
            kernel.prepare(&Scenario::open().account_limit(Class::SipOptions, limit)).unwrap();
            let tat = ahead.map_or(0, |ahead| now_ns().saturating_add_signed(ahead));
            let mut state = AccountState::new_zeroed();
            state.buckets[Class::SipOptions.index()] = tat;
            kernel.set_account(ACME, state).unwrap();

            let earliest = now_ns();
            let outcome = kernel.send(&frame).unwrap().outcome;
            let latest = now_ns();
            let after = kernel.account(ACME).unwrap().buckets[Class::SipOptions.index()];

            match outcome {
                // The kernel's now is not known, but what it did must be right for one instant in between.
                Outcome::SipAdmitted => {
                    let read = after.saturating_sub(interval_ns).clamp(earliest, latest);
                    let instants = [earliest, read, latest];
                    prop_assert!(
                        instants.iter().any(|now| charge(tat, limit, 1, *now) == Some(after)),
                        "{limit:?}: {tat} became {after}, between {earliest} and {latest}"
                    );
                }
                Outcome::SipOverAccount => {
                    prop_assert_eq!(after, tat, "a refusal leaves the bucket alone");
                    prop_assert_eq!(charge(tat, limit, 1, earliest), None);
                }
                other => prop_assert!(false, "{other}"),
            }
            Ok(())
        })
        .unwrap();
}

/// The clock of `bpf_ktime_get_ns`.
fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).unwrap();
    u64::try_from(now.tv_sec()).unwrap() * 1_000_000_000 + u64::try_from(now.tv_nsec()).unwrap()
}
