//! What it costs to refuse: Edge beside nftables, iptables, Kamailio and an SMPP server, in one run.
//!
//! INVITEs: one veth in a namespace of its own. Frames of 474 octets, from one source that is far over its limit, come into one
//! end as from a network card (live frames); all of this is on one processor, and its time is that of the thread that makes
//! them, softirq included, plus that of its `ksoftirqd`. The same frames dropped before they are sent are subtracted.
//! Kamailio's processes are on the other processor, and their time is added. Messages of SMPP: `smpp.rs`.

mod processor;
mod refusers;
mod smpp;

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use edge_ebpf::abi::{bench, program};
use edge_tests::fixtures::packets::row;
use edge_tests::kernel::Kernel;
use edge_tests::netns::{Namespace, unique};
use serde::Serialize;

use crate::refusers::{EDGE, REFUSERS, Refuser, SENDER};

/// Frames of one round, where the refuser is in the kernel.
const FRAMES: u32 = 400_000;
/// Frames a second for a proxy, which cannot be asked for more without losing most of them.
const PACED: u32 = 20_000;
/// Frames in a turn that is paced.
const TURN: u32 = 64;
/// Rounds; their median is told.
const ROUNDS: usize = 3;

/// One row of the report; `--json` prints an array of these.
#[derive(Debug, Serialize)]
struct Measured {
    row: &'static str,
    what: &'static str,
    /// CPU time of one refused INVITE or message, without the generator's.
    net_ns: f64,
    least_ns: f64,
    most_ns: f64,
    /// Whether the caller is told.
    answers: bool,
    /// Messages of SMPP refused in a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    per_second: Option<f64>,
}

/// Of the rounds.
#[derive(Clone, Copy, Debug)]
struct Median {
    least: f64,
    middle: f64,
    most: f64,
}

fn median(mut of_rounds: Vec<f64>) -> Median {
    of_rounds.sort_by(f64::total_cmp);
    Median { least: of_rounds[0], middle: of_rounds[ROUNDS / 2], most: of_rounds[ROUNDS - 1] }
}

fn main() -> Result<()> {
    let json = std::env::args().any(|argument| argument == "--json");
    let namespace = Namespace::make(unique("peers"))?;
    refusers::plug(&namespace)?;
    let of_smpp = smpp::measure().context("SMPP")?;
    let mut measured = namespace.enter(measure)?;
    measured.extend(of_smpp);
    if json {
        println!("{}", serde_json::to_string_pretty(&measured)?);
        return Ok(());
    }
    println!("{:<22}{:>9}{:>16}{:>8}  {:<8}what", "row", "net ns", "least-most", "/s", "answers");
    for row in &measured {
        let range = format!("{:.0}-{:.0}", row.least_ns, row.most_ns);
        let (rate, answer) = match row.per_second {
            Some(rate) => (format!("{rate:.0}"), "0x58"),
            None => (String::new(), "503"),
        };
        let answers = if row.answers { answer } else { "no" };
        println!("{:<22}{:>9.0}{range:>16}{rate:>8}  {answers:<8}{}", row.row, row.net_ns, row.what);
    }
    println!(
        "\nCPU time of one refused INVITE of 474 octets, live frames on a veth, median of {ROUNDS} rounds, rows in turn, the \
         generator subtracted; for Kamailio with its processes' own, at {PACED}/s.\n\
         Of one refused submit_sm: time of the host's processes and of softirqs, the client on a processor of its own and as fast \
         as it is answered."
    );
    Ok(())
}

fn measure() -> Result<Vec<Measured>> {
    processor::pin(0)?;
    let mut kernel = Kernel::load_sized(&[])?;
    let mut of_round: Vec<Vec<f64>> = vec![Vec::new(); REFUSERS.len()];
    // Its program gives the sender's end the queue that the answers come to.
    let sender = kernel.attach(bench::DROP, SENDER)?;
    for round in 0..=ROUNDS {
        for (at, refuser) in REFUSERS.iter().enumerate() {
            eprintln!("round {round} of {ROUNDS}: {}", refuser.name);
            let ns = cost(&mut kernel, refuser).with_context(|| refuser.name)?;
            // The first round warms caches and the processor's clock.
            if round > 0 {
                of_round[at].push(ns);
            }
        }
    }
    kernel.detach(bench::DROP, sender)?;
    let told = REFUSERS.iter().zip(of_round).map(|(refuser, times)| {
        let of = median(times);
        Measured {
            row: refuser.name,
            what: refuser.what,
            net_ns: of.middle,
            least_ns: of.least,
            most_ns: of.most,
            answers: refuser.answers,
            per_second: None,
        }
    });
    Ok(told.collect())
}

/// Nanoseconds of one refusal.
fn cost(kernel: &mut Kernel, refuser: &Refuser) -> Result<f64> {
    let row = row(refuser.packet);
    kernel.prepare(&row.before)?;
    let mut frame = row.frame;
    frame[..6].copy_from_slice(&refusers::EDGE_MAC);
    kernel.set_bench_frame(&frame)?;
    let receiver = if refuser.is_edge { program::INGRESS } else { program::EMPTY };
    let link = kernel.attach(receiver, EDGE)?;
    let peer = refuser.start()?;
    let is_proxy = peer.is_proxy();
    let frames = if is_proxy { 2 * PACED } else { FRAMES };
    let before = kernel.outcomes()?;
    let (answered, counted) = (refusers::answers()?, peer.refused()?);
    let own = peer.cpu()?;
    let spent = generate(kernel, bench::TRANSMIT, &frame, frames, is_proxy)?;
    if is_proxy {
        // It has what is in its socket still to read.
        std::thread::sleep(Duration::from_millis(300));
    }
    let own = peer.cpu()?.saturating_sub(own);
    let dropped = if refuser.is_edge {
        kernel.outcomes()?[row.outcome.index()] - before[row.outcome.index()]
    } else {
        peer.refused()? - counted
    };
    let answers = refusers::answers()? - answered;
    drop(peer);
    kernel.detach(receiver, link)?;
    let idle = generate(kernel, bench::SWALLOW, &frame, frames, is_proxy)?;
    let wanted = u64::from(frames);
    let told = if refuser.answers { answers } else { dropped };
    ensure!(told * 100 >= wanted * 99, "of {wanted} calls {dropped} were refused and {answers} answered");
    ensure!(refuser.answers || answers < 100, "{answers} answers where there should be none");
    Ok((spent.saturating_sub(idle) + own).as_secs_f64() * 1e9 / f64::from(frames))
}

/// CPU time of making frames and of all that happens to them on this processor.
fn generate(
    kernel: &mut Kernel,
    program: &str,
    frame: &[u8],
    frames: u32,
    is_paced: bool,
) -> Result<Duration> {
    // One octet more, which the program takes off: only then does the kernel tell the frame its length anew, after an answer of
    // another length was sent in the same memory (`ctx_was_changed` in net/bpf/test_run.c).
    let frame = &[frame, &[0]].concat();
    let before = processor::spent()?;
    if is_paced {
        let begun = Instant::now();
        for turn in 0..frames / TURN {
            kernel.live(program, frame, SENDER, TURN)?;
            let due = Duration::from_secs_f64(f64::from((turn + 1) * TURN) / f64::from(PACED));
            std::thread::sleep(due.saturating_sub(begun.elapsed()));
        }
    } else {
        kernel.live(program, frame, SENDER, frames)?;
    }
    Ok(processor::spent()?.saturating_sub(before))
}
