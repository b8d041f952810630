//! A webhook receiver that checks signatures (Standard Webhooks) and keeps what it got.

use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use edge_user::alert::Alert;
use serde::Deserialize;
use standardwebhooks::Webhook;
use tokio::task::JoinHandle;

/// Where it listens, inside the server's namespace.
pub(crate) const ADDRESS: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8080);

/// Shared with `edged` for this run; base64 of 24 bytes.
pub(crate) const SECRET: &str = "whsec_ZWRnZS1kZW1vLXNlY3JldC0yNC1ieXRl";

/// A message as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    /// `alert.opened`, …; empty if the body was not understood.
    pub(crate) kind: String,
    /// The alert in it.
    pub(crate) alert: Option<Alert>,
    /// Whether the signature is ours.
    pub(crate) is_signed: bool,
}

/// The body of a webhook.
#[derive(Deserialize)]
struct Message {
    #[serde(rename = "type")]
    kind: String,
    data: serde_json::Value,
}

/// A running receiver; ends when dropped.
pub(crate) struct Receiver {
    mailbox: Arc<Mailbox>,
    server: JoinHandle<()>,
}

struct Mailbox {
    webhook: Webhook,
    received: Mutex<Vec<Received>>,
}

impl Receiver {
    /// Serves on a socket that listens already.
    pub(crate) fn serve(listener: TcpListener) -> Result<Self> {
        let webhook = Webhook::new(SECRET).context("the demo's secret is not one")?;
        let mailbox = Arc::new(Mailbox { webhook, received: Mutex::default() });
        listener.set_nonblocking(true).context("cannot make the socket non-blocking")?;
        let listener = tokio::net::TcpListener::from_std(listener).context("cannot use the socket")?;
        let app = Router::new().route("/", post(receive)).with_state(Arc::clone(&mailbox));
        let server = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, app).await {
                eprintln!("warning: the webhook receiver ended: {error}");
            }
        });
        Ok(Self { mailbox, server })
    }

    /// Everything received so far, in order of arrival.
    pub(crate) fn received(&self) -> Vec<Received> {
        self.mailbox.received.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn receive(State(mailbox): State<Arc<Mailbox>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let is_signed = mailbox.webhook.verify(&body, &headers).is_ok();
    let message = serde_json::from_slice::<Message>(&body).ok();
    let received = Received {
        is_signed,
        alert: message.as_ref().and_then(|message| serde_json::from_value(message.data.clone()).ok()),
        kind: message.map(|message| message.kind).unwrap_or_default(),
    };
    mailbox.received.lock().unwrap_or_else(PoisonError::into_inner).push(received);
    if is_signed { StatusCode::NO_CONTENT } else { StatusCode::UNAUTHORIZED }
}
