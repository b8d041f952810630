//! Who plays: SIPp on both sides, an SMPP server and a client, and `edged` between them.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use edge_tests::edge::binary;
use edge_tests::process::Process;
use edge_tests::sink;
use serde::Deserialize;

use crate::stage::{CLIENT, RECEIVER, SERVER, SERVER_INTERFACE, Stage};

/// The client's local SIP port in the first phase; each phase has its own, since calls of the last one go on.
const FIRST_CLIENT_PORT: u16 = 5061;
const SIP_PORT: &str = "5060";
const SMPP_PORT: &str = "2775";
/// A refused INVITE is sent again that often (RFC 3261 17.1.1.2 allows six; the demo is short).
const INVITE_REPEATS: &str = "2";

/// What a peer says of itself.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub(crate) struct PeerCounts {
    /// Calls or messages that it began.
    pub(crate) sent: u64,
    /// Those that were answered with success.
    pub(crate) ok: u64,
    /// Those that were answered 503, or `ESME_RTHROTTLED`.
    pub(crate) refused: u64,
    /// From the first to the last, where it is known.
    #[serde(default)]
    pub(crate) secs: f64,
}

/// Starts the daemon on the server's interface with config/demo.toml, changed where this run differs.
pub(crate) fn edged(stage: &Stage) -> Result<Process> {
    let secret = stage.file("webhook.secret");
    fs::write(&secret, sink::SECRET).context("cannot write the webhook's secret")?;
    restrict(&secret)?;
    let config = stage.file("edge.toml");
    fs::write(&config, configuration(stage, &secret)?).context("cannot write the configuration")?;
    let mut command = stage.server.command(binary("edged")?);
    command.arg("--config").arg(&config);
    Process::start("edged", &mut command, &stage.file("edged.log"))
}

/// SIPp answering every call.
pub(crate) fn sip_server(stage: &Stage) -> Result<Process> {
    let mut command = stage.server.command("sipp");
    command.args(["-sn", "uas", "-i", SERVER, "-p", SIP_PORT, "-nostdin"]);
    command.current_dir(stage.file("."));
    Process::start("the SIP server", &mut command, &stage.file("uas.log"))
}

/// What a SIP client does.
pub(crate) struct Calling<'a> {
    /// Number of the phase.
    pub(crate) index: u16,
    /// Rate.
    pub(crate) calls_per_sec: u32,
    /// For how long.
    pub(crate) secs: u32,
    /// How long a call lasts.
    pub(crate) talk_ms: u32,
    /// Whom it calls, one number a line.
    pub(crate) numbers: &'a Path,
}

/// SIPp calling; returns the file of its figures too.
pub(crate) fn sip_client(stage: &Stage, calling: &Calling<'_>) -> Result<(Process, PathBuf)> {
    let Calling { index, calls_per_sec, secs, talk_ms, numbers } = calling;
    let scenario = stage.file("uac.xml");
    fs::write(&scenario, include_str!("peers/uac.xml")).context("cannot write SIPp's scenario")?;
    let list = numbers.with_extension("csv");
    let lines = fs::read_to_string(numbers).context("cannot read the numbers")?;
    let rows = lines.replace('\n', ";\n");
    fs::write(&list, format!("SEQUENTIAL\n{rows}")).context("cannot write SIPp's numbers")?;

    let figures = stage.file(&format!("uac-{index}.csv"));
    let mut command = stage.client.command("sipp");
    command.arg(format!("{SERVER}:{SIP_PORT}")).arg("-sf").arg(&scenario).arg("-inf").arg(&list);
    command.args(["-i", CLIENT, "-p", &(FIRST_CLIENT_PORT + *index).to_string(), "-nostdin"]);
    command.args(["-r", &calls_per_sec.to_string(), "-m", &(calls_per_sec * secs).to_string()]);
    command.args(["-d", &talk_ms.to_string()]);
    command.args(["-max_invite_retrans", INVITE_REPEATS, "-recv_timeout", "5000"]);
    command.args(["-trace_stat", "-fd", "1", "-stf"]).arg(&figures);
    command.current_dir(stage.file("."));
    let process = Process::start("a SIP client", &mut command, &stage.file(&format!("uac-{index}.log")))?;
    Ok((process, figures))
}

/// Calls and successful calls from SIPp's file of figures.
pub(crate) fn sip_counts(figures: &Path) -> Result<PeerCounts> {
    let text = fs::read_to_string(figures).with_context(|| format!("SIPp left no {}", figures.display()))?;
    let mut lines = text.lines();
    let (names, last) = (lines.next().unwrap_or_default(), lines.next_back().unwrap_or_default());
    let value = |name: &str| -> Result<u64> {
        let column = names.split(';').position(|column| column == name);
        let value = column.and_then(|column| last.split(';').nth(column)?.parse().ok());
        value.with_context(|| format!("SIPp's figures have no {name}"))
    };
    let (sent, finished, refused) =
        (value("TotalCallCreated")?, value("SuccessfulCall(C)")?, value("GenericCounter1(C)")?);
    // A call that is answered 503 went as its scenario says, too.
    Ok(PeerCounts { sent, ok: finished.saturating_sub(refused), refused, secs: 0.0 })
}

/// An SMPP server that accepts everything.
pub(crate) fn smpp_server(stage: &Stage) -> Result<Process> {
    let script = stage.file("smsc.py");
    fs::write(&script, include_str!("peers/smsc.py")).context("cannot write a script")?;
    let mut command = stage.server.command(python()?);
    command.arg(script).args([SERVER, SMPP_PORT]);
    Process::start("the SMPP server", &mut command, &stage.file("smsc.log"))
}

/// An SMPP client that stays bound through all phases: (seconds, messages per second, file of numbers) each.
pub(crate) fn smpp_client(stage: &Stage, phases: &[(u32, u32, PathBuf)]) -> Result<Process> {
    let script = stage.file("esme.py");
    fs::write(&script, include_str!("peers/esme.py")).context("cannot write a script")?;
    let mut command = stage.client.command(python()?);
    command.arg(script).args([SERVER, SMPP_PORT, "acme"]);
    for (secs, per_sec, numbers) in phases {
        command.arg(format!("{secs},{per_sec},{}", numbers.display()));
    }
    Process::start("the SMPP client", &mut command, &stage.file("esme.log"))
}

/// Messages and their answers by phase, from what the client printed at its end.
pub(crate) fn smpp_counts(stage: &Stage) -> Result<Vec<PeerCounts>> {
    let log = fs::read_to_string(stage.file("esme.log")).context("the SMPP client left no log")?;
    let counts = log.lines().rev().find_map(|line| serde_json::from_str(line).ok());
    counts.with_context(|| format!("the SMPP client gave no figures; it said:\n{}", log.trim()))
}

/// What the SMPP client logged of messages that were refused.
pub(crate) fn smpp_refusals(stage: &Stage) -> Result<Vec<String>> {
    let log = fs::read_to_string(stage.file("esme.log")).context("the SMPP client left no log")?;
    Ok(log.lines().filter(|line| line.contains("ESME_RTHROTTLED")).map(ToOwned::to_owned).collect())
}

/// Messages that the SMPP server has had; it says so every second.
pub(crate) fn smpp_received(stage: &Stage) -> Result<u64> {
    let log = fs::read_to_string(stage.file("smsc.log")).context("the SMPP server left no log")?;
    let count = log.lines().next_back().and_then(|line| line.parse().ok());
    count.with_context(|| format!("the SMPP server gave no figures; it said:\n{}", log.trim()))
}

/// The Python that has the SMPP peers.
fn python() -> Result<PathBuf> {
    let peers = env::var_os("EDGE_PEERS").context("EDGE_PEERS is not set; use `cargo xtask demo`")?;
    Ok(Path::new(&peers).join("venv/bin/python"))
}

/// config/demo.toml with this run's interface, paths and webhook.
fn configuration(stage: &Stage, secret: &Path) -> Result<String> {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/demo.toml");
    let text = fs::read_to_string(&shipped).with_context(|| format!("cannot read {}", shipped.display()))?;
    let mut config: toml::Table = text.parse().context("config/demo.toml is not TOML")?;
    let changes: toml::Table = format!(
        "interfaces = [{{ name = '{SERVER_INTERFACE}', xdp_mode = 'native' }}]\n\
         [paths]\npin_dir = '{}'\ndatabase = '{}'\nsocket = '{}'\n\
         [webhooks.demo]\nurl = 'http://{}/'\nsecret_files = ['{}']\nmin_severity = 'info'\n",
        stage.pins().display(),
        stage.file("edge.db").display(),
        stage.file("edge.sock").display(),
        RECEIVER,
        secret.display(),
    )
    .parse()
    .context("the demo's own settings are not TOML")?;
    for (key, change) in changes {
        if let (Some(toml::Value::Table(section)), toml::Value::Table(change)) =
            (config.get_mut(&key), &change)
            && key != "webhooks"
        {
            section.extend(change.clone());
        } else {
            config.insert(key, change);
        }
    }
    toml::to_string(&config).context("cannot write the configuration as TOML")
}

/// Secrets are for their owner only; `edged` insists.
fn restrict(file: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(file, fs::Permissions::from_mode(0o600))
        .context("cannot restrict the webhook's secret")
}
