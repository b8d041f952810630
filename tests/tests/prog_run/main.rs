//! The kernel programs under `BPF_PROG_TEST_RUN`: the packet table with every truncation, and the kernel's meter
//! and parser against the host's. Needs root, no interface and no traffic.
#![expect(clippy::unwrap_used, reason = "a test panics: the backtrace says where")]

mod agreement;
mod answers;
mod calls;
mod destinations;
mod egress;
mod links;
mod meter;
mod oversized;
mod receipts;
mod refusals;
mod registered;
mod resets;
mod rows;
mod stages;
mod stream_refusals;
mod stream_reloads;
mod streams;
