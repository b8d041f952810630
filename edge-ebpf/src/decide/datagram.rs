//! A SIP datagram: what it is, what it costs, and whether a call has a slot.

use super::{Metered, Origin, Scope, World, meter};
use crate::abi::{Allowance, CallCause, Class, FullMap, Outcome, StandingKind};
use crate::wire::{sip, transport};

/// Whether a new call has a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// It has, or needs none of its own.
    Kept,
    /// The account has none left.
    OverAccount,
    /// The trunk has none left.
    OverTrunk,
    /// There is a slot, but no room to keep the call.
    Unkept,
}

/// Why a SIP request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Over the source's rate.
    Source,
    /// Over the account's rate.
    Account,
    /// Over the account's concurrent calls.
    Calls,
    /// Over the trunk's concurrent calls.
    Trunk,
    /// The account is suspended.
    Suspended,
}

impl Refusal {
    /// What a packet that is dropped for it ends in.
    #[inline(always)]
    const fn outcome(self) -> Outcome {
        match self {
            Self::Source => Outcome::SipOverSource,
            Self::Account => Outcome::SipOverAccount,
            Self::Calls => Outcome::SipOverCalls,
            Self::Trunk => Outcome::SipOverTrunk,
            Self::Suspended => Outcome::SipSuspended,
        }
    }

    /// The status that answers it.
    #[must_use]
    #[inline(always)]
    pub const fn status(self) -> u32 {
        match self {
            Self::Source | Self::Account | Self::Calls | Self::Trunk => 503,
            Self::Suspended => 403,
        }
    }

    /// The same for a call's record.
    #[must_use]
    #[inline(always)]
    pub const fn cause(self) -> CallCause {
        match self {
            Self::Source | Self::Account => CallCause::RefusedRate,
            Self::Calls | Self::Trunk => CallCause::RefusedCalls,
            Self::Suspended => CallCause::RefusedSuspended,
        }
    }
}

#[inline(always)]
pub(super) fn judge_datagram<W: World>(
    world: &mut W,
    origin: Origin,
    transport: &transport::Header,
    now_ns: u64,
) -> Outcome {
    let message = world.read_sip(transport);
    match message.kind {
        sip::Kind::Malformed => return Outcome::SipMalformed,
        sip::Kind::Keepalive => return Outcome::SipKeepalive,
        sip::Kind::Response => {
            world.count_method(message.method);
            return Outcome::SipResponse;
        }
        sip::Kind::InDialog | sip::Kind::Initial | sip::Kind::Doubtful => world.count_method(message.method),
    }
    let class = sip::class(message.method);
    if matches!(message.kind, sip::Kind::InDialog) {
        world.count(class, Allowance::Exempt, 1);
        return Outcome::SipInDialog;
    }
    // What is doubtful is metered by its start line, and nothing else of it is believed.
    let is_certain = matches!(message.kind, sip::Kind::Initial);
    let is_call = is_certain && matches!(class, Class::SipInvite);
    if matches!(origin.standing, StandingKind::Allowed) {
        world.count(class, Allowance::Exempt, 1);
        if is_call && !world.is_repeat(message.fingerprint, now_ns) {
            open_call(world, false, now_ns);
            world.remember(message.fingerprint, now_ns);
        }
        return Outcome::Allowed;
    }
    if is_certain && world.is_repeat(message.fingerprint, now_ns) {
        world.count(class, Allowance::Repeated, 1);
        return Outcome::SipRepeated;
    }
    let mut refusal = if origin.is_suspended {
        Some(Refusal::Suspended)
    } else {
        match meter(world, class, 1, now_ns) {
            Metered::Within => None,
            Metered::Over(Scope::Source) => Some(Refusal::Source),
            Metered::Over(Scope::Account) => Some(Refusal::Account),
        }
    };
    if is_call && (refusal.is_none() || origin.observe) {
        let full = open_call(world, !origin.observe, now_ns);
        if refusal.is_none() {
            refusal = full;
        }
    }
    let (allowance, outcome) = match refusal {
        None if is_certain => (Allowance::Admitted, Outcome::SipAdmitted),
        None => (Allowance::Admitted, Outcome::SipDoubtful),
        Some(_) if origin.observe => (Allowance::Observed, Outcome::SipObserved),
        Some(refusal) => (Allowance::Refused, refusal.outcome()),
    };
    world.count(class, allowance, 1);
    if matches!(allowance, Allowance::Refused) {
        world.tell_refused(class, now_ns);
        if let Some(refusal) = refusal
            && is_call
        {
            world.record_refused(refusal, now_ns);
        }
    } else {
        if is_certain {
            world.remember(message.fingerprint, now_ns);
        }
        if message.called != 0 {
            world.count_called(message.called);
        }
    }
    outcome
}

/// Takes a slot for a new call, and says which limit has none left.
#[inline(always)]
fn open_call<W: World>(world: &mut W, may_refuse: bool, now_ns: u64) -> Option<Refusal> {
    match world.open_call(may_refuse, now_ns) {
        Slot::Kept => None,
        Slot::OverAccount => Some(Refusal::Calls),
        Slot::OverTrunk => Some(Refusal::Trunk),
        Slot::Unkept => {
            world.tell_full(FullMap::Calls, now_ns);
            None
        }
    }
}
