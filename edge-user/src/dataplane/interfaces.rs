//! Interfaces: attaching, adopting what is attached, and noticing when one goes and comes back, or when somebody
//! else took our program off.
//!
//! Only real links (`bpf_link`) count: they can be pinned, replaced atomically, and nobody takes them off by
//! accident. Each is held open beside its pin, so that who removes the pin takes nothing off while a daemon runs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use aya::Ebpf;
use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::xdp::XdpLink;
use aya::programs::{
    ProgramError, ProgramType, RawTracePointRunOptions, TestRun as _, Xdp, XdpMode, loaded_programs,
};
use edge_ebpf::abi::program;
use nix::errno::Errno;
use nix::net::if_::if_nametoindex;

use super::detach::{DetachReport, remove_everything};
use super::egress::{self, Egress};
use super::error::{DataplaneError, chain};
use super::keep::Keeper;
use super::link::{self, HeldLink};
use super::load::{ingress, own};
use super::pins;
use super::state::{InterfaceState, XdpModeObtained};
use crate::config::{Interface, XdpModeRequest};
use crate::reconcile::Holder;

/// Something that became of an interface, worth a log line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceChange {
    /// Interface.
    pub interface: String,
    /// Where it stands now; `None` when it is no longer ours.
    pub state: Option<InterfaceState>,
    /// What was done: `attached`, `adopted`, `taken over from …`, `gone`, …
    pub what: String,
    /// The interface was there all the time and somebody else took Edge off it: what was found.
    pub lost: Option<&'static str>,
}

/// The program on the way in, attached.
struct Up {
    mode: XdpModeObtained,
    reason: Option<String>,
    what: String,
}

/// How the link of an attached interface was found.
enum Link {
    /// As it was left.
    Whole,
    /// The interface went, whether or not it is back.
    Gone,
    /// The interface is there, but the link is on it no more.
    TakenOff,
    /// Somebody meddled with it; it is put right, and no packet passed in between.
    Repaired { lost: &'static str, what: &'static str },
}

/// The interfaces that the configuration names.
pub struct Interfaces {
    ebpf: Ebpf,
    keeper: Keeper,
    directory: PathBuf,
    others: Vec<PathBuf>,
    wanted: BTreeMap<String, (XdpModeRequest, InterfaceState)>,
    links: BTreeMap<String, HeldLink>,
    egress: Egress,
}

impl Interfaces {
    pub(super) fn new(ebpf: Ebpf, keeper: Keeper) -> Self {
        let (directory, others) = (keeper.pins().current(), keeper.pins().other_versions());
        let egress = Egress::new(directory.clone());
        Self { ebpf, keeper, directory, others, wanted: BTreeMap::new(), links: BTreeMap::new(), egress }
    }

    /// Brings the links to what is configured: attaches, adopts, takes over from other versions, detaches.
    /// The maps must be filled before. Failures are states, one an interface; see [`Self::states`].
    pub fn set(&mut self, wanted: &[Interface]) -> Vec<InterfaceChange> {
        let mut changes = Vec::new();
        self.wanted.retain(|name, _| wanted.iter().any(|interface| interface.name == *name));
        for interface in wanted {
            let (state, what) = self.bring_up(interface);
            let before = self.wanted.insert(interface.name.clone(), (interface.xdp_mode, state.clone()));
            if before.is_none_or(|(_, before)| before != state) {
                let interface = interface.name.clone();
                changes.push(InterfaceChange { interface, state: Some(state), what, lost: None });
            }
        }
        changes.extend(self.drop_unwanted());
        let any_failed =
            self.wanted.values().any(|(_, state)| matches!(state, InterfaceState::Failed { .. }));
        if !any_failed && let Err(error) = self.keeper.supersede() {
            tracing::warn!(%error, "pins of an earlier start stay, and hold its programs in memory");
        }
        changes
    }

    /// Looks after pins and links, by what the kernel says: an interface that went and came back gets a new link,
    /// and what somebody else removed or replaced is put back. To be called every few seconds.
    pub fn watch(&mut self) -> Vec<InterfaceChange> {
        if self.wanted.is_empty() {
            // Detached: there is nothing to keep.
            return Vec::new();
        }
        if let Err(error) = self.keeper.restore() {
            tracing::error!(%error, "pins that were removed cannot be made again: limits would not outlive edged");
        }
        let names: Vec<String> = self.wanted.keys().cloned().collect();
        names.into_iter().filter_map(|name| self.look_after(name)).collect()
    }

    fn look_after(&mut self, name: String) -> Option<InterfaceChange> {
        let (xdp_mode, before) = self.wanted.get(&name).cloned()?;
        let mut lost = None;
        if let InterfaceState::Attached { mode, reason, .. } = &before {
            match self.repair(&name, *mode, reason.as_deref()) {
                Ok(Link::Whole) => return None,
                Ok(Link::Repaired { lost, what }) => {
                    let (state, what) = (Some(before), what.to_owned());
                    return Some(InterfaceChange { interface: name, state, what, lost: Some(lost) });
                }
                Ok(Link::TakenOff) => lost = Some("the link was detached"),
                Ok(Link::Gone) => {}
                Err(error) => {
                    tracing::error!(interface = name, %error, "the link cannot be put in order");
                    return None;
                }
            }
        }
        let (state, what) = self.bring_up(&Interface { name: name.clone(), xdp_mode });
        self.wanted.insert(name.clone(), (xdp_mode, state.clone()));
        // What was attached and is attached again has changed, though the two states look the same.
        let is_news = before != state || matches!(before, InterfaceState::Attached { .. });
        is_news.then_some(InterfaceChange { interface: name, state: Some(state), what, lost })
    }

    /// Compares the link of an attached interface with what the kernel says of it, and puts right what can be.
    fn repair(
        &mut self,
        name: &str,
        mode: XdpModeObtained,
        reason: Option<&str>,
    ) -> Result<Link, DataplaneError> {
        let Some(held) = self.links.get(name) else { return Ok(Link::Gone) };
        let there = index_of(name);
        if there != Some(held.index()) {
            return Ok(Link::Gone);
        }
        let Some(facts) = held.facts() else { return Ok(Link::Gone) };
        if facts.index != there {
            return Ok(Link::TakenOff);
        }
        let index = held.index();
        let path = pins::link_path(&self.directory, name);
        if !held.is_pinned_at(&path) {
            pins::remove_if_there(&path)?;
            if let Some(held) = self.links.remove(name) {
                self.links.insert(name.to_owned(), held.pin(&path)?);
            }
            pins::note_mode(&self.directory, name, mode.name(), reason)?;
            // Whole or not: of a filter nobody tells.
            self.egress.hold(&mut self.ebpf, &self.others, name, index)?;
            return Ok(Link::Repaired { lost: "the pin of the link was removed", what: "pinned again" });
        }
        if facts.program_id != program_id(ingress(&mut self.ebpf)?)? {
            self.update(name, &path, index).map_err(|reason| DataplaneError::Attach {
                interface: name.to_owned(),
                mode: mode.name(),
                reason,
            })?;
            return Ok(Link::Repaired {
                lost: "the link was given another program",
                what: "program put back",
            });
        }
        if !self.egress.is_whole(&mut self.ebpf, name, index)? {
            self.egress.hold(&mut self.ebpf, &self.others, name, index)?;
            return Ok(Link::Repaired {
                lost: "the program on the way out was taken off",
                what: "attached again",
            });
        }
        Ok(Link::Whole)
    }

    /// Expires calls of which nothing is heard any more. To be called once a second; blocks, 75 ns a call.
    pub fn sweep(&self) -> Result<(), DataplaneError> {
        own(&self.ebpf, program::SWEEP)?
            .test_run(RawTracePointRunOptions::default())
            .map_err(|error| DataplaneError::load(&error))?;
        Ok(())
    }

    /// Adds to the slots that are counted for an account or a trunk, beside what packets add.
    pub fn correct(&self, holder: Holder, slots: i64) -> Result<(), DataplaneError> {
        let (number, is_trunk) = match holder {
            Holder::Account(number) => (number, 0),
            Holder::Trunk(number) => (number, 1),
        };
        let mut options = RawTracePointRunOptions::default();
        options.args[..3].copy_from_slice(&[u64::from(number), is_trunk, slots.cast_unsigned()]);
        own(&self.ebpf, program::CORRECT)?.test_run(options).map_err(|error| DataplaneError::load(&error))?;
        Ok(())
    }

    /// Every configured interface: what was asked for and where it stands.
    #[must_use]
    pub fn states(&self) -> &BTreeMap<String, (XdpModeRequest, InterfaceState)> {
        &self.wanted
    }

    /// Takes everything off and all pins away: nothing is enforced any more, and nothing is left to adopt.
    ///
    /// On an error pins may be gone, but the links are held: the interfaces are as they were, and [`Self::watch`] puts the
    /// rest back.
    pub fn detach(&mut self) -> Result<DetachReport, DataplaneError> {
        let report = remove_everything(self.keeper.pins())?;
        self.wanted.clear();
        self.links.clear();
        self.egress.close();
        Ok(report)
    }

    fn bring_up(&mut self, interface: &Interface) -> (InterfaceState, String) {
        let Some(index) = index_of(&interface.name) else {
            // The kernel detached the link when the interface went.
            if let Err(error) = self.let_go(&interface.name) {
                tracing::warn!(interface = interface.name, %error, "a stale link pin stays");
            }
            return (InterfaceState::Absent, "there is no such interface".into());
        };
        let up = self.adopt(interface, index).transpose().unwrap_or_else(|| self.attach(interface, index));
        // Without the way out no call would ever end: an interface that is heard on one side only has failed.
        let heard = up
            .and_then(|up| Ok((up, self.egress.hold(&mut self.ebpf, &self.others, &interface.name, index)?)));
        match heard {
            Ok((Up { mode, reason, what }, egress)) => {
                (InterfaceState::Attached { mode, reason, egress }, what)
            }
            Err(error) => {
                (InterfaceState::Failed { reason: error.to_string() }, "could not be attached".into())
            }
        }
    }

    /// Puts the program under a link that is already there, without a gap; `None` when there is none to adopt.
    fn adopt(&mut self, interface: &Interface, index: u32) -> Result<Option<Up>, DataplaneError> {
        let name = interface.name.as_str();
        let here = [self.directory.clone()];
        let places: Vec<PathBuf> = here.iter().chain(&self.others).cloned().collect();
        for place in places {
            let path = pins::link_path(&place, name);
            if !path.exists() {
                continue;
            }
            let (mode, reason) = match pins::noted_mode(&place, name) {
                Some((mode, reason)) => (XdpModeObtained::from_name(&mode), reason),
                None => (None, None),
            };
            let usable = mode
                .filter(|mode| mode.satisfies(interface.xdp_mode))
                .filter(|_| HeldLink::open(&path, index).and_then(|link| link.facts()?.index) == Some(index))
                .filter(|_| self.update(name, &path, index).is_ok());
            let Some(mode) = usable else {
                // Gone with its interface, or in a mode that is not wanted: a link cannot change its mode.
                self.links.remove(name);
                pins::remove_link(&place, name)?;
                continue;
            };
            if place == self.directory {
                return Ok(Some(Up { mode, reason, what: "adopted".into() }));
            }
            if let Some(held) = self.links.remove(name) {
                let here = pins::link_path(&self.directory, name);
                pins::remove_if_there(&here)?;
                self.links.insert(name.to_owned(), held.pin(&here)?);
            }
            pins::note_mode(&self.directory, name, mode.name(), reason.as_deref())?;
            pins::remove_link(&place, name)?;
            let what = format!("taken over from {}", place.display());
            return Ok(Some(Up { mode, reason, what }));
        }
        Ok(None)
    }

    /// Exchanges the program of a pinned link for ours (`bpf_link_update`), with no packet in between, and holds
    /// the link.
    fn update(&mut self, name: &str, path: &Path, index: u32) -> Result<(), String> {
        let pinned = PinnedLink::from_pin(path).map_err(|error| chain(&error))?;
        let link = XdpLink::try_from(FdLink::from(pinned)).map_err(|error| chain(&error))?;
        let program = ingress(&mut self.ebpf).map_err(|error| error.to_string())?;
        let id = program.attach_to_link(link).map_err(|error| chain(&error))?;
        let link = program.take_link(id).map_err(|error| chain(&error))?;
        let link = FdLink::try_from(link).map_err(|error| chain(&error))?;
        self.links.insert(name.to_owned(), HeldLink::new(link, index));
        Ok(())
    }

    /// Takes the program off an interface.
    fn let_go(&mut self, name: &str) -> Result<(), DataplaneError> {
        self.links.remove(name);
        self.egress.let_go(name)?;
        pins::remove_link(&self.directory, name)
    }

    fn attach(&mut self, interface: &Interface, index: u32) -> Result<Up, DataplaneError> {
        let name = interface.name.as_str();
        let (mode, reason) = match interface.xdp_mode {
            XdpModeRequest::Native => (XdpModeObtained::Native, None),
            XdpModeRequest::Generic => (XdpModeObtained::Generic, None),
            XdpModeRequest::Auto => match self.attach_in(name, index, XdpModeObtained::Native) {
                Ok(()) => {
                    let mode = XdpModeObtained::Native;
                    return Ok(Up { mode, reason: None, what: "attached".into() });
                }
                Err(DataplaneError::Attach { reason, .. }) => (XdpModeObtained::Generic, Some(reason)),
                Err(error) => return Err(error),
            },
        };
        self.attach_in(name, index, mode)?;
        if reason.is_some() {
            pins::note_mode(&self.directory, name, mode.name(), reason.as_deref())?;
        }
        Ok(Up { mode, reason, what: "attached".into() })
    }

    fn attach_in(&mut self, name: &str, index: u32, mode: XdpModeObtained) -> Result<(), DataplaneError> {
        let failed =
            |reason: String| DataplaneError::Attach { interface: name.to_owned(), mode: mode.name(), reason };
        let xdp_mode = match mode {
            XdpModeObtained::Native => XdpMode::Driver,
            XdpModeObtained::Generic => XdpMode::Skb,
        };
        let program = ingress(&mut self.ebpf)?;
        let program_id = program_id(program)?;
        let links_before = link::links_of(program_id);
        let id = program
            .attach_to_if_index(index, xdp_mode)
            .map_err(|error| refusal(name, mode, &error, program_id))?;
        let link = program.take_link(id).map_err(|error| failed(chain(&error)))?;
        if link::links_of(program_id) == links_before {
            // aya fell back to netlink. Dropping its link detaches; converting it would not.
            drop(link);
            return Err(failed(
                "the kernel gave no link that can be pinned (bpf_link), so limits would not outlive the daemon"
                    .into(),
            ));
        }
        let link = FdLink::try_from(link).map_err(|error| failed(chain(&error)))?;
        let path = pins::link_path(&self.directory, name);
        self.links.insert(name.to_owned(), HeldLink::new(link, index).pin(&path)?);
        pins::note_mode(&self.directory, name, mode.name(), None)
    }

    /// Detaches interfaces that are no longer configured, in this version's directory and in all others, and
    /// removes those others: whatever they had worth keeping has been taken over.
    fn drop_unwanted(&mut self) -> Vec<InterfaceChange> {
        let mut changes = Vec::new();
        for name in pins::linked_interfaces(&self.directory) {
            if !self.wanted.contains_key(&name) {
                let gone = self.let_go(&name);
                changes.push(dropped(&name, gone));
            }
        }
        for other in std::mem::take(&mut self.others) {
            for name in pins::linked_interfaces(&other) {
                let gone = egress::remove(&other, &name).and_then(|()| pins::remove_link(&other, &name));
                changes.push(dropped(&name, gone));
            }
            match pins::remove_version(&other) {
                Ok(()) => tracing::info!(directory = %other.display(), "removed the pins of another version"),
                Err(error) => tracing::warn!(%error, "the pins of another version stay"),
            }
        }
        changes
    }
}

fn dropped(name: &str, result: Result<(), DataplaneError>) -> InterfaceChange {
    let what = match result {
        Ok(()) => "detached: it is no longer configured".to_owned(),
        Err(error) => format!("is no longer configured, but stays attached: {error}"),
    };
    InterfaceChange { interface: name.to_owned(), state: None, what, lost: None }
}

fn program_id(program: &Xdp) -> Result<u32, DataplaneError> {
    program.info().map(|info| info.id()).map_err(|error| DataplaneError::load(&error))
}

fn index_of(interface: &str) -> Option<u32> {
    if_nametoindex(interface).ok()
}

/// What the kernel's refusal means, and what to do.
fn refusal(interface: &str, mode: XdpModeObtained, error: &ProgramError, own: u32) -> DataplaneError {
    let errno = match error {
        ProgramError::SyscallError(error) => error.io_error.raw_os_error().map(Errno::from_raw),
        _ => None,
    };
    let interface = interface.to_owned();
    let reason = match errno {
        // EEXIST: a program in the other mode (native and generic exclude each other).
        Some(Errno::EBUSY | Errno::EEXIST) => {
            return DataplaneError::Busy { interface, found: other_xdp_programs(own) };
        }
        Some(Errno::EOPNOTSUPP) => "the driver has no XDP. Set `xdp_mode = \"generic\"` or \"auto\"".into(),
        Some(Errno::ERANGE) => {
            "the MTU is too large for XDP in this driver. Lower the MTU, or set `xdp_mode = \"generic\"`"
                .into()
        }
        Some(Errno::EPERM | Errno::EACCES) => "not permitted. Run as root (CAP_NET_ADMIN and CAP_BPF)".into(),
        _ => chain(error),
    };
    DataplaneError::Attach { interface, mode: mode.name(), reason }
}

/// XDP programs that are loaded and not ours: the kernel does not say which of them is on the interface.
fn other_xdp_programs(own: u32) -> String {
    let names: Vec<String> = loaded_programs()
        .filter_map(Result::ok)
        .filter(|program| program.id() != own)
        .filter(|program| program.program_type() == ProgramType::Xdp.into())
        .map(|program| format!("`{}` id {}", program.name_as_str().unwrap_or("unnamed"), program.id()))
        .collect();
    if names.is_empty() { String::new() } else { format!(" (XDP programs loaded: {})", names.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_interface_is_an_error_of_its_own_and_never_falls_back() {
        let busy = ProgramError::SyscallError(aya::sys::SyscallError {
            call: "bpf_link_create",
            io_error: std::io::Error::from_raw_os_error(Errno::EBUSY as i32),
        });
        let error = refusal("eth0", XdpModeObtained::Native, &busy, 0);
        assert!(matches!(&error, DataplaneError::Busy { interface, .. } if interface == "eth0"), "{error}");
    }
}
