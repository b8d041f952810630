//! Records on stdout, one a line: what `calls export` and `messages export` share.

use std::io::{self, Write as _};

use edge_user::api::client::ClientError;
use edge_user::api::types::RecordQuery;
use serde::Serialize;

use crate::cli::{ExportArgs, ExportFormat};
use crate::failure::Failure;

/// Records asked for at once.
const PAGE: u32 = 5_000;

/// What can be exported.
pub(crate) trait Record: Serialize {
    /// The first line of CSV.
    const COLUMNS: &str;

    /// By which the next page is asked for.
    fn seq(&self) -> u64;

    /// In the order of the columns.
    fn fields(&self) -> Vec<String>;
}

/// Page by page, so that neither side holds more than one.
pub(crate) async fn export<R: Record>(
    args: ExportArgs,
    page: impl AsyncFn(&RecordQuery) -> Result<Vec<R>, ClientError>,
) -> Result<(), Failure> {
    let mut query = RecordQuery { account: args.account, since: args.since, after: None, limit: Some(PAGE) };
    let mut stdout = io::stdout().lock();
    if args.format == ExportFormat::Csv {
        writeln!(stdout, "{}", R::COLUMNS)?;
    }
    loop {
        let records = page(&query).await?;
        for record in &records {
            let line = match args.format {
                ExportFormat::Jsonl => serde_json::to_string(record).map_err(io::Error::from)?,
                ExportFormat::Csv => csv(record)?,
            };
            writeln!(stdout, "{line}")?;
        }
        let Some(last) = records.last() else { break };
        query.after = Some(last.seq());
    }
    stdout.flush()?;
    Ok(())
}

/// One line (RFC 4180), without its end.
pub(crate) fn csv(record: &impl Record) -> io::Result<String> {
    let mut line = csv::Writer::from_writer(Vec::new());
    line.write_record(record.fields().into_iter().map(harmless))?;
    let line = line.into_inner().map_err(csv::IntoInnerError::into_error)?;
    Ok(String::from_utf8_lossy(&line).trim_end_matches('\n').to_owned())
}

/// What a spreadsheet would run as a formula has an apostrophe in front, which makes it text: senders of messages and
/// numbers are what customers, and strangers, choose.
fn harmless(field: String) -> String {
    if field.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{field}") } else { field }
}
