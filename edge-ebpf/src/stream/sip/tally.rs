//! Which messages a segment completes.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::abi::{Class, Method};
use crate::verifier::opaque;
use crate::wire::sip;

/// Classes of SIP, the first ones of [`Class`].
pub const CLASSES: usize = 5;

/// A call that somebody takes is hardly shorter (RFC 3261 8.1.1: six headers).
const CALL_BYTES: u32 = 128;

/// Room by method; a power of two, so that a mask bounds the index.
const METHODS: usize = 32;

const _: () = assert!(Method::SLOTS <= METHODS);
const _: () = assert!(Class::SipOther.index() + 1 == CLASSES);

/// Requests by class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct PerClass {
    /// Bit `n`: `counts[n]` is valid; else it is 0.
    seen: u32,
    counts: [u32; CLASSES],
}

impl PerClass {
    /// By the index of the [`Class`].
    #[must_use]
    #[inline(always)]
    pub fn of(&self, index: usize) -> u32 {
        let index = opaque(index as u64) as usize;
        if index >= CLASSES || self.seen >> index & 1 == 0 { 0 } else { self.counts[index] }
    }

    /// Whether there are any.
    #[must_use]
    #[inline(always)]
    pub const fn is_empty(&self) -> bool {
        self.seen == 0
    }

    /// One more.
    #[inline(always)]
    pub fn add(&mut self, class: Class) {
        self.add_all(class, 1);
    }

    #[inline(always)]
    fn add_all(&mut self, class: Class, messages: u32) {
        let index = opaque(class.index() as u64) as usize;
        if index >= CLASSES {
            return;
        }
        let so_far = if self.seen >> index & 1 == 0 { 0 } else { self.counts[index] };
        self.counts[index] = so_far + messages;
        self.seen |= 1 << index;
    }

    #[inline(always)]
    fn clear(&mut self) {
        self.seen = opaque(0) as u32;
    }
}

/// The class with that index; the last for any other.
#[must_use]
#[inline(always)]
pub const fn class(index: usize) -> Class {
    match index {
        0 => Class::SipInvite,
        1 => Class::SipRegister,
        2 => Class::SipOptions,
        3 => Class::SipMessage,
        _ => Class::SipOther,
    }
}

/// The messages whose headers a segment ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Tally {
    /// Bit `n`: `methods[n]` is valid; else it is 0.
    pub methods_seen: u32,
    /// Not 0 if the segment brings a response, or ends a body whose message was let through before.
    pub must_pass: u32,
    /// Of the requests outside dialogs, those that cannot be refused by themselves for what the client has written: without one
    /// Max-Forwards, or as many as could stand in a segment that nobody can frame.
    pub unrefusable: u32,
    /// Bit `n`: the class was over a limit; while the segment is judged.
    pub over: u32,
    /// Not 0 if that was the account's.
    pub over_account: u32,
    /// Requests outside dialogs.
    pub initial: PerClass,
    /// Requests within dialogs.
    pub in_dialog: PerClass,
    /// Of those outside, the ones that were judged one by one.
    pub judged: PerClass,
    /// Of those, how many were refused in SIP's own words.
    pub refused: PerClass,
    /// And how many pass over a limit, because no room was left to remember them.
    pub observed: PerClass,
    methods: [u32; METHODS],
}

impl Tally {
    /// Messages by the index of their [`Method`].
    #[must_use]
    #[inline(always)]
    pub fn method(&self, index: usize) -> u32 {
        let index = opaque(index as u64) as usize;
        if index >= METHODS || self.methods_seen >> index & 1 == 0 { 0 } else { self.methods[index] }
    }

    /// Requests outside dialogs that were not judged one by one.
    #[must_use]
    #[inline(always)]
    pub fn unjudged(&self, index: usize) -> u32 {
        self.initial.of(index).saturating_sub(self.judged.of(index))
    }

    /// Whether the whole segment may be refused: it brings nothing that must get through.
    #[must_use]
    #[inline(always)]
    pub const fn is_refusable(&self) -> bool {
        self.in_dialog.is_empty() && self.must_pass == 0
    }

    #[inline(always)]
    pub(super) fn clear(&mut self) {
        self.methods_seen = opaque(0) as u32;
        self.must_pass = opaque(0) as u32;
        self.unrefusable = opaque(0) as u32;
        self.over = opaque(0) as u32;
        self.over_account = opaque(0) as u32;
        self.initial.clear();
        self.in_dialog.clear();
        self.judged.clear();
        self.refused.clear();
        self.observed.clear();
    }

    /// So many octets may be calls.
    #[inline(always)]
    pub(super) fn spoil(&mut self, octets: u32) {
        let calls = octets / CALL_BYTES + 1;
        self.unrefusable += calls;
        self.initial.add_all(Class::SipInvite, calls);
    }

    #[inline(always)]
    pub(super) fn count(&mut self, method: Method, is_response: bool, is_tagged: bool) {
        let index = opaque(method.index() as u64) as usize;
        if index < METHODS {
            let so_far = if self.methods_seen >> index & 1 == 0 { 0 } else { self.methods[index] };
            self.methods[index] = so_far + 1;
            self.methods_seen |= 1 << index;
        }
        if is_response {
            self.must_pass = 1;
            return;
        }
        let class = sip::class(method);
        if is_tagged || matches!(method, Method::Ack | Method::Bye | Method::Cancel) {
            self.in_dialog.add(class);
        } else {
            self.initial.add(class);
        }
    }
}
