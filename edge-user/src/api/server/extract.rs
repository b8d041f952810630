//! What a handler is given: body, query and path with our errors, and the peer's name.

use axum::extract::connect_info::Connected;
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{ConnectInfo, FromRequest, FromRequestParts, Json, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use axum::serve::IncomingStream;
use nix::unistd::{Uid, User};
use serde::de::DeserializeOwned;
use tokio::net::UnixListener;

use crate::api::control::Actor;
use crate::api::types::ApiError;

/// An [`ApiError`] on its way out.
pub(super) struct Failure(pub(super) ApiError);

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, Json(self.0)).into_response()
    }
}

impl From<JsonRejection> for Failure {
    fn from(rejection: JsonRejection) -> Self {
        let code = match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => "too_large",
            StatusCode::UNPROCESSABLE_ENTITY => "invalid_request",
            _ => "bad_request",
        };
        Self(ApiError::new(code, rejection.body_text(), ""))
    }
}

impl From<QueryRejection> for Failure {
    fn from(rejection: QueryRejection) -> Self {
        Self(ApiError::new("bad_request", rejection.body_text(), ""))
    }
}

impl From<PathRejection> for Failure {
    fn from(rejection: PathRejection) -> Self {
        Self(ApiError::new("bad_request", rejection.body_text(), ""))
    }
}

/// A JSON body whose faults are told as an [`ApiError`].
pub(super) struct Body<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        let Json(value) = Json::from_request(request, state).await?;
        Ok(Self(value))
    }
}

/// A part of the head whose faults are told as an [`ApiError`].
pub(super) struct Part<E>(pub(super) E);

impl<S: Send + Sync, E: FromRequestParts<S>> FromRequestParts<S> for Part<E>
where
    Failure: From<E::Rejection>,
{
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        Ok(Self(E::from_request_parts(parts, state).await?))
    }
}

/// Who connected, as far as the kernel told.
#[derive(Clone, Copy)]
pub(super) struct Peer {
    uid: Option<u32>,
}

impl Connected<IncomingStream<'_, UnixListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        Self { uid: stream.io().peer_cred().ok().map(|credentials| credentials.uid()) }
    }
}

/// Who asks, for the audit.
pub(super) struct By(pub(super) Actor);

impl<S: Send + Sync> FromRequestParts<S> for By {
    type Rejection = Failure;

    /// Asks the user database off the runtime: it may sit on a network.
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let nobody = || {
            Failure(ApiError::new(
                "forbidden",
                "the kernel does not say who is at the other end of the socket",
                "changes need a name for the audit; connect to the Unix socket directly",
            ))
        };
        let ConnectInfo(peer) =
            ConnectInfo::<Peer>::from_request_parts(parts, state).await.map_err(|_| nobody())?;
        let uid = peer.uid.ok_or_else(nobody)?;
        let known = tokio::task::spawn_blocking(move || User::from_uid(Uid::from_raw(uid))).await;
        let name = match known {
            Ok(Ok(Some(user))) => user.name,
            _ => format!("uid {uid}"),
        };
        Ok(Self(Actor { name, uid }))
    }
}
