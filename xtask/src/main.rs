//! Set-up, build, lint, test, demo, bench and VM runs: `cargo xtask --help`.
//!
//! One file a task. Every external command is printed before it runs, on standard error with all other
//! progress; standard output carries results only. Tasks are idempotent, and quick when there is nothing to do.

mod bench;
mod build_ebpf;
mod command;
mod demo;
mod lint;
mod setup;
mod test;
mod toolchain;
mod vm;
mod workspace;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Everything that is done to Edge besides running it.
#[derive(Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    after_help = "\
On a fresh machine either of these is enough by itself; each installs what it needs:

  cargo xtask demo     see the main job: real SIP and SMPP traffic, limits, alerts, a webhook
  cargo xtask test     pass the tests

While working on the code:

  cargo xtask build-ebpf     after a change in edge-ebpf; then cargo build as usual
  cargo xtask lint           what continuous integration checks before the tests
  cargo xtask test -- NAME   only the tests whose names contain NAME
  cargo xtask test --all     and the oldest and a newer kernel in virtual machines

What needs root (namespaces, XDP) runs through sudo when you are not root; building never does."
)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install what building (and with flags: testing) needs; does nothing where all is there
    Setup(setup::Args),
    /// Build the kernel programs into target/kernel/edge-kernel
    BuildEbpf,
    /// Check formatting, clippy for the host and for the BPF target, and dependencies
    Lint,
    /// Run every test that this machine can carry, with real peers in network namespaces
    Test(test::Args),
    /// Run the main job in two network namespaces with real SIP and SMPP traffic, in 90 seconds
    Demo(demo::Args),
    /// Run the packet table and an enforcement test on Debian's kernels in virtual machines
    Vm(vm::Args),
    /// Measure nanoseconds per packet
    Bench(bench::Args),
}

fn main() -> ExitCode {
    match run(Cli::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> Result<()> {
    match task {
        Task::Setup(args) => setup::run(&args),
        Task::BuildEbpf => build_ebpf::run(),
        Task::Lint => lint::run(),
        Task::Test(args) => test::run(&args),
        Task::Demo(args) => demo::run(&args),
        Task::Vm(args) => vm::run(&args),
        Task::Bench(args) => bench::run(&args),
    }
}
