//! What may be typed. Values are checked here as far as the command line alone can tell.

use std::path::PathBuf;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use edge_user::api::client::DEFAULT_SOCKET;
use edge_user::api::types::Scope;

mod binds;
mod calls;
mod messages;
mod records;

use crate::values;

pub(crate) use self::binds::BindsVerb;
pub(crate) use self::calls::CallsVerb;
pub(crate) use self::messages::MessagesVerb;
pub(crate) use self::records::{ExportArgs, ExportFormat, RecordsListArgs, StatsArgs};

/// Where the configuration is unless told otherwise.
pub(crate) const DEFAULT_CONFIG: &str = "/etc/edge/edge.toml";

/// Where the pins are unless the configuration says otherwise. An emergency exit must not need a valid file.
const DEFAULT_PIN_DIR: &str = "/sys/fs/bpf/edge";

/// Sees and steers Edge: accounts, limits, bans, alerts.
#[derive(Debug, Parser)]
#[command(
    name = "edgectl",
    version,
    propagate_version = true,
    arg_required_else_help = true,
    after_help = "\
Examples:
  edgectl status                                       what runs, and what it did so far
  edgectl top                                          who sends how much, live
  edgectl limits set acme sip.invite 20/s burst 40 --for 2h --reason 'evening peak'
  edgectl ban 203.0.113.0/24 --for 15m --reason scanner
  edgectl accounts list --json | jq '.[] | select(.alerts_open > 0).name'

Exit codes:
  0  done
  1  refused or failed; the reason is on stderr
  2  the command line is wrong
  3  edged could not be reached

Data goes to stdout, everything else to stderr. With --json, stdout is one JSON document,
and an error one JSON object on stderr: {\"code\", \"message\", \"advice\", \"problems\"}."
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// What every verb takes.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// Write one JSON document instead of tables; errors too
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// The daemon's Unix socket
    #[arg(long, global = true, env = "EDGE_SOCKET", value_name = "PATH", default_value = DEFAULT_SOCKET)]
    pub(crate) socket: PathBuf,
    /// Colours; `auto` means on a terminal, unless `NO_COLOR` is set
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub(crate) color: ColorWhen,
}

/// When to write colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ColorWhen {
    Auto,
    Always,
    Never,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// What runs: interfaces, packets by outcome, maps, alerts
    #[command(after_help = "\
Exits 0 whenever edged answers, healthy or not; scripts read the fields:
  edgectl status --json | jq '.interfaces[] | select(.xdp_mode != \"native\")'")]
    Status,
    /// Accounts: who they are and what they sent
    #[command(subcommand)]
    Accounts(AccountsVerb),
    /// Limits in force; set them live, for a while or for good
    #[command(subcommand)]
    Limits(LimitsVerb),
    /// Drop every packet of a source prefix to our ports
    #[command(after_help = "\
Replaces what was set on the same prefix. Survives restarts; lift it with `edgectl unban`.

Examples:
  edgectl ban 203.0.113.7 --for 2h --reason 'toll fraud, ticket 4711'
  edgectl ban 2001:db8:bad::/48 --reason scanner")]
    Ban(SetMeasureArgs),
    /// Never refuse a source prefix; it is still counted
    #[command(after_help = "\
Replaces what was set on the same prefix. Survives restarts; lift it with `edgectl unallow`.

Example:
  edgectl allow 203.0.113.0/24 --for 1d --reason 'load test, agreed'")]
    Allow(SetMeasureArgs),
    /// Lift a ban or an allowance (`unallow` is the same)
    #[command(
        visible_alias = "unallow",
        after_help = "\
The prefix must be the one that was set; `edgectl measures list` shows them.

Example:
  edgectl unban 203.0.113.7"
    )]
    Unban(UnbanArgs),
    /// Bans and allowances in force
    #[command(subcommand)]
    Measures(MeasuresVerb),
    /// SMPP sessions under way
    #[command(subcommand)]
    Binds(BindsVerb),
    /// Calls under way, and calls that are over
    #[command(subcommand)]
    Calls(CallsVerb),
    /// Records of SMPP messages that were answered, and how long servers take to respond
    #[command(subcommand)]
    Messages(MessagesVerb),
    /// Refuse an account's requests outside of calls under way, until it is resumed
    #[command(after_help = "\
Calls under way go on. Survives restarts; end it with `edgectl resume`.

Example:
  edgectl suspend acme --for 2d --reason 'unpaid, ticket 4711'")]
    Suspend(SuspendArgs),
    /// End an account's suspension
    Resume(ResumeArgs),
    /// Who sends how much, every second, busiest first
    #[command(after_help = "\
On a terminal: a live table; `q` quits. Offered = admitted + refused, in messages per second.
Use is admitted over limit; usual is what the spike detector has learnt.

Examples:
  edgectl top --once                    one table
  edgectl top --json --count 60         one JSON object a line and second, a minute long")]
    Top(TopArgs),
    /// Alerts and where they were delivered to
    #[command(subcommand)]
    Alerts(AlertsVerb),
    /// Webhook endpoints
    #[command(subcommand)]
    Webhook(WebhookVerb),
    /// Who changed what, when and why, newest first
    Audit(AuditArgs),
    /// Check a configuration file without a daemon; tell every problem at once
    #[command(after_help = "\
Reads the file and its accounts.d, changes nothing, needs no daemon. Exits 1 if there is a problem.
What the change would do to a running daemon: `edgectl plan`.")]
    Check(CheckArgs),
    /// What a reload would change; changes nothing
    #[command(after_help = "\
Compares a configuration with what is installed in the kernel, and prints one line a change.

Example:
  edgectl check new.toml && edgectl plan new.toml")]
    Plan(PlanArgs),
    /// Apply the daemon's configuration file anew; a bad one leaves the old in force
    #[command(after_help = "\
Buckets and counters keep their state. The same as `systemctl reload edged`, with the answer shown.")]
    Reload,
    /// Take the programs off every interface and end the daemon: nothing is limited any more
    #[command(after_help = "\
Stopping the daemon alone (`systemctl stop edged`) leaves the last limits in force; this does not.
Works without a daemon too, as root: then the pins are removed directly.")]
    Detach(DetachArgs),
    /// Find out what a server bears before it is relied on; needs no daemon
    #[command(subcommand)]
    Doctor(DoctorVerb),
    /// Completions for a shell, on stdout
    #[command(after_help = "\
Examples:
  edgectl completions bash > /etc/bash_completion.d/edgectl
  edgectl completions zsh  > /usr/local/share/zsh/site-functions/_edgectl")]
    Completions(CompletionsArgs),
}

#[derive(Debug, Subcommand)]
pub(crate) enum AccountsVerb {
    /// One line an account
    List,
    /// Everything about one account
    Show {
        /// The account's name; `unknown` is that of unknown sources
        name: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum LimitsVerb {
    /// Limits in force and where each comes from
    Show {
        /// Only this account
        account: Option<String>,
    },
    /// Override a limit, live; it survives restarts
    #[command(after_help = "\
Rates: `20/s`, `20/s burst 40`, `600/min`, `unlimited`, and `0/s`, which refuses everything.
Units are s, min, hour and day. Without `burst`, the burst is what the rate earns in one second.

Examples:
  edgectl limits set acme sip.invite 20/s burst 40 --for 2h --reason 'evening peak'
  edgectl limits set acme smpp.submit 600/min --reason 'contract of May'
  edgectl limits set unknown packets 200/s --scope source --reason flood")]
    Set(SetLimitArgs),
    /// Take an override away: what the configuration says holds again
    #[command(after_help = "\
Example:
  edgectl limits unset acme sip.invite --reason 'peak is over'")]
    Unset(UnsetLimitArgs),
}

#[derive(Debug, Args)]
pub(crate) struct LimitOf {
    /// The account's name; `unknown` is that of unknown sources
    pub(crate) account: String,
    /// What is counted
    #[arg(value_parser = values::class())]
    pub(crate) class: String,
    /// Whose bucket: the account's over all its sources, one for each source, or one for each that has registered
    #[arg(long, value_parser = values::scope(), default_value = "account")]
    pub(crate) scope: Scope,
}

#[derive(Debug, Args)]
pub(crate) struct SetLimitArgs {
    #[command(flatten)]
    pub(crate) of: LimitOf,
    /// The rate: `20/s burst 40`, `600/min`, `unlimited`; quotes are not needed
    #[arg(required = true, num_args = 1..=3, value_name = "RATE")]
    pub(crate) rate: Vec<String>,
    #[command(flatten)]
    pub(crate) how: HowLong,
}

#[derive(Debug, Args)]
pub(crate) struct UnsetLimitArgs {
    #[command(flatten)]
    pub(crate) of: LimitOf,
    #[command(flatten)]
    pub(crate) why: Lifting,
}

/// For how long and why something is set.
#[derive(Debug, Args)]
pub(crate) struct HowLong {
    /// Lift it by itself after this time: `15m`, `2h`, `1d 12h`; without, it stays until it is lifted
    // Hyphens, so that `-5m` is told what it is instead of being taken for an option.
    #[arg(long = "for", value_name = "TIME", allow_hyphen_values = true, value_parser = values::duration_secs)]
    pub(crate) for_secs: Option<u64>,
    /// Why; kept in the audit
    #[arg(long, value_name = "TEXT", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) reason: String,
}

/// Why something is lifted.
#[derive(Debug, Args)]
pub(crate) struct Lifting {
    /// Why; kept in the audit
    #[arg(long, value_name = "TEXT", default_value = "no reason given",
          value_parser = NonEmptyStringValueParser::new())]
    pub(crate) reason: String,
}

#[derive(Debug, Args)]
pub(crate) struct SetMeasureArgs {
    /// An address or a prefix in CIDR: `203.0.113.7`, `203.0.113.0/24`, `2001:db8::/32`
    #[arg(value_parser = values::prefix)]
    pub(crate) prefix: String,
    #[command(flatten)]
    pub(crate) how: HowLong,
}

#[derive(Debug, Args)]
pub(crate) struct UnbanArgs {
    /// The address or prefix, as it was set
    #[arg(value_parser = values::prefix)]
    pub(crate) prefix: String,
    #[command(flatten)]
    pub(crate) why: Lifting,
}

#[derive(Debug, Args)]
pub(crate) struct SuspendArgs {
    /// The account's name
    pub(crate) account: String,
    #[command(flatten)]
    pub(crate) how: HowLong,
}

#[derive(Debug, Args)]
pub(crate) struct ResumeArgs {
    /// The account's name
    pub(crate) account: String,
    #[command(flatten)]
    pub(crate) why: Lifting,
}

#[derive(Debug, Subcommand)]
pub(crate) enum MeasuresVerb {
    /// One line a measure: who, why, until when
    List,
}

#[derive(Debug, Args)]
pub(crate) struct TopArgs {
    /// Print one table (or one JSON object) and end
    #[arg(long, conflicts_with = "count")]
    pub(crate) once: bool,
    /// Print that many, a second apart, and end
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) count: Option<u32>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AlertsVerb {
    /// One line an alert, newest first
    List {
        /// Only those that are open
        #[arg(long)]
        open: bool,
        /// Only this account's
        #[arg(long, value_name = "NAME")]
        account: Option<String>,
        /// At most this many
        #[arg(long, value_name = "N", default_value_t = 100)]
        limit: u32,
    },
    /// One alert with its evidence and deliveries
    Show {
        /// The alert's id
        id: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum WebhookVerb {
    /// Send one signed test message now; exits 1 if an endpoint did not take it
    #[command(after_help = "\
Sent directly, without the outbox and its retries: the answer is the endpoint's.

Example:
  edgectl webhook test noc")]
    Test {
        /// The endpoint's name in the configuration; all of them when missing
        endpoint: Option<String>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct AuditArgs {
    /// At most this many
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub(crate) limit: u32,
}

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// The configuration file
    #[arg(default_value = DEFAULT_CONFIG)]
    pub(crate) path: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    /// The configuration file; the daemon's own when missing
    pub(crate) path: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct DetachArgs {
    /// Why; kept in the audit
    #[arg(long, value_name = "TEXT", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) reason: String,
    /// Where the pins are (`paths.pin_dir` of the configuration), for when no daemon answers
    #[arg(long, value_name = "PATH", default_value = DEFAULT_PIN_DIR)]
    pub(crate) pin_dir: PathBuf,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DoctorVerb {
    /// Bind to an SMPP server and try whether it bears native refusal; exits 1 if it does not
    #[command(after_help = "\
Sends what the kernel makes of a refused submit_sm: an enquire_link with a vendor TLV. No message is sent.
The server must answer in 16 bytes; then the listener's refusal may be `native`.

Example:
  edgectl doctor smpp 198.51.100.10:2775 --system-id probe --password-file probe.secret")]
    Smpp(SmppArgs),
    /// Send a SIP server over TCP the requests that it must refuse, and see whether it does; exits 1 if it does not
    #[command(after_help = "\
Sends what the kernel makes of a refused INVITE. First one with Max-Forwards 00: a proxy must answer 483, and so it must
to a REGISTER (which only asks who is bound) and to a MESSAGE (which is empty).
Else one that requires an extension which nobody has: a B2BUA must answer 420.
Then `sip.stream_refusal` may be `native`, with `sip.stream_server` as it is told.
A server that takes the first for a call has it given up at once, or ended.

Example:
  edgectl doctor sip 198.51.100.10:5060")]
    Sip(SipArgs),
}

#[derive(Debug, Args)]
pub(crate) struct SipArgs {
    /// The server, as Edge's customers reach it
    #[arg(value_name = "HOST:PORT")]
    pub(crate) server: String,
    /// Whom to call; a server that looks for the user before all else needs one that it knows
    #[arg(long, value_name = "USER", default_value = "edge-doctor", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) user: String,
}

#[derive(Debug, Args)]
pub(crate) struct SmppArgs {
    /// The server, as Edge's customers reach it
    #[arg(value_name = "HOST:PORT")]
    pub(crate) server: String,
    /// A system id that the server lets bind as transceiver
    #[arg(long, value_name = "ID")]
    pub(crate) system_id: String,
    /// A file with its password, on one line; none when missing
    #[arg(long, value_name = "FILE")]
    pub(crate) password_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell
    pub(crate) shell: Shell,
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap::CommandFactory;
    use edge_user::config;

    use super::*;

    #[test]
    fn the_command_line_does_not_contradict_itself() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_defaults_are_those_of_the_configuration() -> Result<(), Box<dyn std::error::Error>> {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("edge.toml");
        std::fs::write(&path, "[[interfaces]]\nname = \"eth0\"\n")?;
        let paths = config::load(&path)?.paths;
        assert_eq!(paths.socket, Path::new(DEFAULT_SOCKET));
        assert_eq!(paths.pin_dir, Path::new(DEFAULT_PIN_DIR));
        Ok(())
    }
}
