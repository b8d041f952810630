//! Where pins live: `<pin_dir>/v<ABI_VERSION>/`, one file a map, `link-<interface>` a link and
//! `mode-<interface>`, a symbolic link whose target says how that link was attached.
//!
//! A pinned link keeps the program on the interface, and pinned maps keep limits, buckets and counters, when
//! no daemon runs. Who works with the directory holds a lock on it (flock(2)), which ends with the process.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, symlink};
use std::path::{Path, PathBuf};

use edge_ebpf::abi::{ABI_VERSION, map};
use nix::mount::MsFlags;
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};

use super::error::DataplaneError;

const LINK: &str = "link-";
const MODE: &str = "mode-";
const EGRESS: &str = "egress-";
/// What parts the name of a map of stages from the number of its load.
const LOAD: char = '@';

/// The directory of pins, all versions of it.
#[derive(Clone, Debug)]
pub(super) struct PinDir {
    root: PathBuf,
}

/// The right to change what is pinned, until dropped.
#[derive(Debug)]
pub(super) struct PinLock {
    directory: File,
}

impl PinDir {
    pub(super) fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// Makes the directory, and mounts bpffs below it where there is none.
    pub(super) fn prepare(&self) -> Result<(), DataplaneError> {
        let parent = self.root.parent().unwrap_or(Path::new("/"));
        if !on_bpffs(nearest_existing(parent)) {
            mount_bpffs(parent)?;
        }
        make_directory(&self.root)?;
        make_directory(&self.current())
    }

    /// Takes the directory for this process, or says who has it.
    pub(super) fn lock(&self) -> Result<PinLock, DataplaneError> {
        let directory = File::open(&self.root).map_err(DataplaneError::io("open", &self.root))?;
        match directory.try_lock() {
            Ok(()) => Ok(PinLock { directory }),
            Err(TryLockError::WouldBlock) => {
                Err(DataplaneError::Held { pin_dir: self.root.clone(), pid: holder(&directory) })
            }
            Err(TryLockError::Error(error)) => Err(DataplaneError::io("lock", &self.root)(error)),
        }
    }

    /// Whether the lock is on the directory that is there now: who removes and makes it anew takes the lock away.
    pub(super) fn is_locked_by(&self, lock: &PinLock) -> bool {
        let id = |metadata: io::Result<fs::Metadata>| metadata.ok().map(|it| (it.dev(), it.ino()));
        let there = id(fs::metadata(&self.root));
        there.is_some() && there == id(lock.directory.metadata())
    }

    /// Whether anything was ever pinned here.
    pub(super) fn exists(&self) -> bool {
        self.root.is_dir()
    }

    /// Removes the directory itself, once it is empty.
    pub(super) fn remove_root(&self) -> Result<(), DataplaneError> {
        fs::remove_dir(&self.root).map_err(DataplaneError::io("remove", &self.root))
    }

    /// The directory of this daemon's version.
    pub(super) fn current(&self) -> PathBuf {
        self.root.join(format!("v{ABI_VERSION}"))
    }

    /// Directories of other versions, left by an older or newer daemon.
    pub(super) fn other_versions(&self) -> Vec<PathBuf> {
        self.versions().into_iter().filter(|path| *path != self.current()).collect()
    }

    /// Directories of all versions.
    pub(super) fn versions(&self) -> Vec<PathBuf> {
        let is_version = |name: &str| {
            name.strip_prefix('v')
                .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit()))
        };
        names(&self.root)
            .into_iter()
            .filter(|name| is_version(name))
            .map(|name| self.root.join(name))
            .collect()
    }
}

/// The pin of a map.
pub(super) fn map_path(version: &Path, map: &str) -> PathBuf {
    version.join(map)
}

/// The pin of a map of stages, by the load that it belongs to.
pub(super) fn stages_path(version: &Path, map: &str, load: u32) -> PathBuf {
    version.join(format!("{map}{LOAD}{load}"))
}

/// Every pin of a map of stages, with its load.
pub(super) fn stages(version: &Path) -> Vec<(u32, PathBuf)> {
    let load = |name: &String| {
        let (map, load) = name.split_once(LOAD)?;
        map::STAGES.contains(&map).then(|| Some((load.parse().ok()?, version.join(name))))?
    };
    names(version).iter().filter_map(load).collect()
}

/// The pin of an interface's link.
pub(super) fn link_path(version: &Path, interface: &str) -> PathBuf {
    version.join(format!("{LINK}{}", escape(interface)))
}

/// The pin of the link on an interface's way out; where it is a filter and no link, the note that it is there.
pub(super) fn egress_path(version: &Path, interface: &str) -> PathBuf {
    version.join(format!("{EGRESS}{}", escape(interface)))
}

/// Notes that the program on an interface's way out is a filter, which cannot be pinned.
pub(super) fn note_egress(version: &Path, interface: &str) -> Result<(), DataplaneError> {
    let path = egress_path(version, interface);
    remove_if_there(&path)?;
    symlink("clsact", &path).map_err(DataplaneError::io("write", path))
}

/// Interfaces whose way out is heard, by this directory.
pub(super) fn heard_interfaces(version: &Path) -> Vec<String> {
    names(version).iter().filter_map(|name| name.strip_prefix(EGRESS)).map(unescape).collect()
}

/// Interfaces that have a pinned link in this directory.
pub(super) fn linked_interfaces(version: &Path) -> Vec<String> {
    names(version).iter().filter_map(|name| name.strip_prefix(LINK)).map(unescape).collect()
}

/// How the link of an interface was attached, as [`note_mode`] wrote it down: mode and reason.
pub(super) fn noted_mode(version: &Path, interface: &str) -> Option<(String, Option<String>)> {
    let target = fs::read_link(version.join(format!("{MODE}{}", escape(interface)))).ok()?;
    let text = target.to_str()?;
    match text.split_once(": ") {
        Some((mode, reason)) => Some((mode.to_owned(), Some(reason.to_owned()))),
        None => Some((text.to_owned(), None)),
    }
}

/// Writes down how a link was attached: the kernel tells nobody but through netlink, and never the reason.
pub(super) fn note_mode(
    version: &Path,
    interface: &str,
    mode: &str,
    reason: Option<&str>,
) -> Result<(), DataplaneError> {
    let path = version.join(format!("{MODE}{}", escape(interface)));
    remove_if_there(&path)?;
    let text = reason.map_or_else(|| mode.to_owned(), |reason| format!("{mode}: {reason}"));
    symlink(text, &path).map_err(DataplaneError::io("write", path))
}

/// Removes the pin of a link, which detaches it unless it is pinned elsewhere too, and the note of its mode.
pub(super) fn remove_link(version: &Path, interface: &str) -> Result<(), DataplaneError> {
    remove_if_there(&link_path(version, interface))?;
    remove_if_there(&version.join(format!("{MODE}{}", escape(interface))))
}

/// Removes a directory of a version with all its pins.
pub(super) fn remove_version(version: &Path) -> Result<(), DataplaneError> {
    for name in names(version) {
        remove_if_there(&version.join(name))?;
    }
    fs::remove_dir(version).map_err(DataplaneError::io("remove", version))
}

pub(super) fn remove_if_there(path: &Path) -> Result<(), DataplaneError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(DataplaneError::io("remove", path)(error))
        }
        _ => Ok(()),
    }
}

/// bpffs reserves the dot (kernel/bpf/inode.c, `bpf_lookup`), which VLAN interfaces have in their names; the
/// colon is what an interface's name never has (net/core/dev.c, `dev_valid_name`).
fn escape(interface: &str) -> String {
    interface.replace('.', ":")
}

fn unescape(name: &str) -> String {
    name.replace(':', ".")
}

fn names(directory: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let mut names: Vec<String> =
        entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    names.sort();
    names
}

fn nearest_existing(path: &Path) -> &Path {
    path.ancestors().find(|ancestor| ancestor.exists()).unwrap_or(Path::new("/"))
}

fn on_bpffs(path: &Path) -> bool {
    statfs(path).is_ok_and(|status| status.filesystem_type() == BPF_FS_MAGIC)
}

/// Mounts over an empty directory only: a mount hides what is below it.
fn mount_bpffs(path: &Path) -> Result<(), DataplaneError> {
    let refused = |reason: String| DataplaneError::Bpffs { path: path.to_owned(), reason };
    fs::create_dir_all(path).map_err(|error| refused(format!("the directory cannot be made: {error}")))?;
    if !names(path).is_empty() {
        return Err(refused(
            "the directory is on another file system and not empty. Set `paths.pin_dir` below /sys/fs/bpf"
                .into(),
        ));
    }
    nix::mount::mount(Some("bpf"), path, Some("bpf"), MsFlags::empty(), Some("mode=0700")).map_err(|errno| {
        refused(format!(
            "mounting it failed: {}. Run as root, or mount it yourself: `mount -t bpf bpf {}`",
            errno.desc(),
            path.display()
        ))
    })
}

fn make_directory(path: &Path) -> Result<(), DataplaneError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(DataplaneError::io("make the directory", path))
}

/// Who holds the lock, from /proc/locks: `1: FLOCK  ADVISORY  WRITE 708 00:1d:4242 0 EOF` (`proc_locks(5)`).
fn holder(directory: &File) -> Option<u32> {
    let metadata = directory.metadata().ok()?;
    let locks = fs::read_to_string("/proc/locks").ok()?;
    holder_in(&locks, metadata.dev(), metadata.ino())
}

fn holder_in(locks: &str, device: u64, inode: u64) -> Option<u32> {
    let place =
        format!("{:02x}:{:02x}:{inode}", nix::sys::stat::major(device), nix::sys::stat::minor(device));
    locks.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        (fields.get(1) == Some(&"FLOCK") && fields.get(5) == Some(&place.as_str()))
            .then(|| fields.get(4)?.parse().ok())
            .flatten()
    })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    #[test]
    fn an_interface_with_a_dot_comes_back_from_its_pin() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(link_path(directory.path(), "eth0.100"), "").unwrap();
        fs::write(map_path(directory.path(), "SETTINGS"), "").unwrap();
        assert!(directory.path().join("link-eth0:100").exists());
        assert_eq!(linked_interfaces(directory.path()), ["eth0.100"]);
    }

    #[test]
    fn the_mode_of_a_link_is_remembered_with_its_reason() {
        let directory = tempfile::tempdir().unwrap();
        note_mode(directory.path(), "eth0", "generic", Some("no driver: none at all")).unwrap();
        let noted = noted_mode(directory.path(), "eth0").unwrap();
        assert_eq!(noted, ("generic".into(), Some("no driver: none at all".into())));
        note_mode(directory.path(), "eth0", "native", None).unwrap();
        assert_eq!(noted_mode(directory.path(), "eth0").unwrap(), ("native".into(), None));
        remove_link(directory.path(), "eth0").unwrap();
        assert_eq!(noted_mode(directory.path(), "eth0"), None);
    }

    #[test]
    fn maps_of_stages_are_told_by_name_and_load() {
        let directory = tempfile::tempdir().unwrap();
        let first = stages_path(directory.path(), map::INGRESS_STAGES, 1);
        let twelfth = stages_path(directory.path(), map::INGRESS_STAGES, 12);
        for path in [&first, &twelfth, &link_path(directory.path(), "eth0@2")] {
            fs::write(path, "").unwrap();
        }
        assert_eq!(stages(directory.path()), [(1, first), (12, twelfth)]);
    }

    #[test]
    fn only_version_directories_count_as_versions() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["v0", "v1", "v999", "version", "v", "vx1"] {
            fs::create_dir(directory.path().join(name)).unwrap();
        }
        let pins = PinDir::new(directory.path());
        let others: Vec<_> = pins
            .other_versions()
            .iter()
            .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
            .collect();
        let all = ["v0", "v1", "v999"];
        let expected: Vec<_> =
            all.iter().filter(|name| **name != format!("v{ABI_VERSION}")).copied().collect();
        assert_eq!(others, expected);
    }

    #[test]
    fn a_second_holder_is_refused_and_told_who_is_first() {
        let directory = tempfile::tempdir().unwrap();
        let pins = PinDir::new(directory.path());
        let first = pins.lock().unwrap();
        let refused = pins.lock().unwrap_err();
        assert!(
            matches!(refused, DataplaneError::Held { pid: Some(pid), .. } if pid == std::process::id()),
            "{refused}"
        );
        drop(first);
        pins.lock().unwrap();
    }

    #[test]
    fn a_directory_that_was_made_anew_is_not_locked() {
        let parent = tempfile::tempdir().unwrap();
        let root = parent.path().join("edge");
        fs::create_dir(&root).unwrap();
        let pins = PinDir::new(&root);
        let lock = pins.lock().unwrap();
        assert!(pins.is_locked_by(&lock));
        fs::remove_dir(&root).unwrap();
        assert!(!pins.is_locked_by(&lock));
        fs::create_dir(&root).unwrap();
        assert!(!pins.is_locked_by(&lock));
        assert!(pins.is_locked_by(&pins.lock().unwrap()));
    }

    #[test]
    fn a_lock_on_another_inode_or_of_another_kind_is_not_the_holder() {
        let locks = "1: POSIX  ADVISORY  WRITE 7 00:1d:4242 0 EOF\n2: FLOCK  ADVISORY  WRITE 8 00:1d:4243 0 EOF\n\
                     3: FLOCK  ADVISORY  WRITE 9 00:1d:4242 0 EOF\n";
        assert_eq!(holder_in(locks, nix::sys::stat::makedev(0, 0x1d), 4242), Some(9));
        assert_eq!(holder_in(locks, nix::sys::stat::makedev(0, 0x1e), 4242), None);
    }

    #[test]
    fn bpffs_is_never_mounted_over_files() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("precious"), "").unwrap();
        let refused = mount_bpffs(directory.path()).unwrap_err();
        assert!(refused.to_string().contains("not empty"), "{refused}");
    }
}
