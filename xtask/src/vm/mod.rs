//! The kernels that Edge is meant for, in virtual machines.
//!
//! QEMU emulates the processor (TCG): no privilege, no `/dev/kvm`, about ten seconds to boot and be gone. The
//! guest has no disk: its initramfs is ours. See docs/decisions/0002-kernels.md.

mod debian_kernel;
mod guest;
mod initramfs;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use self::debian_kernel::Kernel;
use crate::{build_ebpf, command, setup, workspace};

/// Which kernel.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only this kernel series; all of them when missing
    #[arg(long, value_parser = ["6.1", "6.12"])]
    kernel: Option<String>,
}

/// The oldest kernel that Edge runs on, and the newest that Debian 12 has.
pub(crate) const SERIES: [&str; 2] = ["6.1", "6.12"];

/// What runs inside.
struct Suite {
    /// The packet table by `BPF_PROG_TEST_RUN`.
    prog_run: PathBuf,
    /// One limit enforced on virtio-net and on veth.
    enforcement: PathBuf,
    /// The kernel programs.
    object: PathBuf,
}

/// A kernel with what it runs, on disk.
pub(crate) struct Machine {
    kernel: Kernel,
    initramfs: PathBuf,
}

/// Builds the suite once and runs it on each kernel.
pub(crate) fn run(args: &Args) -> Result<()> {
    let is_wanted = |series: &&str| args.kernel.as_deref().is_none_or(|wanted| wanted == *series);
    let series: Vec<&str> = SERIES.into_iter().filter(is_wanted).collect();
    prepare(&series)?.iter().try_for_each(Machine::run)
}

/// Installs QEMU, builds the kernel programs and the suite, and makes a machine of each kernel.
pub(crate) fn prepare(series: &[&str]) -> Result<Vec<Machine>> {
    let suite = build()?;
    let machine = |series: &&str| {
        let kernel = debian_kernel::find(series)?;
        let initramfs = initramfs::make(&kernel, &suite)?;
        Ok(Machine { kernel, initramfs })
    };
    series.iter().map(machine).collect()
}

/// Brings the kernels.
pub(crate) fn fetch() -> Result<()> {
    SERIES.iter().try_for_each(|series| debian_kernel::find(series).map(drop))
}

fn build() -> Result<Suite> {
    setup::ensure_vm()?;
    build_ebpf::run()?;
    // As the suites outside of machines are built, so that nothing is compiled twice. The package's binaries come with it.
    command::run(command::cargo().args([
        "test",
        "--no-run",
        "--package",
        "edge-tests",
        "--test",
        "prog_run",
    ]))?;
    let built = workspace::target().join("debug");
    Ok(Suite {
        prog_run: newest(&built.join("deps"), "prog_run-")?,
        enforcement: built.join("edge-vm"),
        object: workspace::kernel_object(),
    })
}

impl Machine {
    /// Runs the suite on it; an error tells what failed.
    pub(crate) fn run(&self) -> Result<()> {
        let version = &self.kernel.version;
        eprintln!("Linux {version} in a virtual machine");
        guest::run(&self.kernel, &self.initramfs)?;
        eprintln!("Linux {version}: passed");
        Ok(())
    }
}

/// The newest executable of that name; cargo adds a hash to the names of tests.
fn newest(directory: &Path, prefix: &str) -> Result<PathBuf> {
    let mut found = Vec::new();
    for entry in directory.read_dir().with_context(|| format!("cannot read {}", directory.display()))? {
        let entry = entry?;
        let is_ours = entry.file_name().to_string_lossy().starts_with(prefix);
        if is_ours && workspace::is_executable(&entry.path()) {
            found.push((entry.metadata()?.modified()?, entry.path()));
        }
    }
    let Some((_, path)) = found.into_iter().max() else {
        bail!("no {prefix}… in {}", directory.display());
    };
    Ok(path)
}
