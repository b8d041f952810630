//! A lab with a bad network in it, on the customers' side of the edge or on the servers'.

use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::mangler::{Mangled, Mangler};
use crate::netns::{EDGE_INTERFACE, Lab, Namespace, PEER_INTERFACE, SERVER, unique, wire};

/// The edge's end of the wire to the servers, where nothing is attached.
const INNER_INTERFACE: &str = "inner0";
/// The servers' end.
const SERVER_INTERFACE: &str = "server0";

/// A [`Lab`] whose frames cross a [`Mangler`].
#[derive(Debug)]
pub struct Rough {
    mangler: Mangler,
    _middle: Namespace,
    /// The rest of it.
    pub lab: Lab,
}

impl Rough {
    /// Customers reach the edge over the bad network: what it loses or changes in order, the edge sees so.
    pub fn before_the_edge(seed: u64) -> Result<Self> {
        let lab = Lab::unplugged()?;
        let middle = Namespace::make(unique("middle"))?;
        wire((&lab.peer, PEER_INTERFACE), (&middle, "left"))?;
        wire((&lab.edge, EDGE_INTERFACE), (&middle, "right"))?;
        lab.address()?;
        plain(&lab.peer, PEER_INTERFACE)?;
        plain(&lab.edge, EDGE_INTERFACE)?;
        Self::join(lab, middle, seed)
    }

    /// Customers reach the edge as they are, and the edge is a router whose way to the servers is the bad network: it sees
    /// again what the servers have not got, and their answers late, twice, and out of order.
    pub fn behind_the_edge(seed: u64) -> Result<Self> {
        let mut lab = Lab::unplugged()?;
        let (middle, behind) = (Namespace::make(unique("middle"))?, Namespace::make(unique("behind"))?);
        lab.plug()?;
        wire((&lab.edge, INNER_INTERFACE), (&middle, "left"))?;
        wire((&behind, SERVER_INTERFACE), (&middle, "right"))?;
        let on =
            |namespace: &Namespace, arguments: &str| namespace.ip(&arguments.split(' ').collect::<Vec<_>>());
        // The edge's own first: an interface without any address loses its routes.
        on(&lab.edge, &format!("address add 192.168.1.1/24 dev {EDGE_INTERFACE}"))?;
        on(&lab.edge, &format!("address del {SERVER}/24 dev {EDGE_INTERFACE}"))?;
        on(&lab.edge, &format!("address add 192.168.2.1/24 dev {INNER_INTERFACE}"))?;
        on(&lab.edge, &format!("link set {INNER_INTERFACE} up"))?;
        on(&lab.edge, &format!("route add {SERVER}/32 via 192.168.2.2"))?;
        on(&lab.peer, &format!("address add 192.168.1.2/24 dev {PEER_INTERFACE}"))?;
        on(&lab.peer, &format!("route add {SERVER}/32 via 192.168.1.1"))?;
        on(&behind, &format!("address add 192.168.2.2/24 dev {SERVER_INTERFACE}"))?;
        on(&behind, &format!("address add {SERVER}/32 dev {SERVER_INTERFACE}"))?;
        on(&behind, &format!("link set {SERVER_INTERFACE} up"))?;
        on(&behind, "route add default via 192.168.2.1")?;
        lab.edge.enter(|| fs::write("/proc/sys/net/ipv4/ip_forward", "1").context("cannot be a router"))?;
        for (namespace, interface) in [
            (&lab.peer, PEER_INTERFACE),
            (&lab.edge, EDGE_INTERFACE),
            (&lab.edge, INNER_INTERFACE),
            (&behind, SERVER_INTERFACE),
        ] {
            plain(namespace, interface)?;
        }
        lab.behind = Some(behind);
        Self::join(lab, middle, seed)
    }

    fn join(lab: Lab, middle: Namespace, seed: u64) -> Result<Self> {
        for end in ["left", "right"] {
            middle.ip(&["link", "set", end, "up"])?;
        }
        let mangler = Mangler::join(&middle, ["left", "right"], seed)?;
        Ok(Self { mangler, _middle: middle, lab })
    }

    /// What became of frames, at the end.
    pub fn stop(self) -> Result<Mangled> {
        self.mangler.stop()
    }
}

/// Makes an interface send what a wire would carry, and take it as it comes: checksums filled in, segments cut and not put
/// together again.
pub fn plain(namespace: &Namespace, interface: &str) -> Result<()> {
    let mut command: Command = namespace.command("ethtool");
    let output =
        command.args(["-K", interface, "tx", "off", "tso", "off", "gso", "off", "gro", "off"]).output()?;
    ensure!(output.status.success(), "ethtool: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}
