//! What continuous integration checks before the tests.

use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::{command, setup, toolchain::Toolchain, workspace};

/// Formatting, clippy for the host, clippy for the kernel programs on their own target, and dependencies.
pub(crate) fn run() -> Result<()> {
    command::run(command::cargo().args(["fmt", "--all", "--check"]))?;
    // edge-user takes the kernel object in.
    crate::build_ebpf::run()?;
    command::run(
        command::cargo()
            .args(["clippy", "--workspace", "--all-targets", "--locked"])
            .args(["--", "--deny", "warnings"]),
    )?;
    lint_kernel()?;
    lint_dependencies()
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
