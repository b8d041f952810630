//! Where things are, and what kind of place this is.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

/// The directory of the workspace's `Cargo.toml`.
pub(crate) fn root() -> &'static Path {
    // The manifest is in ROOT/xtask.
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// Where cargo builds for the host.
pub(crate) fn target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |dir| root().join(dir))
}

/// The kernel object that `edge-user` takes in. Always below the workspace, wherever cargo's own target is.
pub(crate) fn kernel_object() -> PathBuf {
    root().join("target/kernel/edge-kernel")
}

/// Peers that come from PyPI, npm or an unpacked Debian package: `venv/bin`, `node/node_modules`, `bin`.
pub(crate) fn peers() -> PathBuf {
    root().join("target/peers")
}

/// Whether this is continuous integration, where a missing tool is a failure, not a hint.
pub(crate) fn is_ci() -> bool {
    env::var_os("CI").is_some_and(|value| !value.is_empty() && value != "false")
}

/// Whether the process is root.
pub(crate) fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// The program of that name in `PATH`, or where Debian keeps programs for root.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|directory| directory.join(name))
        .find(|candidate| is_executable(candidate))
}

/// Cargo's own directory of programs (`~/.cargo/bin`), which need not be in `PATH`.
pub(crate) fn cargo_bin() -> Option<PathBuf> {
    env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| env::home_dir().map(|home| home.join(".cargo")))
        .map(|home| home.join("bin"))
}

/// Whether there is a file that may be run.
pub(crate) fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}
