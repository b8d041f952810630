//! Binds: what is known of each SMPP session, and how a listener refuses.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{indexed_enum, pod};

/// Octets of a `system_id`: a C-octet string of at most 16, the terminating zero included (SMPP 3.4, 5.2.1).
pub const SYSTEM_ID_BYTES: usize = 16;

/// A `system_id`, zero-padded. Key of the map `SYSTEM_IDS`, whose values are account numbers.
pub type SystemId = [u8; SYSTEM_ID_BYTES];

indexed_enum! {
    /// How far a bind has come.
    BindPhase {
        /// The client has asked; the server has not answered.
        Requested = 0, "requested";
        /// The server has said yes: `bind_*_resp` with `command_status` 0.
        Bound = 1, "bound";
    }
}

indexed_enum! {
    /// What became of binds, counted per account.
    BindCount {
        /// The server said yes.
        Accepted = 0, "accepted";
        /// The server said no.
        Rejected = 1, "rejected";
        /// Ended by `unbind`, FIN or RST.
        Ended = 2, "ended";
        /// Not heard of any more, and taken back by the sweep.
        Expired = 3, "expired";
        /// Refused, because the account has as many binds as it may.
        Refused = 4, "refused";
        /// Over the number of binds, but the mode is observe.
        Observed = 5, "observed";
        /// Refused, because the account is suspended.
        Suspended = 6, "suspended";
        /// Not kept, because the map `BINDS` is full: metered by its source.
        Unkept = 7, "unkept";
    }
}

impl BindCount {
    /// Room in [`super::AccountCounters::binds`]; more than the counts of today.
    pub const SLOTS: usize = 8;
}

/// One session. Map `BINDS`, by the [`super::FlowKey`] of the client's direction; written by the kernel under the
/// lock of that flow. Who removes the entry gives the account's place back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct BindState {
    /// [`BindPhase`] as integer.
    pub phase: u32,
    /// Whose place it holds: the account of its `system_id`, or of its source where nobody has that.
    pub account: u32,
    /// `command_id` of the request: `bind_receiver`, `bind_transmitter` or `bind_transceiver`.
    pub command: u32,
    /// `sequence_number` of the request.
    pub sequence: u32,
    /// What it calls itself.
    pub system_id: SystemId,
    /// When it asked.
    pub requested_ns: u64,
    /// When the server said yes; 0 while it has not.
    pub bound_ns: u64,
    /// How long the server took for the client's last `enquire_link`; 0 is not known.
    pub server_link_ns: u64,
    /// How long the client took for the server's last `enquire_link`, the way there and back included; 0 is not known.
    pub client_link_ns: u64,
}

indexed_enum! {
    /// What becomes of messages over a limit.
    RefusalMode {
        /// The segment is dropped: TCP sends it again, and the client is slowed down.
        Drop = 0, "drop";
        /// Answered in SMPP's own words, through the server ([`crate::native`]).
        Native = 1, "native";
        /// Judged and counted, but passed.
        Observe = 2, "observe";
    }
}

indexed_enum! {
    /// `command_status` of refused messages (SMPP 3.4, 5.1.3).
    RefusalStatus {
        /// The ESME has exceeded allowed message limits.
        Throttled = 0, "ESME_RTHROTTLED";
        /// Message queue full.
        QueueFull = 1, "ESME_RMSGQFUL";
        /// `submit_sm` or `submit_multi` failed.
        SubmitFailed = 2, "ESME_RSUBMITFAIL";
    }
}

impl RefusalStatus {
    /// Its code on the wire.
    #[must_use]
    #[inline(always)]
    pub const fn code(self) -> u32 {
        match self {
            Self::Throttled => 0x58,
            Self::QueueFull => 0x14,
            Self::SubmitFailed => 0x45,
        }
    }
}

/// How a port refuses, in one octet of [`super::Ports::refusals`]: the mode below, the status above.
#[must_use]
#[inline(always)]
pub const fn refusal_octet(mode: RefusalMode, status: RefusalStatus) -> u8 {
    mode as u8 | (status as u8) << 4
}

/// Back from [`refusal_octet`]; what has no name counts as the first.
#[must_use]
#[inline(always)]
pub const fn refusal_of(octet: u8) -> (RefusalMode, RefusalStatus) {
    let mode = match octet & 0x0f {
        1 => RefusalMode::Native,
        2 => RefusalMode::Observe,
        _ => RefusalMode::Drop,
    };
    let status = match octet >> 4 {
        1 => RefusalStatus::QueueFull,
        2 => RefusalStatus::SubmitFailed,
        _ => RefusalStatus::Throttled,
    };
    (mode, status)
}

indexed_enum! {
    /// What stands behind a port of SIP over TCP: which of its checks native refusal makes use of.
    StreamServer {
        /// It passes calls on, and looks at Max-Forwards (RFC 3261 16.3).
        Proxy = 0, "proxy";
        /// It ends calls itself, as a PBX does or a session border controller, and looks at Require (RFC 3261 8.2.2.3).
        B2bua = 1, "b2bua";
    }
}

/// How a port of SIP over TCP refuses, in one octet of [`super::Ports::refusals`]: the mode below, the server above.
#[must_use]
#[inline(always)]
pub const fn stream_refusal_octet(mode: RefusalMode, server: StreamServer) -> u8 {
    mode as u8 | (server as u8) << 4
}

/// The server of [`stream_refusal_octet`], whose mode is [`refusal_of`]'s; what has no name counts as the first.
#[must_use]
#[inline(always)]
pub const fn stream_server_of(octet: u8) -> StreamServer {
    match octet >> 4 {
        1 => StreamServer::B2bua,
        _ => StreamServer::Proxy,
    }
}

/// How a listener's refusals go. Map `LISTENERS`, by port in host order; written by the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Listener {
    /// Messages refused in the protocol's own words.
    pub refused: u64,
    /// Of those, how many the server has answered.
    pub answered: u64,
    /// Answers that could not be turned into a refusal, or were taken for one by mistake.
    pub unmatched: u64,
    /// Refused since the server last answered one.
    pub waiting: u64,
    /// When the first of those was refused.
    pub waiting_since_ns: u64,
    /// When the listener fell back to drop, because none was answered for [`super::Settings::refusal_answer_ns`];
    /// void if that was before [`super::Settings::refusals_armed_ns`].
    pub fallen_back_ns: u64,
}

pod!(BindState, Listener);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_a_port_refuses_fits_an_octet() {
        for mode in RefusalMode::ALL {
            for status in RefusalStatus::ALL {
                assert_eq!(refusal_of(refusal_octet(*mode, *status)), (*mode, *status));
            }
        }
        assert_eq!(refusal_of(0), (RefusalMode::Drop, RefusalStatus::Throttled));
        for mode in RefusalMode::ALL {
            for server in StreamServer::ALL {
                let octet = stream_refusal_octet(*mode, *server);
                assert_eq!((refusal_of(octet).0, stream_server_of(octet)), (*mode, *server));
            }
        }
    }
}
