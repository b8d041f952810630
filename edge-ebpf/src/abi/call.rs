//! Calls: what is known of each while it lives, and the record that it leaves.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{indexed_enum, pod};

/// Digits of a number that a call keeps: E.164 allows 15, and prefixes for routing come before them.
pub const NUMBER_DIGITS: usize = 24;

/// A number as ASCII digits, zero-padded; all zero where a URI's user is no number.
pub type Number = [u8; NUMBER_DIGITS];

/// Digits of a caller ID that are looked up; more make no number.
pub const CALLER_ID_DIGITS: usize = 32;

/// What an account may show as a caller or a sender. Data of the keys of the map `CALLER_IDS` (trie): the whole account and as
/// many characters as are given; a sender ID of letters with the zero at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct CallerId {
    /// Account number; with [`SENDER_ID`] a sender ID of the account.
    pub account: u32,
    /// ASCII digits as E.164 writes them, country code first; of a sender ID its characters. Zero-padded.
    pub digits: [u8; CALLER_ID_DIGITS],
}

/// In [`CallerId::account`]: for SMPP messages.
pub const SENDER_ID: u32 = 1 << 31;

/// One call of one account. Key of the map `CALLS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct CallKey {
    /// Whose: the account of the peer outside, whichever side sends.
    pub account: u32,
    /// Reserved, zero.
    pub reserved: u32,
    /// Keyed hash ([`super::Settings::hash_key`]) of the Call-ID.
    pub call_id_hash: u64,
}

indexed_enum! {
    /// How far a call has come.
    CallPhase {
        /// INVITE admitted, no final response yet.
        Proceeding = 0, "proceeding";
        /// The server has answered with 2xx.
        Answered = 1, "answered";
        /// The daemon wants the slot back: the next sweep takes it. Written by the daemon.
        Dropped = 2, "dropped";
    }
}

indexed_enum! {
    /// Why a call ended, or never came to be.
    CallCause {
        /// Answered, then ended by a BYE.
        Completed = 0, "completed";
        /// The caller gave up: 487 (RFC 3261 9).
        Cancelled = 1, "cancelled";
        /// 486, 600.
        Busy = 2, "busy";
        /// Any other final response of 300 or more.
        Failed = 3, "failed";
        /// Over a rate (calls per second).
        RefusedRate = 4, "refused_rate";
        /// Over the account's or the trunk's concurrent calls.
        RefusedCalls = 5, "refused_calls";
        /// The account is suspended.
        RefusedSuspended = 6, "refused_suspended";
        /// Never answered within [`super::Settings::call_unanswered_ns`].
        ExpiredUnanswered = 7, "expired_unanswered";
        /// Answered, and then nothing was heard until it had to be over.
        ExpiredAnswered = 8, "expired_answered";
        /// An operator took the slot back.
        Dropped = 9, "dropped";
        /// The caller ID is none that the account may show.
        RefusedCallerId = 10, "refused_caller_id";
    }
}

indexed_enum! {
    /// Who ended a call.
    EndedBy {
        /// Who sent the INVITE.
        Caller = 0, "caller";
        /// The side of the server.
        Callee = 1, "callee";
        /// Edge, by refusing.
        Edge = 2, "edge";
        /// Edge, by the sweep of what was not heard of any more.
        Sweep = 3, "sweep";
    }
}

/// A call that holds a slot. Map `CALLS`: written by the kernel, and by the daemon to drop one; who removes the entry gives the slots back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct CallState {
    /// [`CallPhase`] as integer.
    pub phase: u32,
    /// The trunk whose slot it holds; 0 is none.
    pub trunk: u32,
    /// Where the INVITE came from.
    pub source: [u8; 16],
    /// When the INVITE was admitted.
    pub setup_ns: u64,
    /// When the server first said 180 or 183; 0 if it did not.
    pub ring_ns: u64,
    /// When the server said 2xx; 0 if it did not.
    pub answer_ns: u64,
    /// When something of the call was last heard that proves it alive.
    pub touched_ns: u64,
    /// Session-Expires in force (RFC 4028), in seconds; 0 if there is none.
    pub session_expires_s: u32,
    /// The INVITE's CSeq number: a final response to an older one ends nothing.
    pub cseq: u32,
    /// Slots held: one, and one more for each further INVITE under the same Call-ID that is no retransmission.
    pub slots: u32,
    /// Reserved, zero.
    pub reserved: u32,
    /// Caller.
    pub from: Number,
    /// Called.
    pub to: Number,
}

/// A call that is over, or was refused. Ring buffer `RECORDS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct CallRecord {
    /// Whose.
    pub account: u32,
    /// By which trunk; 0 is none.
    pub trunk: u32,
    /// From where.
    pub source: [u8; 16],
    /// Caller.
    pub from: Number,
    /// Called.
    pub to: Number,
    /// When the INVITE came.
    pub setup_ns: u64,
    /// When it rang; 0 if it did not.
    pub ring_ns: u64,
    /// When it was answered; 0 if it was not.
    pub answer_ns: u64,
    /// When it ended or was refused.
    pub end_ns: u64,
    /// The SIP status that ended it: of the final response, 200 for a call that was answered, what Edge said or
    /// would have said where it refused, 0 where nothing was said.
    pub status: u32,
    /// [`CallCause`] as integer.
    pub cause: u32,
    /// [`EndedBy`] as integer.
    pub ended_by: u32,
    /// Reserved, zero.
    pub reserved: u32,
}

/// Concurrent calls of one trunk. Map `TRUNKS`, by trunk number; written by the kernel. Number 0 is no trunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct TrunkState {
    /// Slots held.
    pub calls_active: u64,
    /// Calls refused because none was left.
    pub refused: u64,
}

/// The limit of one trunk. Map `TRUNK_POLICIES`, by trunk number; written by the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct TrunkPolicy {
    /// Most calls at once; 0 is no limit.
    pub calls_max: u32,
    /// Reserved, zero.
    pub reserved: u32,
}

pod!(CallerId, CallKey, CallState, CallRecord, TrunkState, TrunkPolicy);
