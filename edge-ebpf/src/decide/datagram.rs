//! A SIP datagram: what it is, what it costs, and whether a call has a slot.

use super::{Metered, Origin, Scope, World, meter};
use crate::abi::{Allowance, CallCause, Class, FullMap, Outcome, StandingKind, policy_flag};
use crate::repeat;
use crate::wire::{Headers, sip};

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
    /// The caller ID is none that the account may show.
    Caller,
}

impl Refusal {
    /// What a packet that is dropped or answered for it ends in.
    #[inline(always)]
    const fn outcome(self, is_answered: bool) -> Outcome {
        match (self, is_answered) {
            (Self::Source, false) => Outcome::SipOverSource,
            (Self::Account, false) => Outcome::SipOverAccount,
            (Self::Calls, false) => Outcome::SipOverCalls,
            (Self::Trunk, false) => Outcome::SipOverTrunk,
            (Self::Suspended, false) => Outcome::SipSuspended,
            (Self::Caller, false) => Outcome::SipForeignCaller,
            (Self::Source, true) => Outcome::SipAnsweredSource,
            (Self::Account, true) => Outcome::SipAnsweredAccount,
            (Self::Calls, true) => Outcome::SipAnsweredCalls,
            (Self::Trunk, true) => Outcome::SipAnsweredTrunk,
            (Self::Suspended, true) => Outcome::SipAnsweredSuspended,
            (Self::Caller, true) => Outcome::SipAnsweredCaller,
        }
    }

    /// What an answer calls it; also its mark among the requests that were judged.
    #[must_use]
    #[inline(always)]
    pub const fn code(self) -> sip::Code {
        match self {
            Self::Source => sip::Code::SourceRate,
            Self::Account => sip::Code::AccountRate,
            Self::Calls => sip::Code::AccountCalls,
            Self::Trunk => sip::Code::TrunkCalls,
            Self::Suspended => sip::Code::Suspended,
            Self::Caller => sip::Code::CallerId,
        }
    }

    /// Back from [`Self::code`]; `None` for what was admitted.
    #[must_use]
    #[inline(always)]
    pub const fn marked(mark: u64) -> Option<Self> {
        match mark & repeat::MARK_MASK {
            1 => Some(Self::Source),
            2 => Some(Self::Account),
            3 => Some(Self::Calls),
            4 => Some(Self::Trunk),
            5 => Some(Self::Suspended),
            6 => Some(Self::Caller),
            _ => None,
        }
    }

    /// The status that answers it.
    #[must_use]
    #[inline(always)]
    pub const fn status(self) -> u32 {
        match self {
            Self::Source | Self::Account | Self::Calls | Self::Trunk => 503,
            Self::Suspended | Self::Caller => 403,
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
            Self::Caller => CallCause::RefusedCallerId,
        }
    }
}

/// Where the judgement of a datagram ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// With this outcome.
    Ends(Outcome),
    /// It is refused, and to be answered, which then ends as [`answered`] says: in the kernel another program does it.
    Answer {
        /// What for.
        refusal: Refusal,
        /// The fingerprint under which that is remembered; 0 if it is a retransmission, and it is.
        fingerprint: u64,
    },
}

/// What a datagram that is refused ends in, and the fingerprint to be remembered with its mark, if any is.
#[must_use]
#[inline(always)]
pub const fn answered(refusal: Refusal, fingerprint: u64, is_answered: bool) -> (Outcome, Option<u64>) {
    let is_new = is_answered && fingerprint != 0;
    (refusal.outcome(is_answered), if is_new { Some(fingerprint | refusal.code() as u64) } else { None })
}

/// Judges a datagram on a port of SIP, or the first fragment of one: without that the server never sees the rest.
#[inline(always)]
pub fn judge_datagram<W: World>(world: &mut W, origin: Origin, headers: &Headers, now_ns: u64) -> Settled {
    let (message, is_fragment) = (world.read_sip(&headers.transport), headers.ip.is_fragment);
    match message.kind {
        sip::Kind::Malformed | sip::Kind::Keepalive if is_fragment => {
            return Settled::Ends(origin.unless_spared(Outcome::HeadersHidden, Outcome::Fragment));
        }
        sip::Kind::Malformed => return Settled::Ends(Outcome::SipMalformed),
        sip::Kind::Keepalive => return Settled::Ends(Outcome::SipKeepalive),
        sip::Kind::Absorbed => {
            world.count_method(message.method);
            return Settled::Ends(Outcome::SipAckAbsorbed);
        }
        sip::Kind::Response => {
            world.count_method(message.method);
            return Settled::Ends(Outcome::SipResponse);
        }
        sip::Kind::InDialog | sip::Kind::Initial | sip::Kind::Doubtful => world.count_method(message.method),
    }
    let class = sip::class(message.method);
    if matches!(message.kind, sip::Kind::InDialog) {
        world.count(class, Allowance::Exempt, 1);
        return Settled::Ends(Outcome::SipInDialog);
    }
    // What is doubtful is metered by its start line, and nothing else of it is believed.
    let is_certain = matches!(message.kind, sip::Kind::Initial);
    let is_call = is_certain && matches!(class, Class::SipInvite);
    if matches!(origin.standing, StandingKind::Allowed) {
        world.count(class, Allowance::Exempt, 1);
        if is_call && world.earlier(message.fingerprint, now_ns).is_none() {
            open_call(world, false, now_ns);
            world.remember(message.fingerprint, now_ns);
        }
        if is_certain {
            world.await_answer(message.method, now_ns);
        }
        return Settled::Ends(Outcome::Allowed);
    }
    world.look_at_agent(now_ns);
    if is_certain && let Some(mark) = world.earlier(message.fingerprint, now_ns) {
        world.count(class, Allowance::Repeated, 1);
        // What was answered gets the same answer: the first one may have been lost.
        return match Refusal::marked(mark) {
            Some(refusal) if !is_fragment && world.attend(now_ns) => {
                Settled::Answer { refusal, fingerprint: 0 }
            }
            Some(refusal) => Settled::Ends(refusal.outcome(false)),
            None => Settled::Ends(Outcome::SipRepeated),
        };
    }
    let mut refusal = if origin.has(policy_flag::SUSPENDED) {
        Some(Refusal::Suspended)
    } else {
        match meter(world, class, 1, now_ns) {
            Metered::Within => None,
            Metered::Over(Scope::Source) => Some(Refusal::Source),
            Metered::Over(Scope::Account) => Some(Refusal::Account),
        }
    };
    let shows_caller = matches!(class, Class::SipInvite | Class::SipMessage);
    if refusal.is_none() && shows_caller && origin.has(policy_flag::CALLER_IDS_CHECKED) {
        // Of what is doubtful no header is believed: it shows nobody's number for sure.
        if !is_certain || world.has_foreign_caller() {
            world.tell_caller(is_certain, now_ns);
            if origin.has(policy_flag::CALLER_IDS_ENFORCED) {
                refusal = Some(Refusal::Caller);
            }
        }
    }
    if is_call && (refusal.is_none() || origin.observe) {
        let full = open_call(world, !origin.observe, now_ns);
        if refusal.is_none() {
            refusal = full;
        }
    }
    let is_unwelcome =
        !is_certain && matches!(class, Class::SipInvite) && origin.has(policy_flag::DOUBTFUL_REFUSED);
    let (allowance, outcome) = match refusal {
        None if is_certain => (Allowance::Admitted, Outcome::SipAdmitted),
        None if !is_unwelcome => (Allowance::Admitted, Outcome::SipDoubtful),
        _ if origin.observe => (Allowance::Observed, Outcome::SipObserved),
        None => (Allowance::Refused, Outcome::SipDoubtfulRefused),
        Some(refusal) => (Allowance::Refused, refusal.outcome(false)),
    };
    world.count(class, allowance, 1);
    if matches!(allowance, Allowance::Refused) {
        world.tell_refused(class, 1, now_ns);
        if let Some(refusal) = refusal
            && is_certain
            && world.attend(now_ns)
        {
            if is_call {
                world.record_refused(refusal, now_ns);
            }
            if !is_fragment && world.answers(class) {
                return Settled::Answer { refusal, fingerprint: message.fingerprint };
            }
        }
    } else {
        pass(world, message, is_certain, now_ns);
    }
    Settled::Ends(outcome)
}

/// A request passes.
#[inline(always)]
fn pass<W: World>(world: &mut W, message: sip::Message, is_certain: bool, now_ns: u64) {
    if is_certain {
        world.remember(message.fingerprint, now_ns);
        world.await_answer(message.method, now_ns);
    }
    if message.called != 0 {
        world.count_called(message.called);
    }
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
