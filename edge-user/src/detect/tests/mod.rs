//! Detectors against simulated traffic, second by second.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod foreign;
mod pumping;
mod scanning;
mod spike;
mod undelivered;

use std::time::Duration;

use edge_ebpf::abi::{AccountCounters, Allowance, Class};
use jiff::{SignedDuration, Timestamp};
use zerocopy::FromZeros;

use super::{AccountSnapshot, Detectors, PrefixTurn, Signal, Snapshot};
use crate::alert::Severity;
use crate::config;

const ACCOUNT: &str = "acme";
const NUMBER: u32 = 1;

const FOREIGN_IDS: config::ForeignIds = config::ForeignIds {
    enabled: true,
    threshold: 10,
    window: Duration::from_mins(1),
    severity: Severity::Warning,
};

fn config() -> config::Detect {
    config::Detect {
        spike: config::Spike {
            enabled: true,
            factor: 3.0,
            floor_per_sec: 20.0,
            resolve_ratio: 0.7,
            resolve_after: Duration::from_secs(30),
            baseline_half_life: Duration::from_hours(1),
            severity: Severity::Warning,
        },
        pumping: config::Pumping {
            enabled: true,
            prefix_digits: 6,
            window: Duration::from_mins(5),
            min_messages: 100,
            share: 0.5,
            resolve_share: 0.3,
            severity: Severity::Critical,
        },
        undelivered: config::Undelivered {
            enabled: true,
            window: Duration::from_mins(5),
            min_receipts: 50,
            share: 0.5,
            resolve_share: 0.3,
            severity: Severity::Warning,
        },
        scanning: config::Scanning {
            enabled: true,
            action: config::ScanningAction::Alert,
            threshold: 20,
            window: Duration::from_mins(1),
            ban_for: Duration::from_mins(10),
            severity: Severity::Warning,
        },
        caller_id: FOREIGN_IDS,
        sender_id: FOREIGN_IDS,
    }
}

/// One account, its counters, and the clock.
struct Simulation {
    detectors: Detectors,
    now: Timestamp,
    snapshot: Snapshot,
    random: fastrand::Rng,
}

impl Simulation {
    fn new() -> Self {
        let account = AccountSnapshot { number: NUMBER, counters: AccountCounters::new_zeroed() };
        let mut simulation = Self {
            detectors: Detectors::new(&config()),
            now: "2026-01-15T00:00:00Z".parse().unwrap(),
            snapshot: Snapshot { accounts: [(ACCOUNT.to_owned(), account)].into(), prefixes: None },
            random: fastrand::Rng::with_seed(7),
        };
        assert_eq!(simulation.look(), []);
        simulation
    }

    fn count(&mut self) -> &mut u64 {
        let account = self.snapshot.accounts.get_mut(ACCOUNT).unwrap();
        &mut account.counters.messages[Class::SipInvite.index()][Allowance::Admitted.index()]
    }

    fn look(&mut self) -> Vec<Signal> {
        let signals = self.detectors.step(&self.snapshot, self.now);
        self.snapshot.prefixes = None;
        signals
    }

    fn pass(&mut self, secs: i64) {
        self.now += SignedDuration::from_secs(secs);
    }

    /// One second with so many messages.
    fn second(&mut self, messages: u64) -> Vec<Signal> {
        *self.count() += messages;
        self.pass(1);
        self.look()
    }

    /// Seconds of arrivals at random with that mean.
    fn seconds(&mut self, secs: u32, per_sec: f64) -> Vec<Signal> {
        let mut signals = Vec::new();
        for _ in 0..secs {
            let messages = poisson(&mut self.random, per_sec);
            signals.extend(self.second(messages));
        }
        signals
    }

    /// Ten seconds of the prefix map.
    fn turn(&mut self, counts: &[(&str, u64)]) -> Vec<Signal> {
        let counts = counts.iter().map(|(prefix, count)| ((*prefix).to_owned(), *count)).collect();
        self.snapshot.prefixes = Some(PrefixTurn {
            length: Duration::from_secs(10),
            counts: [(ACCOUNT.to_owned(), counts)].into(),
            ..PrefixTurn::default()
        });
        self.pass(10);
        self.look()
    }

    /// The same, with receipts: delivered, failed, expired.
    fn receipts(&mut self, counts: &[(&str, [u64; 3])]) -> Vec<Signal> {
        let of = |[delivered, failed, expired]: [u64; 3]| [delivered, failed, expired, 9, 9, 0, 0, 0];
        let counts = counts.iter().map(|(prefix, count)| ((*prefix).to_owned(), of(*count))).collect();
        self.snapshot.prefixes = Some(PrefixTurn {
            length: Duration::from_secs(10),
            receipts: [(ACCOUNT.to_owned(), counts)].into(),
            ..PrefixTurn::default()
        });
        self.pass(10);
        self.look()
    }

    fn baseline(&self) -> f64 {
        self.detectors.baseline_per_sec(ACCOUNT, Class::SipInvite).unwrap()
    }
}

fn poisson(random: &mut fastrand::Rng, mean: f64) -> u64 {
    // In pieces, since exp(-mean) of a large mean is zero.
    let (mut left, mut events) = (mean, 0);
    while left > 0.0 {
        let piece = left.min(10.0);
        let (limit, mut product) = ((-piece).exp(), random.f64());
        while product > limit {
            events += 1;
            product *= random.f64();
        }
        left -= piece;
    }
    events
}

fn words(signals: &[Signal]) -> Vec<&'static str> {
    let word = |signal: &Signal| match signal {
        Signal::Open(_) => "open",
        Signal::Update(_) => "update",
        Signal::Resolve(_) => "resolve",
    };
    signals.iter().map(word).collect()
}
