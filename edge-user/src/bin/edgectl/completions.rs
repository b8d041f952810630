//! `edgectl completions`.

use clap::CommandFactory;
use serde_json::json;

use crate::cli::{Cli, CompletionsArgs};
use crate::failure::Failure;
use crate::output::Output;

pub(crate) fn run(args: &CompletionsArgs, output: Output) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "edgectl", &mut script);
    let script = String::from_utf8_lossy(&script);
    let document = json!({ "shell": args.shell.to_string(), "script": script });
    output.show(&document, |_, _| script.to_string())
}
