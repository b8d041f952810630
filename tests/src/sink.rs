//! A webhook receiver (Standard Webhooks): verifies signatures, keeps what came, can refuse or hang.

use std::net::TcpListener;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use standardwebhooks::Webhook;
use tokio::runtime::Runtime;

/// A secret for tests: base64 of 32 bytes.
pub const SECRET: &str = "whsec_ZWRnZS10ZXN0LXNlY3JldC0yNC1ieXRlcy1sb25nISE=";

/// How the receiver behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// 204 to what is signed, 401 to what is not.
    Accept,
    /// 500.
    Fail,
    /// 302 to itself.
    Redirect,
    /// No answer for a minute.
    Hang,
}

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// `webhook-id`: the same for every attempt of one message.
    pub id: String,
    /// Whether the signature is right.
    pub is_signed: bool,
    /// The body.
    pub body: serde_json::Value,
}

impl Delivery {
    /// The body's type: `alert.opened`, …
    #[must_use]
    pub fn kind(&self) -> &str {
        self.body["type"].as_str().unwrap_or_default()
    }
}

/// A running receiver; ends with its value.
#[derive(Debug)]
pub struct Sink {
    shared: Arc<Shared>,
    runtime: Option<Runtime>,
}

struct Shared {
    webhook: Webhook,
    manner: Mutex<Manner>,
    deliveries: Mutex<Vec<Delivery>>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl Sink {
    /// Serves on a socket that listens already, in whatever namespace.
    pub fn serve(listener: TcpListener, manner: Manner) -> Result<Self> {
        let webhook = Webhook::new(SECRET).context("the tests' secret")?;
        let shared = Arc::new(Shared { webhook, manner: Mutex::new(manner), deliveries: Mutex::default() });
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .context("cannot start a runtime")?;
        listener.set_nonblocking(true).context("cannot make the socket non-blocking")?;
        let listener = {
            let _entered = runtime.enter();
            tokio::net::TcpListener::from_std(listener).context("cannot use the socket")?
        };
        let app = Router::new().route("/", post(receive)).with_state(Arc::clone(&shared));
        runtime.spawn(async move {
            if let Err(error) = axum::serve(listener, app).await {
                eprintln!("warning: the webhook receiver ended: {error}");
            }
        });
        Ok(Self { shared, runtime: Some(runtime) })
    }

    /// Behaves otherwise from now on.
    pub fn set_manner(&self, manner: Manner) {
        *lock(&self.shared.manner) = manner;
    }

    /// What came so far, refused attempts included.
    #[must_use]
    pub fn deliveries(&self) -> Vec<Delivery> {
        lock(&self.shared.deliveries).clone()
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        // Nobody is waited for: also where this is dropped inside a runtime.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn receive(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    let is_signed = shared.webhook.verify(&body, &headers).is_ok();
    let id = headers.get("webhook-id").and_then(|id| id.to_str().ok()).unwrap_or_default().to_owned();
    let body = serde_json::from_slice(&body).unwrap_or_default();
    lock(&shared.deliveries).push(Delivery { id, is_signed, body });
    let manner = *lock(&shared.manner);
    match manner {
        Manner::Accept if is_signed => StatusCode::NO_CONTENT.into_response(),
        Manner::Accept => StatusCode::UNAUTHORIZED.into_response(),
        Manner::Fail => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        Manner::Redirect => (StatusCode::FOUND, [(header::LOCATION, "/")]).into_response(),
        Manner::Hang => {
            tokio::time::sleep(Duration::from_mins(1)).await;
            StatusCode::NO_CONTENT.into_response()
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
