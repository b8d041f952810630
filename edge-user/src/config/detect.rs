//! Detectors: `[detect.*]`.

use std::time::Duration;

use super::field::Field;
use super::file::{DetectFile, ForeignIdsFile, PumpingFile, ScanningFile, SpikeFile, UndeliveredFile};
use super::problem::Report;
use super::values::SEVERITIES;
use super::{Detect, ForeignIds, Pumping, Scanning, ScanningAction, Spike, Undelivered, defaults};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

pub(super) fn check(file: DetectFile, report: &mut Report<'_>) -> Detect {
    let spike_file = report.table("detect.spike", file.spike);
    let pumping_file = report.table("detect.pumping", file.pumping);
    let undelivered_file = report.table("detect.undelivered", file.undelivered);
    let scanning_file = report.table("detect.scanning", file.scanning);
    let caller_id_file = report.table("detect.caller_id", file.caller_id);
    let sender_id_file = report.table("detect.sender_id", file.sender_id);
    Detect {
        spike: spike(spike_file, report),
        pumping: pumping(pumping_file, report),
        undelivered: undelivered(undelivered_file, report),
        scanning: scanning(scanning_file, report),
        caller_id: foreign_ids("caller_id", caller_id_file, &defaults::DETECT.caller_id, report),
        sender_id: foreign_ids("sender_id", sender_id_file, &defaults::DETECT.sender_id, report),
    }
}

fn spike(file: SpikeFile, report: &mut Report<'_>) -> Spike {
    let default = defaults::DETECT.spike;
    let at = |key: &str| format!("detect.spike.{key}");
    Spike {
        enabled: report.given(&at("enabled"), file.enabled).unwrap_or(default.enabled),
        factor: report.number(&at("factor"), file.factor, default.factor, 1.1..=1_000.0),
        floor_per_sec: report.number(
            &at("floor_per_sec"),
            file.floor_per_sec,
            default.floor_per_sec,
            0.1..=1e9,
        ),
        resolve_ratio: report.number(
            &at("resolve_ratio"),
            file.resolve_ratio,
            default.resolve_ratio,
            0.1..=1.0,
        ),
        resolve_after: report.duration(
            &at("resolve_after"),
            file.resolve_after,
            default.resolve_after,
            SECOND..=DAY,
        ),
        baseline_half_life: report.duration(
            &at("baseline_half_life"),
            file.baseline_half_life,
            default.baseline_half_life,
            SECOND..=DAY * 30,
        ),
        severity: report.word(&at("severity"), file.severity, default.severity, &SEVERITIES),
    }
}

fn pumping(file: PumpingFile, report: &mut Report<'_>) -> Pumping {
    let default = defaults::DETECT.pumping;
    let at = |key: &str| format!("detect.pumping.{key}");
    let opens = (file.share, default.share);
    let (share, resolve_share) = shares(at, opens, (file.resolve_share, default.resolve_share), report);
    Pumping {
        enabled: report.given(&at("enabled"), file.enabled).unwrap_or(default.enabled),
        prefix_digits: report.number(&at("prefix_digits"), file.prefix_digits, default.prefix_digits, 1..=8),
        window: report.duration(&at("window"), file.window, default.window, SECOND..=HOUR),
        min_messages: report.number(
            &at("min_messages"),
            file.min_messages,
            default.min_messages,
            1..=1_000_000_000,
        ),
        share,
        resolve_share,
        severity: report.word(&at("severity"), file.severity, default.severity, &SEVERITIES),
    }
}

/// `share` and `resolve_share`, each as written and by default.
fn shares(
    at: impl Fn(&str) -> String,
    (share, default_share): (Field<f64>, f64),
    (resolve_share, default_resolve_share): (Field<f64>, f64),
    report: &mut Report<'_>,
) -> (f64, f64) {
    let share = report.number(&at("share"), share, default_share, 0.01..=1.0);
    let resolve_share = report.number(&at("resolve_share"), resolve_share, default_resolve_share, 0.0..=1.0);
    if resolve_share > share {
        let fact = format!("{resolve_share} is above share, {share}");
        report.say(&at("resolve_share"), fact, "an alert would resolve while it opens, again and again");
    }
    (share, resolve_share)
}

fn undelivered(file: UndeliveredFile, report: &mut Report<'_>) -> Undelivered {
    let default = defaults::DETECT.undelivered;
    let at = |key: &str| format!("detect.undelivered.{key}");
    let opens = (file.share, default.share);
    let (share, resolve_share) = shares(at, opens, (file.resolve_share, default.resolve_share), report);
    Undelivered {
        enabled: report.given(&at("enabled"), file.enabled).unwrap_or(default.enabled),
        window: report.duration(&at("window"), file.window, default.window, SECOND..=DAY),
        min_receipts: report.number(
            &at("min_receipts"),
            file.min_receipts,
            default.min_receipts,
            1..=1_000_000_000,
        ),
        share,
        resolve_share,
        severity: report.word(&at("severity"), file.severity, default.severity, &SEVERITIES),
    }
}

fn scanning(file: ScanningFile, report: &mut Report<'_>) -> Scanning {
    const ACTIONS: [(&str, ScanningAction); 2] =
        [("alert", ScanningAction::Alert), ("ban", ScanningAction::Ban)];
    let default = defaults::DETECT.scanning;
    let at = |key: &str| format!("detect.scanning.{key}");
    Scanning {
        enabled: report.given(&at("enabled"), file.enabled).unwrap_or(default.enabled),
        action: report.word(&at("action"), file.action, default.action, &ACTIONS),
        threshold: report.number(&at("threshold"), file.threshold, default.threshold, 2..=1_000_000_000),
        window: report.duration(&at("window"), file.window, default.window, SECOND..=HOUR),
        ban_for: report.duration(&at("ban_for"), file.ban_for, default.ban_for, SECOND..=DAY * 30),
        severity: report.word(&at("severity"), file.severity, default.severity, &SEVERITIES),
    }
}

fn foreign_ids(
    rule: &str,
    file: ForeignIdsFile,
    default: &ForeignIds,
    report: &mut Report<'_>,
) -> ForeignIds {
    let at = |key: &str| format!("detect.{rule}.{key}");
    ForeignIds {
        enabled: report.given(&at("enabled"), file.enabled).unwrap_or(default.enabled),
        threshold: report.number(&at("threshold"), file.threshold, default.threshold, 1..=1_000_000_000),
        window: report.duration(&at("window"), file.window, default.window, SECOND..=HOUR),
        severity: report.word(&at("severity"), file.severity, default.severity, &SEVERITIES),
    }
}
