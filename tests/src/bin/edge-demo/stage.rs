//! Two namespaces, a veth between them, a directory for files and one for pins; all of it removed when dropped.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use edge_tests::janitor::Pins;
use edge_tests::kernel::Mirror;
use edge_tests::netns::Namespace;
use tempfile::TempDir;

/// The server's address.
pub(crate) const SERVER: &str = "203.0.113.1";
/// The client's address: one of the sources of account `acme` in config/demo.toml.
pub(crate) const CLIENT: &str = "203.0.113.10";
/// The server's end of the veth, where `edged` attaches.
pub(crate) const SERVER_INTERFACE: &str = "edge-srv";
/// Where the webhook receiver listens, inside the server's namespace.
pub(crate) const RECEIVER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);
const CLIENT_INTERFACE: &str = "edge-cli";

/// Where the demo takes place.
pub(crate) struct Stage {
    /// Where SIPp and the SMPP client are.
    pub(crate) client: Namespace,
    /// Where `edged` and the servers are.
    pub(crate) server: Namespace,
    /// Configuration, database, socket, logs.
    files: TempDir,
    /// So that the client hears what Edge answers.
    _mirror: Mirror,
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
        let pins = Pins::new(&format!("edge-demo-{id}"))?;

        let veth = ["type", "veth", "peer", "name", SERVER_INTERFACE, "netns", server.name()];
        client.ip(&[&["link", "add", CLIENT_INTERFACE], &veth[..]].concat())?;
        for (namespace, interface, address) in
            [(&client, CLIENT_INTERFACE, CLIENT), (&server, SERVER_INTERFACE, SERVER)]
        {
            namespace.ip(&["address", "add", &format!("{address}/24"), "dev", interface])?;
            namespace.ip(&["link", "set", interface, "up"])?;
        }
        let mirror = Mirror::hold(&client, CLIENT_INTERFACE)?;
        Ok(Self { client, server, files, _mirror: mirror, pins })
    }

    /// A file of this run.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    /// Where `edged` pins.
    pub(crate) fn pins(&self) -> &Path {
        self.pins.path()
    }
}
