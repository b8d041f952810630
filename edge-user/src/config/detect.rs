//! Detectors: `[detect.*]`.

use std::time::Duration;

use super::file::{CallerIdFile, DetectFile, PumpingFile, ScanningFile, SpikeFile};
use super::problem::Report;
use super::values::SEVERITIES;
use super::{CallerIds, Detect, Pumping, Scanning, ScanningAction, Spike, defaults};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

pub(super) fn check(file: DetectFile, report: &mut Report<'_>) -> Detect {
    let spike_file = report.table("detect.spike", file.spike);
    let pumping_file = report.table("detect.pumping", file.pumping);
    let scanning_file = report.table("detect.scanning", file.scanning);
    let caller_id_file = report.table("detect.caller_id", file.caller_id);
    Detect {
        spike: spike(spike_file, report),
        pumping: pumping(pumping_file, report),
        scanning: scanning(scanning_file, report),
        caller_id: caller_id(caller_id_file, report),
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
    let pumping = Pumping {
        enabled: report.given(&at("enabled"), file.enabled).unwrap_or(default.enabled),
        prefix_digits: report.number(&at("prefix_digits"), file.prefix_digits, default.prefix_digits, 1..=8),
        window: report.duration(&at("window"), file.window, default.window, SECOND..=HOUR),
        min_messages: report.number(
            &at("min_messages"),
            file.min_messages,
            default.min_messages,
            1..=1_000_000_000,
        ),
        share: report.number(&at("share"), file.share, default.share, 0.01..=1.0),
        resolve_share: report.number(
            &at("resolve_share"),
            file.resolve_share,
            default.resolve_share,
            0.0..=1.0,
        ),
        severity: report.word(&at("severity"), file.severity, default.severity, &SEVERITIES),
    };
    if pumping.resolve_share > pumping.share {
        let fact = format!("{} is above share, {}", pumping.resolve_share, pumping.share);
        report.say(&at("resolve_share"), fact, "an alert would resolve while it opens, again and again");
    }
    pumping
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

fn caller_id(file: CallerIdFile, report: &mut Report<'_>) -> CallerIds {
    let default = defaults::DETECT.caller_id;
    let at = |key: &str| format!("detect.caller_id.{key}");
    CallerIds {
        enabled: report.given(&at("enabled"), file.enabled).unwrap_or(default.enabled),
        threshold: report.number(&at("threshold"), file.threshold, default.threshold, 1..=1_000_000_000),
        window: report.duration(&at("window"), file.window, default.window, SECOND..=HOUR),
        severity: report.word(&at("severity"), file.severity, default.severity, &SEVERITIES),
    }
}
