use super::*;

fn busy(per_sec: f64) -> Simulation {
    let mut simulation = Simulation::new();
    assert_eq!(simulation.seconds(300, per_sec), []);
    simulation
}

#[test]
fn an_onset_of_five_times_the_baseline_opens_within_two_seconds_wherever_it_falls_between_two_looks() {
    for before_the_look in [0.05, 0.3, 0.5, 0.7, 0.95] {
        let mut simulation = busy(50.0);
        let baseline = simulation.baseline();
        let part = simulation.seconds(1, 50.0 + 200.0 * before_the_look);
        let signals = if part.is_empty() { simulation.seconds(1, 250.0) } else { part };
        let [Signal::Open(finding)] = &signals[..] else { panic!("{before_the_look}: {signals:?}") };
        assert_eq!((finding.rule.as_str(), finding.subject.as_str()), ("spike", "sip.invite"));
        assert_eq!(finding.account, ACCOUNT);
        assert!(finding.observed > finding.threshold, "{finding:?}");
        assert!((finding.threshold - 3.0 * baseline).abs() < 1.0, "{finding:?}, baseline {baseline}");
        assert_eq!(finding.unit, "messages/s");
    }
}

#[test]
fn a_weak_onset_opens_at_the_second_reading_and_one_stray_reading_not_at_all() {
    let mut simulation = busy(50.0);
    assert_eq!(simulation.second(190), []);
    assert_eq!(words(&simulation.second(190)), ["open"]);

    let mut simulation = busy(50.0);
    for _ in 0..20 {
        assert_eq!(simulation.second(190), []);
        assert_eq!(simulation.seconds(5, 50.0), []);
    }
}

#[test]
fn an_attack_of_an_hour_teaches_nothing_says_little_and_resolves_once() {
    let mut simulation = busy(50.0);
    let before = simulation.baseline();
    let during = simulation.seconds(3600, 400.0);
    assert_eq!(words(&during[..1]), ["open"]);
    assert!(words(&during[1..]).iter().all(|word| *word == "update"));
    assert!(during.len() < 30, "{} messages", during.len());
    assert_eq!(simulation.baseline().to_bits(), before.to_bits());

    let after = simulation.seconds(60, 50.0);
    assert_eq!(words(&after), ["resolve"]);
    assert!((simulation.baseline() - before).abs() < 1.0);
}

#[test]
fn the_highest_value_of_an_attack_is_never_lost() {
    let mut simulation = busy(50.0);
    let mut signals = Vec::new();
    let mut highest = 0;
    for second in 0..100 {
        let messages = 300 + second * 37 % 101;
        highest = highest.max(messages);
        signals.extend(simulation.second(messages));
    }
    signals.extend(simulation.seconds(40, 50.0));
    assert_eq!(words(&signals).last(), Some(&"resolve"));
    let reported = signals.iter().map(|signal| signal.finding().observed).fold(0.0, f64::max);
    assert!((reported - super::super::spike::as_f64(highest)).abs() < 1e-9, "{reported} of {highest}");
}

#[test]
fn a_peak_that_grows_by_half_is_said_at_once() {
    let mut simulation = busy(50.0);
    assert_eq!(words(&simulation.second(300)), ["open"]);
    assert_eq!(simulation.second(320), []);
    assert_eq!(words(&simulation.second(451)), ["update"]);
    assert_eq!(simulation.second(460), []);
}

#[test]
fn an_alert_does_not_flap_while_traffic_crosses_the_threshold() {
    let mut simulation = busy(50.0);
    let mut signals = Vec::new();
    for _ in 0..30 {
        signals.extend(simulation.seconds(10, 250.0));
        signals.extend(simulation.seconds(20, 60.0));
    }
    let opened = words(&signals).iter().filter(|word| **word == "open").count();
    assert_eq!(opened, 1, "{:?}", words(&signals));
}

#[test]
fn an_account_with_little_traffic_pages_nobody() {
    let mut simulation = busy(0.2);
    assert_eq!(simulation.seconds(600, 0.2), []);
    for _ in 0..50 {
        // Fifty times the usual, and yet under the floor.
        assert_eq!(simulation.seconds(5, 8.0), []);
        assert_eq!(simulation.seconds(20, 0.2), []);
    }
}

#[test]
fn steady_bulk_is_normal_from_the_first_look_on() {
    let mut simulation = Simulation::new();
    assert_eq!(simulation.seconds(7200, 800.0), []);
    assert!((simulation.baseline() - 800.0).abs() < 40.0, "{}", simulation.baseline());
}

#[test]
fn a_class_first_used_after_a_silence_is_judged_by_the_floor() {
    let mut simulation = Simulation::new();
    assert_eq!(simulation.seconds(120, 0.0), []);
    assert_eq!(words(&simulation.second(60)), ["open"]);
}

#[test]
fn a_day_that_rises_to_eight_times_the_night_is_normal() {
    let mut simulation = busy(15.0);
    for minute in 0..2 * 24 * 60 {
        let hour = f64::from(minute) / 60.0;
        let day = (1.0 - (hour * std::f64::consts::TAU / 24.0).cos()) / 2.0;
        let signals = simulation.seconds(60, 15.0 + 105.0 * day);
        assert_eq!(signals, [], "at hour {hour:.1}, baseline {:.1}", simulation.baseline());
    }
}

#[test]
fn a_ramp_faster_than_a_doubling_in_one_half_life_is_overtaken_by_its_threshold() {
    for (doubling_minutes, caught_below) in [(15.0, 8.0), (40.0, 40.0)] {
        let mut simulation = busy(50.0);
        let times = (0..).map(|minute| (f64::from(minute) / doubling_minutes).exp2());
        let caught = times
            .take_while(|times| *times < 100.0)
            .find(|times| !simulation.seconds(60, 50.0 * times).is_empty())
            .unwrap();
        assert!(caught < caught_below, "doubling in {doubling_minutes} minutes: caught at {caught} times");
    }
}

#[test]
fn counters_that_start_anew_do_not_alarm() {
    let mut simulation = busy(50.0);
    *simulation.count() = 5;
    assert_eq!(simulation.second(0), []);
    assert_eq!(simulation.seconds(60, 50.0), []);
}

#[test]
fn a_look_that_was_missed_or_a_clock_that_was_set_does_not_alarm() {
    let mut simulation = busy(50.0);
    let baseline = simulation.baseline();
    // Three seconds of messages after three seconds: the same rate.
    *simulation.count() += 100;
    simulation.pass(2);
    assert_eq!(simulation.second(50), []);
    for secs in [3600, -3600, -1, 40] {
        *simulation.count() += 5_000;
        simulation.pass(secs);
        assert_eq!(simulation.look(), [], "{secs}");
        assert_eq!(simulation.seconds(5, 50.0), [], "{secs}");
    }
    // Twice within one instant.
    *simulation.count() += 1_000;
    assert_eq!(simulation.look(), []);
    assert!((simulation.baseline() - baseline).abs() < 1.0);
}

#[test]
fn baselines_and_open_alerts_survive_a_restart() {
    let mut simulation = busy(50.0);
    let signals = simulation.seconds(3, 400.0);
    let baseline = simulation.baseline();
    let saved = simulation.detectors.state().unwrap();
    let text = serde_json::to_string(&saved).unwrap();

    simulation.detectors = Detectors::new(&config());
    simulation.detectors.restore(serde_json::from_str(&text).unwrap()).unwrap();
    simulation.detectors.adopt([signals[0].finding()], simulation.now);
    assert!((simulation.baseline() - baseline).abs() < 1e-9);
    assert!(words(&simulation.seconds(20, 400.0)).iter().all(|word| *word == "update"));
    assert_eq!(words(&simulation.seconds(40, 50.0)), ["resolve"]);
    assert_eq!(words(&simulation.seconds(2, 400.0)), ["open"]);
}

#[test]
fn a_saved_state_of_another_form_is_refused_and_changes_nothing() {
    let mut simulation = busy(50.0);
    let baseline = simulation.baseline();
    assert!(simulation.detectors.restore(serde_json::json!({"spike": 3})).is_err());
    assert_eq!(simulation.baseline().to_bits(), baseline.to_bits());
}

#[test]
fn an_account_that_is_removed_or_a_detector_that_is_disabled_resolves_what_was_open() {
    let mut simulation = busy(50.0);
    assert_eq!(words(&simulation.second(500)), ["open"]);
    simulation.snapshot.accounts.clear();
    simulation.pass(1);
    assert_eq!(words(&simulation.look()), ["resolve"]);
    assert_eq!(simulation.detectors.baseline_per_sec(ACCOUNT, Class::SipInvite), None);

    let mut simulation = busy(50.0);
    assert_eq!(words(&simulation.second(500)), ["open"]);
    let mut disabled = config();
    disabled.spike.enabled = false;
    simulation.detectors.reconfigure(&disabled);
    assert_eq!(words(&simulation.second(500)), ["resolve"]);
    assert_eq!(simulation.second(500), []);
}

#[test]
fn packets_are_no_messages() {
    let mut simulation = busy(50.0);
    for _ in 0..10 {
        let account = simulation.snapshot.accounts.get_mut(ACCOUNT).unwrap();
        account.counters.messages[Class::Packets.index()][0] += 1_000_000;
        assert_eq!(simulation.second(50), []);
    }
}
