//! The peers that tests and demo talk to (`SIPp`, Kamailio, baresip, `sipvicious`, Kannel, SMPP peers), and what judges them.

use std::{
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use super::{Need, all, apt, ensure_programs};
use crate::{command, workspace};

/// Runs the tests.
const NEXTEST_VERSION: &str = "0.9.143";

/// SMPP for Node.js, pinned.
const NODE_PACKAGE: &str = "smpp@0.5.1";

/// SMPP for Python (a client and a server), pinned.
const PYTHON_REQUIREMENTS: &str = include_str!("../../peers/requirements.txt");

/// What talks to Edge.
const TALKERS: [Need; 4] = [
    Need { program: "sipp", package: "sip-tester" },
    Need { program: "ip", package: "iproute2" },
    Need { program: "nsenter", package: "util-linux" },
    Need { program: "python3", package: "python3" },
];

/// What judges it, and what makes networks bad.
const JUDGES: [Need; 5] = [
    Need { program: "tshark", package: "tshark" },
    Need { program: "tcpdump", package: "tcpdump" },
    Need { program: "bpftool", package: "bpftool" },
    Need { program: "nft", package: "nftables" },
    Need { program: "ethtool", package: "ethtool" },
];

/// Makes sure of what talks to Edge: SIPp and the SMPP peers. It is all that the demo needs.
pub(crate) fn ensure_talkers() -> Result<()> {
    ensure_programs(&TALKERS)?;
    ensure_python_peers()
}

/// Makes sure of the peers, and of what judges them: tshark, tcpdump, bpftool, promtool, cargo-nextest.
pub(crate) fn ensure() -> Result<()> {
    // Python is among the programs.
    let programs = ensure_programs(&[&TALKERS[..], &JUDGES].concat()).and_then(|()| ensure_python_peers());
    all([
        programs,
        ensure_node_peers(),
        ensure_kamailio(),
        ensure_baresip(),
        ensure_kannel(),
        ensure_promtool(),
        ensure_nextest(),
    ])
}

/// Makes sure of those that the bench compares Edge with.
pub(crate) fn ensure_refusers() -> Result<()> {
    let programs = ensure_programs(&[
        Need { program: "nft", package: "nftables" },
        Need { program: "iptables-legacy", package: "iptables" },
        Need { program: "taskset", package: "util-linux" },
    ]);
    all([programs, ensure_kamailio(), ensure_node_peers()])
}

/// `PATH` with our own peers first, for what is started with them.
pub(crate) fn programs() -> Result<OsString> {
    let peers = workspace::peers();
    let own = [peers.join("venv/bin"), peers.join("bin")];
    let inherited = env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    let all = own.into_iter().chain(env::split_paths(&inherited)).chain(system);
    env::join_paths(all).context("PATH holds a name that cannot be in PATH")
}

/// The proxy behind the edge. Its package would start a server, so it is unpacked, not installed; its modules are
/// found beside it. The one library of its own that a plain machine lacks is installed.
fn ensure_kamailio() -> Result<()> {
    let own = workspace::peers().join("kamailio");
    if workspace::find_program("kamailio").is_some()
        || workspace::is_executable(&own.join("usr/sbin/kamailio"))
    {
        return Ok(());
    }
    if workspace::find_program("apt-get").is_none() {
        bail!("Kamailio is missing (Debian: the package kamailio)");
    }
    let libraries = apt::missing(&["libpcre3"]);
    if !libraries.is_empty() {
        apt::install(&libraries)?;
    }
    apt::unpack("kamailio", &own)
}

/// The user agent behind the edge, with the two libraries of its own. Unpacked, because its package depends on all that it could
/// play sound with, and is here to play none.
fn ensure_baresip() -> Result<()> {
    let own = workspace::peers().join("baresip");
    if workspace::find_program("baresip").is_some() || workspace::is_executable(&own.join("usr/bin/baresip"))
    {
        return Ok(());
    }
    if workspace::find_program("apt-get").is_none() {
        bail!("baresip is missing (Debian: the package baresip-core)");
    }
    let libraries = apt::missing(&["libssl3"]);
    if !libraries.is_empty() {
        apt::install(&libraries)?;
    }
    // The program last: it is what tells that all is there.
    ["libre0", "librem0", "baresip-core"].iter().try_for_each(|package| apt::unpack(package, &own))
}

/// The gateway before the edge and the server behind it (one of its own checks), for the same reason unpacked; the
/// libraries that they are linked with are installed.
fn ensure_kannel() -> Result<()> {
    const SERVER: &str = "usr/lib/kannel/test/drive_smpp";
    let own = workspace::peers().join("kannel");
    let has_gateway = workspace::find_program("bearerbox").is_some()
        || workspace::is_executable(&own.join("usr/sbin/bearerbox"));
    let has_server = [Path::new("/"), &own].iter().any(|root| workspace::is_executable(&root.join(SERVER)));
    if has_gateway && has_server {
        return Ok(());
    }
    if workspace::find_program("apt-get").is_none() {
        bail!("Kannel is missing (Debian: the packages kannel and kannel-extras)");
    }
    let libraries =
        apt::missing(&["libct4", "libhiredis0.14", "libmariadb3", "libpcre3", "libpq5", "libxml2"]);
    if !libraries.is_empty() {
        apt::install(&libraries)?;
    }
    if !has_gateway {
        apt::unpack("kannel", &own)?;
    }
    if !has_server {
        apt::unpack("kannel-extras", &own)?;
    }
    Ok(())
}

/// Prometheus's checker of metrics and rules. Its package would start a server, so it is unpacked, not installed.
fn ensure_promtool() -> Result<()> {
    let promtool = workspace::peers().join("bin/promtool");
    if workspace::find_program("promtool").is_some() || workspace::is_executable(&promtool) {
        return Ok(());
    }
    if workspace::find_program("apt-get").is_none() {
        bail!("promtool is missing; install Prometheus, it comes with it");
    }
    let unpacked = workspace::root().join("target/debs/prometheus-unpacked");
    apt::unpack("prometheus", &unpacked)?;
    fs::create_dir_all(workspace::peers().join("bin"))?;
    fs::copy(unpacked.join("usr/bin/promtool"), &promtool)
        .context("the package prometheus has no promtool")?;
    fs::remove_dir_all(&unpacked)?;
    Ok(())
}

/// SMPP for Node.js (a server), pinned.
fn ensure_node_peers() -> Result<()> {
    let directory = workspace::peers().join("node");
    let stamp = directory.join("edge-packages.txt");
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == NODE_PACKAGE) {
        return Ok(());
    }
    ensure_programs(&[Need { program: "node", package: "nodejs" }, Need { program: "npm", package: "npm" }])?;
    fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
    command::run(
        Command::new("npm")
            .args(["install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix"])
            .arg(&directory)
            .arg(NODE_PACKAGE),
    )?;
    fs::write(&stamp, NODE_PACKAGE).with_context(|| format!("cannot write {}", stamp.display()))
}

/// A virtual environment with the pinned packages; made again when the pins change.
fn ensure_python_peers() -> Result<()> {
    let directory = workspace::peers().join("venv");
    let stamp = directory.join("edge-requirements.txt");
    let is_current = fs::read_to_string(&stamp).is_ok_and(|installed| installed == PYTHON_REQUIREMENTS);
    if is_current && workspace::is_executable(&directory.join("bin/python")) {
        return Ok(());
    }
    let has_venv = command::read(Command::new("python3").args(["-c", "import ensurepip, venv"])).is_ok();
    if !has_venv {
        if !apt::can_install() {
            bail!("Python's venv is missing (Debian: `apt-get install python3-venv`)");
        }
        apt::install(&["python3-venv"])?;
    }
    command::run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&directory))?;
    let requirements = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/requirements.txt");
    command::run(
        Command::new(directory.join("bin/python"))
            .args([
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
                "--no-deps",
                "--requirement",
            ])
            .arg(requirements),
    )?;
    fs::write(&stamp, PYTHON_REQUIREMENTS).with_context(|| format!("cannot write {}", stamp.display()))
}

fn ensure_nextest() -> Result<()> {
    let in_cargo_bin = workspace::cargo_bin().map(|bin| bin.join("cargo-nextest"));
    if workspace::find_program("cargo-nextest").is_some()
        || in_cargo_bin.is_some_and(|path| workspace::is_executable(&path))
    {
        return Ok(());
    }
    command::run(command::cargo().args([
        "install",
        "--locked",
        "cargo-nextest",
        "--version",
        NEXTEST_VERSION,
    ]))
}
