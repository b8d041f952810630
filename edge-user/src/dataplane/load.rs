//! Loading: kernel check, pins adopted or made anew, programs verified, handles typed. Nothing is attached here:
//! the maps are to be filled first, so that no packet ever meets programs without limits.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::Duration;

use aya::maps::{Map, MapData, MapInfo};
use aya::programs::{ProgramError, RawTracePoint, SchedClassifier, Xdp};
use aya::util::KernelVersion;
use aya::{Ebpf, EbpfLoader, VerifierLogLevel};
use backon::{BlockingRetryable as _, ConstantBuilder};
use edge_ebpf::abi::{EgressStage, IngressStage, map, program};

use super::error::DataplaneError;
use super::object::KERNEL_OBJECT;
use super::pins::{self, PinDir};
use super::stages::Stages;
use crate::config::Capacity;

/// The verifier gives up (EAGAIN) when its process gets a signal, be it to be stopped and to go on; libbpf tries as often.
const LOAD_ATTEMPTS: usize = 5;

/// What became of the maps that were installed before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Adoption {
    /// There were none: all made anew.
    Fresh,
    /// All of them go on, with buckets and counters as they are.
    Adopted {
        /// Maps whose configured capacity differs from the installed one, which stays: one sentence each.
        kept_capacity: Vec<String>,
    },
    /// They did not fit this daemon and were made anew: buckets and counters start from nothing.
    Replaced {
        /// Why.
        reason: String,
    },
}

/// Everything that is in the kernel, before it is dealt out to the handles.
pub(super) struct Loaded {
    pub(super) ebpf: Ebpf,
    pub(super) maps: Maps,
    pub(super) stages: Stages,
    pub(super) adoption: Adoption,
}

/// The maps by name, each taken once.
pub(super) struct Maps(BTreeMap<&'static str, Map>);

/// What must agree for a pinned map to be used by these programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shape {
    kind: u32,
    key_bytes: u32,
    value_bytes: u32,
    entries: u32,
}

/// Loads programs and maps into the kernel. What is attached goes on unchanged until the links are updated.
pub(super) fn load(pins: &PinDir, capacity: &Capacity) -> Result<Loaded, DataplaneError> {
    let directory = pins.current();
    let configured = configured_entries(capacity);
    let installed = installed_shapes(&directory)?;
    let adoption = if installed.is_empty() {
        Adoption::Fresh
    } else {
        compare(&installed, &wanted_shapes(&configured)?)
    };
    let adopted = matches!(adoption, Adoption::Adopted { .. });

    let mut loader = EbpfLoader::new();
    // The reason of a refusal, without the trace that would be megabytes in the log.
    loader.verifier_log_level(VerifierLogLevel::STATS);
    for (name, entries) in &configured {
        loader.map_max_entries(name, *entries);
    }
    if adopted {
        for (&name, shape) in &installed {
            loader.map_max_entries(name, shape.entries);
            loader.map_pin_path(name, pins::map_path(&directory, name));
        }
    }
    let mut ebpf = loader.load(KERNEL_OBJECT).map_err(|error| DataplaneError::load(&error))?;
    let (way_in, way_out) = (program::INGRESS, program::EGRESS);
    for name in std::iter::once(way_in).chain(IngressStage::ALL.iter().map(|stage| stage.name())) {
        let program = xdp(&mut ebpf, name)?;
        verified(|| program.load())?;
    }
    for name in std::iter::once(way_out).chain(EgressStage::ALL.iter().map(|stage| stage.name())) {
        let program = classifier(&mut ebpf, name)?;
        verified(|| program.load())?;
    }
    for name in [program::SWEEP, program::CORRECT] {
        let missing = DataplaneError::Missing { kind: "program", name };
        let program: &mut RawTracePoint =
            ebpf.program_mut(name).and_then(|program| program.try_into().ok()).ok_or(missing)?;
        verified(|| program.load())?;
    }
    let maps = Maps::take_from(&mut ebpf)?;
    if !adopted {
        maps.pin(&directory)?;
    }
    let stages = Stages::link(&mut ebpf, &directory)?;
    Ok(Loaded { ebpf, maps, stages, adoption })
}

/// Loads a program, again where a signal has interrupted the verifier.
fn verified(load: impl FnMut() -> Result<(), ProgramError>) -> Result<(), DataplaneError> {
    let at_once = ConstantBuilder::new().with_delay(Duration::ZERO).with_max_times(LOAD_ATTEMPTS - 1);
    load.retry(at_once).when(is_interrupted).call().map_err(|error| DataplaneError::load(&error))
}

fn is_interrupted(error: &ProgramError) -> bool {
    matches!(error, ProgramError::LoadError { io_error, .. } if io_error.kind() == io::ErrorKind::WouldBlock)
}

/// The XDP program. Its name was looked up once before anything was attached, so it is there.
pub(super) fn ingress(ebpf: &mut Ebpf) -> Result<&mut Xdp, DataplaneError> {
    xdp(ebpf, program::INGRESS)
}

fn xdp<'a>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<&'a mut Xdp, DataplaneError> {
    let missing = DataplaneError::Missing { kind: "program", name };
    ebpf.program_mut(name).and_then(|program| program.try_into().ok()).ok_or(missing)
}

/// The program on the way out.
pub(super) fn egress(ebpf: &mut Ebpf) -> Result<&mut SchedClassifier, DataplaneError> {
    classifier(ebpf, program::EGRESS)
}

fn classifier<'a>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<&'a mut SchedClassifier, DataplaneError> {
    let missing = DataplaneError::Missing { kind: "program", name };
    ebpf.program_mut(name).and_then(|program| program.try_into().ok()).ok_or(missing)
}

/// A program that the daemon itself runs.
pub(super) fn own<'a>(ebpf: &'a Ebpf, name: &'static str) -> Result<&'a RawTracePoint, DataplaneError> {
    let missing = DataplaneError::Missing { kind: "program", name };
    ebpf.program(name).and_then(|program| program.try_into().ok()).ok_or(missing)
}

/// Entries of a map that the configuration sizes.
pub(super) fn configured_entries(capacity: &Capacity) -> BTreeMap<&'static str, u32> {
    BTreeMap::from([
        (map::POLICIES, capacity.accounts),
        (map::ACCOUNTS, capacity.accounts),
        (map::ACCOUNT_NAMES, capacity.accounts),
        (map::MEMBERS, capacity.prefixes),
        (map::STANDINGS, capacity.prefixes),
        (map::SOURCES, capacity.sources),
        (map::FLOWS, capacity.flows),
        (map::SIP_FLOWS, capacity.flows),
        (map::CALLER_IDS, capacity.caller_ids),
        (map::CALLS, capacity.calls),
    ])
}

impl Maps {
    /// The typed handle of a map.
    pub(super) fn typed<T>(&mut self, name: &'static str) -> Result<T, DataplaneError>
    where
        T: TryFrom<Map, Error = aya::maps::MapError>,
    {
        let map = self.0.remove(name).ok_or(DataplaneError::Missing { kind: "map", name })?;
        T::try_from(map).map_err(|error| DataplaneError::map("use", name, &error))
    }

    /// A second handle of a map that stays here.
    pub(super) fn typed_copy<T>(&self, name: &'static str) -> Result<T, DataplaneError>
    where
        T: TryFrom<Map, Error = aya::maps::MapError>,
    {
        let failed = |error: &dyn std::error::Error| DataplaneError::map("use", name, error);
        let map = Map::from_map_data(self.copy(name)?).map_err(|error| failed(&error))?;
        T::try_from(map).map_err(|error| failed(&error))
    }

    /// A second handle of every map that has not been taken.
    pub(super) fn copies(&self) -> Result<Vec<(&'static str, MapData)>, DataplaneError> {
        self.0.keys().map(|name| Ok((*name, self.copy(name)?))).collect()
    }

    fn copy(&self, name: &'static str) -> Result<MapData, DataplaneError> {
        let original = self.data(name)?;
        let fd = std::os::fd::AsFd::as_fd(original.fd())
            .try_clone_to_owned()
            .map_err(DataplaneError::io("duplicate the descriptor of", name))?;
        MapData::from_fd(fd).map_err(|error| DataplaneError::map("use", name, &error))
    }

    /// Room of the maps whose entries come and go.
    pub(super) fn capacities(&self) -> Result<BTreeMap<&'static str, u32>, DataplaneError> {
        [map::ACCOUNTS, map::MEMBERS, map::STANDINGS, map::CALLER_IDS, map::SOURCES, map::FLOWS, map::CALLS]
            .into_iter()
            .map(|name| Ok((name, self.capacity(name)?)))
            .collect()
    }

    /// Entries that a map has room for.
    pub(super) fn capacity(&self, name: &'static str) -> Result<u32, DataplaneError> {
        let info = self.data(name)?.info().map_err(|error| DataplaneError::map("inspect", name, &error))?;
        Ok(info.max_entries())
    }

    fn take_from(ebpf: &mut Ebpf) -> Result<Self, DataplaneError> {
        let take = |&name: &&'static str| {
            let taken = ebpf.take_map(name).ok_or(DataplaneError::Missing { kind: "map", name })?;
            Ok((name, taken))
        };
        map::PINNED.iter().map(take).collect::<Result<_, _>>().map(Self)
    }

    fn pin(&self, directory: &Path) -> Result<(), DataplaneError> {
        for &name in self.0.keys() {
            let path = pins::map_path(directory, name);
            pins::remove_if_there(&path)?;
            self.data(name)?.pin(&path).map_err(|error| DataplaneError::map("pin", name, &error))?;
        }
        Ok(())
    }

    fn data(&self, name: &'static str) -> Result<&MapData, DataplaneError> {
        let map = self.0.get(name).ok_or(DataplaneError::Missing { kind: "map", name })?;
        match map {
            Map::Array(data)
            | Map::HashMap(data)
            | Map::LpmTrie(data)
            | Map::LruHashMap(data)
            | Map::PerCpuArray(data)
            | Map::RingBuf(data) => Ok(data),
            _ => Err(DataplaneError::Map {
                doing: "use",
                map: name,
                reason: "its type is none that Edge has".into(),
            }),
        }
    }
}

/// Refuses kernels that are older than the oldest proven one.
pub(super) fn check_kernel() -> Result<(), DataplaneError> {
    let oldest = KernelVersion::new(6, 1, 0);
    let unreadable =
        |error: &dyn std::error::Error| DataplaneError::KernelTooOld { found: format!("unknown ({error})") };
    let found = KernelVersion::current().map_err(|error| unreadable(&error))?;
    if found >= oldest {
        return Ok(());
    }
    // LINUX_VERSION_CODE: eight bits each for minor and patch.
    let code = found.code();
    Err(DataplaneError::KernelTooOld {
        found: format!("{}.{}.{}", code >> 16, code >> 8 & 0xff, code & 0xff),
    })
}

fn installed_shapes(directory: &Path) -> Result<BTreeMap<&'static str, Shape>, DataplaneError> {
    let mut shapes = BTreeMap::new();
    for &name in map::PINNED {
        let path = pins::map_path(directory, name);
        if path.exists() {
            let info = MapInfo::from_pin(&path).map_err(|error| DataplaneError::map("open", name, &error))?;
            shapes.insert(name, Shape::of(name, &info)?);
        }
    }
    Ok(shapes)
}

/// What the maps would be if they were made now: they are made, inspected and dropped. The loader takes a pinned
/// map without comparing it to its own definition, so nothing less than the object itself can tell.
fn wanted_shapes(
    configured: &BTreeMap<&'static str, u32>,
) -> Result<BTreeMap<&'static str, Shape>, DataplaneError> {
    let mut loader = EbpfLoader::new();
    for &name in configured.keys() {
        // One entry: only the sizes of key and value are of interest, not the memory.
        loader.map_max_entries(name, 1);
    }
    let mut ebpf = loader.load(KERNEL_OBJECT).map_err(|error| DataplaneError::load(&error))?;
    let maps = Maps::take_from(&mut ebpf)?;
    let mut shapes = BTreeMap::new();
    for &name in map::PINNED {
        let info = maps.data(name)?.info().map_err(|error| DataplaneError::map("inspect", name, &error))?;
        let mut shape = Shape::of(name, &info)?;
        if let Some(entries) = configured.get(name) {
            shape.entries = *entries;
        }
        shapes.insert(name, shape);
    }
    Ok(shapes)
}

/// Whether the installed maps can go on under the programs that want others.
fn compare(installed: &BTreeMap<&'static str, Shape>, wanted: &BTreeMap<&'static str, Shape>) -> Adoption {
    let mut kept_capacity = Vec::new();
    for (name, wanted) in wanted {
        let Some(found) = installed.get(name) else {
            return Adoption::Replaced { reason: format!("the map {name} is missing among the pins") };
        };
        if (found.kind, found.key_bytes, found.value_bytes)
            != (wanted.kind, wanted.key_bytes, wanted.value_bytes)
        {
            return Adoption::Replaced {
                reason: format!(
                    "the installed map {name} has keys of {} and values of {} bytes (type {}), the programs \
                     have {} and {} (type {})",
                    found.key_bytes,
                    found.value_bytes,
                    found.kind,
                    wanted.key_bytes,
                    wanted.value_bytes,
                    wanted.kind
                ),
            };
        }
        if found.entries != wanted.entries {
            let is_configured = configured_by_operator(name);
            if !is_configured {
                return Adoption::Replaced {
                    reason: format!(
                        "the installed map {name} has {} entries, the programs have {}",
                        found.entries, wanted.entries
                    ),
                };
            }
            kept_capacity.push(format!(
                "{name} keeps its {} entries; the configured {} take effect after `edgectl detach` and a new start",
                found.entries, wanted.entries
            ));
        }
    }
    Adoption::Adopted { kept_capacity }
}

fn configured_by_operator(name: &str) -> bool {
    configured_entries(&Capacity { accounts: 0, prefixes: 0, sources: 0, flows: 0, caller_ids: 0, calls: 0 })
        .contains_key(name)
}

impl Shape {
    fn of(name: &'static str, info: &MapInfo) -> Result<Self, DataplaneError> {
        let kind = info.map_type().map_err(|error| DataplaneError::map("inspect", name, &error))?;
        Ok(Self {
            kind: kind as u32,
            key_bytes: info.key_size(),
            value_bytes: info.value_size(),
            entries: info.max_entries(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shapes(value_bytes: u32, sources: u32) -> BTreeMap<&'static str, Shape> {
        let fixed = Shape { kind: 2, key_bytes: 4, value_bytes, entries: 2 };
        let sized = Shape { kind: 9, key_bytes: 16, value_bytes: 144, entries: sources };
        BTreeMap::from([(map::PREFIXES, fixed), (map::SOURCES, sized)])
    }

    #[test]
    fn the_same_shapes_are_adopted() {
        let verdict = compare(&shapes(8, 10), &shapes(8, 10));
        assert_eq!(verdict, Adoption::Adopted { kept_capacity: Vec::new() });
    }

    #[test]
    fn another_configured_capacity_keeps_the_installed_map_and_says_so() {
        let Adoption::Adopted { kept_capacity } = compare(&shapes(8, 10), &shapes(8, 20)) else {
            panic!("not adopted");
        };
        assert_eq!(kept_capacity.len(), 1);
        assert!(
            kept_capacity[0].starts_with("SOURCES keeps its 10 entries; the configured 20"),
            "{kept_capacity:?}"
        );
    }

    #[test]
    fn another_layout_replaces_all_maps() {
        assert!(matches!(compare(&shapes(8, 10), &shapes(16, 10)), Adoption::Replaced { reason } if
            reason.contains("PREFIXES has keys of 4 and values of 8 bytes")));
    }

    #[test]
    fn a_map_that_is_not_pinned_replaces_all_maps() {
        let mut installed = shapes(8, 10);
        installed.remove(map::SOURCES);
        assert!(matches!(compare(&installed, &shapes(8, 10)), Adoption::Replaced { reason } if
            reason.contains("SOURCES is missing")));
    }

    #[test]
    fn a_program_is_loaded_again_only_where_a_signal_interrupted_it() {
        let load = |kind: io::ErrorKind, failures: usize| {
            let mut attempts = 0;
            let loaded = verified(|| {
                attempts += 1;
                let verifier_log = aya_obj::VerifierLog::new(String::new());
                let failed = ProgramError::LoadError { io_error: kind.into(), verifier_log };
                if attempts > failures { Ok(()) } else { Err(failed) }
            });
            (loaded.is_ok(), attempts)
        };
        assert_eq!(load(io::ErrorKind::WouldBlock, 4), (true, 5));
        assert_eq!(load(io::ErrorKind::WouldBlock, 9), (false, 5));
        assert_eq!(load(io::ErrorKind::PermissionDenied, 4), (false, 1));
    }
}
