//! Programs in which others go on.

use anyhow::{Context as _, Result};
use aya::Ebpf;
use aya::maps::{Map, ProgramArray};
use edge_ebpf::abi::{EgressStage, IngressStage, map, program};

use super::Kernel;

/// Tells the programs where they go on.
pub(super) fn link(ebpf: &mut Ebpf) -> Result<Vec<(&'static str, Map)>> {
    let mut linked = Vec::new();
    let ways = [
        (map::INGRESS_STAGES, IngressStage::ALL.iter().map(|stage| stage.name()).collect::<Vec<_>>()),
        (map::EGRESS_STAGES, EgressStage::ALL.iter().map(|stage| stage.name()).collect()),
    ];
    for (name, programs) in ways {
        let mut map = ebpf.take_map(name).context(name)?;
        let mut stages = ProgramArray::try_from(&mut map)?;
        for (program, place) in programs.into_iter().zip(0..) {
            let program = ebpf.program(program).with_context(|| format!("no program {program}"))?;
            stages.set(place, program.fd()?, 0)?;
        }
        // The kernel empties it when nobody has it open any more.
        linked.push((name, map));
    }
    Ok(linked)
}

impl Kernel {
    /// Takes a stage away, for the time of `then`.
    pub fn without<T>(
        &mut self,
        stages: &'static str,
        place: usize,
        then: impl FnOnce(&mut Self) -> T,
    ) -> Result<T> {
        let place = u32::try_from(place)?;
        self.stages_of(stages)?.clear_index(&place)?;
        let result = then(self);
        let named = if stages == map::INGRESS_STAGES {
            IngressStage::from_index(place as usize).map(IngressStage::name)
        } else {
            EgressStage::from_index(place as usize).map(EgressStage::name)
        };
        let name = named.context("no such stage")?;
        let program = self.ebpf.program(name).with_context(|| format!("no program {name}"))?;
        let descriptor = program.fd()?.try_clone()?;
        self.stages_of(stages)?.set(place, &descriptor, 0)?;
        Ok(result)
    }

    fn stages_of(&mut self, name: &'static str) -> Result<ProgramArray<&mut aya::maps::MapData>> {
        let (_, map) = self.stages.iter_mut().find(|(stages, _)| *stages == name).context(name)?;
        Ok(ProgramArray::try_from(map)?)
    }

    /// Instructions that the verifier walked for each program of the way in and the way out, over all paths.
    pub fn verified_instructions(&self) -> Result<Vec<(&'static str, u32)>> {
        let names = [program::INGRESS].into_iter().chain(IngressStage::ALL.iter().map(|stage| stage.name()));
        let names = names.chain([program::EGRESS]).chain(EgressStage::ALL.iter().map(|stage| stage.name()));
        names
            .map(|name| {
                let program = self.ebpf.program(name).with_context(|| format!("no program {name}"))?;
                let count = program.info()?.verified_instruction_count();
                Ok((name, count.context("the kernel does not tell (it does from 5.16)")?))
            })
            .collect()
    }
}
