//! One boot, watched on its console.

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

use super::debian_kernel::Kernel;

/// What the guest says at its end, followed by an exit code.
pub(super) const VERDICT: &str = "edge-vm-verdict:";

/// For a whole run, boot and suite; it is emulated and takes what others leave of the machine.
const LIMIT_SECS: &str = "1500";

/// Whatever QEMU knows, but for the flags by which Linux chooses `rep movsb` to copy and `rep stosb` to clear: emulated, they
/// go octet by octet, and the verifier does little else.
const CPU: &str = "max,-erms,-fsrm";

/// Boots the kernel. A guest that gives no verdict (a flaw of emulation) is tried once more, a failure never.
pub(super) fn run(kernel: &Kernel, initramfs: &Path) -> Result<()> {
    for attempt in 1..=2 {
        match boot(kernel, initramfs)? {
            Some(0) => return Ok(()),
            Some(code) => bail!("the suite failed on Linux {} (exit code {code})", kernel.version),
            None => eprintln!("the guest ended without a verdict (attempt {attempt} of 2)"),
        }
    }
    bail!("Linux {} gave no verdict twice", kernel.version)
}

/// Runs QEMU to its end, shows the console, and returns the verdict on it.
fn boot(kernel: &Kernel, initramfs: &Path) -> Result<Option<i32>> {
    // `timeout` ends the machine even when we are gone.
    let mut qemu = Command::new("nice");
    qemu.args(["-n", "19", "timeout", "--foreground", "--kill-after=5", LIMIT_SECS, "qemu-system-x86_64"])
        .args(["-M", "q35", "-accel", "tcg,thread=multi", "-cpu", CPU, "-m", "1024", "-smp", "2"])
        .args(["-nodefaults", "-no-user-config", "-display", "none", "-serial", "stdio", "-no-reboot"])
        .arg("-kernel")
        .arg(kernel.image())
        .arg("-initrd")
        .arg(initramfs)
        .args(["-append", "console=ttyS0 quiet panic=-1"]);
    // Two network cards on one hub: what one sends, the other receives.
    for card in ["a", "b"] {
        qemu.args(["-netdev", &format!("hubport,id={card},hubid=0")]);
        qemu.args(["-device", &format!("virtio-net-pci,netdev={card}")]);
    }
    let mut machine =
        qemu.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("cannot start QEMU")?;
    let console = machine.stdout.take().context("QEMU has no console")?;
    let mut verdict = None;
    for line in BufReader::new(console).split(b'\n') {
        let line = line.context("cannot read the guest's console")?;
        let line = String::from_utf8_lossy(&line);
        let line = line.trim_end();
        eprintln!("  {} | {line}", kernel.version);
        if let Some((_, code)) = line.split_once(VERDICT) {
            verdict = code.trim().parse().ok();
        }
    }
    let status = machine.wait().context("cannot wait for QEMU")?;
    if status.code() == Some(124) {
        eprintln!("the guest was stopped after {LIMIT_SECS} s");
    }
    Ok(verdict)
}
