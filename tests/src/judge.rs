//! tcpdump listens, tshark judges: what Edge itself sends is looked at by a dissector that knows nothing of Edge.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::signal::Signal;

use crate::netns::{EDGE_INTERFACE, Lab, Namespace, PEER_INTERFACE, unique};
use crate::process::{LISTENS_WITHIN, Process, wait_until};

/// tshark's severities: of these on, an expert's remark is a warning or an error.
const WARNING: u32 = 0x60_0000;

/// What comes to the customers, being written to a file.
#[derive(Debug)]
pub struct Capture {
    process: Process,
    file: PathBuf,
}

/// What was written.
#[derive(Debug)]
pub struct Captured {
    file: PathBuf,
}

impl Capture {
    /// Listens on the customers' side to SIP.
    pub fn start(lab: &Lab, directory: &Path) -> Result<Self> {
        Self::listen(&lab.peer, PEER_INTERFACE, "udp port 5060", directory)
    }

    /// Listens on the edge's side to what of SMPP the edge has let through.
    pub fn of_passed_smpp(lab: &Lab, directory: &Path) -> Result<Self> {
        Self::listen(&lab.edge, EDGE_INTERFACE, "tcp dst port 2775", directory)
    }

    fn listen(namespace: &Namespace, interface: &str, filter: &str, directory: &Path) -> Result<Self> {
        let file = directory.join(unique("capture")).with_extension("pcap");
        let mut command = namespace.command("tcpdump");
        // Without delay: what waits in a block of the kernel's is lost when it ends.
        command
            .args(["-i", interface, "--immediate-mode", "-U", "-Z", "root", "-B", "16384", "-w"])
            .arg(&file);
        command.args(filter.split(' '));
        let mut process = Process::start("tcpdump", &mut command, &file.with_extension("log"))?;
        wait_until("tcpdump listens", LISTENS_WITHIN, || {
            process.said().contains("listening on") || matches!(process.ended(), Ok(Some(_)))
        });
        ensure!(process.ended()?.is_none(), "tcpdump ended:\n{}", process.said());
        Ok(Self { process, file })
    }

    /// Ends it. A capture with holes is none.
    pub fn stop(mut self) -> Result<Captured> {
        self.process.end(Signal::SIGINT)?;
        let said = self.process.said();
        ensure!(said.contains("0 packets dropped by kernel"), "tcpdump lost packets:\n{said}");
        Ok(Captured { file: self.file })
    }
}

impl Captured {
    /// Packets that the filter shows: number and what the experts say of each.
    pub fn shown(&self, filter: &str) -> Result<Vec<String>> {
        self.fields(filter, &["frame.number", "_ws.expert.message"])
    }

    /// When each packet that the filter shows came, in seconds by the kernel's clock.
    pub fn times(&self, filter: &str) -> Result<Vec<f64>> {
        let times = self.fields(filter, &["frame.time_epoch"])?;
        times.iter().map(|time| time.parse().with_context(|| format!("no time: {time:?}"))).collect()
    }

    /// When octets of a TCP connection, the only one, came that had not come before, and how many.
    pub fn octets(&self) -> Result<Vec<(f64, usize)>> {
        let (mut came, mut seen) = (Vec::new(), Vec::new());
        for line in self.fields("tcp.len > 0", &["frame.time_epoch", "tcp.seq", "tcp.len"])? {
            let words: Vec<&str> = line.split('\t').collect();
            let [time, from, length] = words[..] else { bail!("not three fields: {line:?}") };
            let (from, length): (usize, usize) = (from.parse()?, length.parse()?);
            seen.resize(seen.len().max(from + length), false);
            let octets = &mut seen[from..from + length];
            came.push((time.parse()?, octets.iter().filter(|is_seen| !**is_seen).count()));
            octets.fill(true);
        }
        Ok(came)
    }

    fn fields(&self, filter: &str, fields: &[&str]) -> Result<Vec<String>> {
        let mut tshark = Command::new("tshark");
        tshark.arg("-r").arg(&self.file).args([
            "-o",
            "udp.check_checksum:TRUE",
            "-o",
            "ip.check_checksum:TRUE",
        ]);
        tshark.args(["-Y", filter, "-T", "fields"]);
        tshark.args(fields.iter().flat_map(|field| ["-e", field]));
        let output = tshark.output().context("cannot start tshark")?;
        ensure!(output.status.success(), "tshark: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8_lossy(&output.stdout).lines().map(ToOwned::to_owned).collect())
    }

    /// Those of them that are malformed or that an expert warns of.
    pub fn doubtful(&self, filter: &str) -> Result<Vec<String>> {
        self.shown(&format!("({filter}) && (_ws.malformed || _ws.expert.severity >= {WARNING})"))
    }
}
