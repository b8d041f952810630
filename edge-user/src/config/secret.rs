//! Secrets of webhooks: one check for configuration and sender, so that what one takes the other takes too.

use std::io;
use std::path::Path;

use super::load::read_regular;

/// Bytes that a secret may have (Standard Webhooks 1.0, "Symmetric").
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// Why there is no secret. No text contains it.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file cannot be read.
    #[error("cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    /// The file holds something else than a secret.
    #[error("does not hold a secret: `whsec_` and 24 to 64 bytes in base64, on one line")]
    Invalid,
}

/// Reads a secret file: what signs with it.
pub(crate) fn read_secret(file: &Path) -> Result<standardwebhooks::Webhook, SecretError> {
    let text = read_regular(file)?;
    let secret = text.trim();
    let base64 = secret.strip_prefix("whsec_").ok_or(SecretError::Invalid)?;
    let bytes = base64.trim_end_matches('=').len() * 3 / 4;
    if !SECRET_BYTES.contains(&bytes) {
        return Err(SecretError::Invalid);
    }
    standardwebhooks::Webhook::new(secret).map_err(|_| SecretError::Invalid)
}
