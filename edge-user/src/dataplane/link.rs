//! A link (`bpf_link`) as the kernel tells it: `/proc/self/fdinfo` says which interface it is on and which program
//! it runs, so that nothing is believed because it was once so.

use std::fs;
use std::path::Path;

use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::loaded_links;

use super::error::{DataplaneError, chain};

/// The link of one interface, open. Closing it takes nothing off as long as it is pinned.
pub(super) struct HeldLink {
    link: FdLink,
    index: u32,
}

/// What the kernel says of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    /// The interface that it is on; `None` once the interface is gone or the link was detached by force.
    pub(super) index: Option<u32>,
    /// The program that it runs.
    pub(super) program_id: u32,
}

impl HeldLink {
    /// A link on the interface of this number.
    pub(super) fn new(link: FdLink, index: u32) -> Self {
        Self { link, index }
    }

    /// The link that is pinned at `path`, if there is one.
    pub(super) fn open(path: &Path, index: u32) -> Option<Self> {
        Some(Self { link: FdLink::from(PinnedLink::from_pin(path).ok()?), index })
    }

    /// Pins it at `path`, where nothing may be, and goes on holding it.
    pub(super) fn pin(self, path: &Path) -> Result<Self, DataplaneError> {
        let failed = |error: &dyn std::error::Error| DataplaneError::Io {
            doing: "pin the link at",
            path: path.to_owned(),
            source: std::io::Error::other(chain(error)),
        };
        let pinned = self.link.pin(path).map_err(|error| failed(&error))?;
        Ok(Self { link: FdLink::from(pinned), index: self.index })
    }

    /// The interface that it was put on.
    pub(super) fn index(&self) -> u32 {
        self.index
    }

    /// What the kernel says of it now.
    pub(super) fn facts(&self) -> Option<Facts> {
        let id = self.id()?;
        let entries = fs::read_dir("/proc/self/fdinfo").ok()?;
        entries
            .filter_map(|entry| fs::read_to_string(entry.ok()?.path()).ok())
            .find_map(|text| facts_in_fdinfo(&text, id))
    }

    /// Whether the pin at `path` is this very link's.
    pub(super) fn is_pinned_at(&self, path: &Path) -> bool {
        let there = Self::open(path, self.index).and_then(|link| link.id());
        there.is_some() && there == self.id()
    }

    fn id(&self) -> Option<u32> {
        self.link.info().ok().map(|info| info.id())
    }
}

/// Links of a program.
pub(super) fn links_of(program_id: u32) -> usize {
    loaded_links().filter_map(Result::ok).filter(|link| link.program_id() == program_id).count()
}

/// `link_type:\txdp`, `link_id:\t3`, `prog_id:\t9`, `ifindex:\t7`; 0 when the interface is gone (net/core/dev.c,
/// `bpf_xdp_link_show_fdinfo`).
fn facts_in_fdinfo(text: &str, link_id: u32) -> Option<Facts> {
    let field = |name: &str| {
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        value.trim().parse::<u32>().ok()
    };
    if field("link_id") != Some(link_id) {
        return None;
    }
    Some(Facts { index: field("ifindex").filter(|index| *index != 0), program_id: field("prog_id")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_tells_its_program_and_its_interface_until_that_is_gone() {
        let text = "pos:\t0\nflags:\t02000002\nlink_type:\txdp\nlink_id:\t31\nprog_tag:\taf\nprog_id:\t9\nifindex:\t7\n";
        assert_eq!(facts_in_fdinfo(text, 31), Some(Facts { index: Some(7), program_id: 9 }));
        assert_eq!(facts_in_fdinfo(text, 32), None);
        let gone = text.replace("ifindex:\t7", "ifindex:\t0");
        assert_eq!(facts_in_fdinfo(&gone, 31), Some(Facts { index: None, program_id: 9 }));
    }
}
