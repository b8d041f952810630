//! `edgectl calls`.

use std::io::{self, Write as _};
use std::path::Path;

use edge_user::api::client::Client;
use edge_user::api::types::{CallRow, RecordQuery};

use crate::cli::{CallsVerb, ExportArgs, ExportFormat};
use crate::failure::Failure;

/// Records asked for at once.
const PAGE: u32 = 5_000;

const COLUMNS: &str = "seq,account,source,from,to,setup_at,ring_at,answer_at,end_at,status,cause,ended_by";

pub(crate) async fn run(verb: CallsVerb, socket: &Path) -> Result<(), Failure> {
    let CallsVerb::Export(args) = verb;
    export(args, socket).await
}

/// Page by page, so that neither side holds more than one.
async fn export(args: ExportArgs, socket: &Path) -> Result<(), Failure> {
    let client = Client::new(socket)?;
    let mut query = RecordQuery { account: args.account, since: args.since, after: None, limit: Some(PAGE) };
    let mut stdout = io::stdout().lock();
    if args.format == ExportFormat::Csv {
        writeln!(stdout, "{COLUMNS}")?;
    }
    loop {
        let page = client.call_records(&query).await?;
        for row in &page {
            let line = match args.format {
                ExportFormat::Jsonl => serde_json::to_string(row).map_err(io::Error::from)?,
                ExportFormat::Csv => csv(row),
            };
            writeln!(stdout, "{line}")?;
        }
        let Some(last) = page.last() else { break };
        query.after = Some(last.seq);
    }
    stdout.flush()?;
    Ok(())
}

/// No field can hold a comma, a quote or a line end: names, addresses, digits, times and words.
fn csv(row: &CallRow) -> String {
    let time = |at: Option<jiff::Timestamp>| at.map_or_else(String::new, |at| at.to_string());
    [
        row.seq.to_string(),
        row.account.clone(),
        row.source.clone(),
        row.from.clone(),
        row.to.clone(),
        row.setup_at.to_string(),
        time(row.ring_at),
        time(row.answer_at),
        row.end_at.to_string(),
        row.status.to_string(),
        row.cause.clone(),
        row.ended_by.clone(),
    ]
    .join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_csv_has_as_many_fields_as_columns() -> Result<(), jiff::Error> {
        let row = CallRow {
            seq: 7,
            account: "acme".to_owned(),
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
        let line = csv(&row);
        assert_eq!(
            line,
            "7,acme,203.0.113.7,441632960123,,2026-03-01T12:00:00Z,,,2026-03-01T12:00:01Z,486,busy,callee"
        );
        assert_eq!(line.split(',').count(), COLUMNS.split(',').count());
        Ok(())
    }
}
