//! Network namespaces and the veth between them: made for one test, gone with it, whatever happens.

use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use nix::sched::{CloneFlags, setns};

use crate::janitor::Janitor;

/// The server's end of the veth, where `edged` attaches.
pub const EDGE_INTERFACE: &str = "edge0";
/// The customers' end.
pub const PEER_INTERFACE: &str = "peer0";
/// Where the protected servers listen.
pub const SERVER: &str = "198.51.100.10";
/// The same, of IPv6.
pub const SERVER_V6: &str = "2001:db8:0:ff::10";
/// A source of account `acme`.
pub const ACME: &str = "203.0.113.7";
/// Another source of account `acme`.
pub const ACME_OTHER: &str = "203.0.113.8";
/// A source of account `acme`, of IPv6.
pub const ACME_V6: &str = "2001:db8:1:7::7";
/// A source that no account has.
pub const STRANGER: &str = "192.0.2.7";

static MADE: AtomicU32 = AtomicU32::new(0);

/// A name that no other test and no other run uses.
#[must_use]
pub fn unique(what: &str) -> String {
    format!("edge-test-{what}-{}-{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed))
}

/// A network namespace that exists as long as this value; with it end the processes in it.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    _janitor: Janitor,
}

impl Namespace {
    /// Makes it, with its loopback up.
    pub fn make(name: String) -> Result<Self> {
        ip(&["netns", "add", &name])?;
        let script = r#"ip netns pids "$1" | xargs -r kill -KILL; ip netns delete "$1""#;
        let namespace = Self { _janitor: Janitor::new(script, &name)?, name };
        namespace.ip(&["link", "set", "lo", "up"])?;
        Ok(namespace)
    }

    /// `ip` inside.
    pub fn ip(&self, arguments: &[&str]) -> Result<()> {
        ip(&[&["-n", &self.name], arguments].concat())
    }

    /// A command that will run inside. `nsenter`, not `ip netns exec`, which would hide bpffs.
    #[must_use]
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.path().display())).arg("--").arg(program.as_ref());
        command
    }

    /// Runs `work` on a thread of its own inside; sockets that it makes stay there.
    pub fn enter<T: Send + 'static>(&self, work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
        let handle = File::open(self.path()).with_context(|| format!("no namespace {}", self.name))?;
        let thread = thread::spawn(move || {
            setns(handle, CloneFlags::CLONE_NEWNET).context("cannot enter the namespace")?;
            work()
        });
        thread.join().map_err(|_| anyhow!("the thread in the namespace panicked"))?
    }

    /// A listening socket inside.
    pub fn listen(&self, address: SocketAddr) -> Result<TcpListener> {
        self.enter(move || TcpListener::bind(address).with_context(|| format!("cannot listen on {address}")))
    }

    /// Its name, as `ip netns` knows it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    fn path(&self) -> PathBuf {
        Path::new("/run/netns").join(&self.name)
    }
}

/// Customers on one side, `edged` and the servers on the other.
#[derive(Debug)]
pub struct Lab {
    /// Where `edged` and the servers are.
    pub edge: Namespace,
    /// Where the customers are: all sources of this module are addresses here.
    pub peer: Namespace,
    /// Where the servers are, if not beside `edged`.
    pub(crate) behind: Option<Namespace>,
}

impl Lab {
    /// Makes the namespaces and the veth; needs root.
    pub fn make() -> Result<Self> {
        let lab = Self::unplugged()?;
        lab.plug()?;
        Ok(lab)
    }

    /// The namespaces without anything between them.
    pub(crate) fn unplugged() -> Result<Self> {
        ensure!(
            nix::unistd::geteuid().is_root(),
            "namespaces and XDP need root: `cargo xtask test` asks for it, or run this as root"
        );
        let (edge, peer) = (Namespace::make(unique("edge"))?, Namespace::make(unique("peer"))?);
        Ok(Self { edge, peer, behind: None })
    }

    /// Where the servers are.
    #[must_use]
    pub fn server(&self) -> &Namespace {
        self.behind.as_ref().unwrap_or(&self.edge)
    }

    /// Makes the veth (again, after [`Self::unplug`]).
    pub fn plug(&self) -> Result<()> {
        wire((&self.edge, EDGE_INTERFACE), (&self.peer, PEER_INTERFACE))?;
        self.address()
    }

    /// Gives the ends their addresses.
    pub(crate) fn address(&self) -> Result<()> {
        self.edge.ip(&["address", "add", &format!("{SERVER}/24"), "dev", EDGE_INTERFACE])?;
        self.edge.ip(&["address", "add", &format!("{SERVER_V6}/64"), "dev", EDGE_INTERFACE, "nodad"])?;
        for address in ["198.51.100.1/24", "203.0.113.7/32", "203.0.113.8/32", "192.0.2.7/32"] {
            self.peer.ip(&["address", "add", address, "dev", PEER_INTERFACE])?;
        }
        for address in ["2001:db8:0:ff::1/64", "2001:db8:1:7::7/128"] {
            self.peer.ip(&["address", "add", address, "dev", PEER_INTERFACE, "nodad"])?;
        }
        self.edge.ip(&["link", "set", EDGE_INTERFACE, "up"])?;
        self.peer.ip(&["link", "set", PEER_INTERFACE, "up"])?;
        for prefix in ["203.0.113.0/24", "192.0.2.0/24", "2001:db8:1::/48"] {
            self.edge.ip(&["route", "add", prefix, "dev", EDGE_INTERFACE])?;
        }
        Ok(())
    }

    /// Takes the veth away, both ends.
    pub fn unplug(&self) -> Result<()> {
        self.edge.ip(&["link", "delete", EDGE_INTERFACE])
    }
}

/// A veth with its ends in two namespaces.
pub(crate) fn wire((one, end): (&Namespace, &str), (other, other_end): (&Namespace, &str)) -> Result<()> {
    one.ip(&["link", "add", end, "type", "veth", "peer", "name", other_end, "netns", &other.name])
}

/// `ip` that must succeed.
pub fn ip(arguments: &[&str]) -> Result<()> {
    let output = Command::new("ip").args(arguments).output().context("cannot start ip (package iproute2)")?;
    if !output.status.success() {
        bail!("`ip {}`: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
