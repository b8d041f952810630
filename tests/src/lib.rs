//! The packet table, the harness and the suites against kernel, namespaces and real peers.
//!
//! * [`packet`], [`sip`], [`smpp`]: frames and messages, built with right checksums and lengths.
//! * [`fixtures`]: THE table of packets, used by the host pipeline, by `BPF_PROG_TEST_RUN` and by the benchmark.
//! * [`host`]: the packet path on the host; [`kernel`]: the object file in the kernel, without an interface.
//! * [`crowd`]: SMPP sessions by the thousand.
//! * [`mangler`], [`rough`]: a network that loses and changes the order of frames, before the edge or behind it.
//! * [`netns`], [`process`], [`edge`], [`peers`], [`sink`]: namespaces, processes, the real daemon, SIPp and SMPP
//!   peers, a webhook receiver; [`janitor`] removes what outlives a process.
//!
//! See README.md for the topology and for what each suite proves.

pub mod baresip;
pub mod crowd;
pub mod edge;
pub mod fixtures;
pub mod host;
mod host_answers;
mod host_awaited;
pub mod host_calls;
mod host_leaving;
pub mod host_segments;
mod host_senders;
mod host_streams;
pub mod janitor;
pub mod judge;
pub mod kamailio;
pub mod kannel;
pub mod kernel;
pub mod lent;
pub mod live;
pub mod mangler;
pub mod netns;
pub mod object;
pub mod packet;
pub mod peers;
pub mod pinned;
pub mod process;
pub mod rough;
pub mod sink;
pub mod sip;
pub mod smpp;
