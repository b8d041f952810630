//! The command line's end of the control API: one typed method an endpoint.

use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::unistd::{Gid, Group, Uid, User};
use reqwest::{Method, RequestBuilder, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::server::REQUEST_TIMEOUT;
use super::types::{
    AccountDetail, AccountSummary, AlertQuery, AlertView, ApiError, AuditEntry, AuditQuery, CallRow,
    CallStats, Detach, Detached, DropSlot, LimitQuery, LimitView, LiveBind, LiveBindQuery, LiveCall,
    LiveCallQuery, Measure, MessageQuery, MessageRow, MessageStats, PlanRequest, PlanView, RecordQuery,
    Resume, SetLimit, SetMeasure, StatsQuery, Status, Suspend, Suspension, TestWebhook, TestWebhookResult,
    Top, UnsetLimit, UnsetMeasure,
};

/// Where the daemon's socket is unless the configuration says otherwise.
pub const DEFAULT_SOCKET: &str = "/run/edge/edge.sock";

/// Why there is no answer, or which refusal it was.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody could be asked: the text says whether the socket is missing, dead or closed to this user, and
    /// what to do.
    #[error("{message}")]
    Unreachable {
        /// One sentence of fact.
        message: String,
        /// One sentence of advice.
        advice: String,
    },
    /// The daemon answered with an error of its own.
    #[error("{0}")]
    Refused(ApiError),
    /// Something answered that does not speak this API.
    #[error("the answer of {} is not one of edged: {detail}", socket.display())]
    Foreign {
        /// The socket.
        socket: PathBuf,
        /// What is wrong with the answer.
        detail: String,
    },
}

/// The control API of the daemon behind one socket.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
    base: Url,
    http: reqwest::Client,
}

impl Client {
    /// A client of the socket at `socket`. Opens nothing yet: the first request does.
    pub fn new(socket: &Path) -> Result<Self, ClientError> {
        let foreign = |detail: String| ClientError::Foreign { socket: socket.to_owned(), detail };
        // The host is a name for the Host header only: every connection goes to the socket.
        let base = Url::parse("http://edged/v1/").map_err(|error| foreign(error.to_string()))?;
        let http = reqwest::Client::builder()
            .unix_socket(socket)
            .redirect(reqwest::redirect::Policy::none())
            // The daemon gives up first and says so.
            .timeout(REQUEST_TIMEOUT + Duration::from_secs(5))
            .build()
            .map_err(|error| foreign(error.to_string()))?;
        Ok(Self { socket: socket.to_owned(), base, http })
    }

    /// `GET /v1/status`.
    pub async fn status(&self) -> Result<Status, ClientError> {
        self.get(&["status"]).await
    }

    /// `GET /v1/accounts`.
    pub async fn accounts(&self) -> Result<Vec<AccountSummary>, ClientError> {
        self.get(&["accounts"]).await
    }

    /// `GET /v1/accounts/{name}`.
    pub async fn account(&self, name: &str) -> Result<AccountDetail, ClientError> {
        self.get(&["accounts", name]).await
    }

    /// `GET /v1/limits`.
    pub async fn limits(&self, query: &LimitQuery) -> Result<Vec<LimitView>, ClientError> {
        self.ask(self.request(Method::GET, &["limits"]).query(query)).await
    }

    /// `PUT /v1/limits`.
    pub async fn set_limit(&self, request: &SetLimit) -> Result<LimitView, ClientError> {
        self.send(Method::PUT, &["limits"], request).await
    }

    /// `POST /v1/limits/unset`.
    pub async fn unset_limit(&self, request: &UnsetLimit) -> Result<LimitView, ClientError> {
        self.send(Method::POST, &["limits", "unset"], request).await
    }

    /// `GET /v1/measures`.
    pub async fn measures(&self) -> Result<Vec<Measure>, ClientError> {
        self.get(&["measures"]).await
    }

    /// `PUT /v1/measures`.
    pub async fn set_measure(&self, request: &SetMeasure) -> Result<Measure, ClientError> {
        self.send(Method::PUT, &["measures"], request).await
    }

    /// `POST /v1/measures/unset`.
    pub async fn unset_measure(&self, request: &UnsetMeasure) -> Result<Measure, ClientError> {
        self.send(Method::POST, &["measures", "unset"], request).await
    }

    /// `GET /v1/suspensions`.
    pub async fn suspensions(&self) -> Result<Vec<Suspension>, ClientError> {
        self.get(&["suspensions"]).await
    }

    /// `PUT /v1/suspensions`.
    pub async fn suspend(&self, request: &Suspend) -> Result<Suspension, ClientError> {
        self.send(Method::PUT, &["suspensions"], request).await
    }

    /// `POST /v1/suspensions/unset`.
    pub async fn resume(&self, request: &Resume) -> Result<Suspension, ClientError> {
        self.send(Method::POST, &["suspensions", "unset"], request).await
    }

    /// `GET /v1/binds`.
    pub async fn live_binds(&self, query: &LiveBindQuery) -> Result<Vec<LiveBind>, ClientError> {
        self.ask(self.request(Method::GET, &["binds"]).query(query)).await
    }

    /// `GET /v1/binds/{id}`.
    pub async fn live_bind(&self, id: &str) -> Result<LiveBind, ClientError> {
        self.get(&["binds", id]).await
    }

    /// `GET /v1/calls`.
    pub async fn live_calls(&self, query: &LiveCallQuery) -> Result<Vec<LiveCall>, ClientError> {
        self.ask(self.request(Method::GET, &["calls"]).query(query)).await
    }

    /// `GET /v1/calls/{id}`.
    pub async fn live_call(&self, id: &str, query: &LiveCallQuery) -> Result<LiveCall, ClientError> {
        self.ask(self.request(Method::GET, &["calls", id]).query(query)).await
    }

    /// `POST /v1/calls/drop`.
    pub async fn drop_slot(&self, request: &DropSlot) -> Result<LiveCall, ClientError> {
        self.send(Method::POST, &["calls", "drop"], request).await
    }

    /// `GET /v1/calls/stats`.
    pub async fn call_stats(&self, query: &StatsQuery) -> Result<Vec<CallStats>, ClientError> {
        self.ask(self.request(Method::GET, &["calls", "stats"]).query(query)).await
    }

    /// `GET /v1/calls/records`.
    pub async fn call_records(&self, query: &RecordQuery) -> Result<Vec<CallRow>, ClientError> {
        self.ask(self.request(Method::GET, &["calls", "records"]).query(query)).await
    }

    /// `GET /v1/messages`.
    pub async fn messages(&self, query: &MessageQuery) -> Result<Vec<MessageRow>, ClientError> {
        self.ask(self.request(Method::GET, &["messages"]).query(query)).await
    }

    /// `GET /v1/messages/stats`.
    pub async fn message_stats(&self, query: &StatsQuery) -> Result<Vec<MessageStats>, ClientError> {
        self.ask(self.request(Method::GET, &["messages", "stats"]).query(query)).await
    }

    /// `GET /v1/messages/records`.
    pub async fn message_records(&self, query: &RecordQuery) -> Result<Vec<MessageRow>, ClientError> {
        self.ask(self.request(Method::GET, &["messages", "records"]).query(query)).await
    }

    /// `GET /v1/top`.
    pub async fn top(&self) -> Result<Top, ClientError> {
        self.get(&["top"]).await
    }

    /// `GET /v1/alerts`.
    pub async fn alerts(&self, query: &AlertQuery) -> Result<Vec<AlertView>, ClientError> {
        self.ask(self.request(Method::GET, &["alerts"]).query(query)).await
    }

    /// `GET /v1/alerts/{id}`.
    pub async fn alert(&self, id: &str) -> Result<AlertView, ClientError> {
        self.get(&["alerts", id]).await
    }

    /// `POST /v1/webhooks/test`.
    pub async fn test_webhook(&self, request: &TestWebhook) -> Result<Vec<TestWebhookResult>, ClientError> {
        self.send(Method::POST, &["webhooks", "test"], request).await
    }

    /// `POST /v1/plan`.
    pub async fn plan(&self, request: &PlanRequest) -> Result<PlanView, ClientError> {
        self.send(Method::POST, &["plan"], request).await
    }

    /// `POST /v1/reload`.
    pub async fn reload(&self) -> Result<PlanView, ClientError> {
        self.ask(self.request(Method::POST, &["reload"])).await
    }

    /// `POST /v1/detach`.
    pub async fn detach(&self, request: &Detach) -> Result<Detached, ClientError> {
        self.send(Method::POST, &["detach"], request).await
    }

    /// `GET /v1/audit`.
    pub async fn audit(&self, query: &AuditQuery) -> Result<Vec<AuditEntry>, ClientError> {
        self.ask(self.request(Method::GET, &["audit"]).query(query)).await
    }

    async fn get<T: DeserializeOwned>(&self, path: &[&str]) -> Result<T, ClientError> {
        self.ask(self.request(Method::GET, path)).await
    }

    async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &[&str],
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        self.ask(self.request(method, path).json(body)).await
    }

    fn request(&self, method: Method, path: &[&str]) -> RequestBuilder {
        let mut url = self.base.clone();
        // An http URL always has segments; each is escaped, so that a name cannot become a path.
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        self.http.request(method, url)
    }

    async fn ask<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, ClientError> {
        let response = request.send().await.map_err(|error| self.no_answer(&error))?;
        let status = response.status();
        let body = response.bytes().await.map_err(|error| self.no_answer(&error))?;

        if status.is_success() {
            let answer = serde_json::from_slice(&body);
            return answer.map_err(|error| self.foreign(&format!("{error} (HTTP {status})")));
        }
        Err(match serde_json::from_slice::<ApiError>(&body) {
            Ok(error) => ClientError::Refused(error),
            Err(_) => self.foreign(&format!("HTTP {status} without a reason")),
        })
    }

    fn foreign(&self, detail: &str) -> ClientError {
        ClientError::Foreign { socket: self.socket.clone(), detail: detail.to_owned() }
    }

    fn no_answer(&self, error: &reqwest::Error) -> ClientError {
        let socket = self.socket.display();
        let (message, advice) = match io_kind(error) {
            Some(io::ErrorKind::NotFound) => (
                format!("there is no socket {socket}: edged is not running or listens elsewhere"),
                "start it (`systemctl start edged`), or name its socket with --socket or EDGE_SOCKET"
                    .to_owned(),
            ),
            Some(io::ErrorKind::ConnectionRefused) => (
                format!("nobody answers on {socket}: edged has ended"),
                "limits stay in force in the kernel, unless `edgectl detach` ended it; \
                 see why with `journalctl -u edged`, then start it again"
                    .to_owned(),
            ),
            Some(io::ErrorKind::PermissionDenied) => {
                (format!("you may not open {socket}"), permission_advice(&self.socket))
            }
            _ if error.is_timeout() => (
                format!("edged did not answer on {socket} in time"),
                "it may still finish what was asked; look at `edgectl audit` before trying again".to_owned(),
            ),
            _ => (
                format!("the talk with edged on {socket} broke off: {}", root_cause(error)),
                "see what happened to it with `journalctl -u edged`".to_owned(),
            ),
        };
        ClientError::Unreachable { message, advice }
    }
}

/// Who may open the socket, and how to become one of them.
fn permission_advice(socket: &Path) -> String {
    let Ok(metadata) = std::fs::metadata(socket) else {
        return "a directory above it is closed to you; use sudo".to_owned();
    };
    let mode = metadata.permissions().mode() & 0o7777;
    let owner = match User::from_uid(Uid::from_raw(metadata.uid())) {
        Ok(Some(user)) => user.name,
        _ => format!("uid {}", metadata.uid()),
    };
    let group = match Group::from_gid(Gid::from_raw(metadata.gid())) {
        Ok(Some(group)) => group.name,
        _ => format!("gid {}", metadata.gid()),
    };
    // connect(2) on a Unix socket asks for the write bit.
    if mode & 0o020 == 0 {
        return format!("it is for user `{owner}` alone (mode {mode:04o}); use sudo");
    }
    format!("it is for user `{owner}` and group `{group}` (mode {mode:04o}); join the group, or use sudo")
}

fn io_kind(error: &reqwest::Error) -> Option<io::ErrorKind> {
    causes(error).find_map(|cause| cause.downcast_ref::<io::Error>()).map(io::Error::kind)
}

fn root_cause(error: &reqwest::Error) -> String {
    causes(error).last().map_or_else(String::new, ToString::to_string)
}

fn causes(error: &reqwest::Error) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error as &(dyn std::error::Error + 'static)), |cause| cause.source())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_socket_says_whom_it_is_open_to() -> io::Result<()> {
        let directory = tempfile::tempdir()?;
        let socket = directory.path().join("edged.sock");
        let _listener = std::os::unix::net::UnixListener::bind(&socket)?;
        let advice = |mode| -> io::Result<String> {
            std::fs::set_permissions(&socket, std::fs::Permissions::from_mode(mode))?;
            Ok(permission_advice(&socket))
        };

        let alone = advice(0o600)?;
        assert!(alone.ends_with("alone (mode 0600); use sudo"), "{alone}");
        let shared = advice(0o660)?;
        assert!(shared.contains("and group `"), "{shared}");
        assert!(shared.ends_with("(mode 0660); join the group, or use sudo"), "{shared}");
        Ok(())
    }
}
