//! `edgectl messages`.

use std::path::Path;
use std::time::Duration;

use edge_user::api::client::Client;
use edge_user::api::types::{MessageQuery, MessageRow, MessageStats, RecordQuery, StatsQuery};
use edge_user::figures::status_text;

use crate::cli::MessagesVerb;
use crate::export::{self, Record};
use crate::failure::Failure;
use crate::output::{Output, Style};
use crate::text::{self, or_dash};

pub(crate) async fn run(verb: MessagesVerb, socket: &Path, output: Output) -> Result<(), Failure> {
    let client = Client::new(socket)?;
    match verb {
        MessagesVerb::List(args) => {
            let query =
                MessageQuery { account: args.account, full: Some(args.full), limit: Some(args.limit) };
            output.show(&client.messages(&query).await?, |messages, style| list(messages, style))
        }
        MessagesVerb::Stats(args) => {
            let query = StatsQuery { account: args.account, since: args.since };
            output.show(&client.message_stats(&query).await?, |stats, style| figures(stats, style))
        }
        MessagesVerb::Export(args) => {
            export::export(args, async |query: &RecordQuery| client.message_records(query).await).await
        }
    }
}

fn list(messages: &[MessageRow], style: Style) -> String {
    if messages.is_empty() {
        return "there is no record of a message".to_owned();
    }
    let mut table = style.table(&[
        "<SUBMITTED",
        "<ACCOUNT",
        "<SYSTEM ID",
        "<FROM",
        "<TO",
        ">PART",
        "<OUTCOME",
        "<STATUS",
        ">LATENCY",
        "<SOURCE",
    ]);
    for it in messages {
        let more = it.destinations.saturating_sub(1);
        let to = if more > 0 { format!("{} and {more} more", or_dash(&it.to)) } else { or_dash(&it.to) };
        let part = if it.parts > 0 { format!("{} of {}", it.part, it.parts) } else { "-".to_owned() };
        table.add_row(vec![
            text::time(it.submitted_at),
            it.account.clone(),
            or_dash(&it.system_id),
            or_dash(&it.from),
            to,
            part,
            it.outcome.clone(),
            status_text(it.status),
            format!("{} ms", milliseconds(it.latency)),
            it.source.clone(),
        ]);
    }
    table.trim_fmt()
}

fn figures(stats: &[MessageStats], style: Style) -> String {
    if stats.is_empty() {
        return "there is no record of a message".to_owned();
    }
    let mut table = style.table(&[
        "<ACCOUNT",
        ">RECORDS",
        ">ACCEPTED",
        ">REFUSED",
        ">P50",
        ">P90",
        ">P99",
        ">MAX",
        "<REJECTED",
    ]);
    for it in stats {
        table.add_row(vec![
            it.account.clone(),
            it.records.to_string(),
            it.accepted.to_string(),
            it.refused.to_string(),
            text::milliseconds(it.p50_ms),
            text::milliseconds(it.p90_ms),
            text::milliseconds(it.p99_ms),
            text::milliseconds(it.max_ms),
            text::counts(&it.rejected),
        ]);
    }
    table.trim_fmt()
}

/// To the microsecond: `12.345`.
fn milliseconds(time: Duration) -> String {
    let us = time.as_micros();
    format!("{}.{:03}", us / 1_000, us % 1_000)
}

impl Record for MessageRow {
    const COLUMNS: &str = "seq,account,system_id,source,command,sequence,from,from_ton,to,to_ton,destinations,part,\
         parts,data_coding,submitted_at,latency_ms,outcome,status,status_name";

    fn seq(&self) -> u64 {
        self.seq
    }

    fn fields(&self) -> Vec<String> {
        let number = |it: Option<u32>| it.map_or_else(String::new, |it| it.to_string());
        vec![
            self.seq.to_string(),
            self.account.clone(),
            self.system_id.clone(),
            self.source.clone(),
            self.command.clone(),
            self.sequence.to_string(),
            self.from.clone(),
            number(self.from_ton),
            self.to.clone(),
            number(self.to_ton),
            self.destinations.to_string(),
            self.part.to_string(),
            self.parts.to_string(),
            number(self.data_coding),
            self.submitted_at.to_string(),
            milliseconds(self.latency),
            self.outcome.clone(),
            self.status.to_string(),
            self.status_name.clone().unwrap_or_default(),
        ]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn row() -> Result<MessageRow, jiff::Error> {
        Ok(MessageRow {
            seq: 7,
            account: "acme".to_owned(),
            system_id: "acmebulk".to_owned(),
            source: "203.0.113.7:40000".to_owned(),
            command: "submit_sm".to_owned(),
            sequence: 77,
            from: "\"ACME\", Ltd".to_owned(),
            from_ton: Some(5),
            to: "44790090xxxx".to_owned(),
            to_ton: None,
            destinations: 1,
            part: 2,
            parts: 3,
            data_coding: Some(8),
            submitted_at: "2026-03-01T12:00:00.25Z".parse()?,
            latency: Duration::from_micros(12_045),
            outcome: "rejected".to_owned(),
            status: 0x58,
            status_name: Some("ESME_RTHROTTLED".to_owned()),
        })
    }

    #[test]
    fn a_line_of_csv_has_as_many_fields_as_columns_and_quotes_what_would_be_two()
    -> Result<(), Box<dyn std::error::Error>> {
        let row = row()?;
        assert_eq!(
            export::csv(&row)?,
            "7,acme,acmebulk,203.0.113.7:40000,submit_sm,77,\"\"\"ACME\"\", Ltd\",5,44790090xxxx,,1,2,3,8,\
             2026-03-01T12:00:00.25Z,12.045,rejected,88,ESME_RTHROTTLED"
        );
        assert_eq!(row.fields().len(), MessageRow::COLUMNS.split(',').count());
        Ok(())
    }

    #[test]
    fn a_line_of_csv_holds_no_formula() -> Result<(), Box<dyn std::error::Error>> {
        for sender in ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1"] {
            let line = export::csv(&MessageRow { from: sender.to_owned(), ..row()? })?;
            assert!(line.contains(&format!(",'{sender},")), "{line}");
        }
        Ok(())
    }

    #[test]
    fn a_message_is_a_line_and_what_is_not_known_a_dash() -> Result<(), jiff::Error> {
        let first = MessageRow { from: "ACME".to_owned(), ..row()? };
        let second = MessageRow {
            system_id: String::new(),
            from: String::new(),
            to: String::new(),
            destinations: 3,
            part: 0,
            parts: 0,
            status: 0x400,
            ..row()?
        };
        assert_eq!(
            list(&[first, second], Style { color: false }),
            "\
SUBMITTED             ACCOUNT  SYSTEM ID  FROM  TO              PART  OUTCOME   STATUS             LATENCY  SOURCE
2026-03-01T12:00:00Z  acme     acmebulk   ACME  44790090xxxx  2 of 3  rejected  ESME_RTHROTTLED  12.045 ms  203.0.113.7:40000
2026-03-01T12:00:00Z  acme     -          -     - and 2 more       -  rejected  0x00000400       12.045 ms  203.0.113.7:40000"
        );
        Ok(())
    }

    #[test]
    fn figures_without_a_response_are_dashes() {
        let throttled = BTreeMap::from([("ESME_RTHROTTLED".to_owned(), 3)]);
        let stats = [
            MessageStats {
                account: "acme".to_owned(),
                records: 10,
                accepted: 5,
                rejected: throttled,
                refused: 2,
                p50_ms: Some(12.345),
                p90_ms: Some(20.0),
                p99_ms: Some(1_234.5),
                max_ms: Some(1_240.0),
            },
            MessageStats { account: "other".to_owned(), records: 1, refused: 1, ..MessageStats::default() },
        ];
        assert_eq!(
            figures(&stats, Style { color: false }),
            "\
ACCOUNT  RECORDS  ACCEPTED  REFUSED      P50      P90        P99        MAX  REJECTED
acme          10         5        2  12.3 ms  20.0 ms  1234.5 ms  1240.0 ms  ESME_RTHROTTLED 3
other          1         0        1        -        -          -          -  -"
        );
    }
}
