//! The daemon: loads the programs, keeps limits, watches, alerts.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use edge_user::{config, daemon};
use tracing_subscriber::EnvFilter;

/// The daemon of Edge: meters SIP and SMPP at the network interface.
///
/// Reads its configuration, installs limits and programs in the kernel, attaches them to the configured
/// interfaces, and from then on serves edgectl on a Unix socket, metrics over HTTP, and alerts by webhook.
#[derive(Parser)]
#[command(name = "edged", version, max_term_width = 100, after_help = AFTER_HELP)]
struct Arguments {
    /// Configuration file; accounts are also read from accounts.d/*.toml beside it.
    #[arg(long, short, value_name = "FILE", default_value = "/etc/edge/edge.toml")]
    config: PathBuf,

    /// Check the configuration, print every problem, and exit: 0 when there is none, 1 otherwise.
    ///
    /// Needs no privilege, touches neither kernel nor database.
    #[arg(long)]
    check: bool,

    /// What to log, to standard error: a level, or levels by module, as in `info,edge_user::dataplane=debug`.
    #[arg(long, value_name = "FILTER", env = "EDGE_LOG", default_value = "info")]
    log: String,
}

const AFTER_HELP: &str = "\
Signals: SIGHUP applies a changed configuration (a bad one is refused and changes nothing);
SIGTERM and SIGINT end the daemon, but not enforcement: programs, limits and counters stay
in the kernel, and the next start goes on from there. `edgectl detach` takes everything off.

Needs root, or CAP_BPF, CAP_NET_ADMIN and CAP_SYS_ADMIN (to mount bpffs), and Linux 6.1 or newer.

Examples:
  edged --check --config ./edge.toml     is this configuration good?
  edged --config ./edge.toml             run in the foreground
  systemctl reload edged                 apply a changed configuration";

/// The table of ports is 128 KiB, and aya hands it over by value, from function to function: without optimisation
/// more than the 2 MiB that a thread of tokio has. Memory is taken only as it is used.
const STACK_BYTES: usize = 8 * 1024 * 1024;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let config = match config::load(&arguments.config) {
        Ok(config) => config,
        Err(problems) => {
            eprintln!("{problems}");
            return ExitCode::FAILURE;
        }
    };
    if arguments.check {
        println!("{}: no problems", arguments.config.display());
        return ExitCode::SUCCESS;
    }
    match run(config, &arguments.log) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("edged: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(config: config::Config, log: &str) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(log).map_err(|error| {
        anyhow::anyhow!("--log {log}: {error}; write for example `info` or `edge_user=debug`")
    })?;
    let stderr = std::io::stderr;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(stderr().is_terminal())
        .with_writer(stderr)
        .with_target(false)
        .init();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().thread_stack_size(STACK_BYTES).build()?;
    let result = runtime.block_on(daemon::run(config));
    // A verifier that is still at work after a signal is not waited for.
    runtime.shutdown_background();
    Ok(result?)
}
