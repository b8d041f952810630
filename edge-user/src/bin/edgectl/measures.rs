//! `edgectl ban`, `allow`, `unban` and `measures`: what a source prefix is told by hand.

use std::path::Path;

use comfy_table::Cell;
use edge_user::api::client::Client;
use edge_user::api::types::{Measure, MeasureKind, SetMeasure, UnsetMeasure};

use crate::cli::{MeasuresVerb, SetMeasureArgs, UnbanArgs};
use crate::failure::Failure;
use crate::output::{Output, Style, bad, good};
use crate::text;

pub(crate) async fn ban(args: SetMeasureArgs, socket: &Path, output: Output) -> Result<(), Failure> {
    set(MeasureKind::Ban, args, socket, output).await
}

pub(crate) async fn allow(args: SetMeasureArgs, socket: &Path, output: Output) -> Result<(), Failure> {
    set(MeasureKind::Allow, args, socket, output).await
}

pub(crate) async fn unban(args: UnbanArgs, socket: &Path, output: Output) -> Result<(), Failure> {
    let request = UnsetMeasure { prefix: args.prefix, reason: args.why.reason };
    let lifted = Client::new(socket)?.unset_measure(&request).await?;
    output.show(&lifted, |lifted, _| format!("{}: {} lifted", lifted.prefix, noun(lifted.kind)))
}

pub(crate) async fn run(verb: MeasuresVerb, socket: &Path, output: Output) -> Result<(), Failure> {
    let MeasuresVerb::List = verb;
    let measures = Client::new(socket)?.measures().await?;
    output.show(&measures, |measures, style| list(measures, style))
}

async fn set(kind: MeasureKind, args: SetMeasureArgs, socket: &Path, output: Output) -> Result<(), Failure> {
    let SetMeasureArgs { prefix, how } = args;
    let request = SetMeasure { prefix, kind, for_secs: how.for_secs, reason: how.reason };
    let measure = Client::new(socket)?.set_measure(&request).await?;
    output.show(&measure, |measure, _| now_in_force(measure))
}

fn now_in_force(measure: &Measure) -> String {
    let done = match measure.kind {
        MeasureKind::Ban => "banned",
        MeasureKind::Allow => "allowed",
    };
    let until = match measure.expires_at {
        None => "until lifted by `edgectl unban`".to_owned(),
        Some(at) => format!("until {}", text::time(at)),
    };
    format!("{}: {done} {until}", measure.prefix)
}

fn list(measures: &[Measure], style: Style) -> String {
    if measures.is_empty() {
        return "nothing is banned or allowed".to_owned();
    }
    let mut table = style.table(&["<PREFIX", "<MEASURE", "<SINCE", "<UNTIL", "<BY", "<REASON"]);
    for measure in measures {
        let kind = match measure.kind {
            MeasureKind::Ban => bad(noun(measure.kind)),
            MeasureKind::Allow => good(noun(measure.kind)),
        };
        table.add_row(vec![
            Cell::new(&measure.prefix),
            kind,
            Cell::new(text::time(measure.set_at)),
            Cell::new(text::expiry(measure.expires_at)),
            Cell::new(&measure.actor),
            Cell::new(&measure.reason),
        ]);
    }
    table.trim_fmt()
}

fn noun(kind: MeasureKind) -> &'static str {
    match kind {
        MeasureKind::Ban => "ban",
        MeasureKind::Allow => "allowance",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measures_say_what_until_when_by_whom_and_why() -> Result<(), jiff::Error> {
        let ban = Measure {
            prefix: "203.0.113.0/24".to_owned(),
            kind: MeasureKind::Ban,
            actor: "operator".to_owned(),
            reason: "scanner".to_owned(),
            set_at: "2026-03-01T12:00:00Z".parse()?,
            expires_at: None,
        };
        let expires_at = Some("2026-03-01T14:00:00Z".parse()?);
        let allowance = Measure { kind: MeasureKind::Allow, expires_at, ..ban.clone() };

        assert_eq!(now_in_force(&ban), "203.0.113.0/24: banned until lifted by `edgectl unban`");
        assert_eq!(now_in_force(&allowance), "203.0.113.0/24: allowed until 2026-03-01T14:00:00Z");
        assert_eq!(
            list(&[ban, allowance], Style { color: false }),
            "\
PREFIX          MEASURE    SINCE                 UNTIL                 BY        REASON
203.0.113.0/24  ban        2026-03-01T12:00:00Z  never                 operator  scanner
203.0.113.0/24  allowance  2026-03-01T12:00:00Z  2026-03-01T14:00:00Z  operator  scanner"
        );
        assert_eq!(list(&[], Style { color: false }), "nothing is banned or allowed");
        Ok(())
    }
}
