//! Who refuses, and how each is set up in the namespace of the calling thread.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use edge_tests::kamailio::Kamailio;
use edge_tests::netns::Namespace;
use tempfile::TempDir;

use crate::processor;

/// Where Edge, or who refuses in its place, receives.
pub(crate) const EDGE: &str = "edge0";
/// Where the frames come from.
pub(crate) const SENDER: &str = "peer0";
/// Of [`EDGE`].
pub(crate) const EDGE_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

/// One row of the report.
#[derive(Debug)]
pub(crate) struct Refuser {
    /// Stable.
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    /// The row of the packet table that is sent.
    pub(crate) packet: &'static str,
    pub(crate) is_edge: bool,
    pub(crate) answers: bool,
    kind: Kind,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    /// In XDP.
    Edge,
    /// A base chain of nftables.
    Nftables(&'static str),
    /// A table and chain of iptables, with xtables' own code.
    Iptables(&'static str, &'static str),
    Kamailio(&'static [&'static str]),
}

/// In the order of the report.
pub(crate) const REFUSERS: &[Refuser] = &[
    edge("edge_flood_drop", "over the limit on packets, before the payload is read", "flood_drop", false),
    edge("edge_drop", "parsed, over the limit on calls, dropped", "sip_over_limit", false),
    edge("edge_503", "parsed, over the limit on calls, answered", "sip_refused_503", true),
    peer(
        "nftables_ingress",
        "netdev ingress: INVITE, 10/s a source, drop",
        Kind::Nftables("netdev:type filter hook ingress device edge0 priority 0"),
    ),
    peer("nftables_input", "inet input, the same", Kind::Nftables("inet:type filter hook input priority 0")),
    peer("iptables_raw", "raw PREROUTING: string, hashlimit, DROP", Kind::Iptables("raw", "PREROUTING")),
    peer("iptables_input", "filter INPUT, the same", Kind::Iptables("filter", "INPUT")),
    proxy("kamailio_503_fm", "pipelimit and sl_send_reply, fast malloc", &["-x", "fm", "-X", "fm"]),
    proxy("kamailio_503", "pipelimit and sl_send_reply, Debian's default", &[]),
];

const fn edge(name: &'static str, what: &'static str, packet: &'static str, answers: bool) -> Refuser {
    Refuser { name, what, packet, is_edge: true, answers, kind: Kind::Edge }
}

const fn peer(name: &'static str, what: &'static str, kind: Kind) -> Refuser {
    Refuser { name, what, packet: "sip_refused_503", is_edge: false, answers: false, kind }
}

const fn proxy(name: &'static str, what: &'static str, options: &'static [&'static str]) -> Refuser {
    Refuser { answers: true, ..peer(name, what, Kind::Kamailio(options)) }
}

/// Both ends of the wire in one namespace: sources are no addresses of it, and have neighbours that are known.
pub(crate) fn plug(namespace: &Namespace) -> Result<()> {
    for arguments in [
        "link add edge0 address 02:00:00:00:00:01 type veth peer name peer0 address 02:00:00:00:00:02",
        "address add 198.51.100.10/24 dev edge0",
        "link set edge0 up",
        "link set peer0 up",
        "route add 203.0.113.0/24 dev edge0",
        "neighbour add 203.0.113.7 lladdr 02:00:00:00:00:02 dev edge0 nud permanent",
    ] {
        namespace.ip(&arguments.split(' ').collect::<Vec<_>>())?;
    }
    Ok(())
}

/// Frames that have come back to the sender.
pub(crate) fn answers() -> Result<u64> {
    let said = read("ip", &["-json", "-statistics", "link", "show", SENDER])?;
    let links: serde_json::Value = serde_json::from_str(&said).context("ip prints JSON")?;
    links[0]["stats64"]["rx"]["packets"].as_u64().context("ip tells the packets received")
}

/// A refuser at work; dropping it takes it away.
#[derive(Debug)]
pub(crate) struct Running {
    kind: Kind,
    proxy: Option<(Kamailio, TempDir)>,
}

impl Refuser {
    /// Sets it up.
    pub(crate) fn start(&self) -> Result<Running> {
        let proxy = match self.kind {
            Kind::Edge => None,
            Kind::Nftables(hook) => {
                let (family, hook) = hook.split_once(':').context("a family and a hook")?;
                let ruleset = format!(
                    "table {family} edge_peers {{ set sources {{ type ipv4_addr; size 65536; flags dynamic,timeout; timeout 60s; }}\n\
                     chain refuse {{ {hook}; udp dport 5060 @ih,0,48 0x494e56495445 \
                     update @sources {{ ip saddr limit rate over 10/second burst 10 packets }} counter drop\n}}\n}}"
                );
                run("nft", &[&ruleset])?;
                None
            }
            Kind::Iptables(table, chain) => {
                let rule = "-p udp --dport 5060 -m string --algo bm --string INVITE -m hashlimit --hashlimit-above 10/sec \
                            --hashlimit-mode srcip --hashlimit-name edge -j DROP";
                let rule: Vec<&str> = rule.split_whitespace().collect();
                run("iptables-legacy", &[&["-w", "-t", table, "-A", chain], &rule[..]].concat())?;
                None
            }
            Kind::Kamailio(options) => Some(start_kamailio(options)?),
        };
        Ok(Running { kind: self.kind, proxy })
    }
}

impl Running {
    pub(crate) fn is_proxy(&self) -> bool {
        self.proxy.is_some()
    }

    /// What its own processes have used.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        if self.is_proxy() { processor::of_processes(|name| name == "kamailio") } else { Ok(Duration::ZERO) }
    }

    /// Packets that it says it dropped.
    pub(crate) fn refused(&self) -> Result<u64> {
        let said = match self.kind {
            Kind::Edge | Kind::Kamailio(_) => return Ok(0),
            Kind::Nftables(_) => read("nft", &["list", "ruleset"])?,
            Kind::Iptables(table, chain) => {
                let said = read("iptables-legacy", &["-w", "-t", table, "-nvxL", chain])?;
                let line = said.lines().nth(2).context("iptables lists the rule")?;
                return line.split_whitespace().next().context("a count")?.parse().context("iptables counts");
            }
        };
        let (_, count) = said.split_once("counter packets ").context("nft lists the counter")?;
        count.split(' ').next().context("a count")?.parse().context("nft counts")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let taken = match self.kind {
            Kind::Edge | Kind::Kamailio(_) => Ok(()),
            Kind::Nftables(_) => run("nft", &["flush ruleset"]),
            Kind::Iptables(table, chain) => run("iptables-legacy", &["-w", "-t", table, "-F", chain]),
        };
        if let Err(error) = taken {
            eprintln!("warning: {error:#}");
        }
    }
}

/// On the other processor.
fn start_kamailio(options: &[&str]) -> Result<(Kamailio, TempDir)> {
    let own = tempfile::tempdir()?;
    let pinned = |program: &Path| {
        let mut command = Command::new("taskset");
        command.args(["-c", "1"]).arg(program);
        command
    };
    Ok((Kamailio::start(pinned, "kamailio-503.cfg", options, own.path())?, own))
}

fn run(program: &str, arguments: &[&str]) -> Result<()> {
    read(program, arguments).map(drop)
}

fn read(program: &str, arguments: &[&str]) -> Result<String> {
    let output =
        Command::new(program).args(arguments).output().with_context(|| format!("cannot start {program}"))?;
    if !output.status.success() {
        bail!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
