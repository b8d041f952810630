//! Putting the program on an interface: under a link that is there, or under a new one, in the mode that is wanted.

use std::path::{Path, PathBuf};

use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::xdp::XdpLink;
use aya::programs::{ProgramError, ProgramType, XdpMode, loaded_programs};
use nix::errno::Errno;

use super::super::error::{DataplaneError, chain};
use super::super::link::{self, HeldLink};
use super::super::load::ingress;
use super::super::pins;
use super::super::state::{InterfaceState, XdpModeObtained};
use super::{Interfaces, index_of, program_id};
use crate::config::{Interface, XdpModeRequest};

/// The program on the way in, attached.
struct Up {
    mode: XdpModeObtained,
    reason: Option<String>,
    what: String,
}

/// A link that is there and runs our program, in a mode that is not wanted.
struct Unwanted {
    place: PathBuf,
    mode: XdpModeObtained,
    reason: Option<String>,
}

/// What became of a link that was there.
enum Adopted {
    /// It is ours now.
    Whole(Up),
    /// It is as it was.
    Unwanted(Unwanted),
    /// There was none, or none that is on the interface.
    None,
}

impl Interfaces {
    pub(super) fn bring_up(&mut self, interface: &Interface) -> (InterfaceState, String) {
        let Some(index) = index_of(&interface.name) else {
            // The kernel detached the link when the interface went.
            if let Err(error) = self.let_go(&interface.name) {
                tracing::warn!(interface = interface.name, %error, "a stale link pin stays");
            }
            return (InterfaceState::Absent, "there is no such interface".into());
        };
        let up = match self.adopt(interface, index) {
            Ok(Adopted::Whole(up)) => Ok(up),
            Ok(Adopted::Unwanted(link)) => self.exchange(interface, index, link),
            Ok(Adopted::None) => self.attach(interface, index),
            Err(error) => Err(error),
        };
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

    /// Puts the program under a link that is already there, without a gap. On an error the link is as it was.
    fn adopt(&mut self, interface: &Interface, index: u32) -> Result<Adopted, DataplaneError> {
        let name = interface.name.as_str();
        let here = [self.directory.clone()];
        let places: Vec<PathBuf> = here.iter().chain(&self.others).cloned().collect();
        for place in places {
            let path = pins::link_path(&place, name);
            if !path.exists() {
                continue;
            }
            let unreadable = |what: &str| DataplaneError::Io {
                doing: "take over the link at",
                path: path.clone(),
                source: std::io::Error::other(what.to_owned()),
            };
            let link = HeldLink::open(&path, index).ok_or_else(|| unreadable("it cannot be opened"))?;
            let facts = link.facts().ok_or_else(|| unreadable("the kernel does not tell where it is"))?;
            if facts.index != Some(index) {
                // Gone with its interface.
                self.links.remove(name);
                pins::remove_link(&place, name)?;
                continue;
            }
            let (mode, reason) = match pins::noted_mode(&place, name) {
                Some((mode, reason)) => (XdpModeObtained::from_name(&mode), reason),
                None => (None, None),
            };
            let Some(mode) = mode else {
                // Of whose mode nothing is known, it may be any.
                self.take_off(link, &place, name)?;
                continue;
            };
            if !mode.satisfies(interface.xdp_mode) {
                return Ok(Adopted::Unwanted(Unwanted { place, mode, reason }));
            }
            self.update(name, &path, index).map_err(|reason| unreadable(&reason))?;
            if place == self.directory {
                return Ok(Adopted::Whole(Up { mode, reason, what: "adopted".into() }));
            }
            if let Some(held) = self.links.remove(name) {
                let here = pins::link_path(&self.directory, name);
                pins::remove_if_there(&here)?;
                self.links.insert(name.to_owned(), held.pin(&here)?);
            }
            pins::note_mode(&self.directory, name, mode.name(), reason.as_deref())?;
            pins::remove_link(&place, name)?;
            let what = format!("taken over from {}", place.display());
            return Ok(Adopted::Whole(Up { mode, reason, what }));
        }
        Ok(Adopted::None)
    }

    /// Attaches in the mode that is wanted in place of a link in another: a link cannot change its mode, and the kernel
    /// has none of both on one interface. Where the driver refuses, the old mode comes back.
    fn exchange(&mut self, interface: &Interface, index: u32, old: Unwanted) -> Result<Up, DataplaneError> {
        let name = interface.name.as_str();
        let Unwanted { place, mode, reason } = old;
        if let Some(link) = HeldLink::open(&pins::link_path(&place, name), index) {
            self.take_off(link, &place, name)?;
        }
        let refused = match self.attach(interface, index) {
            Ok(up) => return Ok(up),
            Err(error) => error,
        };
        let back = self
            .attach_in(name, index, mode)
            .and_then(|()| pins::note_mode(&self.directory, name, mode.name(), reason.as_deref()));
        Err(match back {
            Ok(()) => DataplaneError::ModeRefused { stays: mode.name(), refused: refused.to_string() },
            Err(error) => DataplaneError::ModeLost {
                before: mode.name(),
                refused: refused.to_string(),
                why: error.to_string(),
            },
        })
    }

    /// Takes a link off its interface, which it is when this returns: the last to let go of it is who closes it here.
    fn take_off(&mut self, link: HeldLink, place: &Path, name: &str) -> Result<(), DataplaneError> {
        self.links.remove(name);
        pins::remove_link(place, name)?;
        drop(link);
        Ok(())
    }

    /// Exchanges the program of a pinned link for ours (`bpf_link_update`), with no packet in between, and holds
    /// the link.
    pub(super) fn update(&mut self, name: &str, path: &Path, index: u32) -> Result<(), String> {
        let pinned = PinnedLink::from_pin(path).map_err(|error| chain(&error))?;
        let link = XdpLink::try_from(FdLink::from(pinned)).map_err(|error| chain(&error))?;
        let program = ingress(&mut self.ebpf).map_err(|error| error.to_string())?;
        let id = program.attach_to_link(link).map_err(|error| chain(&error))?;
        let link = program.take_link(id).map_err(|error| chain(&error))?;
        let link = FdLink::try_from(link).map_err(|error| chain(&error))?;
        self.links.insert(name.to_owned(), HeldLink::new(link, index));
        Ok(())
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
