//! What continuous integration checks before the tests.

use std::{panic, process::Command, thread};

use anyhow::{Context as _, Result, bail};

use crate::{command, setup, toolchain::Toolchain, workspace};

/// Formatting, clippy for the host, clippy for the kernel programs on their own target, and dependencies.
pub(crate) fn run() -> Result<()> {
    command::run(command::cargo().args(["fmt", "--all", "--check"]))?;
    // Both are one compilation after another, in target directories of their own: each takes the core that the other leaves.
    thread::scope(|scope| {
        let kernel = scope.spawn(|| crate::build_ebpf::run().and_then(|()| lint_kernel()));
        let host = lint_host();
        kernel.join().unwrap_or_else(|panic| panic::resume_unwind(panic)).and(host)
    })?;
    lint_dependencies()
}

/// Everything, for the host. `edge-user` takes the kernel object in: where that is still being built, another file, which
/// is linted alike.
fn lint_host() -> Result<()> {
    let mut clippy = command::cargo();
    if !workspace::kernel_object().exists() {
        clippy.env("EDGE_KERNEL_OBJECT", workspace::root().join("Cargo.toml"));
    }
    clippy.args(["clippy", "--workspace", "--all-targets", "--locked"]).args(["--", "--deny", "warnings"]);
    command::run(&mut clippy)
}

/// The kernel crate, library and binary, for the BPF target.
fn lint_kernel() -> Result<()> {
    setup::ensure_kernel_clippy()?;
    let toolchain = Toolchain::find().context("no compiler for the BPF target after setup")?;
    if !toolchain.has_clippy() {
        if workspace::is_ci() {
            bail!("{toolchain} has no clippy");
        }
        eprintln!("warning: {toolchain} has no clippy; the kernel crate is not linted");
        return Ok(());
    }
    let mut clippy = toolchain.cargo("clippy")?;
    clippy
        .env("PATH", toolchain.path()?)
        .args([
            "--package",
            "edge-ebpf",
            "--features",
            "kernel",
            "--lib",
            "--bin",
            "edge-kernel",
            "--release",
        ])
        .args(["--", "--deny", "warnings"]);
    command::run(&mut clippy)
}

/// Licences, advisories and sources, where cargo-deny is installed.
fn lint_dependencies() -> Result<()> {
    if workspace::find_program("cargo-deny").is_none() {
        eprintln!("note: cargo-deny is not installed; dependencies are not checked against deny.toml");
        return Ok(());
    }
    command::run(Command::new("cargo-deny").current_dir(workspace::root()).args(["--workspace", "check"]))
}
