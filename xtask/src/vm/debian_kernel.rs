//! Debian's kernels: downloaded and unpacked below `target/vm`, never installed.

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context as _, Result};

use crate::{command, setup, workspace};

/// A kernel, unpacked.
pub(super) struct Kernel {
    /// `6.1.0-56-cloud-amd64`.
    pub(super) version: String,
    /// The directory that is its root.
    pub(super) root: PathBuf,
}

impl Kernel {
    /// What QEMU boots.
    pub(super) fn image(&self) -> PathBuf {
        self.root.join("boot").join(format!("vmlinuz-{}", self.version))
    }
}

/// The newest cloud kernel of a series; what was unpacked before is used again.
pub(super) fn find(series: &str) -> Result<Kernel> {
    let root = workspace::root().join("target/vm").join(series);
    if version_in(&root).is_err() {
        let package = newest_package(series)?;
        // Unpacked beside and moved, so that half a kernel is never taken for one.
        let beside = root.with_extension("new");
        if beside.exists() {
            fs::remove_dir_all(&beside).with_context(|| format!("cannot remove {}", beside.display()))?;
        }
        setup::unpack_debian_package(&package, &beside)?;
        let version = version_in(&beside)?;
        command::run(Command::new("/usr/sbin/depmod").arg("-b").arg(&beside).arg(&version))?;
        fs::rename(&beside, &root).with_context(|| format!("cannot make {}", root.display()))?;
    }
    Ok(Kernel { version: version_in(&root)?, root })
}

/// The version that the directory of modules is named after.
fn version_in(root: &std::path::Path) -> Result<String> {
    let modules = root.join("lib/modules");
    let mut entries = modules.read_dir().with_context(|| format!("cannot read {}", modules.display()))?;
    let entry = entries.next().context("the package has no modules")??;
    Ok(entry.file_name().to_string_lossy().into_owned())
}

fn newest_package(series: &str) -> Result<String> {
    let prefix = format!("linux-image-{series}.");
    let names = || command::read(Command::new("apt-cache").args(["pkgnames", &prefix]));
    let mut said = names()?;
    if newest_of(&said).is_none() {
        setup::update_debian_lists();
        said = names()?;
    }
    newest_of(&said).map(str::to_owned).with_context(|| {
        format!("Debian's lists have no {prefix}*-cloud-amd64: the virtual machines need Debian 12's mirror")
    })
}

/// The highest version among names of packages: numbers are compared as numbers.
fn newest_of(names: &str) -> Option<&str> {
    let numbers = |name: &&str| -> Vec<u64> {
        name.split(|byte: char| !byte.is_ascii_digit()).filter_map(|digits| digits.parse().ok()).collect()
    };
    names.lines().filter(|name| name.ends_with("-cloud-amd64")).max_by_key(numbers)
}

#[cfg(test)]
mod tests {
    use super::newest_of;

    #[test]
    fn the_newest_package_is_found_by_number_and_is_a_signed_one() {
        let names = "linux-image-6.1.0-9-cloud-amd64\nlinux-image-6.1.0-56-cloud-amd64\n\
                     linux-image-6.1.0-57-cloud-amd64-unsigned\nlinux-image-6.1.0-58-amd64";
        assert_eq!(newest_of(names), Some("linux-image-6.1.0-56-cloud-amd64"));
    }
}
