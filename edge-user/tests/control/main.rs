//! The control API and the command line, before a daemon of paper, over a real Unix socket.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod api;
mod binds;
mod edgectl;
mod fake;
mod records;
