//! A compiler for the BPF target, and the linker that goes with it.

use std::path::Path;

use anyhow::{Result, bail};

use super::{all, apt};
use crate::{
    command,
    toolchain::{self, BPF_LINKER_VERSION, Toolchain},
    workspace,
};

/// Compiler, `core` for BPF, and clippy.
const DEBIAN_COMPILER: [&str; 4] = ["rustc-web", "cargo-web", "libstd-rust-web-dev-bpf", "rust-web-clippy"];

/// LLVM of the compiler's version, and what it links with.
const DEBIAN_LLVM: [&str; 5] = ["llvm-22-dev", "libpolly-22-dev", "libzstd-dev", "zlib1g-dev", "libxml2-dev"];

const LLVM_PREFIX: &str = "/usr/lib/llvm-22";

/// Makes sure that there are a compiler for BPF and bpf-linker.
pub(crate) fn ensure() -> Result<()> {
    let compiler = if Toolchain::find().is_none() { install_compiler() } else { Ok(()) };
    all([compiler, ensure_linker()])
}

fn ensure_linker() -> Result<()> {
    match toolchain::bpf_linker_version() {
        Some(version) if version == BPF_LINKER_VERSION => Ok(()),
        Some(version) => {
            eprintln!("note: bpf-linker {version} is installed; Edge is tested with {BPF_LINKER_VERSION}");
            Ok(())
        }
        None => install_linker(),
    }
}

/// Makes sure that the compiler for BPF has its clippy, where that can be had.
pub(crate) fn ensure_clippy() -> Result<()> {
    ensure()?;
    match Toolchain::find() {
        Some(toolchain) if toolchain.has_clippy() => Ok(()),
        Some(Toolchain::Nightly { .. }) => match toolchain::rustup() {
            Some(rustup) => {
                let mut rustup = command::without_cargo(rustup);
                command::run(rustup.args(["component", "add", "clippy", "--toolchain", "nightly"]))
            }
            None => Ok(()),
        },
        _ if apt::can_install() => apt::repair(&DEBIAN_COMPILER),
        _ => Ok(()),
    }
}

fn install_compiler() -> Result<()> {
    if apt::can_install() && apt::has_candidate(DEBIAN_COMPILER[0]) {
        // Debian's package `rustup` owns the same paths, and apt would remove it.
        if apt::missing(&["rustup"]).is_empty() {
            eprintln!("Debian's rustup is installed, which excludes rustc-web; trying rustup's nightly");
        } else {
            return apt::repair(&DEBIAN_COMPILER);
        }
    }
    let install = toolchain::rustup().map(|rustup| {
        let mut rustup = command::without_cargo(rustup);
        rustup.args(["toolchain", "install", "nightly", "--profile", "minimal"]);
        rustup.args(["--component", "rust-src", "--component", "clippy"]);
        command::run(&mut rustup)
    });
    match install {
        Some(Ok(())) if Toolchain::find().is_some() => Ok(()),
        Some(Err(error)) => bail!("{error:#}\n{COMPILER_HELP}"),
        Some(Ok(())) | None => bail!("{COMPILER_HELP}"),
    }
}

const COMPILER_HELP: &str = "\
There is no compiler for the BPF target. One of these is needed:
  * rustup's nightly with its sources:
        rustup toolchain install nightly --component rust-src --component clippy
  * on Debian 12, as root:
        apt-get install rustc-web cargo-web libstd-rust-web-dev-bpf rust-web-clippy
Then run this again.";

fn install_linker() -> Result<()> {
    if !Path::new(LLVM_PREFIX).join("include").exists()
        && apt::can_install()
        && apt::has_candidate(DEBIAN_LLVM[0])
    {
        apt::repair(&DEBIAN_LLVM)?;
    }
    if Path::new(LLVM_PREFIX).join("include").exists() {
        let mut install = command::cargo();
        install
            .env("LLVM_PREFIX", LLVM_PREFIX)
            .env("RUSTFLAGS", format!("-L{LLVM_PREFIX}/lib"))
            .args(["install", "bpf-linker", "--locked", "--version", BPF_LINKER_VERSION])
            .args(["--no-default-features", "--features", "llvm-22"]);
        return command::run(&mut install);
    }
    if workspace::find_program("cargo-binstall").is_some() {
        let package = format!("bpf-linker@{BPF_LINKER_VERSION}");
        return command::run(command::cargo().args(["binstall", "--no-confirm", &package]));
    }
    bail!(
        "bpf-linker {BPF_LINKER_VERSION} is missing, and there is no LLVM 22 in {LLVM_PREFIX} to build it with.\n\
         Either install cargo-binstall and run `cargo binstall bpf-linker@{BPF_LINKER_VERSION}`,\n\
         or, on Debian 12 as root, `apt-get install {}`, then run this again.",
        DEBIAN_LLVM.join(" ")
    );
}
