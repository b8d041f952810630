//! One endpoint with its secrets, ready to sign.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::alert::Severity;
use crate::config;

/// One endpoint. `Debug` shows its name only: the url may hold a token.
#[derive(Clone)]
pub struct Endpoint {
    pub(super) name: String,
    pub(super) url: reqwest::Url,
    pub(super) min_severity: Severity,
    pub(super) timeout: Duration,
    pub(super) give_up_after: Duration,
    signers: Vec<Arc<standardwebhooks::Webhook>>,
}

/// Why an endpoint cannot be used. No text contains a secret or the url.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// A secret file does not give a secret.
    #[error("webhook {name}: {} {source}", path.display())]
    Secret {
        /// Endpoint.
        name: String,
        /// File.
        path: PathBuf,
        /// What is wrong with it.
        source: config::SecretError,
    },
    /// No secret file is named.
    #[error("webhook {name}: no secret file is named, so nothing could be signed")]
    NoSecret {
        /// Endpoint.
        name: String,
    },
    /// The address is not one that can be called.
    #[error("webhook {name}: the url is not an http or https address: {reason}")]
    Url {
        /// Endpoint.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl Endpoint {
    /// Reads the secret files. Called at start and at every reload, so that a rotation needs no restart.
    pub fn from_config(name: &str, webhook: &config::Webhook) -> Result<Self, EndpointError> {
        let url_error = |reason: String| EndpointError::Url { name: name.to_owned(), reason };
        let url: reqwest::Url = webhook.url.parse().map_err(|error| url_error(format!("{error}")))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(url_error(format!("its scheme is {}", url.scheme())));
        }
        if webhook.secret_files.is_empty() {
            return Err(EndpointError::NoSecret { name: name.to_owned() });
        }
        let signers = webhook.secret_files.iter().map(|path| signer(name, path)).collect::<Result<_, _>>()?;
        Ok(Self {
            name: name.to_owned(),
            url,
            min_severity: webhook.min_severity,
            timeout: webhook.timeout,
            give_up_after: webhook.give_up_after,
            signers,
        })
    }

    /// The name it has in the configuration.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether both sign alike: whether they have the same secrets, in the same order.
    pub(super) fn signs_like(&self, other: &Self) -> bool {
        let signed = |endpoint: &Self| endpoint.sign("msg", 0, b"").ok();
        signed(self) == signed(other)
    }

    /// Value of `webhook-signature`: one signature a secret, so that a receiver that knows only the old or only
    /// the new one accepts it while secrets are rotated.
    pub(super) fn sign(
        &self,
        id: &str,
        timestamp_secs: i64,
        body: &[u8],
    ) -> Result<String, standardwebhooks::WebhookError> {
        let signatures: Vec<String> = self
            .signers
            .iter()
            .map(|signer| signer.sign(id, timestamp_secs, body))
            .collect::<Result<_, _>>()?;
        Ok(signatures.join(" "))
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint").field("name", &self.name).finish_non_exhaustive()
    }
}

fn signer(name: &str, path: &Path) -> Result<Arc<standardwebhooks::Webhook>, EndpointError> {
    config::read_secret(path).map(Arc::new).map_err(|source| EndpointError::Secret {
        name: name.to_owned(),
        path: path.to_owned(),
        source,
    })
}
