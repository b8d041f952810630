//! What happens, in order.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use edge_tests::edge::binary;
use edge_tests::process::Process;
use edge_tests::sink::{Manner, Sink};
use edge_user::alert::Alert;
use jiff::Timestamp;
use serde::Deserialize as _;
use tokio::time::{Instant, sleep, sleep_until};

use crate::cast::{self, Calling, PeerCounts};
use crate::counts::{Edgectl, Look};
use crate::report::{Opened, Report};
use crate::stage::{RECEIVER, SERVER, SERVER_INTERFACE, Stage};
use crate::throttled::Throttled;

/// One stretch of traffic.
struct Phase {
    name: &'static str,
    what: &'static str,
    secs: u32,
    calls_per_sec: u32,
    messages_per_sec: u32,
    /// How long a call lasts.
    talk_ms: u32,
    is_pumped: bool,
}

/// How long calls last where it does not matter.
const SHORT_MS: u32 = 200;

/// Where in [`PHASES`] most is refused.
const SPIKE: usize = 1;

const PHASES: [Phase; 5] = [
    Phase {
        name: "normal",
        what: "within the limits",
        secs: 20,
        calls_per_sec: 8,
        messages_per_sec: 10,
        talk_ms: SHORT_MS,
        is_pumped: false,
    },
    Phase {
        name: "spike",
        what: "many times as much: over the limits",
        secs: 6,
        calls_per_sec: 60,
        messages_per_sec: 200,
        talk_ms: SHORT_MS,
        is_pumped: false,
    },
    Phase {
        name: "normal",
        what: "within the limits again",
        secs: 12,
        calls_per_sec: 8,
        messages_per_sec: 10,
        talk_ms: SHORT_MS,
        is_pumped: false,
    },
    Phase {
        name: "pumping",
        what: "within the limits, but nearly all to one prefix",
        secs: 20,
        calls_per_sec: 12,
        messages_per_sec: 15,
        talk_ms: SHORT_MS,
        is_pumped: true,
    },
    Phase {
        name: "at once",
        what: "few calls a second, but long ones: more at once than the account may have",
        secs: 8,
        calls_per_sec: 10,
        messages_per_sec: 3,
        talk_ms: 6_000,
        is_pumped: false,
    },
];

/// Ranges that regulators keep free for films, one a country: nobody answers there.
const ORDINARY_PREFIXES: [&str; 8] =
    ["441632960", "120255501", "614915701", "331990012", "353209100", "493023125", "463139006", "358401234"];

/// +999 is not assigned to anybody (ITU-T E.164, list of codes).
const PUMPED_PREFIX: &str = "999110420";

/// How long things may take to get ready.
const START_LIMIT: Duration = Duration::from_secs(15);
/// How long to wait for calls to end and for the last alert.
const END_LIMIT: Duration = Duration::from_secs(12);

/// Plays the whole demo; whoever drops the future stops it, and everything is removed.
pub(crate) async fn tell() -> Result<Report> {
    let stage = Stage::make()?;
    let receiver = Sink::serve(stage.server.listen(RECEIVER)?, Manner::Accept)?;
    let edgectl = Edgectl { program: binary("edgectl")?, socket: stage.file("edge.sock") };
    let mut daemon = cast::edged(&stage)?;
    let xdp_mode = wait_for_daemon(&stage, &mut daemon, &edgectl).await?;
    eprintln!("edged is attached to {SERVER_INTERFACE} ({SERVER}), XDP mode: {xdp_mode}");

    let _servers = [cast::sip_server(&stage)?, cast::smpp_server(&stage)?];
    wait_for_log(&stage, "smsc.log", "listening").await?;

    let peers = Peers::prepare(&stage)?;
    let smpp = cast::smpp_client(&stage, &peers.smpp_phases())?;
    // Its phases begin now, and so must ours.
    wait_for_log(&stage, "esme.log", "bound").await?;
    let mut watch = Watch::new(&edgectl, &receiver);
    let mut sip = Vec::new();
    for (index, phase) in (0..).zip(&PHASES) {
        eprintln!("\n{}: {}", phase.name, phase.what);
        watch.onsets.push(Timestamp::now());
        let numbers = peers.numbers(phase);
        let calling = Calling {
            index,
            calls_per_sec: phase.calls_per_sec,
            secs: phase.secs,
            talk_ms: phase.talk_ms,
            numbers: &numbers,
        };
        sip.push(cast::sip_client(&stage, &calling)?);
        watch.follow(phase.name, phase.secs).await?;
    }
    eprintln!("\nafter: the last calls end");
    watch.until_quiet(smpp, &mut sip).await?;

    let total = edgectl.look().await?;
    let messages = receiver.deliveries();
    let smpp_phases = cast::smpp_counts(&stage)?;
    let throttled = Throttled {
        offered_per_sec: PHASES[SPIKE].messages_per_sec,
        limit: edgectl.smpp_limit().await?,
        peer: *smpp_phases.get(SPIKE).context("the SMPP client tells of each phase")?,
        said: cast::smpp_refusals(&stage)?,
        received: cast::smpp_received(&stage)?,
    };
    let (_, last) = sip.last().context("no phase was played")?;
    Ok(Report {
        at_once: cast::sip_counts(last)?,
        total,
        sip_peer: add_up(sip.iter().map(|(_, figures)| cast::sip_counts(figures)))?,
        smpp_peer: add_up(smpp_phases.into_iter().map(Ok))?,
        throttled,
        opened: watch.opened,
        delivered: messages.len(),
        is_signature_valid: !messages.is_empty() && messages.iter().all(|message| message.is_signed),
        xdp_mode,
    })
}

/// Files of numbers.
struct Peers {
    ordinary: PathBuf,
    pumped: PathBuf,
}

impl Peers {
    fn prepare(stage: &Stage) -> Result<Self> {
        let peers = Self { ordinary: stage.file("ordinary.txt"), pumped: stage.file("pumped.txt") };
        let mut ordinary = String::new();
        let mut pumped = String::new();
        for number in 0..25 {
            for (index, prefix) in ORDINARY_PREFIXES.iter().enumerate() {
                let _ = writeln!(ordinary, "{prefix}{number:03}");
                // Seven of eight: real traffic goes on beside the fraud.
                let prefix = if index == 0 { prefix } else { &PUMPED_PREFIX };
                let _ = writeln!(pumped, "{prefix}{number:03}");
            }
        }
        fs::write(&peers.ordinary, ordinary).context("cannot write the numbers")?;
        fs::write(&peers.pumped, pumped).context("cannot write the numbers")?;
        Ok(peers)
    }

    fn numbers(&self, phase: &Phase) -> PathBuf {
        if phase.is_pumped { self.pumped.clone() } else { self.ordinary.clone() }
    }

    fn smpp_phases(&self) -> Vec<(u32, u32, PathBuf)> {
        PHASES.iter().map(|phase| (phase.secs, phase.messages_per_sec, self.numbers(phase))).collect()
    }
}

/// Prints what happens, each second.
struct Watch<'a> {
    edgectl: &'a Edgectl,
    receiver: &'a Sink,
    began: Instant,
    /// When the last line was due.
    next: Instant,
    before: Look,
    seen: usize,
    /// When each phase began.
    onsets: Vec<Timestamp>,
    opened: Vec<Opened>,
}

impl<'a> Watch<'a> {
    fn new(edgectl: &'a Edgectl, receiver: &'a Sink) -> Self {
        eprintln!("{:>7} {:<8}  {:^26}  {:^26}", "", "", "SIP calls per second", "SMPP messages per second");
        let heads = "offered  admitted  refused";
        eprintln!("{:>7} {:<8}  {heads}  {heads}", "seconds", "phase");
        let began = Instant::now();
        Self {
            edgectl,
            receiver,
            began,
            next: began,
            before: Look::default(),
            seen: 0,
            onsets: Vec::new(),
            opened: Vec::new(),
        }
    }

    /// A line each second, that many. By its own clock, so that each phase begins when the SMPP client's does,
    /// however long the lines took.
    async fn follow(&mut self, phase: &str, secs: u32) -> Result<()> {
        for _ in 0..secs {
            self.next += Duration::from_secs(1);
            sleep_until(self.next).await;
            self.line(phase).await?;
        }
        Ok(())
    }

    /// Goes on until the clients have ended and both alerts are there, at most [`END_LIMIT`].
    async fn until_quiet(&mut self, mut smpp: Process, sip: &mut [(Process, PathBuf)]) -> Result<()> {
        let limit = Instant::now() + END_LIMIT;
        while Instant::now() < limit {
            self.follow("after", 1).await?;
            let mut is_over = smpp.ended()?.is_some();
            for (process, _) in sip.iter_mut() {
                is_over &= process.ended()?.is_some();
            }
            if is_over
                && ["spike", "pumping"].iter().all(|rule| self.opened.iter().any(|alert| alert.rule == *rule))
            {
                break;
            }
        }
        Ok(())
    }

    async fn line(&mut self, phase: &str) -> Result<()> {
        let now = self.edgectl.look().await?;
        let (sip, smpp) = (now.sip.since(self.before.sip), now.smpp.since(self.before.smpp));
        self.before = now;
        eprintln!(
            "{:>7} {phase:<8}  {:>7}  {:>8}  {:>7}  {:>7}  {:>8}  {:>7}",
            self.began.elapsed().as_secs(),
            sip.offered(),
            sip.admitted,
            sip.refused,
            smpp.offered(),
            smpp.admitted,
            smpp.refused,
        );
        self.tell_messages();
        Ok(())
    }

    fn tell_messages(&mut self) {
        let received = self.receiver.deliveries();
        for message in &received[self.seen..] {
            let signature = if message.is_signed { "signature valid" } else { "SIGNATURE NOT VALID" };
            let Ok(alert) = Alert::deserialize(&message.body["data"]) else {
                eprintln!("  >> webhook {} ({signature})", message.kind());
                continue;
            };
            let finding = &alert.finding;
            eprintln!(
                "  >> webhook {} ({signature}): {} of account {}, {}: {:.2} {} against {:.2}; {}",
                message.kind(),
                finding.rule,
                finding.account,
                finding.subject,
                finding.observed,
                finding.unit,
                finding.threshold,
                alert.action,
            );
            if message.kind() == "alert.opened" {
                let onset = self.onsets.iter().rev().find(|onset| **onset <= alert.opened_at);
                let after_ms = onset.map_or(0, |onset| alert.opened_at.duration_since(*onset).as_millis());
                self.opened.push(Opened {
                    rule: finding.rule.clone(),
                    account: finding.account.clone(),
                    subject: finding.subject.clone(),
                    after_onset_ms: u64::try_from(after_ms).unwrap_or(0),
                });
            }
        }
        self.seen = received.len();
    }
}

/// Until the daemon answers and is attached; returns the XDP mode.
async fn wait_for_daemon(stage: &Stage, daemon: &mut Process, edgectl: &Edgectl) -> Result<String> {
    let limit = Instant::now() + START_LIMIT;
    loop {
        let log = || fs::read_to_string(stage.file("edged.log")).unwrap_or_default();
        if daemon.ended()?.is_some() {
            bail!("edged ended at once; it said:\n{}", log().trim());
        }
        let why = match edgectl.status().await {
            Ok(status) => {
                let interface = status.interfaces.into_iter().find(|one| one.name == SERVER_INTERFACE);
                match interface {
                    Some(interface) if interface.xdp_mode != "absent" => return Ok(interface.xdp_mode),
                    _ => format!("it is not attached to {SERVER_INTERFACE}"),
                }
            }
            Err(error) => format!("{error:#}"),
        };
        if Instant::now() > limit {
            bail!("edged is not ready: {why}\nIts log:\n{}", log().trim());
        }
        sleep(Duration::from_millis(100)).await;
    }
}

async fn wait_for_log(stage: &Stage, name: &str, word: &str) -> Result<()> {
    let limit = Instant::now() + START_LIMIT;
    loop {
        let log = fs::read_to_string(stage.file(name)).unwrap_or_default();
        if log.contains(word) {
            return Ok(());
        }
        if Instant::now() > limit {
            bail!("{name} does not say `{word}` but:\n{}", log.trim());
        }
        sleep(Duration::from_millis(100)).await;
    }
}

/// Of several phases; how long they took is left out.
fn add_up(counts: impl Iterator<Item = Result<PeerCounts>>) -> Result<PeerCounts> {
    let mut total = PeerCounts::default();
    for counts in counts {
        let counts = counts?;
        total.sent += counts.sent;
        total.ok += counts.ok;
        total.refused += counts.refused;
    }
    Ok(total)
}
