//! Messages of SMPP: what the server says to them, and the records that they leave.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{FlowKey, SystemId, indexed_enum, pod};

/// Octets of an address: a C-octet string of at most 21, the terminating zero included (SMPP 3.4, 4.4.1), and padding.
pub const ADDRESS_BYTES: usize = 24;

/// [`MessageNote::data_coding`] where it lies behind the first octets that are read.
pub const DATA_CODING_UNKNOWN: u32 = u32::MAX;

indexed_enum! {
    /// `command_status` of the server's responses to messages (SMPP 3.4, 5.1.3), in few kinds: counted per account.
    ResponseKind {
        /// `ESME_ROK`.
        Ok = 0, "ok";
        /// `ESME_RTHROTTLED`.
        Throttled = 1, "throttled";
        /// `ESME_RMSGQFUL`.
        QueueFull = 2, "queue_full";
        /// `ESME_RSUBMITFAIL`.
        SubmitFailed = 3, "submit_failed";
        /// `ESME_RINVDSTADR`.
        InvalidDestination = 4, "invalid_destination";
        /// `ESME_RINVSRCADR`.
        InvalidSource = 5, "invalid_source";
        /// Any other.
        Other = 6, "other";
    }
}

impl ResponseKind {
    /// Room in [`super::AccountCounters::responses`]; more than the kinds of today.
    pub const SLOTS: usize = 8;

    /// The kind of a `command_status`.
    #[must_use]
    #[inline(always)]
    pub const fn of(status: u32) -> Self {
        match status {
            0x00 => Self::Ok,
            0x58 => Self::Throttled,
            0x14 => Self::QueueFull,
            0x45 => Self::SubmitFailed,
            0x0b => Self::InvalidDestination,
            0x0a => Self::InvalidSource,
            _ => Self::Other,
        }
    }
}

indexed_enum! {
    /// What delivery receipts say of messages (SMPP 3.4, 5.2.28, appendix B), in few kinds: counted per account and prefix.
    ReceiptKind {
        /// `DELIVERED`.
        Delivered = 0, "delivered";
        /// `UNDELIVERABLE`, `REJECTED`, `DELETED`.
        Failed = 1, "failed";
        /// `EXPIRED`.
        Expired = 2, "expired";
        /// Any other: under way, accepted, unknown.
        Other = 3, "other";
        /// Nobody could read it: it says nothing of a state, or is cut by segments of TCP so that it is not put together. Then it
        /// may be no receipt at all.
        Unread = 4, "unread";
    }
}

impl ReceiptKind {
    /// Room in [`super::AccountCounters::receipts`]; more than the kinds of today.
    pub const SLOTS: usize = 8;

    /// The kind of a `message_state`.
    #[must_use]
    #[inline(always)]
    pub const fn of(message_state: u8) -> Self {
        match message_state {
            2 => Self::Delivered,
            3 => Self::Expired,
            4 | 5 | 8 => Self::Failed,
            _ => Self::Other,
        }
    }

    /// The kind of the word behind `stat:`, by its first four letters in lower case, the first in the lowest octet.
    #[must_use]
    #[inline(always)]
    pub const fn of_word(letters: u32) -> Self {
        const DELIVRD: u32 = u32::from_le_bytes(*b"deli");
        const EXPIRED: u32 = u32::from_le_bytes(*b"expi");
        const UNDELIV: u32 = u32::from_le_bytes(*b"unde");
        const REJECTD: u32 = u32::from_le_bytes(*b"reje");
        const DELETED: u32 = u32::from_le_bytes(*b"dele");
        match letters {
            DELIVRD => Self::Delivered,
            EXPIRED => Self::Expired,
            UNDELIV | REJECTD | DELETED => Self::Failed,
            _ => Self::Other,
        }
    }
}

/// An address of a message, as it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct MessageAddress {
    /// Its octets, zero-padded: digits, or letters of a sender ID. Empty where it lies behind the first octets that are
    /// read, and for the name of a distribution list.
    pub text: [u8; ADDRESS_BYTES],
    /// Type of number (SMPP 3.4, 5.2.5); 5 is alphanumeric.
    pub ton: u32,
    /// Numbering plan (SMPP 3.4, 5.2.6).
    pub npi: u32,
}

/// A message that has passed and is not answered yet, one of those that leave a record. Value of the map `NOTES`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct MessageNote {
    /// When it passed.
    pub submitted_ns: u64,
    /// Whose it is.
    pub account: u32,
    /// `command_id`: `submit_sm`, `submit_multi` or `data_sm`.
    pub command: u32,
    /// `source_addr`.
    pub from: MessageAddress,
    /// `destination_addr`; of `submit_multi` the first.
    pub to: MessageAddress,
    /// Destinations: one, or `number_of_dests` of `submit_multi`.
    pub destinations: u32,
    /// `data_coding`, or [`DATA_CODING_UNKNOWN`].
    pub data_coding: u32,
    /// Which part of a long message it is, from 1; 0 where it is none or does not say so in its first octets (UDH, 3GPP
    /// TS 23.040, 9.2.3.24.1).
    pub part: u32,
    /// Of how many parts; 0 where it is none.
    pub parts: u32,
}

/// Which message. Key of the map `NOTES`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct NoteKey {
    /// The client's direction of its connection.
    pub client: FlowKey,
    /// `sequence_number`, big-endian.
    pub sequence: [u8; 4],
}

/// A message that was answered. Ring buffer `MESSAGES`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct MessageRecord {
    /// What was known of it before.
    pub note: MessageNote,
    /// When its response passed.
    pub answered_ns: u64,
    /// `command_status` of the response, as the client got it.
    pub status: u32,
    /// Not 0 if Edge refused it, and the server never saw it.
    pub refused: u32,
    /// By whose bind it came; zeros where that is not known.
    pub system_id: SystemId,
    /// On which connection, and which message.
    pub key: NoteKey,
}

pod!(MessageAddress, MessageNote, NoteKey, MessageRecord);
