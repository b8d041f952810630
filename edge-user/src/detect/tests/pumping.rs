use super::*;
use crate::alert::Finding;

/// Calls to many countries.
const MIXED: &[(&str, u64)] = &[
    ("447911", 8),
    ("447812", 7),
    ("336123", 9),
    ("491512", 8),
    ("120255", 8),
    ("390612", 5),
    ("346001", 5),
];
/// One range takes it all.
const BURST: &[(&str, u64)] = &[("252612", 300), ("447911", 8), ("336123", 9)];
/// Always the account's own country, over its ranges.
const DOMESTIC: &[(&str, u64)] =
    &[("447911", 40), ("447812", 35), ("447400", 38), ("442079", 30), ("441612", 20)];

fn usual(counts: &[(&str, u64)]) -> Simulation {
    let mut simulation = Simulation::new();
    for _ in 0..120 {
        assert_eq!(simulation.turn(counts), []);
    }
    simulation
}

fn opened(signals: &[Signal]) -> &Finding {
    let [Signal::Open(finding)] = signals else { panic!("{signals:?}") };
    finding
}

#[test]
fn a_burst_to_one_range_opens_with_its_longest_prefix_and_evidence() {
    let mut simulation = usual(MIXED);
    let signals = (0..30).map(|_| simulation.turn(BURST)).find(|signals| !signals.is_empty()).unwrap();
    let finding = opened(&signals);
    assert_eq!((finding.rule.as_str(), finding.subject.as_str()), ("pumping", "+252612"));
    assert!(finding.observed >= 0.5 && finding.observed < 0.7, "{finding:?}");
    assert_eq!((finding.threshold, finding.baseline), (0.5, Some(0.0)));
    assert_eq!((finding.unit.as_str(), finding.window_secs), ("share", 300));
    assert_eq!(finding.evidence[0].value, "+252612");
    assert_eq!(finding.evidence[0].kind, "prefix");
    assert_eq!(finding.evidence.len(), 5);
    assert!((finding.evidence[0].share - finding.observed).abs() < 1e-9);
}

#[test]
fn numbers_spread_below_one_short_prefix_are_reported_by_it() {
    let mut simulation = usual(MIXED);
    let spread: Vec<(String, u64)> = (0..50).map(|n| (format!("2526{n:02}"), 8)).collect();
    let spread: Vec<(&str, u64)> = spread.iter().map(|(prefix, count)| (prefix.as_str(), *count)).collect();
    let signals = (0..30).map(|_| simulation.turn(&spread)).find(|signals| !signals.is_empty()).unwrap();
    assert_eq!(opened(&signals).subject, "+2526");
}

#[test]
fn an_account_that_always_calls_one_country_is_normal() {
    let mut simulation = usual(DOMESTIC);
    // Its bulk campaign, ten times the volume, the same country.
    let campaign: Vec<(&str, u64)> = DOMESTIC.iter().map(|(prefix, count)| (*prefix, count * 10)).collect();
    for _ in 0..60 {
        assert_eq!(simulation.turn(&campaign), []);
    }
    // But one range of it alone is not what is usual.
    let range = [("447999", 2_000), ("447911", 40)];
    let signals = (0..60).map(|_| simulation.turn(&range)).find(|signals| !signals.is_empty()).unwrap();
    let finding = opened(&signals);
    assert!("+447999".starts_with(&finding.subject) && finding.subject.len() >= 5, "{finding:?}");
    assert!(finding.evidence.iter().any(|evidence| evidence.value == "+447999"));
}

#[test]
fn an_account_that_only_ever_calls_one_range_is_told_once_and_then_normal() {
    let mut simulation = Simulation::new();
    let signals: Vec<_> = (0..500).flat_map(|_| simulation.turn(&[("442079", 20)])).collect();
    assert_eq!(words(&signals), ["open", "resolve"]);
}

#[test]
fn an_attack_of_hours_teaches_nothing_and_resolves_when_it_is_over() {
    let mut simulation = usual(MIXED);
    let before = simulation.detectors.state().unwrap()["pumping"].clone();
    let during: Vec<_> = (0..1000).flat_map(|_| simulation.turn(BURST)).collect();
    assert_eq!(words(&during[..1]), ["open"]);
    assert!(words(&during[1..]).iter().all(|word| *word == "update"), "{:?}", words(&during));
    assert!(during.len() < 12, "{} messages", during.len());
    let after: Vec<_> = (0..100).flat_map(|_| simulation.turn(MIXED)).collect();
    assert_eq!(words(&after), ["resolve"]);
    let range = &simulation.detectors.state().unwrap()["pumping"][ACCOUNT]["weights"]["+252612"];
    assert!(before[ACCOUNT]["weights"]["+252612"].is_null());
    assert!(range.as_f64().unwrap_or_default() < 1.0, "learnt from the attack: {range}");
}

#[test]
fn an_attack_that_ends_in_silence_resolves_when_the_window_has_emptied() {
    let mut simulation = usual(MIXED);
    while simulation.turn(BURST).is_empty() {}
    // What is usual leaves the window first, so the share still grows.
    let after: Vec<_> = (0..60).flat_map(|_| simulation.turn(&[])).collect();
    assert_eq!(words(&after).iter().position(|word| *word == "resolve"), Some(after.len() - 1));
}

#[test]
fn an_account_with_few_messages_pages_nobody() {
    let mut simulation = Simulation::new();
    for _ in 0..500 {
        // Every message to one range, 90 within the window of 100.
        assert_eq!(simulation.turn(&[("252612", 3)]), []);
    }
}

#[test]
fn an_open_alert_survives_a_restart_with_an_empty_window() {
    let mut simulation = usual(MIXED);
    let signals = (0..30).map(|_| simulation.turn(BURST)).find(|signals| !signals.is_empty()).unwrap();
    let saved = simulation.detectors.state().unwrap();
    simulation.detectors = Detectors::new(&config());
    simulation.detectors.restore(saved).unwrap();
    simulation.detectors.adopt([opened(&signals)], simulation.now);

    let during: Vec<_> = (0..60).flat_map(|_| simulation.turn(BURST)).collect();
    assert!(words(&during).iter().all(|word| *word == "update"), "{:?}", words(&during));
    let after: Vec<_> = (0..60).flat_map(|_| simulation.turn(MIXED)).collect();
    assert_eq!(words(&after), ["resolve"]);
}

#[test]
fn what_is_no_number_counts_in_the_total_only() {
    let mut simulation = usual(MIXED);
    for _ in 0..60 {
        assert_eq!(simulation.turn(&[("anonymous", 500), ("252612", 300)]), []);
    }
}

#[test]
fn a_spike_says_where_it_went() {
    let mut simulation = usual(MIXED);
    assert_eq!(simulation.seconds(300, 5.0), []);
    let signals = simulation.second(100);
    let finding = opened(&signals);
    assert_eq!(finding.rule, "spike");
    assert_eq!(finding.evidence[0].value, "+336123");
}
