//! What the kernel counted, asked as an operator would: with `edgectl --json`.

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context as _, Result, bail};
use edge_user::api::types::{AccountDetail, Scope, Status};
use serde::de::DeserializeOwned;
use tokio::process::Command;

/// The account of the demo's client.
pub(crate) const ACCOUNT: &str = "acme";
/// Initial INVITEs.
pub(crate) const SIP: &str = "sip.invite";
/// Messages over SMPP.
pub(crate) const SMPP: &str = "smpp.submit";

/// Messages of one class.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    /// Passed.
    pub(crate) admitted: u64,
    /// Answered that they are, or dropped.
    pub(crate) refused: u64,
}

impl Counts {
    /// Everything that came: what was refused and is sent again counts again.
    pub(crate) const fn offered(self) -> u64 {
        self.admitted + self.refused
    }

    /// What came since an earlier look.
    pub(crate) const fn since(self, earlier: Self) -> Self {
        Self {
            admitted: self.admitted.saturating_sub(earlier.admitted),
            refused: self.refused.saturating_sub(earlier.refused),
        }
    }
}

/// Both classes at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Look {
    /// Calls.
    pub(crate) sip: Counts,
    /// Messages over SMPP.
    pub(crate) smpp: Counts,
    /// Calls that were refused because as many as may be were under way.
    pub(crate) refused_calls: u64,
    /// As many as may be.
    pub(crate) calls_max: u32,
}

/// The command line, pointed at this run's daemon.
pub(crate) struct Edgectl {
    /// The binary.
    pub(crate) program: PathBuf,
    /// The daemon's socket.
    pub(crate) socket: PathBuf,
}

impl Edgectl {
    /// The account's counters.
    pub(crate) async fn look(&self) -> Result<Look> {
        let account: AccountDetail = self.ask(&["accounts", "show", ACCOUNT]).await?;
        let counts = |class: &str| -> Counts {
            let of = |allowance: &str| -> u64 {
                account.messages.get(class).and_then(|by| by.get(allowance)).copied().unwrap_or(0)
            };
            Counts { admitted: of("admitted"), refused: of("refused") }
        };
        Ok(Look {
            sip: counts(SIP),
            smpp: counts(SMPP),
            refused_calls: account.calls.get("refused").copied().unwrap_or(0),
            calls_max: account.calls_max,
        })
    }

    /// The account's limit on messages over SMPP, as it is written.
    pub(crate) async fn smpp_limit(&self) -> Result<String> {
        let account: AccountDetail = self.ask(&["accounts", "show", ACCOUNT]).await?;
        let limit = account.limits.into_iter().find(|it| it.class == SMPP && it.scope == Scope::Account);
        Ok(limit.context("the account has no limit on messages over SMPP")?.limit)
    }

    /// The daemon's state.
    pub(crate) async fn status(&self) -> Result<Status> {
        self.ask(&["status"]).await
    }

    async fn ask<T: DeserializeOwned>(&self, arguments: &[&str]) -> Result<T> {
        let output = Command::new(&self.program)
            .arg("--socket")
            .arg(&self.socket)
            .arg("--json")
            .args(arguments)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .context("cannot start edgectl")?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("`edgectl {}` failed: {}", arguments.join(" "), said.trim());
        }
        serde_json::from_slice(&output.stdout)
            .with_context(|| format!("`edgectl {}` printed other JSON than expected", arguments.join(" ")))
    }
}
