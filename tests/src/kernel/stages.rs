//! Programs in which others go on.

use anyhow::{Context as _, Result};
use aya::Ebpf;
use aya::maps::{Map, ProgramArray};
use edge_ebpf::abi::{EgressStage, IngressStage, map, program};

use super::Kernel;

/// Tells the programs where they go on.
pub(super) fn link(ebpf: &mut Ebpf) -> Result<Vec<Map>> {
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
        linked.push(map);
    }
    Ok(linked)
}

impl Kernel {
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
