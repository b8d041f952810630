//! One attempt over HTTP.

use std::error::Error;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use reqwest::header::RETRY_AFTER;
use reqwest::{Client, Response, StatusCode};
use standardwebhooks::{HEADER_WEBHOOK_ID, HEADER_WEBHOOK_SIGNATURE, HEADER_WEBHOOK_TIMESTAMP};

use super::Endpoint;

/// Bytes of an answer that are read, so that the connection can be used again; a longer one is cut off.
const MAX_ANSWER_BYTES: usize = 16 * 1024;
/// The longest wait that an endpoint may ask for.
const LONGEST_RETRY_AFTER: Duration = Duration::from_hours(1);
/// How long an idle connection is kept for the next message.
const KEEP_IDLE: Duration = Duration::from_secs(90);

/// What came of one attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// 2xx.
    Delivered(u16),
    /// 410: the endpoint wants nothing any more.
    Gone,
    /// 4xx: it may be this message that the endpoint does not take.
    Refused(u16),
    /// Anything else: the endpoint is in trouble.
    Failed {
        /// HTTP status, where there was one.
        status: Option<u16>,
        /// What went wrong, in words.
        error: String,
        /// When the endpoint wants to be asked again.
        retry_after: Option<Duration>,
    },
}

/// Follows no redirects (a signed message goes where the operator said, and nowhere else) and uses no proxy.
pub(super) fn client() -> Result<Client, reqwest::Error> {
    Client::builder()
        .user_agent(concat!("edge/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .pool_idle_timeout(KEEP_IDLE)
        .build()
}

/// Sends a body, signed now.
pub(super) async fn send(
    client: &Client,
    endpoint: &Endpoint,
    id: &str,
    body: &[u8],
    now: Timestamp,
) -> Answer {
    let timestamp_secs = now.as_second();
    let signature = match endpoint.sign(id, timestamp_secs, body) {
        Ok(signature) => signature,
        Err(error) => return failed(format!("cannot sign: {error}")),
    };
    let request = client
        .post(endpoint.url.clone())
        .timeout(endpoint.timeout)
        .header("content-type", "application/json")
        .header(HEADER_WEBHOOK_ID, id)
        .header(HEADER_WEBHOOK_TIMESTAMP, timestamp_secs)
        .header(HEADER_WEBHOOK_SIGNATURE, signature)
        .body(body.to_vec());
    match request.send().await {
        Ok(response) => judge(response, now).await,
        Err(error) if error.is_timeout() => {
            failed(format!("no answer within {} s", endpoint.timeout.as_secs_f64()))
        }
        Err(error) => failed(in_words(error)),
    }
}

impl Answer {
    pub(super) const fn status(&self) -> Option<u16> {
        match self {
            Self::Delivered(status) | Self::Refused(status) => Some(*status),
            Self::Gone => Some(410),
            Self::Failed { status, .. } => *status,
        }
    }

    /// What went wrong, in words; empty when nothing did.
    pub(super) fn error(&self) -> String {
        match self {
            Self::Delivered(_) => String::new(),
            Self::Gone => "answered 410 Gone: disabled until the next reload or restart".to_owned(),
            Self::Refused(status) => answered(StatusCode::from_u16(*status).unwrap_or_default()),
            Self::Failed { error, .. } => error.clone(),
        }
    }
}

async fn judge(mut response: Response, now: Timestamp) -> Answer {
    let status = response.status();
    let retry_after = retry_after(&response, now);
    let mut read = 0;
    while read < MAX_ANSWER_BYTES {
        match response.chunk().await {
            Ok(Some(chunk)) => read += chunk.len(),
            Err(error) if status.is_success() => {
                return failed(format!("answered {status}, but never to its end: {}", in_words(error)));
            }
            Ok(None) | Err(_) => break,
        }
    }
    match status {
        StatusCode::GONE => Answer::Gone,
        // These say "not now", as 5xx do, and not "not this".
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS => {
            Answer::Failed { status: Some(status.as_u16()), error: answered(status), retry_after }
        }
        _ if status.is_success() => Answer::Delivered(status.as_u16()),
        _ if status.is_client_error() => Answer::Refused(status.as_u16()),
        _ if status.is_redirection() => Answer::Failed {
            status: Some(status.as_u16()),
            error: format!("{}: redirects are not followed", answered(status)),
            retry_after: None,
        },
        _ => Answer::Failed { status: Some(status.as_u16()), error: answered(status), retry_after },
    }
}

/// RFC 9110, 10.2.3: seconds or a date.
fn retry_after(response: &Response, now: Timestamp) -> Option<Duration> {
    let text = response.headers().get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = if let Ok(secs) = text.parse() {
        Duration::from_secs(secs)
    } else {
        let at = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
        at.duration_since(now).max(SignedDuration::ZERO).unsigned_abs()
    };
    Some(wait.min(LONGEST_RETRY_AFTER))
}

fn answered(status: StatusCode) -> String {
    format!("answered {status}")
}

const fn failed(error: String) -> Answer {
    Answer::Failed { status: None, error, retry_after: None }
}

/// The whole chain of causes, without the url, which may hold a token.
fn in_words(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        words = format!("{words}: {error}");
        cause = error.source();
    }
    words
}
