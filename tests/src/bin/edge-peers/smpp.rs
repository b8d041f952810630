//! What it costs to refuse a message of SMPP: Edge's refusal in SMPP's words beside a server that throttles by itself.
//!
//! The same client in both rows, on one processor, the server on the other: it keeps [`WINDOW`] messages open,
//! and goes on with each answer. What is counted is the time of the host's own processes and of softirqs on both processors; the
//! client's own is not. Edge's program runs in softirqs and in the server's calls, so it is in there.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use edge_tests::crowd::Sessions;
use edge_tests::edge::Edge;
use edge_tests::netns::{ACME, Lab};
use edge_tests::peers::{Smsc, SmscKind};

use crate::{Measured, ROUNDS, median, processor};

/// Messages a second that both let pass, and at once.
const LIMIT: u32 = 10;
/// Messages that wait for their answers.
const WINDOW: u32 = 50;
const ROUND: Duration = Duration::from_secs(4);
const THROTTLED: u32 = 0x58;

/// One round of a row.
#[derive(Clone, Copy, Debug)]
struct Round {
    ns: f64,
    per_second: f64,
}

/// Both rows.
pub(crate) fn measure() -> Result<Vec<Measured>> {
    let mut rows: [(_, _, Vec<Round>); 2] = [
        ("edge_smpp_throttled", "the server (npm smpp) answers an enquire_link for each", Vec::new()),
        (
            "npm_smpp_throttled",
            "the server (npm smpp) answers ESME_RTHROTTLED by itself, no Edge",
            Vec::new(),
        ),
    ];
    for round in 1..=ROUNDS {
        for (at, (name, _, rounds)) in rows.iter_mut().enumerate() {
            eprintln!("round {round} of {ROUNDS}: {name}");
            rounds.push(if at == 0 { with_edge()? } else { without_edge()? });
        }
    }
    let told = rows.into_iter().map(|(row, what, rounds)| {
        let per_second = median(rounds.iter().map(|round| round.per_second).collect());
        let of = median(rounds.iter().map(|round| round.ns).collect());
        Measured {
            row,
            what,
            net_ns: of.middle,
            least_ns: of.least,
            most_ns: of.most,
            answers: true,
            per_second: Some(per_second.middle),
        }
    });
    Ok(told.collect())
}

fn with_edge() -> Result<Round> {
    let lab = Lab::make()?;
    let limits = format!(
        "[smpp]\nrefusal = 'native'\nrefusals = 'unlimited'\n[plans.open]\n\
         [plans.tested.account]\nsmpp.submit = '{LIMIT}/s burst {LIMIT}'\n\
         [accounts.acme]\nsources = ['203.0.113.0/24']\nplan = 'tested'\n[unknown]\nplan = 'open'"
    );
    let mut edge = Edge::start(&lab, &limits)?;
    let daemon = edge.daemon()?.id();
    let server = Smsc::start_kind(&lab, edge.directory(), SmscKind::Npm)?;
    let processes = vec![server.id(), daemon];
    run(&lab, server, processes)
}

fn without_edge() -> Result<Round> {
    let (lab, own) = (Lab::make()?, tempfile::tempdir()?);
    let server = Smsc::start_kind(&lab, own.path(), SmscKind::Throttling(LIMIT))?;
    let processes = vec![server.id()];
    run(&lab, server, processes)
}

fn run(lab: &Lab, server: Smsc, processes: Vec<u32>) -> Result<Round> {
    processor::pin_process(server.id(), 1)?;
    let (refused, accepted, round) = lab.peer.enter(move || {
        processor::pin(0)?;
        let spent = || -> Result<Duration> {
            let own = processes.iter().map(|id| processor::of_threads(*id)).sum::<Result<Duration>>()?;
            Ok(own + processor::softirqs()?)
        };
        let mut sessions = Sessions::bind(ACME, 1, "acme")?;
        // It warms the server's compiler, and takes what passes at once.
        let (mut refused, mut accepted) = sessions.hammer(WINDOW, ROUND / 4, THROTTLED)?;
        let (before, begun) = (spent()?, Instant::now());
        let (of_round, passed) = sessions.hammer(WINDOW, ROUND, THROTTLED)?;
        let (spent, took) = (spent()?.saturating_sub(before), begun.elapsed());
        refused += of_round;
        accepted += passed;
        sessions.unbind()?;
        let of_round = f64::from(of_round);
        let round =
            Round { ns: spent.as_secs_f64() * 1e9 / of_round, per_second: of_round / took.as_secs_f64() };
        Ok((refused, accepted, round))
    })?;
    let got = server.stop()?.submits_at.len();
    ensure!(got == usize::try_from(accepted)?, "the server took {got}, the client heard so of {accepted}");
    ensure!(accepted * 20 < refused, "{accepted} were accepted, and {refused} refused");
    Ok(round)
}
