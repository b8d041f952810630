//! SIPp and SMPP peers: real implementations, each counting for itself what it sent and got.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use serde::Deserialize;

use crate::kannel;
use crate::netns::{Lab, SERVER, SERVER_V6};
use crate::process::{LISTENS_WITHIN, Process, wait_until};

/// SIPp's counts by message of the scenario: `INVITE_Sent`, `200_Recv`, `INVITE_Retrans`, …
pub type SippCounts = BTreeMap<String, u64>;

/// What a client is to do.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'a> {
    /// One of `scenarios/`.
    pub scenario: &'a str,
    /// One of the customers' addresses, IPv4 or IPv6.
    pub source: &'a str,
    /// Calls a second.
    pub rate: u32,
    /// Calls in all.
    pub count: u32,
    /// How long a call lasts: pauses without a length of their own.
    pub hold: Duration,
    /// Whom it calls.
    pub user: &'a str,
    /// How long it waits for an answer before it sends again or, where it sends nothing twice, gives up.
    pub patience: Duration,
}

/// Longer than a busy machine keeps a client or a server from its turn.
pub const PATIENT: Duration = Duration::from_secs(5);
/// For calls of which it is known that they are dropped.
pub const IMPATIENT: Duration = Duration::from_millis(1500);

/// Octets of the sockets of SIPp: what comes while it waits for its turn must not be lost.
const SIPP_BUFFER: &str = "1048576";

impl Caller<'_> {
    fn command(&self, lab: &Lab, server: &str) -> Command {
        let mut command = lab.peer.command("sipp");
        let remote = if server.contains(':') { format!("[{server}]:5060") } else { format!("{server}:5060") };
        command.arg(remote).args(["-i", self.source, "-p", "5060", "-s", self.user]);
        command.args(["-r", &self.rate.to_string(), "-m", &self.count.to_string(), "-l", "100000"]);
        command.args([
            "-buff_size",
            SIPP_BUFFER,
            "-d",
            &self.hold.as_millis().to_string(),
            "-au",
            "acme",
            "-ap",
            "secret",
        ]);
        command
    }
}

/// SIPp running one of `scenarios/`.
#[derive(Debug)]
pub struct Sipp {
    process: Process,
    counts: PathBuf,
}

impl Sipp {
    /// A server that answers calls on port 5060.
    pub fn server(lab: &Lab, directory: &Path) -> Result<Self> {
        let mut command = lab.edge.command("sipp");
        command.arg("-nr");
        Self::serve(command, "uas", (SERVER, 5060), PATIENT, directory)
    }

    /// A server that plays `scenario` at an address of the edge's side, and sends again what is not acknowledged.
    pub fn server_at(lab: &Lab, directory: &Path, scenario: &str, at: (&str, u16)) -> Result<Self> {
        Self::impatient_server_at(lab, directory, scenario, at, PATIENT)
    }

    /// The same, after so long without an acknowledgement.
    pub fn impatient_server_at(
        lab: &Lab,
        directory: &Path,
        scenario: &str,
        at: (&str, u16),
        patience: Duration,
    ) -> Result<Self> {
        Self::serve(lab.edge.command("sipp"), scenario, at, patience, directory)
    }

    fn serve(
        mut command: Command,
        scenario: &str,
        (address, port): (&str, u16),
        patience: Duration,
        directory: &Path,
    ) -> Result<Self> {
        command.args(["-i", address, "-p", &port.to_string(), "-buff_size", SIPP_BUFFER]);
        let mut server = Self::start(command, scenario, patience, directory)?;
        // What comes before it listens would be admitted and lost.
        wait_until("the SIP server listens", LISTENS_WITHIN, || {
            server.process.listens_on(port) || matches!(server.process.ended(), Ok(Some(_)))
        });
        ensure!(server.process.ended()?.is_none(), "the SIP server ended:\n{}", server.process.said());
        Ok(server)
    }

    /// A client that plays `scenario` from `source`: `rate` per second, `count` in all, each request sent
    /// once.
    pub fn client(
        lab: &Lab,
        directory: &Path,
        scenario: &str,
        source: &str,
        rate: u32,
        count: u32,
    ) -> Result<Self> {
        let user = "441632960123";
        let caller = Caller { scenario, source, rate, count, hold: Duration::ZERO, user, patience: PATIENT };
        Self::once(lab, directory, &caller)
    }

    /// A client that sends each request once.
    pub fn once(lab: &Lab, directory: &Path, caller: &Caller<'_>) -> Result<Self> {
        let mut command = caller.command(lab, SERVER);
        command.arg("-nr");
        Self::start(command, caller.scenario, caller.patience, directory)
    }

    /// A server that answers calls over TCP.
    pub fn tcp_server(lab: &Lab, directory: &Path) -> Result<Self> {
        let mut command = lab.edge.command("sipp");
        command.args(["-t", "tn", "-max_socket", "1000"]);
        Self::serve(command, "uas", (SERVER, 5060), PATIENT, directory)
    }

    /// A client over TCP: over one connection, or over one for each call.
    pub fn tcp_client(lab: &Lab, directory: &Path, caller: &Caller<'_>, is_shared: bool) -> Result<Self> {
        let mut command = caller.command(lab, SERVER);
        command.args(["-t", if is_shared { "t1" } else { "tn" }, "-max_socket", "1000"]);
        Self::start(command, caller.scenario, caller.patience, directory)
    }

    /// A client that sends again what is not answered.
    pub fn caller(lab: &Lab, directory: &Path, caller: &Caller<'_>) -> Result<Self> {
        let server = if caller.source.contains(':') { SERVER_V6 } else { SERVER };
        Self::start(caller.command(lab, server), caller.scenario, caller.patience, directory)
    }

    fn start(mut command: Command, scenario: &str, patience: Duration, directory: &Path) -> Result<Self> {
        // SIPp names its files after itself: a directory each.
        let own = directory.join(crate::netns::unique(scenario));
        fs::create_dir(&own).with_context(|| format!("cannot make {}", own.display()))?;
        let script = fs::read_to_string(data("scenarios").join(format!("{scenario}.xml")))?;
        let file = own.join("scenario.xml");
        fs::write(&file, script.replace("PATIENCE_MS", &patience.as_millis().to_string()))?;
        command.arg("-sf").arg(file);
        command.args(["-nostdin", "-trace_counts", "-fd", "1"]).current_dir(&own);
        let process = Process::start("sipp", &mut command, &own.join("log"))?;
        Ok(Self { process, counts: own })
    }

    /// Waits for the client's end.
    pub fn finish(mut self, timeout: Duration) -> Result<SippCounts> {
        // 0: every call succeeded; 1: some did not, which is for the test to judge.
        let status = self.process.wait(timeout)?;
        let code = status.code().unwrap_or(-1);
        ensure!(code == 0 || code == 1, "sipp ended with {status}:\n{}", self.process.said());
        self.read()
    }

    /// Ends the server when its calls are over.
    pub fn stop(mut self) -> Result<SippCounts> {
        self.process.end(Signal::SIGUSR1)?;
        self.read()
    }

    fn read(&self) -> Result<SippCounts> {
        let file = fs::read_dir(&self.counts)?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .find(|path| path.to_string_lossy().ends_with("_counts.csv"))
            .with_context(|| format!("SIPp left no counts; it said:\n{}", self.process.said()))?;
        let text = fs::read_to_string(&file)?;
        let mut lines = text.lines();
        let names = lines.next().unwrap_or_default().split(';').skip(2);
        let values = lines.next_back().context("SIPp counted nothing")?.split(';').skip(2);
        let mut counts = SippCounts::new();
        for (name, value) in names.zip(values) {
            // `0_INVITE_Sent`: the number is the message's place in the scenario.
            if let (Some((_, name)), Ok(value)) = (name.split_once('_'), value.parse::<u64>()) {
                *counts.entry(name.to_owned()).or_default() += value;
            }
        }
        Ok(counts)
    }
}

/// What the SMPP client says of itself.
#[derive(Clone, Debug, Deserialize)]
pub struct EsmeReport {
    /// PDUs written, by command.
    pub sent: BTreeMap<String, u64>,
    /// PDUs read, by command.
    pub answered: BTreeMap<String, u64>,
    /// `submit_sm_resp` with status 0.
    pub ok: u64,
    /// `submit_sm_resp` by `command_status`: `0x58`.
    pub statuses: BTreeMap<String, u64>,
    /// When it began to send, in seconds of the machine's clock (`CLOCK_MONOTONIC`).
    pub started_at: f64,
    /// When it read the last answer to a message.
    pub answered_at: Option<f64>,
    /// When it was throttled, if it was.
    pub throttling: Option<Throttling>,
    /// Why it ended early.
    pub error: Option<String>,
}

/// When messages were throttled. Each was judged after it was sent and before its answer was read.
#[derive(Clone, Debug, Deserialize)]
pub struct Throttling {
    /// Messages of before the first of them, which passed.
    pub passed_before: u32,
    /// When the answer to the first of them was read.
    pub first_read_at: f64,
    /// When the last of them was sent.
    pub last_sent_at: f64,
    /// When one of them was sent and when the answer to the next was read, where half a second and more lies between.
    pub pauses: Vec<(f64, f64)>,
}

/// Asserts that so many messages are what a limit lets pass of those that these clients sent together: exact to the message
/// but for what their clocks do not know, which is how long each was under way when it was judged. It does not matter how
/// long they, the server or the whole machine stood still meanwhile.
///
/// A message is throttled when the bucket is empty. So what passes before the first that is, is the burst and more, and from
/// there to the last, what comes into the bucket is what passes: all of the rate, but for what came into a full bucket. That
/// takes a pause in which the rate can fill it, so nothing is demanded of such pauses.
///
/// # Panics
/// When it were fewer or more.
pub fn assert_metered(told: &[&EsmeReport], passed: u64, per_second: u32, burst: u32) {
    let (rate, burst) = (f64::from(per_second), f64::from(burst));
    let least = |throttling: &Throttling| {
        let is_long = |(sent, read): &&(f64, f64)| (read - sent) * rate >= burst;
        let pauses = throttling.pauses.iter().filter(is_long).copied();
        let (mut of_rate, mut from) = (0.0, throttling.first_read_at);
        for (to, next) in pauses.chain([(throttling.last_sent_at, 0.0)]) {
            // A bucket that is empty has less than a whole message in it.
            of_rate += ((to - from) * rate - 1.0).max(0.0);
            from = next;
        }
        burst.max(f64::from(throttling.passed_before)) + of_rate
    };
    let least = told.iter().filter_map(|client| client.throttling.as_ref()).map(least).fold(0.0, f64::max);
    let from = told.iter().map(|client| client.started_at).fold(f64::INFINITY, f64::min);
    let to = told.iter().filter_map(|client| client.answered_at).fold(from, f64::max);
    let allowed = least..=burst + rate * (to - from) + 1.0;
    let passed = f64::from(u32::try_from(passed).unwrap_or(u32::MAX));
    assert!(allowed.contains(&passed), "{passed} passed of {allowed:?}, {per_second}/s: {told:?}");
}

/// What the SMPP server says of itself.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct SmscReport {
    /// PDUs read, by command.
    pub commands: BTreeMap<String, u64>,
    /// When each `submit_sm` came, in seconds.
    pub submits_at: Vec<f64>,
    /// How many came, by `destination_addr`.
    pub submits_to: BTreeMap<String, u64>,
}

/// `command_status` of the answers of [`SmscKind::Mixed`]: one of each kind that is counted, and two that have none.
pub const STATUSES: [u32; 9] = [0, 0x58, 0, 0x14, 0x45, 0x0b, 0x0a, 0x08, 0x61];

/// Which SMPP server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SmscKind {
    /// A plain one of our own, which answers everything.
    Plain,
    /// The same, but it leaves `enquire_link` unanswered.
    Mute,
    /// The same, but it rejects every bind.
    Rejecting,
    /// The same, but it leaves messages unanswered, and sends an `enquire_link` itself.
    Silent,
    /// The same, but it answers messages with [`STATUSES`] in turn.
    Mixed,
    /// npm's `smpp`.
    Npm,
    /// The same, and it answers `ESME_RTHROTTLED` by itself beyond so many messages a second.
    Throttling(u32),
    /// The same, and of three messages that it takes, two are not delivered, as its receipts say.
    Receipts,
    /// PyPI's `smpp34`.
    Smpp34,
    /// Kannel's, which takes transmitters only.
    Kannel,
}

/// An SMPP server on port 2775.
#[derive(Debug)]
pub struct Smsc {
    process: Process,
    report: PathBuf,
}

impl Smsc {
    /// Starts it and waits until it listens.
    pub fn start(lab: &Lab, directory: &Path) -> Result<Self> {
        Self::start_kind(lab, directory, SmscKind::Plain)
    }

    /// The same, of a certain kind.
    pub fn start_kind(lab: &Lab, directory: &Path, kind: SmscKind) -> Result<Self> {
        let report = directory.join(crate::netns::unique("smsc"));
        let (program, script) = match kind {
            SmscKind::Plain | SmscKind::Mute | SmscKind::Rejecting | SmscKind::Silent | SmscKind::Mixed => {
                ("python3", "peers/smpp_server.py")
            }
            SmscKind::Npm | SmscKind::Throttling(_) | SmscKind::Receipts => ("node", "peers/smpp_server.js"),
            SmscKind::Smpp34 => ("python3", "peers/smpp34_server.py"),
            SmscKind::Kannel => ("python3", "peers/kannel_server.py"),
        };
        let mut command = lab.server().command(program);
        if let Some(peers) = std::env::var_os("EDGE_PEERS") {
            command.env("NODE_PATH", Path::new(&peers).join("node/node_modules"));
        }
        command.arg(data(script)).args(["--host", SERVER, "--report"]).arg(&report);
        match kind {
            SmscKind::Mute => drop(command.arg("--mute")),
            SmscKind::Rejecting => drop(command.arg("--reject")),
            SmscKind::Throttling(rate) => drop(command.args(["--throttle", &rate.to_string()])),
            SmscKind::Silent => drop(command.args(["--silent", "--asks"])),
            SmscKind::Receipts => drop(command.args(["--receipts", "UNDELIV,DELIVRD,UNDELIV"])),
            SmscKind::Kannel => drop(command.arg("--program").arg(kannel::server_program())),
            SmscKind::Mixed => {
                let statuses: Vec<String> = STATUSES.iter().map(u32::to_string).collect();
                command.args(["--statuses", &statuses.join(",")]);
            }
            _ => {}
        }
        let mut process = Process::start("the SMPP server", &mut command, &report.with_extension("log"))?;
        wait_until("the SMPP server listens", LISTENS_WITHIN, || {
            report.exists() || matches!(process.ended(), Ok(Some(_)))
        });
        ensure!(process.ended()?.is_none(), "the SMPP server ended:\n{}", process.said());
        Ok(Self { process, report })
    }

    /// Its process.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// What it got so far (of a fifth of a second ago).
    pub fn so_far(&self) -> Result<SmscReport> {
        let text = fs::read_to_string(&self.report)?;
        serde_json::from_str(&text).with_context(|| format!("the SMPP server's report: {text}"))
    }

    /// Ends it.
    pub fn stop(mut self) -> Result<SmscReport> {
        self.process.end(Signal::SIGTERM)?;
        self.so_far()
    }
}

/// An SMPP client (smpplib) that runs with these arguments of `peers/smpp_client.py`.
#[derive(Debug)]
pub struct Esme {
    process: Process,
}

impl Esme {
    /// Starts it.
    pub fn start(lab: &Lab, directory: &Path, source: &str, arguments: &[&str]) -> Result<Self> {
        let log = directory.join(crate::netns::unique("esme"));
        let mut command = lab.peer.command("python3");
        command
            .arg(data("peers/smpp_client.py"))
            .args(["--source", source, "--host", SERVER])
            .args(arguments);
        Ok(Self { process: Process::start("the SMPP client", &mut command, &log)? })
    }

    /// Waits for its end.
    pub fn finish(mut self, timeout: Duration) -> Result<EsmeReport> {
        self.process.wait(timeout)?;
        let said = self.process.said();
        let report = said.lines().rev().find_map(|line| serde_json::from_str(line).ok());
        report.with_context(|| format!("the SMPP client gave no figures; it said:\n{said}"))
    }
}

fn data(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}
