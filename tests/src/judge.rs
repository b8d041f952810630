//! tcpdump listens, tshark judges: what Edge itself sends is looked at by a dissector that knows nothing of Edge.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;

use crate::netns::{Lab, PEER_INTERFACE, unique};
use crate::process::{Process, wait_until};

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
    /// Listens on the customers' side.
    pub fn start(lab: &Lab, directory: &Path) -> Result<Self> {
        let file = directory.join(unique("capture")).with_extension("pcap");
        let mut command = lab.peer.command("tcpdump");
        command.args(["-i", PEER_INTERFACE, "-U", "-Z", "root", "-B", "16384", "-w"]).arg(&file);
        command.args(["udp", "port", "5060"]);
        let mut process = Process::start("tcpdump", &mut command, &file.with_extension("log"))?;
        wait_until("tcpdump listens", Duration::from_secs(10), || {
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
        let mut tshark = Command::new("tshark");
        tshark.arg("-r").arg(&self.file).args([
            "-o",
            "udp.check_checksum:TRUE",
            "-o",
            "ip.check_checksum:TRUE",
        ]);
        tshark.args(["-Y", filter, "-T", "fields", "-e", "frame.number", "-e", "_ws.expert.message"]);
        let output = tshark.output().context("cannot start tshark")?;
        ensure!(output.status.success(), "tshark: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8_lossy(&output.stdout).lines().map(ToOwned::to_owned).collect())
    }

    /// Those of them that are malformed or that an expert warns of.
    pub fn doubtful(&self, filter: &str) -> Result<Vec<String>> {
        self.shown(&format!("({filter}) && (_ws.malformed || _ws.expert.severity >= {WARNING})"))
    }
}
