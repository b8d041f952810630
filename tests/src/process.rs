//! Processes that end with their value, and waiting that says what for.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How long a server may take to listen on a busy machine.
pub const LISTENS_WITHIN: Duration = Duration::from_secs(30);
/// How long a process may take to end by itself.
const PATIENCE: Duration = Duration::from_secs(30);
/// The same where nobody asks how it ended.
const BRIEFLY: Duration = Duration::from_secs(5);

/// Waits until `predicate` holds.
///
/// # Panics
/// When it does not within `timeout`; the message says what was waited for.
pub fn wait_until(what: &str, timeout: Duration, mut predicate: impl FnMut() -> bool) {
    let until = Instant::now() + timeout;
    while !predicate() {
        assert!(Instant::now() < until, "not within {timeout:?}: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Asserts that something takes no longer than `most`: a busy machine makes it late, never early, so the shortest of three
/// times counts.
///
/// # Panics
/// When it took longer each time.
pub fn assert_within(what: &str, most: Duration, mut measure: impl FnMut() -> Duration) {
    let mut took = Vec::new();
    while took.iter().all(|time| *time > most) {
        assert!(took.len() < 3, "{what} took {took:?}");
        took.push(measure());
    }
}

/// A process with its output in a file; killed by its number when dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts it.
    pub fn start(name: &str, command: &mut Command, log: &Path) -> Result<Self> {
        let output = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        let errors = output.try_clone().context("cannot duplicate a file")?;
        let child = command
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        Ok(Self { name: name.to_owned(), child, log: log.to_owned() })
    }

    /// Its number.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.child.id()).context("a process number")?;
        kill(Pid::from_raw(pid), signal).with_context(|| format!("cannot signal {}", self.name))
    }

    /// Its exit status, if it has ended.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait().with_context(|| format!("cannot wait for {}", self.name))
    }

    /// Whether a port of UDP or TCP is bound in its namespace.
    #[must_use]
    pub fn listens_on(&self, port: u16) -> bool {
        ["udp", "udp6", "tcp", "tcp6"].iter().any(|family| {
            let table = fs::read_to_string(format!("/proc/{}/net/{family}", self.child.id()));
            table.unwrap_or_default().contains(&format!(":{port:04X} "))
        })
    }

    /// Waits for its end.
    pub fn wait(&mut self, timeout: Duration) -> Result<ExitStatus> {
        let until = Instant::now() + timeout;
        loop {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            if Instant::now() > until {
                bail!("{} did not end within {timeout:?}; it said:\n{}", self.name, self.said());
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Ends it with a signal and waits.
    pub fn end(&mut self, signal: Signal) -> Result<ExitStatus> {
        self.signal(signal)?;
        self.wait(PATIENCE)
    }

    /// What it wrote so far.
    #[must_use]
    pub fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.ended(), Ok(Some(_))) {
            return;
        }
        if self.signal(Signal::SIGTERM).and_then(|()| self.wait(BRIEFLY)).is_err() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        if thread::panicking() {
            eprintln!("--- {} said:\n{}", self.name, self.said());
        }
    }
}
