//! The daemon and its command line: everything of Edge that is not the packet path.
//!
//! `bin/edged → daemon → {reconcile, detect, store, webhook, metrics, api, dataplane}`,
//! `bin/edgectl → api::{types, client}`; `detect` and `reconcile` are pure; only `dataplane` names aya.
#![forbid(unsafe_code)]

pub mod alert;
pub mod api;
pub mod config;
pub mod daemon;
pub mod dataplane;
pub mod detect;
pub mod figures;
pub mod metrics;
pub mod rate;
pub mod reconcile;
pub mod store;
pub mod webhook;
