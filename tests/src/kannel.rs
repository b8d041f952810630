//! Kannel, the gateway, as an SMPP client, and where its server is.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::netns::{Lab, SERVER, unique};
use crate::process::{Process, wait_until};

const READY_WITHIN: Duration = Duration::from_secs(20);

/// Kannel's bearerbox and smsbox with `peers/kannel.conf` on the customers' side.
#[derive(Debug)]
pub struct Kannel {
    // In this order: the smsbox ends when its bearerbox does, and says so.
    smsbox: Process,
    bearerbox: Process,
    own: PathBuf,
}

/// What it wrote of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KannelCounts {
    /// Sent, and accepted by the server.
    pub sent: u64,
    /// Answered `ESME_RTHROTTLED`; each is sent again.
    pub throttled: u64,
    /// Answered anything else.
    pub failed: u64,
}

impl Kannel {
    /// Starts it, and waits until it is bound and takes messages.
    pub fn start(lab: &Lab, directory: &Path, source: &str) -> Result<Self> {
        let own = directory.join(unique("kannel"));
        fs::create_dir(&own)?;
        let text = include_str!("../peers/kannel.conf");
        let text = text.replace("DIRECTORY", &own.to_string_lossy()).replace("SERVER", SERVER);
        let config = own.join("kannel.conf");
        fs::write(&config, text.replace("SOURCE", source))?;
        let start = |name: &str| {
            let mut command = lab.peer.command(program(name));
            Process::start(name, command.arg(&config), &own.join(format!("{name}.out")))
        };
        let mut bearerbox = start("bearerbox")?;
        let connects = || TcpStream::connect("127.0.0.1:13001").map(drop).map_err(Into::into);
        wait_until("bearerbox listens", READY_WITHIN, || {
            lab.peer.enter(connects).is_ok() || matches!(bearerbox.ended(), Ok(Some(_)))
        });
        ensure!(bearerbox.ended()?.is_none(), "bearerbox ended:\n{}", bearerbox.said());
        let kannel = Self { smsbox: start("smsbox")?, bearerbox, own };
        wait_until("Kannel is bound", READY_WITHIN, || {
            let status = get(lab, 13000, "/status.txt?password=secret").unwrap_or_default();
            status.contains("(online") && get(lab, 13013, "/").is_ok()
        });
        Ok(kannel)
    }

    /// Hands it messages, which it queues and sends as fast as it may.
    pub fn send(&self, lab: &Lab, count: u32) -> Result<()> {
        for _ in 0..count {
            let path = "/cgi-bin/sendsms?username=acme&password=secret&from=acme&to=441632960123&text=hello";
            let said = get(lab, 13013, path)?;
            ensure!(said.contains("202 Accepted"), "the smsbox said {said}");
        }
        Ok(())
    }

    /// What it has logged so far.
    pub fn counts(&self) -> Result<KannelCounts> {
        let sent = fs::read_to_string(self.own.join("access.log")).context("Kannel's access log")?;
        let log = fs::read_to_string(self.own.join("bearerbox.log")).context("Kannel's log")?;
        let lines = |text: &str, word: &str| text.lines().filter(|line| line.contains(word)).count() as u64;
        let refused = lines(&log, "SMSC returned error code");
        let throttled = lines(&log, "SMSC returned error code 0x00000058");
        Ok(KannelCounts { sent: lines(&sent, "Sent SMS"), throttled, failed: refused - throttled })
    }

    /// What its programs said.
    #[must_use]
    pub fn said(&self) -> String {
        let log = fs::read_to_string(self.own.join("bearerbox.log")).unwrap_or_default();
        format!("{}\n{}\n{log}", self.bearerbox.said(), self.smsbox.said())
    }
}

/// Its SMPP server, which Kannel's own checks use.
pub(crate) fn server_program() -> PathBuf {
    const INSTALLED: &str = "usr/lib/kannel/test/drive_smpp";
    unpacked(INSTALLED).unwrap_or_else(|| Path::new("/").join(INSTALLED))
}

/// Unpacked by `cargo xtask setup --tests`, or installed.
fn program(name: &str) -> PathBuf {
    unpacked(&format!("usr/sbin/{name}")).unwrap_or_else(|| PathBuf::from(name))
}

fn unpacked(path: &str) -> Option<PathBuf> {
    let peers = std::env::var_os("EDGE_PEERS")?;
    Some(PathBuf::from(peers).join("kannel").join(path)).filter(|program| program.exists())
}

fn get(lab: &Lab, port: u16, path: &str) -> Result<String> {
    let request = format!("GET {path} HTTP/1.0\r\nHost: kannel\r\n\r\n");
    lab.peer.enter(move || {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(READY_WITHIN))?;
        stream.write_all(request.as_bytes())?;
        let mut said = String::new();
        stream.read_to_string(&mut said)?;
        Ok(said)
    })
}
