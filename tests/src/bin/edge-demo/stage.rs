//! Two namespaces, a veth between them, a directory for files and one for pins; all of it removed when dropped.

use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

/// The server's address.
pub(crate) const SERVER: &str = "203.0.113.1";
/// The client's address: one of the sources of account `acme` in config/demo.toml.
pub(crate) const CLIENT: &str = "203.0.113.10";
/// The server's end of the veth, where `edged` attaches.
pub(crate) const SERVER_INTERFACE: &str = "edge-srv";
const CLIENT_INTERFACE: &str = "edge-cli";
/// How long a process may take to end by itself before it is killed.
const PATIENCE: Duration = Duration::from_secs(4);

/// Where the demo takes place.
pub(crate) struct Stage {
    /// Where SIPp and the SMPP client are.
    pub(crate) client: Namespace,
    /// Where `edged` and the servers are.
    pub(crate) server: Namespace,
    /// Configuration, database, socket, logs.
    files: TempDir,
    /// Below bpffs.
    pins: Pins,
}

impl Stage {
    /// Makes everything; needs root.
    pub(crate) fn make() -> Result<Self> {
        if !nix::unistd::geteuid().is_root() {
            bail!("namespaces and XDP need root; `cargo xtask demo` asks sudo for it");
        }
        let id = std::process::id();
        let client = Namespace::make(format!("edge-demo-{id}-c"))?;
        let server = Namespace::make(format!("edge-demo-{id}-s"))?;
        let files =
            tempfile::Builder::new().prefix("edge-demo-").tempdir().context("cannot make a directory")?;
        let pins = Pins(PathBuf::from(format!("/sys/fs/bpf/edge-demo-{id}")));

        let (c, s) = (client.name.as_str(), server.name.as_str());
        ip(&[
            "-n",
            c,
            "link",
            "add",
            CLIENT_INTERFACE,
            "type",
            "veth",
            "peer",
            "name",
            SERVER_INTERFACE,
            "netns",
            s,
        ])?;
        for (namespace, interface, address) in [(c, CLIENT_INTERFACE, CLIENT), (s, SERVER_INTERFACE, SERVER)]
        {
            ip(&["-n", namespace, "address", "add", &format!("{address}/24"), "dev", interface])?;
            ip(&["-n", namespace, "link", "set", interface, "up"])?;
            ip(&["-n", namespace, "link", "set", "lo", "up"])?;
        }
        Ok(Self { client, server, files, pins })
    }

    /// A file of this run.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    /// Where `edged` pins.
    pub(crate) fn pins(&self) -> &Path {
        &self.pins.0
    }
}

/// A network namespace that exists as long as this value.
pub(crate) struct Namespace {
    name: String,
}

impl Namespace {
    fn make(name: String) -> Result<Self> {
        ip(&["netns", "add", &name])?;
        Ok(Self { name })
    }

    /// A command that will run inside. `nsenter` instead of `ip netns exec`, which would hide bpffs.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.path().display())).arg("--").arg(program);
        command
    }

    /// A listening socket inside; it stays there whoever uses it.
    pub(crate) fn listen(&self, address: SocketAddr) -> Result<TcpListener> {
        let handle =
            File::open(self.path()).with_context(|| format!("cannot open namespace {}", self.name))?;
        // A thread of its own enters the namespace, and ends there.
        let listener = thread::spawn(move || -> Result<TcpListener> {
            setns(handle, CloneFlags::CLONE_NEWNET).context("cannot enter the namespace")?;
            TcpListener::bind(address).with_context(|| format!("cannot listen on {address}"))
        });
        listener.join().map_err(|_| anyhow!("the thread that listens panicked"))?
    }

    fn path(&self) -> PathBuf {
        Path::new("/run/netns").join(&self.name)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if let Err(error) = ip(&["netns", "delete", &self.name]) {
            eprintln!("warning: {error:#}");
        }
    }
}

/// A directory in bpffs that is removed with all pins in it.
struct Pins(PathBuf);

impl Drop for Pins {
    fn drop(&mut self) {
        if self.0.exists()
            && let Err(error) = std::fs::remove_dir_all(&self.0)
        {
            eprintln!("warning: cannot remove {}: {error}", self.0.display());
        }
    }
}

/// A process that ends with this value: asked first, then killed.
pub(crate) struct Process {
    name: &'static str,
    child: Child,
}

impl Process {
    /// Starts it, its output going to a file.
    pub(crate) fn start(name: &'static str, command: &mut Command, log: &Path) -> Result<Self> {
        let open = || File::create(log).with_context(|| format!("cannot write {}", log.display()));
        let output = open()?;
        let errors = output.try_clone().context("cannot duplicate a file")?;
        let child = command
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        Ok(Self { name, child })
    }

    /// Whether it has ended.
    pub(crate) fn has_ended(&mut self) -> Result<bool> {
        Ok(self.child.try_wait().with_context(|| format!("cannot wait for {}", self.name))?.is_some())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let Ok(pid) = i32::try_from(self.child.id()) else { return };
        if !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        let until = Instant::now() + PATIENCE;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < until {
            thread::sleep(Duration::from_millis(50));
        }
        if matches!(self.child.try_wait(), Ok(None)) {
            eprintln!("warning: {} did not end by itself", self.name);
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

fn ip(arguments: &[&str]) -> Result<()> {
    let output = Command::new("ip").args(arguments).output().context("cannot start ip (package iproute2)")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("`ip {}` failed: {}", arguments.join(" "), said.trim());
    }
    Ok(())
}
