//! Sources: the address (or aggregate) that a packet comes from, and what is known of it.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{Allowance, Class, indexed_enum, pod};

/// A source: an IPv4 address as IPv4-mapped IPv6 (`::ffff:a.b.c.d`), or an IPv6 address under
/// [`super::Settings::ipv6_mask`]. Also the data of the tries' keys, where IPv4 prefixes are 96 bits longer.
pub type SourceKey = [u8; 16];

indexed_enum! {
    /// What was decided about a source beforehand.
    StandingKind {
        /// Nothing: limits apply.
        Metered = 0, "metered";
        /// Every packet to our ports is dropped.
        Banned = 1, "banned";
        /// Counted, never refused.
        Allowed = 2, "allowed";
    }
}

/// A ban or an allowance for a prefix. Map `STANDINGS` (trie), written by the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Standing {
    /// [`StandingKind`] as integer; any other value counts as metered.
    pub kind: u32,
    /// Reserved, zero.
    pub reserved: u32,
    /// When it ends by itself; `u64::MAX` means never.
    pub until_ns: u64,
}

/// What is known of one source, shared by all CPUs. Map `SOURCES` (LRU), written by the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SourceState {
    /// The account that the longest matching prefix names; 0 is the account of unknown sources.
    pub account: u32,
    /// The trunk that the prefix names; 0 is none.
    pub trunk: u32,
    /// [`super::Settings::generation`] under which the account and the standing were looked up.
    pub generation: u32,
    /// Reserved, zero.
    pub reserved: u32,
    /// The standing that the longest matching prefix names.
    pub standing: Standing,
    /// When the last packet came.
    pub seen_ns: u64,
    /// Theoretical arrival times by [`Class`].
    pub buckets: [u64; Class::COUNT],
    /// Messages by [`Allowance`].
    pub messages: [u64; Allowance::COUNT],
    /// Packets dropped before their payload was read: bans and floods.
    pub packets_dropped: u64,
    /// Theoretical arrival time of answers that Edge itself sends to the source.
    pub answers_ns: u64,
    /// Requests that the server refused with 401, 403, 404 or 407, counted on the way out.
    pub failures: u64,
    /// REGISTER that the server accepted, counted on the way out: credentials that were right.
    pub registrations: u64,
    /// Binds that the server rejected, counted on the way out.
    pub binds_rejected: u64,
    /// Binds that the server accepted.
    pub binds_accepted: u64,
    /// Theoretical arrival time of messages refused in SMPP's own words ([`super::Settings::refusals`]).
    pub refusals_ns: u64,
    /// Until when it counts as registered, because the server has accepted a REGISTER of it; 0 if it does not.
    pub registered_until_ns: u64,
    /// When its User-Agent was last told of ([`super::EventKind::ScannerAgent`]).
    pub agent_told_ns: u64,
}

/// Who sends from a prefix. Map `MEMBERS` (trie), written by the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Member {
    /// Account number.
    pub account: u32,
    /// Trunk number; 0 is none.
    pub trunk: u32,
}

/// One direction of a TCP connection. Map `FLOWS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FlowKey {
    /// Sender's address, whole (not aggregated), IPv4 mapped.
    pub source: [u8; 16],
    /// Receiver's address, IPv4 mapped.
    pub destination: [u8; 16],
    /// Sender's port, big-endian.
    pub source_port: [u8; 2],
    /// Receiver's port, big-endian.
    pub destination_port: [u8; 2],
}

pod!(Member, Standing, SourceState, FlowKey);
