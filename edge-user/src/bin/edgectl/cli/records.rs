//! What may be typed of calls and of messages alike.

use clap::{Args, ValueEnum};

use crate::values;

#[derive(Debug, Args)]
pub(crate) struct RecordsListArgs {
    /// Only this account's
    #[arg(long, value_name = "NAME")]
    pub(crate) account: Option<String>,
    /// Show numbers as far as `records.numbers` keeps them
    #[arg(long)]
    pub(crate) full: bool,
    /// At most this many
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub(crate) limit: u32,
}

#[derive(Debug, Args)]
pub(crate) struct StatsArgs {
    /// Only calls ended, messages sent since then: a time ago (`2h`) or a moment (`2026-03-01T12:00:00Z`)
    #[arg(long, value_name = "WHEN", value_parser = values::since)]
    pub(crate) since: Option<jiff::Timestamp>,
    /// Only this account's
    #[arg(long, value_name = "NAME")]
    pub(crate) account: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// Only calls ended, messages sent since then: a time ago (`2h`) or a moment (`2026-03-01T12:00:00Z`)
    #[arg(long, value_name = "WHEN", value_parser = values::since)]
    pub(crate) since: Option<jiff::Timestamp>,
    /// Only this account's
    #[arg(long, value_name = "NAME")]
    pub(crate) account: Option<String>,
    /// How to write them
    #[arg(long, default_value = "jsonl")]
    pub(crate) format: ExportFormat,
}

/// One record a line, in either.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExportFormat {
    Jsonl,
    Csv,
}
