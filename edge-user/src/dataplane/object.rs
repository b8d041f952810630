//! The kernel object, compiled by `cargo xtask build-ebpf` and embedded by the build script.

/// The ELF file with the programs and maps of `edge-ebpf`, aligned for parsing in place.
pub(super) const KERNEL_OBJECT: &[u8] = aya::include_bytes_aligned!(env!("EDGE_KERNEL_OBJECT_PATH"));
