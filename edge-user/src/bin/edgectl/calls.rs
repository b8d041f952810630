//! `edgectl calls`.

use std::path::Path;

use edge_user::api::client::Client;
use edge_user::api::types::{CallRow, CallStats, DropSlot, LiveCall, LiveCallQuery, RecordQuery, StatsQuery};

use crate::cli::CallsVerb;
use crate::export::{self, Record};
use crate::failure::Failure;
use crate::output::{Output, Style};
use crate::text::{self, or_dash};

pub(crate) async fn run(verb: CallsVerb, socket: &Path, output: Output) -> Result<(), Failure> {
    let client = Client::new(socket)?;
    match verb {
        CallsVerb::List(args) => {
            let query =
                LiveCallQuery { account: args.account, full: Some(args.full), limit: Some(args.limit) };
            output.show(&client.live_calls(&query).await?, |calls, style| list(calls, style))
        }
        CallsVerb::Show { id, full } => {
            let query = LiveCallQuery { full: Some(full), ..LiveCallQuery::default() };
            output.show(&client.live_call(&id, &query).await?, |call, _| show(call))
        }
        CallsVerb::DropSlot(args) => {
            let request = DropSlot { id: args.id, reason: args.reason };
            output.show(&client.drop_slot(&request).await?, |call, _| {
                format!("{}: {} slots of {} taken back", call.id, call.slots, call.account)
            })
        }
        CallsVerb::Stats(args) => {
            let query = StatsQuery { account: args.account, since: args.since };
            output.show(&client.call_stats(&query).await?, |stats, style| figures(stats, style))
        }
        CallsVerb::Export(args) => {
            export::export(args, async |query: &RecordQuery| client.call_records(query).await).await
        }
    }
}

fn list(calls: &[LiveCall], style: Style) -> String {
    if calls.is_empty() {
        return "no call holds a slot".to_owned();
    }
    let mut table =
        style.table(&["<ID", "<ACCOUNT", "<TRUNK", "<STATE", ">AGE", "<FROM", "<TO", "<SOURCE", ">SLOTS"]);
    for call in calls {
        table.add_row(vec![
            call.id.clone(),
            call.account.clone(),
            or_dash(call.trunk.as_deref().unwrap_or_default()),
            call.state.clone(),
            text::secs(call.age_secs),
            or_dash(&call.from),
            or_dash(&call.to),
            call.source.clone(),
            call.slots.to_string(),
        ]);
    }
    table.trim_fmt()
}

fn show(call: &LiveCall) -> String {
    let time = |at: Option<jiff::Timestamp>| at.map_or_else(|| "-".to_owned(), text::time);
    let expires = call.session_expires_secs.map_or_else(|| "-".to_owned(), |secs| text::secs(secs.into()));
    format!(
        "{}, {} for {}\naccount          {}\ntrunk            {}\nsource           {}\nfrom             {}\n\
         to               {}\nINVITE           {}\nrang             {}\nanswered         {}\n\
         last heard       {}\nsession expires  {expires}\nslots            {}",
        call.id,
        call.state,
        text::secs(call.age_secs),
        call.account,
        or_dash(call.trunk.as_deref().unwrap_or_default()),
        call.source,
        or_dash(&call.from),
        or_dash(&call.to),
        text::time(call.setup_at),
        time(call.ring_at),
        time(call.answer_at),
        text::time(call.heard_at),
        call.slots,
    )
}

fn figures(stats: &[CallStats], style: Style) -> String {
    if stats.is_empty() {
        return "there is no record of a call".to_owned();
    }
    let mut table = style.table(&[
        "<ACCOUNT",
        ">ATTEMPTS",
        ">ANSWERED",
        ">REFUSED",
        ">ASR",
        ">NER",
        ">ACD",
        ">SHORT",
        ">PDD",
        "<CAUSES",
    ]);
    let share = |share: Option<f64>| share.map_or_else(|| "-".to_owned(), text::percent);
    let secs = |secs: Option<f64>| secs.map_or_else(|| "-".to_owned(), |secs| format!("{secs:.1} s"));
    for it in stats {
        table.add_row(vec![
            it.account.clone(),
            it.attempts.to_string(),
            it.answered.to_string(),
            it.refused.to_string(),
            share(it.asr),
            share(it.ner),
            secs(it.acd_secs),
            share(it.short_share),
            secs(it.pdd_secs),
            text::counts(&it.causes),
        ]);
    }
    table.trim_fmt()
}

impl Record for CallRow {
    const COLUMNS: &str =
        "seq,account,source,from,to,setup_at,ring_at,answer_at,end_at,status,cause,ended_by,trunk";

    fn seq(&self) -> u64 {
        self.seq
    }

    fn fields(&self) -> Vec<String> {
        let time = |at: Option<jiff::Timestamp>| at.map_or_else(String::new, |at| at.to_string());
        vec![
            self.seq.to_string(),
            self.account.clone(),
            self.source.clone(),
            self.from.clone(),
            self.to.clone(),
            self.setup_at.to_string(),
            time(self.ring_at),
            time(self.answer_at),
            self.end_at.to_string(),
            self.status.to_string(),
            self.cause.clone(),
            self.ended_by.clone(),
            self.trunk.clone(),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_csv_has_as_many_fields_as_columns() -> Result<(), Box<dyn std::error::Error>> {
        let row = CallRow {
            seq: 7,
            account: "acme".to_owned(),
            trunk: "london".to_owned(),
            source: "203.0.113.7".to_owned(),
            from: "441632960123".to_owned(),
            to: String::new(),
            setup_at: "2026-03-01T12:00:00Z".parse()?,
            ring_at: None,
            answer_at: None,
            end_at: "2026-03-01T12:00:01Z".parse()?,
            status: 486,
            cause: "busy".to_owned(),
            ended_by: "callee".to_owned(),
        };
        let line = export::csv(&row)?;
        assert_eq!(
            line,
            "7,acme,203.0.113.7,441632960123,,2026-03-01T12:00:00Z,,,2026-03-01T12:00:01Z,486,busy,callee,london"
        );
        assert_eq!(line.split(',').count(), CallRow::COLUMNS.split(',').count());
        Ok(())
    }

    #[test]
    fn a_call_is_a_line_and_what_is_not_known_a_dash() -> Result<(), jiff::Error> {
        let noon = "2026-03-01T12:00:00Z".parse()?;
        let call = LiveCall {
            id: "1-00000000000000ab".to_owned(),
            account: "acme".to_owned(),
            trunk: None,
            source: "203.0.113.7".to_owned(),
            state: "answered".to_owned(),
            age_secs: 3725,
            from: "44163296xxxx".to_owned(),
            to: String::new(),
            setup_at: noon,
            ring_at: None,
            answer_at: Some(noon),
            heard_at: noon,
            session_expires_secs: Some(1800),
            slots: 1,
        };
        assert_eq!(
            list(std::slice::from_ref(&call), Style { color: false }),
            "\
ID                  ACCOUNT  TRUNK  STATE        AGE  FROM          TO  SOURCE       SLOTS
1-00000000000000ab  acme     -      answered  1h 2m 5s  44163296xxxx  -   203.0.113.7      1"
                .replace("STATE        AGE", "STATE          AGE")
        );
        assert!(show(&call).contains("\nsession expires  30m\n"), "{}", show(&call));
        Ok(())
    }

    #[test]
    fn figures_that_nothing_was_divided_by_are_dashes() {
        let stats = CallStats { account: "acme".to_owned(), asr: Some(0.5), ..CallStats::default() };
        assert_eq!(
            figures(&[stats], Style { color: false }),
            "\
ACCOUNT  ATTEMPTS  ANSWERED  REFUSED     ASR  NER  ACD  SHORT  PDD  CAUSES
acme            0         0        0  50.0 %    -    -      -    -  -"
        );
        assert_eq!(figures(&[], Style { color: false }), "there is no record of a call");
    }
}
