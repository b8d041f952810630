//! What may be typed of messages.

use clap::Subcommand;

use super::{ExportArgs, RecordsListArgs, StatsArgs};

#[derive(Debug, Subcommand)]
pub(crate) enum MessagesVerb {
    /// One line a record of a message that was answered, newest first
    #[command(after_help = "\
Which messages leave a record says `records.messages`: 1 in 100 unless configured otherwise. One that is never answered
leaves none. The last four digits of numbers are left out unless --full is given; what `records.numbers` does not keep is
never shown. No record holds a text.

Example:
  edgectl messages list --account acme --json | jq '.[] | select(.latency_ms > 1000)'")]
    List(RecordsListArgs),
    /// What records of messages add up to: by outcome, and how long servers take to respond
    #[command(after_help = "\
P50, P90 and P99 are the times that half, nine of ten and all but one of a hundred responses took at most, to 2 %, MAX the
slowest. What Edge refused is not in them. From the records, as far back as they are kept: where `records.messages` is
1/N, counts are of these only (`edgectl accounts show` and metrics count all), and times are those of a fair sample.

Example:
  edgectl messages stats --since 1h --account acme")]
    Stats(StatsArgs),
    /// Write records of messages to stdout, oldest first
    #[command(after_help = "\
JSON Lines or CSV, one record a line; --json changes nothing. Numbers are there as far as `records.numbers` keeps them.

Examples:
  edgectl messages export --since 1h --account acme --format csv > acme.csv
  edgectl messages export --since 2026-03-01T00:00:00Z | jq 'select(.outcome == \"rejected\").status_name'")]
    Export(ExportArgs),
}
