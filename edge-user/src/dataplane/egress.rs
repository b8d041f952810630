//! The program on the way out: under a pinned link (`tcx`, from kernel 6.6), or as a filter of the `clsact` qdisc.
//!
//! First among programs, so that another one's verdict hides nothing that the server says. A filter is no link:
//! it stays until it is taken off, and a note beside the pins says that there is one.

use std::collections::BTreeMap;
use std::mem::ManuallyDrop;
use std::path::{Path, PathBuf};

use aya::Ebpf;
use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::tc::{NlOptions, SchedClassifierLink, TcAttachOptions, TcHandle};
use aya::programs::{LinkOrder, ProgramError, SchedClassifier, TcAttachType, tc};
use aya::util::KernelVersion;

use super::error::{DataplaneError, chain};
use super::link::HeldLink;
use super::load::egress;
use super::pins;

/// Priority and handle of our filter: by them it is replaced and taken off.
const PRIORITY: u16 = 1;
const HANDLE: TcHandle = TcHandle::new(0, 0xed6e);

/// How the program on the way out is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EgressHook {
    /// By a link that is replaced without a gap.
    Tcx,
    /// As a filter.
    Clsact,
}

impl EgressHook {
    /// `tcx` or `clsact`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcx => "tcx",
            Self::Clsact => "clsact",
        }
    }

    /// What this kernel has.
    fn of_kernel() -> Self {
        let has_tcx = KernelVersion::current().is_ok_and(|found| found >= KernelVersion::new(6, 6, 0));
        if has_tcx { Self::Tcx } else { Self::Clsact }
    }
}

/// The interfaces whose way out is heard.
pub(super) struct Egress {
    hook: EgressHook,
    directory: PathBuf,
    links: BTreeMap<String, HeldLink>,
}

impl Egress {
    pub(super) fn new(directory: PathBuf) -> Self {
        Self { hook: EgressHook::of_kernel(), directory, links: BTreeMap::new() }
    }

    /// Attaches the program, or puts it under what is there from an earlier daemon of this or another version.
    pub(super) fn hold(
        &mut self,
        ebpf: &mut Ebpf,
        others: &[PathBuf],
        name: &str,
        index: u32,
    ) -> Result<EgressHook, DataplaneError> {
        let failed = |reason: String| DataplaneError::Egress { interface: name.to_owned(), reason };
        let program = egress(ebpf)?;
        match self.hook {
            EgressHook::Tcx => {
                let path = pins::egress_path(&self.directory, name);
                let own = id_of(program)?;
                if let Some(link) = self.links.remove(name).filter(|link| runs(link, own, index)) {
                    // Only its pin was removed.
                    pins::remove_if_there(&path)?;
                    self.links.insert(name.to_owned(), link.pin(&path)?);
                    return Ok(self.hook);
                }
                for place in others.iter().chain([&self.directory]) {
                    let there = pins::egress_path(place, name);
                    let Some(link) = adopt(program, &there, index) else {
                        pins::remove_if_there(&there)?;
                        continue;
                    };
                    let link = if there == path {
                        link
                    } else {
                        pins::remove_if_there(&path)?;
                        let link = link.pin(&path)?;
                        pins::remove_if_there(&there)?;
                        link
                    };
                    self.links.insert(name.to_owned(), link);
                    return Ok(self.hook);
                }
                let link = attach_tcx(program, name).map_err(|error| failed(chain(&error)))?;
                self.links.insert(name.to_owned(), HeldLink::new(link, index).pin(&path)?);
            }
            EgressHook::Clsact => {
                attach_clsact(program, name).map_err(|error| failed(chain(&error)))?;
                pins::note_egress(&self.directory, name)?;
                for place in others {
                    pins::remove_if_there(&pins::egress_path(place, name))?;
                }
            }
        }
        Ok(self.hook)
    }

    /// Whether the program is where it was put, as far as the kernel tells: it tells nothing of filters.
    pub(super) fn is_whole(&self, ebpf: &mut Ebpf, name: &str, index: u32) -> Result<bool, DataplaneError> {
        if self.hook == EgressHook::Clsact {
            return Ok(true);
        }
        let own = id_of(egress(ebpf)?)?;
        let path = pins::egress_path(&self.directory, name);
        Ok(self.links.get(name).is_some_and(|link| link.is_pinned_at(&path) && runs(link, own, index)))
    }

    /// Takes the program off an interface.
    pub(super) fn let_go(&mut self, name: &str) -> Result<(), DataplaneError> {
        self.links.remove(name);
        remove(&self.directory, name)
    }

    /// Closes all links; what is pinned stays.
    pub(super) fn close(&mut self) {
        self.links.clear();
    }
}

/// Takes off what one version's directory says is on an interface.
pub(super) fn remove(version: &Path, name: &str) -> Result<(), DataplaneError> {
    let path = pins::egress_path(version, name);
    if path.is_symlink() {
        // An interface that is gone took its filters along.
        if let Ok(mut link) =
            SchedClassifierLink::attached(name, TcAttachType::Egress, PRIORITY, HANDLE, None).map(Some)
        {
            drop(link.take());
        }
    }
    pins::remove_if_there(&path)
}

fn id_of(program: &SchedClassifier) -> Result<u32, DataplaneError> {
    program.info().map(|info| info.id()).map_err(|error| DataplaneError::load(&error))
}

fn runs(link: &HeldLink, program_id: u32, index: u32) -> bool {
    link.facts().is_some_and(|facts| facts.index == Some(index) && facts.program_id == program_id)
}

/// The pinned link with our program under it; `None` if it is none that can be used.
fn adopt(program: &mut SchedClassifier, path: &Path, index: u32) -> Option<HeldLink> {
    let found = HeldLink::open(path, index)?;
    if found.facts()?.index != Some(index) {
        return None;
    }
    let link = SchedClassifierLink::try_from(FdLink::from(PinnedLink::from_pin(path).ok()?)).ok()?;
    let id = program.attach_to_link(link).ok()?;
    let link = FdLink::try_from(program.take_link(id).ok()?).ok()?;
    Some(HeldLink::new(link, index))
}

fn attach_tcx(program: &mut SchedClassifier, name: &str) -> Result<FdLink, ProgramError> {
    let order = TcAttachOptions::TcxOrder(LinkOrder::first());
    let id = program.attach_with_options(name, TcAttachType::Egress, order)?;
    let link = program.take_link(id)?;
    FdLink::try_from(link).map_err(|_not_a_link| ProgramError::NotAttached)
}

fn attach_clsact(program: &mut SchedClassifier, name: &str) -> Result<(), ProgramError> {
    // It is there already, or the attachment below says what is wrong.
    let _ = tc::qdisc_add_clsact(name);
    let options =
        || TcAttachOptions::Netlink(NlOptions { priority: PRIORITY, handle: HANDLE, classid: None });
    let there = SchedClassifierLink::attached(name, TcAttachType::Egress, PRIORITY, HANDLE, None);
    let replaced = there.map_err(tc::TcError::IoError).map(|there| program.attach_to_link(there))?;
    let id = match replaced {
        Ok(id) => id,
        Err(_nothing_to_replace) => program.attach_with_options(name, TcAttachType::Egress, options())?,
    };
    // Dropping it would take the filter off.
    let _stays = ManuallyDrop::new(program.take_link(id)?);
    Ok(())
}
