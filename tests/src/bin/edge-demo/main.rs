//! The main job, seen from both ends: `cargo xtask demo` builds what this needs and becomes it, as root.
//!
//! ```text
//!   namespace edge-demo-N-c                      namespace edge-demo-N-s
//!   SIPp calls, SMPP client        veth          edged on edge-srv (XDP)
//!   203.0.113.10  ───────────────────────────►  203.0.113.1: SIPp answers on 5060, SMPP server on 2775
//!                                                127.0.0.1: webhook receiver
//! ```
//!
//! Five phases: within the limits, a spike, in which calls are answered 503 and messages `ESME_RTHROTTLED`, within the
//! limits again, a pumping burst, which stays within the limits and sends most messages to one prefix of numbers, and calls
//! that last, until as many as may be are under way. Everything is made for this run and removed after it, also on Ctrl-C.

mod cast;
mod counts;
mod report;
mod stage;
mod story;
mod throttled;

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

/// Runs the demo; `cargo xtask demo` starts it.
#[derive(Parser)]
struct Args {
    /// End with one JSON object on standard output; everything else goes to standard error
    #[arg(long)]
    json: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    // Everything that has to be removed belongs to the story: dropping it removes it.
    let outcome = tokio::select! {
        outcome = story::tell() => outcome.map(Some),
        stopped = stopped() => stopped.map(|()| None),
    };
    match outcome.and_then(|report| report.map(|report| report.print(args.json)).transpose()) {
        Ok(Some(true)) => ExitCode::SUCCESS,
        Ok(Some(false)) => ExitCode::FAILURE,
        Ok(None) => {
            eprintln!("stopped; namespaces, processes and pins are removed");
            ExitCode::from(130)
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Ends when somebody wants the demo to end.
async fn stopped() -> Result<()> {
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for Ctrl-C")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    let mut hangup = signal(SignalKind::hangup()).context("cannot wait for SIGHUP")?;
    tokio::select! {
        _ = interrupt.recv() => (),
        _ = terminate.recv() => (),
        _ = hangup.recv() => (),
    }
    Ok(())
}
