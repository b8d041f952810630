//! Set-associative tables inside array maps: a lookup costs an inlined array access and at most four compares,
//! a fifth of a hash map's lookup and a twentieth of an LRU insert. What they forget costs precision only.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{ReceiptKind, pod};

/// Entries in a [`RepeatSet`]: 4 x 16 bytes, one cache line.
pub const REPEAT_WAYS: usize = 4;
/// Sets in the map `REPEATS`: 4 MiB, 262,144 requests within the window of 32 s, that is 8,192 a second.
pub const REPEAT_SETS_DEFAULT: u32 = 65_536;

/// A SIP request that was admitted, so that a retransmission is known; or one that waits for its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Repeat {
    /// Keyed hash of source, Call-ID, CSeq and top Via branch, or of the first three; 0 is empty.
    pub fingerprint: u64,
    /// When it was admitted, the lowest four bits replaced by the number of repeats seen.
    pub stamp: u64,
}

/// The requests whose fingerprints fall on one index of the map `REPEATS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RepeatSet {
    /// In no order.
    pub ways: [Repeat; REPEAT_WAYS],
}

/// Entries in a [`PrefixSet`].
pub const PREFIX_WAYS: usize = 4;
/// Sets in a [`PrefixPage`]: 4 KiB, one system call for the daemon.
pub const PREFIX_SETS_PER_PAGE: usize = 64;
/// Pages in each half of the map `PREFIXES`: 65,536 prefixes of all accounts within one epoch.
pub const PREFIX_PAGES: u32 = 256;

/// Admitted messages of one account to one prefix of called numbers, within one epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct PrefixCount {
    /// [`prefix_key`]; 0 is empty.
    pub key: u64,
    /// Messages.
    pub count: u64,
}

/// The prefixes whose keys fall on one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct PrefixSet {
    /// Filled from the first; when all are taken, the message is counted in no prefix and an event says so.
    pub ways: [PrefixCount; PREFIX_WAYS],
}

/// One value of the map `PREFIXES`: two halves of [`PREFIX_PAGES`], written in turn
/// ([`super::Settings::prefix_epoch`]); the daemon reads and clears the half at rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct PrefixPage {
    /// By the low bits of the key's hash.
    pub sets: [PrefixSet; PREFIX_SETS_PER_PAGE],
}

/// Account and called prefix in one word: the account above, below it the digits as a decimal number with a
/// 1 before them, so that `044` and `44` differ. `digits` is that number and has at most eight digits after
/// the 1, hence fits 32 bits.
#[must_use]
#[inline(always)]
pub const fn prefix_key(account: u32, digits: u32) -> u64 {
    (account as u64) << 32 | digits as u64
}

/// Nine digits are below 2^28: what lies above them says of what kind of receipt they are, plus one.
const RECEIPT_SHIFT: u32 = 28;

/// Digits for [`prefix_key`] under which not messages to the prefix are counted, but receipts for them.
#[must_use]
#[inline(always)]
pub const fn receipt_digits(kind: ReceiptKind, digits: u32) -> u32 {
    (kind as u32 + 1) << RECEIPT_SHIFT | digits
}

/// The account and the digits (with the 1 before them) of a [`prefix_key`], and of what kind of receipt they are; `None` for
/// messages.
#[must_use]
pub const fn prefix_key_parts(key: u64) -> (u32, u32, Option<ReceiptKind>) {
    let digits = key as u32;
    let kind = match digits >> RECEIPT_SHIFT {
        0 => None,
        above => ReceiptKind::from_index(above as usize - 1),
    };
    ((key >> 32) as u32, digits & ((1 << RECEIPT_SHIFT) - 1), kind)
}

pod!(Repeat, RepeatSet, PrefixCount, PrefixSet, PrefixPage);
