//! Kamailio, the proxy behind the edge.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};

use crate::netns::unique;
use crate::process::{LISTENS_WITHIN, Process, wait_until};

/// Kamailio, with one of the configurations in `peers/`.
#[derive(Debug)]
pub struct Kamailio {
    process: Process,
}

impl Kamailio {
    /// Starts it with `peers/CONFIG` and further options, and waits until it listens. `under` makes the command of a
    /// program: where it is to run.
    pub fn start(
        under: impl FnOnce(&Path) -> Command,
        config: &str,
        options: &[&str],
        directory: &Path,
    ) -> Result<Self> {
        let own = directory.join(unique("kamailio"));
        std::fs::create_dir(&own)?;
        // Unpacked by `cargo xtask setup --tests`, or installed.
        let unpacked = std::env::var_os("EDGE_PEERS").map(|peers| PathBuf::from(peers).join("kamailio"));
        let unpacked = unpacked.filter(|root| root.join("usr/sbin/kamailio").exists());
        let mut command = match &unpacked {
            Some(root) => {
                let libraries = root.join("usr/lib/x86_64-linux-gnu/kamailio");
                let mut command = under(&root.join("usr/sbin/kamailio"));
                command.arg("-L").arg(libraries.join("modules")).env("LD_LIBRARY_PATH", libraries);
                command
            }
            None => under(Path::new("kamailio")),
        };
        // In the foreground: `-DD` keeps the one process that ends the others when it ends.
        command.arg("-f").arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("peers").join(config));
        command.args(["-DD", "-m", "64", "-M", "8"]).args(options).arg("-Y").arg(&own).arg("-w").arg(&own);
        let mut process = Process::start("Kamailio", &mut command, &own.join("log"))?;
        wait_until("Kamailio listens", LISTENS_WITHIN, || {
            process.listens_on(5060) || matches!(process.ended(), Ok(Some(_)))
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
