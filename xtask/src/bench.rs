//! Nanoseconds per packet.

use anyhow::Result;

use crate::{build_ebpf, command, workspace};

/// How to print.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// An array of `{"row", "ns", "net_ns", "verified_insns"}` on standard output instead of a table
    #[arg(long)]
    json: bool,
    /// Only these rows; all of them when missing
    #[arg(value_name = "ROW")]
    rows: Vec<String>,
}

/// Builds the kernel programs and the bench, and becomes it; as root, since it loads programs.
pub(crate) fn run(args: &Args) -> Result<()> {
    // The bench is built against the object that is shipped, and measures one with two programs more.
    build_ebpf::run()?;
    let object = build_ebpf::run_for_bench()?;
    // What is timed is in the kernel: the host's profile does not matter, and this one is built already.
    command::run(command::cargo().args(["build", "--package", "edge-tests", "--bin", "edge-bench"]))?;
    let mut bench = command::privileged_path(&workspace::target().join("debug/edge-bench"))?;
    bench.env("EDGE_KERNEL_OBJECT", object);
    if args.json {
        bench.arg("--json");
    }
    bench.args(&args.rows);
    command::become_program(&mut bench)
}
