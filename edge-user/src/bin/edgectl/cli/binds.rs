//! What may be typed of binds.

use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub(crate) enum BindsVerb {
    /// One line a bind, oldest first
    #[command(after_help = "\
REFUSED are messages answered in SMPP's words on that connection; what was dropped is in `edgectl accounts show`.

Example:
  edgectl binds list --account acme --json | jq '.[] | select(.state == \"requested\").source'")]
    List(BindsListArgs),
    /// Everything about one bind
    #[command(after_help = "\
Example:
  edgectl binds show 203.0.113.7:40000-198.51.100.10:2775")]
    Show {
        /// The bind's id, as `binds list` shows it: both ends of its connection
        id: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct BindsListArgs {
    /// Only this account's
    #[arg(long, value_name = "NAME")]
    pub(crate) account: Option<String>,
    /// At most this many
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub(crate) limit: u32,
}
