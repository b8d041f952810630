//! Brings what building and testing need, and does nothing where all is there.
//!
//! Debian's packages where we may install them, rustup's nightly elsewhere, and otherwise one message that
//! names everything that is missing and how to get it.

mod apt;
mod kernel_toolchain;
mod peers;

use std::fs;

use anyhow::{Result, bail};

use self::peers::{ensure as ensure_peers, ensure_talkers};
pub(crate) use self::{
    apt::{unpack as unpack_debian_package, update as update_debian_lists},
    kernel_toolchain::{ensure as ensure_kernel_toolchain, ensure_clippy as ensure_kernel_clippy},
    peers::{ensure_refusers, programs as peer_programs},
};
use crate::{command, vm, workspace};

/// Where pinned maps and links live.
const BPF_FILESYSTEM: &str = "/sys/fs/bpf";

/// What to set up beside the build.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Also what the tests and the demo need: SIPp, SMPP peers, tshark, promtool, cargo-nextest
    #[arg(long)]
    tests: bool,
    /// Also what the virtual machines need: QEMU, a static busybox, kmod, cpio, and their kernels
    #[arg(long)]
    vm: bool,
}

/// A program that is needed, and the Debian package that has it.
#[derive(Clone, Copy)]
pub(crate) struct Need {
    /// Name in `PATH`.
    pub(crate) program: &'static str,
    /// Debian's package.
    pub(crate) package: &'static str,
}

/// Sets up the build, and what the flags ask for beside it.
pub(crate) fn run(args: &Args) -> Result<()> {
    let nothing = || Ok(());
    all([
        ensure_kernel_toolchain(),
        if args.tests { ensure_peers() } else { nothing() },
        if args.vm { ensure_vm().and_then(|()| vm::fetch()) } else { nothing() },
    ])?;
    if workspace::is_root() {
        ensure_bpf_filesystem()?;
    }
    eprintln!("setup: all there");
    Ok(())
}

/// What every test needs, and the build before it.
pub(crate) fn ensure_for_tests() -> Result<()> {
    all([ensure_kernel_toolchain(), ensure_peers()])
}

/// What the demo needs, and the build before it.
pub(crate) fn ensure_for_demo() -> Result<()> {
    all([ensure_kernel_toolchain(), ensure_talkers()])
}

/// One error of all that could not be had: who sets a machine up wants the whole list, not its first line.
fn all<const N: usize>(steps: [Result<()>; N]) -> Result<()> {
    let errors: Vec<String> =
        steps.into_iter().filter_map(Result::err).map(|error| format!("{error:#}")).collect();
    if errors.is_empty() { Ok(()) } else { bail!("{}", errors.join("\n\n")) }
}

/// QEMU and what makes an initramfs.
pub(crate) fn ensure_vm() -> Result<()> {
    ensure_programs(&[
        Need { program: "qemu-system-x86_64", package: "qemu-system-x86" },
        Need { program: "busybox", package: "busybox-static" },
        Need { program: "depmod", package: "kmod" },
        Need { program: "cpio", package: "cpio" },
    ])
}

/// Installs the packages of the programs that are not there; without Debian or root, says which they are.
pub(crate) fn ensure_programs(needs: &[Need]) -> Result<()> {
    let missing: Vec<&Need> =
        needs.iter().filter(|need| workspace::find_program(need.program).is_none()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let packages: Vec<&str> = missing.iter().map(|need| need.package).collect();
    if apt::can_install() {
        return apt::repair(&packages);
    }
    let programs: Vec<&str> = missing.iter().map(|need| need.program).collect();
    bail!(
        "missing: {}. Install them with your system's packages (Debian: `apt-get install {}`), or run this as root.",
        programs.join(", "),
        packages.join(" ")
    );
}

/// Mounts the BPF filesystem where it is not; needs root.
pub(crate) fn ensure_bpf_filesystem() -> Result<()> {
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let mounted = mounts.lines().any(|line| {
        let mut fields = line.split(' ').skip(1);
        fields.next() == Some(BPF_FILESYSTEM) && fields.next() == Some("bpf")
    });
    if mounted {
        return Ok(());
    }
    command::run(command::privileged("mount")?.args(["-t", "bpf", "bpf", BPF_FILESYSTEM]))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use anyhow::anyhow;

    use super::all;

    #[test]
    fn one_message_names_everything_that_is_missing() {
        assert!(all([Ok(()), Ok(())]).is_ok());
        let error = all([Err(anyhow!("no compiler")), Ok(()), Err(anyhow!("no sipp"))]).unwrap_err();
        assert_eq!(error.to_string(), "no compiler\n\nno sipp");
    }
}
