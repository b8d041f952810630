//! Debian's packages.

use std::{
    fs,
    path::Path,
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
};

use anyhow::{Context as _, Result};

use crate::{command, workspace};

/// Lists are fetched once a run, and only when something is missing.
static UPDATED: AtomicBool = AtomicBool::new(false);

/// Whether this is Debian or a child of it, and we are root or have sudo.
pub(super) fn can_install() -> bool {
    let has_rights = workspace::is_root() || workspace::find_program("sudo").is_some();
    has_rights && workspace::find_program("apt-get").is_some()
}

/// Those of the packages that are not installed.
pub(super) fn missing<'a>(packages: &[&'a str]) -> Vec<&'a str> {
    // dpkg-query fails as soon as one of the names is unknown to it, and still prints the others.
    let said = Command::new("dpkg-query")
        .args(["--show", "--showformat", "${Package} ${db:Status-Status}\n"])
        .args(packages)
        .output()
        .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
        .unwrap_or_default();
    packages
        .iter()
        .copied()
        .filter(|package| !said.lines().any(|line| line == format!("{package} installed")))
        .collect()
}

/// Whether the configured suites have this package.
pub(super) fn has_candidate(package: &str) -> bool {
    update();
    Command::new("apt-cache").args(["show", package]).output().is_ok_and(|output| output.status.success())
}

/// Installs those that are not installed; where all are, and yet their files are not there, all of them again.
pub(super) fn repair(packages: &[&str]) -> Result<()> {
    let missing = missing(packages);
    if missing.is_empty() {
        return install(&[&["--reinstall"], packages].concat());
    }
    install(&missing)
}

/// Installs them.
pub(super) fn install(packages: &[&str]) -> Result<()> {
    update();
    let mut apt = command::privileged("env")?;
    apt.args(["DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "--yes", "--no-install-recommends"]);
    apt.args(["-o", "DPkg::Lock::Timeout=300"]).args(packages);
    command::run(&mut apt)
}

/// Downloads a package and unpacks it there, without installing it: no service is started, nothing is replaced.
pub(crate) fn unpack(package: &str, directory: &Path) -> Result<()> {
    update();
    let downloads = workspace::root().join("target/debs").join(package);
    fs::create_dir_all(&downloads).with_context(|| format!("cannot make {}", downloads.display()))?;
    // Root's apt drops to a user of its own, which need not be able to write here; we ask it not to.
    command::run(Command::new("apt-get").current_dir(&downloads).args([
        "-o",
        "APT::Sandbox::User=root",
        "download",
        package,
    ]))?;
    let archive = fs::read_dir(&downloads)?
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .with_context(|| format!("apt-get left no package in {}", downloads.display()))?;
    fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    command::run(Command::new("dpkg-deb").arg("--extract").arg(&archive).arg(directory))?;
    fs::remove_dir_all(&downloads).with_context(|| format!("cannot remove {}", downloads.display()))
}

/// Fetches the lists, once a run.
pub(crate) fn update() {
    if UPDATED.swap(true, Ordering::Relaxed) {
        return;
    }
    let updated = command::privileged("apt-get").and_then(|mut apt| command::run(apt.arg("update")));
    if let Err(error) = updated {
        // One unreachable third-party list must not stop us: the install below says what it lacks.
        eprintln!("warning: {error:#}");
    }
}
