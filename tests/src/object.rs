//! The object file with the kernel programs.

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};

/// Where the object file is: `EDGE_KERNEL_OBJECT`, or where `cargo xtask build-ebpf` puts it.
#[must_use]
pub fn object_path() -> PathBuf {
    std::env::var_os("EDGE_KERNEL_OBJECT").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/kernel/edge-kernel"),
        PathBuf::from,
    )
}

/// The object file.
pub fn object_bytes() -> Result<Vec<u8>> {
    let path = object_path();
    let bytes = std::fs::read(&path)
        .with_context(|| format!("{} is not there: run `cargo xtask build-ebpf` first", path.display()))?;
    ensure!(bytes.starts_with(b"\x7fELF"), "{} is not an ELF file", path.display());
    Ok(bytes)
}
