//! What holds for the whole program.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{Limit, indexed_enum, pod};

indexed_enum! {
    /// What is spoken on a port; the bit `1 << index` of [`Ports::services`].
    Service {
        /// SIP over UDP.
        SipUdp = 0, "sip_udp";
        /// SIP over TCP.
        SipTcp = 1, "sip_tcp";
        /// SMPP over TCP.
        SmppTcp = 2, "smpp_tcp";
        /// SIP over TLS: never read.
        SipTls = 3, "sip_tls";
        /// SMPP over TLS: never read.
        SmppTls = 4, "smpp_tls";
    }
}

/// Settings for all accounts. Map `SETTINGS`, one entry, written by the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Settings {
    /// [`super::ABI_VERSION`] of the writer.
    pub abi_version: u32,
    /// Raised with every change of prefixes and standings: a source resolved under another generation is
    /// resolved again with its next packet.
    pub generation: u32,
    /// [`super::Mode`] as integer. Observe here means observe for every account.
    pub mode: u32,
    /// Which half of the map `PREFIXES` the kernel writes: its lowest bit.
    pub prefix_epoch: u32,
    /// What of an IPv6 address makes a source; /64 unless configured otherwise.
    pub ipv6_mask: [u8; 16],
    /// Random, new with every load: keys the hashes that an attacker must not foresee.
    pub hash_key: [u64; 2],
    /// How long a SIP request counts as a retransmission of an admitted one.
    /// 32 s: timer B and F, 64 x T1 (RFC 3261 17.1).
    pub repeat_window_ns: u64,
    /// Digits of a called number that are counted as its prefix, 1 to 8.
    pub prefix_digits: u32,
    /// Seconds after which an answer asks to try again (RFC 3261 20.33); up to half as much again is added, by chance.
    pub retry_after_s: u32,
    /// How long a call may go without a final response. 200 s: a little more than timer C (RFC 3261 16.6).
    /// 0 is without end.
    pub call_unanswered_ns: u64,
    /// How long an answered call may go without being heard of, where no Session-Expires says less. 0 is without end.
    pub call_answered_ns: u64,
    /// How long a source counts as registered after the server has accepted a REGISTER of it, where the answer does not say;
    /// 0 is not at all, whatever it says.
    pub registered_for_ns: u64,
    /// Answers that Edge itself sends to each source. Beyond it, what is refused is dropped.
    pub answers: Limit,
    /// Messages refused in SMPP's own words to each source. Beyond it, what is refused is dropped.
    pub refusals: Limit,
    /// How long a listener's refusals may all go unanswered before it falls back to drop. 0 is without end.
    pub refusal_answer_ns: u64,
    /// Where a listener fell back before this, it tries again: when the daemon was started or told to reload.
    pub refusals_armed_ns: u64,
    /// How long a bind may go without being heard of before its place is taken back. 0 is without end.
    pub bind_idle_ns: u64,
    /// Not 0 if segments of connections that are to end become resets for the server.
    pub resets: u32,
    /// How many of 2^32 messages of SMPP leave a record; 0 none, `u32::MAX` all.
    pub message_records: u32,
    /// Reserved, zero.
    pub reserved: [u32; 2],
}

/// Which service listens on a port, and how. Map `PORTS`, one entry, written by the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Ports {
    /// Bits of [`Service`], by destination port in host order.
    pub services: [u8; 65536],
    /// How messages of SMPP and of SIP over TCP that are over a limit are refused, by destination port in host order:
    /// [`super::refusal_octet`].
    pub refusals: [u8; 65536],
}

pod!(Settings, Ports);
