//! Kamailio, the proxy behind the edge.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::netns::{Lab, unique};
use crate::process::{Process, wait_until};

/// Kamailio with `peers/kamailio.cfg` on the edge's side.
#[derive(Debug)]
pub struct Kamailio {
    process: Process,
}

impl Kamailio {
    /// Starts it and waits until it listens.
    pub fn start(lab: &Lab, directory: &Path) -> Result<Self> {
        let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/kamailio.cfg");
        let own = directory.join(unique("kamailio"));
        std::fs::create_dir(&own)?;
        // Unpacked by `cargo xtask setup --tests`, or installed.
        let unpacked = std::env::var_os("EDGE_PEERS").map(|peers| PathBuf::from(peers).join("kamailio"));
        let unpacked = unpacked.filter(|root| root.join("usr/sbin/kamailio").exists());
        let mut command = match &unpacked {
            Some(root) => lab.edge.command(root.join("usr/sbin/kamailio")),
            None => lab.edge.command("kamailio"),
        };
        if let Some(root) = &unpacked {
            command.arg("-L").arg(root.join("usr/lib/x86_64-linux-gnu/kamailio/modules"));
        }
        // In the foreground: `-DD` keeps the one process that ends the others when it ends.
        command
            .arg("-f")
            .arg(config)
            .args(["-DD", "-m", "64", "-M", "8", "-Y"])
            .arg(&own)
            .arg("-w")
            .arg(&own);
        let mut process = Process::start("Kamailio", &mut command, &own.join("log"))?;
        wait_until("Kamailio listens", Duration::from_secs(10), || {
            process.listens_on_udp(5060) || matches!(process.ended(), Ok(Some(_)))
        });
        ensure!(process.ended()?.is_none(), "Kamailio ended:\n{}", process.said());
        Ok(Self { process })
    }

    /// What it said.
    #[must_use]
    pub fn said(&self) -> String {
        self.process.said()
    }
}
