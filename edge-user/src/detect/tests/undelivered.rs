use super::*;
use crate::alert::Finding;

const USUAL: &[(&str, [u64; 3])] = &[("447911", [40, 3, 2]), ("252612", [1, 0, 0])];

fn opened(signals: &[Signal]) -> &Finding {
    let [Signal::Open(finding)] = signals else { panic!("{signals:?}") };
    finding
}

#[test]
fn what_is_mostly_delivered_or_hardly_sent_is_usual() {
    let mut simulation = Simulation::new();
    for _ in 0..60 {
        assert_eq!(simulation.receipts(USUAL), []);
    }
    // Few receipts say nothing, whatever they say.
    for _ in 0..4 {
        assert_eq!(simulation.receipts(&[("336123", [0, 12, 0])]), []);
    }
}

#[test]
fn a_prefix_that_is_not_delivered_to_opens_and_resolves_when_it_is_again() {
    let mut simulation = Simulation::new();
    assert_eq!(simulation.receipts(USUAL), []);
    let signals = simulation.receipts(&[("252612", [10, 30, 30]), ("447911", [40, 3, 2])]);
    let finding = opened(&signals);
    assert_eq!((finding.rule.as_str(), finding.subject.as_str()), ("undelivered", "+252612"));
    assert_eq!((finding.account.as_str(), finding.threshold), (ACCOUNT, 0.5));
    assert!((finding.observed - 60.0 / 71.0).abs() < 1e-9, "{finding:?}");
    let shown: Vec<_> = finding.evidence.iter().map(|it| (it.value.as_str(), it.messages)).collect();
    assert_eq!(shown, [("+252612", 60), ("+447911", 10)]);
    let mut signals = Vec::new();
    for _ in 0..20 {
        signals.extend(simulation.receipts(&[("252612", [40, 0, 0])]));
    }
    assert!(matches!(signals.last(), Some(Signal::Resolve(_))), "{signals:?}");
    assert_eq!(simulation.receipts(&[("252612", [40, 0, 0])]), []);
}

#[test]
fn an_alert_resolves_where_nothing_more_is_heard_and_when_its_account_goes() {
    let open = || {
        let mut simulation = Simulation::new();
        let signals = simulation.receipts(&[("252612", [0, 60, 0])]);
        opened(&signals);
        simulation
    };
    let mut simulation = open();
    let signals: Vec<_> = (0..60).flat_map(|_| simulation.receipts(&[])).collect();
    assert!(matches!(signals[..], [Signal::Resolve(_)]), "{signals:?}");
    let mut simulation = open();
    simulation.snapshot.accounts.clear();
    assert!(matches!(simulation.look()[..], [Signal::Resolve(_)]));
    let mut simulation = open();
    let config = config::Detect {
        undelivered: config::Undelivered { enabled: false, ..config().undelivered },
        ..config()
    };
    simulation.detectors.reconfigure(&config);
    assert!(matches!(simulation.look()[..], [Signal::Resolve(_)]));
}

#[test]
fn an_alert_from_before_a_restart_goes_on() {
    let mut simulation = Simulation::new();
    let signals = simulation.receipts(&[("252612", [0, 60, 0])]);
    let finding = opened(&signals).clone();
    let mut restarted = Simulation::new();
    restarted.detectors.adopt([&finding], restarted.now);
    assert_eq!(restarted.receipts(&[]), []);
    let signals: Vec<_> = (0..60).flat_map(|_| restarted.receipts(&[("252612", [10, 0, 0])])).collect();
    assert!(matches!(signals[..], [Signal::Resolve(_)]), "{signals:?}");
}
