//! What may be typed of calls.

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Subcommand};

use super::{ExportArgs, RecordsListArgs, StatsArgs};

#[derive(Debug, Subcommand)]
pub(crate) enum CallsVerb {
    /// One line a call that holds a slot, longest first
    #[command(after_help = "\
The last four digits of numbers are left out unless --full is given; what `records.numbers` does not keep is never shown.

Example:
  edgectl calls list --account acme --json | jq '.[] | select(.age_secs > 7200).id'")]
    List(RecordsListArgs),
    /// Everything about one call that holds a slot
    Show {
        /// The call's id, as `calls list` shows it
        id: String,
        /// Show numbers as far as `records.numbers` keeps them
        #[arg(long)]
        full: bool,
    },
    /// Take the slot of one call back
    #[command(
        name = "drop-slot",
        after_help = "\
For a call that is over and that Edge has not heard the end of. The call itself goes on if it is not: Edge sends nothing.

Example:
  edgectl calls drop-slot 1-5f3a0c1d2e4b6978 --reason 'ended at 12:40, ticket 4711'"
    )]
    DropSlot(DropSlotArgs),
    /// What calls that are over add up to: ASR, NER, ACD, short calls, PDD
    #[command(after_help = "\
ASR is answered over attempts, NER the attempts that the network carried (busy and given up included) over attempts,
ACD the average duration of answered calls, SHORT the share of these that lasted less than 6 s, PDD the average time from
INVITE to ringing. Calls that Edge refused are no attempts. From the records, as far back as they are kept.

Example:
  edgectl calls stats --since 1h --account acme")]
    Stats(StatsArgs),
    /// Write call records to stdout, oldest first
    #[command(after_help = "\
JSON Lines or CSV, one record a line; --json changes nothing. Numbers are there as far as `records.numbers` keeps them.

Examples:
  edgectl calls export --since 1h --account acme --format csv > acme.csv
  edgectl calls export --since 2026-03-01T00:00:00Z | jq 'select(.cause == \"failed\").to'")]
    Export(ExportArgs),
}

#[derive(Debug, Args)]
pub(crate) struct DropSlotArgs {
    /// The call's id, as `calls list` shows it
    pub(crate) id: String,
    /// Why; kept in the audit
    #[arg(long, value_name = "TEXT", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) reason: String,
}
