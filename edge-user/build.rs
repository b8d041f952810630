//! Finds the kernel object, so that the daemon carries it within: one file to install, and never a daemon with
//! programs of another version.

use std::path::PathBuf;
use std::{env, fs};

/// Names another object than the one that `cargo xtask build-ebpf` makes.
const OVERRIDE: &str = "EDGE_KERNEL_OBJECT";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed={OVERRIDE}");
    let object = env::var_os(OVERRIDE).map_or_else(default_object, PathBuf::from);
    println!("cargo::rerun-if-changed={}", object.display());
    match fs::canonicalize(&object) {
        Ok(path) => println!("cargo::rustc-env=EDGE_KERNEL_OBJECT_PATH={}", path.display()),
        Err(error) => println!(
            "cargo::error=the kernel object has not been built ({}: {error}); run `cargo xtask build-ebpf`, on a \
             new machine `cargo xtask setup` first",
            object.display()
        ),
    }
}

fn default_object() -> PathBuf {
    let manifest = env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from).unwrap_or_default();
    manifest.join("../target/kernel/edge-kernel")
}
