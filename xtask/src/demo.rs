//! The main job, seen: two namespaces, real peers, limits, alerts, a webhook.

use anyhow::Result;

use crate::{build_ebpf, command, setup, workspace};

/// How to print.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// One JSON object on standard output at the end; progress goes to standard error
    #[arg(long)]
    json: bool,
}

/// Builds what the demo needs as the user, and becomes the demo as root.
pub(crate) fn run(args: &Args) -> Result<()> {
    setup::ensure_for_demo()?;
    build_ebpf::run()?;
    setup::ensure_bpf_filesystem()?;
    command::run(command::cargo().args([
        "build",
        "--package",
        "edge-user",
        "--package",
        "edge-tests",
        "--bins",
    ]))?;
    let programs = workspace::target().join("debug");
    let mut demo = command::privileged_path(&programs.join("edge-demo"))?;
    demo.env("EDGE_BIN", &programs).env("EDGE_PEERS", workspace::peers());
    if args.json {
        demo.arg("--json");
    }
    // The signals are the demo's own now: it removes its namespaces on Ctrl-C.
    command::become_program(&mut demo)
}
