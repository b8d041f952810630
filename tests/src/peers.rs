//! SIPp and SMPP peers: real implementations, each counting for itself what it sent and got.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use serde::Deserialize;

use crate::netns::{Lab, SERVER, SERVER_V6};
use crate::process::{Process, wait_until};

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
}

impl Caller<'_> {
    fn command(&self, lab: &Lab, server: &str) -> Command {
        let mut command = lab.peer.command("sipp");
        let remote = if server.contains(':') { format!("[{server}]:5060") } else { format!("{server}:5060") };
        command.arg(remote).args(["-i", self.source, "-p", "5060", "-s", self.user]);
        command.args(["-r", &self.rate.to_string(), "-m", &self.count.to_string(), "-l", "100000"]);
        command.args(["-d", &self.hold.as_millis().to_string(), "-au", "acme", "-ap", "secret"]);
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
        Self::serve(command, "uas", (SERVER, 5060), directory)
    }

    /// A server that plays `scenario` at an address of the edge's side, retransmissions and all.
    pub fn server_at(lab: &Lab, directory: &Path, scenario: &str, at: (&str, u16)) -> Result<Self> {
        Self::serve(lab.edge.command("sipp"), scenario, at, directory)
    }

    fn serve(
        mut command: Command,
        scenario: &str,
        (address, port): (&str, u16),
        directory: &Path,
    ) -> Result<Self> {
        command.args(["-i", address, "-p", &port.to_string()]);
        let mut server = Self::start(command, scenario, directory)?;
        // What comes before it listens would be admitted and lost.
        wait_until("the SIP server listens", Duration::from_secs(10), || {
            server.process.listens_on_udp(port) || matches!(server.process.ended(), Ok(Some(_)))
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
        let caller = Caller { scenario, source, rate, count, hold: Duration::ZERO, user: "441632960123" };
        let mut command = caller.command(lab, SERVER);
        command.arg("-nr");
        Self::start(command, scenario, directory)
    }

    /// A client that sends again what is not answered.
    pub fn caller(lab: &Lab, directory: &Path, caller: &Caller<'_>) -> Result<Self> {
        let server = if caller.source.contains(':') { SERVER_V6 } else { SERVER };
        Self::start(caller.command(lab, server), caller.scenario, directory)
    }

    fn start(mut command: Command, scenario: &str, directory: &Path) -> Result<Self> {
        // SIPp names its files after itself: a directory each.
        let own = directory.join(crate::netns::unique(scenario));
        fs::create_dir(&own).with_context(|| format!("cannot make {}", own.display()))?;
        command.arg("-sf").arg(data("scenarios").join(format!("{scenario}.xml")));
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
    /// How long it sent, from the first message to the last.
    pub sent_for_seconds: f64,
    /// How long it took, from the first message to the last answer.
    pub seconds: f64,
    /// Why it ended early.
    pub error: Option<String>,
}

/// What the SMPP server says of itself.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct SmscReport {
    /// PDUs read, by command.
    pub commands: BTreeMap<String, u64>,
    /// When each `submit_sm` came, in seconds.
    pub submits_at: Vec<f64>,
}

/// Which SMPP server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SmscKind {
    /// A plain one of our own, which answers everything.
    Plain,
    /// The same, but it leaves `enquire_link` unanswered.
    Mute,
    /// The same, but it rejects every bind.
    Rejecting,
    /// npm's `smpp`.
    Npm,
    /// PyPI's `smpp34`.
    Smpp34,
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
            SmscKind::Plain | SmscKind::Mute | SmscKind::Rejecting => ("python3", "peers/smpp_server.py"),
            SmscKind::Npm => ("node", "peers/smpp_server.js"),
            SmscKind::Smpp34 => ("python3", "peers/smpp34_server.py"),
        };
        let mut command = lab.edge.command(program);
        if let Some(peers) = std::env::var_os("EDGE_PEERS") {
            command.env("NODE_PATH", Path::new(&peers).join("node/node_modules"));
        }
        command.arg(data(script)).args(["--host", SERVER, "--report"]).arg(&report);
        match kind {
            SmscKind::Mute => drop(command.arg("--mute")),
            SmscKind::Rejecting => drop(command.arg("--reject")),
            _ => {}
        }
        let mut process = Process::start("the SMPP server", &mut command, &report.with_extension("log"))?;
        wait_until("the SMPP server listens", Duration::from_secs(10), || {
            report.exists() || matches!(process.ended(), Ok(Some(_)))
        });
        ensure!(process.ended()?.is_none(), "the SMPP server ended:\n{}", process.said());
        Ok(Self { process, report })
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
