//! Builds the kernel programs, and hands the object to `edge-user` only when it has changed.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

use crate::{
    command, setup,
    toolchain::{self, BPF_TARGET, Toolchain},
    workspace,
};

/// Builds `edge-kernel` and copies it to `target/kernel/`.
pub(crate) fn run() -> Result<()> {
    build("kernel", &workspace::kernel_object())
}

/// Builds it with the programs that only the bench needs, and copies it beside.
pub(crate) fn run_for_bench() -> Result<PathBuf> {
    let object = workspace::kernel_object().with_file_name("edge-kernel-bench");
    build("bench", &object)?;
    Ok(object)
}

fn build(feature: &str, object: &Path) -> Result<()> {
    setup::ensure_kernel_toolchain()?;
    let toolchain = Toolchain::find().context("no compiler for the BPF target after setup")?;
    eprintln!("building the kernel programs with {toolchain}");
    let mut cargo = toolchain.cargo("build")?;
    cargo.args(["--package", "edge-ebpf", "--features", feature, "--bin", "edge-kernel", "--release"]);
    if workspace::is_ci() {
        cargo.arg("--locked");
    }
    command::run(&mut cargo)?;

    let built = toolchain::kernel_build().join(BPF_TARGET).join("release/edge-kernel");
    if copy_if_changed(&built, object)? {
        eprintln!("{} is new", object.display());
    } else {
        eprintln!("{} is unchanged", object.display());
    }
    Ok(())
}

/// Copies only other bytes: a new modification time would have `edge-user` compiled again for nothing.
fn copy_if_changed(from: &Path, to: &Path) -> Result<bool> {
    let bytes = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
    if bytes.is_empty() {
        bail!("{} is empty", from.display());
    }
    if fs::read(to).is_ok_and(|existing| existing == bytes) {
        return Ok(false);
    }
    if let Some(directory) = to.parent() {
        fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    }
    // Written beside and moved, so that a build at the same time never sees half an object.
    let beside = to.with_extension("new");
    fs::write(&beside, &bytes).with_context(|| format!("cannot write {}", beside.display()))?;
    fs::rename(&beside, to).with_context(|| format!("cannot write {}", to.display()))?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::{env, fs, process};

    use super::copy_if_changed;

    #[test]
    fn an_unchanged_object_is_not_touched() {
        let directory = env::temp_dir().join(format!("edge-xtask-{}", process::id()));
        fs::create_dir_all(&directory).unwrap();
        let (from, to) = (directory.join("from"), directory.join("kernel/to"));
        fs::write(&from, b"one").unwrap();
        assert!(copy_if_changed(&from, &to).unwrap());
        let first = fs::metadata(&to).unwrap().modified().unwrap();
        assert!(!copy_if_changed(&from, &to).unwrap());
        assert_eq!(fs::metadata(&to).unwrap().modified().unwrap(), first);
        fs::write(&from, b"two").unwrap();
        assert!(copy_if_changed(&from, &to).unwrap());
        assert_eq!(fs::read(&to).unwrap(), b"two");
        fs::remove_dir_all(&directory).unwrap();
    }
}
