//! The packet path of Edge: the pure core that host and kernel share, and the contract between them.
//!
//! # Theory of operation
//!
//! 1. A frame is read through [`packet::Packet`]: every read is bounds-checked, none is unsafe here.
//! 2. [`wire`] turns headers into addresses and ports; a port that is not ours ends the journey.
//! 3. The source is looked up (`bin/edge-kernel/accounts.rs`) and its `packets` bucket judged, before the
//!    payload is read: a flood costs next to nothing.
//! 4. The payload becomes a message: [`wire::sip`] for a datagram, [`stream`] and [`wire::smpp`] for the
//!    segments of a connection.
//! 5. [`meter`] judges the message against the buckets of its source and its account.
//! 6. [`decide`] makes of all that one [`abi::Outcome`]; the outcome gives the verdict and the counter.
//! 7. On the way out [`outbound`] hears what the server says, with the same parsers, and refuses nothing.
//!
//! # Invariants
//!
//! No `std`, no clock, no map, no unsafe but in [`verifier`] and the `Pod` macro: time, state and randomness
//! are arguments. Whatever is parsed here runs unchanged on the host, under tests and fuzzers, and in the kernel.
#![cfg_attr(not(test), no_std)]
#![deny(unsafe_code)]
#![expect(
    clippy::inline_always,
    reason = "in the kernel a function that is not inlined is a call that the verifier walks anew, with a stack of its own"
)]
#![expect(
    clippy::cast_possible_truncation,
    reason = "offsets in a frame, hashes and sequence numbers: they fit, or are cut on purpose"
)]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]

pub mod abi;
pub mod awaited;
pub mod binds;
pub mod calls;
pub mod decide;
pub mod hash;
pub mod messages;
pub mod meter;
pub mod native;
pub mod outbound;
pub mod packet;
pub mod repeat;
pub mod stream;
pub mod verifier;
pub mod wire;
