//! The real daemon and the real command line, on the edge's side of a [`Lab`].

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use edge_user::api::types::{AccountDetail, Status, Top};
use jiff::Timestamp;
use nix::sys::signal::Signal;
use serde::de::DeserializeOwned;
use tempfile::TempDir;

use crate::janitor::Pins;
use crate::netns::{EDGE_INTERFACE, Lab, unique};
use crate::process::{Process, wait_until};

/// How long the daemon may take to be ready: its start includes the verifier.
const READY_WITHIN: Duration = Duration::from_mins(1);
/// How long the daemon may take from one reading of the counters to the next, which is a second, on a busy machine.
const READ_WITHIN: Duration = Duration::from_secs(30);

/// Files, pins and the daemon of one test.
#[derive(Debug)]
pub struct Edge<'a> {
    // In this order, so that the daemon ends first and its log can still be read.
    daemon: Option<Process>,
    pins: Pins,
    files: TempDir,
    database: PathBuf,
    lab: &'a Lab,
    starts: u32,
    /// Packets that were counted when the counters of accounts were read, as [`Self::settled`] knows.
    settled_packets: Cell<Option<u64>>,
}

impl<'a> Edge<'a> {
    /// Everything but the daemon, with a configuration: `sections` are appended to interface, ports and paths.
    pub fn prepare(lab: &'a Lab, sections: &str) -> Result<Self> {
        let files = tempfile::Builder::new().prefix("edge-test-").tempdir().context("no directory")?;
        let pins = Pins::new(&unique("pins"))?;
        let database = files.path().join("edge.db");
        let edge =
            Self { lab, files, pins, database, daemon: None, starts: 0, settled_packets: Cell::new(None) };
        edge.configure(sections)?;
        Ok(edge)
    }

    /// Another place for the database, from the next [`Self::configure`] on.
    pub fn keep_database_at(&mut self, path: &Path) {
        path.clone_into(&mut self.database);
    }

    /// The same, with the daemon running and ready.
    pub fn start(lab: &'a Lab, sections: &str) -> Result<Self> {
        let mut edge = Self::prepare(lab, sections)?;
        edge.start_daemon()?;
        Ok(edge)
    }

    /// Writes the configuration anew.
    pub fn configure(&self, sections: &str) -> Result<()> {
        let text = format!(
            "mode = 'enforce'\n\
             interfaces = [{{ name = '{EDGE_INTERFACE}', xdp_mode = 'native' }}]\n\
             [ports]\nsip_udp = [5060]\nsip_tcp = [5060]\nsmpp_tcp = [2775]\n\
             [paths]\npin_dir = '{}'\ndatabase = '{}'\nsocket = '{}'\n\
             [metrics]\nlisten = '127.0.0.1:9912'\n\
             {sections}\n",
            self.pins.path().display(),
            self.database.display(),
            self.socket().display(),
        );
        fs::write(self.config(), text).context("cannot write the configuration")
    }

    /// Starts the daemon and waits until it is ready.
    pub fn start_daemon(&mut self) -> Result<()> {
        let mut daemon = self.spawn()?;
        let mut ended = None;
        wait_until("edged answers", READY_WITHIN, || {
            ended = daemon.ended().ok().flatten();
            ended.is_some() || self.status().is_ok()
        });
        if let Some(status) = ended {
            bail!("edged ended with {status}:\n{}", daemon.said());
        }
        self.daemon = Some(daemon);
        Ok(())
    }

    /// Starts another daemon with the same configuration, without waiting.
    pub fn spawn(&mut self) -> Result<Process> {
        self.starts += 1;
        let mut command = self.lab.edge.command(binary("edged")?);
        command.arg("--config").arg(self.config()).env("NO_COLOR", "1");
        Process::start("edged", &mut command, &self.file(&format!("edged-{}.log", self.starts)))
    }

    /// The running daemon.
    pub fn daemon(&mut self) -> Result<&mut Process> {
        self.daemon.as_mut().context("edged was not started")
    }

    /// Ends the daemon without warning; what it put into the kernel stays.
    pub fn kill(&mut self) -> Result<()> {
        self.daemon()?.end(Signal::SIGKILL)?;
        self.daemon = None;
        Ok(())
    }

    /// `edgectl` with these arguments, whatever comes of it.
    pub fn edgectl(&self, arguments: &[&str]) -> Result<Output> {
        let mut command = self.lab.edge.command(binary("edgectl")?);
        command.arg("--socket").arg(self.socket()).args(arguments);
        command.output().context("cannot start edgectl")
    }

    /// `edgectl` that must succeed.
    pub fn ctl(&self, arguments: &[&str]) -> Result<String> {
        let output = self.edgectl(arguments)?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "edgectl {}: {}", arguments.join(" "), errors.trim());
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// `edgectl --json` that must succeed, read as its type.
    pub fn read<T: DeserializeOwned>(&self, arguments: &[&str]) -> Result<T> {
        let text = self.ctl(&[&["--json"], arguments].concat())?;
        serde_json::from_str(&text).with_context(|| format!("edgectl {}: {text}", arguments.join(" ")))
    }

    /// `edgectl status`.
    pub fn status(&self) -> Result<Status> {
        self.read(&["status"])
    }

    /// `edgectl accounts show`, once the daemon has read all counters of traffic that has ended: the number of
    /// packets is always of now, accounts are as of the daemon's last reading, a second ago or a little more.
    pub fn settled(&self, name: &str) -> Result<AccountDetail> {
        let mut packets = self.status()?.packets;
        while self.settled_packets.get() != Some(packets) {
            let seen = packets;
            self.wait_for_reading(Timestamp::now());
            packets = self.status()?.packets;
            self.settled_packets.set(Some(seen));
        }
        self.account(name)
    }

    /// Waits until the daemon has read counters, and its detectors have judged them, of later than `after`.
    pub fn wait_for_reading(&self, after: Timestamp) {
        wait_until("the counters are read", READ_WITHIN, || {
            self.read::<Top>(&["top", "--once"]).is_ok_and(|top| top.at > after)
        });
    }

    /// `edgectl accounts show`, as the daemon knows it now.
    pub fn account(&self, name: &str) -> Result<AccountDetail> {
        self.read(&["accounts", "show", name])
    }

    /// Messages of an account's class by allowance, settled; 0 where nothing was counted.
    pub fn messages(&self, account: &str, class: &str, allowance: &str) -> Result<u64> {
        let detail = self.settled(account)?;
        Ok(detail.messages.get(class).and_then(|class| class.get(allowance)).copied().unwrap_or(0))
    }

    /// A file of this test.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    /// The directory of this test's files.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.files.path()
    }

    /// The configuration file.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.file("edge.toml")
    }

    /// Where pins are.
    #[must_use]
    pub fn pins(&self) -> &Path {
        self.pins.path()
    }

    fn socket(&self) -> PathBuf {
        self.file("edge.sock")
    }
}

/// One of our own programs: in `EDGE_BIN`, or beside this one (tests are in a directory below).
pub fn binary(name: &str) -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let directories = match std::env::var_os("EDGE_BIN") {
        Some(directory) => vec![PathBuf::from(directory)],
        None => own.ancestors().skip(1).take(2).map(Path::to_owned).collect(),
    };
    let program = directories.iter().map(|directory| directory.join(name)).find(|program| program.exists());
    program.with_context(|| format!("{name} is not in {directories:?}: `cargo build -p edge-user --bins`"))
}
