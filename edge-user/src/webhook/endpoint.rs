//! One endpoint with its secrets, ready to sign and send.

use std::path::PathBuf;
use std::time::Duration;

use crate::alert::Severity;
use crate::config;

/// One endpoint. `Debug` shows no secret.
#[derive(Clone)]
pub struct Endpoint {
    name: String,
    url: String,
    min_severity: Severity,
    timeout: Duration,
    give_up_after: Duration,
}

/// Why an endpoint cannot be used. No text contains a secret.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// A secret file cannot be read.
    #[error("webhook {name}: cannot read the secret file {}: {source}", path.display())]
    SecretUnreadable {
        /// Endpoint.
        name: String,
        /// File.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A secret file holds something else than a secret.
    #[error(
        "webhook {name}: {} does not hold a secret: expected one line, `whsec_` and 24 to 64 bytes in base64",
        path.display()
    )]
    SecretInvalid {
        /// Endpoint.
        name: String,
        /// File.
        path: PathBuf,
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
        Ok(Self {
            name: name.to_owned(),
            url: webhook.url.clone(),
            min_severity: webhook.min_severity,
            timeout: webhook.timeout,
            give_up_after: webhook.give_up_after,
        })
    }
}
