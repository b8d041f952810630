//! Interfaces: attaching, adopting what is attached, and noticing when one goes and comes back, or when somebody
//! else took our program off.
//!
//! Only real links (`bpf_link`) count: they can be pinned, replaced atomically, and nobody takes them off by
//! accident. Each is held open beside its pin, so that who removes the pin takes nothing off while a daemon runs.

mod attach;

use std::collections::BTreeMap;
use std::path::PathBuf;

use aya::Ebpf;
use aya::programs::{RawTracePointRunOptions, TestRun as _, Xdp};
use edge_ebpf::abi::program;
use nix::net::if_::if_nametoindex;

use super::detach::{DetachReport, remove_everything};
use super::egress::{self, Egress};
use super::error::DataplaneError;
use super::keep::Keeper;
use super::link::HeldLink;
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
    /// The maps must be filled before. Failures are states, one an interface; see [`Self::states`] and
    /// [`Self::failures`]. Where one is new, nothing is detached: what was configured before may be set again.
    pub fn set(&mut self, wanted: &[Interface]) -> Vec<InterfaceChange> {
        let mut changes = Vec::new();
        let mut fails_anew = false;
        self.wanted.retain(|name, _| wanted.iter().any(|interface| interface.name == *name));
        for interface in wanted {
            let (state, what) = self.bring_up(interface);
            let before = self.wanted.insert(interface.name.clone(), (interface.xdp_mode, state.clone()));
            let has_failed = |state: &InterfaceState| matches!(state, InterfaceState::Failed { .. });
            fails_anew |= has_failed(&state) && before.as_ref().is_none_or(|(_, before)| !has_failed(before));
            if before.is_none_or(|(_, before)| before != state) {
                let interface = interface.name.clone();
                changes.push(InterfaceChange { interface, state: Some(state), what, lost: None });
            }
        }
        if !fails_anew {
            changes.extend(self.drop_unwanted());
        }
        if self.failures().is_empty()
            && let Err(error) = self.keeper.supersede()
        {
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

    /// Interfaces that refuse, and why: one sentence each.
    #[must_use]
    pub fn failures(&self) -> BTreeMap<String, String> {
        let failure = |(name, (_, state)): (&String, &(_, InterfaceState))| match state {
            InterfaceState::Failed { reason } => Some((name.clone(), format!("interface {name}: {reason}"))),
            InterfaceState::Attached { .. } | InterfaceState::Absent => None,
        };
        self.wanted.iter().filter_map(failure).collect()
    }

    /// Whether another version has left pins here that nobody has taken over yet.
    #[must_use]
    pub fn has_others(&self) -> bool {
        !self.others.is_empty()
    }

    /// Takes the program off an interface.
    fn let_go(&mut self, name: &str) -> Result<(), DataplaneError> {
        self.links.remove(name);
        self.egress.let_go(name)?;
        pins::remove_link(&self.directory, name)
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
