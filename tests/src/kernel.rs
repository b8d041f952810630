//! The object file in the kernel, without an interface: maps set by hand, packets run by `BPF_PROG_TEST_RUN`.

mod entries;
mod rings;
mod stages;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{Array, HashMap, Map, PerCpuArray};
use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::xdp::XdpLink;
use aya::programs::{Program, RawTracePointRunOptions, TestRun as _, TestRunOptions, Xdp, XdpMode};
use aya::{Ebpf, EbpfLoader, Pod, VerifierLogLevel};
use edge_ebpf::abi::{
    AccountState, BenchFrame, BindState, CALLER_ID_DIGITS, CallKey, CallState, CallerId, EgressOutcome,
    FlowKey, Member, Outcome, Policy, Ports, SENDER_ID, Settings, SourceState, Standing, StandingKind,
    SystemId, Verdict, bench, map, program,
};
use edge_ebpf::native::Refusals;
use edge_ebpf::stream::sip::{SipFlow, SipRefusals};
use zerocopy::FromZeros as _;

use crate::fixtures::world::{ACME, Prefix, SIP_PORT, Scenario, acme_prefixes, is_of_digits, mapped, ports};
use crate::netns::Namespace;
use crate::object::object_bytes;

/// Shortest frame that `BPF_PROG_TEST_RUN` takes: an Ethernet header (`net/bpf/test_run.c`).
pub const SHORTEST_FRAME: usize = 14;

/// `XDP_DROP`, `XDP_PASS` (include/uapi/linux/bpf.h).
pub const XDP_DROP: u32 = 1;
/// See [`XDP_DROP`].
pub const XDP_PASS: u32 = 2;
/// See [`XDP_DROP`].
pub const XDP_TX: u32 = 3;
/// What the program returns for a packet that ends so.
#[must_use]
pub fn xdp_action(outcome: Outcome) -> u32 {
    match outcome.verdict() {
        Verdict::Pass | Verdict::Reset => XDP_PASS,
        Verdict::Drop => XDP_DROP,
        Verdict::Answer => XDP_TX,
    }
}

/// `TC_ACT_UNSPEC`, -1 (`include/uapi/linux/pkt_cls.h`): on to the next program, and out.
const TC_ACT_UNSPEC: u32 = u32::MAX;

/// `TC_ACT_SHOT`: dropped.
const TC_ACT_SHOT: u32 = 2;

/// What became of one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// What the program returned.
    pub verdict: u32,
    /// The one counter that rose.
    pub outcome: Outcome,
}

/// Calls that hold slots in a [`Kernel`], at most.
pub const CALLS_HELD: u32 = 1024;

/// Small maps.
const SMALL: &[(&str, u32)] = &[
    (map::SOURCES, 4096),
    (map::FLOWS, 4096),
    (map::SIP_FLOWS, 4096),
    (map::CALLS, CALLS_HELD),
    (map::MEMBERS, 1024),
    (map::STANDINGS, 1024),
    (map::ACCOUNTS, 64),
    (map::POLICIES, 64),
    (map::ACCOUNT_NAMES, 64),
    (map::BINDS, 1024),
    (map::SYSTEM_IDS, 64),
    (map::REFUSALS, 64),
    (map::SIP_REFUSALS, 64),
];

/// An XDP program that passes everything, on the customers' end of the veth: a veth delivers what the program at its
/// other end sends back (`XDP_TX`) only where it has one of its own.
#[derive(Debug)]
pub struct Mirror {
    _ebpf: Ebpf,
}

impl Mirror {
    /// Attaches it; dropping it takes it off.
    pub fn hold(namespace: &Namespace, interface: &'static str) -> Result<Self> {
        let ebpf = namespace.enter(move || {
            let mut loader = EbpfLoader::new();
            for (name, size) in SMALL {
                loader.map_max_entries(name, *size);
            }
            let mut ebpf = loader.load(&object_bytes()?)?;
            let program: &mut Xdp =
                ebpf.program_mut(program::EMPTY).context("no empty program")?.try_into()?;
            program.load()?;
            program.attach(interface, XdpMode::Driver)?;
            Ok(ebpf)
        })?;
        Ok(Self { _ebpf: ebpf })
    }
}

/// The programs and maps of one load. Nothing is pinned or attached: dropping it leaves nothing behind.
#[derive(Debug)]
pub struct Kernel {
    pub(crate) ebpf: Ebpf,
    stages: Vec<(&'static str, Map)>,
    generation: u32,
    standings: Vec<Prefix>,
    caller_ids: Vec<(u32, CallerId)>,
}

impl Kernel {
    /// Loads the object with small maps: emptying them for each row of the table costs microseconds.
    pub fn load() -> Result<Self> {
        Self::load_sized(SMALL)
    }

    /// Loads the object with other numbers of entries.
    pub fn load_sized(entries: &[(&'static str, u32)]) -> Result<Self> {
        let object = object_bytes()?;
        let mut loader = EbpfLoader::new();
        // The reason of a refusal without the way to it: for that a program is verified ten times over, which takes
        // minutes. Ask for it with EDGE_VERIFIER_LOG=1.
        if std::env::var_os("EDGE_VERIFIER_LOG").is_none() {
            loader.verifier_log_level(VerifierLogLevel::STATS);
        }
        for (name, size) in entries {
            loader.map_max_entries(name, *size);
        }
        let mut ebpf = loader.load(&object).context(
            "the kernel took neither maps nor programs: these suites need root (CAP_BPF, CAP_NET_ADMIN)",
        )?;
        let programs: Vec<String> = ebpf.programs().map(|(name, _)| name.to_owned()).collect();
        for name in programs {
            match ebpf.program_mut(&name) {
                Some(Program::Xdp(program)) => program.load(),
                Some(Program::SchedClassifier(program)) => program.load(),
                Some(Program::RawTracePoint(program)) => program.load(),
                _ => bail!("{name} is a program of a type that nobody loads"),
            }
            .with_context(|| format!("the verifier refused {name}"))?;
        }
        let stages = stages::link(&mut ebpf)?;
        let mut kernel = Self { ebpf, stages, generation: 0, standings: Vec::new(), caller_ids: Vec::new() };
        kernel.set(map::PORTS, 0, ports())?;
        for prefix in acme_prefixes() {
            kernel.add_member(prefix, ACME)?;
        }
        Ok(kernel)
    }

    /// Puts the empty program under the link that somebody pinned at `path`, as an attacker or a clumsy tool would.
    pub fn usurp(&mut self, path: &Path) -> Result<()> {
        let link = XdpLink::try_from(FdLink::from(PinnedLink::from_pin(path)?))?;
        let program = self.ebpf.program_mut(program::EMPTY).context("no empty program")?;
        let program: &mut Xdp = program.try_into()?;
        program.attach_to_link(link)?;
        Ok(())
    }

    /// Puts everything into the state before a packet, and runs what came earlier.
    pub fn prepare(&mut self, before: &Scenario) -> Result<()> {
        self.clear_state()?;
        self.set(map::POLICIES, 0, before.unknown)?;
        self.set(map::POLICIES, ACME, before.acme)?;
        for prefix in std::mem::take(&mut self.standings) {
            self.standing_trie()?.remove(&Key::new(prefix.bits, prefix.address))?;
        }
        for (prefix, kind) in &before.standings {
            self.add_standing(*prefix, *kind)?;
        }
        let map = self.ebpf.map_mut(map::CALLER_IDS).context(map::CALLER_IDS)?;
        let mut trie: LpmTrie<_, CallerId, u32> = LpmTrie::try_from(map)?;
        for (bits, id) in self.caller_ids.drain(..) {
            trie.remove(&Key::new(bits, id))?;
        }
        let callers = before.caller_ids.iter().map(|own| (ACME, own, own.len()));
        // The zero at the end of a whole sender ID belongs to it.
        let senders = before
            .sender_ids
            .iter()
            .map(|own| (ACME | SENDER_ID, own, own.len() + usize::from(!is_of_digits(own))));
        for (account, own, octets) in callers.chain(senders) {
            let mut digits = [0; CALLER_ID_DIGITS];
            digits[..own.len()].copy_from_slice(own.as_bytes());
            let (bits, id) = (32 + 8 * u32::try_from(octets)?, CallerId { account, digits });
            trie.insert(&Key::new(bits, id), 1, 0)?;
            self.caller_ids.push((bits, id));
        }
        // A new generation resolves sources anew; a new key makes every remembered request a stranger.
        self.generation += 1;
        let settings = before.settings(self.generation, [u64::from(self.generation), 0x0123_4567_89ab_cdef]);
        self.set(map::SETTINGS, 0, settings)?;
        self.set_ports(before.ports())?;
        for (system_id, number) in &before.system_ids {
            let map = self.ebpf.map_mut(map::SYSTEM_IDS).context(map::SYSTEM_IDS)?;
            HashMap::<_, SystemId, u32>::try_from(map)?.insert(system_id, number, 0)?;
        }
        for frame in &before.earlier {
            let way = if before.is_outward(frame) { program::EGRESS } else { program::INGRESS };
            self.run(way, frame, 1)?;
        }
        Ok(())
    }

    /// Bans or allows a prefix, for sources that are looked up after that.
    pub fn add_standing(&mut self, prefix: Prefix, kind: StandingKind) -> Result<()> {
        let standing = Standing { kind: kind as u32, reserved: 0, until_ns: u64::MAX };
        self.standing_trie()?.insert(&Key::new(prefix.bits, prefix.address), standing, 0)?;
        self.standings.push(prefix);
        Ok(())
    }

    /// Runs one packet and tells its outcome by the one counter that rose by one.
    pub fn send(&mut self, frame: &[u8]) -> Result<Run> {
        let before = self.outcomes()?;
        let (verdict, _) = self.run(program::INGRESS, frame, 1)?;
        let after = self.outcomes()?;
        let risen: Vec<(usize, u64)> = after
            .iter()
            .zip(before)
            .map(|(after, before)| after - before)
            .enumerate()
            .filter(|(_, by)| *by > 0)
            .collect();
        let [(index, 1)] = risen[..] else { bail!("one packet, but counters rose by {risen:?} (index, by)") };
        let outcome = Outcome::from_index(index).with_context(|| format!("outcome {index} has no name"))?;
        Ok(Run { verdict, outcome })
    }

    /// Runs one packet and gives back the frame that it became, which is an answer.
    pub fn answered(&mut self, frame: &[u8]) -> Result<Vec<u8>> {
        let mut out = vec![0; 4096];
        let options =
            TestRunOptions { data_in: Some(frame), data_out: Some(&mut out), ..TestRunOptions::default() };
        let Some(Program::Xdp(program)) = self.ebpf.program_mut(program::INGRESS) else {
            bail!("no program {}", program::INGRESS)
        };
        let result = program.test_run(options)?;
        ensure!(result.return_value == XDP_TX, "not answered: {}", result.return_value);
        let length = usize::try_from(result.data_size_out)?;
        out.truncate(length);
        Ok(out)
    }

    /// Runs one packet and gives back the frame that it became and what was returned.
    pub fn became(&mut self, name: &str, frame: &[u8]) -> Result<(u32, Vec<u8>)> {
        let mut out = vec![0; 70_000];
        let options =
            TestRunOptions { data_in: Some(frame), data_out: Some(&mut out), ..TestRunOptions::default() };
        let result = match self.ebpf.program_mut(name) {
            Some(Program::Xdp(program)) => program.test_run(options),
            Some(Program::SchedClassifier(program)) => program.test_run(options),
            _ => bail!("no program {name} that takes packets"),
        }?;
        out.truncate(usize::try_from(result.data_size_out)?);
        Ok((result.return_value, out))
    }

    /// Runs one packet, and gives back the frame that it became.
    pub fn pass(&mut self, frame: &[u8]) -> Result<(Run, Vec<u8>)> {
        let before = self.outcomes()?;
        let (verdict, changed) = self.became(program::INGRESS, frame)?;
        let after = self.outcomes()?;
        let index = (0..Outcome::SLOTS).find(|at| after[*at] != before[*at]).context("no counter rose")?;
        let outcome = Outcome::from_index(index).with_context(|| format!("outcome {index} has no name"))?;
        Ok((Run { verdict, outcome }, changed))
    }

    /// Runs one packet on its way out, and gives back the frame that it became.
    pub fn leave_changed(&mut self, frame: &[u8]) -> Result<(EgressOutcome, Vec<u8>)> {
        let before = self.egress_outcomes()?;
        let (_, changed) = self.became(program::EGRESS, frame)?;
        let after = self.egress_outcomes()?;
        let index =
            (0..EgressOutcome::SLOTS).find(|at| after[*at] != before[*at]).context("no counter rose")?;
        let outcome =
            EgressOutcome::from_index(index).with_context(|| format!("outcome {index} has no name"))?;
        Ok((outcome, changed))
    }

    /// Runs one packet on its way out and tells what was seen in it, by the one counter that rose by one.
    pub fn leave(&mut self, frame: &[u8]) -> Result<EgressOutcome> {
        let before = self.egress_outcomes()?;
        let verdict = self.run(program::EGRESS, frame, 1)?.0;
        ensure!([TC_ACT_UNSPEC, TC_ACT_SHOT].contains(&verdict), "the way out returned {verdict}");
        let after = self.egress_outcomes()?;
        let risen: Vec<usize> = (0..EgressOutcome::SLOTS).filter(|at| after[*at] != before[*at]).collect();
        let [index] = risen[..] else { bail!("one packet, but counters {risen:?} rose") };
        ensure!(after[index] == before[index] + 1, "counter {index} rose by more than one");
        EgressOutcome::from_index(index).with_context(|| format!("outcome {index} has no name"))
    }

    /// Packets on the way out by outcome, over all CPUs.
    pub fn egress_outcomes(&self) -> Result<[u64; EgressOutcome::SLOTS]> {
        let map = self.ebpf.map(map::EGRESS_OUTCOMES).context(map::EGRESS_OUTCOMES)?;
        let counters: PerCpuArray<_, [u64; EgressOutcome::SLOTS]> = PerCpuArray::try_from(map)?;
        let mut sum = [0; EgressOutcome::SLOTS];
        for of_cpu in counters.get(&0, 0)?.iter() {
            for (sum, count) in sum.iter_mut().zip(of_cpu) {
                *sum += count;
            }
        }
        Ok(sum)
    }

    /// Runs a packet `repeat` times; the time is that of one run, on average.
    pub fn time(&mut self, program: &str, frame: &[u8], repeat: u32) -> Result<Duration> {
        Ok(self.run(program, frame, repeat)?.1)
    }

    /// Whether the object has that program.
    #[must_use]
    pub fn has_program(&self, name: &str) -> bool {
        self.ebpf.program(name).is_some()
    }

    /// Packets by outcome, over all CPUs.
    pub fn outcomes(&self) -> Result<[u64; Outcome::SLOTS]> {
        let map = self.ebpf.map(map::OUTCOMES).context(map::OUTCOMES)?;
        let counters: PerCpuArray<_, [u64; Outcome::SLOTS]> = PerCpuArray::try_from(map)?;
        let mut sum = [0; Outcome::SLOTS];
        for of_cpu in counters.get(&0, 0)?.iter() {
            for (sum, count) in sum.iter_mut().zip(of_cpu) {
                *sum += count;
            }
        }
        Ok(sum)
    }

    /// Calls that hold slots.
    pub fn calls(&self) -> Result<Vec<(CallKey, CallState)>> {
        let map = self.ebpf.map(map::CALLS).context(map::CALLS)?;
        Ok(HashMap::<_, CallKey, CallState>::try_from(map)?.iter().collect::<Result<_, _>>()?)
    }

    /// Puts a call among those that hold slots, as the daemon does to drop one.
    pub fn set_call(&mut self, key: CallKey, call: CallState) -> Result<()> {
        let map = self.ebpf.map_mut(map::CALLS).context(map::CALLS)?;
        Ok(HashMap::<_, CallKey, CallState>::try_from(map)?.insert(key, call, 0)?)
    }

    /// Expires calls, as the daemon does once a second.
    pub fn sweep(&mut self) -> Result<()> {
        let Some(Program::RawTracePoint(program)) = self.ebpf.program_mut(program::SWEEP) else {
            bail!("no program {}", program::SWEEP)
        };
        program.test_run(RawTracePointRunOptions::default())?;
        Ok(())
    }

    /// Adds to the slots that are counted for an account, as the daemon does where they differ from the entries.
    pub fn correct(&mut self, number: u32, slots: i64) -> Result<()> {
        let Some(Program::RawTracePoint(program)) = self.ebpf.program_mut(program::CORRECT) else {
            bail!("no program {}", program::CORRECT)
        };
        let mut options = RawTracePointRunOptions::default();
        options.args[..3].copy_from_slice(&[u64::from(number), 0, slots.cast_unsigned()]);
        program.test_run(options)?;
        Ok(())
    }

    /// Buckets and counters of an account.
    pub fn account(&self, number: u32) -> Result<AccountState> {
        self.get(map::ACCOUNTS, number)
    }

    /// Sets buckets and counters of an account.
    pub fn set_account(&mut self, number: u32, state: AccountState) -> Result<()> {
        self.set(map::ACCOUNTS, number, state)
    }

    /// Sets the limits of an account.
    pub fn set_policy(&mut self, number: u32, policy: Policy) -> Result<()> {
        self.set(map::POLICIES, number, policy)
    }

    /// Sets what holds for the whole program.
    pub fn set_settings(&mut self, settings: Settings) -> Result<()> {
        self.set(map::SETTINGS, 0, settings)
    }

    /// Makes a prefix a source of an account.
    pub fn add_member(&mut self, prefix: Prefix, account: u32) -> Result<()> {
        self.add_trunk_member(prefix, account, 0)
    }

    /// Makes a prefix a source of an account's trunk.
    pub fn add_trunk_member(&mut self, prefix: Prefix, account: u32, trunk: u32) -> Result<()> {
        let map = self.ebpf.map_mut(map::MEMBERS).context(map::MEMBERS)?;
        let mut members: LpmTrie<_, [u8; 16], Member> = LpmTrie::try_from(map)?;
        Ok(members.insert(&Key::new(prefix.bits, prefix.address), Member { account, trunk }, 0)?)
    }

    /// What the benchmark's programs put back before each run.
    pub fn set_bench_frame(&mut self, frame: &[u8]) -> Result<()> {
        let mut value = BenchFrame::new_zeroed();
        value.length = u32::try_from(frame.len())?;
        value.bytes.get_mut(..frame.len()).context("the frame is too long")?.copy_from_slice(frame);
        self.set(bench::FRAME, 0, value)
    }

    /// Gives accounts 2 to `count` the policy, and each a prefix of 16 addresses in 10.0.0.0/8.
    pub fn fill_accounts(&mut self, count: u32, policy: Policy) -> Result<()> {
        for number in ACME + 1..=count {
            self.set(map::POLICIES, number, policy)?;
            let [_, high, middle, low] = (number << 4).to_be_bytes();
            self.add_member(Prefix::v4([10, high, middle, low], 28), number)?;
        }
        Ok(())
    }

    /// Fills `SOURCES` with `count` addresses of 10.0.0.0/8, resolved already.
    pub fn fill_sources(&mut self, count: u32, accounts: u32) -> Result<()> {
        let generation = self.generation;
        let map = self.ebpf.map_mut(map::SOURCES).context(map::SOURCES)?;
        let mut sources: HashMap<_, [u8; 16], SourceState> = HashMap::try_from(map)?;
        for number in 0..count {
            let mut state = SourceState::new_zeroed();
            state.account = 1 + number % accounts;
            state.generation = generation;
            let [_, high, middle, low] = number.to_be_bytes();
            sources.insert(mapped([10, high, middle, low]), state, 0)?;
        }
        Ok(())
    }

    /// What each port carries, and how it refuses.
    pub fn set_ports(&mut self, ports: Ports) -> Result<()> {
        self.set(map::PORTS, 0, ports)
    }

    /// One value of an array map.
    pub fn get<V: Pod>(&self, name: &str, index: u32) -> Result<V> {
        let map = self.ebpf.map(name).with_context(|| format!("no map {name}"))?;
        Ok(Array::try_from(map)?.get(&index, 0)?)
    }

    /// Sets one value of an array map.
    pub fn set<V: Pod>(&mut self, name: &str, index: u32, value: V) -> Result<()> {
        let map = self.ebpf.map_mut(name).with_context(|| format!("no map {name}"))?;
        Ok(Array::try_from(map)?.set(index, value, 0)?)
    }

    fn run(&mut self, name: &str, frame: &[u8], repeat: u32) -> Result<(u32, Duration)> {
        let options = TestRunOptions { data_in: Some(frame), repeat, ..TestRunOptions::default() };
        let result = match self.ebpf.program_mut(name) {
            Some(Program::Xdp(program)) => program.test_run(options),
            Some(Program::SchedClassifier(program)) => program.test_run(options),
            _ => bail!("no program {name} that takes packets"),
        };
        let result = result.with_context(|| format!("{name} on {} bytes", frame.len()))?;
        Ok((result.return_value, result.duration))
    }

    fn clear_state(&mut self) -> Result<()> {
        for number in [0, ACME] {
            self.set(map::ACCOUNTS, number, AccountState::new_zeroed())?;
        }
        let map = self.ebpf.map_mut(map::SOURCES).context(map::SOURCES)?;
        clear(&mut HashMap::<_, [u8; 16], SourceState>::try_from(map)?)?;
        self.reset_listener(SIP_PORT)?;
        let map = self.ebpf.map_mut(map::SIP_FLOWS).context(map::SIP_FLOWS)?;
        clear(&mut HashMap::<_, FlowKey, SipFlow>::try_from(map)?)?;
        let map = self.ebpf.map_mut(map::SIP_REFUSALS).context(map::SIP_REFUSALS)?;
        clear(&mut HashMap::<_, FlowKey, SipRefusals>::try_from(map)?)?;
        let map = self.ebpf.map_mut(map::CALLS).context(map::CALLS)?;
        clear(&mut HashMap::<_, CallKey, CallState>::try_from(map)?)?;
        let map = self.ebpf.map_mut(map::BINDS).context(map::BINDS)?;
        clear(&mut HashMap::<_, FlowKey, BindState>::try_from(map)?)?;
        let map = self.ebpf.map_mut(map::REFUSALS).context(map::REFUSALS)?;
        clear(&mut HashMap::<_, FlowKey, Refusals>::try_from(map)?)?;
        let map = self.ebpf.map_mut(map::SYSTEM_IDS).context(map::SYSTEM_IDS)?;
        clear(&mut HashMap::<_, SystemId, u32>::try_from(map)?)?;
        let map = self.ebpf.map_mut(map::FLOWS).context(map::FLOWS)?;
        clear(&mut HashMap::<_, edge_ebpf::abi::FlowKey, edge_ebpf::stream::Flow>::try_from(map)?)
    }

    fn standing_trie(&mut self) -> Result<LpmTrie<&mut aya::maps::MapData, [u8; 16], Standing>> {
        let map = self.ebpf.map_mut(map::STANDINGS).context(map::STANDINGS)?;
        Ok(LpmTrie::try_from(map)?)
    }
}

fn clear<K: Pod, V: Pod>(map: &mut HashMap<&mut aya::maps::MapData, K, V>) -> Result<()> {
    let keys: Vec<K> = map.keys().collect::<Result<_, _>>()?;
    for key in keys {
        map.remove(&key)?;
    }
    Ok(())
}
