//! `edgectl`: what people and scripts ask of Edge, over the daemon's Unix socket.
//!
//! `cli` says what may be typed, each verb has its file (ask, then render), `output` writes, `failure` says how
//! it ends. Data goes to stdout, everything else to stderr.
#![forbid(unsafe_code)]

mod cli;
mod failure;
mod output;
mod text;
mod values;

mod accounts;
mod alerts;
mod audit;
mod binds;
mod calls;
mod check;
mod completions;
mod detach;
mod doctor;
mod export;
mod limits;
mod measures;
mod messages;
mod plan;
mod reload;
mod status;
mod suspend;
mod top;
mod webhook;

use std::process::ExitCode;

use clap::Parser;

use self::cli::{Cli, Verb};
use self::failure::Failure;
use self::output::Output;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return failure::usage(&error, std::env::args_os().any(|word| word == "--json")),
    };
    let output = Output::new(cli.global.json, cli.global.color);
    match run(cli, output) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.tell(output),
    }
}

fn run(cli: Cli, output: Output) -> Result<(), Failure> {
    let socket = cli.global.socket.as_path();
    // One request after another: one thread is enough.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match cli.verb {
            Verb::Status => status::run(socket, output).await,
            Verb::Accounts(verb) => accounts::run(verb, socket, output).await,
            Verb::Limits(verb) => limits::run(verb, socket, output).await,
            Verb::Ban(args) => measures::ban(args, socket, output).await,
            Verb::Allow(args) => measures::allow(args, socket, output).await,
            Verb::Unban(args) => measures::unban(args, socket, output).await,
            Verb::Measures(verb) => measures::run(verb, socket, output).await,
            Verb::Suspend(args) => suspend::suspend(args, socket, output).await,
            Verb::Resume(args) => suspend::resume(args, socket, output).await,
            Verb::Binds(verb) => binds::run(verb, socket, output).await,
            Verb::Calls(verb) => calls::run(verb, socket, output).await,
            Verb::Messages(verb) => messages::run(verb, socket, output).await,
            Verb::Top(args) => top::run(&args, socket, output).await,
            Verb::Alerts(verb) => alerts::run(verb, socket, output).await,
            Verb::Webhook(verb) => webhook::run(verb, socket, output).await,
            Verb::Audit(args) => audit::run(&args, socket, output).await,
            Verb::Check(args) => check::run(&args, output),
            Verb::Plan(args) => plan::run(args, socket, output).await,
            Verb::Reload => reload::run(socket, output).await,
            Verb::Detach(args) => detach::run(args, socket, output).await,
            Verb::Doctor(verb) => doctor::run(verb, output).await,
            Verb::Completions(args) => completions::run(&args, output),
        }
    })
}
