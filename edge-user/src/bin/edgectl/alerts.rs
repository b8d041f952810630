//! `edgectl alerts`.

use std::fmt::Write;
use std::path::Path;

use comfy_table::Cell;
use edge_user::alert::{Alert, Phase, Severity};
use edge_user::api::client::Client;
use edge_user::api::types::{AlertQuery, AlertView};

use crate::cli::AlertsVerb;
use crate::failure::Failure;
use crate::output::{Output, Style, bad, good, warn};
use crate::text;

pub(crate) async fn run(verb: AlertsVerb, socket: &Path, output: Output) -> Result<(), Failure> {
    let client = Client::new(socket)?;
    match verb {
        AlertsVerb::List { open, account, limit } => {
            let query = AlertQuery { open: open.then_some(true), account, limit: Some(limit) };
            let alerts = client.alerts(&query).await?;
            output.show(&alerts, |alerts, style| list(alerts, open, style))
        }
        AlertsVerb::Show { id } => output.show(&client.alert(&id).await?, show),
    }
}

fn list(alerts: &[AlertView], open: bool, style: Style) -> String {
    if alerts.is_empty() {
        return if open { "no alert is open" } else { "there is no alert" }.to_owned();
    }
    table(alerts.iter().map(|view| &view.alert), style)
}

/// One line an alert.
pub(crate) fn table<'a>(alerts: impl Iterator<Item = &'a Alert>, style: Style) -> String {
    let mut table = style.table(&[
        "<OPENED",
        "<STATE",
        "<SEVERITY",
        "<RULE",
        "<ACCOUNT",
        "<SUBJECT",
        ">OBSERVED",
        ">THRESHOLD",
        "<UNIT",
        "<ID",
    ]);
    for alert in alerts {
        let finding = &alert.finding;
        table.add_row(vec![
            Cell::new(text::time(alert.opened_at)),
            Cell::new(state(alert.phase)),
            severity(finding.severity),
            Cell::new(&finding.rule),
            Cell::new(&finding.account),
            Cell::new(&finding.subject),
            Cell::new(value(finding.observed)),
            Cell::new(value(finding.threshold)),
            Cell::new(&finding.unit),
            Cell::new(&alert.id),
        ]);
    }
    table.trim_fmt()
}

fn show(view: &AlertView, style: Style) -> String {
    let mut parts = vec![head(&view.alert)];
    if !view.alert.finding.evidence.is_empty() {
        let mut evidence = style.table(&["<EVIDENCE", "<VALUE", ">MESSAGES", ">SHARE"]);
        for item in &view.alert.finding.evidence {
            let share = text::percent(item.share);
            evidence.add_row(vec![item.kind.clone(), item.value.clone(), item.messages.to_string(), share]);
        }
        parts.push(evidence.trim_fmt());
    }
    if !view.deliveries.is_empty() {
        let mut deliveries =
            style.table(&["<ENDPOINT", "<STEP", "<STATE", ">ATTEMPTS", "<AT", "<LAST ERROR"]);
        for delivery in &view.deliveries {
            let state = match delivery.state.as_str() {
                state @ "delivered" => good(state),
                state @ "failed" => bad(state),
                state => warn(state),
            };
            deliveries.add_row(vec![
                Cell::new(&delivery.endpoint),
                Cell::new(&delivery.phase),
                state,
                Cell::new(delivery.attempts),
                Cell::new(text::time(delivery.at)),
                Cell::new(delivery.last_error.as_deref().unwrap_or("")),
            ]);
        }
        parts.push(deliveries.trim_fmt());
    }
    parts.join("\n\n")
}

fn head(alert: &Alert) -> String {
    let finding = &alert.finding;
    let unit = &finding.unit;
    let mut head = format!(
        "{} of {}, account {}: {}\n",
        finding.rule,
        finding.subject,
        finding.account,
        state(alert.phase)
    );
    let _ = writeln!(head, "id         {}", alert.id);
    let _ = writeln!(head, "severity   {}", severity_word(finding.severity));
    let _ = writeln!(head, "opened     {}, this step {}", text::time(alert.opened_at), text::time(alert.at));
    let _ = writeln!(
        head,
        "observed   {} {unit} over {} s, peak {}",
        value(finding.observed),
        finding.window_secs,
        value(alert.peak)
    );
    let _ = writeln!(head, "threshold  {} {unit}", value(finding.threshold));
    let _ = writeln!(
        head,
        "usual      {}",
        finding.baseline.map_or_else(|| "-".to_owned(), |usual| format!("{} {unit}", value(usual)))
    );
    let _ = write!(head, "action     {}", alert.action);
    head
}

/// Rates and shares alike: at most two digits after the point.
fn value(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn state(phase: Phase) -> &'static str {
    match phase {
        Phase::Opened | Phase::Updated => "open",
        Phase::Resolved => "resolved",
    }
}

fn severity(severity: Severity) -> Cell {
    let word = severity_word(severity);
    match severity {
        Severity::Info => Cell::new(word),
        Severity::Warning => warn(word),
        Severity::Critical => bad(word),
    }
}

fn severity_word(severity: Severity) -> &'static str {
    match severity {
        Severity::Info => "info",
        Severity::Warning => "warning",
        Severity::Critical => "critical",
    }
}

#[cfg(test)]
mod tests {
    use edge_user::alert::{Evidence, Finding};
    use edge_user::api::types::DeliveryView;

    use super::*;

    fn view() -> Result<AlertView, jiff::Error> {
        let at = "2026-03-01T12:00:00Z".parse()?;
        let evidence =
            Evidence { kind: "prefix".to_owned(), value: "+37120".to_owned(), messages: 361, share: 0.905 };
        let finding = Finding {
            rule: "spike".to_owned(),
            account: "acme".to_owned(),
            subject: "sip.invite".to_owned(),
            severity: Severity::Critical,
            observed: 180.5,
            threshold: 60.0,
            baseline: Some(20.0),
            unit: "messages/s".to_owned(),
            window_secs: 2,
            evidence: vec![evidence],
        };
        let action = "limits in force: 20/s burst 40; 812 refused".to_owned();
        let alert = Alert {
            id: "0195a0c0".to_owned(),
            phase: Phase::Updated,
            finding,
            peak: 190.0,
            opened_at: at,
            at,
            action,
        };
        let delivery = DeliveryView {
            id: "0195a0c1".to_owned(),
            endpoint: "noc".to_owned(),
            phase: "opened".to_owned(),
            state: "pending".to_owned(),
            attempts: 2,
            last_error: Some("connection refused".to_owned()),
            at,
        };
        Ok(AlertView { alert, deliveries: vec![delivery] })
    }

    #[test]
    fn an_alert_is_one_line_in_the_list() -> Result<(), jiff::Error> {
        assert_eq!(
            list(&[view()?], true, Style { color: false }),
            "\
OPENED                STATE  SEVERITY  RULE   ACCOUNT  SUBJECT     OBSERVED  THRESHOLD  UNIT        ID
2026-03-01T12:00:00Z  open   critical  spike  acme     sip.invite     180.5         60  messages/s  0195a0c0"
        );
        assert_eq!(list(&[], true, Style { color: false }), "no alert is open");
        Ok(())
    }

    #[test]
    fn an_alert_shown_has_figures_evidence_and_deliveries() -> Result<(), jiff::Error> {
        assert_eq!(
            show(&view()?, Style { color: false }),
            "\
spike of sip.invite, account acme: open
id         0195a0c0
severity   critical
opened     2026-03-01T12:00:00Z, this step 2026-03-01T12:00:00Z
observed   180.5 messages/s over 2 s, peak 190
threshold  60 messages/s
usual      20 messages/s
action     limits in force: 20/s burst 40; 812 refused

EVIDENCE  VALUE   MESSAGES   SHARE
prefix    +37120       361  90.5 %

ENDPOINT  STEP    STATE    ATTEMPTS  AT                    LAST ERROR
noc       opened  pending         2  2026-03-01T12:00:00Z  connection refused"
        );
        Ok(())
    }
}
