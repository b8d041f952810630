//! Rare facts, one record each in the ring buffer `EVENTS`.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{indexed_enum, pod};

indexed_enum! {
    /// What happened.
    EventKind {
        /// A source was refused for the 1st, 2nd, 4th, 8th … time; `value` is the count, `detail` the class.
        SourceRefused = 0, "source_refused";
        /// An SMPP flow can no longer be framed; `detail` is the port.
        FlowUnframed = 1, "flow_unframed";
        /// An insertion into a map failed; `detail` is a [`FullMap`].
        MapFull = 2, "map_full";
        /// A server rejected a bind of a source for the 1st, 2nd, 4th, 8th … time; `value` is the count, `detail` the
        /// `command_status`.
        BindRejected = 3, "bind_rejected";
        /// A listener's refusals went unanswered, and it fell back to drop; `detail` is the port, `value` how many.
        RefusalsUnanswered = 4, "refusals_unanswered";
        /// A server refused a request of a source with 401, 403, 404 or 407 for the 1st, 2nd, 4th, 8th … time; `value`
        /// is the count, `detail` the status.
        SourceRejected = 5, "source_rejected";
        /// A server accepted a REGISTER of a source for the 1st, 2nd, 4th, 8th … time; `value` is the count.
        SourceRegistered = 6, "source_registered";
        /// An account showed a caller ID that is none of its own, for the 1st, 2nd, 4th, 8th … time, and each 1024th;
        /// `value` is the count, `detail` the number in decimal with a 1 before it, 0 where it is none of at most 18
        /// digits.
        ForeignCaller = 7, "foreign_caller";
        /// A stranger's User-Agent is that of a known scanner; `detail` is its first eight characters, the first in the
        /// lowest byte. Told of a source once in ten seconds at most.
        ScannerAgent = 8, "scanner_agent";
        /// An account sent SMPP messages under a sender ID that is none of its own: for the 1st, 2nd, 4th, 8th … time, and at
        /// times after that; `value` is the count, `detail` the last one's first eight characters, the first in the lowest
        /// byte.
        ForeignSender = 9, "foreign_sender";
    }
}

indexed_enum! {
    /// Which map had no room.
    FullMap {
        /// A source could not be remembered: its packet passed without judgement.
        Sources = 0, "sources";
        /// An SMPP connection could not be kept: its segment passed without judgement.
        Flows = 1, "flows";
        /// A called prefix found its set taken: the message was counted under no prefix.
        Prefixes = 2, "prefixes";
        /// A call could not be kept: it was admitted without a slot.
        Calls = 3, "calls";
        /// A connection's refusals could not be kept: what was over the limit was dropped.
        Refusals = 4, "refusals";
        /// A bind could not be kept: it is metered by its source.
        Binds = 5, "binds";
    }
}

/// One record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Event {
    /// When.
    pub at_ns: u64,
    /// [`EventKind`] as integer.
    pub kind: u32,
    /// Whose.
    pub account: u32,
    /// From where.
    pub source: [u8; 16],
    /// See the kind.
    pub detail: u64,
    /// See the kind.
    pub value: u64,
}

pod!(Event);
