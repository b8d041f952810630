//! Nanoseconds per packet.

use anyhow::Result;

use crate::{build_ebpf, command, setup, workspace};

/// How to print.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// An array of `{"row", "ns", "net_ns", "least_net_ns"}` on standard output instead of a table
    #[arg(long)]
    json: bool,
    /// What a refused INVITE costs, Edge beside nftables, iptables and Kamailio, with live frames; and a refused message of
    /// SMPP, Edge beside a server that throttles, on live connections
    #[arg(long, conflicts_with = "rows")]
    peers: bool,
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
    let program = if args.peers { "edge-peers" } else { "edge-bench" };
    if args.peers {
        setup::ensure_refusers()?;
        // A live connection of SMPP has the whole of Edge on its way.
        command::run(command::cargo().args(["build", "--package", "edge-user", "--bins"]))?;
    }
    command::run(command::cargo().args(["build", "--package", "edge-tests", "--bin", program]))?;
    let mut bench = command::privileged_path(&workspace::target().join("debug").join(program))?;
    bench
        .env("EDGE_KERNEL_OBJECT", object)
        .env("EDGE_PEERS", workspace::peers())
        .env("PATH", setup::peer_programs()?);
    if args.json {
        bench.arg("--json");
    }
    bench.args(&args.rows);
    command::become_program(&mut bench)
}
