//! What can go wrong between the daemon and the kernel, each with what to do about it.

use std::error::Error;
use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// An error of the dataplane.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DataplaneError {
    /// The kernel is older than the programs need.
    #[error(
        "this kernel is {found}, Edge needs 6.1 or newer: the programs need bpf_loop, 64-bit compare-exchange \
         and XDP links that can be pinned, all of them proven from 6.1 on. Boot a newer kernel"
    )]
    KernelTooOld {
        /// Version found.
        found: String,
    },
    /// No bpffs where the pins should live.
    #[error("there is no BPF file system for the pins at {path}: {reason}")]
    Bpffs {
        /// The directory that should be on bpffs.
        path: PathBuf,
        /// What is there, or what failed.
        reason: String,
    },
    /// Another daemon works with the same pins.
    #[error(
        "another edged{} holds {pin_dir}: two daemons on the same interfaces would undo each other's work. \
         Stop that one first, or give this one its own `paths.pin_dir` and interfaces",
        .pid.map_or_else(String::new, |pid| format!(" (pid {pid})"))
    )]
    Held {
        /// The directory of pins.
        pin_dir: PathBuf,
        /// Process that holds it, where /proc/locks tells.
        pid: Option<u32>,
    },
    /// A file system operation failed.
    #[error("cannot {doing} {path}: {source}")]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The kernel refused the object: maps, BTF or the verifier.
    #[error("the kernel does not take the programs: {reason}")]
    Load {
        /// The kernel's reason, the verifier's last lines included.
        reason: String,
    },
    /// We may not do this at all.
    #[error(
        "the kernel does not let this process load programs and maps: {reason}. Run edged as root, or give it \
         CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON"
    )]
    Forbidden {
        /// The kernel's reason.
        reason: String,
    },
    /// The object lacks something that the contract names.
    #[error("the kernel object has no {kind} `{name}`: it was built from other sources, build it again")]
    Missing {
        /// `map` or `program`.
        kind: &'static str,
        /// Its name.
        name: &'static str,
    },
    /// A map cannot be read or written.
    #[error("cannot {doing} the map {map}: {reason}")]
    Map {
        /// What was tried.
        doing: &'static str,
        /// The map.
        map: &'static str,
        /// Why it failed.
        reason: String,
    },
    /// The way out of an interface cannot be heard.
    #[error(
        "what leaves by {interface} cannot be seen: {reason}. Calls would never end, so the interface counts as \
         failed; before kernel 6.6 the modules `sch_ingress` and `cls_bpf` are needed"
    )]
    Egress {
        /// Interface.
        interface: String,
        /// The kernel's reason.
        reason: String,
    },
    /// Somebody else's program is on the interface.
    #[error(
        "another XDP program is attached to {interface}{found}. Detach it (`ip link show dev {interface}` shows it, \
         `ip link set dev {interface} xdp off` or the program's own tool removes it) or take {interface} out of \
         the configuration"
    )]
    Busy {
        /// Interface.
        interface: String,
        /// What XDP programs there are, in parentheses, or nothing.
        found: String,
    },
    /// The kernel or the driver refused to attach.
    #[error("cannot attach to {interface} in {mode} mode: {reason}")]
    Attach {
        /// Interface.
        interface: String,
        /// `native` or `generic`.
        mode: &'static str,
        /// Why, with advice where there is one.
        reason: String,
    },
    /// The driver does not take the mode that is wanted, and the interface has the one that it had.
    #[error("{refused}. It stays attached in {stays} mode")]
    ModeRefused {
        /// `native` or `generic`.
        stays: &'static str,
        /// Why.
        refused: String,
    },
    /// The same, and what was there could not be put back.
    #[error("{refused}; and in {before} mode, as it was, it cannot be attached any more: {why}")]
    ModeLost {
        /// `native` or `generic`.
        before: &'static str,
        /// Why not the mode that is wanted.
        refused: String,
        /// Why not the one before.
        why: String,
    },
    /// The plan names an account number that does not fit the installed maps.
    #[error(
        "account number {number} does not fit: the installed maps have room for {capacity} accounts. \
         Raise `capacity.accounts`, then `edgectl detach` and start again: the size of a map is fixed when it is made"
    )]
    NoRoom {
        /// The number.
        number: u32,
        /// Entries of the map.
        capacity: u32,
    },
}

impl DataplaneError {
    pub(super) fn map(doing: &'static str, map: &'static str, error: &dyn Error) -> Self {
        Self::Map { doing, map, reason: chain(error) }
    }

    pub(super) fn load(error: &(dyn Error + 'static)) -> Self {
        let reason = last_lines(&chain(error));
        if is_forbidden(error) { Self::Forbidden { reason } } else { Self::Load { reason } }
    }

    pub(super) fn io(doing: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { doing, path, source }
    }
}

/// Whether somewhere below is an EPERM. The verifier says EACCES and EINVAL of a program that it refuses.
fn is_forbidden(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        let io = error.downcast_ref::<io::Error>();
        if io.is_some_and(|it| it.raw_os_error() == Some(nix::errno::Errno::EPERM as i32)) {
            return true;
        }
        next = error.source();
    }
    false
}

/// The error and its sources, which aya keeps out of its messages.
pub(super) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let next = error.to_string();
        if !text.contains(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        source = error.source();
    }
    text
}

/// A verifier log may have a million lines; the reason stands in the last.
fn last_lines(text: &str) -> String {
    const KEPT: usize = 30;
    let lines: Vec<&str> = text.lines().collect();
    match lines.len().checked_sub(KEPT) {
        None | Some(0) => text.to_owned(),
        Some(skipped) => format!("{}\n… {skipped} lines …\n{}", lines[0], lines[skipped..].join("\n")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_verifier_log_keeps_its_head_and_its_end() {
        let log = (0..1000).map(|line| format!("line {line}")).collect::<Vec<_>>().join("\n");
        let short = last_lines(&log);
        assert!(short.starts_with("line 0\n… 970 lines …\n"), "{short}");
        assert!(short.ends_with("line 999"), "{short}");
    }

    #[test]
    fn who_lacks_a_privilege_is_told_which_and_a_refused_program_is_not_taken_for_that() {
        #[derive(Debug, Error)]
        #[error("map error")]
        struct Outer(#[source] io::Error);
        let of = |errno: i32| DataplaneError::load(&Outer(io::Error::from_raw_os_error(errno))).to_string();
        assert!(of(1).contains("Run edged as root"), "{}", of(1));
        assert!(of(13).starts_with("the kernel does not take the programs: map error: "), "{}", of(13));
    }

    #[test]
    fn the_holder_of_the_lock_is_named_when_known() {
        let known = DataplaneError::Held { pin_dir: "/sys/fs/bpf/edge".into(), pid: Some(42) };
        assert!(known.to_string().starts_with("another edged (pid 42) holds /sys/fs/bpf/edge:"), "{known}");
        let unknown = DataplaneError::Held { pin_dir: "/sys/fs/bpf/edge".into(), pid: None };
        assert!(unknown.to_string().starts_with("another edged holds /sys/fs/bpf/edge:"), "{unknown}");
    }
}
