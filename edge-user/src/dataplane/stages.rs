//! Stages: the programs in which the attached ones go on, in maps of their own.
//!
//! A map of programs belongs to one load, for what a stage is handed lies in that load's scratch. The kernel empties such a map
//! when nobody has it open or pinned any more (kernel/bpf/arraymap.c, `prog_array_map_clear`), so that each load pins its own
//! beside those of the load before, and takes these away once no link leads to them.

use std::path::Path;

use aya::Ebpf;
use aya::maps::{Map, ProgramArray};
use aya::programs::ProgramFd;
use edge_ebpf::abi::{EgressStage, IngressStage, map};

use super::error::DataplaneError;
use super::pins;

/// The stages of one load.
pub(super) struct Stages {
    number: u32,
    maps: Vec<(&'static str, Map)>,
}

impl Stages {
    /// Has the stages found by the programs of this load, which are loaded, and pins them.
    pub(super) fn link(ebpf: &mut Ebpf, directory: &Path) -> Result<Self, DataplaneError> {
        let number = pins::stages(directory).into_iter().map(|(number, _)| number).max().unwrap_or(0) + 1;
        let mut stages = Self { number, maps: Vec::new() };
        stages.fill(ebpf, map::INGRESS_STAGES, IngressStage::ALL.iter().map(|stage| stage.name()))?;
        stages.fill(ebpf, map::EGRESS_STAGES, EgressStage::ALL.iter().map(|stage| stage.name()))?;
        stages.pin(directory)?;
        Ok(stages)
    }

    fn fill(
        &mut self,
        ebpf: &mut Ebpf,
        name: &'static str,
        programs: impl Iterator<Item = &'static str>,
    ) -> Result<(), DataplaneError> {
        let mut map = ebpf.take_map(name).ok_or(DataplaneError::Missing { kind: "map", name })?;
        let failed = |error| DataplaneError::map("fill", name, &error);
        let mut stages = ProgramArray::try_from(&mut map).map_err(failed)?;
        for (program, place) in programs.zip(0..) {
            stages.set(place, fd(ebpf, program)?, 0).map_err(failed)?;
        }
        self.maps.push((name, map));
        Ok(())
    }

    /// Pins what is not pinned, and tells of which maps.
    pub(super) fn pin(&self, directory: &Path) -> Result<Vec<&'static str>, DataplaneError> {
        let mut pinned = Vec::new();
        for (name, map) in &self.maps {
            let path = pins::stages_path(directory, name, self.number);
            if !path.exists() {
                map.pin(&path).map_err(|error| DataplaneError::map("pin", name, &error))?;
                pinned.push(*name);
            }
        }
        Ok(pinned)
    }

    /// Takes the pins of earlier loads away: no link leads to their programs.
    pub(super) fn supersede(&self, directory: &Path) -> Result<(), DataplaneError> {
        let mut stale = pins::stages(directory).into_iter().filter(|(number, _)| *number != self.number);
        stale.try_for_each(|(_, path)| pins::remove_if_there(&path))
    }
}

fn fd<'a>(ebpf: &'a Ebpf, name: &'static str) -> Result<&'a ProgramFd, DataplaneError> {
    let program = ebpf.program(name).ok_or(DataplaneError::Missing { kind: "program", name })?;
    program.fd().map_err(|error| DataplaneError::load(&error))
}
