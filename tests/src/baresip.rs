//! baresip, a user agent behind the edge: it ends calls itself, as a B2BUA does, and not only passes them on.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

use crate::netns::{Lab, SERVER, unique};
use crate::process::{LISTENS_WITHIN, Process, wait_until};

/// A baresip that takes every call for one user.
#[derive(Debug)]
pub struct Baresip {
    process: Process,
}

impl Baresip {
    /// Starts it on port 5060 of the edge's side, and waits until it listens.
    pub fn start(lab: &Lab, directory: &Path, user: &str) -> Result<Self> {
        let own = directory.join(unique("baresip"));
        fs::create_dir(&own)?;
        // Unpacked by `cargo xtask setup --tests`, or installed.
        let unpacked = std::env::var_os("EDGE_PEERS").map(|peers| PathBuf::from(peers).join("baresip"));
        let unpacked = unpacked.filter(|root| root.join("usr/bin/baresip").exists());
        let root = unpacked.clone().unwrap_or_else(|| PathBuf::from("/"));
        let modules = root.join("usr/lib/baresip/modules");
        fs::write(
            own.join("config"),
            format!(
                "sip_listen {SERVER}:5060\nmodule_path {}\nmodule g711.so\nmodule_app account.so\nmodule_app menu.so\n\
                 call_max_calls 500\n",
                modules.display()
            ),
        )?;
        let account = format!("<sip:{user}@{SERVER};transport=tcp>;regint=0;answermode=auto\n");
        fs::write(own.join("accounts"), account)?;
        fs::write(own.join("contacts"), "")?;
        let mut command = match &unpacked {
            Some(root) => {
                let mut command = lab.edge.command(root.join("usr/bin/baresip"));
                command.env("LD_LIBRARY_PATH", root.join("usr/lib/x86_64-linux-gnu"));
                command
            }
            None => lab.edge.command("baresip"),
        };
        let mut process = Process::start("baresip", command.arg("-f").arg(&own), &own.join("log"))?;
        wait_until("baresip listens", LISTENS_WITHIN, || {
            process.listens_on(5060) || matches!(process.ended(), Ok(Some(_)))
        });
        ensure!(process.ended()?.is_none(), "baresip ended:\n{}", process.said());
        Ok(Self { process })
    }

    /// What it said.
    #[must_use]
    pub fn said(&self) -> String {
        self.process.said()
    }
}
