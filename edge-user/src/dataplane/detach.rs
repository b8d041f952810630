//! Taking everything off: works with and without a running daemon.

use std::path::Path;

use super::egress;
use super::error::DataplaneError;
use super::pins::{self, PinDir};

/// What was taken off.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DetachReport {
    /// Interfaces that had a program of Edge.
    pub interfaces: Vec<String>,
}

/// Takes programs off and pins away, of all versions, when no daemon runs. Limits end, counters are lost.
///
/// [`DataplaneError::Held`] when a daemon runs: that one is to be asked.
pub fn detach(pin_dir: &Path) -> Result<DetachReport, DataplaneError> {
    let pins = PinDir::new(pin_dir);
    if !pins.exists() {
        return Ok(DetachReport::default());
    }
    let _lock = pins.lock()?;
    remove_everything(&pins)
}

pub(super) fn remove_everything(pins: &PinDir) -> Result<DetachReport, DataplaneError> {
    let mut interfaces = Vec::new();
    for version in pins.versions() {
        interfaces.extend(pins::linked_interfaces(&version));
        for name in pins::heard_interfaces(&version) {
            egress::remove(&version, &name)?;
        }
        pins::remove_version(&version)?;
    }
    interfaces.sort();
    interfaces.dedup();
    pins.remove_root()?;
    Ok(DetachReport { interfaces })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn every_version_goes_and_its_interfaces_are_named_once() {
        let parent = tempfile::tempdir().unwrap();
        let root = parent.path().join("edge");
        for version in ["v0", "v1"] {
            fs::create_dir_all(root.join(version)).unwrap();
            fs::write(root.join(version).join("link-eth0:100"), "").unwrap();
            fs::write(root.join(version).join("SETTINGS"), "").unwrap();
        }
        assert_eq!(detach(&root).unwrap().interfaces, ["eth0.100"]);
        assert!(!root.exists());
        assert_eq!(detach(&root).unwrap(), DetachReport::default(), "nothing is left to do");
    }

    #[test]
    fn nothing_is_taken_off_under_a_running_daemon() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("v1")).unwrap();
        let _daemon = PinDir::new(root.path()).lock().unwrap();
        assert!(matches!(detach(root.path()), Err(DataplaneError::Held { .. })));
        assert!(root.path().join("v1").exists());
    }
}
