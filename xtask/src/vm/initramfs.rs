//! The guest's whole world: busybox, `ip`, a few modules, the suite, and a script that runs it.

use std::{
    fmt::Write as _,
    fs::{self, File},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

use super::{Suite, debian_kernel::Kernel, guest};
use crate::{command, workspace};

/// Drivers that the suite needs; a kernel that has one built in needs no file for it.
const MODULES: [&str; 5] = ["virtio_pci", "virtio_net", "veth", "sch_ingress", "cls_bpf"];

/// Makes it, and returns its path.
pub(super) fn make(kernel: &Kernel, suite: &Suite) -> Result<PathBuf> {
    let root = workspace::root().join("target/vm").join(format!("initramfs-{}", kernel.version));
    if root.exists() {
        fs::remove_dir_all(&root).with_context(|| format!("cannot remove {}", root.display()))?;
    }
    for directory in ["bin", "proc", "sys", "dev", "tmp", "run", "modules"] {
        fs::create_dir_all(root.join(directory)).context("cannot make the initramfs")?;
    }
    copy(&program("busybox")?, &root.join("bin/busybox"))?;
    // busybox's own ip knows no veth.
    copy_with_libraries(&program("ip")?, &root, "usr/bin/ip")?;
    copy_with_libraries(&suite.prog_run, &root, "bin/prog_run")?;
    copy_with_libraries(&suite.enforcement, &root, "bin/edge-vm")?;
    copy(&suite.object, &root.join("edge-kernel"))?;
    let modules = copy_modules(kernel, &root)?;
    let init = root.join("init");
    fs::write(&init, script(&modules)).context("cannot write the guest's script")?;
    fs::set_permissions(&init, fs::Permissions::from_mode(0o755))?;
    pack(&root)
}

/// Tests of thousands of random packets: minutes where the processor is emulated, and no other kernel is needed for
/// them. The table, truncations of it and the meter are what a guest is for.
const RANDOM_TESTS: &str = "--skip ::any_";

/// Each row is cut to every length on the kernel at hand; in a guest, to one in so many, and others for the next row.
const TRUNCATION_STEP: usize = 11;

/// What the guest does. The verdict is a line on the console; without one there was no test.
fn script(modules: &[String]) -> String {
    let mut script = String::from(
        "#!/bin/busybox sh\n\
         export PATH=/bin HOME=/tmp RUST_BACKTRACE=1 EDGE_KERNEL_OBJECT=/edge-kernel\n\
         /bin/busybox --install -s /bin\n\
         mount -t proc proc /proc\n\
         mount -t sysfs sysfs /sys\n\
         mount -t devtmpfs devtmpfs /dev\n\
         mount -t tmpfs tmpfs /tmp\n\
         mount -t bpf bpf /sys/fs/bpf\n",
    );
    for module in modules {
        let _ = writeln!(script, "insmod /modules/{module}");
    }
    let _ = write!(
        script,
        "IP=/usr/bin/ip\n\
         $IP link add veth0 type veth peer name veth1\n\
         for name in lo veth0 veth1 eth0 eth1; do $IP link set $name up; done\n\
         code=0\n\
         edge-vm veth0 veth1 eth0 eth1 || code=$?\n\
         EDGE_TRUNCATION_STEP={TRUNCATION_STEP} prog_run --test-threads 1 {RANDOM_TESTS} || code=$?\n\
         echo \"{}$code\"\n\
         sync\n\
         reboot -f\n",
        guest::VERDICT
    );
    script
}

/// Modules and what they depend on, in the order in which they are to be inserted.
fn copy_modules(kernel: &Kernel, root: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for module in MODULES {
        let said = command::read(Command::new("/usr/sbin/modprobe").arg("-d").arg(&kernel.root).args([
            "-S",
            &kernel.version,
            "--show-depends",
            module,
        ]))?;
        for path in said.lines().filter_map(|line| line.strip_prefix("insmod ")) {
            let path = Path::new(path.trim());
            let name = path.file_name().context("a module without a name")?.to_string_lossy();
            let plain = name.trim_end_matches(".xz").to_owned();
            if names.contains(&plain) {
                continue;
            }
            let to = root.join("modules").join(&plain);
            if plain == name {
                copy(path, &to)?;
            } else {
                let file = File::create(&to).with_context(|| format!("cannot write {}", to.display()))?;
                let status = Command::new("xz").args(["-dc"]).arg(path).stdout(file).status()?;
                if !status.success() {
                    bail!("xz cannot unpack {}", path.display());
                }
            }
            names.push(plain);
        }
    }
    Ok(names)
}

/// A dynamic program and the libraries that `ldd` names for it.
fn copy_with_libraries(program: &Path, root: &Path, to: &str) -> Result<()> {
    copy(program, &root.join(to))?;
    let said = command::read(Command::new("ldd").arg(program))?;
    for library in said.split_whitespace().filter(|word| word.starts_with('/')) {
        copy(Path::new(library), &root.join(library.trim_start_matches('/')))?;
    }
    Ok(())
}

/// Packs the directory as the kernel wants it.
fn pack(root: &Path) -> Result<PathBuf> {
    let image = root.with_extension("cpio");
    let archive = File::create(&image).with_context(|| format!("cannot write {}", image.display()))?;
    let mut find = Command::new("find").arg(".").current_dir(root).stdout(Stdio::piped()).spawn()?;
    let names = find.stdout.take().context("find has no output")?;
    let status = Command::new("cpio")
        .args(["--create", "--quiet", "--format", "newc", "--owner", "+0:+0"])
        .current_dir(root)
        .stdin(names)
        .stdout(archive)
        .status()
        .context("cannot start cpio")?;
    if !find.wait()?.success() || !status.success() {
        bail!("cannot pack {}", root.display());
    }
    Ok(image)
}

fn program(name: &str) -> Result<PathBuf> {
    workspace::find_program(name).with_context(|| format!("{name} is missing"))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    if let Some(directory) = to.parent() {
        fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    }
    fs::copy(from, to).with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    Ok(())
}
