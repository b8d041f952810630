//! Which compiler builds for the BPF target: the user's own nightly, or Debian's.
//!
//! docs/decisions/0001-toolchain.md tells why there are two.

use std::{
    env,
    ffi::OsString,
    fmt, iter,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::{command, workspace};

/// The target of the kernel programs.
pub(crate) const BPF_TARGET: &str = "bpfel-unknown-none";

/// Links the kernel programs; the version is pinned because its LLVM must not be older than the compiler's.
pub(crate) const BPF_LINKER_VERSION: &str = "0.13.0";

/// Debian's compiler, which comes with `core` for BPF as a package of its own.
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_CARGO: &str = "/usr/bin/cargo";
const DEBIAN_CLIPPY: &str = "/usr/bin/cargo-clippy";
const DEBIAN_CORE: &str = "/usr/lib/rustlib/bpfel-unknown-none/lib";

/// A compiler that can build for BPF.
pub(crate) enum Toolchain {
    /// rustup's nightly with `rust-src`: `core` is built from source.
    Nightly {
        /// The toolchain's directory.
        sysroot: PathBuf,
    },
    /// Debian's `rustc-web`, `cargo-web` and `libstd-rust-web-dev-bpf`.
    Debian,
}

impl Toolchain {
    /// The toolchain that there is; the user's own comes first. `None` when there is neither.
    pub(crate) fn find() -> Option<Self> {
        Self::find_nightly().or_else(Self::find_debian)
    }

    fn find_nightly() -> Option<Self> {
        let rustup = rustup()?;
        let mut rustc = command::without_cargo(rustup);
        rustc.args(["run", "nightly", "rustc", "--print", "sysroot"]);
        let sysroot = PathBuf::from(command::read(&mut rustc).ok()?.trim());
        let has_source = sysroot.join("lib/rustlib/src/rust/library/core/Cargo.toml").exists();
        has_source.then_some(Self::Nightly { sysroot })
    }

    fn find_debian() -> Option<Self> {
        let complete = [DEBIAN_RUSTC, DEBIAN_CARGO]
            .into_iter()
            .all(|program| workspace::is_executable(Path::new(program)))
            && Path::new(DEBIAN_CORE).exists();
        complete.then_some(Self::Debian)
    }

    /// `cargo` of this toolchain with the right compiler, the right linker and its own target directory, so that
    /// the host's build neither waits for its lock nor sees its fingerprints. The verb is the first argument.
    pub(crate) fn cargo(&self, verb: &str) -> Result<Command> {
        let mut cargo = match self {
            Self::Nightly { sysroot } => {
                let mut cargo = command::without_cargo(sysroot.join("bin/cargo"));
                cargo.env("RUSTC", sysroot.join("bin/rustc")).args([verb, "-Z", "build-std=core"]);
                cargo
            }
            Self::Debian => {
                // aya-ebpf uses unstable features of the compiler.
                let mut cargo = command::without_cargo(DEBIAN_CARGO);
                cargo.env("RUSTC", DEBIAN_RUSTC).env("RUSTC_BOOTSTRAP", "1").arg(verb);
                cargo
            }
        };
        let linker = bpf_linker().context("bpf-linker is missing; run `cargo xtask setup`")?;
        cargo
            .env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", linker)
            .env("CARGO_TARGET_DIR", kernel_build())
            .args(["--target", BPF_TARGET]);
        Ok(cargo)
    }

    /// The program that `cargo clippy` would run, where it is installed.
    pub(crate) fn has_clippy(&self) -> bool {
        match self {
            Self::Nightly { sysroot } => workspace::is_executable(&sysroot.join("bin/cargo-clippy")),
            Self::Debian => workspace::is_executable(Path::new(DEBIAN_CLIPPY)),
        }
    }

    /// `PATH` with this toolchain's programs first, for those that look for each other there.
    pub(crate) fn path(&self) -> Result<OsString> {
        let own = match self {
            Self::Nightly { sysroot } => sysroot.join("bin"),
            Self::Debian => PathBuf::from("/usr/bin"),
        };
        let inherited = env::var_os("PATH").unwrap_or_default();
        env::join_paths(iter::once(own).chain(env::split_paths(&inherited)))
            .context("PATH cannot be made longer")
    }
}

impl fmt::Display for Toolchain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nightly { sysroot } => write!(f, "rustup nightly with rust-src ({})", sysroot.display()),
            Self::Debian => write!(f, "Debian's rustc-web with libstd-rust-web-dev-bpf ({DEBIAN_RUSTC})"),
        }
    }
}

/// The linker in `PATH`, else in cargo's own directory of programs.
pub(crate) fn bpf_linker() -> Option<PathBuf> {
    workspace::find_program("bpf-linker").or_else(|| {
        let linker = workspace::cargo_bin()?.join("bpf-linker");
        workspace::is_executable(&linker).then_some(linker)
    })
}

/// What the installed linker says of its version, for instance `0.13.0`.
pub(crate) fn bpf_linker_version() -> Option<String> {
    let said = command::read(Command::new(bpf_linker()?).arg("--version")).ok()?;
    said.split_whitespace().nth(1).map(str::to_owned)
}

/// rustup in `PATH`, else in cargo's own directory of programs.
pub(crate) fn rustup() -> Option<PathBuf> {
    workspace::find_program("rustup").or_else(|| {
        let rustup = workspace::cargo_bin()?.join("rustup");
        workspace::is_executable(&rustup).then_some(rustup)
    })
}

/// Where the kernel programs are built.
pub(crate) fn kernel_build() -> PathBuf {
    workspace::root().join("target/kernel-build")
}
