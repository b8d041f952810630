//! The control API: HTTP and JSON on a Unix socket.
//!
//! [`types`] is what crosses the socket, [`control`] what the daemon must be able to do, [`server`] puts the one
//! behind the other, [`client`] is the other end. Who may open the socket may do everything that the API does:
//! the socket's permission bits are the permission, and the peer's credentials are the name in the audit.

pub mod client;
pub mod control;
pub mod server;
pub mod types;
